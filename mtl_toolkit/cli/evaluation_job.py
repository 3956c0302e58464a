"""What `mtl evaluate` judges: the stage or file, its configuration, and predictions with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import UserError, suggestion
from .trained import StageAt, autocast, choose_device, counted, find_stage, loader_processes, parse_plugin

if TYPE_CHECKING:
    from ..config import Config, EnsembleStage, Stage
    from ..pipeline import DataSource, TrainedStage
    from ..plugin import Head, Metric, Writer
    from ..prediction.judge import Judged
    from ..registry import Registry
    from ..samples import Samples


@attrs.frozen(eq=False)
class Job:
    """What is judged, and how.

    Attributes:
        config: the run's configuration, which names the datasets.
        heads: the tasks that are judged.
        stage: the trained stage; None where only a file is judged.
        place: where it is.
        registry: the plugins.
        writer: whose metrics count, and whose files are read; None for the tasks' own.
        predictions: a file of predictions that is judged instead.
        options: batch size, device and such.
    """

    config: Config
    heads: Mapping[str, Head]
    stage: TrainedStage | None
    place: StageAt | None
    registry: Registry
    writer: Writer | None
    predictions: Path | None
    options: Mapping[str, Any]

    @property
    def metrics(self) -> dict[str, Sequence[Metric]]:
        """By task: those of the format, else of the configuration."""
        if self.writer is not None:
            return {task: self.writer.metrics(head) for task, head in self.heads.items()}
        tasks = self.config.tasks
        return {task: tasks[task].metrics for task in self.heads if task in tasks}


def make_job(
    run: str,
    predictions: Path | None,
    format_: str | None,
    disabled: tuple[str, ...],
    options: Mapping[str, Any],
) -> Job:
    """Find the stage, or with a file of predictions the configuration alone.

    Raises:
        UserError: if there is none.
    """
    from ..config import load_config
    from ..pipeline import load_stage
    from ..plugin import Writer
    from ..plugin.task import labelled_heads
    from ..registry import Registry
    from ..rundir import CONFIG

    if Path(run).suffix == ".toml":
        if predictions is None:
            raise UserError(
                f"{run}: a configuration alone has nothing to judge; name a RUN, or --predictions"
            )
        loaded = load_config(run, disable_plugins=disabled)
        heads = labelled_heads({task: one.head for task, one in loaded.config.tasks.items()})
        writer = (
            None if format_ is None else parse_plugin("--format", format_, Writer, loaded.registry)  # type: ignore[type-abstract]
        )
        return Job(loaded.config, heads, None, None, loaded.registry, writer, predictions, options)
    place = find_stage(run)
    if place.run is None:
        raise UserError(f"{place.path}: lies in no run, so no configuration names datasets")
    loaded = load_config(place.run / CONFIG, disable_plugins=disabled)
    registry = Registry.load(disabled) if disabled else loaded.registry
    stage = load_stage(place.path, registry)
    writer = (
        None if format_ is None else parse_plugin("--format", format_, Writer, registry)  # type: ignore[type-abstract]
    )
    heads = labelled_heads(stage.heads)
    return Job(loaded.config, heads, stage, place, registry, writer, predictions, options)


def chosen(job: Job, datasets: Sequence[str], option: str = "--dataset") -> list[str]:
    """The datasets named, or those on which the stage was validated.

    Raises:
        UserError: if there is none, or none of that name.
    """
    for name in datasets:
        if name not in job.config.datasets:
            raise UserError(f"{option} {name}: unknown dataset{suggestion(name, job.config.datasets)}")
    if datasets:
        return list(dict.fromkeys(datasets))
    stage = own_stage(job)
    if stage is not None and (feeds := stage.validation):
        return list(dict.fromkeys(name for feed in feeds for name in feed.datasets))
    raise UserError(f"--dataset must name what to judge on; there are: {', '.join(job.config.datasets)}")


def only_predicted(chains: Mapping[str, object], rows: Judged) -> Judged:
    """The rows, once it is known that they have what is to be post-processed.

    Raises:
        UserError: if a file of predictions lacks the task.
    """
    for task in chains:
        if task not in rows.predictions.values:
            there = ", ".join(rows.predictions.values)
            raise UserError(f"--postprocess {task}: the file has no such predictions (only of {there})")
    return rows


def judged(job: Job, samples: Samples) -> Judged:
    """Predictions of a dataset with its labels."""
    from ..evaluation import read_predictions
    from ..prediction import joined
    from ..prediction import predict as run_stage
    from ..prediction.judge import by_name, in_order
    from .sample_bar import SampleBar

    if job.predictions is not None:
        if job.writer is None:
            found = read_predictions(job.predictions, job.heads)
        else:
            found = job.writer.read(job.predictions, job.heads)
        return by_name(found, samples)
    assert job.stage is not None
    device = choose_device(job.options["device"], job.options["precision"])
    with SampleBar(len(samples)) as bar, autocast(device.type, job.options["precision"]):
        blocks = run_stage(
            job.stage,
            samples,
            device=device,
            batch_size=job.options["batch_size"],
            workers=loader_processes(job.options["workers"], device),
        )
        return in_order(joined(list(counted(blocks, bar))), samples)


def open_dataset(job: Job, name: str) -> Samples:
    """A dataset, with the features that the run has of it where the stage reads features.

    Of a dataset that a repeat has trained on in part, only the fold that it has not seen.
    """
    from ..data import FeatureSamples
    from ..errors import DataError
    from ..pipeline.data import DataSource, feature_file
    from ..pipeline.members import reading_of
    from ..plugin import DataFacts
    from ..prediction import adjusted
    from ..rundir import RunDirectory

    recipe = job.config.datasets[name]
    if job.options["on_error"] == "skip":
        recipe = adjusted(name, recipe, on_error="skip")
    size = job.config.model.read_size if job.stage is None else job.stage.preprocessing.read_size
    try:
        samples = recipe.build(DataFacts(job.heads, size, validation=True))
    except DataError as error:
        raise DataError(*(f"datasets.{name}: {problem}" for problem in error.problems)) from error
    stage = own_stage(job)
    if stage is None or job.place is None or job.place.run is None:
        return samples
    source = DataSource(job.config, RunDirectory(job.place.run))
    assert job.stage is not None
    folder = source.features_folder(reading_of(job.config, stage, job.stage.description))
    if folder is not None and (folder / feature_file(name)).is_file():
        samples = FeatureSamples(samples, folder / feature_file(name))
    return held_out(source, stage, name, samples, RunDirectory(job.place.run).stage(stage.name).record())


def own_stage(job: Job) -> Stage | EnsembleStage | None:
    """The stage, or repeat of one, of the run's configuration that is judged; None where there is none."""
    from ..config import expand

    named = [
        one for one in expand(job.config).predictors if job.place is not None and one.name == job.place.name
    ]
    return named[0] if named and job.stage is not None else None


def held_out(
    source: DataSource,
    stage: Stage | EnsembleStage,
    name: str,
    samples: Samples,
    record: Mapping[str, Any] | None,
) -> Samples:
    """Of a dataset that a repeat has trained on in part, the fold that it has not seen.

    Raises:
        DataError: if the dataset is no longer what it was.
    """
    import numpy as np

    from ..config import Repeat
    from ..data import SubsetSamples
    from ..errors import DataError

    folds = source.folds(stage) if isinstance(stage, Repeat) else None
    if folds is None or name not in folds.numbers or not isinstance(stage, Repeat):
        return samples
    numbers = folds.numbers[name]
    if len(numbers) != len(samples) or folds.digest() != (record or {}).get("folds"):
        raise DataError(
            f"datasets.{name}: has changed since {stage.name!r} was trained, so its folds are others"
        )
    return SubsetSamples(samples, np.flatnonzero(numbers == stage.fold))
