"""Several processes, one objective: every rank sees the head outputs and labels of all ranks.

CCC is not additive and a task may be absent on one rank, so the losses of ranks cannot be averaged. Instead
the outputs are gathered and every rank computes the same losses of the whole step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .batch import Batch, Count, HeadOutput

BUCKET = 25 * 2**20  # bytes that go into one all-reduce


@contextlib.contextmanager
def host_group() -> Iterator[Any]:
    """A process group for what lies on the host; None where the default one will do.

    NCCL would carry the labels over the GPU, behind all the work that waits there.
    """
    if not dist.is_initialized() or dist.get_backend() == "gloo":
        yield None
        return
    group = dist.new_group(backend="gloo")
    try:
        yield group
    finally:
        dist.destroy_process_group(group)


def gather_batch(batch: Batch, stop: int, group: Any = None) -> tuple[Batch, list[tuple[int, ...]], int]:
    """Gather labels on the host, before the batch goes to the device.

    Args:
        batch: this rank's rows, on the CPU.
        stop: a request to stop that this rank has received, or 0.
        group: the processes, see `host_group`.

    Returns:
        A batch with the labels of all ranks, stream after stream (inputs, windows and datasets are this
        rank's); the rows of each stream on each rank; and the largest request to stop.
    """
    mine = (batch.sizes, batch.counts, dict(batch.targets), dict(batch.masks), batch.ids, batch.skipped, stop)
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine, group=group)
    sizes = [one[0] for one in everyone]
    counts: dict[tuple[int, str], Count] = {}
    for one in everyone:
        for key, count in one[1].items():
            known = counts.get(key, Count(0, 0))
            counts[key] = Count(known.valid + count.valid, known.missing + count.missing)
    ids = [name for stream in _by_stream([one[4] for one in everyone], sizes) for name in stream]
    whole = Batch(
        inputs=batch.inputs,
        targets={task: merge([one[2][task] for one in everyone], sizes) for task in batch.targets},
        masks={task: merge([one[3][task] for one in everyone], sizes) for task in batch.masks},
        stream=merge([torch.repeat_interleave(torch.arange(len(s)), torch.tensor(s)) for s in sizes], sizes),
        sizes=tuple(sum(column) for column in zip(*sizes, strict=True)),
        counts=counts,
        windows=batch.windows,
        ids=tuple(ids),
        noise=batch.noise,
        skipped=sum(one[5] for one in everyone),
        datasets=batch.datasets,
    )
    return whole, sizes, max(one[6] for one in everyone)


def gather_outputs(
    outputs: Mapping[str, HeadOutput], sizes: Sequence[tuple[int, ...]]
) -> dict[str, HeadOutput]:
    """Gather the outputs of all ranks, stream after stream; gradients reach this rank's own rows."""
    rows = [sum(one) for one in sizes]

    def gather(tensor: Tensor) -> Tensor:
        return merge(list(_Gather.apply(tensor.float(), rows).split(rows)), sizes)

    return {task: output.map(gather) for task, output in outputs.items()}


def gather_rows(tensor: Tensor, sizes: Sequence[tuple[int, ...]]) -> Tensor:
    """The rows of all ranks from each rank's own, stream after stream; without gradient."""
    rows = [sum(one) for one in sizes]
    return merge(_everyones(tensor, rows), sizes)


def merge(parts: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> Tensor:
    """Lay the ranks' rows side by side, stream after stream."""
    pieces = [part.split(list(size)) for part, size in zip(parts, sizes, strict=True)]
    return torch.cat([piece for stream in zip(*pieces, strict=True) for piece in stream])


def _everyones(tensor: Tensor, rows: Sequence[int]) -> list[Tensor]:
    """The rows of each rank; all ranks must send as many, so they are padded."""
    padded = tensor.new_zeros((max(rows), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    everyone = [torch.empty_like(padded) for _ in rows]
    dist.all_gather(everyone, padded)
    return [part[:count] for part, count in zip(everyone, rows, strict=True)]


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the ranks; parameters without one have none on any rank."""
    _average([parameter.grad for parameter in parameters if parameter.grad is not None])


def average_buffers(module: torch.nn.Module) -> None:
    """Replace the running statistics by their mean over the ranks, so that all ranks hold the same state."""
    _average([buffer for buffer in module.buffers() if buffer.is_floating_point()])


def _average(tensors: Sequence[Tensor]) -> None:
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def _buckets(tensors: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size >= BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
    if bucket:
        yield bucket


def _by_stream(parts: Sequence[Sequence[str]], sizes: Sequence[tuple[int, ...]]) -> list[list[str]]:
    streams: list[list[str]] = [[] for _ in sizes[0]]
    for part, size in zip(parts, sizes, strict=True):
        start = 0
        for stream, rows in enumerate(size):
            streams[stream] += part[start : start + rows]
            start += rows
    return streams


class _Gather(torch.autograd.Function):
    """Concatenate the rows of all ranks.

    Every rank goes on to compute the same loss, so the gradient of its own rows, times the number of ranks,
    is what summing over the ranks would give; averaging the parameters' gradients takes the factor out.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rows: list[int]) -> Tensor:
        rank = dist.get_rank()
        ctx.mine = slice(sum(rows[:rank]), sum(rows[: rank + 1]))
        return torch.cat(_everyones(tensor, rows))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradients[0][ctx.mine] * dist.get_world_size(), None
