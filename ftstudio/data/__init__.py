"""Loading, column mapping, templates, tokens, checks, splits."""
