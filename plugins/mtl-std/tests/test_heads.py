"""The generic heads: layers, targets, labels, strata, estimates and predictive distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.layers import LayeredHead
from mtl_std.multi_label import MultiLabel
from mtl_std.regression import AxesHead, Regression
from torch.distributions import Bernoulli, Categorical, Normal

from mtl_toolkit import Labels

CLASSES = Classification(classes=("a", "b", "c"))
SHARES = Classification(classes=("a", "b", "c"), soft=True)
AXES = Regression(axes=("x", "y"), range=(-1, 1))
BINS = BinnedRegression(axes=("x", "y"))
UNITS = MultiLabel(names=("u", "v", "w"))
HEADS = [(CLASSES, (3,)), (SHARES, (3,)), (AXES, (2,)), (BINS, (2, 20)), (UNITS, (3,))]
FEATURES = 5


def labels(values: object, valid: object = True, dtype: type = np.float32) -> Labels:
    array = np.array(values, dtype)
    return Labels(array, np.broadcast_to(np.array(valid, bool), array.shape).copy())


# Layers.


@pytest.mark.parametrize(("head", "shape"), HEADS)
def test_a_head_gives_values_of_its_shape_and_the_features_under_its_last_layer(head, shape):
    module = head.build(FEATURES)
    for rows, training in ((4, True), (1, False)):
        values, features, _ = module.train(training)(torch.randn(rows, FEATURES))
        assert values.shape == (rows, *shape)
        assert features.shape == (rows, 128)
    torch.testing.assert_close(module.last(features).reshape(1, *shape), values)


def test_the_layers_are_norm_linear_relu_norm_dropout_linear():
    module = Classification(classes=("a", "b"), hidden=7, dropout=0.25).build(FEATURES)
    kinds = [type(layer).__name__ for layer in module.hidden]
    assert kinds == ["BatchNorm1d", "Linear", "ReLU", "BatchNorm1d"]
    assert module.dropout.p == 0.25
    assert module.last.weight.shape == (2, 7)


def test_a_head_without_a_hidden_layer_is_one_linear_layer_on_the_features():
    module = Regression(hidden=0, dropout=0.0).build(FEATURES)
    inputs = torch.randn(1, FEATURES)
    values, features, _ = module.train()(inputs)
    assert torch.equal(features, inputs)
    torch.testing.assert_close(values, module.last(inputs))
    assert sum(parameter.numel() for parameter in module.parameters()) == FEATURES + 1


@pytest.mark.parametrize("build", ["build", "build_last"])
def test_outputs_are_normalised_over_the_batch_if_asked_for(build):
    """Each output on its own, also those of a head with several dimensions; the features are as before."""
    head = BinnedRegression(axes=("x", "y"), bins=3, dropout=0.0, output_norm=True)
    module = getattr(head, build)(FEATURES).train()
    values, features, _ = module(5 + torch.randn(64, FEATURES, generator=torch.Generator().manual_seed(0)))
    raw = module.last(features)
    wanted = (raw - raw.mean(0)) / (raw.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(values, wanted.reshape(64, 2, 3))


@pytest.mark.parametrize("options", [{"hidden": -1}, {"dropout": 1.5}, {"dropout": -0.1}])
def test_layer_options_outside_their_range_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        Regression(**options)


# What labels are.


@pytest.mark.parametrize(
    ("head", "units", "shape", "dtype"),
    [
        (CLASSES, 1, (), np.int64),
        (SHARES, 1, (3,), np.float32),
        (AXES, 2, (2,), np.float32),
        (BINS, 2, (2,), np.float32),
        (UNITS, 3, (3,), np.float32),
    ],
)
def test_targets_have_a_shape_and_a_type_and_masks_become_one_per_unit(head, units, shape, dtype):
    assert (len(head.units), head.target_shape, head.target_dtype) == (units, shape, np.dtype(dtype))
    mask = torch.zeros(4, *shape, dtype=torch.bool)
    mask[1] = True
    expected = torch.zeros(4, units, dtype=torch.bool)
    expected[1] = True
    assert torch.equal(head.unit_mask(mask), expected)
    assert head.unit_mask(mask[:0]).shape == (0, units)


SHARES_RULE = "shares must not be negative and must add up to 1"


@pytest.mark.parametrize(
    ("head", "values", "valid", "message"),
    [
        (CLASSES, [0, 3, 1], True, "class ids must be from 0 to 2 (got 3)"),
        (CLASSES, [-1, 0], True, "class ids must be from 0 to 2 (got -1)"),
        (SHARES, [[0.5, 0.25, 0.5]], True, f"{SHARES_RULE} (got [0.5, 0.25, 0.5])"),
        (SHARES, [[1.5, -0.5, 0]], True, f"{SHARES_RULE} (got [1.5, -0.5, 0.0])"),
        (SHARES, [[1, 0, 0]], [[1, 1, 0]], "shares must be there for all classes or for none (got some)"),
        (AXES, [[0.5, -1.25]], True, "values must lie in [-1, 1] (got -1.25)"),
        (AXES, [[np.nan, 0]], True, "values must lie in [-1, 1] (got nan)"),
        (Regression(axes=("x", "y")), [[1e9, np.inf]], True, "values must be finite (got inf)"),
        (BINS, [[-5, 0]], True, "values must lie in [-1, 1] (got -5)"),
        (UNITS, [[0, 1, -1]], True, "labels must be 0 or 1 (got -1)"),
        (UNITS, [[0, 1, np.nan]], True, "labels must be 0 or 1 (got nan)"),
    ],
)  # fmt: skip
def test_labels_that_break_the_rule_are_told_with_the_rule_and_the_value(head, values, valid, message):
    assert head.check_labels(labels(values, valid, head.target_dtype)) == message


@pytest.mark.parametrize(
    ("head", "values", "valid"),
    [
        (CLASSES, [0, 99], [True, False]),
        (SHARES, [[0.2, 0.3, 0.5], [np.nan] * 3], [[True] * 3, [False] * 3]),
        (AXES, [[-1, 1], [0, -5]], [[True, True], [True, False]]),
        (UNITS, [[0, 1, np.nan]], [[True, True, False]]),
    ],
)
def test_labels_that_are_missing_are_not_checked(head, values, valid):
    assert head.check_labels(labels(values, valid, head.target_dtype)) is None


def test_summaries_count_valid_labels_only():
    ids = labels([0, 2, 2, 1], [True, True, True, False], np.int64)
    assert CLASSES.summary(ids) == {"classes": {"a": 1, "b": 0, "c": 2}}
    axes = labels([[0.5, 9], [-0.5, 9]], [[True, False], [True, False]])
    assert AXES.summary(axes) == {"range": {"x": {"min": -0.5, "mean": 0.0, "max": 0.5}}}
    units = labels([[1, 0, 1], [1, 1, np.nan]], [[True, True, False], [True, True, False]])
    assert UNITS.summary(units) == {"positives": {"u": "2 of 2", "v": "1 of 2", "w": "0 of 0"}}


def test_labels_are_described_in_a_few_characters():
    assert CLASSES.describe_label(np.array(1), np.array(True)) == "b"
    assert CLASSES.describe_label(np.array(1), np.array(False)) == ""
    assert SHARES.describe_label(np.array([0.1, 0.2, 0.7]), np.ones(3, bool)) == "c"
    assert AXES.describe_label(np.array([0.5, 9]), np.array([True, False])) == "0.50"
    assert UNITS.describe_label(np.array([1, 0, 1]), np.array([True, True, False])) == "u"


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Classification(classes=()), "must not be empty"),
        (lambda: Classification(classes=("a", "a")), "must not name anything twice"),
        (lambda: Regression(range=(1.0, -1.0)), "range must go from low to high"),
        (lambda: Regression(scale=0.0), "must be above 0"),
        (lambda: BinnedRegression(bins=1), "must be at least 2"),
        (lambda: MultiLabel(names=("u",), threshold=1.5), "must be between 0 and 1"),
    ],
)
def test_heads_refuse_options_that_make_no_sense(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()


def test_the_meaning_tells_heads_apart_that_cannot_teach_each_other():
    assert CLASSES.meaning() != Classification(classes=("b", "a", "c")).meaning()
    assert BINS.meaning() != BinnedRegression(axes=("x", "y"), bins=10).meaning()
    assert BINS.meaning() != BinnedRegression(axes=("x", "y"), range=(0, 1)).meaning()
    assert CLASSES.meaning() == Classification(classes=("a", "b", "c"), hidden=3).meaning()


# Strata.


def test_the_strata_of_classes_are_the_classes():
    assert CLASSES.strata(labels([2, 0, 1], [True, True, False], np.int64)).tolist() == [2, 0, -1]
    shares = labels([[0.1, 0.2, 0.7], [1, 0, 0], [0, 1, 0]], [[True] * 3, [True] * 3, [False] * 3])
    assert SHARES.strata(shares).tolist() == [2, 0, -1]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_the_strata_of_axes_are_the_cells_of_numpys_histogram_over_the_datas_own_range(seed, rows):
    random = np.random.default_rng(seed)
    # Rounded, so that values lie on edges and at both ends.
    values = random.uniform(-0.8, 0.5, (rows, 2)).round(1)
    strata = BINS.strata(labels(values, dtype=np.float64))
    counts, _, _ = np.histogram2d(values[:, 0], values[:, 1], bins=20)
    found = np.bincount(strata, minlength=400).reshape(20, 20)
    np.testing.assert_array_equal(found, counts)


def test_rows_with_an_axis_missing_have_no_cell_and_do_not_stretch_the_range():
    values = [[0, 0], [1, 1], [0.5, 0.5], [100, np.nan]]
    valid = [[True, True], [True, True], [True, True], [True, False]]
    head = Regression(axes=("x", "y"), cells=2)
    assert head.strata(labels(values, valid)).tolist() == [0, 3, 3, -1]


def test_an_axis_of_one_value_is_one_cell_and_no_label_is_none():
    head = Regression(cells=4)
    assert len(set(head.strata(labels([[0.5], [0.5]])).tolist())) == 1
    assert head.strata(labels([[0.5], [0.5]], False)).tolist() == [-1, -1]


def test_the_strata_of_units_are_their_combinations():
    values = [[0, 1, 1], [1, 0, 0], [0, 1, 1], [0, 1, np.nan]]
    valid = [[True] * 3, [True] * 3, [True] * 3, [True, True, False]]
    first, second, third, fourth = UNITS.strata(labels(values, valid)).tolist()
    assert first == third != second
    assert min(first, second) >= 0
    assert fourth == -1


# Bins and estimates.


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30))
def test_bins_are_numpys_with_the_highest_value_in_the_last(values):
    expected = np.minimum(np.digitize(np.array(values, np.float32), np.linspace(-1, 1, 21)) - 1, 19)
    assert BINS.bin_of(torch.tensor(values)).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_on_the_edges_fall_in_the_bins_that_numpy_gives_them(dtype):
    edges = np.linspace(-1, 1, 21).astype(dtype)
    expected = np.digitize(edges, np.linspace(-1, 1, 21)) - 1
    expected[-1] = 19
    assert BINS.bin_of(torch.tensor(edges)).tolist() == expected.tolist()
    assert BINS.bin_of(torch.tensor([1.0])).item() == 19


def test_the_estimate_of_bins_is_the_expectation_of_their_values():
    values = torch.randn(6, 2, 20) * 3
    p = np.exp(values.double().numpy())
    p /= p.sum(-1, keepdims=True)
    expected = (p * np.linspace(-1, 1, 20)).sum(-1)
    np.testing.assert_allclose(BINS.estimate(values).numpy(), expected, atol=1e-6)


def test_all_mass_on_the_outer_bins_reaches_the_ends_of_the_range():
    values = torch.full((2, 1, 5), -1e4)
    values[0, 0, 0] = values[1, 0, -1] = 1e4
    assert BinnedRegression(bins=5, range=(2, 6)).estimate(values).tolist() == [[2.0], [6.0]]


def test_other_estimates_are_the_largest_logit_the_value_itself_and_a_threshold():
    assert CLASSES.estimate(torch.tensor([[0.1, 3, 2], [5, 1, 1]])).tolist() == [1, 0]
    assert AXES.estimate(torch.tensor([[0.3, -7]])).tolist() == [[pytest.approx(0.3), -7]]
    strict = MultiLabel(names=("u", "v", "w"), threshold=0.9)
    assert strict.estimate(torch.tensor([[2.0, 3.0, -1.0]])).tolist() == [[0, 1, 0]]  # 0.88, 0.95, 0.27
    assert UNITS.estimate(torch.tensor([[2.0, 0.1, -0.1]])).tolist() == [[1, 1, 0]]


# Distributions.


@pytest.mark.parametrize(("head", "shape"), HEADS)
def test_a_distribution_has_one_entry_per_row_and_unit(head: LayeredHead, shape):
    assert head.distribution(torch.randn(4, *shape)).batch_shape == (4, len(head.units))
    assert head.distribution(torch.randn(4, *shape), 2.0).batch_shape == (4, len(head.units))


def test_categorical_distributions_divide_their_logits_by_the_temperature():
    values = torch.randn(4, 3)
    found = CLASSES.distribution(values, 2.5)
    assert isinstance(found, Categorical)
    torch.testing.assert_close(found.probs[:, 0], torch.softmax(values / 2.5, -1))
    binned = torch.randn(4, 2, 20)
    torch.testing.assert_close(BINS.distribution(binned, 2.5).probs, torch.softmax(binned / 2.5, -1))


def test_bernoulli_distributions_divide_their_logits_by_the_temperature():
    values = torch.randn(4, 3)
    found = UNITS.distribution(values, 2.5)
    assert isinstance(found, Bernoulli)
    torch.testing.assert_close(found.probs, torch.sigmoid(values / 2.5))


def test_a_normal_density_to_the_power_of_one_over_the_temperature_has_that_many_times_the_variance():
    head: AxesHead = Regression(axes=("x",), scale=0.7)
    mean = torch.tensor([[0.4]])
    sharp, soft = head.distribution(mean), head.distribution(mean, 3.0)
    assert isinstance(soft, Normal)
    torch.testing.assert_close(soft.variance, torch.tensor([[3 * 0.7**2]]))
    # log p_T(x) = log p(x) / T + constant
    grid = torch.linspace(-2, 2, 9)
    difference = soft.log_prob(grid) - sharp.log_prob(grid) / 3.0
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference))


@pytest.mark.parametrize(("head", "shape"), HEADS)
def test_distributions_are_in_float32_whatever_the_output_is(head, shape):
    found = head.distribution(torch.randn(2, *shape).bfloat16(), 1.5)
    assert found.log_prob(found.sample()).dtype == torch.float32
