"""What can be typed after `ftstudio`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from ftstudio import __version__

_EPILOG = """\
Every command takes --json (one JSON document on stdout) and --workspace FOLDER (default: ./studio, or
FTSTUDIO_WORKSPACE). Exit status: 0 done, 1 found problems or failed, 2 used wrongly, 130 stopped.
`ftstudio COMMAND --help` tells more."""


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong as JSON, too, where that was asked for."""

    wants_json = False

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser: prints usage, exits with 2."""
        if _Parser.wants_json:
            from ftstudio.cli.output import Out

            Out(json=True).error(message.removesuffix(".") + ".", f"See `{self.prog} --help`.", 2)
            self.exit(2)
        super().error(message)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command and its arguments; prints usage and exits with 2 where they can't be understood."""
    _Parser.wants_json = "--json" in words
    if (alone := _without_command(words)) is not None:
        return alone
    parser = build()
    found, rest = parser.parse_known_args(list(words))
    if rest and hasattr(found, "overrides") and not any(word.startswith("-") for word in rest):
        found.overrides += rest  # k=v behind an option, which argparse leaves over
    elif rest:
        getattr(found, "of", parser).error(f"unrecognized arguments: {' '.join(rest)}")
    return found


def _count(text: str) -> int:
    """A whole number from 1, as argparse wants it told."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def _without_command(words: Sequence[str]) -> argparse.Namespace | None:
    """What WORDS say where they name no command; None: a command, a call for help, or a mistake.

    To make the parsers of all commands takes longer than a tenth of the first paint may.
    """
    parser = argparse.ArgumentParser(parents=[_common()], add_help=False, exit_on_error=False)
    _studio(parser)
    try:
        found, rest = parser.parse_known_args(list(words))
    except (argparse.ArgumentError, SystemExit):
        return None
    return None if rest else found


def _common() -> _Parser:
    """What every command takes."""
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON document on stdout")
    common.add_argument(
        "--workspace", metavar="FOLDER", default=argparse.SUPPRESS, help="where runs are kept (default: ./studio)"
    )
    return common


def _studio(parser: argparse.ArgumentParser) -> None:
    """What `ftstudio` without a command takes beside that."""
    parser.add_argument(
        "--mouse", action=argparse.BooleanOptionalAction, default=True, help="let the studio use the mouse"
    )
    parser.set_defaults(command="studio:studio")


def build() -> argparse.ArgumentParser:
    """The parser."""
    common = _common()
    parser = _Parser(
        "ftstudio",
        parents=[common],
        formatter_class=_Help,
        epilog=_EPILOG,
        description="The terminal fine-tuning studio: inspect data, see errors, fine-tune, prove it got better.\n"
        "Without a command it opens the studio.",
    )
    parser.add_argument("--version", action="version", version=f"ftstudio {__version__}")
    _studio(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, command: str, text: str, more: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            parents=[common],
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {more}".strip(),
            formatter_class=_Help,
        )
        sub.set_defaults(command=command, of=sub)
        return sub

    sub = add("demo", "studio:demo", "the bundled model and data, the whole loop")
    sub.add_argument("--headless", action="store_true", help="no screen: run the loop and print the report")
    sub.add_argument(
        "--mouse", action=argparse.BooleanOptionalAction, default=True, help="let the studio use the mouse"
    )

    sub = add(
        "train", "train:train", "run a recipe without a screen",
        "Goes on when the terminal hangs up; ctrl+c saves a\ncheckpoint and stops. For example:\n\n"
        "  ftstudio train sft-lora data.train=rows.jsonl model=Qwen/Qwen3-0.6B\n"
        "  ftstudio train my-recipe.yaml training.epochs=2 --watch\n"
        "  ftstudio train a.yaml b.yaml --sweep training.learning_rate=1e-4,2e-4\n"
        "  ftstudio train --resume last\n\n"
        "Several recipes, and all combinations of swept values, are trained one after another, past\nfailures; the "
        "best is named at the end.",
    )  # fmt: skip
    sub.add_argument("recipe", nargs="?", metavar="RECIPE", help="a recipe file, or `demo`; several may be named")
    sub.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as training.epochs=2")
    sub.add_argument(
        "--sweep", action="append", default=[], metavar="KEY=A,B", help="train once for each of the listed values"
    )
    sub.add_argument("--watch", action="store_true", help="open the studio on it")
    sub.add_argument(
        "--resume", metavar="RUN", help="go on with RUN from its last checkpoint, with training.steps=N behind it to "
        "so many steps, also where it is done; RUN@STEP: a new run that begins at that checkpoint",
    )  # fmt: skip

    sub = add(
        "launch", "train:launch_line", "the command that trains on all GPUs of this machine",
        "Printed, not run: torchrun\nstarts a process for each GPU, and the recipe's batch is that of each. The studio "
        "shows such a run like\nevery other. `--slurm > job.sh` prints a batch script for many machines.",
    )  # fmt: skip
    sub.add_argument("recipe", metavar="RECIPE", help="a recipe file, or `demo`")
    sub.add_argument("--gpus", type=_count, metavar="N", help="of each machine (default: as many as this one has)")
    sub.add_argument("--slurm", action="store_true", help="a batch script for SLURM")
    sub.add_argument("--nodes", type=_count, metavar="N", default=2, help="machines of that script (default: 2)")

    sub = add(
        "plan", "train:plan", "what a recipe would do: fit, parameters, tokens", "Exit status 1 where it can't run."
    )
    sub.add_argument("recipe", metavar="RECIPE", help="a recipe file, or `demo`")
    sub.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as method.name=lora")
    sub.add_argument(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="take a few real steps for memory and time (default: where that takes seconds)",
    )

    sub = add("data", "inspect:data", "profile and check a dataset", "Exit status 1 where a check finds an error.")
    sub.add_argument(
        "dataset", metavar="DATASET", help="file, folder, pattern, hub id, `-` for standard input, or `demo`"
    )
    sub.add_argument(
        "reading",
        nargs="*",
        metavar="KEY=VALUE",
        help="how to read it: encoding, delimiter, quoted, header, line_ends, format, unit, chunk, overlap, label, "
        "labels, scheme, table, pair, images",
    )
    sub.add_argument("--task", metavar="TASK", help="what the rows are for (default: what they suit best)")
    sub.add_argument("--eval", metavar="DATASET", help="held-out rows, to look for leaks")
    sub.add_argument("--checks", metavar="A,B", help="only these checks; `none`: no checks (default: all)")
    sub.add_argument("--model", metavar="MODEL", help="count tokens with this model's tokenizer")
    sub.add_argument("--max-length", type=_count, metavar="N", help="tokens a row may have")
    sub.add_argument("--template", metavar="NAME", help="alpaca, chat, plain or a Jinja string")
    sub.add_argument("--column", action="append", default=[], metavar="ROLE=NAME", help="such as prompt=question")
    sub.add_argument("--split", metavar="NAME", help="split of a hub dataset")
    sub.add_argument("--replay", metavar="LOG", help="do the steps of a log of the Data screen again; with --export")
    sub.add_argument("--versions", action="store_true", help="list the dataset's versions, and what isn't saved yet")
    sub.add_argument("--diff", nargs=2, metavar=("A", "B"), help="what two versions (1, latest, source) don't share")
    sub.add_argument("--export", metavar="FILE", help="write the rows as .jsonl, .csv, .tsv or .parquet")
    sub.add_argument("--force", action="store_true", help="let --export replace a file that is there")
    sub.add_argument(
        "--repair", action="append", default=[], metavar="CHECK[=HOW]", help="repair what checks find: a new version"
    )
    sub.add_argument("--why", default="", metavar="TEXT", help="the reason, kept in the version")

    sub = add(
        "errors", "inspect:errors", "answer held-out rows and categorise what is wrong",
        "With --repair also find the\ntraining rows whose answers have the same fault and save the data without them. "
        "The whole circle:\n\n"
        "  ftstudio errors demo                                      what the base model gets wrong\n"
        "  ftstudio train demo                                       the first run, demo-qlora-1\n"
        "  ftstudio errors demo-qlora-1 --repair misspelling,format  the data without such rows, demo@1\n"
        "  ftstudio train demo data.train=demo@1                     the second run, demo-1-qlora-1\n"
        "  ftstudio errors demo-1-qlora-1                            before and after, category by category\n\n"
        "--train does the last two steps at once.",
    )  # fmt: skip
    sub.add_argument("what", nargs="?", metavar="RUN|RECIPE", help="a run's tuned model, or a recipe's base model")
    sub.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the recipe")
    sub.add_argument(
        "--predictions", metavar="FILE", help="categorise stored outputs (JSONL: prompt, reference, output)"
    )
    sub.add_argument("--rows", type=_count, metavar="N", help="at most N held-out rows")
    sub.add_argument(
        "--repair",
        action="append",
        metavar="CATEGORY[=WAY]",
        help="drop the training rows that have it (=weigh: train them a quarter as often); several by comma",
    )
    sub.add_argument("--why", default="", metavar="TEXT", help="what the version is for, kept with it")
    sub.add_argument("--train", action="store_true", help="train on the repaired data and show what it did")

    sub = add(
        "compare", "inspect:compare", "score base and tuned side by side",
        "Two to four arms on the same held-out rows. For example:\n\n"
        "  ftstudio compare last\n"
        "  ftstudio compare last --arms base,base+3shot,tuned,tuned@200\n"
        "  ftstudio compare new-run --baseline old-run --fail-if-worse\n"
        "  ftstudio compare last --on test                               the last word, on rows kept apart\n\n"
        "An arm is base, tuned, a RUN, a checkpoint (tuned@STEP, RUN@STEP), one of these with examples (+3shot drawn\n"
        "by the seed, +3near the nearest, +row4+row17), file:PATH, or a server's http://HOST/v1#MODEL.",
    )  # fmt: skip
    sub.add_argument("runs", nargs="*", metavar="RUN", help="runs to compare with their base")
    sub.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as evaluation.temperature=0.7")
    sub.add_argument("--arms", metavar="A,B,…", help="what is compared, two to four (see above)")
    sub.add_argument("--baseline", metavar="ARM", help="what the run is held against (default: the first arm)")
    sub.add_argument("--report", metavar="FOLDER", help="with --predictions: write report.json, .md and .html there")
    sub.add_argument("--fail-if-worse", action="store_true", help="exit status 1 where the run is worse than that")
    sub.add_argument("--benchmark", metavar="TASK[,TASK]", help="also run these tasks of lm_eval (mmlu, boolq, …)")
    sub.add_argument("--benchmark-path", metavar="FOLDER", help="take them from the task files in FOLDER (offline)")
    sub.add_argument("--benchmark-limit", type=_count, metavar="N", help="at most N questions of a task")
    sub.add_argument("--judge", metavar="MODEL", help="a judge: base, a folder, a hub id, or http://HOST/v1#MODEL")
    sub.add_argument("--predictions", nargs=2, metavar=("A", "B"), help="compare two files of stored outputs")
    sub.add_argument("--rows", type=_count, metavar="N", help="at most N held-out rows")
    sub.add_argument(
        "--on", choices=["eval", "test"], default="eval", help="the held-out rows (default), or those kept for the test"
    )
    sub.add_argument(
        "--similarity", metavar="NAME", default=None, help="with --predictions: minilm, static, a folder or a hub id"
    )
    sub.add_argument("--votes", action="store_true", help="no comparison: the tally of the blind votes on it so far")

    add(
        "queue",
        "queue:queue",
        "train the runs that wait, one after another",
        "Those that were prepared and not begun; of a sweep that was cut short, the interrupted ones go on, too.",
    )
    add("runs", "runs:runs", "runs and their state")
    for name, text in (
        ("stop", "checkpoint, stop and save a run"),
        ("pause", "pause a run; its model stays loaded"),
        ("resume", "go on with a paused run"),
        ("checkpoint", "save a checkpoint now"),
        ("evaluate", "judge a run on its held-out rows now"),
    ):
        sub = add(name, "runs:control", text, "From any terminal.")
        sub.set_defaults(request=name)
        sub.add_argument("run", metavar="RUN", help="its name, a beginning of it, or `last`")

    sub = add("export", "export:export", "a run's model for others: adapter, merged, gguf, card")
    sub.add_argument("run", metavar="RUN", help="its name, a beginning of it, or `last`")
    sub.add_argument("kind", choices=["adapter", "merged", "gguf", "card"], help="merged: into the original weights")
    sub.add_argument("--to", metavar="FOLDER", help="a new folder (default: export/KIND in the run's folder)")
    sub = add("lr", "runs:rate", "set the learning rate of a run while it trains", "Its schedule goes on from there.")
    sub.add_argument("run", metavar="RUN", help="its name, a beginning of it, or `last`")
    sub.add_argument("value", type=float, metavar="RATE", help="the new peak learning rate, such as 1e-4")
    sub = add(
        "extend", "runs:extend", "give a run more steps while it trains, or fewer",
        "The learning rate's schedule\nbecomes that of the new length. `extend RUN -- -50` shortens it by 50 steps.",
    )  # fmt: skip
    sub.add_argument("run", metavar="RUN", help="its name, a beginning of it, or `last`")
    sub.add_argument("value", type=int, metavar="STEPS", help="how many more steps; below zero: fewer")
    sub.add_argument("--to", action="store_true", help="STEPS is how many the run has in all")

    add("doctor", "checkup:doctor", "GPU, libraries, disk, terminal")
    return parser
