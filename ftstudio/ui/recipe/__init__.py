"""The wizard: task, data, model, method, settings, review."""
