"""Metrics and logs. A failure in here never reaches a request."""
