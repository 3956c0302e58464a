"""Metrics of the generic heads against their formulas in numpy, over shards, and with labels missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.metrics import Accuracy, ConcordanceCorrelation, MacroF1, UnitF1
from mtl_std.multi_label import MultiLabel
from mtl_std.regression import Regression
from torch import Tensor

from mtl_toolkit import ConfigError, Head, HeadOutput, Metric

CLASSES = Classification(classes=("a", "b", "c", "d"))
AXES = Regression(axes=("x", "y"))
UNITS = MultiLabel(names=("u", "v", "w"))


def feed(live: Any, values: Tensor, target: Tensor, mask: Tensor | None = None) -> Any:
    mask = torch.ones(target.shape, dtype=torch.bool) if mask is None else mask
    live.update(HeadOutput(values, values), target, mask)
    return live


def compute(
    metric: Metric, head: Head, values: Tensor, target: Tensor, mask: Tensor | None = None
) -> dict[str, float]:
    found = feed(metric.build(head), values, target, mask).compute()
    named = found if isinstance(found, Mapping) else {metric.name: found}
    assert tuple(named) == metric.outputs(head)
    return {name: value.item() for name, value in named.items()}


def votes_for(ids: Sequence[int]) -> Tensor:
    """Logits whose largest is the given class."""
    return F.one_hot(torch.tensor(ids), 4).float()


def f1(truth: np.ndarray, guess: np.ndarray, positive: int) -> float:
    """F1 of one class by its textbook definition, with zero where precision and recall are."""
    hits = float(np.sum((truth == positive) & (guess == positive)))
    precision = hits / max(np.sum(guess == positive), 1)
    recall = hits / max(np.sum(truth == positive), 1)
    return 0.0 if hits == 0 else 2 * precision * recall / (precision + recall)


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    """CCC with population moments."""
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


# Classes.


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_macro_f1_and_accuracy_follow_their_formulas(pairs):
    truth, guess = np.array(pairs).T
    expected = np.mean([f1(truth, guess, label) for label in range(4)])
    values, target = votes_for(guess), torch.tensor(truth)
    assert compute(MacroF1(), CLASSES, values, target)["macro_f1"] == pytest.approx(expected)
    assert compute(Accuracy(), CLASSES, values, target)["accuracy"] == pytest.approx(np.mean(truth == guess))


def test_a_class_that_never_occurs_counts_as_zero_in_macro_f1():
    """The mean over the classes that were seen would be 1."""
    found = compute(MacroF1(), CLASSES, votes_for([0, 0, 2]), torch.tensor([0, 0, 2]))
    assert found == {"macro_f1": pytest.approx(2 / 4)}


def test_votes_count_as_the_class_with_the_largest_share():
    head = Classification(classes=("a", "b", "c", "d"), soft=True)
    shares = torch.tensor([[0.4, 0.6, 0, 0], [0.1, 0.2, 0.3, 0.4], [torch.nan] * 4])
    mask = torch.tensor([[True], [True], [False]]).expand(3, 4)
    assert compute(Accuracy(), head, votes_for([1, 0, 2]), shares, mask) == {"accuracy": 0.5}


def test_accuracy_over_thousands_of_people_keeps_a_handful_of_numbers():
    head = Classification(classes=tuple(map(str, range(5000))))
    values = torch.zeros(3, 5000)
    values[[0, 1, 2], [4999, 7, 8]] = 1
    live = feed(Accuracy().build(head), values, torch.tensor([4999, 7, 9]))
    assert live.counts.tp.numel() == 1
    assert live.compute().item() == pytest.approx(2 / 3)


def test_the_mean_ccc_alone_is_that_of_all_axes():
    generator = torch.Generator().manual_seed(4)
    x, y = torch.randn(2, 9, 2, generator=generator)
    each = compute(ConcordanceCorrelation(), AXES, x, y)
    assert compute(ConcordanceCorrelation(each=False), AXES, x, y) == {"ccc": pytest.approx(each["ccc"])}


# Units.


def test_unit_f1_is_taken_over_the_rows_that_have_the_unit():
    guess = torch.tensor([[1.0, -1, 1], [1, 1, 1], [-1, 1, 1], [1, 1, -1]])
    truth = torch.tensor([[1.0, 0, 1], [0, torch.nan, torch.nan], [1, 1, torch.nan], [1, 0, torch.nan]])
    found = compute(UnitF1(), UNITS, guess, truth, ~truth.isnan())
    columns = [(truth[:, unit].numpy(), (guess[:, unit] > 0).numpy()) for unit in range(3)]
    known = [(t[~np.isnan(t)], g[~np.isnan(t)]) for t, g in columns]
    expected = [f1(t, g, positive=1) for t, g in known]
    assert found == pytest.approx(
        {"f1_u": expected[0], "f1_v": expected[1], "f1_w": expected[2], "mean_f1": np.mean(expected)}
    )


def test_a_unit_that_never_occurs_counts_as_zero_in_the_mean():
    truth = torch.tensor([[1.0, 0, 0]])
    found = compute(UnitF1(), UNITS, torch.tensor([[1.0, -1, -1]]), truth)
    assert found == {"f1_u": 1.0, "f1_v": 0.0, "f1_w": 0.0, "mean_f1": pytest.approx(1 / 3)}


# CCC.


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 50))
def test_ccc_has_population_moments(seed, rows):
    x, y = np.random.default_rng(seed).normal(0.2, 0.4, (2, rows, 2))
    found = compute(ConcordanceCorrelation(), AXES, torch.tensor(x), torch.tensor(y))
    expected = [ccc(x[:, axis], y[:, axis]) for axis in (0, 1)]
    assert found == pytest.approx({"ccc_x": expected[0], "ccc_y": expected[1], "ccc": np.mean(expected)})


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40))
def test_ccc_of_anything_with_itself_is_exactly_one(values):
    x = torch.tensor(values)[:, None]
    assert compute(ConcordanceCorrelation(), Regression(), x, x) == {"ccc": 1.0}


def test_ccc_with_a_constant_is_zero():
    constant, varied = torch.full((4, 1), 0.3), torch.tensor([[0.1], [-0.4], [0.3], [0.9]])
    assert compute(ConcordanceCorrelation(), Regression(), constant, varied)["ccc"] == pytest.approx(
        0, abs=1e-7
    )
    assert compute(ConcordanceCorrelation(), Regression(), varied, constant)["ccc"] == pytest.approx(
        0, abs=1e-7
    )


def test_ccc_is_pooled_over_batches():
    """Not the mean of the batches' own: each of these agrees in level alone."""
    live = ConcordanceCorrelation().build(Regression())
    first = (torch.tensor([[0.1], [0.2]]), torch.tensor([[0.2], [0.1]]))
    second = (torch.tensor([[0.8], [0.9]]), torch.tensor([[0.9], [0.8]]))
    for values, target in (first, second):
        feed(live, values, target)
    x, y = (torch.cat(pair).flatten().double().numpy() for pair in zip(first, second, strict=True))
    assert live.compute().item() == pytest.approx(ccc(x, y))
    assert live.compute().item() > 0.9


def test_ccc_of_a_binned_head_is_that_of_its_expectation():
    head = BinnedRegression(axes=("x", "y"))
    values, target = torch.randn(6, 2, 20), torch.rand(6, 2)
    found = compute(ConcordanceCorrelation(), head, values, target)
    assert found == compute(ConcordanceCorrelation(), AXES, head.estimate(values), target)


def test_the_sums_of_ccc_stay_in_float64_whatever_the_metric_was_moved_to():
    x = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    for move in (
        lambda live: live.to(torch.float32),
        lambda live: live.to(torch.bfloat16),
        lambda live: live.half(),
        lambda live: live.set_dtype(torch.float32),
    ):
        live = move(ConcordanceCorrelation().build(AXES))
        for _ in range(2):
            feed(live, x, x.flip(0))
            assert live.sums.dtype == torch.float64
            expected = ccc(x[:, 0].double().numpy(), x[:, 0].flip(0).double().numpy())
            assert live.compute()["ccc_x"].item() == pytest.approx(expected, rel=1e-12)
            live.reset()


# All of them.

CASES: dict[str, tuple[Metric, Head, Tensor, Tensor]] = {
    "macro_f1": (MacroF1(), CLASSES, votes_for([0, 1, 1, 3, 2, 0]), torch.tensor([0, 1, 2, 3, 2, 1])),
    "accuracy": (Accuracy(), CLASSES, votes_for([0, 1, 1, 3, 2, 0]), torch.tensor([0, 1, 2, 3, 2, 1])),
    "f1": (
        UnitF1(),
        UNITS,
        torch.linspace(-1, 1, 18).reshape(6, 3).roll(1, 0),
        (torch.linspace(-1, 1, 18).reshape(6, 3) > 0).float(),
    ),
    "ccc": (
        ConcordanceCorrelation(),
        AXES,
        torch.linspace(-1, 1, 12).reshape(6, 2),
        torch.linspace(-1, 1, 12).sin().reshape(6, 2),
    ),
}


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None)
@given(data=st.data())
def test_masked_labels_may_hold_nan_and_count_for_nothing(case, data):
    metric, head, values, target = CASES[case]
    bits = data.draw(st.lists(st.booleans(), min_size=target.numel(), max_size=target.numel()))
    mask = torch.tensor(bits).reshape(target.shape)
    assume(mask.any())
    hidden = torch.tensor(torch.nan if target.is_floating_point() else 99, dtype=target.dtype)
    found = compute(metric, head, values, target.where(mask, hidden), mask)
    if target.ndim == 1:
        assert found == compute(metric, head, values[mask], target[mask])
    else:
        for unit, name in enumerate(metric.outputs(head)[:-1]):
            rows = mask[:, unit]
            alone = compute(metric, head, values[rows], target[rows]) if rows.any() else {name: 0.0}
            assert found[name] == pytest.approx(alone[name])


@pytest.mark.parametrize("case", CASES)
def test_without_a_single_valid_label_a_metric_is_zero(case):
    metric, head, values, target = CASES[case]
    nothing = torch.zeros(target.shape, dtype=torch.bool)
    poison = torch.full_like(values, torch.nan)
    assert set(compute(metric, head, poison, target, nothing).values()) == {0.0}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cut", [1, 3])
def test_shards_on_several_processes_equal_the_whole(case, cut):
    """Merged by the reductions that torchmetrics applies to the states of the processes."""
    metric, head, values, target = CASES[case]
    first, second = (
        feed(metric.build(head), values[rows], target[rows]) for rows in (slice(None, cut), slice(cut, None))
    )
    inner = [getattr(live, "counts", live) for live in (first, second)]
    inner[0].merge_state(inner[1])
    found, expected = first.compute(), feed(metric.build(head), values, target).compute()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_reset_forgets_everything(case):
    metric, head, values, target = CASES[case]
    live = feed(metric.build(head), values.flip(0), target)
    live.compute()
    live.reset()
    feed(live, values, target)
    torch.testing.assert_close(
        live.compute(), feed(metric.build(head), values, target).compute(), rtol=0, atol=0
    )


@pytest.mark.parametrize("case", CASES)
def test_moving_a_metric_moves_its_states(case):
    metric, head, *_ = CASES[case]
    live = metric.build(head).to("meta")
    states = getattr(live, "counts", live)
    assert {getattr(states, name).device.type for name in states._defaults} == {"meta"}


@pytest.mark.parametrize(
    ("metric", "head", "needed"),
    [
        (MacroF1(), AXES, "macro_f1: needs a head with classes (got 'regression')"),
        (Accuracy(), UNITS, "accuracy: needs a head with classes (got 'multi-label')"),
        (UnitF1(), CLASSES, "f1: needs a head with units (got 'classification')"),
        (ConcordanceCorrelation(), CLASSES, "ccc: needs a head with axes (got 'classification')"),
    ],
)
def test_a_metric_refuses_a_head_that_it_does_not_fit(metric, head, needed):
    with pytest.raises(ConfigError) as caught:
        metric.build(head)
    assert str(caught.value) == needed


def test_the_recipes_do_not_import_torchmetrics():
    """It takes seconds, and `mtl check` builds no metric."""
    code = "import sys, mtl_std.metrics, mtl_std.classification; print('torchmetrics' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
