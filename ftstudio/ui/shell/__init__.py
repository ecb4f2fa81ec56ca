"""What every screen stands in: the app, the strip on top, the key line, help, palette, dialogs."""
