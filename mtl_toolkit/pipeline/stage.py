"""Train one stage of a configuration: build its parts and hand them to the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from ..batch import Batch
from ..checkpoint import load_weights, read_description
from ..config import OWN_AVERAGE, Optimizer, Stage, stage_model
from ..data import FeatureLayout, StreamLoader, TrainPlan, augment, open_features
from ..errors import ConfigError, RunError
from ..model import MultiTaskModel, build_model
from ..seeding import derive_seed, seeded
from ..trainer import Feed, Progress, Schedule, Sharpness, Trainer, WeightAverage, make_optimizer
from .data import dataset_uses, feature_file, loss_names, stage_heads
from .feeds import feeds_with_metrics
from .job import StageJob
from .keep import NETWORK, same_network
from .lifecycle import telling_stops
from .load import TrainedStage, find_checkpoint
from .loading import loader_workers, pins_memory
from .losses import build_objective, first_inputs, give_sizes, labels_to_fit
from .network import placing_problems
from .recorder import Recorder
from .teacher import Teachers, load_teachers


def train_stage(job: StageJob) -> Progress:
    """Train a stage from its start, or from its last checkpoint if there is one.

    Raises:
        UserError: if its parts do not fit, or training fails.
        Interrupted: if a stop was asked for, after saving.
    """
    layout = stage_layout(job)
    trainer = build_trainer(job, layout)
    recorder = Recorder(job, trainer, layout)
    trainer.observer = recorder
    if job.directory.resumable():
        recorder.resume()
    else:
        recorder.start_over()
    try:
        with telling_stops(job):
            recorder.started()
            progress = trainer.fit()
    finally:
        trainer.close()
        # Trainer and recorder hold each other; the network would stay on the GPU beside the next stage's.
        trainer.observer = None
    recorder.finished()
    return progress


def build_trainer(job: StageJob, layout: FeatureLayout | None = None) -> Trainer:
    """Everything a stage needs, live; the network's initial values are a function of seed and stage."""
    config, stage, device = job.loaded.config, job.training, job.accelerator.device
    options = config.trainer
    model = initial_model(job, layout)
    if options.channels_last and device.type != "mps":
        model.to(memory_format=torch.channels_last)
    model.to(device)
    average = None if stage.ema is None else WeightAverage(model, stage.ema)
    teacher = build_teacher(job, layout, average)
    with seeded(derive_seed(config.seed, stage.name, "losses")):
        objective = build_objective(config, stage, labels_to_fit(job.source, stage))
        balancer = stage.balancer.build(loss_names(config, stage))
        if objective.lazy:
            give_sizes(objective, model, first_inputs(job.source, stage).to(device), teacher)
    objective.to(device)
    optimizer = make_optimizer(stage.optimizer, model, objective)
    loader = training_loader(job)
    updates = -(-len(loader) // stage.accumulate) * stage.epochs
    return Trainer(
        model=model,
        objective=objective,
        balancer=balancer,
        optimizer=optimizer,
        schedule=Schedule(optimizer, stage.scheduler, updates, stage.epochs),
        loader=loader,
        epochs=stage.epochs,
        feeds=validation_feeds(job),
        select=stage.select,
        teacher=teacher,
        prepare=preparation(job),
        accumulate=stage.accumulate,
        clip_norm=stage.clip_norm,
        average=average,
        sharpness=_sharpness(stage.optimizer),
        mixup=stage.augmentation.mixup,
        patience=stage.patience,
        log_every=options.log_every,
        save_every=options.save_every,
        seed=derive_seed(config.seed, stage.name, "train"),
        stop=job.stop,
        accelerator=job.accelerator,
    )


def _sharpness(optimizer: Optimizer) -> Sharpness | None:
    return None if optimizer.sam is None else Sharpness(optimizer.sam, optimizer.sam_adaptive)


def initial_model(job: StageJob, layout: FeatureLayout | None) -> MultiTaskModel:
    """The network before training, with another stage's weights if `start_from` names one.

    A temporal network takes only the trunk of one without: the layers after it differ.
    """
    config, stage = job.loaded.config, job.training
    heads = stage_heads(config, stage)
    columns = None if layout is None else layout.columns()
    with seeded(derive_seed(config.seed, stage.name, "initial weights")), placing_problems(stage):
        model = build_model(
            stage_model(config, stage),
            heads,
            weights=stage.start_from is None,
            temporal=stage.temporal,
            columns=columns,
        )
    if stage.start_from is not None:
        folder = find_checkpoint(job.references[stage.start_from])
        only = stage.temporal is not None and not read_description(folder).get("temporal")
        load_weights(folder, model, prefix="trunk." if only else "")
    return model


def stage_layout(job: StageJob) -> FeatureLayout | None:
    """What the stage's features are made of, if it works on features.

    Raises:
        RunError: if its datasets have features of different networks.
    """
    stage = job.training
    if stage.features is None:
        return None
    folder = job.source.features_folder(stage) or Path()
    names = dict.fromkeys(name for name, _ in dataset_uses(stage))
    layouts = {name: open_features(folder / feature_file(name)).layout for name in names}
    first = next(iter(layouts))
    for name, layout in layouts.items():
        if layout != layouts[first]:
            raise RunError(f"{folder}: the features of {name!r} and {first!r} differ in tasks or width")
    return layouts[first]


def training_loader(job: StageJob) -> StreamLoader:
    """The batches of the stage's streams, on this process."""
    config, stage, accelerator = job.loaded.config, job.training, job.accelerator
    rows = sum(stream.batch_size // accelerator.num_processes for stream in stage.streams)
    if accelerator.num_processes > 1 and rows < 2:
        raise ConfigError(
            f"stages.{stage.name}: each process needs 2 rows a step for batch statistics (got {rows}); "
            "raise batch_size"
        )
    plan = TrainPlan(
        [job.source.stream(stage, stream) for stream in stage.streams],
        seed=derive_seed(config.seed, stage.name, "data"),
        length=stage.epoch_length,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    return StreamLoader(
        plan,
        stage_heads(config, stage),
        workers=loader_workers(job),
        pin_memory=pins_memory(job),
        check_labels=False,  # the source has looked at them
    )


def validation_feeds(job: StageJob) -> list[Feed]:
    """The stage's validation data with its metrics."""
    return feeds_with_metrics(job, job.training, job.training.validation)


def build_teacher(
    job: StageJob, layout: FeatureLayout | None = None, average: WeightAverage | None = None
) -> Teachers | None:
    """The stage's teachers on the device, or None; `average` is that of the student's weights, if it has one.

    Raises:
        RunError: if one was trained on other features than the stage's.
    """
    stage, config = job.training, job.loaded.config
    if not stage.teachers:
        return None
    references = {task: job.references[name] for task, name in stage.trained_teachers.items()}
    heads = list(stage_heads(config, stage))
    teachers = load_teachers(references, heads, job.loaded.registry)
    if layout is not None:
        _check_features(job, layout, [teacher for teacher, _ in teachers])
    if config.trainer.channels_last and job.accelerator.device.type != "mps":
        for teacher, _ in teachers:
            teacher.model.to(memory_format=torch.channels_last)
    networks: list[tuple[nn.Module, Sequence[str]]] = [(one.model, tasks) for one, tasks in teachers]
    if average is not None and (own := _taught_by_average(stage, heads)):
        networks.append((average.module, own))
    return Teachers(networks, job.accelerator.device, job.accelerator.autocast)


def _taught_by_average(stage: Stage, tasks: Sequence[str]) -> list[str]:
    """The tasks that the average of the student's own weights teaches (mean teacher)."""
    own = [task for task, teacher in stage.teachers.items() if teacher == OWN_AVERAGE]
    return list(tasks) if "" in own else own


def _check_features(job: StageJob, layout: FeatureLayout, teachers: Sequence[TrainedStage]) -> None:
    """Features of another network may be as wide and mean something else."""
    folder = job.source.features_folder(job.training) or Path()
    for teacher in teachers:
        theirs = FeatureLayout(**teacher.description["features"])
        alike = theirs.source == layout.source and theirs.columns() == layout.columns()
        made_by = teacher.network and teacher.network.path
        if not (alike and made_by and same_network(made_by, folder / NETWORK)):
            raise RunError(
                f"stages.{job.stage.name}: teacher {teacher.path}: "
                f"was trained on other features than those in {folder}"
            )


def preparation(job: StageJob) -> Callable[[Batch], torch.Tensor]:
    """From a batch on the device to the model's inputs: augmentation, memory format."""
    augmentation, config = job.training.augmentation, job.loaded.config
    size, channels_last = config.model.image_size, config.trainer.channels_last

    def prepare(batch: Batch) -> torch.Tensor:
        inputs = batch.inputs
        if inputs.ndim == 4 and inputs.dtype == torch.uint8 and batch.noise is not None:
            inputs = augment(inputs, batch.noise, augmentation, size)
            # Datasets deliver either format: what is computed must not depend on which.
            layout = torch.channels_last if channels_last else torch.contiguous_format
            inputs = inputs.contiguous(memory_format=layout)
        return inputs

    return prepare
