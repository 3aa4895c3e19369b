"""Stores for what was computed before."""
