"""Streams and the order of their samples: a function of (seed, epoch, position), the same for any rank."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import attrs
import numpy as np

from ..errors import DataError
from ..samples import Samples
from .windows import WindowTable

NOISE = 16  # random numbers a row gets for its augmentation


@attrs.frozen(eq=False)
class LiveStream:
    """Samples for a task, ready to be drawn.

    Attributes:
        title: how logs call it.
        task: the task it is for.
        samples: where it reads.
        draw: from a random generator to one pass over the samples (indices).
        batch_size: items per step over all processes.
        windows: the windows that are drawn, if it is not single samples.
        datasets: names of the datasets that the samples are of, one after the other; (): those that
            `ConcatSamples` has, or the title. Streams that read one dataset name it alike.
    """

    title: str
    task: str
    samples: Samples
    draw: Callable[[np.random.Generator], np.ndarray]
    batch_size: int
    windows: WindowTable | None = None
    datasets: tuple[str, ...] = ()

    @property
    def items(self) -> int:
        """What there is to draw: samples, or windows of them."""
        return len(self.samples) if self.windows is None else len(self.windows)

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Names of the datasets that the samples are of."""
        return self.datasets or getattr(self.samples, "names", (self.title,))

    def rows(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The samples of some items, int64 [rows], and how many each has, int64 [items]."""
        if self.windows is None:
            return items, np.ones(len(items), np.int64)
        return self.windows.rows(items), self.windows.lengths[items]


class Plan(Protocol):
    """Which items (samples, or windows of them) of which stream make up a step on this rank."""

    streams: Sequence[LiveStream]

    def steps(self) -> int:
        """Steps in an epoch."""

    def indices(self, epoch: int, step: int) -> list[np.ndarray]:
        """The items of each stream."""

    def noise(self, epoch: int, step: int) -> list[np.ndarray] | None:
        """Random numbers of each stream's items, or None."""


class TrainPlan:
    """Every step takes each stream's quota; shorter streams start again with a fresh pass.

    The quota is split over the ranks in consecutive parts, so that a step holds the same samples however
    many processes there are.

    Raises:
        DataError: if a stream has no samples, or a process would have no rows.
        ValueError: if two streams have one title, which their orders and their rows' names go by.
    """

    def __init__(
        self,
        streams: Sequence[LiveStream],
        *,
        seed: int,
        length: Literal["shortest", "longest"] | int = "shortest",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        titles = [stream.title for stream in streams]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"the titles of streams must differ (got {title!r} twice)")
        for stream in streams:
            if not stream.items:
                raise DataError(f"stream {stream.title!r} has no samples")
        if world > max(stream.batch_size for stream in streams):
            raise DataError(f"no stream has a row a step for each of the {world} processes; raise batch_size")
        self.streams = streams
        self.seed = seed
        self.rank = rank
        self.world = world
        self._steps = epoch_steps([(s.items, s.batch_size) for s in streams], length)
        self._epoch: int | None = None
        self._orders: list[np.ndarray] = []

    def steps(self) -> int:
        """Steps in an epoch."""
        return self._steps

    def indices(self, epoch: int, step: int) -> list[np.ndarray]:
        """The items of each stream's part of a step, on this rank."""
        return [
            self._mine(order[step * stream.batch_size : (step + 1) * stream.batch_size])
            for stream, order in zip(self.streams, self._order(epoch), strict=True)
        ]

    def noise(self, epoch: int, step: int) -> list[np.ndarray]:
        """Uniform random numbers [items, NOISE] of each stream's items, on this rank."""
        return [
            self._mine(
                _generator(self.seed, "noise", stream.title, epoch, step).random(
                    (stream.batch_size, NOISE), dtype=np.float32
                )
            )
            for stream in self.streams
        ]

    def _mine(self, rows: np.ndarray) -> np.ndarray:
        return np.array_split(rows, self.world)[self.rank]

    def _order(self, epoch: int) -> list[np.ndarray]:
        if epoch != self._epoch:
            self._orders = [self._stream_order(stream, epoch) for stream in self.streams]
            self._epoch = epoch
        return self._orders

    def _stream_order(self, stream: LiveStream, epoch: int) -> np.ndarray:
        wanted = self._steps * stream.batch_size
        passes: list[np.ndarray] = []
        have = 0
        while have < wanted:
            order = stream.draw(_generator(self.seed, "order", stream.title, epoch, len(passes)))
            if not len(order):
                raise DataError(f"stream {stream.title!r}: its sampler draws no samples")
            passes.append(order)
            have += len(order)
        return np.concatenate(passes)[:wanted]


class SequentialPlan:
    """Every item once, in consecutive parts over the ranks; for validation.

    Args:
        stream: what is read.
        items: in this order, these; by default all as they come.
        rank: the number of this process.
        world: how many there are.
    """

    def __init__(
        self, stream: LiveStream, *, items: np.ndarray | None = None, rank: int = 0, world: int = 1
    ) -> None:
        self.streams: Sequence[LiveStream] = (stream,)
        items = np.arange(stream.items) if items is None else items
        self._mine = np.array_split(items, world)[rank]

    def steps(self) -> int:
        """Steps on this rank; ranks may differ."""
        return -(-len(self._mine) // self.streams[0].batch_size)

    def indices(self, epoch: int, step: int) -> list[np.ndarray]:
        """The next items."""
        size = self.streams[0].batch_size
        return [self._mine[step * size : (step + 1) * size]]

    def noise(self, epoch: int, step: int) -> None:
        """Validation is not augmented."""
        return


def epoch_steps(streams: Sequence[tuple[int, int]], length: Literal["shortest", "longest"] | int) -> int:
    """Steps in an epoch, from each stream's (samples, rows per step).

    "shortest" ends with the last full step of the shortest stream, "longest" once every sample of the
    longest has been seen; there is at least one step.
    """
    if length == "shortest":
        return max(1, min(samples // rows for samples, rows in streams))
    if length == "longest":
        return max(-(-samples // rows) for samples, rows in streams)
    return length


def _generator(seed: int, purpose: str, title: str, *position: int) -> np.random.Generator:
    name = zlib.crc32(f"{purpose}/{title}".encode())
    return np.random.default_rng([seed, name, *position])
