"""Opening the datasets that a command line names: of a configuration, or of a plugin alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import Loaded
    from ..plugin import DataFacts, Samples


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


def from_config(loaded: Loaded, name: str, size: int | None = None) -> tuple[Samples, DataFacts]:
    """Open a dataset of a configuration, for all its tasks.

    Raises:
        DataError: naming the dataset, if it cannot be opened.
    """
    from ..errors import DataError
    from ..plugin import DataFacts

    config = loaded.config
    heads = {name: task.head for name, task in config.tasks.items() if not task.head.members}
    facts = DataFacts(heads, size or config.model.read_size, validation=True)
    try:
        return config.datasets[name].build(facts), facts
    except DataError as error:
        raise DataError(*(f"datasets.{name}: {problem}" for problem in error.problems)) from error


def from_plugin(
    name: str, overrides: tuple[str, ...], disabled: tuple[str, ...], size: int
) -> tuple[Samples, DataFacts]:
    """A dataset plugin by name, with a task for every head that has a default."""
    from ..config.from_plain import from_plain
    from ..config.overrides import apply_override
    from ..errors import ConfigError
    from ..plugin import DataFacts, Dataset, Head
    from ..registry import Registry

    registry = Registry.load(disabled)
    table: dict[str, object] = {"type": registry.plugin("dataset", name).name}
    for override in overrides:
        apply_override(table, override, name)
    heads = {}
    for plugin in registry.of_kind("head"):
        try:
            head = from_plain(Head, {"type": plugin.name}, registry, Path())  # type: ignore[type-abstract]
        except ConfigError:
            continue  # a head that must be told its classes says nothing here
        if not head.members:
            heads[plugin.name] = head
    facts = DataFacts(heads, size, validation=True)
    dataset = from_plain(Dataset, table, registry, Path().absolute())  # type: ignore[type-abstract]
    return dataset.build(facts), facts
