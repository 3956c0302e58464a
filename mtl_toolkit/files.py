"""Files that are whole or not there: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import RunError


def write_text(path: Path, text: str) -> None:
    """Replace a text file at once.

    Raises:
        RunError: if it cannot be written; what was there stays.
    """
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Write a new file of any kind, then put it in the place of the old one, which stays if anything fails.

    Raises:
        RunError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file at once."""
    write_text(path, to_json(value))


def to_json(value: Any) -> str:
    """The text of a JSON file; numbers are written so that they read back exactly."""
    return json.dumps(value, indent=1, allow_nan=True) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: if it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None


def file_digest(path: Path) -> str:
    """The start of the SHA-256 of a file's content.

    Raises:
        RunError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Fill a new folder, then put it in the place of the old one, which stays if anything fails.

    Raises:
        RunError: if a file cannot be written.
    """
    temporary, old = _sibling(path, "tmp"), _sibling(path, "old")
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.rglob("*"):
                _sync(file)
            sync_folder(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        recover_folder(path)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Finish or undo a replacement that was cut short between its two renames."""
    old = _sibling(path, "old")
    if old.exists():
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):  # another process has done it just now
                old.rename(path)


@contextlib.contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn a failure to write into one line for the user."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RunError(f"{path}: cannot be saved: {reason}; the last good state on disk is kept") from error


def sync_file(path: Path) -> None:
    """Make what was written to a file last.

    Raises:
        RunError: if that fails.
    """
    with saving(path):
        _sync(path)


def sync_folder(path: Path) -> None:
    """Make renames in a folder last, where the system can (not on Windows)."""
    if os.name == "posix":
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sibling(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}")
