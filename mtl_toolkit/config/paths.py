"""Paths in a configuration."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .problems import Problems


def expand_path(text: str, base: Path) -> Path:
    """Expand `~` and `${VAR}`; a relative path is taken from `base`.

    Raises:
        Problems: if the text is empty, or a variable is not set.
    """
    if not text:
        raise Problems.one("must not be empty (got '')")

    def variable(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise Problems.one(f"the environment variable {name} is not set (got {text!r})")
        return os.environ[name]

    expanded = re.sub(r"\$\{(\w+)\}", variable, text)
    try:
        path = Path(expanded).expanduser()
    except RuntimeError:
        raise Problems.one(f"there is no such home directory (got {text!r})") from None
    return Path(os.path.normpath(base / path))
