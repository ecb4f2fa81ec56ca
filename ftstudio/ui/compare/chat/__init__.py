"""The chat: what a person types is answered by two arms side by side."""
