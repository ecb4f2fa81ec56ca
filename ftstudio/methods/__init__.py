"""One file a method: how it changes a loaded model, what it costs, what it cannot do."""
