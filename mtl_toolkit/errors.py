"""Errors meant for the user: one line per problem, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROBLEMS_SHOWN = 20  # problems told in full; the rest are counted


class UserError(Exception):
    """Something the user can mend: a bad configuration, missing data, wrong usage.

    Each problem is one line that says where, the rule, and what was found. The command line prints the
    lines on standard error and leaves with `exit_code`.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ConfigError(UserError):
    """The configuration is wrong; every problem found is listed, in file order."""


class PluginError(UserError):
    """A plugin that is needed is unknown, failed to load, or shares its name with another."""


class DataError(UserError):
    """A dataset cannot be used: a missing file or column, a label outside its range, no samples."""


class RunError(UserError):
    """A run failed after it had started: a full disk, an unreadable picture, a loss that is not finite."""

    exit_code = 1


class UnreadableSampleError(RunError):
    """One sample could not be read; `on_error = "skip"` passes it over and counts it."""


class FileProblems:
    """What is wrong with some files, told file by file in the order in which they come up."""

    def __init__(self) -> None:
        self._found: list[tuple[int, int, str]] = []
        self._files: dict[Path, int] = {}
        self._more = 0

    def add(self, message: str, path: Path, line: int = 0) -> None:
        """Note a problem of a line, or (line 0) of a file or folder as a whole."""
        if len(self._found) >= PROBLEMS_SHOWN:
            self._more += 1
            return
        file = self._files.setdefault(path, len(self._files))
        place = f"{path} line {line}" if line else str(path)
        self._found.append((file, line, f"{place}: {message}"))

    def lines(self) -> list[str]:
        """One line per problem: of each file first those of the whole, then those of its lines, in order."""
        told = [line for _, _, line in sorted(self._found, key=lambda found: found[:2])]
        return [*told, f"... and {self._more} more"] if self._more else told

    def check(self) -> None:
        """Go on only if nothing was found.

        Raises:
            DataError: with all problems.
        """
        if self._found:
            raise DataError(*self.lines())


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, else the list of what there is."""
    names = sorted(set(known))
    folded = {known.casefold(): known for known in reversed(names)}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {folded[near[0]]!r}?"
    if not names:
        return "; there are none"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; there are: {shown}"


def shown(value: Any) -> str:
    """Write a value that was found as a TOML file has it, cut to fit a line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table" if value else "an empty table"
    if isinstance(value, list | tuple):
        inner = ", ".join(shown(item) for item in value[:4])
        return f"[{inner}, ...]" if len(value) > 4 else f"[{inner}]"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}...{text[-10:]}"
