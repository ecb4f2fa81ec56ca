"""What a model gets wrong, by category."""
