"""The HTTP interface: routes, event streams, and the mapping of errors to statuses."""
