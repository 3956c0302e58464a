"""Opening the datasets that a command line names: of a configuration, or of a plugin alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from .options import load

if TYPE_CHECKING:
    from ..config import Loaded
    from ..plugin import DataFacts, Dataset, Head
    from ..registry import Registry
    from ..samples import Samples


@attrs.frozen(eq=False)
class Chosen:
    """A dataset that a command line names, not opened yet.

    Attributes:
        title: the start of messages, '' or with a colon at its end.
        recipe: the dataset.
        facts: what it is to be opened with.
        registry: the plugins there are.
    """

    title: str
    recipe: Dataset
    facts: DataFacts
    registry: Registry

    def open(self) -> Samples:
        """Open it.

        Raises:
            DataError: naming the dataset, if that cannot be done.
        """
        from ..errors import DataError

        try:
            return self.recipe.build(self.facts)
        except DataError as error:
            raise DataError(*(f"{self.title}{problem}" for problem in error.problems)) from error


def choose(
    config: Path,
    dataset: str | None,
    overrides: tuple[str, ...],
    disabled: tuple[str, ...],
    *,
    size: int | None,
    purpose: str,
) -> Chosen:
    """The one dataset that a command line names.

    Args:
        config: the configuration, or the name of a dataset plugin.
        dataset: its name in the configuration; may be left out where that has one only.
        overrides: of the configuration, or the plugin's fields.
        disabled: entry points to switch off.
        size: side of the pictures in pixels; None: as the model's are read, 96 for a plugin.
        purpose: a verb for the message that it must be named.

    Raises:
        UserError: if there is no such dataset, or none is named where there are several.
    """
    from ..errors import UserError
    from ..registry import Registry

    if not names_file(config):
        return plugin_dataset(Registry.load(disabled), str(config), overrides, size or 96)
    loaded = load(config, overrides, disabled)
    names = chosen_datasets(loaded, config.name, dataset)
    if len(names) > 1:
        raise UserError(f"{config.name}: name the DATASET to {purpose}; there are: {', '.join(names)}")
    return config_dataset(loaded, names[0], size)


def names_file(config: Path) -> bool:
    """Whether CONFIG is a file, not the name of a plugin."""
    return config.suffix == ".toml" or config.exists()


def chosen_datasets(loaded: Loaded, title: str, dataset: str | None) -> list[str]:
    """The dataset that is named, or all of a configuration.

    Raises:
        UserError: if there is none of that name.
    """
    from ..errors import UserError, suggestion

    names = list(loaded.config.datasets)
    if dataset is not None and dataset not in names:
        raise UserError(f"{title}: unknown dataset {dataset!r}{suggestion(dataset, names)}")
    return names if dataset is None else [dataset]


def config_dataset(loaded: Loaded, name: str, size: int | None = None) -> Chosen:
    """A dataset of a configuration, for all its tasks."""
    from ..plugin import DataFacts
    from ..plugin.task import labelled_heads

    config = loaded.config
    heads = labelled_heads({task: one.head for task, one in config.tasks.items()})
    facts = DataFacts(heads, size or config.model.read_size, validation=True)
    return Chosen(f"datasets.{name}: ", config.datasets[name], facts, loaded.registry)


def plugin_dataset(registry: Registry, name: str, overrides: tuple[str, ...], size: int) -> Chosen:
    """A dataset plugin by name, with a task for every head that has a default."""
    from ..config.from_plain import from_plain
    from ..config.overrides import apply_override
    from ..plugin import DataFacts, Dataset

    table: dict[str, object] = {"type": registry.plugin("dataset", name).name}
    for override in overrides:
        apply_override(table, override, name)
    recipe = from_plain(Dataset, table, registry, Path().absolute())  # type: ignore[type-abstract]
    return Chosen("", recipe, DataFacts(default_heads(registry), size, validation=True), registry)


def default_heads(registry: Registry) -> Mapping[str, Head]:
    """The heads of labels that need no options, by their own names."""
    from ..config.from_plain import from_plain
    from ..errors import ConfigError
    from ..plugin import Head
    from ..plugin.task import labelled_heads

    heads = {}
    for plugin in registry.of_kind("head"):
        try:
            head = from_plain(Head, {"type": plugin.name}, registry, Path())  # type: ignore[type-abstract]
        except ConfigError:
            continue  # one that must be told its classes says nothing here
        heads[plugin.name] = head
    return labelled_heads(heads)
