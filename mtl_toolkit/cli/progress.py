"""A run's progress on the terminal: live where it is one, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..config import AnyStage, Config, ExtractStage, Stage
from ..pipeline import Screen
from ..trainer import Progress as Training

QUIET = 60.0  # seconds between lines where there is no bar


def make_screen(config: Config) -> TerminalScreen:
    """A screen for this process: only the first of several shows anything."""
    main = int(os.environ.get("RANK", "0")) == 0
    console = Console(stderr=True, quiet=not main, markup=False, emoji=False)
    return TerminalScreen(config, console, main=main)


class TerminalScreen(Screen):
    """Shows stages and epochs as lines, and the steps of an epoch as a bar where the terminal can."""

    def __init__(self, config: Config, console: Console, *, main: bool) -> None:
        self._epochs, self._select = 0, tuple[str, ...]()
        for stage in config.trainings[:1]:
            self._epochs, self._select = stage.epochs, tuple(stage.select)
        self._dataset = ""
        self.console = console
        self.main = main
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (console.is_terminal and main),
        )
        self._task: TaskID | None = None
        self._rows = 0
        self._since = self._spoke = time.monotonic()

    def __enter__(self) -> TerminalScreen:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage_started(self, stage: Stage, progress: Training) -> None:
        """A heading."""
        streams = ", ".join(f"{s.title} ({s.task})" for s in stage.streams)
        resumed = f", going on at epoch {progress.epoch + 1} step {progress.step}" if progress.samples else ""
        epochs = "1 epoch" if stage.epochs == 1 else f"{stage.epochs} epochs"
        self._say(f"{stage.name}: {epochs} on {streams}{resumed}", "bold")
        self._epochs, self._select = stage.epochs, tuple(stage.select)
        self._restart_clock()

    def stage_skipped(self, stage: AnyStage) -> None:
        """A line."""
        self._say(f"{stage.name}: already finished, skipped", "bold")

    def step_done(self, progress: Training, steps: int, rows: int) -> None:
        """Move the bar; without one, a line from time to time."""
        now = time.monotonic()
        self._rows += rows
        rate = f"{self._rows / max(now - self._since, 1e-9):,.0f} samples/s"
        epoch = f"epoch {progress.epoch + 1}/{self._epochs}"
        if self._bar.disable:
            if now - self._spoke >= QUIET:
                self._say(f"  {epoch}  step {progress.step:,}/{steps:,}  {rate}")
            return
        done = progress.epoch * steps + progress.step
        if self._task is None:
            # What an earlier run has done is no measure of this one's speed.
            self._task = self._bar.add_task(
                epoch, total=steps * self._epochs, completed=done - 1, rate="", unit="steps"
            )
        self._bar.update(self._task, description=epoch, completed=done, rate=rate)

    def epoch_done(self, progress: Training, record: Mapping[str, Any]) -> None:
        """A line with the losses, the metrics that count, the rate and the time left."""
        elapsed = time.monotonic() - self._since
        left = elapsed * (self._epochs - record["epoch"])
        chosen = {name: value for name, value in record["metrics"].items() if name in self._select}
        parts = [
            f"epoch {record['epoch']}/{self._epochs}",
            f"loss {record['losses'].get('total', 0):.3f}",
            *(f"{name} {value:.3f}" for name, value in chosen.items()),
            f"{self._rows / max(elapsed, 1e-9):,.0f} samples/s",
            f"{duration(left)} left",
        ]
        if progress.skipped:
            parts.append(f"{progress.skipped} unreadable samples skipped")
        if chosen and progress.best_epoch == record["epoch"]:
            parts.append("*")
        self._say("  " + "  ".join(parts))
        self._restart_clock()

    def stage_finished(self, stage: Stage, progress: Training) -> None:
        """A line, and no bar."""
        self._end_task()
        self._say(f"  best epoch {progress.best_epoch}, {duration(progress.seconds)}")

    def extracting(self, stage: ExtractStage, dataset: str, done: int, total: int) -> None:
        """Move the bar; without one, a line from time to time, and one at the end."""
        if dataset != self._dataset:
            self._dataset = dataset
            self._say(f"{stage.name}: features of {dataset}, {total:,} samples", "bold")
            self._restart_clock()
            if not self._bar.disable:
                self._task = self._bar.add_task(dataset, total=total, unit="samples", rate="")
            self._rows = -done
        rate = f"{(self._rows + done) / max(time.monotonic() - self._since, 1e-9):,.0f} samples/s"
        if self._task is not None:
            self._bar.update(self._task, completed=done, rate=rate)
        if done == total:
            self._dataset = ""
            self._end_task()
            self._say(f"  {total:,} samples  {rate}")
        elif self._bar.disable and time.monotonic() - self._spoke >= QUIET:
            self._say(f"  {done:,}/{total:,}  {rate}")

    def warn(self, message: str) -> None:
        """A line."""
        self._say(message, "yellow")

    def _end_task(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def _say(self, text: str, style: str | None = None) -> None:
        self._spoke = time.monotonic()
        self.console.print(text, style=style, highlight=False, soft_wrap=True)

    def _restart_clock(self) -> None:
        self._rows, self._since = 0, time.monotonic()


def duration(seconds: float) -> str:
    """1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
