"""`mtl run`: train the stages of a configuration."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import click

from .options import config_options, load


@click.command()
@config_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run directory; default runs/<name>.")
@click.option("--device", help="auto, cpu, cuda or mps.")
@click.option("--fresh", multiple=True, metavar="STAGE", help="Redo a stage and what depends on it.")
def run(
    config: Path,
    overrides: tuple[str, ...],
    disabled: tuple[str, ...],
    traceback: bool,  # noqa: ARG001 - read by the entry point
    output: Path | None,
    device: str | None,
    fresh: tuple[str, ...],
) -> int:
    """Train the stages of CONFIG, and write the run directory.

    Finished stages are skipped and unfinished ones go on where they stopped. Ctrl-C saves and leaves with
    130; run the same command again to go on.
    """
    if device is not None:
        overrides = (*overrides, f'trainer.device="{device}"')
    loaded = load(config, overrides, disabled)
    from ..pipeline import ProgressScreen
    from ..pipeline import run as run_pipeline
    from ..trainer import Interrupted
    from .table import print_report

    output = output or Path("runs") / loaded.config.name
    with ProgressScreen() as screen, stop_on_signals(screen.warn) as stop:
        try:
            report = run_pipeline(loaded, output, fresh=fresh, screen=screen, stop=stop)
        except Interrupted as interrupted:
            screen.warn(f"stopped and saved in {output}; the same command goes on from there")
            return 128 + interrupted.signal
    if not screen.console.quiet:
        print_report(report, output)
    return 0


@contextlib.contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Callable[[], int]]:
    """Turn the first Ctrl-C or termination into a request to stop; a second one stops at once."""
    received: list[int] = []

    def handler(number: int, _frame: FrameType | None) -> None:
        if received:
            raise SystemExit(128 + number)
        received.append(number)
        with contextlib.suppress(RuntimeError):  # the signal came in the middle of a write to the terminal
            say("stopping after this step, to save; once more stops at once without saving")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
