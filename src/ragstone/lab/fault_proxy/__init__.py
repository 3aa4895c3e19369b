"""A TCP proxy that spoils connections as it is told to."""
