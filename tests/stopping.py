"""A request to stop that comes at a moment chosen beforehand."""

from __future__ import annotations

from collections.abc import Callable


def stop_after(times: int) -> Callable[[], int]:
    """Signal 2 when asked for the `times`-th time, and only then; 0 otherwise."""
    asked = 0

    def stop() -> int:
        nonlocal asked
        asked += 1
        return 2 if asked == times else 0

    return stop
