"""Samplers with one mistake each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import numpy as np

from mtl_toolkit import Sampler
from mtl_toolkit.testing import Check, check_sampler
from tests.mutants import broken, maker, of_any_kind
from tests.mutants.squares import TASKS


@attrs.frozen(kw_only=True)
class Order(Sampler):
    """A random permutation, sound."""

    name: ClassVar[str] = "order"
    draw: ClassVar[Callable[..., Any]] = staticmethod(
        lambda length, _labels, generator: generator.permutation(length)
    )

    def build(self, length, labels, heads):
        return lambda generator: self.draw(length, labels, generator)


def by_value(_length, labels, _generator):
    return np.argsort(labels["va"].values[:, 0])


def shorter_each_time(self: Order, length: int, labels: Any, heads: Any) -> Callable[..., np.ndarray]:
    passes: list[np.ndarray] = []

    def draw(generator):
        passes.append(generator.permutation(length))
        return passes[-1][: length - len(passes)]

    return draw


def drawn_when_built(self: Order, length: int, labels: Any, heads: Any) -> Callable[..., np.ndarray]:
    order = np.random.default_rng().permutation(length)
    return lambda _generator: order


def grouped(self: Order, datasets: np.ndarray, labels: Any, heads: Any) -> Callable[..., np.ndarray]:
    """Sorts by dataset, and so keeps a single one in order."""
    return lambda _generator: np.argsort(datasets, kind="stable")


def checks_of(recipe: Sampler) -> list[Check]:
    return check_sampler(recipe, TASKS)


of_sampler = maker(checks_of, Order, "draw")

MUTANTS = [
    *of_any_kind(checks_of, Order),
    of_sampler("a list", lambda length, *_: list(range(length)), "indices"),
    of_sampler("batches", lambda length, *_: np.arange(length).reshape(-1, 10), "indices"),
    of_sampler("floats", lambda length, *_: np.arange(float(length)), "indices"),
    of_sampler("counts from the end", lambda length, *_: np.arange(length) - length, "indices"),
    of_sampler("no samples", lambda _length, *_: np.zeros(0, np.int64), "indices"),
    of_sampler("counts from one", lambda length, *_: np.arange(1, length + 1), "indices"),
    of_sampler(
        "draws from numpy's generator",
        lambda length, *_: np.random.default_rng().permutation(length),
        "function-of-its-generator",
    ),
    of_sampler("draws when it is built", broken(Order, build=drawn_when_built), "function-of-its-generator"),
    of_sampler(
        "leaves out more with each pass",
        broken(Order, build=shorter_each_time),
        "function-of-its-generator",
    ),
    of_sampler("sorts by what is missing", by_value, "missing-labels-do-not-matter"),
    of_sampler("another order for one dataset", broken(Order, build_over=grouped), "one-dataset"),
]


def sound_checks() -> list[Check]:
    """The checks of what the mutants begin with."""
    return checks_of(Order())
