"""Textual screens and widgets. The only place that imports textual or plotext. Never imports torch."""
