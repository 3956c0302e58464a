"""Validation data: read in order, with the metrics that are taken on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..config import Validation
from ..data import SequentialPlan, StreamLoader
from ..metrics import FeedMetrics
from ..plugin import Head
from ..trainer import Feed
from .data import Reader, feed_heads
from .job import StageJob
from .loading import loader_workers, pins_memory


def feeds_with_metrics(
    job: StageJob, reader: Reader, feeds: Sequence[Validation], heads: Mapping[str, Head] | None = None
) -> list[Feed]:
    """Feeds with their metrics, on this process its part of the rows.

    Args:
        job: the run's parts.
        reader: how samples are read.
        feeds: which.
        heads: that decide, by task; by default the configuration's.
    """
    config, accelerator = job.loaded.config, job.accelerator
    found = []
    for feed in feeds:
        own = {task: (heads or {}).get(task, head) for task, head in feed_heads(config, feed).items()}
        metrics = {task: config.tasks[task].metrics for task in own}
        loader = feed_loader(job, reader, feed, accelerator.process_index, accelerator.num_processes)
        found.append(Feed(loader, FeedMetrics(feed.title, own, metrics, accelerator.device)))
    return found


def feed_loader(
    job: StageJob, reader: Reader, feed: Validation, rank: int = 0, world: int = 1
) -> StreamLoader:
    """The samples of a feed in order, for one of several processes."""
    return StreamLoader(
        SequentialPlan(job.source.validation(reader, feed), rank=rank, world=world),
        feed_heads(job.loaded.config, feed),
        workers=loader_workers(job),
        pin_memory=pins_memory(job),
        keep_workers=False,
        check_labels=False,  # the source has looked at them
    )
