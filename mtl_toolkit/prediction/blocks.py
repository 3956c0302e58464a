"""Run a trained stage over a dataset, whatever its length, and hand out its predictions in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
import torch

from ..batch import Batch
from ..data import (
    LiveStream,
    SequentialPlan,
    StreamLoader,
    WindowTable,
    column_bytes,
    covering_windows,
    frame_numbers,
    video_order,
)
from ..pipeline import TrainedStage
from ..plugin import PostProcessor, Predictions
from ..samples import Samples
from .smooth import smoothed

Chain = Sequence[PostProcessor]


def predict(
    stage: TrainedStage,
    samples: Samples,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    workers: int = 0,
    postprocess: Mapping[str, Chain] | None = None,
) -> Iterator[Predictions]:
    """Predict every sample once, in order of videos and frames.

    Memory does not grow with the number of samples; with post-processing it grows with the longest video, by
    the size of its predictions.

    Args:
        stage: the trained stage; it is moved to the device.
        samples: pictures as the stage's preprocessing reads them, or features where it reads such.
        device: where the network runs.
        batch_size: rows at a time.
        workers: loader processes.
        postprocess: what is done along each video, by task.

    Yields:
        Blocks of rows. A sample that could not be used (no face was found, or it cannot be read and may be
        skipped) has a row with NaN and without a face.

    Raises:
        UserError: if a sample cannot be read otherwise, or a temporal network is given no videos.
    """
    blocks = _blocks(stage.to(device), samples, torch.device(device), batch_size, workers)
    return smoothed(blocks, postprocess) if postprocess else blocks


@torch.inference_mode()
def _blocks(
    stage: TrainedStage, samples: Samples, device: torch.device, batch_size: int, workers: int
) -> Iterator[Predictions]:
    table, items, size = _items(stage, samples, batch_size)
    stream = LiveStream("", "", samples, lambda _: items, size, table)
    plan, pin = SequentialPlan(stream, items=items), device.type == "cuda"
    loader = StreamLoader(plan, {}, workers=workers, pin_memory=pin, keep_workers=False)
    facts = _Facts.of(samples)
    try:
        for step, batch in enumerate(loader.epoch(0)):
            wanted = items[step * size : (step + 1) * size]
            rows, lengths = stream.rows(wanted)
            read = batch.places_read(len(rows))
            windows = None if table is None else _cut(facts.frames[rows], lengths, read, stage)
            yield _block(stage, batch, windows, device, facts, rows, read)
    finally:
        loader.close()


def outline(samples: Samples) -> Predictions:
    """The rows that `predict` would give, without what is predicted; as if there were a face in each."""
    facts, rows = _Facts.of(samples), video_order(samples)
    return Predictions({}, {}, *facts.named(rows), faces=np.ones(len(rows), np.bool_))


def _items(
    stage: TrainedStage, samples: Samples, batch_size: int
) -> tuple[WindowTable | None, np.ndarray, int]:
    """What is read: windows for a temporal network, else samples; which of them, and how many at a time."""
    if stage.windows is None:
        return None, video_order(samples), batch_size
    table = covering_windows(samples, stage.windows)
    return table, np.arange(len(table)), max(1, batch_size // stage.windows.length)


def _cut(frames: np.ndarray, lengths: np.ndarray, read: np.ndarray, stage: TrainedStage) -> list[int]:
    """Rows of each window that could be read, cut where some in between could not."""
    assert stage.windows is not None
    owner = np.repeat(np.arange(len(lengths)), lengths)[read]
    kept = frames[read]
    starts = np.flatnonzero((np.diff(owner) != 0) | (np.diff(kept) > stage.windows.step)) + 1
    return np.diff([0, *starts, len(read)]).tolist() if len(read) else []


@attrs.frozen(eq=False)
class _Facts:
    """The columns of a dataset that name its rows."""

    samples: Samples
    videos: np.ndarray
    frames: np.ndarray

    @classmethod
    def of(cls, samples: Samples) -> _Facts:
        videos, frames = column_bytes(samples, "video"), frame_numbers(samples)
        return cls(
            samples,
            np.zeros(len(samples), "S1") if videos is None else videos,
            np.zeros(len(samples), np.int64) if frames is None else frames,
        )

    def named(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Names, videos and frame numbers of some rows."""
        names = np.array([self.samples.id(row) for row in rows.tolist()], np.str_)
        return names, np.char.decode(self.videos[rows], "utf-8", "surrogateescape"), self.frames[rows]


def _block(
    stage: TrainedStage,
    batch: Batch,
    windows: Sequence[int] | None,
    device: torch.device,
    facts: _Facts,
    rows: np.ndarray,
    read: np.ndarray,
) -> Predictions:
    heads = stage.predicted
    values = {
        task: np.full((len(rows), len(head.columns)), np.nan, np.float32) for task, head in heads.items()
    }
    if len(read):
        outputs = stage.outputs(batch.inputs.to(device, non_blocking=True), windows, list(heads))
        for task, output in outputs.items():
            values[task][read] = heads[task].predictions(output.values.float()).cpu().numpy()
    faces = np.zeros(len(rows), np.bool_)
    faces[read] = True
    return Predictions(heads, values, *facts.named(rows), faces=faces)
