"""`mtl data preview`: a contact sheet."""

from __future__ import annotations

from pathlib import Path

import click

from .datasets import choose
from .options import config_options, picture_name


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

    chosen = choose(config, dataset, overrides, disabled, size=size, purpose="draw")
    samples, heads = chosen.open(), chosen.facts.tasks
    indices = pick(samples, heads, count=count, columns=columns, by=by, seed=seed)
    draw_sheet(samples, heads, indices, columns=columns, path=output)
    click.echo(f"{output}: {len(indices)} of {len(samples):,} samples")
