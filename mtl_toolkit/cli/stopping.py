"""Commands that stop at once when they are asked to, and clean up on the way out."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


class Stopped(KeyboardInterrupt):
    """A signal asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise `Stopped` at Ctrl-C and at a request to terminate."""

    def handler(number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
