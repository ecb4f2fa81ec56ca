"""A run, live or of last week, from its events."""
