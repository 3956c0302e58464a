"""Validation: the metrics of a network on some feeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import torch
from accelerate import Accelerator
from torch import nn

from ..data import StreamLoader
from ..metrics import FeedMetrics
from ..preprocessing import seen_by
from ..self_supervision import with_own_targets


@attrs.define(eq=False)
class Feed:
    """Validation data with its metrics."""

    loader: StreamLoader
    metrics: FeedMetrics


@attrs.frozen(eq=False)
class Validated:
    """What validation found, over all processes.

    Attributes:
        metrics: by "<feed>/<task>/<metric>".
        skipped: samples left out because they could not be read.
    """

    metrics: dict[str, float]
    skipped: int


def validate(
    model: nn.Module,
    feeds: Sequence[Feed],
    accelerator: Accelerator,
    check_stop: Callable[[], None] = lambda: None,
) -> Validated:
    """Run a model over the feeds, in eval mode and without gradients; it is left in eval mode.

    Args:
        model: called as `MultiTaskModel` is, on the device of the accelerator.
        feeds: the data, on this process its part of it.
        accelerator: device, precision and processes.
        check_stop: called after each batch; what it raises ends the validation.
    """
    model.eval()
    found: dict[str, float] = {}
    skipped = 0
    with torch.no_grad():
        for feed in feeds:
            feed.metrics.reset()
            for batch in feed.loader.epoch(0):
                skipped += batch.skipped
                if not len(batch):
                    continue
                on_device = batch.to(accelerator.device)
                with accelerator.autocast():
                    outputs = model(on_device.inputs, feed.metrics.tasks, batch.windows)
                if any(head.self_supervised for head in feed.metrics.heads.values()):
                    seen = seen_by(model, on_device.inputs)
                    on_device = with_own_targets(on_device, seen, feed.metrics.heads)
                feed.metrics.update(outputs, on_device)
                check_stop()
            found |= feed.metrics.compute()
    if accelerator.num_processes > 1:
        skipped = int(accelerator.reduce(torch.tensor(skipped, device=accelerator.device)))
    return Validated(found, skipped)
