"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from .. import distributed
from ..batch import Batch, HeadOutput
from ..data import StreamLoader
from ..errors import RunError
from ..metrics import FeedMetrics
from ..model import MultiTaskModel
from ..objective import Losses, Objective
from ..seeding import derive_seed
from .progress import PendingTerms, Progress, check_selection, means_of
from .schedule import Schedule


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


@attrs.define(eq=False)
class Feed:
    """Validation data with its metrics."""

    loader: StreamLoader
    metrics: FeedMetrics


Teacher = Callable[[Tensor, Sequence[int] | None], Mapping[str, HeadOutput]]


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
        patience: epochs without improvement before stopping.
        log_every: batches between fetching the loss terms; on the CPU they are checked at every batch.
        save_every: batches between saved states, beside those at the ends of epochs.
        seed: dropout is a function of it and the position in training.
        observer: who is told.
        stop: a request to stop: the signal's number, or 0.
        progress: where training stands; a resumed run brings its own.
        accelerator: device, precision and processes.

    Raises:
        ValueError: if there are no epochs, or no feed has a metric that `select` names.
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
        check_selection(self.select, [name for feed in self.feeds for name in feed.metrics.names])

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
        progress, steps = self.progress, len(self.loader)
        pending = PendingTerms([stream.name for stream in self.objective.streams])
        started = time.perf_counter()
        for batch, sizes, stop in self._batches(progress.epoch, progress.step):
            self._sow(derive_seed(self.seed, progress.epoch, progress.step, self._rank()))
            losses = self._forward_backward(batch, sizes)
            progress.step += 1
            update = progress.step % self.accumulate == 0 or progress.step == steps
            if update:
                self._update()
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

    def _forward_backward(self, batch: Batch, sizes: Sequence[tuple[int, ...]]) -> Losses:
        inputs = self.prepare(batch)
        goal = self.teacher(inputs, batch.windows) if self.teacher else None
        with self.accelerator.autocast():
            outputs = self.model(inputs, windows=batch.windows)
        if sizes:
            outputs = distributed.gather_outputs(outputs, sizes)
            goal = distributed.gather_outputs(goal, sizes) if goal is not None else None
        losses: Losses = self.objective(outputs, batch, goal)
        if self.progress.step % self.accumulate == 0:
            # Not sooner: memory freed before the forward pass costs the CPU thousands of page faults a step.
            self.optimizer.zero_grad()
        if losses.tasks:
            self.balancer.backward(losses.tasks, outputs, self._scale())
        return losses

    def _update(self) -> None:
        scaler = self.accelerator.scaler
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.accelerator.num_processes > 1:
            distributed.average_gradients(parameters)
            distributed.average_buffers(self.model)
        if scaler is not None and any(p.grad is not None for p in parameters):
            scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        if scaler is None:
            self.optimizer.step()
        elif any(p.grad is not None for p in parameters):
            scaler.step(self.optimizer)
            scaler.update()
        self.progress.updates += 1
        if self.schedule:
            self.schedule.step_done()

    def _validate(self) -> dict[str, float]:
        """The metrics of all feeds, over all processes."""
        started = time.perf_counter()
        self.model.eval()
        found: dict[str, float] = {}
        skipped = 0
        with torch.no_grad():
            for feed in self.feeds:
                feed.metrics.reset()
                for batch in feed.loader.epoch(0):
                    skipped += batch.skipped
                    if not len(batch):
                        continue
                    on_device = batch.to(self.accelerator.device)
                    with self.accelerator.autocast():
                        outputs = self.model(on_device.inputs, feed.metrics.tasks, batch.windows)
                    feed.metrics.update(outputs, on_device)
                    self._check_stop()
                found |= feed.metrics.compute()
        if self.accelerator.num_processes > 1:
            skipped = int(self.accelerator.reduce(torch.tensor(skipped, device=self.accelerator.device)))
        self.progress.skipped += skipped
        self.progress.seconds += time.perf_counter() - started
        return found

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

    def _scale(self) -> Tensor | float:
        first = self.progress.step - self.progress.step % self.accumulate
        share = 1.0 / min(self.accumulate, len(self.loader) - first)
        scaler = self.accelerator.scaler
        if scaler is None:
            return share
        scaled: Tensor = scaler.scale(torch.full((), share, device=self.accelerator.device))
        return scaled

    def _rates(self) -> dict[str, float]:
        return {str(group.get("name", i)): group["lr"] for i, group in enumerate(self.optimizer.param_groups)}

    def _sow(self, seed: int) -> None:
        # torch.manual_seed seeds every kind of device there may be, each with a look at the call stack.
        torch.default_generator.manual_seed(seed)
        kind = self.accelerator.device.type
        if kind != "cpu":
            torch.get_device_module(kind).manual_seed(seed)

    def _rank(self) -> int:
        return int(self.accelerator.process_index)

    def _devices(self) -> list[int]:
        return [self.accelerator.device.index or 0] if self.accelerator.device.type == "cuda" else []
