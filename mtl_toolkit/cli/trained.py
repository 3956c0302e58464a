"""What the commands about trained stages share: finding the stage, options, device."""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from ..errors import ConfigError, UserError, suggestion

if TYPE_CHECKING:
    import torch

    from ..plugin import Head, PostProcessor, Predictions, Recipe, Writer
    from ..registry import Registry
    from .sample_bar import SampleBar

R = TypeVar("R", bound="Recipe")
F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen
class StageAt:
    """A trained stage.

    Attributes:
        path: where it is loaded from.
        run: the folder of its run, if it lies in one.
        name: of the stage.
    """

    path: Path
    run: Path | None
    name: str


def find_stage(given: str) -> StageAt:
    """The stage, or repeat of one, that RUN[/STAGE[/REPEAT]] names: of a run alone, the last that trained.

    Raises:
        UserError: if there is none.
    """
    from ..checkpoint import DESCRIPTION
    from ..rundir import CONFIG

    path = Path(given)
    for folder in (path / "best", path):
        if (folder / DESCRIPTION).is_file():
            return _stage_of(path, folder)
    if (path / CONFIG).is_file():
        names = trained_stages(path)
        if not names:
            raise UserError(f"{path}: no stage of this run is trained yet")
        return StageAt(path / names[-1], path, names[-1])
    for run in (path.parent, path.parent.parent):
        if (run / CONFIG).is_file():
            raise UserError(_unknown_stage(run, path.relative_to(run).as_posix()))
    raise UserError(f"{path}: no run and no trained stage there (neither {CONFIG} nor {DESCRIPTION})")


def _stage_of(path: Path, checkpoint: Path) -> StageAt:
    """The stage of a checkpoint, which lies in the stage's folder as `best` or `last`, or anywhere alone."""
    from ..rundir import CONFIG, RECORD

    whole = checkpoint.resolve()  # "." and ".." have names only then
    stage = whole.parent if whole.name in ("best", "last") else whole
    for run in (stage.parent, stage.parent.parent):
        # A repeat lies in the folder of its stage; so does the network of an extract stage, without a record.
        if (run / CONFIG).is_file() and (run == stage.parent or (stage / RECORD).is_file()):
            shown = run if path.is_absolute() else Path(os.path.relpath(run))
            return StageAt(path, shown, stage.relative_to(run).as_posix())
    return StageAt(path, None, stage.name)


def _unknown_stage(run: Path, name: str) -> str:
    known = trained_stages(run)
    if repeats := [other for other in known if other.startswith(f"{name}/")]:
        return f"{run}: stage {name!r} is repeated; name one of {', '.join(repeats)}"
    return f"{run}: there is no trained stage {name!r}{suggestion(name, known)}"


def trained_stages(run: Path) -> list[str]:
    """The stages of a run, and repeats of them, that have a checkpoint, in the order of its configuration."""
    from ..checkpoint import DESCRIPTION
    from ..config import repeat_labels
    from ..config.load import read_toml
    from ..rundir import CONFIG

    names: list[str] = []
    for stage in read_toml(run / CONFIG).get("stages", []):
        labels = repeat_labels(stage.get("folds"), stage.get("seeds", 1))
        names += [f"{stage.get('name')}/{label}" for label, _ in labels] or [str(stage.get("name"))]
    return [name for name in names if (run / name / "best" / DESCRIPTION).is_file()]


def predict_options(command: F) -> F:
    """Options of everything that runs a trained stage."""
    decorators = (
        click.option(
            "--postprocess",
            multiple=True,
            metavar="TASK=PLUGIN",
            help="Smooth a task along each video: va=gaussian, or 'va={type=\"mean\", window=5}'.",
        ),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "bf16", "fp16"]),
            default="fp32",
            show_default=True,
            help="Of the network's arithmetic.",
        ),
        click.option(
            "--batch-size", type=click.IntRange(1), default=128, show_default=True, help="Pictures at a time."
        ),
        click.option(
            "--workers", type=click.IntRange(0), help="Loader processes; default: 0 on the CPU, else 4."
        ),
        click.option(
            "--on-error",
            type=click.Choice(["stop", "skip"]),
            default="stop",
            show_default=True,
            help="What to do about a picture that cannot be read.",
        ),
        click.option(
            "--disable-plugin",
            "disabled",
            multiple=True,
            metavar="DIST:EP",
            help="Switch off an entry point.",
        ),
        click.option("--traceback", is_flag=True, help="Show the traceback of an error."),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def parse_plugin(option: str, text: str, base: type[R], registry: Registry) -> R:
    """A plugin from the command line: its name, or a table `{type = "...", ...}`.

    Raises:
        ConfigError: naming the option, if it is unknown or its fields are wrong.
    """
    from ..config.from_plain import from_plain

    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    try:
        return from_plain(base, value, registry, Path().absolute())
    except ConfigError as error:
        raise ConfigError(
            *(f"{option} {text}: {problem.lstrip(': ')}" for problem in error.problems)
        ) from None


def parse_postprocess(
    options: Sequence[str], heads: Mapping[str, Head], registry: Registry
) -> dict[str, list[PostProcessor]]:
    """Post-processors by task, in the order given.

    Raises:
        ConfigError: if a task or plugin is unknown.
    """
    from ..plugin import PostProcessor

    chains: dict[str, list[PostProcessor]] = {}
    for text in options:
        task, equals, plugin = text.partition("=")
        if not equals:
            raise ConfigError(f"--postprocess {text}: must be TASK=PLUGIN")
        if task.strip() not in heads:
            raise ConfigError(f"--postprocess {text}: unknown task{suggestion(task.strip(), heads)}")
        one = parse_plugin("--postprocess", plugin.strip(), PostProcessor, registry)  # type: ignore[type-abstract]
        chains.setdefault(task.strip(), []).append(one)
    return chains


def parse_writer(text: str, heads: Mapping[str, Head], registry: Registry) -> Writer:
    """The writer that --format names.

    Raises:
        ConfigError: if it is unknown, or cannot write the tasks.
    """
    from ..plugin import Writer

    writer = parse_plugin("--format", text, Writer, registry)  # type: ignore[type-abstract]
    if problems := writer.problems(heads):
        raise ConfigError(*(f"--format {problem}" for problem in problems))
    return writer


def choose_device(device: str, precision: str) -> torch.device:
    """The device to run on.

    Raises:
        ConfigError: if there is no such device, or it cannot do this precision.
    """
    from ..pipeline.device import make_accelerator

    try:
        chosen: torch.device = make_accelerator(device, precision).device
    except ConfigError as error:
        raise ConfigError(*(problem.replace("trainer.", "--") for problem in error.problems)) from None
    return chosen


def loader_processes(workers: int | None, device: torch.device) -> int:
    """As many as asked for; by default none on the CPU."""
    from ..data import allowed_cores

    return workers if workers is not None else 0 if device.type == "cpu" else min(4, allowed_cores())


def counted(blocks: Iterable[Predictions], bar: SampleBar) -> Iterator[Predictions]:
    """Move the bar as blocks go by."""
    done = 0
    bar(done)
    for block in blocks:
        done += len(block)
        bar(done)
        yield block


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[object]:
    """The precision in which the network runs."""
    import torch

    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device, kinds[precision]) if precision in kinds else contextlib.nullcontext()
