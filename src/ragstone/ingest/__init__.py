"""From files to searchable chunks: parse, chunk, and the jobs that carry them through."""
