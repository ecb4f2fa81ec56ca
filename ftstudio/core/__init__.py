"""Recipe, events, run folder, workspace, atomic files. No torch, no textual, no datasets."""
