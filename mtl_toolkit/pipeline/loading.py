"""How many loader processes a run has, and whether their batches are pinned."""

from __future__ import annotations

import os

from ..data import allowed_cores
from .job import StageJob


def loader_workers(job: StageJob) -> int:
    """As configured; otherwise none on the CPU, and up to 8 for a GPU, which the processes here share."""
    chosen = job.loaded.config.trainer.workers
    if chosen is not None:
        return chosen
    if job.accelerator.device.type == "cpu":
        return 0
    return max(1, min(8, allowed_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def pins_memory(job: StageJob) -> bool:
    """Whether batches go to a GPU."""
    return bool(job.accelerator.device.type == "cuda")
