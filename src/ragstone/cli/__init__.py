"""The commands. Each is a client of the HTTP interface, of a running server or of its own."""
