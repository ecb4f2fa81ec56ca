"""Widgets that several screens share: a path field with completion, choices, form fields."""
