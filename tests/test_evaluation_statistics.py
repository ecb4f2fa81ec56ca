"""Statistics against scipy, against enumeration, and against what they promise."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftstudio.evaluation import statistics

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("count", "n"), [(0, 10), (3, 10), (10, 10), (57, 1000), (1, 1)])
def test_wilson_equals_scipys(count: int, n: int) -> None:
    wanted = stats.binomtest(count, n).proportion_ci(method="wilson")
    assert statistics.wilson(count, n) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    wanted = stats.binomtest(min(only_a, only_b), only_a + only_b).pvalue if only_a + only_b else 1.0
    assert statistics.mcnemar(only_a, only_b) == pytest.approx(wanted, rel=1e-9)


def test_mcnemar_of_very_many_rows() -> None:
    assert 0 < statistics.mcnemar(0, 5000) < 1e-300  # as small as a float can say, never 0
    assert statistics.mcnemar(50_000, 50_300) == pytest.approx(stats.binomtest(50_000, 100_300).pvalue, rel=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_corrects_upwards_in_order(values: list[float]) -> None:
    corrected = statistics.holm(values)
    assert all(value <= new <= 1 for value, new in zip(values, corrected, strict=True))
    ordered = sorted(zip(values, corrected, strict=True))
    assert [new for _, new in ordered] == sorted(corrected)
    assert corrected[values.index(min(values))] == pytest.approx(min(1, min(values) * len(values)))


def test_holm_of_a_known_example() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_the_bootstrap_interval_equals_scipys() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.normal(0, 1, 200), generator.normal(0.3, 1, 200)
    difference, low, high, _ = statistics.paired(list(a), list(b))
    wanted = stats.bootstrap((b - a,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert difference == pytest.approx(float((b - a).mean()))
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=0.01)


def test_sign_flips_of_few_rows_are_enumerated() -> None:
    values = np.asarray([0.3, -0.1, 0.4, 0.2, 0.0, 0.5, 0.1])
    sums = [
        abs(sum(v * s for v, s in zip(values, signs, strict=True))) for signs in itertools.product((1, -1), repeat=7)
    ]
    wanted = sum(total >= abs(values.sum()) - 1e-12 for total in sums) / len(sums)
    assert statistics.sign_flip(values[:, None])[0] == pytest.approx(wanted)
    exact = stats.permutation_test((values, np.zeros(7)), lambda x, y: np.mean(x - y), permutation_type="samples")
    assert wanted == pytest.approx(exact.pvalue)


def test_sign_flips_of_many_rows_equal_scipys() -> None:
    generator = np.random.default_rng(5)
    values = generator.normal(0.1, 1, 300)
    ours = statistics.sign_flip(values[:, None])[0]
    wanted = stats.permutation_test(
        (values, np.zeros(300)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=5000,
        vectorized=True,
        rng=2,
    ).pvalue
    assert ours == pytest.approx(wanted, abs=0.03)


def test_columns_share_resamples_and_a_seed_repeats_them() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    values[:, 2] = 2 * values[:, 0]
    low, high = statistics.bootstrap(values, seed=7)
    assert low[2] == pytest.approx(2 * low[0])
    assert high[2] == pytest.approx(2 * high[0])
    again, _ = statistics.bootstrap(values, seed=7)
    assert again.tolist() == low.tolist()
    other, _ = statistics.bootstrap(values, seed=8)
    assert other.tolist() != low.tolist()


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(11)
    covered = 0
    for trial in range(200):
        values = generator.normal(0.2, 1, (80, 1))
        low, high = statistics.bootstrap(values, resamples=1000, seed=trial)
        covered += bool(low[0] <= 0.2 <= high[0])
    assert 180 <= covered <= 199


def test_no_difference_is_called_one_seldom() -> None:
    generator = np.random.default_rng(12)
    false = sum(
        statistics.sign_flip(generator.normal(0, 1, (60, 1)), resamples=1000, seed=trial)[0] < 0.05
        for trial in range(200)
    )
    assert false <= 20


@settings(max_examples=30)
@given(st.integers(0, 19))
def test_few_rows_get_no_verdict_but_how_many_are_missing(n: int) -> None:
    assert statistics.verdict(1, 2, n) == f"too few rows ({20 - n} more needed)"


def test_verdicts() -> None:
    assert statistics.verdict(0.1, 0.2, 20) == "better"
    assert statistics.verdict(-0.2, -0.1, 20) == "worse"
    assert statistics.verdict(-0.2, -0.1, 20, False) == "better"
    assert statistics.verdict(-0.1, 0.2, 20) == "no clear difference"
    assert statistics.verdict(0.0, 0.2, 20) == "no clear difference"
    assert statistics.verdict(1, 2, 20, None) == "greater"


def test_ten_thousand_resamples_are_small() -> None:
    values = np.random.default_rng(0).normal(size=(1000, 1))
    statistics.bootstrap(values, resamples=100)
    tracemalloc.start()
    statistics.bootstrap(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_very_many_rows_draw_fewer_resamples() -> None:
    assert statistics.affordable(1000, 10_000) == 10_000
    assert statistics.affordable(10_000, 10_000) == 10_000
    assert statistics.affordable(10**7, 10_000) == 1000


def test_unequal_lengths_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        statistics.paired([1.0], [1.0, 2.0])
    assert statistics.paired([], []) == (0.0, 0.0, 0.0, 1.0)
