"""Widgets for much text on a slow link: tables, panes side by side, diffs, marked places; only changes are drawn."""
