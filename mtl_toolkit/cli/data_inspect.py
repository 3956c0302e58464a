"""`mtl data inspect`: datasets in numbers, and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .datasets import chosen_datasets, config_dataset, names_file, plugin_dataset
from .options import config_options, load, picture_name

if TYPE_CHECKING:
    from ..config import Loaded
    from ..data import Description
    from ..plugin import DataFacts
    from ..samples import Samples

Opened = dict[str, tuple["Samples", "DataFacts"]]


@click.command()
@config_options
@click.argument("dataset", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    callback=picture_name,
    help="Also draw class bars and densities to this picture.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(
    *,
    config: Path,
    overrides: tuple[str, ...],
    disabled: tuple[str, ...],
    traceback: bool,  # noqa: ARG001 - read by the entry point
    dataset: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Describe the datasets of CONFIG, or one DATASET of it, without decoding a picture.

    Prints samples, pictures, persons or videos, label coverage, class histograms, ranges, what was left out
    while reading, missing pictures, hashes of labels and split, and what the training and validation of a
    stage share.

    CONFIG may also be the name of a dataset plugin, such as synthetic-faces; its fields are then given with
    --set, as in --set samples=100.
    """
    from ..data import describe

    opened, shared = _open(config, overrides, disabled, dataset)
    described = {name: describe(samples, facts.tasks) for name, (samples, facts) in opened.items()}
    if as_json:
        click.echo(json.dumps(_plain(described, shared), indent=1))
    else:
        for name, description in described.items():
            click.echo("\n".join([*_lines(name, description), ""]))
        for line in shared:
            click.echo(line)
    if output:
        from ..data_figure import draw_datasets

        draw_datasets({name: (samples, facts.tasks) for name, (samples, facts) in opened.items()}, output)
        click.echo(f"{output}: {len(opened)} dataset{'s' if len(opened) != 1 else ''}", err=as_json)


def _open(
    config: Path, overrides: tuple[str, ...], disabled: tuple[str, ...], dataset: str | None
) -> tuple[Opened, list[str]]:
    """The datasets asked for, by name, and what training and validation share."""
    from ..registry import Registry

    if not names_file(config):
        chosen = plugin_dataset(Registry.load(disabled), str(config), overrides, 96)
        return {str(config): (chosen.open(), chosen.facts)}, []
    loaded = load(config, overrides, disabled)
    found = {name: config_dataset(loaded, name) for name in chosen_datasets(loaded, config.name, dataset)}
    opened = {name: (chosen.open(), chosen.facts) for name, chosen in found.items()}
    return opened, [] if dataset else _shared(loaded, opened)


def _shared(loaded: Loaded, opened: Opened) -> list[str]:
    """One line for each training dataset that shares files or groups with a validation one of its stage."""
    from ..data import find_overlap

    lines: dict[str, None] = {}
    config = loaded.config
    split = [
        *((stage.streams, stage.validation) for stage in config.trainings),
        *((stage.fit_on, stage.validation) for stage in config.ensembles),
    ]
    for parts in split:
        train, validation = (
            list(dict.fromkeys(name for feed in feeds for name in feed.datasets)) for feeds in parts
        )
        overlaps = find_overlap(
            [(name, opened[name][0]) for name in train], [(name, opened[name][0]) for name in validation]
        )
        lines |= dict.fromkeys(str(overlap) for overlap in overlaps)
    return list(lines)


def _lines(name: str, found: Description) -> list[str]:
    """A dataset as text."""
    from .check import coverage_text

    size = f"{found.samples:,} samples"
    if found.pictures is not None:
        size += f" in {found.pictures:,} pictures"
    if found.groups is not None:
        size += f", {found.groups:,} groups (persons, videos)"
    lines = [f"{name}: {size}"]
    if set(found.faces) - {1}:
        several = ", ".join(f"{faces}: {count:,}" for faces, count in found.faces.items())
        lines.append(f"  pictures by number of samples: {several}")
    for task, coverage in found.coverage.items():
        text = coverage_text(task, coverage, found.samples)
        lines += [f"  {line}" for line in f"labels {text}".split("\n")]
    lines += [
        f"  labelled for both {one} and {other}: {count:,}" for (one, other), count in found.together.items()
    ]
    lines += [f"  {description}: {count:,}" for description, count in found.counts.items()]
    lines += [f"  {problem}" for problem in found.problems]
    return [*lines, f"  hash of labels {found.hashes['labels']}, of split {found.hashes['split']}"]


def _plain(described: Mapping[str, Description], shared: list[str]) -> dict[str, Any]:
    """The same in plain JSON types."""
    import attrs

    datasets = {}
    for name, found in described.items():
        datasets[name] = attrs.asdict(found) | {
            "together": [{"tasks": list(tasks), "samples": count} for tasks, count in found.together.items()]
        }
    return {"datasets": datasets, "shared": shared}
