"""Predictions judged group by group: how rows are grouped, values in groups, gaps, and what is left out."""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mtl_std.classification import Classification
from mtl_std.metrics import Accuracy, ConcordanceCorrelation, MacroF1, UnitF1
from mtl_std.multi_label import MultiLabel
from mtl_std.regression import Regression
from torch import Tensor
from torchmetrics import Metric as LiveMetric

from mtl_toolkit import (
    DataError,
    GroupedEvaluation,
    Groups,
    Head,
    HeadOutput,
    Labels,
    Metric,
    Predictions,
    evaluate,
    evaluate_by,
)
from mtl_toolkit.evaluation.bootstrap import draw_weights
from mtl_toolkit.evaluation.ceiling import right_throughout
from mtl_toolkit.evaluation.scoring import TaskRows

CLASSES = Classification(classes=("a", "b", "c"))
SOFT = Classification(classes=("a", "b", "c"), soft=True)
AXES = Regression(axes=("x", "y"))
UNITS = MultiLabel(names=("u", "v"))
ROWS = 240


def predictions_of(values: dict[str, Any], heads: dict[str, Head], videos: Any = None) -> Predictions:
    rows = len(next(iter(values.values())))
    return Predictions(
        heads=heads,
        values={task: np.asarray(value, np.float32) for task, value in values.items()},
        names=np.array([f"{row}.jpg" for row in range(rows)], np.str_),
        videos=np.array([""] * rows, np.str_) if videos is None else np.asarray(videos, np.str_),
        frames=np.zeros(rows, np.int64),
        faces=np.ones(rows, np.bool_),
    )


def labelled(values: Any, valid: Any = None) -> Labels:
    values = np.asarray(values)
    return Labels(values, np.ones(values.shape, np.bool_) if valid is None else np.asarray(valid))


def of_groups(groups: Groups) -> list[str | None]:
    """The group of each row by name."""
    return [None if code < 0 else groups.names[code] for code in groups.codes.tolist()]


@attrs.frozen
class Case:
    """Three tasks, twelve videos, and groups that some videos have rows of both of."""

    predictions: Predictions
    labels: dict[str, Labels]
    groups: np.ndarray
    videos: np.ndarray

    def of(self, group: str) -> tuple[Predictions, dict[str, Labels]]:
        """The rows of a group alone."""
        rows = np.flatnonzero(self.groups == group)
        one = self.predictions
        return attrs.evolve(
            one,
            values={task: values[rows] for task, values in one.values.items()},
            names=one.names[rows],
            videos=one.videos[rows],
            frames=one.frames[rows],
            faces=one.faces[rows],
        ), {task: Labels(found.values[rows], found.valid[rows]) for task, found in self.labels.items()}


@pytest.fixture(scope="module")
def case() -> Case:
    random = np.random.default_rng(0)
    videos = np.array([f"v{number:02d}" for number in random.integers(0, 12, ROWS)])
    groups = random.choice(["x", "y", "z", ""], ROWS, p=[0.5, 0.3, 0.15, 0.05])
    ids = random.integers(0, 3, ROWS)
    axes = random.uniform(-1, 1, (ROWS, 2)).astype(np.float32)
    units = random.integers(0, 2, (ROWS, 2)).astype(np.float32)
    labels = {
        "classes": labelled(ids.copy(), random.random(ROWS) < 0.8),
        "axes": labelled(axes.copy(), random.random((ROWS, 2)) < 0.8),
        "units": labelled(units.copy(), random.random((ROWS, 2)) < 0.8),
    }
    for one in labels.values():  # what lies under the mask is never read
        one.values[~one.valid] = -9 if one.values.dtype.kind == "i" else np.nan
    noise = np.where(groups == "y", 1.5, 0.4)[:, None]
    values = {
        "classes": np.eye(3)[ids] + random.normal(0, 1, (ROWS, 3)) * noise,
        "axes": axes + random.normal(0, 1, (ROWS, 2)) * noise,
        "units": np.clip(0.5 + (units - 0.5) * 0.4 + random.normal(0, 0.4, (ROWS, 2)) * noise, 0, 1),
    }
    heads = {"classes": CLASSES, "axes": AXES, "units": UNITS}
    return Case(predictions_of(values, heads, videos), labels, groups, videos)


def judged(case: Case, **options: Any) -> GroupedEvaluation:
    return evaluate_by(case.predictions, case.labels, case.groups, **{"draws": 0, **options})


# How rows are grouped


@pytest.mark.parametrize(
    ("values", "names", "groups"),
    [
        (["b", "a", "", None, " b "], ("a", "b"), ["b", "a", None, None, "b"]),
        (np.array([b"m\xc3\xa4nnlich", b"", b"a"]), ("a", "männlich"), ["männlich", None, "a"]),
        ([10, 9, 10], ("9", "10"), ["10", "9", "10"]),
        (["10", "9", "-1.5"], ("-1.5", "9", "10"), ["10", "9", "-1.5"]),
        ([0.5, math.nan, 3.0], ("0.5", "3"), ["0.5", None, "3"]),
        (["b", "A", "c"], ("A", "b", "c"), ["b", "A", "c"]),
        (np.array([True, False]), ("False", "True"), ["True", "False"]),
        ([], (), []),
        (["", ""], (), [None, None]),
    ],
)
def test_each_value_is_a_group_and_nothing_is_none(values, names, groups):
    found = Groups.of(values)
    assert found.names == names
    assert of_groups(found) == groups
    assert found.codes.dtype == np.int64


@pytest.mark.parametrize("kind", [float, str])
def test_a_number_at_a_cut_is_in_the_upper_band(kind):
    values = [kind(value) for value in (17.999, 18.0, 39.9, 40.0, 99.0, -5.0)]
    found = Groups.bands([*values, "" if kind is str else math.nan], (18, 40))
    assert found.names == ("< 18", "18 to < 40", ">= 40")
    low, mid, high = found.names
    assert of_groups(found) == [low, mid, mid, high, high, low, None]


def test_one_cut_makes_two_bands():
    assert Groups.bands([1, 2, 3], [2.5]).names == ("< 2.5", ">= 2.5")


@given(
    values=st.lists(st.floats(-100, 100) | st.just(math.nan), max_size=30),
    cuts=st.lists(st.integers(-90, 90), min_size=1, max_size=5, unique=True).map(sorted),
)
def test_bands_are_those_between_which_a_number_lies(values, cuts):
    found = Groups.bands(values, cuts)
    edges = [-math.inf, *cuts, math.inf]
    for value, code in zip(values, found.codes.tolist(), strict=True):
        assert (code == -1) if math.isnan(value) else edges[code] <= value < edges[code + 1]
    assert len(found.names) == len(cuts) + 1


@pytest.mark.parametrize("cuts", [(), (3, 2), (2, 2), (1, math.nan), (math.inf,)])
def test_cuts_must_ascend(cuts):
    with pytest.raises(ValueError, match="cuts must be ascending numbers"):
        Groups.bands([1.0], cuts)


def test_a_text_that_is_no_number_cannot_be_cut():
    with pytest.raises(DataError, match=r"must hold numbers to be cut into bands \(got 'old'\)"):
        Groups.bands(["31", "old"], (18,))


def test_crossed_groups_are_the_pairs_that_there_are():
    one, two = Groups.of(["f", "m", "f", "", "m"]), Groups.bands([8, 30, 31, 32, None], (18,))
    found = one.crossed(two)
    assert found.names == ("f & < 18", "f & >= 18", "m & >= 18")
    assert of_groups(found) == ["f & < 18", "m & >= 18", "f & >= 18", None, None]
    with pytest.raises(ValueError, match=r"same rows \(got 5 and 1\)"):
        one.crossed(Groups.of(["f"]))


def test_groups_of_some_rows_keep_their_names():
    found = Groups.of(["b", "a", ""]).take(np.array([2, 0]))
    assert (found.names, of_groups(found)) == (("a", "b"), [None, "b"])


# Values


def test_values_of_a_group_are_those_of_its_rows_judged_alone(case):
    found = judged(case)
    assert set(found.tasks) == {"classes", "axes", "units"}
    for group in ("x", "y", "z"):
        alone = evaluate(*case.of(group), draws=0)
        for task, one in alone.tasks.items():
            scores = found.tasks[task].groups[group]
            assert {name: value.value for name, value in scores.metrics.items()} == pytest.approx(one.values)
            assert (scores.rows, scores.videos) == (one.rows, len(one.videos))
            assert {value.rows for value in scores.metrics.values()} == {one.rows}


def test_rows_of_no_group_come_last_and_take_no_part_in_a_gap(case):
    """Even if they have the lowest value."""
    predictions = attrs.evolve(
        case.predictions,
        values={
            task: np.where(case.groups[:, None] == "", 1 - values, values)
            for task, values in case.predictions.values.items()
        },
    )
    found = evaluate_by(predictions, case.labels, case.groups, draws=0, min_rows=1)
    for one in found.tasks.values():
        assert list(one.groups) == ["x", "y", "z", "(none)"]
        assert {value.left_out for value in one.groups["(none)"].metrics.values()} == {"no group"}
        for name, gap in one.gaps.items():
            values = {group: scores.metrics[name].value for group, scores in one.groups.items()}
            assert values.pop("(none)") < min(values.values())
            assert gap.value == pytest.approx(max(values.values()) - min(values.values()))
            assert values[gap.highest] == max(values.values())
            assert values[gap.lowest] == min(values.values())


def test_a_group_with_too_few_rows_is_shown_and_not_compared(case):
    rows = {group: int((case.groups == group).sum()) for group in "xyz"}
    assert rows["z"] < 50 < rows["y"]
    found = judged(case, min_rows=50)
    assert found.min_rows == 50
    task = found.tasks["axes"]
    assert task.groups["z"].metrics["ccc"].left_out == "few rows"
    assert not math.isnan(task.groups["z"].metrics["ccc"].value)
    assert {task.gaps["ccc"].highest, task.gaps["ccc"].lowest} == {"x", "y"}


def test_the_bound_counts_labelled_rows():
    predictions = predictions_of({"t": np.zeros((6, 3))}, {"t": CLASSES})
    labels = labelled([0, 1, 2, 0, 1, 2], [True, True, True, True, True, False])
    found = evaluate_by(predictions, {"t": labels}, list("aaabbb"), draws=0, min_rows=3)
    left_out = {group: one.metrics["accuracy"].left_out for group, one in found.tasks["t"].groups.items()}
    assert left_out == {"a": None, "b": "few rows"}


def test_one_group_has_no_gap(case):
    found = evaluate_by(case.predictions, case.labels, np.full(ROWS, "all"), draws=0)
    for one in found.tasks.values():
        assert set(one.gaps.values()) == {None}
    assert found.tasks["units"].recall_gaps == {"u": None, "v": None}


def test_a_group_without_a_labelled_row_of_a_task_is_not_listed():
    predictions = predictions_of({"s": np.zeros((4, 3)), "t": np.zeros((4, 3))}, {"s": CLASSES, "t": CLASSES})
    labels = {"s": labelled([0, 0, 0, 0]), "t": labelled([0, 0, 0, 0], [True, True, False, False])}
    found = evaluate_by(predictions, labels, list("aabb"), draws=0)
    assert {task: list(one.groups) for task, one in found.tasks.items()} == {"s": ["a", "b"], "t": ["a"]}


def test_labelled_rows_without_a_prediction_are_an_error_or_left_out(case):
    values = {
        task: np.where(case.groups[:, None] == "x", np.nan, one)
        for task, one in case.predictions.values.items()
    }
    predictions = attrs.evolve(case.predictions, values=values)
    with pytest.raises(DataError, match="must have a prediction"):
        evaluate_by(predictions, case.labels, case.groups)
    found = evaluate_by(predictions, case.labels, case.groups, draws=0, missing="skip")
    assert list(found.tasks["axes"].groups) == ["y", "z", "(none)"]


def test_groups_of_other_rows_are_a_mistake_of_the_program(case):
    with pytest.raises(ValueError, match="groups must have 240 rows, as the predictions"):
        evaluate_by(case.predictions, case.labels, case.groups[1:])


# Classes that a group lacks


def lacking() -> tuple[Predictions, dict[str, Labels], np.ndarray]:
    """Group q has no row of class c; p and r have all."""
    ids = np.array([0, 1, 2, 0, 1, 2] * 10 + [0, 1] * 30)
    guess = ids.copy()
    guess[::7] = 0
    guess[60::4] = 1
    groups = np.array(["p", "p", "p", "r", "r", "r"] * 10 + ["q"] * 60)
    return predictions_of({"t": np.eye(3)[guess]}, {"t": CLASSES}), {"t": labelled(ids)}, groups


def test_macro_f1_of_a_group_that_lacks_a_class_is_marked_and_not_compared():
    """It would be 2/3 even if every prediction were right. Its accuracy can be compared."""
    predictions, labels, groups = lacking()
    task = evaluate_by(predictions, labels, groups, {"t": [MacroF1(), Accuracy()]}, draws=0).tasks["t"]
    lack = task.groups["q"].metrics["macro_f1"]
    assert lack.ceiling == pytest.approx(2 / 3)
    assert lack.left_out == "lower ceiling"
    assert [task.groups[name].metrics["macro_f1"].ceiling for name in "pr"] == pytest.approx([1, 1])
    assert {task.gaps["macro_f1"].highest, task.gaps["macro_f1"].lowest} == {"p", "r"}
    assert task.groups["q"].metrics["accuracy"].left_out is None
    assert "q" in (task.gaps["accuracy"].highest, task.gaps["accuracy"].lowest)


def test_a_class_that_all_groups_lack_hinders_no_comparison():
    ids = np.array([0, 1] * 60)
    guess = np.where(np.arange(120) % 5, ids, 1 - ids)
    groups = np.repeat(["p", "q"], 60)
    found = evaluate_by(
        predictions_of({"t": np.eye(3)[guess]}, {"t": CLASSES}), {"t": labelled(ids)}, groups, draws=0
    )
    values = [one.metrics["macro_f1"] for one in found.tasks["t"].groups.values()]
    assert [value.ceiling for value in values] == pytest.approx([2 / 3, 2 / 3])
    assert found.tasks["t"].gaps["macro_f1"] is not None


def test_f1_of_a_unit_that_never_occurs_in_a_group_is_not_compared():
    truth = np.ones((80, 2), np.float32)
    truth[:40, 0] = 0
    found = evaluate_by(
        predictions_of({"t": truth * 0.9}, {"t": UNITS}),
        {"t": labelled(truth)},
        np.repeat(["p", "q"], 40),
        draws=0,
    ).tasks["t"]
    assert {name: value.left_out for name, value in found.groups["p"].metrics.items()} == {
        "f1_u": "lower ceiling",
        "f1_v": None,
        "mean_f1": "lower ceiling",
    }
    assert found.gaps["f1_u"] is None
    assert found.gaps["f1_v"].value == 0


@pytest.mark.parametrize(
    ("head", "target"),
    [
        (CLASSES, np.array([0, 2, 1])),
        (SOFT, np.array([[0.6, 0.3, 0.1], [0, 0, 1], [0.1, 0.9, 0]], np.float32)),
        (AXES, np.array([[0.5, -1], [0, 0.25], [1, 1]], np.float32)),
        (UNITS, np.array([[0, 1], [1, 1], [0, 0]], np.float32)),
    ],
    ids=["classes", "shares", "axes", "units"],
)
def test_predictions_that_are_right_throughout_have_the_highest_scores(head, target):
    mask = np.ones(target.shape, np.bool_)
    right = right_throughout(head, TaskRows(np.zeros((3, len(head.columns)), np.float32), target, mask))
    assert right.values.dtype == np.float32
    names = {"classification": "accuracy", "regression": "ccc", "multi-label": "f1_v"}
    found = evaluate(
        predictions_of({"t": right.values}, {"t": head}), {"t": Labels(target, mask)}, draws=0
    ).values["t"]
    assert found[names[head.name]] == pytest.approx(1)


@attrs.frozen(kw_only=True)
class Ranked(Regression):
    """A head whose decision is no longer what is labelled."""

    name: ClassVar[str] = "ranked"

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        return predictions * 2


def test_a_head_whose_labels_cannot_be_predicted_has_no_ceiling():
    target = np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
    rows = TaskRows(np.zeros((2, 2), np.float32), target, np.ones((2, 2), np.bool_))
    assert right_throughout(Ranked(axes=("x", "y")), rows) is None


# Recall


def test_recall_is_the_share_of_a_class_that_is_found_with_its_rows(case):
    found = judged(case, min_rows=20).tasks["classes"]
    labels, guess = case.labels["classes"], case.predictions.values["classes"].argmax(1)
    values: dict[str, dict[str, float]] = {}
    for group in "xyz":
        for place, name in enumerate(CLASSES.classes):
            rows = (case.groups == group) & labels.valid & (labels.values == place)
            one = found.groups[group].recall[name]
            assert one.rows == rows.sum()
            assert one.value == pytest.approx((guess[rows] == place).mean())
            assert one.left_out == ("few rows" if rows.sum() < 20 else None)
            if one.left_out is None:
                values.setdefault(name, {})[group] = one.value
    assert any(len(known) > 1 for known in values.values())
    for name in CLASSES.classes:
        known = values.get(name, {})
        gap = found.recall_gaps[name]
        assert (gap is None) == (len(known) < 2)
        if gap is not None:
            assert gap.value == pytest.approx(max(known.values()) - min(known.values()))


def test_recall_of_a_unit_is_over_the_rows_in_which_it_is_labelled(case):
    found = judged(case).tasks["units"]
    labels, guess = case.labels["units"], case.predictions.values["units"] > 0.5
    for place, name in enumerate(UNITS.names):
        rows = (case.groups == "x") & labels.valid[:, place] & (labels.values[:, place] == 1)
        one = found.groups["x"].recall[name]
        assert (one.rows, one.value) == (rows.sum(), pytest.approx(guess[rows, place].mean()))


def test_recall_of_a_class_that_is_not_there_is_not_defined():
    predictions, labels, groups = lacking()
    found = evaluate_by(predictions, labels, groups, draws=0, min_rows=0).tasks["t"]
    one = found.groups["q"].recall["c"]
    assert math.isnan(one.value)
    assert (one.rows, one.left_out) == (0, "undefined")
    assert "q" not in (found.recall_gaps["c"].highest, found.recall_gaps["c"].lowest)


def test_axes_have_no_recall(case):
    found = judged(case).tasks["axes"]
    assert found.recall_gaps == {}
    assert {len(one.recall) for one in found.groups.values()} == {0}


# Intervals


def drawn(case: Case, groups: tuple[str, str], function: Any, draws: int) -> np.ndarray:
    """A function of the rows of each group in every draw of all videos: [draws, groups]."""
    known = case.labels["axes"].valid.any(1)
    there = sorted(set(case.videos[known].tolist()))
    values = []
    for weights in draw_weights(len(there), draws, seed=0):
        picked = [video for video, times in zip(there, weights, strict=True) for _ in range(times)]
        rows = np.concatenate([np.flatnonzero((case.videos == video) & known) for video in picked])
        values.append([function(rows[case.groups[rows] == group]) for group in groups])
    return np.array(values)


def test_intervals_are_those_of_drawing_whole_videos_of_all_groups(case):
    """That of the gap is of the difference, draw by draw, between the groups that it names."""
    labels, guess = case.labels["axes"], case.predictions.values["axes"]

    def ccc(rows: np.ndarray) -> float:
        rows = rows[labels.valid[rows, 0]]
        x, y = guess[rows, 0].astype(float), labels.values[rows, 0].astype(float)
        spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
        return float(2 * np.mean((x - x.mean()) * (y - y.mean())) / spread)

    found = judged(case, draws=40).tasks["axes"]
    gap = found.gaps["ccc_x"]
    assert gap.lowest == "y"
    values = drawn(case, (gap.highest, gap.lowest), ccc, 40)
    for column, group in enumerate((gap.highest, gap.lowest)):
        expected = np.percentile(values[:, column], [2.5, 97.5])
        assert found.groups[group].metrics["ccc_x"].interval == pytest.approx(tuple(expected), abs=1e-5)
    expected = np.percentile(values[:, 0] - values[:, 1], [2.5, 97.5])
    assert gap.interval == pytest.approx(tuple(expected), abs=1e-5)


def test_all_rows_as_one_group_have_the_intervals_of_all_rows(case):
    found = evaluate_by(case.predictions, case.labels, np.full(ROWS, "all"), draws=30)
    whole = evaluate(case.predictions, case.labels, draws=30)
    for task, one in whole.tasks.items():
        metrics = found.tasks[task].groups["all"].metrics
        assert {name: value.interval for name, value in metrics.items()} == one.intervals


def test_groups_that_do_not_differ_have_a_gap_whose_interval_reaches_below_zero():
    """The largest minus the smallest of each draw never would."""
    random = np.random.default_rng(3)
    ids = random.integers(0, 3, 400)
    guess = np.where(random.random(400) < 0.7, ids, 0)
    groups = random.choice(["p", "q"], 400)
    predictions = predictions_of({"t": np.eye(3)[guess]}, {"t": CLASSES})
    gap = (
        evaluate_by(predictions, {"t": labelled(ids)}, groups, {"t": [Accuracy()]})
        .tasks["t"]
        .gaps["accuracy"]
    )
    assert gap.value >= 0
    assert gap.interval[0] < 0 < gap.interval[1]


def test_recall_has_intervals_over_the_same_draws():
    """All rows of one class are then as accuracy."""
    random = np.random.default_rng(4)
    videos = random.choice(["a", "b", "c", "d"], 200)
    groups = random.choice(["p", "q"], 200)
    guess = np.where(random.random(200) < 0.6, 1, 0)
    predictions = predictions_of({"t": np.eye(3)[guess]}, {"t": CLASSES}, videos)
    found = evaluate_by(
        predictions, {"t": labelled(np.ones(200, np.int64))}, groups, {"t": [Accuracy()]}, draws=50
    )
    task = found.tasks["t"]
    assert task.groups["p"].recall["b"].interval == pytest.approx(
        task.groups["p"].metrics["accuracy"].interval
    )
    assert task.recall_gaps["b"].interval == pytest.approx(task.gaps["accuracy"].interval)


def test_a_group_in_one_video_has_no_interval_nor_has_its_gap():
    videos = np.array(["a", "b", "c", "d"] * 20)
    groups = np.where(videos == "d", "q", "p")
    predictions = predictions_of({"t": np.eye(3)[np.arange(80) % 3]}, {"t": CLASSES}, videos)
    found = evaluate_by(
        predictions,
        {"t": labelled(np.zeros(80, np.int64))},
        groups,
        {"t": [Accuracy()]},
        draws=50,
        min_rows=5,
    ).tasks["t"]
    assert found.groups["p"].metrics["accuracy"].interval is not None
    assert found.groups["q"].metrics["accuracy"].interval is None
    assert found.groups["q"].recall["a"].interval is None
    assert (found.gaps["accuracy"].interval, found.recall_gaps["a"].interval) == (None, None)


def test_draws_without_a_row_of_the_group_do_not_count():
    """Where none of its two videos was drawn, a group has no accuracy: not one of 0."""
    videos = np.repeat([f"v{number}" for number in range(8)], 10)
    groups = np.where(videos < "v2", "q", "p")
    predictions = predictions_of({"t": np.eye(3)[np.zeros(80, int)]}, {"t": CLASSES}, videos)
    found = evaluate_by(
        predictions,
        {"t": labelled(np.zeros(80, np.int64))},
        groups,
        {"t": [Accuracy()]},
        draws=60,
        min_rows=5,
    ).tasks["t"]
    draws = found.groups["q"].metrics["accuracy"].draws
    weights = draw_weights(8, 60, 0)
    np.testing.assert_array_equal(np.isnan(draws), weights[:, :2].sum(1) == 0)
    assert np.isnan(draws).any()
    assert found.groups["q"].metrics["accuracy"].interval == (1, 1)


class LiveMedian(LiveMetric):
    """Median absolute error: needs all rows, and is not defined without any."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("errors", [], dist_reduce_fx="cat")

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        self.errors.append((output.values - target).abs()[mask])

    def compute(self) -> Tensor:
        errors = torch.cat(self.errors)
        if len(errors) < 5:
            raise ValueError("too few rows")
        return errors.double().quantile(0.5)


@attrs.frozen(kw_only=True)
class Median(Metric):
    """Median absolute error."""

    name: ClassVar[str] = "median"

    def build(self, head: Head) -> LiveMetric:
        return LiveMedian()


def test_a_metric_whose_state_is_no_sum_has_values_and_intervals_too(case):
    found = judged(case, metrics={"axes": [Median()]}, draws=30, min_rows=1).tasks["axes"]
    labels, guess = case.labels["axes"], case.predictions.values["axes"]

    def median(rows: np.ndarray) -> float:
        errors = np.abs(guess[rows] - labels.values[rows])[labels.valid[rows]]
        return float(np.median(errors))

    gap = found.gaps["median"]
    values = drawn(case, (gap.highest, gap.lowest), median, 30)
    assert gap.interval == pytest.approx(
        tuple(np.percentile(values[:, 0] - values[:, 1], [2.5, 97.5])), abs=1e-5
    )


def test_a_metric_that_is_not_defined_on_so_few_rows_is_left_out():
    truth = np.linspace(-1, 1, 60).reshape(30, 2).astype(np.float32)
    groups = np.repeat(["p", "q"], [28, 2])
    found = evaluate_by(
        predictions_of({"t": truth / 2}, {"t": AXES}),
        {"t": labelled(truth)},
        groups,
        {"t": [Median()]},
        draws=0,
        min_rows=1,
    ).tasks["t"]
    assert found.groups["q"].metrics["median"].left_out == "undefined"
    assert found.gaps["median"] is None


def test_warnings_name_the_group(case, monkeypatch):
    monkeypatch.setattr("mtl_toolkit.evaluation.bootstrap.REDRAWN_ROWS", 1000)
    found = judged(case, metrics={"axes": [Median()]}, draws=200)
    assert any(
        line.startswith("task 'axes': group 'x': metric 'median': intervals") for line in found.warnings
    )


# The record


def test_the_record_is_plain_json(case):
    found = judged(case, draws=20, metrics={"axes": [ConcordanceCorrelation()], "units": [UnitF1()]})
    plain = json.loads(json.dumps(found.to_plain()))
    assert set(plain) == {"min_rows", "draws", "tasks", "warnings"}
    task = plain["tasks"]["units"]
    assert set(task) == {"groups", "gaps", "recall_gaps"}
    one = task["groups"]["x"]
    assert set(one) == {"rows", "videos", "metrics", "recall"}
    assert set(one["metrics"]["mean_f1"]) == {"value", "rows", "interval", "ceiling", "left_out"}
    assert len(one["metrics"]["mean_f1"]["interval"]) == 2
    assert set(task["gaps"]["mean_f1"]) == {"value", "interval", "highest", "lowest"}
    assert set(task["recall_gaps"]) == {"u", "v"}
