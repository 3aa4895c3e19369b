"""Servers that speak the wire formats of models, and fail as they are told to."""
