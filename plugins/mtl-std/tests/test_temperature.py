"""Datasets drawn by temperature: shares, order within a dataset, and the way from a configuration."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std.classification import Classification
from mtl_std.temperature import Temperature, quotas

from mtl_toolkit import DataError, Labels

EXPR = Classification(classes=("a", "b", "c"))
SIZES = st.lists(st.integers(1, 2000), min_size=1, max_size=6)


def numbers(*sizes):
    return np.repeat(np.arange(len(sizes)), sizes)


def drawn(sizes, seed=0, **options):
    draw = Temperature(**options).build_over(numbers(*sizes), {}, {})
    return draw(np.random.default_rng(seed))


def by_hand(sizes, temperature, total):
    """Largest remainder, one seat at a time, in exact arithmetic but for the powers."""
    powers = [Fraction(size ** (1 / temperature)) for size in sizes]
    exact = [total * power / sum(powers) for power in powers]
    seats = [math.floor(one) for one in exact]
    while sum(seats) < total:
        most = max(range(len(sizes)), key=lambda at: (round(float(exact[at] - seats[at]), 9), -at))
        seats[most] += 1
    return seats


@settings(deadline=None)
@given(SIZES, st.sampled_from([1.0, 1.5, 2.0, 5.0, 100.0, math.inf]), st.integers(0, 5000))
def test_shares_are_those_of_the_powers_by_largest_remainder(sizes, temperature, total):
    found = quotas(np.array(sizes), temperature, total)
    assert found.sum() == total
    weights = np.array(sizes, float) ** (1 / temperature)
    assert (np.abs(found - total * weights / weights.sum()) < 1 + 1e-6).all()
    assert found.tolist() == by_hand(sizes, temperature, total)


def test_shares_of_an_example():
    assert quotas(np.array([900, 100]), 2.0, 1000).tolist() == [750, 250]
    assert quotas(np.array([2, 1, 1]), math.inf, 4).tolist() == [2, 1, 1]  # of equal remainders the first


@pytest.mark.parametrize("seed", [0, 1])
def test_at_temperature_one_every_sample_comes_once(seed):
    found = drawn((30, 7, 1), seed, temperature=1.0)
    assert sorted(found) == list(range(38))


def test_a_pass_is_as_long_as_the_stream_with_the_share_of_each_dataset():
    sizes = (400, 40, 4)
    found = drawn(sizes, temperature=2.0)
    shares = Counter(numbers(*sizes)[found].tolist())
    roots = np.sqrt(sizes)
    assert [shares[at] for at in range(3)] == pytest.approx(444 * roots / roots.sum(), abs=1)
    assert found.dtype == np.int64


def test_within_a_dataset_every_sample_comes_once_before_any_comes_twice():
    sizes = (400, 40, 4)
    found = drawn(sizes, temperature=math.inf)
    for at, size in enumerate(sizes):
        own = found[numbers(*sizes)[found] == at]
        assert len(own) == 148
        rounds = [own[start : start + size] for start in range(0, 148, size)]
        for one in rounds:
            assert len(set(one.tolist())) == len(one)
        assert len(rounds) == 1 or any((one != rounds[0]).any() for one in rounds[1:-1])


def test_datasets_are_mixed_throughout_a_pass():
    found = numbers(500, 500)[drawn((500, 500), temperature=1.0)]
    halves = found[:500].mean(), found[500:].mean()
    assert all(0.4 < half < 0.6 for half in halves)


def test_the_order_is_the_generators_and_that_of_datasets_in_any_order():
    mixed = np.random.default_rng(3).permutation(numbers(30, 10))
    draw = Temperature(temperature=3.0).build_over(mixed, {}, {})
    first, again, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert np.bincount(mixed[first]).tolist() == quotas(np.array([30, 10]), 3.0, 40).tolist()


def test_numbers_of_datasets_without_samples_are_no_datasets():
    draw = Temperature(temperature=math.inf).build_over(np.array([4, 4, 4, 9]), {}, {})
    assert Counter(draw(np.random.default_rng(0)).tolist())[3] == 2


def test_balanced_within_draws_the_strata_of_each_dataset_alike():
    classes = np.array([0] * 900 + [1] * 100 + [2] * 40 + [0] * 8 + [-1] * 2)
    labels = {"expr": Labels(classes, classes >= 0)}
    draw = Temperature(temperature=math.inf, within="balanced").build_over(
        numbers(1000, 50), labels, {"expr": EXPR}
    )
    passes = np.concatenate([draw(np.random.default_rng(seed)) for seed in range(20)])
    first, second = (classes[passes[mine]] for mine in (passes < 1000, passes >= 1000))
    assert len(first) == len(second)
    # Six standard deviations of a share of one half among 10,500 draws.
    assert np.bincount(first, minlength=3) / len(first) == pytest.approx([0.5, 0.5, 0], abs=0.03)
    assert second.min() == 0
    assert np.bincount(second, minlength=3) / len(second) == pytest.approx([0.5, 0, 0.5], abs=0.03)


def test_balanced_within_needs_labels_in_every_dataset():
    classes = np.array([0, 1, -1, -1])
    labels = {"expr": Labels(classes, classes >= 0)}
    with pytest.raises(DataError, match="every dataset must have labels of the stream's task"):
        Temperature(within="balanced").build_over(np.array([0, 0, 1, 1]), labels, {"expr": EXPR})
