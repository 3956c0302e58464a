"""Trainers of two tasks on points in space, from objects only: small enough to train in a second."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from mtl_std.balancers import Sum
from mtl_std.classification import Classification
from mtl_std.regression import Regression
from mtl_std.samplers import Shuffle
from torch import nn

from mtl_toolkit import (
    Feed,
    FeedMetrics,
    LiveStream,
    MultiTaskModel,
    Objective,
    SequentialPlan,
    StreamLoader,
    StreamTask,
    TensorSamples,
    Trainer,
    TrainPlan,
)

HEADS = {"side": Classification(classes=("left", "right"), hidden=0), "distance": Regression(hidden=0)}


class Trunk(nn.Module):
    """A layer with batch statistics and dropout, so that passes in training differ from those after it."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2))

    def forward(self, inputs, tasks):
        return dict.fromkeys(tasks, self.body(inputs))


def network(seed=0, width=16):
    """A small network, its values a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MultiTaskModel(Trunk(width), {task: head.build(width) for task, head in HEADS.items()})


def samples(count, seed, labelled=1.0):
    """Points with the side they lie on, known of a share of them, and their distance."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 4, generator=generator)
    known = torch.rand(count, generator=generator) < labelled
    side, distance = (points[:, 0] > 0).long(), points.norm(dim=1, keepdim=True)
    return TensorSamples(points, {"side": side, "distance": distance}, {"side": known})


def feed(seed=100, count=64):
    """Held-out points with both labels."""
    there = samples(count, seed)
    stream = LiveStream("held-out", "side", there, Shuffle().build(count, {}, {}), 32)
    return Feed(StreamLoader(SequentialPlan(stream), HEADS), FeedMetrics("held-out", HEADS))


def make_trainer(model=None, *, labelled=1.0, losses=(), seed=0, optimizer=None, **more):
    """Train one stream of points, a step of 16 rows, 6 steps an epoch."""
    model = model or network(seed)
    there = samples(96, seed, labelled)
    stream = LiveStream("points", "side", there, Shuffle().build(len(there), {}, {}), 16)
    options = {"epochs": 2, "feeds": [feed()], "select": {"held-out/side/macro_f1": 1.0}, **more}
    return Trainer(
        model=model,
        objective=Objective(HEADS, [StreamTask("points", "side")], extra=losses),
        balancer=Sum().build(list(HEADS)),
        optimizer=optimizer or torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        loader=StreamLoader(TrainPlan([stream], seed=seed), HEADS),
        seed=seed,
        accelerator=Accelerator(cpu=True),
        **options,
    )
