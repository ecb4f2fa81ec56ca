"""Base and tuned, side by side."""
