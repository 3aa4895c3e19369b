"""Collections, documents, jobs and API keys, kept in SQLite or PostgreSQL.

`sql_records.SqlRecords` is the adapter, `memory.MemoryRecords` the fake, and
`cached.CachedRecords` what stands before either on the path of a question.
"""
