"""The entries of report.json: of a stage that trained, extracted, or combined networks, or was repeated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..trainer import Progress
from .device import peak_memory
from .ensemble import Combined
from .extract import Extracted
from .job import StageJob
from .losses import fitted_losses


def trained_entry(job: StageJob, record: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The entry of a stage that trained; its score is null if no metric chooses its best epoch."""
    fitted = fitted_losses(job.source, job.training)
    return {
        "name": job.stage.name,
        "best_epoch": progress.best_epoch,
        "score": progress.best_score if job.training.select else None,
        "select": dict(job.training.select),
        "metrics": progress.best_metrics,
        "epochs": len(progress.history),
        "seconds": round(progress.seconds, 3),
        "samples_per_second": round(progress.samples / max(progress.training_seconds, 1e-9), 1),
        "peak_memory_bytes": peak_memory(job.accelerator.device),
        "skipped_samples": progress.skipped,
        "data": record["data"],
        **({"fitted_losses": fitted} if fitted else {}),
    }


def extracted_entry(job: StageJob, record: Mapping[str, Any], done: Extracted) -> dict[str, Any]:
    """The entry of an extract stage: it has no epochs and no metrics."""
    return {**_untrained(job, done, "extract"), "data": record["data"]}


def combined_entry(job: StageJob, record: Mapping[str, Any], done: Combined) -> dict[str, Any]:
    """The entry of an ensemble: it has no epochs; `tasks` says how each was combined."""
    return {
        **_untrained(job, done, "ensemble"),
        "score": done.score,
        "select": done.select,
        "metrics": done.metrics,
        "members": done.members,
        "tasks": done.tasks,
        "data": record["data"],
    }


def _untrained(job: StageJob, done: Extracted | Combined, kind: str) -> dict[str, Any]:
    """What the entries of stages without epochs share."""
    return {
        "name": job.stage.name,
        "kind": kind,
        "best_epoch": 0,
        "score": None,
        "select": {},
        "metrics": {},
        "epochs": 0,
        "seconds": round(done.seconds, 3),
        "samples_per_second": round(done.samples / max(done.seconds, 1e-9), 1),
        "peak_memory_bytes": peak_memory(job.accelerator.device),
        "skipped_samples": done.skipped,
    }


def repeated_entry(name: str, repeats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry of a repeated stage: means and sample standard deviations (n - 1) over its repeats.

    The best epoch and the number of epochs are those of the repeat with the highest score, which
    `best_repeat` names. Seconds and skipped samples are added up.
    """
    best = max(repeats, key=lambda one: -np.inf if one["score"] is None else one["score"])
    names = dict.fromkeys(metric for one in repeats for metric in one["metrics"])
    values = {metric: [one["metrics"].get(metric) for one in repeats] for metric in names}
    scores = [one["score"] for one in repeats]
    seconds = sum(one["seconds"] for one in repeats)
    rows = sum(one["samples_per_second"] * one["seconds"] for one in repeats)
    return {
        "name": name,
        "best_epoch": best["best_epoch"],
        "best_repeat": best["name"],
        "score": mean(scores),
        "select": repeats[0]["select"],
        "score_std": deviation(scores),
        "metrics": {metric: mean(found) for metric, found in values.items()},
        "std": {metric: deviation(found) for metric, found in values.items()},
        "epochs": best["epochs"],
        "seconds": round(seconds, 3),
        "samples_per_second": round(rows / max(seconds, 1e-9), 1),
        "peak_memory_bytes": max(one["peak_memory_bytes"] for one in repeats),
        "skipped_samples": sum(one["skipped_samples"] for one in repeats),
        "data": repeats[0]["data"],
        "repeats": [dict(one) for one in repeats],
    }


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there; None without any."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def deviation(values: Iterable[float | None]) -> float | None:
    """The sample standard deviation of those that are there; None for fewer than two."""
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None
