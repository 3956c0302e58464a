"""From a plan to batches: reading, collating, loader processes, resuming at any step."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..batch import Batch, Labels
from ..errors import DataError, RunError, UserError
from ..plugin import Head
from ..plugin.task import label_problem
from ..samples import Samples
from .samples import CachedSamples, part_numbers
from .streams import LiveStream, Plan
from .subset import SubsetSamples

Step = tuple[list[np.ndarray], list[np.ndarray] | None]  # sample indices and noise of each stream's rows


class StreamLoader:
    """Iterates over the batches of an epoch, from any step on.

    Args:
        plan: which samples make up a step.
        heads: the tasks with outputs; every batch has a target and a mask for each, but for those that make
            their targets of its inputs, see `with_own_targets`.
        workers: loader processes; 0 reads in the calling process.
        pin_memory: put batches in pinned memory, for a GPU.
        keep_workers: let them live as long as the loader, not as long as an epoch.
        check_labels: look at the labels of all streams first; False where that has been done.

    Raises:
        DataError: if labels break their head's rules, or a stream has none of its task but some of a task
            that no head has.
    """

    def __init__(
        self,
        plan: Plan,
        heads: Mapping[str, Head],
        *,
        workers: int = 0,
        pin_memory: bool = False,
        keep_workers: bool = True,
        check_labels: bool = True,
    ) -> None:
        heads = {task: head for task, head in heads.items() if not head.self_supervised}
        if check_labels:
            _check_labels(plan.streams, heads)
        self.plan = plan
        self._positions = _Positions(plan)
        for stream in plan.streams if workers else ():
            _prepare(stream.samples)
        self._loader: DataLoader[Any] = DataLoader(
            _Steps(plan.streams, heads),  # type: ignore[arg-type]
            batch_size=None,
            collate_fn=_as_it_is,
            sampler=self._positions,
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0 and keep_workers,
            worker_init_fn=_quiet_worker if workers else None,
            multiprocessing_context=_context() if workers else None,
            generator=torch.Generator(),  # else an epoch would move the process's own one on
        )

    def __len__(self) -> int:
        """Steps in an epoch."""
        return self.plan.steps()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on.

        Raises:
            UserError: if a sample cannot be read and its dataset does not skip it.
        """
        self._positions.epoch, self._positions.start = epoch, start
        for batch in self._loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def close(self) -> None:
        """End the loader processes, without waiting for the interpreter to end."""
        iterator: Any = self._loader._iterator  # torch has no public way
        if iterator is not None:
            iterator._shutdown_workers()
            self._loader._iterator = None


def allowed_cores() -> int:
    """The cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def collate(
    streams: Sequence[LiveStream],
    indices: Sequence[np.ndarray],
    heads: Mapping[str, Head],
    noise: Sequence[np.ndarray] | None = None,
) -> Batch:
    """Read the items of all streams (samples, or windows of them) and lay their rows side by side.

    Samples that cannot be read and may be skipped are left out; the batch has no rows if that leaves none.
    The rows of a window share its noise.

    Raises:
        UserError: if a sample cannot be read otherwise, or the streams' inputs differ in shape.
    """
    drawn = [stream.rows(items) for stream, items in zip(streams, indices, strict=True)]
    pieces = [stream.samples.read_or_skip(rows) for stream, (rows, _) in zip(streams, drawn, strict=True)]
    kept = [rows[keep] for (rows, _), (_, keep) in zip(drawn, pieces, strict=True)]
    owners = [
        np.repeat(np.arange(len(lengths)), lengths)[keep]
        for (_, lengths), (_, keep) in zip(drawn, pieces, strict=True)
    ]
    targets, masks = _labels(streams, kept, heads)
    names = tuple(
        f"{stream.title}:{stream.samples.id(int(index))}"
        for stream, rows in zip(streams, kept, strict=True)
        for index in rows
    )
    inputs = _side_by_side(streams, [piece for piece, _ in pieces])
    batch = Batch.from_tensors(
        inputs,
        targets,
        masks,
        sizes=[len(rows) for rows in kept],
        windows=_windows(streams, owners),
        ids=names,
        datasets=_datasets(streams, kept),
    )
    lots = None
    if noise is not None:
        parts = [lot[owner] for lot, owner in zip(noise, owners, strict=True)]
        lots = torch.from_numpy(np.concatenate(parts))
    asked = sum(len(rows) for rows, _ in drawn)
    read = None if asked == len(batch) else _places([len(rows) for rows, _ in drawn], pieces)
    return attrs.evolve(batch, noise=lots, skipped=asked - len(batch), rows_read=read)


def _datasets(streams: Sequence[LiveStream], rows: Sequence[np.ndarray]) -> list[int]:
    """The number of each row's dataset; one that several streams read has the same in all of them."""
    numbers: dict[str, int] = {}
    found: list[int] = []
    for stream, mine in zip(streams, rows, strict=True):
        own = np.array([numbers.setdefault(name, len(numbers)) for name in stream.dataset_names], np.int64)
        found += own[part_numbers(stream.samples, mine)].tolist()
    return found


def _places(asked: Sequence[int], pieces: Sequence[tuple[Tensor | None, np.ndarray]]) -> tuple[int, ...]:
    """The places of the rows that were read among all that were asked for, stream after stream."""
    starts = np.cumsum([0, *asked[:-1]])
    return tuple(
        place for start, (_, keep) in zip(starts, pieces, strict=True) for place in (start + keep).tolist()
    )


def _windows(streams: Sequence[LiveStream], owners: Sequence[np.ndarray]) -> list[int] | None:
    """Rows of each window, from the item that each row of each stream is of."""
    if all(stream.windows is None for stream in streams):
        return None
    return [count for owner in owners for count in np.unique(owner, return_counts=True)[1].tolist()]


class _Steps:
    """A map from a step to its batch, for torch's DataLoader; it goes to the loader processes."""

    def __init__(self, streams: Sequence[LiveStream], heads: Mapping[str, Head]) -> None:
        # Orders are drawn in the calling process; a sampler's function need not survive pickling.
        self.streams = [attrs.evolve(stream, draw=_drawn_elsewhere) for stream in streams]
        self.heads = heads

    def __getitem__(self, step: Step) -> Batch | UserError:
        indices, noise = step
        try:
            return collate(self.streams, indices, self.heads, noise)
        except UserError as error:  # DataLoader would bury the message in a worker's traceback
            return error


class _Positions:
    """The sampler: the steps still to come. It runs in the calling process, which alone holds the orders."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.epoch = self.start = 0

    def __iter__(self) -> Iterator[Step]:
        for step in range(self.start, len(self)):
            yield self.plan.indices(self.epoch, step), self.plan.noise(self.epoch, step)

    def __len__(self) -> int:
        return self.plan.steps()


def _drawn_elsewhere(_generator: np.random.Generator) -> np.ndarray:
    raise RuntimeError("orders are drawn in the calling process")


def _as_it_is(batch: Any) -> Any:
    return batch


def _side_by_side(streams: Sequence[LiveStream], pieces: Sequence[Tensor | None]) -> Tensor:
    there = {stream.title: piece for stream, piece in zip(streams, pieces, strict=True) if piece is not None}
    if len({(piece.shape[1:], piece.dtype) for piece in there.values()}) > 1:
        kinds = ", ".join(
            f"{title!r} {str(piece.dtype).removeprefix('torch.')} {tuple(piece.shape[1:])}"
            for title, piece in there.items()
        )
        raise RunError(f"the streams' inputs must have one type and shape (got {kinds})")
    found = list(there.values())
    if len(found) == 1:
        return found[0]
    return torch.cat(found) if found else torch.empty(0)


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


def _check_labels(streams: Sequence[LiveStream], heads: Mapping[str, Head]) -> None:
    """Raise a DataError for labels that a head does not take, and for a task that has another name."""
    for stream in streams:
        labels, samples = stream.samples.labels(), len(stream.samples)
        others = [task for task in labels if task not in heads]
        if others and stream.task in heads and stream.task not in labels:
            raise DataError(
                f"stream {stream.title!r}: its samples have no label of its task {stream.task!r} "
                f"(got labels of {', '.join(map(repr, labels))})"
            )
        for task, head in heads.items():
            if task in labels and (problem := label_problem(task, labels[task], head, samples)):
                raise DataError(f"stream {stream.title!r}: {problem}")


def _prepare(samples: Samples) -> None:
    if isinstance(samples, CachedSamples):
        samples.prepare()
    elif isinstance(samples, SubsetSamples):
        _prepare(samples.source)
    for part in getattr(samples, "parts", ()):
        _prepare(part)


def _context() -> Any:
    """Fork on Linux: loader processes then share the dataset's memory. Elsewhere it is missing or unsafe."""
    return multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def _quiet_worker(_worker: int) -> None:
    # Ctrl-C, and often a request to terminate, reach the whole process group; the main process decides what
    # to do about them. A second request is the one by which torch ends a worker that hangs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    sys.excepthook = _unless_abandoned


def _unless_abandoned(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say what went wrong in a thread of a worker, but not that the main process went away in the middle.

    The thread with which a worker hands its tensors over hears of that as an error, of one sort or another.
    """
    where = trace.tb_frame.f_globals.get("__name__") if trace else None
    if where != "multiprocessing.resource_sharer":
        sys.__excepthook__(kind, error, trace)
