"""Whether the weights that a stage starts from fit its network, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..checkpoint import MODEL, first_misfit, stored_shapes
from ..config import Stage
from ..errors import UserError
from .load import find_checkpoint
from .trial import TrialNetworks

Shapes = Mapping[str, tuple[int, ...]]


def other_network(
    who: str,
    networks: TrialNetworks,
    stage: Stage,
    earlier: Stage | None,
    *,
    theirs: Mapping[str, Any],
    ours: Mapping[str, Any],
) -> Iterator[str]:
    """In what the network that a stage starts from has other weights than the stage's own.

    Networks of equal tables are alike. Others are built to be compared: only they know which of their
    fields make another network.

    Args:
        who: what messages call it.
        networks: of the configuration's stages.
        stage: the stage that starts.
        earlier: the stage here whose network it is; None: that of the path `stage.start_from`.
        theirs: what the network's checkpoint says of it, as `model.describe` has it.
        ours: the same of the stage.
    """
    if stage.features is not None or _tables(theirs) == _tables(ours):
        return
    try:
        wanted = _shapes(networks, stage)
        found = _shapes(networks, earlier) if earlier else _stored(str(stage.start_from))
    except UserError:
        return  # what cannot be built or read is told of for itself
    if ours["temporal"] and not theirs.get("temporal"):
        wanted, found = _trunk(wanted), _trunk(found)
    if problem := first_misfit(wanted, found):
        yield f"{who}: must be the same network: {problem}"


def _tables(description: Mapping[str, Any]) -> tuple[Any, ...]:
    model, tasks = description["model"], description["tasks"]
    parts = (model["backbone"], model["architecture"], model["image_size"])
    return (*parts, description.get("temporal"), {task: one["head"] for task, one in tasks.items()})


def _shapes(networks: TrialNetworks, stage: Stage) -> Shapes:
    built = networks.of(stage)
    assert built is not None  # only that of a stage on features may not be known
    return built.shapes


def _stored(reference: str) -> Shapes:
    return stored_shapes(find_checkpoint(Path(reference)) / MODEL)


def _trunk(shapes: Shapes) -> Shapes:
    return {name: shape for name, shape in shapes.items() if name.startswith("trunk.")}
