"""From a plan to batches: reading, collating, loader processes, resuming at any step."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..batch import Batch, Labels
from ..errors import RunError, UnreadableSampleError, UserError
from ..plugin import Head, Samples
from .samples import CachedSamples, skips
from .streams import LiveStream, Plan


class StreamLoader:
    """Iterates over the batches of an epoch, from any step on.

    Args:
        plan: which samples make up a step.
        heads: the tasks with outputs; every batch has a target and a mask for each.
        workers: loader processes; 0 reads in the calling process. They live as long as the loader.
        pin_memory: put batches in pinned memory, for a GPU.
    """

    def __init__(
        self, plan: Plan, heads: Mapping[str, Head], *, workers: int = 0, pin_memory: bool = False
    ) -> None:
        self.plan = plan
        self._positions = _Positions()
        for stream in plan.streams if workers else ():
            _prepare(stream.samples)
        self._loader: DataLoader[Any] = DataLoader(
            _Steps(plan, heads),  # type: ignore[arg-type]
            batch_size=None,
            collate_fn=_as_it_is,
            sampler=self._positions,
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=_quiet_worker if workers else None,
            multiprocessing_context=_context() if workers else None,
        )

    def __len__(self) -> int:
        """Steps in an epoch."""
        return self.plan.steps()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on.

        Raises:
            UserError: if a sample cannot be read and its dataset does not skip it.
        """
        self._positions.items = [(epoch, step) for step in range(start, len(self))]
        for batch in self._loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch


def collate(
    streams: Sequence[LiveStream],
    indices: Sequence[np.ndarray],
    heads: Mapping[str, Head],
    noise: Sequence[np.ndarray] | None = None,
) -> Batch:
    """Read the samples of all streams and lay them side by side."""
    pieces = [_read(stream.samples, wanted) for stream, wanted in zip(streams, indices, strict=True)]
    kept = [wanted[keep] for wanted, (_, keep) in zip(indices, pieces, strict=True)]
    targets, masks = _labels(streams, kept, heads)
    names = tuple(
        f"{stream.title}:{stream.samples.id(int(index))}"
        for stream, rows in zip(streams, kept, strict=True)
        for index in rows
    )
    inputs = [piece for piece, _ in pieces if piece is not None]
    if not inputs:
        raise RunError(f"no sample of the step could be read ({', '.join(s.title for s in streams)})")
    batch = Batch.from_tensors(
        torch.cat(inputs), targets, masks, sizes=[len(rows) for rows in kept], ids=names
    )
    lots = None
    if noise is not None:
        parts = [lot[keep] for lot, (_, keep) in zip(noise, pieces, strict=True)]
        lots = torch.from_numpy(np.concatenate(parts))
    return attrs.evolve(batch, noise=lots, skipped=sum(map(len, indices)) - len(batch))


class _Steps:
    """A map from (epoch, step) to a batch, for torch's DataLoader."""

    def __init__(self, plan: Plan, heads: Mapping[str, Head]) -> None:
        self.plan = plan
        self.heads = heads

    def __getitem__(self, position: tuple[int, int]) -> Batch | UserError:
        try:
            indices = self.plan.indices(*position)
            return collate(self.plan.streams, indices, self.heads, self.plan.noise(*position))
        except UserError as error:  # DataLoader would bury the message in a worker's traceback
            return error


class _Positions:
    """The sampler: which steps are still to come."""

    def __init__(self) -> None:
        self.items: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def _as_it_is(batch: Any) -> Any:
    return batch


def _read(samples: Samples, indices: np.ndarray) -> tuple[Tensor | None, np.ndarray]:
    """Read some samples; those that may be skipped and cannot be read are left out of the kept rows."""
    everything = np.arange(len(indices))
    if not len(indices):
        return None, everything
    try:
        return samples.read(indices), everything
    except UnreadableSampleError:
        if not any(skips(samples, int(index)) for index in indices):
            raise
    rows, kept = [], []
    for place, index in enumerate(indices):
        try:
            rows.append(samples.read([index]))
            kept.append(place)
        except UnreadableSampleError:
            if not skips(samples, int(index)):
                raise
    return (torch.cat(rows) if rows else None), np.asarray(kept, dtype=np.int64)


def _labels(
    streams: Sequence[LiveStream], indices: Sequence[np.ndarray], heads: Mapping[str, Head]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    targets, masks = {}, {}
    for task, head in heads.items():
        parts = []
        for stream, rows in zip(streams, indices, strict=True):
            labels = stream.samples.labels().get(task)
            if labels is None:
                parts.append(Labels.missing(len(rows), head.target_shape, head.target_dtype))
            else:
                parts.append(Labels(labels.values[rows], labels.valid[rows]))
        targets[task] = torch.from_numpy(np.concatenate([part.values for part in parts]))
        masks[task] = torch.from_numpy(np.concatenate([part.valid for part in parts]))
    return targets, masks


def _prepare(samples: Samples) -> None:
    if isinstance(samples, CachedSamples):
        samples.prepare()
    for part in getattr(samples, "parts", ()):
        _prepare(part)


def _context() -> Any:
    """Fork where it exists: loader processes then share the dataset's memory."""
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    return multiprocessing.get_context(method)


def _quiet_worker(_worker: int) -> None:
    # Ctrl-C reaches the whole process group; the main process decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
