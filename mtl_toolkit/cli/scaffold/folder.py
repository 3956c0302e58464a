"""A new folder that is there with all its files, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ...errors import ConfigError, RunError
from ...files import sync_file, sync_folder


def folder_problem(path: Path) -> str | None:
    """Say why a folder cannot be made at a place."""
    if os.path.lexists(path):
        what = "a folder" if path.is_dir() else "a link" if path.is_symlink() else "a file"
        return f"{path}: must not exist yet (got {what})"
    if not path.parent.is_dir():
        return f"{path}: the folder that it is made in must exist (got '{path.parent}')"
    return None


def write_folder(path: Path, files: Mapping[PurePosixPath, str]) -> None:
    """Write text files into a new folder; whatever stops it in between, nothing is left.

    Raises:
        ConfigError: if something of that name exists.
        RunError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        _fill(temporary, files)
        if problem := folder_problem(path):  # it may have come up meanwhile
            raise ConfigError(problem)
        temporary.rename(path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)


def _fill(folder: Path, files: Mapping[PurePosixPath, str]) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
        sync_file(file)
    for inner in (folder, *(one for one in folder.rglob("*") if one.is_dir())):
        sync_folder(inner)
