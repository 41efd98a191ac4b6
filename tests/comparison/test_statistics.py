from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nlbench.comparison import statistics

SAMPLES = [np.random.default_rng(seed).normal(0.3, 1, n) for seed, n in enumerate((2, 3, 5, 10, 16))]


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_agrees_with_scipy(sample: np.ndarray, confidence: float) -> None:
    found = statistics.mean_interval(sample, confidence)
    expected = stats.ttest_1samp(sample, 0).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


@pytest.mark.parametrize("sample", SAMPLES)
def test_t_test_agrees_with_scipy(sample: np.ndarray) -> None:
    assert statistics.t_test(sample) == pytest.approx(stats.ttest_1samp(sample, 0).pvalue, rel=1e-10)


@pytest.mark.parametrize("pair", list(itertools.permutations(SAMPLES, 2)))
def test_welch_agrees_with_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = statistics.difference_interval(*pair, confidence=0.9)
    expected = stats.ttest_ind(*pair, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


@pytest.mark.parametrize("sample", SAMPLES[:4])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_sign_flips_agree_with_scipy(sample: np.ndarray, alternative: statistics.Alternative) -> None:
    expected = stats.permutation_test(
        (sample,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative=alternative
    ).pvalue
    assert statistics.sign_flip_test(sample, alternative) == pytest.approx(expected, abs=1e-12)


def test_sign_flips_beyond_the_exact_range_repeat_and_agree() -> None:
    sample = np.random.default_rng(5).normal(0.3, 1, 30)
    p = statistics.sign_flip_test(sample)
    statistics._signs.cache_clear()
    assert statistics.sign_flip_test(sample) == p
    assert p == pytest.approx(statistics.t_test(sample), abs=0.01)
    assert statistics.sign_flip_test(np.ones(40)) == 2 / 65536 or statistics.sign_flip_test(np.ones(40)) == statistics.smallest_p(
        40
    )


@pytest.mark.parametrize(("n", "least"), [(5, 0.03125), (10, 1 / 1024)])
def test_the_least_p_of_few_seeds(n: int, least: float) -> None:
    gains = np.linspace(0.1, 0.2, n)
    assert statistics.sign_flip_test(gains, "greater") == least
    assert statistics.sign_flip_test(gains) == 2 * least == statistics.smallest_p(n)
    assert statistics.sign_flip_test(-gains, "greater") == 1


def test_sums_that_tie_but_for_rounding_count_as_ties() -> None:
    """0.1 + 0.2 − 0.3 is 5.6e-17 in floating point: without slack a permutation that ties is missed."""
    assert statistics.sign_flip_test(np.array([0.1, 0.2, -0.3])) == 1
    thirds = np.array([0.3, 0.1 + 0.2, 0.3])
    assert statistics.sign_flip_test(thirds) == 0.25


@settings(deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=2, max_size=9))
def test_two_sided_p_is_symmetric_and_attainable(counts: list[int]) -> None:
    found = np.array(counts) / 100
    p = statistics.sign_flip_test(found)
    assert p == statistics.sign_flip_test(-found)
    assert statistics.smallest_p(len(counts)) <= p <= 1


def test_nothing_varies() -> None:
    same = np.array([0.3 - 0.28, 0.5 - 0.48, 0.9 - 0.88, 0.1 - 0.08, 0.7 - 0.68])
    assert same.std() > 0  # rounding, not spread
    assert statistics.mean_interval(same)[:3] == pytest.approx((0.02, 0.02, 0.02))
    assert statistics.mean_interval(same).sd == 0
    assert statistics.t_test(same) == 0
    assert statistics.t_test(np.zeros(5)) == 1
    assert statistics.effect_size(same) is None
    assert statistics.difference_interval(same, np.zeros(3)).low == statistics.difference_interval(same, np.zeros(3)).high


def test_one_value_has_no_interval() -> None:
    assert np.isnan(statistics.mean_interval(np.array([0.5])).low)
    assert np.isnan(statistics.difference_interval(np.array([0.5]), np.array([0.4, 0.3])).high)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_agrees_with_its_definition(p_values: list[float]) -> None:
    p = np.array(p_values)
    order = np.argsort(p)
    expected, highest = np.empty_like(p), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (p.size - place) * p[index]))
        expected[index] = highest
    np.testing.assert_allclose(statistics.holm(p), expected, rtol=0, atol=1e-12)


def test_holm_on_published_numbers() -> None:
    np.testing.assert_allclose(statistics.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(("tests", "alpha"), [(1, 0.05), (6, 0.05)])
def test_seeds_to_tell_have_the_power_they_promise(tests: int, alpha: float) -> None:
    sample = np.array([0.2, 0.5, 0.9, 1.4, -0.3])
    n = statistics.seeds_to_tell(sample, tests=tests, alpha=alpha)
    assert n is not None
    effect = sample.mean() / sample.std(ddof=1)

    def power(n: int) -> float:
        critical = stats.t.ppf(1 - alpha / tests / 2, n - 1)
        return float(stats.nct.sf(critical, n - 1, effect * n**0.5))

    assert power(n) >= 0.8 > power(n - 1)


def test_seeds_to_tell_never_go_below_what_a_permutation_can_reach() -> None:
    clear = np.array([1.0, 1.01, 0.99])
    assert statistics.seeds_to_tell(clear) == 6  # 2^(1−6) = .031 is the first below .05
    assert statistics.seeds_to_tell(clear, tests=4) == 8
    assert statistics.seeds_to_tell(np.full(3, 0.2)) == 6
    assert statistics.seeds_to_tell(np.array([0.3, -0.3])) is None
    assert statistics.seeds_to_tell(np.array([0.5])) is None


def test_seeds_to_tell_grow_as_the_effect_shrinks() -> None:
    noise = np.array([-1.0, 1.0, 0.5, -0.5, 0.0])
    needed = [statistics.seeds_to_tell(noise + shift, tests=38) for shift in (40, 20, 8, 4, 2, 1, 0.5, 0.25)]
    assert needed == sorted(needed)
    assert needed[0] == 11


def test_ranks_agree_with_scipy() -> None:
    values = np.random.default_rng(0).integers(0, 4, (8, 6)).astype(float)
    np.testing.assert_array_equal(statistics.ranks(values), stats.rankdata(values, axis=1))


@pytest.mark.parametrize("levels", [3, 1000])
def test_friedman_agrees_with_scipy(levels: int) -> None:
    values = np.random.default_rng(1).integers(0, levels, (10, 5)) + np.arange(5) / 2 * (levels > 3)
    expected = stats.friedmanchisquare(*values.T).pvalue
    assert statistics.friedman_test(values.astype(float)) == pytest.approx(expected, rel=1e-10)
    assert statistics.friedman_test(np.ones((4, 3))) == 1


@pytest.mark.parametrize("k", [2, 3, 5, 10, 20])
def test_critical_difference_agrees_with_scipy(k: int) -> None:
    expected = stats.studentized_range.ppf(0.95, k, np.inf) / 2**0.5 * (k * (k + 1) / 60) ** 0.5
    assert statistics.critical_difference(k, 10) == pytest.approx(expected, rel=1e-6)


def test_critical_difference_of_demsar() -> None:
    """Demšar 2006, section 3.2.2: q.05 = 2.569 for 4 classifiers, 14 data sets, CD = 1.25."""
    assert statistics.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_pareto_front() -> None:
    gain = np.array([0.9, 0.9, 0.5, 0.95, 0.5])
    cost = np.array([10, 20, 1, 30, 1])
    np.testing.assert_array_equal(statistics.pareto_front(gain, cost), [True, False, True, True, True])


def test_intervals_cover_as_often_as_they_claim() -> None:
    rng = np.random.default_rng(7)
    samples = rng.normal(0.8, 0.02, (20_000, 5))
    intervals = [statistics.mean_interval(sample) for sample in samples]
    covered = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [2, 5, 10])
@pytest.mark.parametrize("mean", [0.5, 0.9, 0.99])
def test_a_cut_interval_covers_exactly_as_often_as_the_whole_one_and_is_no_longer(n: int, mean: float) -> None:
    rng = np.random.default_rng(9)
    samples = rng.beta(20 * mean, 20 * (1 - mean), (4_000, n))
    whole, cut = (
        np.array([statistics.mean_interval(sample, within=within)[:3] for sample in samples])
        for within in ((-np.inf, np.inf), (0, 1))
    )
    assert cut[:, 1].min() >= 0
    assert cut[:, 2].max() <= 1
    covered = [(bounds[:, 1] <= mean) & (mean <= bounds[:, 2]) for bounds in (whole, cut)]
    np.testing.assert_array_equal(*covered)
    if mean == 0.5:
        assert 0.93 <= np.mean(covered[1]) <= 0.97
    assert (cut[:, 2] - cut[:, 1] <= whole[:, 2] - whole[:, 1]).all()
    assert n > 2 or np.mean(whole[:, 2] > 1) > 0.2  # so that cutting is no idle matter


def test_a_true_null_is_rejected_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(8)
    p_values = [statistics.sign_flip_test(sample) for sample in rng.normal(0, 1, (4_000, 8))]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 4_000) ** 0.5
