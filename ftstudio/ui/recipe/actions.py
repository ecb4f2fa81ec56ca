"""The keys of the Recipe screen, and what `?` tells about it."""

from __future__ import annotations

from ftstudio.ui.shell.actions import Action

NEXT = Action("n", "next", "next", "the next step (enter does the same)")
BACK = Action("escape,b", "back", "back", "the step before; nothing is lost")
FIELD = Action("tab", "app.focus_next", "next field", "the next field; shift+tab the one before, ↑ and ↓ too")
START = Action("s", "start", "start", "start the run")
ACCEPT = Action("a", "accept", "accept", "accept the errors in the rows by name; the recipe keeps which")
COLUMNS = Action("c", "columns", "columns", "which column is the prompt, which the completion")
MEASURE = Action(
    "m",
    "measure",
    "measure",
    "take a few real steps: what memory and time the run takes here; a model in memory is let go of first",
)
SMALLER = Action(
    "f",
    "smaller",
    "fit",
    "less goes through the model at once, where that takes less memory; each step learns the same",
)
UNDO = Action("u", "undo", "undo", "take back what fit has changed")
SWEEP = Action("S", "sweep", "sweep", "several runs, one after another: one for each of the values you list")
YAML = Action("v,ctrl+y", "yaml", "yaml", "show the recipe as YAML, or hide it")
OPEN = Action("o,ctrl+o", "open_preset", "presets", "open a preset")
SAVE = Action("w,ctrl+s", "save_preset", "save", "save the recipe as a preset of your own")
FRESH = Action("ctrl+n", "fresh", "new", "begin a new recipe; asks first")
ALL = (NEXT, BACK, FIELD, START, ACCEPT, MEASURE, SMALLER, UNDO, SWEEP, COLUMNS, OPEN, SAVE, YAML, FRESH)

HELP = """
A recipe says what is trained, on which rows, how and how it is judged. The wizard asks for it in six steps; nearly \
everything has a good default, so that data and model are often all you name. Every change is kept: leave the screen, \
or the studio, and go on later.

enter goes to the next step, esc to the one before; tab and the arrows go from field to field. While you type in a \
field letters are text: ctrl+s saves, ctrl+o opens a preset, ctrl+y shows the YAML.

LoRA trains a small adapter beside the model and leaves the model as it is; QLoRA does the same over a model squeezed \
into 4 bits, for big models on small GPUs; full training changes every weight. An epoch is one pass over your rows. \
Held-out rows are kept away from training, to see whether the model really got better.

On the last step S starts a sweep: list values, such as training.learning_rate=1e-4,2e-4, and each gets a run; with \
several keys each combination does. They train one after another, past those that fail; Train names the best.
"""
