"""What `mtl predict` is given: a path that some dataset plugin reads, or a dataset of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import attrs

from ..config import load_config
from ..errors import DataError, UserError, suggestion
from ..pipeline import TrainedStage
from ..plugin import DataFacts, Dataset, Detector
from ..plugin.task import labelled_heads
from ..registry import Registry
from ..rundir import CONFIG
from ..samples import Samples


def open_input(
    stage: TrainedStage,
    given: str,
    registry: Registry,
    *,
    run: Path | None = None,
    detector: Detector | None = None,
    on_error: Literal["stop", "skip"] = "stop",
) -> Samples:
    """Open what a stage is to predict.

    Args:
        stage: whose preprocessing says how large pictures are read.
        given: a path, or the name of a dataset in the run's configuration.
        registry: the plugins.
        run: the run directory, with the configuration that names datasets.
        detector: finds the face in each picture, where the input does not say where it is.
        on_error: what to do about a picture that cannot be read.

    Raises:
        UserError: if there is no such thing, or no plugin reads it, or it is empty.
    """
    facts = DataFacts(labelled_heads(stage.heads), stage.preprocessing.read_size, validation=True)
    path = Path(given)
    if path.exists():
        recipe = path_dataset(path, registry, detector=detector, on_error=on_error)
    else:
        recipe = adjusted(given, run_dataset(given, run), detector=detector, on_error=on_error)
    samples = recipe.build(facts)
    if not len(samples):
        raise DataError(f"{given}: has no samples")
    return samples


def path_dataset(
    path: Path,
    registry: Registry,
    *,
    detector: Detector | None = None,
    on_error: Literal["stop", "skip"] = "stop",
) -> Dataset:
    """The dataset that a path is.

    Raises:
        DataError: if no plugin reads it, or several do.
    """
    found: dict[str, Dataset] = {}
    for plugin in registry.of_kind("dataset"):
        recipe = plugin.recipe
        if issubclass(recipe, Dataset):
            one = recipe.for_path(path, detector=detector, on_error=on_error)
            if one is not None:
                found[plugin.name] = one
    if len(found) > 1:
        names = ", ".join(found)
        raise DataError(f"{path}: is read by several dataset plugins: {names}; disable all but one")
    if not found:
        raise DataError(f"{path}: no dataset plugin reads such a file; mtl plugins lists them")
    return next(iter(found.values()))


def run_dataset(name: str, run: Path | None) -> Dataset:
    """A dataset of a run's configuration.

    Raises:
        UserError: if there is none.
    """
    if run is None or not (run / CONFIG).is_file():
        raise DataError(f"{name}: no such file or folder")
    datasets = load_config(run / CONFIG).config.datasets
    if name not in datasets:
        raise UserError(
            f"{name}: neither a file or folder, nor a dataset of {run / CONFIG}{suggestion(name, datasets)}"
        )
    return datasets[name]


def adjusted(
    name: str,
    recipe: Dataset,
    *,
    detector: Detector | None = None,
    on_error: Literal["stop", "skip"] = "stop",
) -> Dataset:
    """A dataset with what the command line asks for, where it is not the dataset's own way.

    Raises:
        UserError: if the dataset finds no faces, or has them already.
    """
    fields = attrs.fields_dict(type(recipe))
    changes: dict[str, Any] = {"on_error": on_error} if on_error == "skip" and "on_error" in fields else {}
    if detector is not None:
        if "detector" not in fields:
            raise UserError(f"{name}: takes no detector; dataset {recipe.name!r} has no such key")
        changes["detector"] = detector
    try:
        return attrs.evolve(recipe, **changes)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
