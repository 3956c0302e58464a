"""Train one stage of a configuration: build its parts, hand them to the trainer, keep what comes out."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ..batch import Batch
from ..checkpoint import TrainingState, load_training, load_weights, save_checkpoint
from ..config import Loaded, Stage
from ..data import SequentialPlan, StreamLoader, TrainPlan, augment
from ..errors import ConfigError
from ..hookspecs import EpochFinished, StageFinished, StageStarted
from ..metrics import FeedMetrics
from ..model import MultiTaskModel, build_model, describe, preprocessing_of
from ..objective import Objective, StreamTask
from ..registry import versions
from ..rundir import END, StageDirectory
from ..seeding import derive_seed
from ..trainer import Feed, Progress, Schedule, Trainer, make_optimizer
from .data import DataSource, feed_heads, stage_heads
from .load import find_checkpoint
from .screen import Screen
from .teacher import Teachers, load_teachers


@attrs.frozen(eq=False)
class StageJob:
    """What a stage is trained with: the run's parts that it needs.

    Attributes:
        loaded: the configuration and its plugins.
        stage: the stage.
        source: its data.
        directory: its folder.
        references: the checkpoint of each stage or path that the stage refers to.
        accelerator: device, precision, processes.
        screen: who shows progress.
        stop: a request to stop: a signal's number, or 0.
    """

    loaded: Loaded
    stage: Stage
    source: DataSource
    directory: StageDirectory
    references: Mapping[str, Path]
    accelerator: Accelerator
    screen: Screen
    stop: Callable[[], int]


def train_stage(job: StageJob) -> Progress:
    """Train a stage from its start, or from its last checkpoint if there is one.

    Raises:
        UserError: if its parts do not fit, or training fails.
        Interrupted: if a stop was asked for, after saving.
    """
    trainer = build_trainer(job)
    recorder = Recorder(job, trainer)
    trainer.observer = recorder
    if job.directory.resumable():
        recorder.resume()
    recorder.started()
    try:
        progress = trainer.fit()
    finally:
        for loader in (trainer.loader, *(feed.loader for feed in trainer.feeds)):
            loader.close()
    recorder.finished()
    return progress


def build_trainer(job: StageJob) -> Trainer:
    """Everything a stage needs, live; the network's initial values are a function of seed and stage."""
    config, stage, device = job.loaded.config, job.stage, job.accelerator.device
    options = config.trainer
    model = initial_model(job)
    if options.channels_last and device.type != "mps":
        model.to(memory_format=torch.channels_last)
    model.to(device)
    objective = build_objective(job).to(device)
    optimizer = make_optimizer(stage.optimizer, model, objective)
    loader = training_loader(job)
    updates = -(-len(loader) // stage.accumulate) * stage.epochs
    return Trainer(
        model=model,
        objective=objective,
        balancer=stage.balancer.build(loss_names(job)),
        optimizer=optimizer,
        schedule=Schedule(optimizer, stage.scheduler, updates, stage.epochs),
        loader=loader,
        epochs=stage.epochs,
        feeds=validation_feeds(job),
        select=stage.select,
        teacher=build_teacher(job),
        prepare=preparation(job),
        accumulate=stage.accumulate,
        clip_norm=stage.clip_norm,
        patience=stage.patience,
        log_every=options.log_every,
        save_every=options.save_every,
        seed=derive_seed(config.seed, stage.name, "train"),
        stop=job.stop,
        accelerator=job.accelerator,
    )


def initial_model(job: StageJob) -> MultiTaskModel:
    """The network before training, with another stage's weights if `start_from` names one."""
    config, stage = job.loaded.config, job.stage
    heads = stage_heads(config, stage)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, stage.name, "initial weights"))
        model = build_model(config.model, heads, weights=stage.start_from is None)
    if stage.start_from is not None:
        load_weights(find_checkpoint(job.references[stage.start_from]), model)
    return model


def build_objective(job: StageJob) -> Objective:
    """The stage's objective, over its own tasks and the combined ones of its streams."""
    config, stage = job.loaded.config, job.stage
    heads = dict(stage_heads(config, stage))
    heads |= {stream.task: config.tasks[stream.task].head for stream in stage.streams}
    return Objective(
        heads,
        [StreamTask(stream.title, stream.task) for stream in stage.streams],
        losses={task: config.tasks[task].losses for task in heads},
        extra=stage.losses,
        ground_truth_weight=1.0 if stage.ground_truth_weight is None else stage.ground_truth_weight,
        sharing=stage.sharing,
    )


def loss_names(job: StageJob) -> list[str]:
    """The losses a balancer may see: tasks with outputs, and separate combined tasks."""
    config = job.loaded.config
    combined = [s.task for s in job.stage.streams if config.tasks[s.task].head.separate]
    return [*stage_heads(config, job.stage), *dict.fromkeys(combined)]


def training_loader(job: StageJob) -> StreamLoader:
    """The batches of the stage's streams, on this process."""
    config, stage, accelerator = job.loaded.config, job.stage, job.accelerator
    plan = TrainPlan(
        [job.source.stream(stage, stream) for stream in stage.streams],
        seed=derive_seed(config.seed, stage.name, "data"),
        length=stage.epoch_length,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    return StreamLoader(plan, stage_heads(config, stage), workers=_workers(job), pin_memory=_pins(job))


def validation_feeds(job: StageJob) -> list[Feed]:
    """The stage's validation data with its metrics."""
    config, accelerator = job.loaded.config, job.accelerator
    feeds = []
    for validation in job.stage.validation:
        heads = feed_heads(config, validation)
        stream = job.source.validation(validation, validation.batch_size)
        plan = SequentialPlan(stream, rank=accelerator.process_index, world=accelerator.num_processes)
        loader = StreamLoader(plan, heads, workers=_workers(job), pin_memory=_pins(job))
        metrics = {task: config.tasks[task].metrics for task in heads}
        feeds.append(Feed(loader, FeedMetrics(validation.title, heads, metrics, accelerator.device)))
    return feeds


def build_teacher(job: StageJob) -> Teachers | None:
    """The stage's teachers on the device, or None."""
    if not job.stage.teachers:
        return None
    references = {task: job.references[name] for task, name in job.stage.teachers.items()}
    config = job.loaded.config
    heads = stage_heads(config, job.stage)
    teachers = load_teachers(references, heads, preprocessing_of(config.model), job.loaded.registry)
    if config.trainer.channels_last and job.accelerator.device.type != "mps":
        for teacher, _ in teachers:
            teacher.model.to(memory_format=torch.channels_last)
    return Teachers(teachers, job.accelerator.device, job.accelerator.autocast)


def preparation(job: StageJob) -> Callable[[Batch], torch.Tensor]:
    """From a batch on the device to the model's inputs: augmentation, memory format."""
    augmentation, config = job.stage.augmentation, job.loaded.config
    size, channels_last = config.model.image_size, config.trainer.channels_last

    def prepare(batch: Batch) -> torch.Tensor:
        inputs = batch.inputs
        if inputs.ndim == 4 and batch.noise is not None:
            inputs = augment(inputs, batch.noise, augmentation, size)
            if channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    return prepare


class Recorder:
    """Writes a stage's log and checkpoints, and tells the screen and the lifecycle listeners."""

    def __init__(self, job: StageJob, trainer: Trainer) -> None:
        self.job = job
        self.trainer = trainer
        self.main = job.accelerator.is_main_process
        self.run = job.loaded.config.name

    def resume(self) -> None:
        """Put the trainer in the state of the last checkpoint."""
        last, trainer = self.job.directory.last, self.trainer
        load_weights(last, trainer.model)
        state = load_training(last, trainer.optimizer, trainer.objective)
        trainer.progress = Progress(**state["progress"])
        if trainer.schedule:
            trainer.schedule.load_state_dict(state["scheduler"])
        if trainer.accelerator.scaler is not None:
            trainer.accelerator.scaler.load_state_dict(state["scaler"])
        if self.main:
            progress = trainer.progress
            at = (progress.epoch + 1, progress.step) if progress.step else (progress.epoch, END)
            self.job.directory.rewind_log(*at)

    def started(self) -> None:
        """Training begins or goes on."""
        progress, job = self.trainer.progress, self.job
        if self.main:
            job.screen.stage_started(job.stage, progress)
            event = StageStarted(
                self.run, job.stage.name, str(job.directory.path), job.stage.epochs, progress.epoch + 1
            )
            self._notify("mtl_stage_started", event)

    def step_done(self, progress: Progress, steps: int, rows: int) -> None:
        """Show it."""
        if self.main:
            self.job.screen.step_done(progress, steps, rows)

    def log(self, progress: Progress, losses: Mapping[str, float], rates: Mapping[str, float]) -> None:
        """Add a line to the log."""
        if self.main:
            self.job.directory.log(
                {"epoch": progress.epoch + 1, "step": progress.step, "losses": losses, "rates": rates}
            )

    def epoch_done(self, progress: Progress, record: Mapping[str, Any]) -> None:
        """Log the epoch and tell everyone."""
        if self.main:
            self.job.directory.log({**record, "seconds": progress.seconds})
            self.job.screen.epoch_done(progress, record)
            event = EpochFinished(
                run=self.run,
                stage=self.job.stage.name,
                epoch=record["epoch"],
                losses=record["losses"],
                metrics=record["metrics"],
                seconds=progress.seconds,
            )
            self._notify("mtl_epoch_finished", event)

    def improved(self, progress: Progress) -> None:
        """Keep the best weights."""
        if self.main:
            save_checkpoint(self.job.directory.best, self.trainer.model, self._description(progress))

    def save(self, progress: Progress) -> None:
        """Keep a point to go on from; the other processes wait for it."""
        if self.main:
            schedule, scaler = self.trainer.schedule, self.trainer.accelerator.scaler
            state = TrainingState(
                attrs.asdict(progress),
                self.trainer.optimizer,
                schedule.state_dict() if schedule else {},
                self.trainer.objective,
                scaler.state_dict() if scaler is not None else {},
            )
            save_checkpoint(self.job.directory.last, self.trainer.model, self._description(progress), state)
        self.job.accelerator.wait_for_everyone()

    def finished(self) -> None:
        """The stage is done."""
        progress, job = self.trainer.progress, self.job
        if self.main:
            job.screen.stage_finished(job.stage, progress)
            event = StageFinished(
                run=self.run,
                stage=job.stage.name,
                directory=str(job.directory.path),
                best_epoch=progress.best_epoch,
                metrics=progress.best_metrics,
                record=attrs.asdict(progress),
            )
            self._notify("mtl_stage_finished", event)

    def _description(self, progress: Progress) -> dict[str, Any]:
        config, stage = self.job.loaded.config, self.job.stage
        return {
            "stage": stage.name,
            "run": config.name,
            "epoch": progress.best_epoch,
            "metrics": progress.best_metrics,
            "versions": versions(self.job.loaded.sources()),
            **describe(config.model, stage_heads(config, stage)),
        }

    def _notify(self, hook: str, event: Any) -> None:
        for problem in self.job.loaded.registry.notify(hook, event):
            self.job.screen.warn(problem)


def peak_memory(device: torch.device) -> int:
    """The most memory used so far, in bytes: of the GPU, or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Device, precision and processes, through accelerate.

    Raises:
        ConfigError: if the device or precision is not to be had.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device != "auto" and not available[device]:
        raise ConfigError(f"trainer.device: there is no {device} on this machine")
    if precision == "fp16" and (device == "cpu" or not (available["cuda"] or available["mps"])):
        raise ConfigError("trainer.precision: fp16 needs a GPU; bf16 works on the CPU too")
    wanted = {"fp32": "no"}.get(precision, precision)
    if AcceleratorState._shared_state.get("_mixed_precision", wanted) != wanted:
        # accelerate keeps one precision per process; another run of this process may want another one.
        AcceleratorState._reset_state()
    return Accelerator(cpu=device == "cpu", mixed_precision=wanted)


def _workers(job: StageJob) -> int:
    chosen = job.loaded.config.trainer.workers
    if chosen is not None:
        return chosen
    import os

    return 0 if job.accelerator.device.type == "cpu" else min(8, os.cpu_count() or 1)


def _pins(job: StageJob) -> bool:
    return bool(job.accelerator.device.type == "cuda")
