"""Where chunks are found: hybrid search under access control, embedded or in memory."""
