"""The path of a question: `answer.py` is the map, and every stage has a file of its own."""
