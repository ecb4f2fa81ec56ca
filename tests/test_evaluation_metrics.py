"""Metrics are those of the libraries that define them, to the last digit."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from guard import ends
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.evaluation import metrics, overlap
from ftstudio.evaluation.answer import answer, right
from ftstudio.evaluation.porter import stem
from ftstudio.evaluation.spelling import dictionary

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
NAMES = ("rouge1", "rouge2", "rougeL")
WORDS = [
    "running",
    "Runs",
    "flies",
    "happily",
    "x2",
    "the",
    "the",
    "cat's",
    "naïve",
    "ÉTÉ",
    "relational",
    "a",
    "İ",
    "K",
    "ﬁx",
]


@pytest.fixture(scope="module")
def oracle() -> rouge_scorer.RougeScorer:
    return rouge_scorer.RougeScorer(list(NAMES), use_stemmer=True)


def same_as(oracle: rouge_scorer.RougeScorer, output: str, reference: str) -> None:
    ours, theirs = overlap.rouge_scores(output, reference), oracle.score(reference, output)
    for name in NAMES:
        assert tuple(ours[name]) == tuple(theirs[name]), (name, output, reference)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 6])  # 2,035 pairs in all
def test_rouge_equals_rouge_score_on_real_pairs(shared: Path, oracle: rouge_scorer.RougeScorer, every: int) -> None:
    rows = [json.loads(line) for line in (shared / "data/scitldr/test.jsonl").read_text().split("\n") if line]
    pairs = [(row[side][-1], row["target"][0]) for row in rows[::every] for side in ("source", "target")]
    sums = [json.loads(line) for line in (shared / "data/gsm8k/test.jsonl").read_text().splitlines()][:800:every]
    pairs += [(first["answer"], second["answer"]) for first, second in pairwise(sums)]
    theirs = [oracle.score(reference, output) for output, reference in pairs]
    for pair, ours, scores in zip(pairs, overlap.rouges(pairs), theirs, strict=True):  # all at once
        assert tuple(getattr(ours, name) for name in NAMES) == tuple(scores[name].fmeasure for name in NAMES), pair


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=25),
    st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=25),
)
def test_rouge_equals_rouge_score_on_any_text(oracle: rouge_scorer.RougeScorer, a: list[str], b: list[str]) -> None:
    same_as(oracle, " ".join(a), " ".join(b))


def test_rouge_of_many_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, and the memory of words, end in the midst; empty texts and the same text twice stand among the others."""
    chance = random.Random(0)
    texts = ["", "...", *(" ".join(chance.choices(WORDS, k=chance.randrange(9))) for _ in range(60))]
    pairs = [(chance.choice(texts), chance.choice(texts)) for _ in range(300)]
    alone = [overlap.rouge(*pair) for pair in pairs]
    monkeypatch.setattr(overlap, "_AT_ONCE", 100)
    monkeypatch.setattr(overlap, "_MOST_WORDS", 5)
    assert overlap.rouges(pairs) == alone  # one pair is counted in another way than many
    assert overlap.rouges([]) == []


def test_the_stemmer_equals_nltks_on_the_dictionary() -> None:
    theirs = pytest.importorskip("nltk.stem.porter").PorterStemmer()
    words = sorted(word.replace("'", "") for word in dictionary())[::9]
    endings = [
        "ational",
        "alli",
        "eli",
        "logi",
        "fulli",
        "iviti",
        "ement",
        "ion",
        "eed",
        "ied",
        "ies",
        "ing",
        "y",
        "ll",
        "e",
    ]
    words += [head + tail for head in ("", "a", "by", "tre", "ayy", "yy", "stt", "1b") for tail in endings]
    assert [word for word in words if stem(word) != theirs.stem(word)] == []


@settings(max_examples=300, deadline=None)
@given(st.text("aeiouylstzbcdngr1", max_size=14))
def test_the_stemmer_equals_nltks_on_any_word(word: str) -> None:
    from nltk.stem.porter import PorterStemmer

    assert stem(word) == PorterStemmer().stem(word)


def test_counts_of_rows_are_those_of_sacrebleu() -> None:
    from sacrebleu.metrics import BLEU, CHRF

    many = "".join(map(chr, range(0x4E00, 0x4E00 + 1500)))  # more different characters than a key has room for
    pieces = [
        "1.5",
        "a..5",
        "...",
        "&amp;",
        "<skipped>",
        "x-\ny",
        "5-4",
        "U.S.",
        "1,000",
        "&lt;b&gt;",
        "一二",
        "é\u2028",
        "",
    ]
    draw = random.Random(0)
    texts = [" ".join(draw.choices(pieces, k=draw.randint(0, 9))) for _ in range(300)]
    outputs, references = [*texts, many, "a b", ""], [*texts[1:], texts[0], many[::-1], "", "b"]
    for name, theirs in (("bleu", BLEU(force=True)), ("chrf", CHRF())):
        theirs.num_refs = 1
        theirs._ref_cache = theirs._cache_references([references])
        wanted = np.asarray(theirs._extract_corpus_statistics(outputs, None))
        [found] = metrics.corpus_metric(name).statistics([outputs], references)
        assert (found == wanted).all(), name


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text("abc de.,1é", max_size=40), st.text("abc de.,1é", max_size=40)), min_size=1, max_size=6)
)
def test_bleu_and_chrf_equal_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    from sacrebleu.metrics import BLEU, CHRF

    outputs, references = [a for a, _ in pairs], [b for _, b in pairs]
    assert metrics.corpus_score("bleu", outputs, references) == pytest.approx(
        BLEU().corpus_score(outputs, [references]).score, abs=1e-9
    )
    assert metrics.corpus_score("chrf", outputs, references) == pytest.approx(
        CHRF().corpus_score(outputs, [references]).score, abs=1e-9
    )


def test_resampled_corpora_score_as_sacrebleu_scores_them(shared: Path) -> None:
    from sacrebleu.metrics import BLEU, CHRF

    rows = [json.loads(line) for line in (shared / "data/scitldr/test.jsonl").read_text().split("\n") if line][:40]
    outputs, references = [row["source"][0] for row in rows], [row["target"][0] for row in rows]
    drawn = np.random.default_rng(0).integers(0, len(rows), (5, len(rows)))
    for name, theirs in (("bleu", BLEU(force=True)), ("chrf", CHRF())):
        [counts] = metrics.corpus_metric(name).statistics([outputs], references)
        ours = metrics.corpus_metric(name).score(np.stack([counts[sample].sum(axis=0) for sample in drawn]))
        wanted = [
            theirs.corpus_score([outputs[i] for i in sample], [[references[i] for i in sample]]).score
            for sample in drawn
        ]
        assert ours == pytest.approx(wanted, abs=1e-9)


def test_signatures_say_what_the_numbers_depend_on() -> None:
    import sacrebleu

    assert "tok:13a" in metrics.signature("bleu")
    assert f"version:{sacrebleu.__version__}" in metrics.signature("bleu")
    assert "nc:6" in metrics.signature("chrf")
    assert "stemmer:porter" in metrics.signature("rougeL")


def test_names_of_a_recipe_stand_for_metrics() -> None:
    assert metrics.expand(["rouge", "bleu", "rouge1"]) == (["rouge1", "rouge2", "rougeL", "bleu", "chrf"], [])
    assert metrics.expand(["blue"]) == ([], ["blue"])


@pytest.mark.parametrize(
    ("text", "kind", "wanted"),
    [
        ("so 5\n#### 1,200", "marker", "1200"),
        ("#### -3.50", "marker", "-3.5"),
        ("x = −3", "number", "-3"),
        ("we get 7 apples, 8 in all.", "marker", "8"),
        ("$1,000.00", "number", "1000"),
        ("007", "number", "7"),
        ("no digits", "number", None),
        ("  Positive.\n", "label", "positive"),
        ("", "exact", None),
    ],
)
def test_answers_in_texts(text: str, kind: str, wanted: str | None) -> None:
    assert answer(text, kind) == wanted


def test_right_and_wrong() -> None:
    assert right("The capital  is PARIS.", "the capital is Paris")
    assert not right("Paris", "London")
    assert not right("I can't tell.", "no solution", "number")  # neither holds a number
    assert right("No solution.", "no solution", "number")


def test_length_counts_words_of_every_script() -> None:
    assert metrics.length("two words") == 2
    assert metrics.length("你好 ok") == 3
    assert metrics.length("") == 0


def test_scoring_a_megabyte_comes_to_an_end() -> None:
    with ends():
        overlap.rouge("word " * 200_000, "another text " * 100_000)
        metrics.corpus_score("chrf", ["ab " * 400_000], ["ba " * 400_000])


def test_importing_and_scoring_needs_neither_nltk_nor_torch() -> None:
    program = (
        "import sys; from ftstudio.evaluation import metrics, overlap; overlap.rouge('a cat', 'a dog');"
        "metrics.corpus_score('bleu', ['a'], ['a']); print({'nltk', 'torch', 'rouge_score'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
