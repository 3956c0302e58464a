"""The hooks, and the records that lifecycle hooks receive."""

from __future__ import annotations

import inspect
from typing import Any

from mtl_toolkit import hookspecs

from .docstrings import docstring, signature


def hooks_page() -> str:
    """All hooks with their signatures, then the records."""
    text = "# Hooks\n\nImplement any of these with `@hookimpl` in the module of an entry point.\n\n"
    records: dict[str, Any] = {}
    for name, hook in vars(hookspecs).items():
        if name.startswith("mtl_"):
            text += f"## `{name}{inspect.signature(hook)}`\n\n{docstring(hook)}\n\n".replace("'", "")
            for parameter in inspect.signature(hook).parameters.values():
                record = getattr(hookspecs, str(parameter.annotation))
                records[record.__name__] = record
    for name, record in records.items():
        text += f"## {name}\n\n```py\n{signature(name, record)}\n```\n\n{docstring(record)}\n\n"
    return text
