"""Progress on a terminal or in a notebook: a bar where one can be drawn, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..config import AnyStage, EnsembleStage, ExtractStage, Stage
from ..trainer import Progress as Training
from .screen import Screen

QUIET = 60.0  # seconds between lines where there is no bar
REDRAW = 0.2  # seconds between drawings of a notebook's bar


class ProgressScreen(Screen):
    """Shows stages and epochs as lines, and the steps as a bar where one can be drawn.

    Use it in a `with` statement, as `run`'s screen or as a trainer's observer; without the statement there
    are only lines. A notebook shows the bar if ipywidgets is installed. Of several processes only the first
    shows anything.

    Args:
        console: where to; standard error by default, or the cell of a notebook.
        epochs: how many a trainer trains; a run's stages say it themselves.
        select: the metrics that a line shows; empty: all. A run's stages say it themselves.
    """

    def __init__(
        self, console: Console | None = None, *, epochs: int | None = None, select: Collection[str] = ()
    ) -> None:
        self._epochs, self._select = epochs, tuple(select)
        self._dataset = ""
        self.console = console or _console()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            # In a notebook, lines said while a thread draws the bar would vanish with the bar's widget.
            auto_refresh=not self.console.is_jupyter,
            disable=not _draws(self.console),
            # On a terminal, printed lines go above the bar. In a file they stay, whatever the console is.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._task: TaskID | None = None
        self._rows = 0
        self._since = self._spoke = self._drawn = time.monotonic()

    def __enter__(self) -> ProgressScreen:
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
        epoch = self._epoch(progress.epoch + 1)
        if self._bar.disable:
            if now - self._spoke >= QUIET:
                self._say(f"  {epoch}  step {progress.step:,}/{steps:,}  {rate}")
            return
        total = steps * (self._epochs or 1)
        done = progress.step + (progress.epoch * steps if self._epochs else 0)
        if self._task is None:
            # What an earlier run has done is no measure of this one's speed.
            self._task = self._bar.add_task(epoch, total=total, completed=done - 1, rate="", unit="steps")
        self._move_bar(self._task, description=epoch, completed=done, rate=rate)

    def epoch_done(self, progress: Training, record: Mapping[str, Any]) -> None:
        """A line with the losses, the metrics that count, the rate and the time left."""
        elapsed, metrics = time.monotonic() - self._since, record["metrics"]
        chosen = {name: metrics[name] for name in metrics if name in self._select or not self._select}
        parts = [
            self._epoch(record["epoch"]),
            f"loss {record['losses'].get('total', 0):.3f}",
            *(f"{name} {value:.3f}" for name, value in chosen.items()),
            f"{self._rows / max(elapsed, 1e-9):,.0f} samples/s",
        ]
        if self._epochs:
            parts.append(f"{duration(elapsed * (self._epochs - record['epoch']))} left")
        else:
            self._end_task()
        if progress.skipped:
            parts.append(f"{progress.skipped} unreadable samples skipped")
        if chosen and self._select and progress.best_epoch == record["epoch"]:
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
            self._move_bar(self._task, completed=done, rate=rate)
        if done == total:
            self._dataset = ""
            self._end_task()
            self._say(f"  {total:,} samples  {rate}")
        elif self._bar.disable and time.monotonic() - self._spoke >= QUIET:
            self._say(f"  {done:,}/{total:,}  {rate}")

    def combining(self, stage: EnsembleStage, members: Sequence[str]) -> None:
        """A heading."""
        self._say(f"{stage.name}: ensemble of {', '.join(members)}", "bold")

    def combined(
        self, stage: EnsembleStage, metrics: Mapping[str, float], select: Mapping[str, float]
    ) -> None:
        """A line with the metrics that count."""
        chosen = {name: value for name, value in metrics.items() if name in select or not select}
        self._say("  " + "  ".join(f"{name} {value:.3f}" for name, value in chosen.items()))

    def warn(self, message: str) -> None:
        """A line."""
        self._say(message, "yellow")

    def _epoch(self, number: int) -> str:
        return f"epoch {number}/{self._epochs}" if self._epochs else f"epoch {number}"

    def _move_bar(self, task: TaskID, **changes: Any) -> None:
        now = time.monotonic()
        due = self.console.is_jupyter and now - self._drawn >= REDRAW
        self._drawn = now if due else self._drawn
        self._bar.update(task, refresh=due, **changes)

    def _end_task(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def _say(self, text: str, style: str | None = None) -> None:
        self._spoke = time.monotonic()
        self.console.print(text, style=style, highlight=False, soft_wrap=True)

    def _restart_clock(self) -> None:
        self._rows, self._since = 0, time.monotonic()


def _console() -> Console:
    """Standard error, of the first of several processes."""
    quiet = int(os.environ.get("RANK", "0")) > 0
    return Console(stderr=True, quiet=quiet, markup=False, emoji=False)


def _draws(console: Console) -> bool:
    """Whether a bar can be drawn: rich needs ipywidgets for it in a notebook."""
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return console.is_terminal and not console.quiet


def duration(seconds: float) -> str:
    """1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
