"""Errors meant for the user: one line per problem, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


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
