"""Faults against real processes, and a checker that believes only what clients received."""
