"""`mtl data`: look at datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import config_options, load

if TYPE_CHECKING:
    from ..config import Loaded
    from ..plugin import DataFacts, Samples

PICTURES = (".png", ".jpg", ".pdf", ".svg")


def _picture_name(_context: click.Context, _parameter: click.Parameter, path: Path) -> Path:
    """Refuse a file that is no picture by its name, before anything is read."""
    if path.suffix.lower() not in PICTURES:
        raise click.BadParameter(f"must end in {', '.join(PICTURES)} (got {str(path)!r})")
    return path


@click.group()
def data() -> None:
    """Look at datasets."""


@data.command()
@config_options
@click.argument("dataset", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("sheet.png"),
    show_default=True,
    callback=_picture_name,
    help="Picture to write.",
)
@click.option("-n", "--count", type=click.IntRange(1, 400), default=48, show_default=True, help="Pictures.")
@click.option("--columns", type=click.IntRange(1, 40), default=8, show_default=True)
@click.option("--size", type=click.IntRange(16, 512), help="Side in pixels; default: the model's image size.")
@click.option("--by", metavar="TASK", help="One row per class (or stratum) of this task.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed picks other samples.")
def preview(
    *,
    config: Path,
    overrides: tuple[str, ...],
    disabled: tuple[str, ...],
    traceback: bool,  # noqa: ARG001 - read by the entry point
    dataset: str | None,
    output: Path,
    count: int,
    columns: int,
    size: int | None,
    by: str | None,
    seed: int,
) -> None:
    """Draw a contact sheet of a DATASET of CONFIG, with its labels.

    CONFIG may also be the name of a dataset plugin, such as synthetic-faces; its fields are then given with
    --set, as in --set samples=100.
    """
    from ..contact_sheet import draw_sheet, pick

    samples, facts = (
        _from_config(load(config, overrides, disabled), config.name, dataset, size)
        if config.suffix == ".toml" or config.exists()
        else _from_plugin(str(config), overrides, disabled, size or 96)
    )
    chosen = pick(samples, facts.tasks, count=count, columns=columns, by=by, seed=seed)
    draw_sheet(samples, facts.tasks, chosen, columns=columns, path=output)
    click.echo(f"{output}: {len(chosen)} of {len(samples):,} samples")


def _from_config(
    loaded: Loaded, title: str, dataset: str | None, size: int | None
) -> tuple[Samples, DataFacts]:
    from ..errors import UserError, suggestion
    from ..plugin import DataFacts

    config = loaded.config
    names = list(config.datasets)
    if dataset is None and len(names) > 1:
        raise UserError(f"{title}: name the DATASET to draw; there are: {', '.join(names)}")
    if dataset is not None and dataset not in names:
        raise UserError(f"{title}: unknown dataset {dataset!r}{suggestion(dataset, names)}")
    heads = {name: task.head for name, task in config.tasks.items() if not task.head.members}
    facts = DataFacts(heads, size or config.model.read_size, validation=True)
    return config.datasets[dataset or names[0]].build(facts), facts


def _from_plugin(
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
