"""The metrics by edition of ABAW, against their formulas in numpy, over shards, and with labels missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import EXPRESSIONS, Expression
from mtl_affect.metrics import ActionUnitScore, ValenceArousalScore
from mtl_affect.submissions.abaw2 import Abaw2
from mtl_affect.submissions.abaw5 import Abaw5
from mtl_affect.submissions.lsd import LsdSubmission
from mtl_affect.submissions.mtl import MultiTask
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.classification import Classification
from mtl_std.regression import Regression
from torch import Tensor

from mtl_toolkit import ConfigError, Head, HeadOutput, Metric

VA = Regression(axes=("valence", "arousal"), range=(-1, 1), label="valence-arousal")
AU = ActionUnits(names=("AU1", "AU2", "AU4"))
EXPR8 = Expression(classes=(*EXPRESSIONS, "other"))


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


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    """CCC with population moments."""
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def f1(truth: np.ndarray, guess: np.ndarray) -> float:
    """F1 of two yes-or-no arrays from precision and recall."""
    hits = float(np.sum(truth & guess))
    return 0.0 if hits == 0 else 2 / (np.sum(guess) / hits + np.sum(truth) / hits)


def macro_f1(truth: np.ndarray, guess: np.ndarray, classes: int) -> float:
    return float(np.mean([f1(truth == one, guess == one) for one in range(classes)]))


# Valence and arousal.


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_the_score_of_valence_and_arousal_is_the_mean_of_their_ccc_not_the_sum(seed, rows):
    generator = np.random.default_rng(seed)
    x, y = generator.uniform(-1, 1, (2, rows, 2))
    parts = [ccc(x[:, axis], y[:, axis]) for axis in (0, 1)]
    found = compute(ValenceArousalScore(), VA, torch.tensor(x), torch.tensor(y))
    assert found == pytest.approx(
        {"ccc_valence": parts[0], "ccc_arousal": parts[1], "score": (parts[0] + parts[1]) / 2}
    )


@pytest.mark.parametrize("rows", [2, 8, 1000])
def test_perfect_predictions_score_exactly_1_however_few(rows):
    """With a biased covariance and an unbiased variance, or the other way round, they do not."""
    x = torch.rand(rows, 2, generator=torch.Generator().manual_seed(rows)) * 2 - 1
    assert set(compute(ValenceArousalScore(), VA, x, x.clone()).values()) == {1.0}


def test_rows_of_minus_5_count_for_nothing():
    """Left in and echoed, one row in twenty of them makes noise look good."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2000, 2, generator=generator) * 2 - 1 for _ in range(2))
    missing = torch.arange(2000) % 20 == 0
    x[missing] = y[missing] = -5.0
    mask = ~missing[:, None].expand(2000, 2)
    naive = np.mean([ccc(x[:, axis].double().numpy(), y[:, axis].double().numpy()) for axis in (0, 1)])
    found = compute(ValenceArousalScore(), VA, x, y, mask)
    assert naive > 0.7
    assert abs(found["score"]) < 0.1
    assert found == compute(ValenceArousalScore(), VA, x[~missing], y[~missing])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=30), st.integers(0, 1000))
def test_an_axis_without_a_label_is_left_out_of_its_own_ccc_alone(bits, seed):
    mask = np.array(bits)
    mask[:2] = True
    x, y = np.random.default_rng(seed).uniform(-1, 1, (2, len(mask), 2))
    poisoned = torch.tensor(np.where(mask, y, np.nan))
    found = compute(ValenceArousalScore(), VA, torch.tensor(x), poisoned, torch.tensor(mask))
    parts = [ccc(x[mask[:, axis], axis], y[mask[:, axis], axis]) for axis in (0, 1)]
    assert found["ccc_valence"] == pytest.approx(parts[0])
    assert found["ccc_arousal"] == pytest.approx(parts[1])
    assert found["score"] == pytest.approx(np.mean(parts))


def test_the_score_is_pooled_over_batches():
    """Each batch alone agrees in level only."""
    live = ValenceArousalScore().build(VA)
    x = torch.tensor([[0.1, 0.8], [0.2, 0.9], [0.8, 0.1], [0.9, 0.2]])
    y = x[[1, 0, 3, 2]]
    feed(live, x[:2], y[:2])
    feed(live, x[2:], y[2:])
    expected = ccc(x[:, 0].double().numpy(), y[:, 0].double().numpy())
    assert live.compute()["score"].item() == pytest.approx(expected)
    assert expected > 0.9


def test_axes_count_by_name():
    head = Regression(axes=("dominance", "arousal", "valence"))
    x, y = torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(1))
    swapped = compute(ValenceArousalScore(), VA, x[:, [2, 1]], y[:, [2, 1]])
    assert compute(ValenceArousalScore(), head, x, y) == swapped


def test_a_binned_head_is_scored_by_its_expectation():
    head = ValenceArousal()
    values = torch.randn(9, 2, 20, generator=torch.Generator().manual_seed(2))
    target = torch.rand(9, 2, generator=torch.Generator().manual_seed(3))
    found = compute(ValenceArousalScore(), head, values, target)
    assert found == compute(ValenceArousalScore(), VA, head.estimate(values), target)


# Action units.


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=3, max_size=3),
        min_size=1,
        max_size=25,
    )
)
def test_the_score_of_action_units_is_half_mean_f1_and_half_accuracy_of_all_labelled_decisions(rows):
    truth, guess, known = np.moveaxis(np.array(rows), -1, 0)
    target = torch.tensor(np.where(known, truth.astype(np.float32), np.nan), dtype=torch.float32)
    logits = torch.tensor(np.where(guess, 2.0, -2.0))
    mean = np.mean([f1(truth[known[:, unit], unit], guess[known[:, unit], unit]) for unit in range(3)])
    accuracy = np.mean((truth == guess)[known]) if known.any() else 0.0
    found = compute(ActionUnitScore(), AU, logits, target, torch.tensor(known))
    assert found == pytest.approx(
        {"score": 0.5 * mean + 0.5 * accuracy, "mean_f1": mean, "accuracy": accuracy}
    )


def test_accuracy_is_over_decisions_not_the_mean_over_units():
    """The first unit is labelled three times, the others once."""
    target = torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, 0, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 0, 0]]).bool()
    logits = torch.tensor([[1.0, -1, -1], [1, 1, 1], [1, 1, 1]])
    assert compute(ActionUnitScore(), AU, logits, target, mask)["accuracy"] == pytest.approx(3 / 5)


def test_a_unit_that_never_occurs_counts_as_zero_in_mean_f1():
    target = torch.tensor([[1.0, 0, 0]])
    found = compute(ActionUnitScore(), AU, torch.tensor([[1.0, -1, -1]]), target)
    assert found == pytest.approx({"score": 0.5 / 3 + 0.5, "mean_f1": 1 / 3, "accuracy": 1.0})


def test_the_share_of_f1_is_an_option():
    logits, target = torch.tensor([[1.0, -1, 1]]), torch.tensor([[1.0, 1, 1]])
    found = compute(ActionUnitScore(f1_share=0.25), AU, logits, target)
    assert found["score"] == pytest.approx(0.25 * found["mean_f1"] + 0.75 * found["accuracy"])
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        ActionUnitScore(f1_share=1.5)


# Both.

GENERATOR = torch.Generator().manual_seed(5)
CASES: dict[str, tuple[Metric, Head, Tensor, Tensor]] = {
    "valence-arousal": (
        ValenceArousalScore(),
        VA,
        torch.rand(7, 2, generator=GENERATOR),
        torch.rand(7, 2, generator=GENERATOR),
    ),
    "action-units": (
        ActionUnitScore(),
        AU,
        torch.randn(7, 3, generator=GENERATOR),
        (torch.rand(7, 3, generator=GENERATOR) > 0.5).float(),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cut", [1, 4])
def test_shards_on_several_processes_equal_the_whole(case, cut):
    metric, head, values, target = CASES[case]
    first, second = (
        feed(metric.build(head), values[rows], target[rows]) for rows in (slice(None, cut), slice(cut, None))
    )
    inner = [getattr(live, "counts", live) for live in (first, second)]
    inner[0].merge_state(inner[1])
    expected = feed(metric.build(head), values, target).compute()
    torch.testing.assert_close(first.compute(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_without_a_single_valid_label_a_score_is_zero(case):
    metric, head, values, target = CASES[case]
    nothing = torch.zeros(target.shape, dtype=torch.bool)
    poison = torch.full_like(values, torch.nan)
    assert set(compute(metric, head, poison, target, nothing).values()) == {0.0}


@pytest.mark.parametrize(
    ("metric", "head", "needed"),
    [
        (ValenceArousalScore(), EXPR8, "needs a head with axes (got 'expression')"),
        (
            ValenceArousalScore(),
            Regression(axes=("valence", "dominance")),
            "needs a head with the axis 'arousal' (got valence, dominance)",
        ),
        (ActionUnitScore(), VA, "needs a head with units (got 'regression')"),
    ],
)
def test_a_score_refuses_a_head_that_it_does_not_fit(metric, head, needed):
    with pytest.raises(ConfigError) as caught:
        metric.build(head)
    assert str(caught.value) == f"{metric.name}: {needed}"


def test_the_recipes_do_not_import_torchmetrics():
    """It takes seconds, and `mtl check` builds no metric."""
    modules = ", ".join(f"mtl_affect.submissions.{name}" for name in ("abaw2", "abaw5", "lsd", "mtl"))
    code = f"import sys, mtl_affect.metrics, {modules}; print('torchmetrics' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# By edition.

PARTS_OF_P = {"valence-arousal": "score", "expression": "macro_f1", "action-units": "mean_f1"}


@pytest.fixture(scope="module")
def samples() -> dict[str, tuple[Head, np.ndarray, np.ndarray]]:
    """By label: the task, what is true, and what it says (ids, values, decisions); class 4 never occurs."""
    generator = np.random.default_rng(9)
    ids = generator.choice([0, 1, 2, 3, 5], (2, 60))
    values = generator.uniform(-1, 1, (2, 60, 2)).astype(np.float32)
    units = generator.random((2, 60, 12)) > 0.6
    return {
        "expression": (Expression(), *ids),
        "valence-arousal": (VA, *values),
        "action-units": (ActionUnits(), *units),
    }


def measured(metric: Metric, head: Head, truth: np.ndarray, guess: np.ndarray) -> dict[str, float]:
    if head.meaning().get("classes"):
        values = F.one_hot(torch.tensor(guess), len(head.columns)).float()
        return compute(metric, head, values, torch.tensor(truth))
    values = torch.tensor(guess)
    target = torch.tensor(truth.astype(np.float32))
    return compute(metric, head, torch.where(values, 1.0, -1.0) if guess.dtype == bool else values, target)


def test_abaw2_weighs_f1_and_accuracy(samples):
    found = {
        label: measured(*Abaw2().metrics(head), head, truth, guess)["score"]
        for label, (head, truth, guess) in samples.items()
    }
    _, truth, guess = samples["expression"]
    assert found["expression"] == pytest.approx(
        0.67 * macro_f1(truth, guess, 7) + 0.33 * np.mean(truth == guess)
    )
    _, truth, guess = samples["valence-arousal"]
    assert found["valence-arousal"] == pytest.approx(
        np.mean([ccc(truth[:, axis].astype(float), guess[:, axis].astype(float)) for axis in (0, 1)])
    )
    _, truth, guess = samples["action-units"]
    mean = np.mean([f1(truth[:, unit], guess[:, unit]) for unit in range(12)])
    assert found["action-units"] == pytest.approx(0.5 * mean + 0.5 * np.mean(truth == guess))


@pytest.mark.parametrize("writer", [Abaw5(), MultiTask()])
def test_later_editions_take_mean_f1(writer, samples):
    samples = samples | {"expression": (EXPR8, *samples["expression"][1:])}
    found = {
        label: measured(*writer.metrics(head), head, truth, guess)
        for label, (head, truth, guess) in samples.items()
    }
    _, truth, guess = samples["expression"]
    assert found["expression"] == {"macro_f1": pytest.approx(macro_f1(truth, guess, 8))}
    assert set(found["valence-arousal"]) == {"ccc_valence", "ccc_arousal", "score"}
    _, truth, guess = samples["action-units"]
    mean = np.mean([f1(truth[:, unit], guess[:, unit]) for unit in range(12)])
    assert found["action-units"]["mean_f1"] == pytest.approx(mean)
    total = sum(found[label][name] for label, name in PARTS_OF_P.items())
    assert writer.scores(found) == ({"P": pytest.approx(total)} if writer.name == "mtl" else {})


def test_macro_f1_is_over_the_fixed_class_list_not_over_those_seen():
    """Two classes of eight are seen, and both are right: the mean over those seen would be 1."""
    ids = np.array([0, 6, 0, 6])
    (metric,) = Abaw5().metrics(EXPR8)
    assert measured(metric, EXPR8, ids, ids) == {"macro_f1": pytest.approx(2 / 8)}


def test_lsd_takes_macro_f1_over_six_classes():
    head = Expression(classes=("anger", "disgust", "fear", "happiness", "sadness", "surprise"))
    ids = np.array([0, 1, 1, 4])
    (metric,) = LsdSubmission().metrics(head)
    assert measured(metric, head, ids, ids) == {"macro_f1": pytest.approx(3 / 6)}
    assert LsdSubmission().scores({"expression": {"macro_f1": 0.5}}) == {}


def test_p_is_there_only_with_all_three_parts():
    found = {label: {name: 0.3, "more": 9.0} for label, name in PARTS_OF_P.items()}
    assert MultiTask().scores(found) == {"P": pytest.approx(0.9)}
    for label, name in PARTS_OF_P.items():
        assert MultiTask().scores({other: values for other, values in found.items() if other != label}) == {}
        assert MultiTask().scores(found | {label: {f"no {name}": 1.0}}) == {}


@pytest.mark.parametrize("writer", [Abaw2(), Abaw5(), MultiTask(), LsdSubmission()])
def test_a_task_that_no_edition_knows_keeps_its_own_metrics(writer):
    head = Classification(classes=("a", "b"), label="mood")
    assert writer.metrics(head) == head.default_metrics()
