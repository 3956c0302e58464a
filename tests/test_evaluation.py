"""Predictions against labels: pooled, by video, with intervals, by confusion; and which belongs to which."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.metrics import Accuracy, MacroF1, UnitF1
from mtl_std.multi_label import MultiLabel
from mtl_std.regression import Regression
from torch import Tensor
from torchmetrics import Metric as LiveMetric

from mtl_toolkit import ConfigError, DataError, Head, HeadOutput, Labels, Metric, Predictions
from mtl_toolkit.evaluation import (
    AsPredicted,
    Confusion,
    UnitCounts,
    align,
    bootstrap,
    evaluate,
    score,
    videos,
)
from mtl_toolkit.evaluation.bootstrap import by_unit, draw_weights
from mtl_toolkit.evaluation.confusion import confusion_of
from mtl_toolkit.evaluation.metric_states import summed_states
from mtl_toolkit.evaluation.scoring import TaskRows

CLASSES = Classification(classes=("a", "b", "c", "d"))
SOFT = Classification(classes=("a", "b", "c", "d"), soft=True)
AXES = Regression(axes=("x", "y"))
BINS = BinnedRegression(axes=("x", "y"), bins=5)
UNITS = MultiLabel(names=("u", "v", "w"), threshold=0.4)
ROWS = 60


def predictions_of(
    values: Mapping[str, Any],
    heads: Mapping[str, Head],
    of: Sequence[str] | None = None,
    frames: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
) -> Predictions:
    rows = len(next(iter(values.values())))
    return Predictions(
        heads=heads,
        values={task: np.asarray(value, np.float32) for task, value in values.items()},
        names=np.array([f"{row}.jpg" for row in range(rows)] if names is None else names, np.str_),
        videos=np.array([""] * rows if of is None else of, np.str_),
        frames=np.array([0] * rows if frames is None else frames, np.int64),
        faces=np.ones(rows, np.bool_),
    )


def labels_of(values: Any, valid: Any = None) -> Labels:
    values = np.asarray(values)
    return Labels(values, np.ones(values.shape, np.bool_) if valid is None else np.asarray(valid))


def one_hot(ids: Sequence[int]) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[np.asarray(ids)]


def raw_and_labels(head: Head, seed: int = 0) -> tuple[Tensor, Labels]:
    """Raw outputs and labels of a head; a third of the labels is missing, and NaN where they can be."""
    random = np.random.default_rng(seed)
    shapes = {Classification: (4,), Regression: (2,), BinnedRegression: (2, 5), MultiLabel: (3,)}
    values = torch.from_numpy(random.normal(0, 1, (ROWS, *shapes[type(head)])).astype(np.float32))
    shape = (ROWS, *head.target_shape)
    valid = random.random(shape) < 0.7
    if head is CLASSES:
        return values, Labels(np.where(valid, random.integers(0, 4, shape), -9), valid)
    if head is SOFT:
        valid = np.broadcast_to(valid[:, :1], shape)
        target = random.dirichlet(np.ones(4), ROWS)
    elif head is UNITS:
        target = random.integers(0, 2, shape).astype(float)
    else:
        target = random.uniform(-1, 1, shape)
    return values, Labels(np.where(valid, target, np.nan).astype(np.float32), valid)


def raw_metrics(head: Head, values: Tensor, labels: Labels) -> dict[str, float]:
    """What the head's metrics say of raw outputs, as in training."""
    found = {}
    for metric in head.default_metrics():
        live = metric.build(head)
        live.update(
            HeadOutput(values, values), torch.from_numpy(labels.values), torch.from_numpy(labels.valid.copy())
        )
        result = live.compute()
        named = result if isinstance(result, Mapping) else {metric.name: result}
        found |= {name: float(value) for name, value in named.items()}
    return found


def macro_f1(truth: np.ndarray, guess: np.ndarray) -> float:
    """By the textbook, over four classes, 0 where nothing is there."""
    scores = []
    for label in range(4):
        hits = np.sum((truth == label) & (guess == label))
        total = np.sum(truth == label) + np.sum(guess == label)
        scores.append(2 * hits / total if total else 0.0)
    return float(np.mean(scores))


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


# Pooled.


@pytest.mark.parametrize("head", [CLASSES, SOFT, AXES, BINS, UNITS], ids=lambda head: head.name)
def test_metrics_of_predictions_are_those_of_the_raw_outputs(head):
    """Unlabelled rows have NaN for a prediction, and are not looked at."""
    raw, labels = raw_and_labels(head)
    values = head.predictions(raw).numpy()
    values[~labels.valid.reshape(ROWS, -1).any(1)] = np.nan
    assert np.isnan(values).any()
    found = score(predictions_of({"t": values}, {"t": head}), {"t": labels})
    assert found == {"t": pytest.approx(raw_metrics(head, raw, labels), abs=1e-6)}


def test_blocks_of_rows_are_pooled(monkeypatch):
    monkeypatch.setattr("mtl_toolkit.evaluation.scoring.BLOCK", 7)
    raw, labels = raw_and_labels(AXES)
    found = score(predictions_of({"t": raw.numpy()}, {"t": AXES}), {"t": labels})
    assert found == {"t": pytest.approx(raw_metrics(AXES, raw, labels), abs=1e-9)}


def test_a_class_that_never_occurs_counts_as_zero_in_macro_f1():
    """The mean over the two classes that were seen would be 1."""
    predictions = predictions_of({"t": one_hot([0, 1, 0])}, {"t": CLASSES})
    found = score(predictions, {"t": labels_of([0, 1, 0])}, {"t": [MacroF1()]})
    assert found == {"t": {"macro_f1": 0.5}}


def test_a_constant_prediction_has_no_concordance():
    random = np.random.default_rng(0)
    found = evaluate(
        predictions_of({"t": np.full((40, 2), 0.3)}, {"t": AXES}, of=[f"v{row % 5}" for row in range(40)]),
        {"t": labels_of(random.uniform(-1, 1, (40, 2)).astype(np.float32))},
        draws=50,
    )
    assert list(found.values["t"].values()) == pytest.approx([0, 0, 0], abs=1e-9)
    assert found.tasks["t"].intervals["ccc"] == pytest.approx((0, 0), abs=1e-9)


def test_only_tasks_with_labels_and_predictions_are_scored():
    predictions = predictions_of(
        {"c": one_hot([0, 1]), "d": one_hot([0, 1]), "e": one_hot([0, 1])},
        dict.fromkeys("cde", CLASSES),
    )
    unlabelled = Labels.missing(2, (), np.dtype(np.int64))
    labels = {"c": labels_of([0, 2]), "d": unlabelled, "other": labels_of([0, 0])}
    assert score(predictions, labels, {"c": [Accuracy()]}) == {"c": {"accuracy": 0.5}}


# Rows and tasks that are not there.


def with_gaps() -> tuple[Predictions, dict[str, Labels]]:
    values = one_hot([0, 1, 2, 3])
    values[1, 2] = values[3] = np.nan
    labels = labels_of([0, 0, 0, 0], [True, True, True, False])
    return predictions_of({"t": values}, {"t": CLASSES}), {"t": labels}


def test_a_labelled_row_without_a_prediction_is_an_error():
    with pytest.raises(DataError) as caught:
        score(*with_gaps())
    assert caught.value.problems == (
        "task 't': each of the 3 labelled rows must have a prediction (got none for 1, such as '1.jpg')",
    )


def test_labelled_rows_without_a_prediction_are_left_out_on_demand_and_counted():
    found = evaluate(*with_gaps(), {"t": [Accuracy()]}, missing="skip")
    task = found.tasks["t"]
    assert (found.rows, task.rows, task.unpredicted) == (4, 2, 1)
    assert task.values == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"u": labels_of([0, 0, 0, 0])}, "must share a task (got labels of 'u', predictions of 't')"),
        ({"t": Labels.missing(4, (), np.dtype(np.int64))}, "must be a row with a label and a prediction"),
    ],
    ids=["no task in common", "no label"],
)
def test_nothing_to_score_is_an_error(labels, problem):
    predictions, _ = with_gaps()
    with pytest.raises(DataError) as caught:
        score(predictions, labels)
    assert problem in str(caught.value)


def test_metrics_of_an_unknown_task_are_an_error_that_names_the_nearest():
    values = {"mood": one_hot([0])}
    with pytest.raises(ConfigError, match="no predictions of 'moood'; did you mean 'mood'"):
        score(predictions_of(values, {"mood": CLASSES}), {"mood": labels_of([0])}, {"moood": [Accuracy()]})


def test_labels_of_other_rows_are_a_mistake_of_the_program():
    with pytest.raises(ValueError, match="labels must have 1 rows"):
        score(predictions_of({"t": one_hot([0])}, {"t": CLASSES}), {"t": labels_of([0, 0])})


# The head.


def test_the_head_for_predictions_is_the_head_in_all_but_its_outputs():
    """Also in what later versions of Head may add: it must then be passed on, or stand in this list."""
    wrapped = AsPredicted(head=UNITS)
    own = {"build", "build_last", "distribution", "estimate", "predictions", "kind"}
    for name in set(dir(Head)) - own:
        if not name.startswith("_"):
            assert name in vars(AsPredicted), name
            if not callable(getattr(UNITS, name)):
                assert getattr(wrapped, name) == getattr(UNITS, name)
    assert wrapped.threshold == 0.4
    assert wrapped.meaning() == UNITS.meaning()
    assert not hasattr(wrapped, "classes")


def test_the_head_for_predictions_decides_as_its_head():
    predictions = torch.tensor([[0.39, 0.41, 1.0]])
    assert AsPredicted(head=UNITS).estimate(predictions).tolist() == [[0, 1, 1]]


class LiveLikelihood(LiveMetric):
    full_state_update = False

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        self.total += self.head.distribution(output.values).log_prob(target[:, None])[mask].sum()

    def compute(self) -> Tensor:
        return self.total


@attrs.frozen(kw_only=True)
class Likelihood(Metric):
    """Needs the predictive distribution."""

    name: ClassVar[str] = "likelihood"

    def build(self, head: Head) -> LiveMetric:
        return LiveLikelihood(head)


def test_a_metric_that_needs_raw_outputs_is_an_error_that_names_it():
    with pytest.raises(ConfigError, match=r"^metric 'likelihood': must be found from predictions alone"):
        score(
            predictions_of({"t": one_hot([0])}, {"t": CLASSES}), {"t": labels_of([0])}, {"t": [Likelihood()]}
        )


# By video.


def four_videos(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, targets and videos of rows that are not sorted by video."""
    random = np.random.default_rng(seed)
    of = random.choice(["v1", "v2", "v10", "v3"], 80, p=[0.5, 0.3, 0.15, 0.05])
    truth = random.uniform(-1, 1, (80, 2)).astype(np.float32)
    return truth + random.normal(0, 0.5, (80, 2)).astype(np.float32), truth, of


def test_each_video_has_the_metrics_of_its_rows():
    guess, truth, of = four_videos()
    found = evaluate(predictions_of({"t": guess}, {"t": AXES}, of), {"t": labels_of(truth)}, draws=0)
    videos = found.tasks["t"].videos
    assert set(videos) == set(of)
    for video, scores in videos.items():
        assert scores.rows == np.sum(of == video)
        for axis, name in enumerate(AXES.axes):
            expected = ccc(guess[of == video, axis], truth[of == video, axis])
            assert scores.values[f"ccc_{name}"] == pytest.approx(expected, abs=1e-6)


def test_videos_without_a_label_and_single_pictures_are_not_listed():
    predictions = predictions_of({"t": one_hot([0, 1, 2])}, {"t": CLASSES}, of=["v", "", "w"])
    labels = labels_of([0, 0, 0], [True, True, False])
    assert list(evaluate(predictions, {"t": labels}).tasks["t"].videos) == ["v"]


# Intervals.


def naive_interval(
    function: Any, guess: np.ndarray, truth: np.ndarray, of: np.ndarray, draws: int
) -> tuple[float, float]:
    """Percentiles over draws whose rows are put together one video after the other."""
    there = sorted(set(of.tolist()))
    values = []
    for weights in draw_weights(len(there), draws, seed=0):
        drawn = [video for video, times in zip(there, weights, strict=True) for _ in range(times)]
        places = np.concatenate([np.flatnonzero(of == video) for video in drawn])
        values.append(function(guess[places], truth[places]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def test_weights_are_draws_with_replacement():
    weights = draw_weights(5, 2000, seed=0)
    assert weights.shape == (2000, 5)
    assert (weights.sum(1) == 5).all()
    # Each is Binomial(5, 1/5): mean 1, variance 4/5.
    assert weights.mean(0) == pytest.approx(np.ones(5), abs=0.08)
    assert weights.var(0) == pytest.approx(np.full(5, 0.8), abs=0.1)


def test_intervals_of_concordance_are_those_of_drawing_the_rows():
    guess, truth, of = four_videos()
    found = evaluate(predictions_of({"t": guess}, {"t": AXES}, of), {"t": labels_of(truth)}, draws=60)
    expected = naive_interval(
        lambda x, y: np.mean([ccc(x[:, axis], y[:, axis]) for axis in (0, 1)]), guess, truth, of, 60
    )
    assert found.tasks["t"].intervals["ccc"] == pytest.approx(expected, abs=1e-6)
    assert found.warnings == ()


def test_intervals_of_macro_f1_are_those_of_drawing_the_rows():
    """Its counts lie in a metric inside the metric."""
    random = np.random.default_rng(1)
    _, _, of = four_videos()
    truth, guess = random.integers(0, 3, (2, 80))
    assert summed_states(MacroF1().build(CLASSES))
    found = evaluate(
        predictions_of({"t": one_hot(guess)}, {"t": CLASSES}, of), {"t": labels_of(truth)}, draws=60
    )
    expected = naive_interval(lambda x, y: macro_f1(y, x), guess, truth, of, 60)
    assert found.tasks["t"].intervals["macro_f1"] == pytest.approx(expected, abs=1e-6)
    assert found.warnings == ()


class LiveMedian(LiveMetric):
    """Median absolute error: needs all rows."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.add_state("errors", [], dist_reduce_fx="cat")

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        self.errors.append((self.head.estimate(output.values) - target).abs()[mask])

    def compute(self) -> Tensor:
        return torch.cat(self.errors).double().quantile(0.5)


@attrs.frozen(kw_only=True)
class Median(Metric):
    """Median absolute error."""

    name: ClassVar[str] = "median"

    def build(self, head: Head) -> LiveMetric:
        return LiveMedian(head)


class LiveSecret(LiveMedian):
    """As the median, but its state looks like a sum, and it keeps the errors beside it."""

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self.errors = []
        self._defaults.clear()
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        if not self.rows:
            self.errors = []
        self.rows += len(target)
        super().update(output, target, mask)


@attrs.frozen(kw_only=True)
class Secret(Metric):
    """A metric whose states are not all that it knows."""

    name: ClassVar[str] = "secret"

    def build(self, head: Head) -> LiveMetric:
        return LiveSecret(head)


@pytest.mark.parametrize("metric", [Median(), Secret()], ids=lambda metric: metric.name)
def test_intervals_of_a_metric_whose_state_is_no_sum_read_the_rows_again(metric):
    guess, truth, of = four_videos()
    predictions = predictions_of({"t": guess}, {"t": AXES}, of)
    found = evaluate(predictions, {"t": labels_of(truth)}, {"t": [metric]}, draws=60)
    expected = naive_interval(lambda x, y: np.median(np.abs(x - y)), guess, truth, of, 60)
    assert found.tasks["t"].intervals[metric.name] == pytest.approx(expected, abs=1e-6)
    assert found.tasks["t"].videos["v1"].values[metric.name] == pytest.approx(
        np.median(np.abs(guess - truth)[of == "v1"]), abs=1e-6
    )


@pytest.mark.parametrize(
    ("rows", "interval", "told"),
    [(80 * 120, True, "from 120 draws instead of 200"), (80 * 99, False, "left out")],
    ids=["fewer draws", "too few draws"],
)
def test_rows_are_not_read_again_without_end(monkeypatch, rows, interval, told):
    monkeypatch.setattr(bootstrap, "REDRAWN_ROWS", rows)
    guess, truth, of = four_videos()
    predictions = predictions_of({"t": guess}, {"t": AXES}, of)
    found = evaluate(predictions, {"t": labels_of(truth)}, {"t": [Median()]}, draws=200)
    assert (found.tasks["t"].intervals["median"] is not None) == interval
    assert found.warnings == (
        f"task 't': metric 'median': intervals are {told}: its state is no sum, "
        "so that every draw reads 80 rows",
    )


def test_one_video_has_no_interval():
    predictions = predictions_of({"t": one_hot([0, 1])}, {"t": CLASSES}, of=["v", "v"])
    found = evaluate(predictions, {"t": labels_of([0, 0])}, {"t": [Accuracy()]})
    assert found.tasks["t"].intervals == {"accuracy": None}
    assert found.to_plain()["tasks"]["t"]["metrics"] == {"accuracy": {"value": 0.5, "interval": None}}


def test_single_pictures_are_drawn_one_by_one():
    """The number of hits is then binomial: the interval has its width."""
    guess = one_hot([0] * 300 + [1] * 100)
    predictions = predictions_of({"t": guess}, {"t": CLASSES})
    found = evaluate(predictions, {"t": labels_of([0] * 400)}, {"t": [Accuracy()]})
    low, high = found.tasks["t"].intervals["accuracy"]
    deviation = np.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - 1.96 * deviation, 0.75 + 1.96 * deviation), abs=0.006)


def test_many_pictures_make_equal_groups(monkeypatch):
    monkeypatch.setattr(videos, "PICTURE_GROUPS", 10)
    rows = TaskRows(one_hot([0] * 101), np.arange(101), np.ones(101, np.bool_))
    units = by_unit(rows, np.array(["v", *[""] * 95, "w", *["v"] * 4]), seed=0)
    assert units.names == ("v", "w", *[""] * 10)
    assert sorted(np.diff(units.bounds).tolist()) == [1, 5, *[9] * 5, *[10] * 5]
    assert units.unit(0).target.tolist() == [0, 97, 98, 99, 100]
    assert units.unit(1).target.tolist() == [96]
    assert sorted(units.rows.target.tolist()) == list(range(101))


def test_the_same_predictions_have_the_same_intervals_whatever_other_tasks_there_are():
    guess, truth, of = four_videos()
    heads = {"t": AXES, "other": AXES}
    alone = evaluate(predictions_of({"t": guess}, heads, of), {"t": labels_of(truth)}, draws=30)
    both = evaluate(
        predictions_of({"other": truth, "t": guess}, heads, of),
        {"t": labels_of(truth), "other": labels_of(truth)},
        draws=30,
    )
    assert alone.tasks["t"].intervals == both.tasks["t"].intervals
    assert both.tasks["other"].intervals["ccc"] == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("head", "values", "labels", "found"),
    [
        (CLASSES, one_hot([0, 1]), labels_of([0, 4]), r"task 't': .*\(got 4\)"),
        (UNITS, np.zeros((1, 3)), labels_of([[0.0, 1.0, 2.0]]), r"task 't': labels must be 0 or 1 \(got 2\)"),
    ],
    ids=["class", "unit"],
)
def test_labels_that_the_head_does_not_take_are_refused(head, values, labels, found):
    with pytest.raises(DataError, match=found):
        evaluate(predictions_of({"t": values}, {"t": head}), {"t": labels}, draws=0)


# Confusion.


@pytest.mark.parametrize("head", [CLASSES, SOFT], ids=["ids", "shares"])
def test_the_confusion_matrix_counts_true_against_predicted(head):
    truth, guess, valid = [0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 0, 3], [True] * 5 + [False]
    target: Any = np.array(truth)
    mask = np.array(valid)
    if head is SOFT:
        target, mask = one_hot(truth), np.repeat(mask[:, None], 4, axis=1)
    found = evaluate(predictions_of({"t": one_hot(guess)}, {"t": head}), {"t": Labels(target, mask)}, draws=0)
    matrix = found.tasks["t"].confusion
    assert isinstance(matrix, Confusion)
    assert matrix.counts.tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert matrix.to_plain() == {
        "classes": ["a", "b", "c", "d"],
        "counts": matrix.counts.tolist(),
        "shares": [[1 / 3, 2 / 3, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], None],
    }


def test_units_are_counted_where_they_are_labelled():
    raw, labels = raw_and_labels(UNITS)
    values = UNITS.predictions(raw).numpy()
    found = evaluate(predictions_of({"t": values}, {"t": UNITS}), {"t": labels}, draws=0).tasks["t"].confusion
    assert isinstance(found, UnitCounts)
    for place, unit in enumerate(UNITS.names):
        pairs = [
            (bool(value > 0.4), bool(truth))
            for value, truth in zip(values[:, place], labels.values[:, place], strict=True)
            if not np.isnan(truth)
        ]
        expected = {
            "tp": pairs.count((True, True)),
            "fp": pairs.count((True, False)),
            "fn": pairs.count((False, True)),
            "tn": pairs.count((False, False)),
        }
        assert found.to_plain()["units"][unit] == expected


def test_axes_have_no_confusion():
    guess, truth, of = four_videos()
    found = evaluate(predictions_of({"t": guess}, {"t": AXES}, of), {"t": labels_of(truth)}, draws=0)
    assert found.tasks["t"].confusion is None


@attrs.frozen(kw_only=True)
class Several(Regression):
    """A head whose meaning names what it has several values of."""

    word: str = "units"
    shape: tuple[int, ...] = (2,)

    @property
    def target_shape(self) -> tuple[int, ...]:
        return self.shape

    def meaning(self) -> dict[str, Any]:
        return {"kind": "several", self.word: list(self.axes)}


@pytest.mark.parametrize(("word", "shape"), [("units", (2,)), ("units", (2, 3, 3)), ("classes", (2, 3, 3))])
def test_numbers_per_unit_and_maps_have_no_confusion(word, shape):
    """Cars and people in a picture, and where they are: neither is a decision between yes and no."""
    head = Several(axes=("cars", "people"), word=word, shape=shape)
    labels = np.random.default_rng(0).integers(0, 5, (40, *shape)).astype(np.float32)
    rows = TaskRows(np.zeros((40, 2), np.float32), labels, np.ones(labels.shape, np.bool_))
    assert confusion_of(head, rows) is None


# The record.


def test_the_record_is_plain_json():
    guess, truth, of = four_videos()
    predictions = predictions_of({"t": guess, "c": one_hot([0] * 80)}, {"t": AXES, "c": CLASSES}, of)
    predictions = attrs.evolve(predictions, faces=np.arange(80) >= 3)
    labels = {"t": labels_of(truth), "c": labels_of([0] * 80, np.arange(80) < 70)}
    plain = evaluate(predictions, labels, {"c": [Accuracy()]}, draws=10).to_plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert (plain["rows"], plain["draws"], plain["warnings"]) == (80, 10, [])
    task = plain["tasks"]["c"]
    assert (task["rows"], task["unpredicted"], task["without_face"]) == (70, 0, 3)
    assert task["metrics"] == {"accuracy": {"value": 1.0, "interval": [1.0, 1.0]}}
    assert set(task["videos"]["v1"]) == {"rows", "metrics"}


def test_several_metrics_of_a_task_are_side_by_side():
    predictions = predictions_of({"u": [[1, 0, 0]] * 4}, {"u": UNITS}, of=["a", "a", "b", "c"])
    labels = {"u": labels_of(np.tile(np.float32([1, 0, 1]), (4, 1)))}
    found = evaluate(predictions, labels, {"u": [UnitF1(), Median()]})
    names = ["f1_u", "f1_v", "f1_w", "mean_f1", "median"]
    assert list(found.values["u"]) == list(found.tasks["u"].intervals) == names
    assert list(found.tasks["u"].videos["a"].values) == names
    assert list(found.values["u"].values()) == pytest.approx([1, 0, 0, 1 / 3, 0])


# Which prediction belongs to which sample.


FRAMES = st.lists(
    st.tuples(st.sampled_from(["", "v", "w"]), st.integers(0, 4), st.sampled_from(["x", "y", "z", ""])),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(FRAMES, FRAMES)
def test_samples_find_their_prediction_by_frame_else_by_name(known, wanted):
    by_frame: dict[tuple[str, int], list[int]] = {}
    by_name: dict[str, list[int]] = {}
    for row, (video, frame, name) in enumerate(known):
        by_name.setdefault(name, []).append(row)
        if video and frame:
            by_frame.setdefault((video, frame), []).append(row)
    with_frames = {video for video, _ in by_frame}
    expected, twice = [], any(len(rows) > 1 for rows in by_frame.values())
    for video, frame, name in wanted:
        if frame and video in with_frames:
            rows = by_frame.get((video, frame), [])
        else:
            rows = by_name.get(name, []) if name else []
            twice |= len(rows) > 1
        expected.append(rows[0] if rows else -1)
    of, frames, names = zip(*known, strict=True)
    predictions = predictions_of({"t": one_hot([0] * len(known))}, {"t": CLASSES}, of, frames, names)
    columns = [np.array(column) for column in zip(*wanted, strict=True)]
    if twice:
        with pytest.raises(DataError, match="must be there once"):
            align(predictions, *columns)
    else:
        found = align(predictions, *columns)
        assert found.rows.tolist() == expected
        assert found.missing == expected.count(-1)


def test_columns_may_be_bytes_or_objects_and_one_of_them_may_lack():
    predictions = predictions_of(
        {"t": one_hot([0, 1])}, {"t": CLASSES}, ["", "été"], [0, 3], ["a/ü.jpg", "été/3.jpg"]
    )
    videos = np.char.encode(np.array(["été", ""]), "utf-8")
    assert align(predictions, videos, np.array([3, 0], np.int32)).rows.tolist() == [1, -1]
    assert align(predictions, samples_names=np.array(["a/ü.jpg", None], object)).rows.tolist() == [0, -1]
    assert align(predictions, samples_names=np.array(["été/3.jpg"])).rows.tolist() == [1]
    with pytest.raises(ValueError, match="need videos or names"):
        align(predictions)


def test_frames_and_pictures_predicted_twice_are_named():
    heads, values = {"t": CLASSES}, {"t": one_hot([0, 1, 2])}
    twice = predictions_of(values, heads, of=["v", "w", "v"], frames=[4, 4, 4])
    with pytest.raises(DataError, match=r"each frame must be there once \(got 1 again, as 4 of 'v'\)"):
        align(twice, np.array(["w"]), np.array([4]))
    twice = predictions_of(values, heads, names=["a.jpg", "b.jpg", "a.jpg"])
    with pytest.raises(DataError, match=r"each picture must be there once \(got 1 again, as 'a.jpg'\)"):
        align(twice, samples_names=np.array(["a.jpg"]))
    assert align(twice, samples_names=np.array(["b.jpg"])).rows.tolist() == [1]


def test_aligned_predictions_are_nan_for_samples_without_one():
    predictions = predictions_of({"t": one_hot([0, 1])}, {"t": CLASSES}, ["v", "v"], [1, 2], ["v/1", "v/2"])
    samples = np.array(["v", "v", "longer"]), np.array([2, 9, 1]), np.array(["", "v/9", "longer/1"])
    found = align(predictions, *samples)
    aligned = found.apply(predictions)
    assert found.missing == 2
    assert aligned.names.tolist() == ["v/2", "v/9", "longer/1"]
    assert aligned.videos.tolist() == ["v", "v", "longer"]
    assert aligned.frames.tolist() == [2, 9, 1]
    assert aligned.faces.tolist() == [True, False, False]
    np.testing.assert_array_equal(aligned.values["t"][0], [0, 1, 0, 0])
    assert np.isnan(aligned.values["t"][1:]).all()
    with pytest.raises(DataError, match="got none for 2, such as 'v/9'"):
        score(aligned, {"t": labels_of([0, 0, 0])})


def test_no_predictions_at_all_leave_every_sample_without_one():
    predictions = predictions_of({"t": one_hot([0])}, {"t": CLASSES}).take(np.zeros(0, np.int64))
    found = align(predictions, np.array(["v", ""]), np.array([1, 0]), np.array(["", "x"]))
    assert found.missing == 2
    assert np.isnan(found.apply(predictions).values["t"]).all()
