"""A server in several processes: a supervisor, an engine, and gateways before it."""
