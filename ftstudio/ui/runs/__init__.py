"""Home: all runs of the workspace, what became of them, and what can be done with each."""
