"""The hop from a gateway process to its engine: addresses, messages, and a lean client."""
