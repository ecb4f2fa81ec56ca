"""The runs of the workspace."""
