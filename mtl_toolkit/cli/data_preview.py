"""`mtl data preview`: a contact sheet."""

from __future__ import annotations

from pathlib import Path

import click

from .datasets import chosen_datasets, from_config, from_plugin, names_file
from .options import config_options, load, picture_name


@click.command()
@config_options
@click.argument("dataset", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("sheet.png"),
    show_default=True,
    callback=picture_name,
    help="Picture to write.",
)
@click.option("-n", "--count", type=click.IntRange(1, 400), default=48, show_default=True, help="Pictures.")
@click.option("--columns", type=click.IntRange(1, 40), default=8, show_default=True)
@click.option(
    "--size", type=click.IntRange(16, 512), help="Side in pixels; default: as the model's pictures are read."
)
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
    from ..errors import UserError

    if names_file(config):
        loaded = load(config, overrides, disabled)
        names = chosen_datasets(loaded, config.name, dataset)
        if len(names) > 1:
            raise UserError(f"{config.name}: name the DATASET to draw; there are: {', '.join(names)}")
        samples, facts = from_config(loaded, names[0], size)
    else:
        samples, facts = from_plugin(str(config), overrides, disabled, size or 96)
    chosen = pick(samples, facts.tasks, count=count, columns=columns, by=by, seed=seed)
    draw_sheet(samples, facts.tasks, chosen, columns=columns, path=output)
    click.echo(f"{output}: {len(chosen)} of {len(samples):,} samples")
