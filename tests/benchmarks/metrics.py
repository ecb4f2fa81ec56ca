"""How fast the evaluation is: `python tests/benchmarks/metrics.py`. CPU seconds on this machine, one thread.

Real texts from ../shared where they are, synthetic ones elsewhere. Each line: what, measured, what the design asks for.
"""

# ruff: noqa: E402 (the path comes first)
from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import evaluation_samples as samples
import numpy as np

from ftstudio.evaluation import metrics, overlap, spelling, statistics
from ftstudio.evaluation.categories import categorise, detectors
from ftstudio.evaluation.comparison import Arm, compare
from ftstudio.evaluation.context import of_predictions
from ftstudio.evaluation.diff import diff
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.scoring import RowScorer
from ftstudio.evaluation.similarity import STATIC, load_embedder

NINE = (
    "empty",
    "too_long",
    "too_short",
    "truncated",
    "repetitive",
    "misspelling",
    "copying",
    "template_leak",
    "mode_collapse",
)


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """CPU seconds of WORK, the best of REPEATS."""
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def line(what: str, measured: str, wanted: str = "") -> None:
    """Print one figure."""
    print(f"{what:<52}{measured:>16}   {wanted}", flush=True)


def detectors_of(name: str, rows: list[Prediction]) -> None:
    """The detectors on ROWS, by themselves and together."""
    per = 1000 / len(rows)
    line(f"context of {len(rows):,} {name}", f"{seconds(lambda: of_predictions(rows)):.2f} s")
    context = of_predictions(rows)
    nine = {key: detectors()[key] for key in NINE}
    took = seconds(lambda: categorise(rows, context, detectors=nine, references=False))
    line(f"nine detectors, 1,000 {name}", f"{per * took:.3f} s", "≤ 0.5 s")
    took = seconds(lambda: categorise(rows, context))
    line(f"all detectors, on references too, 1,000 {name}", f"{per * took:.3f} s")
    for key, detector in detectors().items():
        took = seconds(lambda one={key: detector}: categorise(rows, context, detectors=one, references=False))  # type: ignore[misc]
        line(f"  {key}", f"{per * took * 1000:.0f} ms")


def nearest_of(count: int = 100_000) -> None:
    """From a failing row back to COUNT training rows: their index made, opened again, and asked."""
    import tempfile

    from ftstudio.evaluation.neighbours import Neighbours

    embedder = load_embedder("static", allow_torch=False)
    few = samples.synthetic(1000)
    rows = [(at, f"{few[at % 1000].prompt} {at}", f"{few[at * 7 % 1000].output} {at}") for at in range(count)]
    started = time.process_time()
    index = Neighbours.build(embedder, rows)
    assert index is not None
    line(f"index of {count:,} training rows, made once", f"{time.process_time() - started:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.npz"
        index.save(path, "key")
        took = seconds(lambda: Neighbours.load(path, "key", embedder), 1)
    line("  opened again", f"{took:.2f} s")
    line("  what counts as near, once", f"{seconds(lambda: index.near, 1):.2f} s")
    asked = iter(range(1000))

    def nearest() -> None:
        row = few[next(asked)]
        index.nearest(row.prompt, row.reference, 30)
        index.alone([row.prompt])

    line(f"  the 30 nearest of {count:,} to a row", f"{seconds(nearest, 5):.3f} s", "≤ 1 s")


def scored_again(rows: list[Prediction], count: int = 10_000) -> None:
    """COUNT stored rows, of ROWS with a number each so that none is remembered, scored as `compare --predictions` does
    with the metrics of a recipe, no model loaded."""
    many = [
        Prediction(index, f"{row.prompt} {index}", row.reference, f"{row.output} {index}")
        for index, row in ((index, rows[index % len(rows)]) for index in range(count))
    ]
    worse = [Prediction(row.row, row.prompt, row.reference, " ".join(row.output.split()[::2])) for row in many]

    def scores() -> None:
        scorer = RowScorer(["rouge1", "rouge2", "rougeL", "exact_match", "length"])
        for arm in (worse, many):
            scorer.score(arm)
        values = np.asarray([scorer.score([b])[0]["rougeL"] - scorer.score([a])[0]["rougeL"] for a, b in
                             zip(worse, many, strict=True)])  # fmt: skip
        statistics.bootstrap(values[:, None])
        statistics.sign_flip(values[:, None])

    line(f"{2 * count:,} answers to {count:,} stored rows scored again", f"{seconds(scores, 1):.2f} s", "≤ 5 s")
    arms = [Arm("base", worse), Arm("tuned", many)]
    took = seconds(lambda: compare(arms, metrics=["rouge"]), 1)
    line("  with intervals, categories and slices", f"{took:.2f} s")
    line("  torch imported", str("torch" in sys.modules), "False")


def main() -> None:
    """All of it."""
    shared = ROOT.parent / "shared"
    real = (shared / "data").is_dir()
    line("English word list", f"{seconds(lambda: spelling.dictionary.__wrapped__('en'), 1):.2f} s")
    sets = {"synthetic": samples.synthetic(1000)}
    if real:
        sets |= {"gsm8k": samples.gsm8k(shared), "alpaca": samples.alpaca(shared)}
    for name, rows in sets.items():
        detectors_of(name, rows)
    rows = list(sets.values())[-1][:1000]
    others = [rows[(index + 1) % len(rows)].output for index in range(len(rows))]
    pairs = list(zip(others, [row.output for row in rows], strict=True))

    rate = len(pairs) / seconds(lambda: overlap.rouges(pairs))
    line("ROUGE-1/2/L, ours", f"{rate:,.0f} pairs/s")
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        pass
    else:
        scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
        theirs = 100 / seconds(lambda: [scorer.score(b, a) for a, b in pairs[:100]], 1)
        line("ROUGE-1/2/L, rouge-score", f"{theirs:,.0f} pairs/s", f"ours is {rate / theirs:.0f} times as fast")
    outputs, references = [a for a, _ in pairs], [b for _, b in pairs]
    for name in metrics.CORPUS_METRICS:
        took = seconds(lambda name=name: metrics.corpus_score(name, outputs, references), 1)  # type: ignore[misc]
        line(f"{metrics.TITLES[name]}, {len(pairs):,} pairs", f"{took:.2f} s")
    values = np.random.default_rng(0).normal(size=(1000, 1))
    line(
        "paired bootstrap, 10,000 resamples of 1,000 rows",
        f"{seconds(lambda: statistics.bootstrap(values)):.3f} s",
        "0.16 s",
    )
    line("sign flips, 10,000 of 1,000 rows", f"{seconds(lambda: statistics.sign_flip(values)):.3f} s")
    embedder = None
    folder = STATIC if (STATIC / "model.safetensors").is_file() else shared / "models/potion-base-4m-int8"
    if (folder / "model.safetensors").is_file():
        embedder = load_embedder(str(folder), allow_torch=False)
        line("static embedding, texts", f"{1000 / seconds(lambda: embedder._encode(references), 2):,.0f} /s")
    worse = [Prediction(row.row, row.prompt, row.reference, " ".join(row.output.split()[::2])) for row in rows]
    arms = [Arm("base", worse), Arm("tuned", rows)]
    line(f"whole comparison of {len(rows):,} rows", f"{seconds(lambda: compare(arms, embedder=embedder), 1):.2f} s")
    scored_again(rows)
    nearest_of()
    line("suggestions for a misspelt word", f"{1000 * seconds(lambda: spelling.suggestions('recieve')):.0f} ms")
    long = " ".join(f"w{index % 977}" for index in range(200_000))
    context = of_predictions(rows)
    took = seconds(lambda: categorise([Prediction(0, "p", "r", long)], context), 1)
    line(f"one output of {len(long) / 1e6:.1f} MB, all detectors", f"{took:.2f} s", "≤ 1 s")
    line(f"diff of {len(long) / 1e6:.1f} MB", f"{seconds(lambda: diff(long, long.replace('w7 ', 'x ')), 1):.2f} s")


if __name__ == "__main__":
    main()
