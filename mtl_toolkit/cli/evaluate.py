"""`mtl evaluate`: a trained stage, or a file of predictions, against labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ..errors import UserError, suggestion
from .trained import (
    StageAt,
    choose_device,
    find_stage,
    loader_processes,
    parse_plugin,
    parse_postprocess,
    predict_options,
)

if TYPE_CHECKING:
    from ..config import Config
    from ..evaluation import Evaluation
    from ..pipeline import TrainedStage
    from ..plugin import Head, Metric, PostProcessor, Predictions, Writer
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
        predictions: a file of predictions from elsewhere.
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


@click.command()
@click.argument("run", metavar="RUN[/STAGE]|CONFIG")
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    help="Dataset of the configuration; default: those on which the stage was validated.",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, exists=True),
    help="Judge this file instead: a table of mtl predict, or what --format writes.",
)
@click.option(
    "--format",
    "format_",
    metavar="WRITER",
    help="Judge by this challenge's metrics; with --predictions also the file's format.",
)
@click.option(
    "--tune-on",
    metavar="DATASET",
    help="Choose the options of --postprocess on this dataset, which should not be a reported one.",
)
@click.option("--draws", type=click.IntRange(0), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--videos", is_flag=True, help="Show every video.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="JSON file to write.")
@predict_options
def evaluate(
    *,
    run: str,
    datasets: tuple[str, ...],
    predictions: Path | None,
    format_: str | None,
    tune_on: str | None,
    draws: int,
    videos: bool,
    output: Path | None,
    postprocess: tuple[str, ...],
    device: str,
    precision: str,
    batch_size: int,
    workers: int | None,
    on_error: str,
    disabled: tuple[str, ...],
    traceback: bool,  # noqa: ARG001 - read by the entry point
) -> None:
    """Judge a trained stage on labelled datasets: metrics with 95 % intervals over videos, and confusion.

    With --predictions a file is judged, and RUN may also be the TOML file of a configuration that names the
    tasks and datasets.
    """
    from ..evaluation import evaluate as judge
    from ..files import write_json
    from ..prediction.judge import tune
    from .evaluation_tables import print_evaluation

    options = {
        "device": device,
        "precision": precision,
        "batch_size": batch_size,
        "workers": workers,
        "on_error": on_error,
    }
    job = make_job(run, predictions, format_, disabled, options)
    names = chosen(job, datasets)
    chains = parse_postprocess(postprocess, job.heads, job.registry)
    note = ""
    if tune_on is not None:
        if not chains:
            raise UserError("--tune-on chooses the options of --postprocess, but there is none")
        (known,) = chosen(job, (tune_on,))
        chains = tune(judged(job, known), chains, job.metrics)
        note = f"tuned on {known}"
        if known in names:
            note += ", which is reported here: its scores flatter"
    report: dict[str, Any] = {}
    for name in names:
        found = judge_one(job, name, chains, judge, draws)
        scores = joint_scores(job, found)
        print_evaluation(name, found, scores, chains, note, videos=videos)
        report[name] = {
            **found.to_plain(),
            "scores": scores,
            "postprocess": plain_chains(chains),
            "tuned_on": tune_on,
        }
    if output is not None:
        write_json(output, {"evaluated": run, "format": format_, "datasets": report})


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
    from ..registry import Registry
    from ..rundir import CONFIG

    if Path(run).suffix == ".toml":
        if predictions is None:
            raise UserError(
                f"{run}: a configuration alone has nothing to judge; name a RUN, or --predictions"
            )
        loaded = load_config(run, disable_plugins=disabled)
        heads = {task: one.head for task, one in loaded.config.tasks.items() if not one.head.members}
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
    return Job(loaded.config, stage.heads, stage, place, registry, writer, predictions, options)


def chosen(job: Job, datasets: Sequence[str]) -> list[str]:
    """The datasets named, or those on which the stage was validated.

    Raises:
        UserError: if there is none, or none of that name.
    """
    for name in datasets:
        if name not in job.config.datasets:
            raise UserError(f"--dataset {name}: unknown dataset{suggestion(name, job.config.datasets)}")
    if datasets:
        return list(dict.fromkeys(datasets))
    for stage in job.config.trainings:
        if job.place is not None and stage.name == job.place.name:
            found = list(dict.fromkeys(name for feed in stage.validation for name in feed.datasets))
            if found:
                return found
    raise UserError(f"--dataset must name what to judge on; there are: {', '.join(job.config.datasets)}")


def judge_one(
    job: Job, name: str, chains: Mapping[str, Sequence[PostProcessor]], judge: Any, draws: int
) -> Evaluation:
    """The evaluation of one dataset."""
    from ..prediction import postprocessed

    rows = judged(job, name)
    predictions: Predictions = postprocessed(rows.predictions, chains) if chains else rows.predictions
    metrics = {task: found for task, found in job.metrics.items() if task in predictions.values}
    missing = "skip" if job.options["on_error"] == "skip" else "error"
    found: Evaluation = judge(predictions, rows.labels, metrics, missing=missing, draws=draws)
    return found


def judged(job: Job, name: str) -> Judged:
    """Predictions of a dataset with its labels."""
    from ..evaluation import read_predictions
    from ..prediction import joined
    from ..prediction import predict as run_stage
    from ..prediction.judge import by_name, in_order
    from .predict import autocast, counted
    from .sample_bar import SampleBar

    samples = open_dataset(job, name)
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
    """A dataset, with the features that the run has of it where the stage reads features."""
    from ..config import Stage
    from ..data import FeatureSamples
    from ..errors import DataError
    from ..pipeline.data import feature_file
    from ..plugin import DataFacts

    size = job.config.model.read_size if job.stage is None else job.stage.preprocessing.read_size
    try:
        samples = job.config.datasets[name].build(DataFacts(job.heads, size, validation=True))
    except DataError as error:
        raise DataError(*(f"datasets.{name}: {problem}" for problem in error.problems)) from error
    if job.stage is not None and job.stage.network is not None and job.place is not None:
        own = [one for one in job.config.stages if isinstance(one, Stage) and one.name == job.place.name]
        folder = job.place.path.parent / str(own[0].features) if own else job.place.path
        if (folder / feature_file(name)).is_file():
            return FeatureSamples(samples, folder / feature_file(name))
    return samples


def joint_scores(job: Job, found: Evaluation) -> dict[str, float]:
    """Scores over several tasks, where the format has such."""
    if job.writer is None:
        return {}
    by_label = {job.heads[task].label: one.values for task, one in found.tasks.items()}
    return dict(job.writer.scores(by_label))


def plain_chains(chains: Mapping[str, Sequence[PostProcessor]]) -> dict[str, Any]:
    """Post-processors in plain JSON types."""
    from ..config import plain

    return {task: [plain(one) for one in chain] for task, chain in chains.items()}
