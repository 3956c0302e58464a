"""The recipes of the network and its training: backbone, sharing, temporal model, balancing."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import attrs

from .base import Recipe

if TYPE_CHECKING:
    from torch import nn


@attrs.frozen(kw_only=True)
class Backbone(Recipe):
    """The network that turns pictures into features."""

    kind: ClassVar[str] = "backbone"

    @abc.abstractmethod
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel, of pictures scaled to [0, 1], that it expects."""

    def problems(self) -> list[str]:
        """Look for what would fail while building (an unknown network, a missing file), without building."""
        return []

    @abc.abstractmethod
    def build(self, image_size: int, *, weights: bool = True) -> nn.Module:
        """Return a module with `num_features` that maps [n, 3, size, size] to [n, num_features].

        Instead of a plain tensor it may give `Features`: the same, and tensors by name for losses to look at.
        A module with a method `chain() -> Chain` can be taken apart by an architecture, such as one with
        branches.

        `weights=False` leaves pretrained weights out, for a checkpoint that brings its own.
        """


class Chain(NamedTuple):
    """A backbone in parts: pictures run through the blocks, in order, and then the pool, give its features.

    The blocks hold all that is trained before the last feature map, the pool all that comes after it. What
    is frozen in a block or in the pool stays so when their own `train()` is called. Names of blocks have a
    dot where they lie inside each other: `layer2.0` and `layer2.1` are the blocks of `layer2`.

    Attributes:
        blocks: by name, in order; the last gives maps [rows, channels, height, width].
        pool: from the last map to what the backbone gives, [rows, num_features].
        channels: of the last map.
    """

    blocks: Mapping[str, nn.Module]
    pool: nn.Module
    channels: int


@attrs.frozen(kw_only=True)
class Architecture(Recipe):
    """How tasks share a network."""

    kind: ClassVar[str] = "architecture"

    @abc.abstractmethod
    def build(self, backbone: Callable[[], nn.Module], tasks: Sequence[str]) -> nn.Module:
        """Return a trunk: `trunk(inputs, tasks)` gives features by task, `trunk.num_features` their sizes.

        `backbone()` makes a fresh backbone each time it is called. It may give plain tensors or `Features`,
        and so may the trunk, for each task; `Features.of` takes both.
        """

    def problems(self, tasks: Sequence[str]) -> list[str]:
        """What keeps it from working with these tasks, as far as that shows without building; one line each.

        `mtl check` asks it for every stage; `tasks` are those with outputs, as for `build`.
        """
        return []


@attrs.frozen(kw_only=True)
class Balancer(Recipe):
    """How the losses of several tasks make one backward pass."""

    kind: ClassVar[str] = "balancer"

    @abc.abstractmethod
    def build(self, tasks: Sequence[str]) -> Any:
        """Return an object with `backward(losses, outputs, scale)`.

        `losses` holds the scalar losses of the tasks present in this step (at least one), `outputs` the
        `HeadOutput`s; it adds the gradient of their combination, times `scale`, to the parameters' `.grad`.
        """


@attrs.frozen(kw_only=True)
class Temporal(Recipe):
    """A network over the frames of a window, between a task's features and its head; one per task.

    It knows nothing of what the outputs mean: the head makes them from its features, frame by frame.
    """

    kind: ClassVar[str] = "temporal"

    @abc.abstractmethod
    def build(self, features: int) -> nn.Module:
        """Return a module with `num_features`, called as `module(inputs, mask)`.

        It maps float [windows, frames, features] to [windows, frames, num_features]. `mask` is bool
        [windows, frames], true for a window's frames, which come first; None where all windows are full.
        What lies outside the mask holds anything finite and must not change the frames inside it.
        """
