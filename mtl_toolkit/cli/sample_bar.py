"""How far a long pass over samples is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET = 60.0  # seconds between lines where there is no bar


class SampleBar:
    """Shows on standard error how many of some samples are done; call it with their number."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.total = total
        self.done = 0
        self.console = console or Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._bar = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,}/{task.total:,} samples"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            auto_refresh=False,  # no thread: processes may be forked while the bar is shown
            disable=not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._first = 0
        self._since = self._spoke = time.monotonic()

    def __enter__(self) -> SampleBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, done: int) -> None:
        """Move on; what is done at the first call was done by an earlier run."""
        self.done = done
        if self._task is None:
            self._task = self._bar.add_task("", total=self.total, completed=done)
            self._first = done
            if done:
                self._say(f"going on at {done:,} of {self.total:,} samples")
        self._bar.update(self._task, completed=done, refresh=True)
        now = time.monotonic()
        if self._bar.disable and now - self._spoke >= QUIET:
            rate = (done - self._first) / max(now - self._since, 1e-9)
            self._say(f"{done:,} of {self.total:,} samples, {rate:,.0f} a second")

    def _say(self, text: str) -> None:
        self._spoke = time.monotonic()
        self.console.print(text, soft_wrap=True)
