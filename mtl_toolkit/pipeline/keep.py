"""Checkpoints inside other checkpoints: the network that makes features, the members of an ensemble."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..checkpoint import DESCRIPTION, MODEL
from ..files import file_digest

NETWORK = "network"  # the folder in a checkpoint with that of the network which makes its features


def keep_network(source: Path, folder: Path) -> None:
    """Put a checkpoint into another folder as the network that makes features."""
    keep_checkpoint(source, folder / NETWORK)


def keep_checkpoint(source: Path, target: Path) -> None:
    """Copy weights and descriptions, with the checkpoints inside, as hard links where that can be."""
    for file in sorted(source.rglob("*")):
        if file.name in (MODEL, DESCRIPTION):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            try:
                os.link(file, copy)
            except OSError:
                shutil.copyfile(file, copy)


def weight_files(folder: Path) -> list[Path]:
    """The files that say what a checkpoint predicts: its weights; of an ensemble also the descriptions."""
    if (folder / MODEL).is_file():
        return [folder / MODEL]
    return sorted(file for file in folder.rglob("*") if file.name in (MODEL, DESCRIPTION))


def has_features(reference: str) -> bool:
    """Whether it is the path of an extract stage's folder; the name of a stage here is not."""
    path = Path(reference)
    return path.is_absolute() and (path / NETWORK / DESCRIPTION).is_file()


def same_network(folder: Path, other: Path) -> bool:
    """Whether two folders hold the same network."""
    digests, others = ([file_digest(file) for file in weight_files(one)] for one in (folder, other))
    return digests == others
