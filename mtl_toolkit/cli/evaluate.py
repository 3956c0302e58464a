"""`mtl evaluate`: a trained stage, or a file of predictions, against labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from .evaluation_job import Job, chosen, judged, make_job, only_predicted
from .trained import parse_postprocess, predict_options

if TYPE_CHECKING:
    from ..evaluation import Evaluation
    from ..plugin import PostProcessor
    from ..prediction.judge import Judged


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
    rows: dict[str, Judged] = {}
    if tune_on is not None:
        if not chains:
            raise UserError("--tune-on chooses the options of --postprocess, but there is none")
        rows[tune_on] = judged(job, *chosen(job, (tune_on,), "--tune-on"))
        chains = tune(only_predicted(chains, rows[tune_on]), chains, job.metrics)
    report: dict[str, Any] = {}
    for name in names:
        found = judge_one(job, rows.pop(name) if name in rows else judged(job, name), chains, draws)
        scores = joint_scores(job, found)
        print_evaluation(heading(job, name), found, scores, chains, tuning_note(tune_on, name), videos=videos)
        report[name] = {
            **found.to_plain(),
            "scores": scores,
            "postprocess": plain_chains(chains),
            "tuned_on": tune_on,
        }
    if output is not None:
        facts = {
            "evaluated": run,
            "stage": None if job.place is None or job.predictions is not None else job.place.name,
            "predictions": None if predictions is None else str(predictions),
            "format": format_,
        }
        write_json(output, without_nan({**facts, "datasets": report}))


def judge_one(
    job: Job, rows: Judged, chains: Mapping[str, Sequence[PostProcessor]], draws: int
) -> Evaluation:
    """The evaluation of one dataset."""
    from ..evaluation import evaluate as judge
    from ..prediction import postprocessed

    predictions = rows.predictions
    if chains:
        predictions = postprocessed(only_predicted(chains, rows).predictions, chains)
    metrics = {task: found for task, found in job.metrics.items() if task in predictions.values}
    # What the stage itself did not predict, its dataset lets pass: no face, or on_error = "skip".
    lenient = job.predictions is None or job.options["on_error"] == "skip"
    return judge(predictions, rows.labels, metrics, missing="skip" if lenient else "error", draws=draws)


def heading(job: Job, dataset: str) -> str:
    """What is judged on what, and how."""
    name = job.predictions or (job.place.name if job.place else "")
    return f"{name} on {dataset}{f', judged as {job.writer.name}' if job.writer else ''}"


def tuning_note(tuned_on: str | None, dataset: str) -> str:
    """What to say of the choice of options, where the scores of a dataset stand."""
    if tuned_on is None:
        return ""
    flattered = ", which is reported here: its scores flatter" if tuned_on == dataset else ""
    return f"tuned on {tuned_on}{flattered}"


def without_nan(value: Any) -> Any:
    """Plain JSON types with null for a number that JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
