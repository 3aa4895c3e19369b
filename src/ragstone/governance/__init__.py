"""What is spent, by whom, and who may do what."""
