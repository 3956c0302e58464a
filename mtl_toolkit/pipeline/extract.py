"""Run a trained network over datasets and keep its features; goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from ..config import ExtractStage
from ..data import (
    LiveStream,
    SequentialPlan,
    StreamLoader,
    create_features,
    map_features,
    video_order,
)
from ..errors import RunError
from ..files import read_json, saving, sync_file, write_json
from ..samples import Samples
from ..trainer import Interrupted
from .data import feature_file
from .job import StageJob
from .keep import keep_network
from .lifecycle import tell_finished, tell_started, telling_stops
from .load import TrainedStage, feature_layout, feature_rows, find_checkpoint, load_stage
from .loading import loader_workers, pins_memory

SAVE_EVERY = 10.0  # seconds between points to go on from


@attrs.define(eq=False)
class Extracted:
    """What an extract stage has done, over all of its datasets.

    Attributes:
        samples: samples that this process has worked on, since it was last started.
        skipped: samples without features, as they could not be read; of all processes, and from the start.
        seconds: what the work of this process has taken.
    """

    samples: int = 0
    skipped: int = 0
    seconds: float = 0.0


def extract_stage(job: StageJob, key: str) -> Extracted:
    """Write the features of every dataset of a stage that has none yet.

    Args:
        job: with an extract stage.
        key: of what the stage is made from; a file begun under another one is begun again.

    Raises:
        UserError: if a picture cannot be read, or a file cannot be written.
        Interrupted: if a stop was asked for, after saving.
    """
    stage = job.stage
    assert isinstance(stage, ExtractStage)
    checkpoint = find_checkpoint(job.references[stage.network])
    network = load_stage(checkpoint, job.loaded.registry).to(job.accelerator.device)
    if job.loaded.config.trainer.channels_last and job.accelerator.device.type != "mps":
        network.model.to(memory_format=torch.channels_last)
    if job.accelerator.is_main_process:
        job.directory.path.mkdir(parents=True, exist_ok=True)
        keep_network(checkpoint, job.directory.path)
    done = Extracted()
    with telling_stops(job):
        tell_started(job)
        for name in stage.datasets:
            size = network.preprocessing.read_size
            samples = job.source.dataset_once(name, size)
            Extraction(job, stage, network, name, samples, key).run(done)
    tell_finished(job, metrics={}, record=attrs.asdict(done))
    return done


class Extraction:
    """Makes the features of one dataset; every process those of its own part of the rows.

    Args:
        job: the run's parts.
        stage: the stage.
        network: whose features.
        name: of the dataset.
        samples: the dataset.
        key: of what the stage is made from.
    """

    def __init__(
        self, job: StageJob, stage: ExtractStage, network: TrainedStage, name: str, samples: Samples, key: str
    ) -> None:
        self.job, self.stage, self.network = job, stage, network
        self.name, self.samples, self.key = name, samples, key
        self.path = job.directory.path / feature_file(name)
        self.unfinished = self.path.with_name(f".{self.path.name}.part")
        rank = job.accelerator.process_index
        self.notes = self.path.with_name(f".{self.path.name}.{rank}.json")
        self.layout = feature_layout(
            network.model, list(network.heads), stage.part, network.preprocessing.read_size
        )

    def run(self, done: Extracted) -> None:
        """Write the file, unless it is there."""
        if self.path.exists():
            self.job.screen.extracting(self.stage, self.name, len(self.samples), len(self.samples))
        else:
            self._make(done)
        _, present = map_features(self.path)
        done.skipped += int(np.count_nonzero(~present))

    def _make(self, done: Extracted) -> None:
        accelerator = self.job.accelerator
        order = video_order(self.samples)
        if accelerator.is_main_process and not self._begun():
            self._begin(order)
        accelerator.wait_for_everyone()
        self._fill(order, self._rows_done() if self._begun() else 0, done)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            sync_file(self.unfinished)
            self.unfinished.replace(self.path)
        accelerator.wait_for_everyone()
        self.notes.unlink(missing_ok=True)

    def _begun(self) -> bool:
        """Whether there is a file to go on with, begun under the same key by as many processes."""
        if not self.unfinished.exists() or not self.notes.exists():
            return False
        return dict(read_json(self.notes)).get("key") == self._note_key()

    def _rows_done(self) -> int:
        return int(read_json(self.notes)["rows"])

    def _note_key(self) -> str:
        return f"{self.key} {self.job.accelerator.num_processes} {len(self.samples)}"

    def _begin(self, order: np.ndarray) -> None:
        # Of all processes: a row that one of them has done is not in the new file.
        for notes in self.path.parent.glob(f".{self.path.name}.*.json"):
            notes.unlink()
        config = self.job.loaded.config
        origin = {"run": config.name, "stage": self.stage.name, "dataset": self.name, "key": self.key}
        with saving(self.path):
            create_features(
                self.unfinished, self.samples, order, self.layout, dtype=self.stage.dtype, origin=origin
            )

    def _fill(self, order: np.ndarray, rows: int, done: Extracted) -> None:
        """Compute this process's rows from the given one on."""
        accelerator = self.job.accelerator
        parts, present = map_features(self.unfinished, "r+")
        bounds = np.linspace(0, len(order), accelerator.num_processes + 1).astype(np.int64)
        first, last = bounds[accelerator.process_index], bounds[accelerator.process_index + 1]
        at = int(first) + rows
        self.job.screen.extracting(self.stage, self.name, rows, int(last - first))
        started = saved = time.perf_counter()
        try:
            for positions, kept, values in self._batches(order[at:last], at):
                self._store(parts, present, positions[kept], values)
                at = int(positions[-1]) + 1
                done.samples += len(positions)
                self.job.screen.extracting(self.stage, self.name, at - int(first), int(last - first))
                now, stop = time.perf_counter(), self.job.stop()
                if stop or now - saved > SAVE_EVERY:
                    saved = now
                    self._save([*parts.values(), present], at - int(first))
                if stop:
                    raise Interrupted(stop)
        finally:
            done.seconds += time.perf_counter() - started
        self._save([*parts.values(), present], at - int(first))

    def _save(self, maps: Sequence[np.ndarray], rows: int) -> None:
        for one in maps:
            if isinstance(one, np.memmap):
                one.flush()
        write_json(self.notes, {"key": self._note_key(), "rows": rows})

    def _store(
        self, parts: Mapping[str, np.ndarray], present: np.ndarray, rows: np.ndarray, values: np.ndarray
    ) -> None:
        start = 0
        for part, width in self.layout.parts.items():
            try:
                with np.errstate(over="raise"):
                    parts[part][rows] = values[:, start : start + width]
            except FloatingPointError:
                name, largest = f"stages.{self.stage.name}.dtype", np.abs(values).max()
                problem = f"{name}: features are too large for {self.stage.dtype} (got {largest:.3g})"
                raise RunError(f'{problem}; set it to "float32"') from None
            start += width
        present[rows] = True

    def _batches(self, order: np.ndarray, first: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Places in the file, which of them could be read, and the features of those.

        The copy from the device is fetched after the next batch has been set going.
        """
        size = self.stage.batch_size
        stream = LiveStream(self.name, "", self.samples, lambda _: order, size)
        plan = SequentialPlan(stream, items=order)
        loader = StreamLoader(
            plan, {}, workers=loader_workers(self.job), pin_memory=pins_memory(self.job), keep_workers=False
        )
        waiting: tuple[np.ndarray, np.ndarray, Tensor] | None = None
        try:
            for step, batch in enumerate(loader.epoch(0)):
                wanted = order[step * size : (step + 1) * size]
                positions = first + step * size + np.arange(len(wanted))
                rows = self._forward(batch.inputs) if len(batch) else torch.zeros(0, self.layout.width)
                if waiting is not None:
                    yield waiting[0], waiting[1], waiting[2].cpu().numpy()
                waiting = positions, batch.places_read(len(wanted)), rows
            if waiting is not None:
                yield waiting[0], waiting[1], waiting[2].cpu().numpy()
        finally:
            loader.close()

    @torch.no_grad()
    def _forward(self, pictures: Tensor) -> Tensor:
        accelerator = self.job.accelerator
        pictures = pictures.to(accelerator.device, non_blocking=True)
        if self.job.loaded.config.trainer.channels_last and pictures.ndim == 4:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        with accelerator.autocast():
            return feature_rows(self.network.model, pictures, self.layout)
