"""`mtl evaluate`: a trained stage, or a file of predictions, against labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ..errors import UserError
from .evaluation_groups import groups_of, parse_by
from .evaluation_job import Job, chosen, judged, make_job, only_predicted, open_dataset
from .trained import parse_postprocess, predict_options

if TYPE_CHECKING:
    from ..evaluation import Evaluation, GroupedEvaluation, Groups
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
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Also judge each group of this column; numbers in bands: age=18,40; crossed: gender*ethnicity.",
)
@click.option(
    "--min-rows",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Labelled rows that a group needs to count in a gap.",
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
    by: tuple[str, ...],
    min_rows: int,
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

    With --by also group by group, with the gaps between groups.

    With --predictions a file is judged, and RUN may also be the TOML file of a configuration that names the
    tasks and datasets.
    """
    from ..files import write_json
    from ..prediction.judge import tune
    from .evaluation_tables import print_evaluation
    from .group_tables import print_groups

    options = {
        "device": device,
        "precision": precision,
        "batch_size": batch_size,
        "workers": workers,
        "on_error": on_error,
    }
    wanted = parse_by(by)
    job = make_job(run, predictions, format_, disabled, options)
    names = chosen(job, datasets)
    chains = parse_postprocess(postprocess, job.heads, job.registry)
    samples = {name: open_dataset(job, name) for name in names}
    groups = {name: groups_of(samples[name], name, wanted) for name in names}
    rows: dict[str, Judged] = {}
    if tune_on is not None:
        if not chains:
            raise UserError("--tune-on chooses the options of --postprocess, but there is none")
        (tune_on,) = chosen(job, (tune_on,), "--tune-on")
        rows[tune_on] = judged(job, samples[tune_on] if tune_on in samples else open_dataset(job, tune_on))
        chains = tune(only_predicted(chains, rows[tune_on]), chains, job.metrics)
    report: dict[str, Any] = {}
    for name in names:
        one = smoothed(rows.pop(name) if name in rows else judged(job, samples[name]), chains)
        found = judge_one(job, one, draws)
        scores = joint_scores(job, found)
        print_evaluation(heading(job, name), found, scores, chains, tuning_note(tune_on, name), videos=videos)
        by_group = {
            text: judge_groups(job, one, of_samples, draws, min_rows)
            for text, of_samples in groups[name].items()
        }
        for text, of_groups in by_group.items():
            print_groups(text, of_groups)
        report[name] = {
            **found.to_plain(),
            "by": {text: of_groups.to_plain() for text, of_groups in by_group.items()},
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


def smoothed(rows: Judged, chains: Mapping[str, Sequence[PostProcessor]]) -> Judged:
    """The rows with their predictions post-processed."""
    from ..prediction import postprocessed

    if not chains:
        return rows
    return attrs.evolve(rows, predictions=postprocessed(only_predicted(chains, rows).predictions, chains))


def judge_one(job: Job, rows: Judged, draws: int) -> Evaluation:
    """The evaluation of one dataset."""
    from ..evaluation import evaluate as judge

    return judge(rows.predictions, rows.labels, **judging(job, rows), draws=draws)


def judge_groups(job: Job, rows: Judged, groups: Groups, draws: int, min_rows: int) -> GroupedEvaluation:
    """The evaluation of one dataset group by group; `groups` are of its samples."""
    from ..evaluation import evaluate_by

    of_rows, options = groups.take(rows.order), judging(job, rows)
    return evaluate_by(rows.predictions, rows.labels, of_rows, **options, draws=draws, min_rows=min_rows)


def judging(job: Job, rows: Judged) -> dict[str, Any]:
    """The metrics, and what to do about labelled rows without a prediction."""
    metrics = {task: found for task, found in job.metrics.items() if task in rows.predictions.values}
    # What the stage itself did not predict, its dataset lets pass: no face, or on_error = "skip".
    lenient = job.predictions is None or job.options["on_error"] == "skip"
    return {"metrics": metrics, "missing": "skip" if lenient else "error"}


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
