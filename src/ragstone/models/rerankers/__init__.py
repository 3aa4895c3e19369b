"""Models that reorder candidates."""
