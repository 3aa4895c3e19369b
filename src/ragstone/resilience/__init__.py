"""Deadlines and admission: what keeps the server answering when more is asked than it can do."""
