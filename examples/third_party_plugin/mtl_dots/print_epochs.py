"""Print a line after every epoch."""

from __future__ import annotations

from mtl_toolkit import EpochFinished, hookimpl


@hookimpl
def mtl_epoch_finished(event: EpochFinished) -> None:
    """The stage, the epoch and its metrics."""
    metrics = " ".join(f"{name}={value:.3f}" for name, value in event.metrics.items())
    print(f"{event.stage} {event.epoch} {metrics}", flush=True)
