"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from .. import distributed
from ..batch import Batch
from ..data import StreamLoader
from ..errors import RunError
from ..model import MultiTaskModel
from ..objective import Objective
from .average import WeightAverage
from .progress import PendingTerms, Progress, check_selection, means_of
from .schedule import Schedule
from .sharpness import Sharpness
from .step import OptimizerStep, Teacher
from .validation import Feed, validate


class Interrupted(Exception):  # noqa: N818 - not an error: a stop that was asked for
    """Training stopped on request, after saving; `signal` is the number of the signal."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


class Observer(Protocol):
    """Who is told how training goes: the terminal, the run directory, lifecycle hooks."""

    def step_done(self, progress: Progress, steps: int, rows: int) -> None:
        """A batch is done; `steps` is the length of the epoch."""

    def log(self, progress: Progress, losses: Mapping[str, float], rates: Mapping[str, float]) -> None:
        """The means of the loss terms since the last call."""

    def epoch_done(self, progress: Progress, record: Mapping[str, Any]) -> None:
        """An epoch is trained and validated."""

    def improved(self, progress: Progress) -> None:
        """The epoch just done is the best so far."""

    def save(self, progress: Progress) -> None:
        """A point from which training can go on."""


@attrs.define(eq=False, kw_only=True)
class Trainer:
    """Trains a model; everything it works with is handed to it.

    Attributes:
        model: on the device of the accelerator.
        objective: turns outputs into losses; on the same device.
        balancer: turns losses into gradients, see `Balancer.build`.
        optimizer: over the parameters of the model and the objective.
        loader: the training batches.
        epochs: how many to train.
        schedule: the learning rate; None for a constant one.
        feeds: what is validated after each epoch.
        select: weights of the metrics in the score that picks the best epoch; empty: the last is the best.
        teacher: from inputs and windows (None without them) to the teacher's outputs, without gradient.
        prepare: from a batch on the device to the model's inputs (augmentation).
        accumulate: batches per optimizer step.
        clip_norm: largest gradient norm.
        average: a moving average of the model's weights, which is validated instead of the model.
        sharpness: step by the gradient at the worst point nearby; none: by the one at the weights.
        mixup: mix rows in pairs, which keep a share of themselves drawn from Beta(mixup, mixup); 0: do not.
        patience: epochs without improvement before stopping.
        log_every: batches between fetching the loss terms; on the CPU they are checked at every batch.
        save_every: batches between saved states, beside those at the ends of epochs.
        seed: dropout and mixing are functions of it and the position in training.
        observer: who is told.
        stop: a request to stop: the signal's number, or 0.
        progress: where training stands; a resumed run brings its own.
        accelerator: device, precision and processes.

    Raises:
        ValueError: if there are no epochs, no feed has a metric that `select` names, or the precision is fp16
            and there is a climb (`sharpness`).
    """

    model: MultiTaskModel
    objective: Objective
    balancer: Any
    optimizer: Optimizer
    loader: StreamLoader
    epochs: int
    schedule: Schedule | None = None
    feeds: Sequence[Feed] = ()
    select: Mapping[str, float] = attrs.field(factory=dict)
    teacher: Teacher | None = None
    prepare: Callable[[Batch], Tensor] = lambda batch: batch.inputs
    accumulate: int = 1
    clip_norm: float | None = None
    average: WeightAverage | None = None
    sharpness: Sharpness | None = None
    mixup: float = 0.0
    patience: int | None = None
    log_every: int = 50
    save_every: int | None = None
    seed: int = 0
    observer: Observer | None = None
    stop: Callable[[], int] = lambda: 0
    progress: Progress = attrs.field(factory=Progress)
    accelerator: Accelerator = attrs.field(factory=Accelerator)
    _hosts: Any = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1 (got {self.epochs})")
        if self.sharpness is not None and self.accelerator.scaler is not None:
            raise ValueError("sharpness: cannot climb in fp16, whose gradients are scaled and may overflow")
        check_selection(self.select, [name for feed in self.feeds for name in feed.metrics.names])

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and of which the best is kept: the average, if there is one."""
        return self.model if self.average is None else self.average.module

    def fit(self) -> Progress:
        """Train to the end, or until patience runs out.

        The random generators of the process are left as they were found.

        Raises:
            Interrupted: if `stop` asked for it, after saving.
            RunError: if the loss is not finite or a sample cannot be read.
        """
        try:
            with torch.random.fork_rng(devices=self._devices()), distributed.host_group() as self._hosts:
                while not self.progress.finished:
                    self._train_epoch()
                    self._finish_epoch(self._validate())
        except BaseException:
            self.close()  # the traceback that a notebook keeps would keep the loader processes
            raise
        return self.progress

    def close(self) -> None:
        """End the loader processes; they are started again if they are needed again."""
        for loader in (self.loader, *(feed.loader for feed in self.feeds)):
            loader.close()

    def _train_epoch(self) -> None:
        self.model.train()
        self.objective.train()
        progress, steps, step = self.progress, len(self.loader), self._step()
        pending = PendingTerms([stream.name for stream in self.objective.streams])
        started = time.perf_counter()
        for batch, sizes, stop in self._batches(progress.epoch, progress.step):
            losses = step.backward(batch, sizes, self._share(), (progress.epoch, progress.step))
            progress.step += 1
            update = progress.step % self.accumulate == 0 or progress.step == steps
            if update:
                step.update()
                self._updated()
            pending.add(losses.total, losses.terms, batch.ids)
            progress.samples += len(batch)
            progress.skipped += batch.skipped
            if self._fetches():
                self._fetch(pending, steps)
            if self.observer:
                self.observer.step_done(progress, steps, len(batch))
            if update and (stop or self._saves(steps)):
                started = self._pause(pending, started, stop)
        self._fetch(pending, steps)
        self._clock(started)

    def _step(self) -> OptimizerStep:
        return OptimizerStep(
            model=self.model,
            objective=self.objective,
            balancer=self.balancer,
            optimizer=self.optimizer,
            accelerator=self.accelerator,
            teacher=self.teacher,
            prepare=self.prepare,
            clip_norm=self.clip_norm,
            average=self.average,
            sharpness=self.sharpness,
            mixup=self.mixup,
            seed=self.seed,
        )

    def _updated(self) -> None:
        self.progress.updates += 1
        if self.schedule:
            self.schedule.step_done()

    def _validate(self) -> dict[str, float]:
        started = time.perf_counter()
        found = validate(self.judged, self.feeds, self.accelerator, self._check_stop)
        self.progress.skipped += found.skipped
        self.progress.seconds += time.perf_counter() - started
        return found.metrics

    def _finish_epoch(self, metrics: dict[str, float]) -> None:
        progress, losses = self.progress, means_of(self.progress.sums)
        number = progress.epoch + 1
        check_selection(self.select, metrics)  # a metric may report other names than it said
        score = sum(weight * metrics[name] for name, weight in self.select.items())
        record = {
            "epoch": number,
            "losses": losses,
            "metrics": metrics,
            "score": score,
            "rates": self._rates(),
        }
        progress.history.append(record)
        # Whatever is finite is better than a score that is not a number.
        worst = math.isnan(progress.best_score) and not math.isnan(score)
        better = not self.select or progress.best_epoch == 0 or score > progress.best_score or worst
        if better:
            progress.best_epoch, progress.best_score, progress.best_metrics = number, score, metrics
        if self.schedule:
            self.schedule.epoch_done(score if self.select else None)
        stale = self.patience is not None and progress.stale_epochs >= self.patience
        progress.finished = number >= self.epochs or stale
        progress.next_epoch()
        if self.observer:
            if better:
                self.observer.improved(progress)
            self.observer.epoch_done(progress, record)
            self.observer.save(progress)

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[Batch, list[tuple[int, ...]], int]]:
        """Batches on the device; with several processes, the rows of each rank, and any rank's stop."""
        for batch in self.loader.epoch(epoch, start):
            if self.accelerator.num_processes > 1:
                whole, sizes, stop = distributed.gather_batch(batch, self.stop(), self._hosts)
                # Every rank raises, or the others would wait for the one without rows.
                for rank, rows in enumerate(sizes):
                    if not sum(rows):
                        raise RunError(f"none of the samples of a step can be read by process {rank}")
                yield whole.to(self.accelerator.device), sizes, stop
            else:
                if not len(batch):
                    raise RunError(f"none of the {batch.skipped} samples of a step can be read")
                yield batch.to(self.accelerator.device), [], self.stop()

    def _pause(self, pending: PendingTerms, started: float, stop: int) -> float:
        """Save a point to go on from, and stop there if asked to."""
        self._fetch(pending, len(self.loader))
        self._clock(started)
        if self.observer:
            self.observer.save(self.progress)
        if stop:
            raise Interrupted(stop)
        return time.perf_counter()

    def _clock(self, started: float) -> None:
        """Add the time since `started` to that of training."""
        taken = time.perf_counter() - started
        self.progress.seconds += taken
        self.progress.training_seconds += taken

    def _check_stop(self) -> None:
        """Stop during validation; the epoch's training is saved, and validation is done again.

        With several processes validation is short of common points to stop at, so it is finished first.
        """
        if self.accelerator.num_processes == 1 and (stop := self.stop()):
            if self.observer:
                self.observer.save(self.progress)
            raise Interrupted(stop)

    def _fetch(self, pending: PendingTerms, steps: int) -> None:
        for values in pending.fetch():
            self.progress.add(values)
        done = self.progress.step
        if self.observer and self.progress.recent and (done % self.log_every == 0 or done == steps):
            self.observer.log(self.progress, self.progress.take_recent(), self._rates())

    def _fetches(self) -> bool:
        return self.accelerator.device.type == "cpu" or self.progress.step % self.log_every == 0

    def _saves(self, steps: int) -> bool:
        inside = self.progress.step < steps
        return inside and self.save_every is not None and self.progress.step % self.save_every == 0

    def _share(self) -> float:
        """What a batch counts for among those of its optimizer step; the epoch's last has fewer."""
        first = self.progress.step - self.progress.step % self.accumulate
        return 1.0 / min(self.accumulate, len(self.loader) - first)

    def _rates(self) -> dict[str, float]:
        return {str(group.get("name", i)): group["lr"] for i, group in enumerate(self.optimizer.param_groups)}

    def _devices(self) -> list[int]:
        return [self.accelerator.device.index or 0] if self.accelerator.device.type == "cuda" else []
