"""`mtl predict`: a trained stage over pictures, folders, tables and videos."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from .stopping import Stopped, stop_on_signals
from .trained import (
    autocast,
    choose_device,
    counted,
    find_stage,
    loader_processes,
    parse_plugin,
    parse_postprocess,
    parse_writer,
    predict_options,
)

if TYPE_CHECKING:
    from ..plugin import Listing, Predictions, Writer


@click.command()
@click.argument("run", metavar="RUN[/STAGE]")
@click.argument("given", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="CSV file to write, or what --format writes.",
)
@click.option(
    "--format",
    "format_",
    metavar="WRITER",
    help="Writer plugin, as mtl plugins lists them; default: a CSV table with named columns.",
)
@click.option(
    "--list",
    "listing",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Test list: pictures or videos to write, one a line, in this order.",
)
@click.option(
    "--detector", metavar="PLUGIN", help="Find the face in each picture; default: the whole picture."
)
@predict_options
def predict(
    *,
    run: str,
    given: str,
    output: Path,
    format_: str | None,
    listing: Path | None,
    detector: str | None,
    postprocess: tuple[str, ...],
    device: str,
    precision: str,
    batch_size: int,
    workers: int | None,
    on_error: str,
    disabled: tuple[str, ...],
    traceback: bool,  # noqa: ARG001 - read by the entry point
) -> int:
    """Predict INPUT with a trained stage, and write a row per picture or frame.

    INPUT is a picture, a folder, a table (CSV), a packed file (HDF5), a video file, a list of videos (a .txt
    file with one path a line), or the name of a dataset in the run's configuration. Of a run the last stage
    is taken.

    A frame without a face, or that cannot be read with --on-error skip, has a row with empty cells; with
    --format or --list it repeats the nearest earlier frame of its video. OUTPUT appears when it is complete.
    """
    from ..pipeline import load_stage
    from ..plugin import Detector
    from ..prediction import fill, open_input, outline, parse_listing
    from ..prediction import predict as run_stage
    from ..registry import Registry
    from .sample_bar import SampleBar

    if format_ is None and output.is_dir():
        raise UserError(f"--output {output}: is a folder; name the file to write")
    place = find_stage(run)
    registry = Registry.load(disabled)
    stage = load_stage(place.path, registry)
    chosen = choose_device(device, precision)
    writer = None if format_ is None else parse_writer(format_, stage.predicted, registry)
    chains = parse_postprocess(postprocess, stage.predicted, registry)
    wanted = None if listing is None else parse_listing(listing)
    finder = None if detector is None else parse_plugin("--detector", detector, Detector, registry)  # type: ignore[type-abstract]
    samples = open_input(
        stage,
        given,
        registry,
        run=place.run,
        detector=finder,
        on_error="skip" if on_error == "skip" else "stop",
    )
    if wanted is not None:
        fill(outline(samples), wanted)  # what is not there at all is told now, not when all is predicted
    with stop_on_signals(), SampleBar(len(samples)) as bar, autocast(chosen.type, precision):
        blocks = run_stage(
            stage,
            samples,
            device=chosen,
            batch_size=batch_size,
            workers=loader_processes(workers, chosen),
            postprocess=chains,
        )
        try:
            lines = write_blocks(counted(blocks, bar), output, writer, wanted)
        except Stopped as stopped:
            bar.console.print(f"stopped at {bar.done:,} of {bar.total:,} samples; nothing is written")
            return 128 + stopped.number
    for line in lines[:-1]:
        click.echo(line)
    click.echo(f"{lines[-1]}, predicted by {place.name}")
    return 0


def write_blocks(
    blocks: Iterable[Predictions], output: Path, writer: Writer | None, wanted: Listing | None
) -> list[str]:
    """Write predictions; with a format or a test list after filling rows without one.

    Returns:
        What to tell the user; the last line says what was written.
    """
    from ..evaluation import PredictionCsv
    from ..prediction import as_pictures, fill, joined

    lines: list[str] = []
    if writer is None and wanted is None:
        rows = blank = 0
        blocks = iter(blocks)
        first = next(blocks)
        with PredictionCsv(output, first.heads) as file:
            for block in itertools.chain([first], blocks):
                file.write(block)
                rows, blank = rows + len(block), blank + int((~block.faces).sum())
        if blank:
            lines.append(
                f"{_count(blank, 'row')} without values: no face was found, or the picture cannot be read"
            )
        return [*lines, f"{output}: {_count(rows, 'row')}"]
    predictions, filled = fill(joined(list(blocks)), wanted)
    if filled.earlier or filled.later:
        lines.append(
            f"{_count(filled.earlier + filled.later, 'row')} filled from other frames: "
            f"{filled.earlier:,} from the nearest earlier one"
            + (f", {filled.later:,} at a video's start from the nearest later one" if filled.later else "")
        )
    if filled.unlisted:
        lines.append(f"{_count(filled.unlisted, 'prediction')} left out: not on the list")
    if writer is None:
        with PredictionCsv(output, predictions.heads) as file:
            file.write(predictions)
        return [*lines, f"{output}: {_count(len(predictions), 'row')}"]
    # What is on a list keeps the name that it has there.
    files = writer.write(output, predictions if wanted else as_pictures(predictions))
    more = f" in {len(files):,} files" if len(files) > 1 else ""
    return [*lines, f"{output}: {_count(len(predictions), 'row')}{more}"]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
