"""The nouns: immutable values that every layer speaks. Imports nothing of ours but itself."""
