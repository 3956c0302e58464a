"""The metrics of a validation feed: which tasks, under which names, over several batches and epochs."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.classification import Classification
from mtl_std.metrics import Accuracy
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric as LiveMetric

from mtl_toolkit import Batch, FeedMetrics, Head, HeadOutput, Metric

CLASSES = Classification(classes=("a", "b"))


def wrapped(values: Tensor) -> HeadOutput:
    return HeadOutput(values, values)


def batch_of(ids: list[int], task: str = "c") -> Batch:
    return Batch.from_tensors(torch.zeros(len(ids), 1), {task: torch.tensor(ids)})


def guesses(ids: list[int]) -> HeadOutput:
    return wrapped(one_hot(torch.tensor(ids), 2).float())


def test_values_are_named_by_feed_task_and_metric():
    metrics = FeedMetrics("faces", {"expr": Expression(), "va": ValenceArousal()}, {"expr": [Accuracy()]})
    assert metrics.tasks == ("expr", "va")
    outputs = {"expr": wrapped(torch.randn(4, 7)), "va": wrapped(torch.randn(4, 2, 20))}
    targets = {"expr": torch.tensor([0, 1, 2, 3]), "va": torch.rand(4, 2)}
    metrics.update(outputs, Batch.from_tensors(torch.zeros(4, 1), targets))
    assert list(metrics.compute()) == [
        "faces/expr/accuracy",
        "faces/va/ccc_valence",
        "faces/va/ccc_arousal",
        "faces/va/ccc",
    ]


def test_batches_of_an_epoch_are_pooled_and_the_next_epoch_starts_afresh():
    metrics = FeedMetrics("f", {"c": CLASSES}, {"c": [Accuracy()]})
    metrics.update({"c": guesses([0])}, batch_of([0]))
    metrics.update({"c": guesses([0, 0, 0])}, batch_of([1, 1, 0]))
    assert metrics.compute() == {"f/c/accuracy": 0.5}
    metrics.reset()
    metrics.update({"c": guesses([1])}, batch_of([1]))
    assert metrics.compute() == {"f/c/accuracy": 1.0}


class LiveBits(LiveMetric):
    bits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("bits", torch.tensor(0), dist_reduce_fx="max")

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        bits = min(torch.finfo(tensor.dtype).bits for tensor in (output.values, output.features))
        self.bits = self.bits.clamp(min=bits)

    def compute(self) -> Tensor:
        return self.bits


@attrs.frozen(kw_only=True)
class Bits(Metric):
    """A third-party metric that gives a scalar: the precision of the outputs that it gets."""

    name: ClassVar[str] = "bits"

    def build(self, head: Head) -> LiveMetric:
        return LiveBits()


def test_outputs_in_half_precision_reach_a_third_party_metric_in_full():
    metrics = FeedMetrics("f", {"c": CLASSES}, {"c": [Bits()]})
    metrics.update({"c": wrapped(torch.zeros(1, 2, dtype=torch.bfloat16))}, batch_of([0]))
    assert metrics.compute() == {"f/c/bits": 32.0}
