"""The laboratory: what measures the server. Nothing of the server imports it."""
