"""Samplers: orders of a pass, and the weights of balanced sampling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.multi_label import MultiLabel
from mtl_std.samplers import Balanced, Sequential, Shuffle, balanced_weights

from mtl_toolkit import ConfigError, DataError, Head, Labels

EXPR = Classification(classes=("a", "b", "c"))
VA = BinnedRegression(axes=("valence", "arousal"))


def ids(values: list[int]) -> Labels:
    """Class ids, -1 where the label is missing."""
    array = np.array(values)
    return Labels(array, array >= 0)


def points(values: object) -> Labels:
    """Valence and arousal, NaN where the label is missing."""
    array = np.array(values, np.float32).reshape(-1, 2)
    return Labels(array, ~np.isnan(array))


def weights(labels: Mapping[str, Labels], heads: Mapping[str, Head]) -> np.ndarray:
    return balanced_weights(len(next(iter(labels.values()))), labels, heads)


def test_shuffle_gives_every_sample_once_in_an_order_of_the_generators():
    draw = Shuffle().build(50, {}, {})
    first, again, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert sorted(first) == list(range(50))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_sequential_gives_every_sample_once_in_order():
    draw = Sequential().build(5, {}, {})
    assert draw(np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


@settings(deadline=None)
@given(st.lists(st.integers(-1, 2), min_size=1, max_size=40))
def test_the_weight_of_a_class_is_one_over_its_count_and_of_a_missing_label_zero(classes):
    expected = [1 / classes.count(label) if label >= 0 else 0 for label in classes]
    assert weights({"expr": ids(classes)}, {"expr": EXPR}).tolist() == expected


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_the_weight_of_a_point_is_one_over_the_count_of_its_histogram_cell(seed):
    random = np.random.default_rng(seed)
    values = random.normal(0, 0.3, (60, 2)).clip(-1, 1).astype(np.float32)
    counts, first, second = np.histogram2d(*values.T.astype(np.float64), bins=20)
    row = np.clip(np.searchsorted(first, values[:, 0], side="right") - 1, 0, 19)
    column = np.clip(np.searchsorted(second, values[:, 1], side="right") - 1, 0, 19)
    np.testing.assert_array_equal(weights({"va": points(values)}, {"va": VA}), 1 / counts[row, column])


def test_a_point_without_one_axis_has_no_weight():
    values = [[0, 0], [0.5, 0.5], [0.9, np.nan]]
    assert weights({"va": points(values)}, {"va": VA}).tolist() == [1, 1, 0]


def test_the_weights_of_several_tasks_are_added_and_scaled_to_a_maximum_of_one():
    classes = [0, 0, 0, 1, -1, 2]
    values = [[0, 0], [0, 0], [1, 1], [0, 0], [-1, -1], [np.nan, np.nan]]
    of_class = np.array([1 / 3, 1 / 3, 1 / 3, 1, 0, 1])
    of_cell = np.array([1 / 3, 1 / 3, 1, 1 / 3, 1, 0])
    expected = (of_class + of_cell) / (of_class + of_cell).max()
    labels = {"expr": ids(classes), "va": points(values)}
    np.testing.assert_allclose(weights(labels, {"expr": EXPR, "va": VA}), expected, rtol=1e-15)


def test_combinations_of_units_are_balanced():
    units = MultiLabel(names=("u", "v"))
    array = np.array([[0, 1], [0, 1], [1, 1], [0, 0]], np.float32)
    labels = {"au": Labels(array, np.ones((4, 2), bool))}
    assert weights(labels, {"au": units}).tolist() == [0.5, 0.5, 1, 1]


def test_balanced_draws_with_replacement_as_many_as_there_are_samples():
    classes = [0] * 20 + [1]
    draw = Balanced().build(21, {"expr": ids(classes)}, {"expr": EXPR})
    drawn = draw(np.random.default_rng(0))
    assert drawn.shape == (21,)
    assert drawn.dtype == np.int64
    assert (drawn == 20).sum() > 1
    assert drawn.tolist() == draw(np.random.default_rng(0)).tolist()


def test_balanced_draws_every_stratum_equally_often_and_never_a_sample_without_a_label():
    classes = np.array([0] * 18_000 + [1] * 1_500 + [2] * 300 + [-1] * 200)
    np.random.default_rng(0).shuffle(classes)
    draw = Balanced().build(len(classes), {"expr": ids(classes.tolist())}, {"expr": EXPR})
    drawn = draw(np.random.default_rng(1))
    shares = np.bincount(classes[drawn] + 1, minlength=4) / len(classes)
    # Six standard deviations of a share of one third among 20,000 draws.
    assert shares == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.02)
    assert shares[0] == 0
    within = np.bincount(drawn, minlength=len(classes))[classes == 2]
    assert within.mean() == pytest.approx(20_000 / 3 / 300, rel=0.1)
    assert within.min() > 0


def test_balanced_without_any_label_is_an_error():
    with pytest.raises(DataError, match="no sample has a label of the stream's task"):
        Balanced().build(2, {"expr": ids([-1, -1])}, {"expr": EXPR})


def test_balanced_on_a_head_without_strata_is_told_in_one_line():
    with pytest.raises(ConfigError, match=r"head 'classification' has no strata .* use another sampler"):
        Head.strata(EXPR, ids([0, 1]))
