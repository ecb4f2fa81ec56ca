"""Repairs and versions of a dataset: what a person changes, kept so that nothing is lost and all can be told.

identity.py   which row is which: its number in the source and a hash of what it holds
codec.py      rows as strict JSON and back, whatever a Parquet file held
edit.py       one edit: changes, drops and new rows, each saying what it expects to find
working.py    a dataset with edits upon it, seen as a dataset
actions.py    edits of cells and rows        replace.py   find and replace, with a preview
repairs.py    what mends the rows of a check
journal.py    an append-only file of what was done; written by one process at a time, to the disk before it counts
history.py    the journal as a list of edits: done, undone, redone, saved
pending.py    the edits not saved yet: do, undo, redo, save, together with other studios
rebase.py     edits on a source that has changed
shelf.py      the datasets of a workspace    store.py     one immutable version: written once, read back
address.py    `name@version` in a recipe     diff.py      what two versions don't share
export.py     JSONL, CSV and Parquet         formulas.py  cells that a spreadsheet would run
"""
