"""The run directory: resolved configuration, report, and per stage a log and two checkpoints."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from .errors import ConfigError
from .files import read_json, recover_folder, saving, write_json, write_text

REPORT, PAGE, CONFIG = "report.json", "report.html", "config.toml"
RECORD, LOG = "stage.json", "log.jsonl"
END = sys.maxsize  # the place of an epoch's own record, after all of its steps


@attrs.frozen
class StageDirectory:
    """The folder of one stage."""

    path: Path

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.path / "best"

    @property
    def last(self) -> Path:
        """The checkpoint that training goes on from."""
        return self.path / "last"

    def record(self) -> dict[str, Any] | None:
        """What the stage was made from, and its result once it is finished."""
        file = self.path / RECORD
        return dict(read_json(file)) if file.exists() else None

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Say what the stage is made from."""
        write_json(self.path / RECORD, record)

    def resumable(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        recover_folder(self.last)
        return self.last.is_dir()

    def log(self, line: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        with saving(self.path / LOG):
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def log_lines(self) -> list[dict[str, Any]]:
        """The log, without a last line that was cut short."""
        file = self.path / LOG
        lines = []
        for text in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
        return lines

    def clear(self) -> None:
        """Remove the log and the best checkpoint of an attempt that cannot be gone on from."""
        (self.path / LOG).unlink(missing_ok=True)
        shutil.rmtree(self.best, ignore_errors=True)

    def epochs(self) -> list[dict[str, Any]]:
        """The log's records of finished epochs."""
        return [line for line in self.log_lines() if "metrics" in line]

    def rewind_log(self, epoch: int, step: int) -> None:
        """Drop lines written after the checkpoint at (epoch, step), epochs counted from 1."""
        kept = [line for line in self.log_lines() if (line["epoch"], line.get("step", END)) <= (epoch, step)]
        write_text(self.path / LOG, "".join(json.dumps(line) + "\n" for line in kept))


@attrs.frozen
class RunDirectory:
    """The folder of a run."""

    path: Path

    def stage(self, name: str) -> StageDirectory:
        """The folder of a stage, or of one of its repeats ("<stage>/seed-1")."""
        return StageDirectory(self.path / name)

    def repeats(self, name: str) -> list[str]:
        """The names of a stage's repeats that have begun, in no order that means anything."""
        found = (self.path / name).glob(f"*/{RECORD}")
        return sorted(f"{name}/{file.parent.name}" for file in found)

    def write_config(self, text: str) -> None:
        """Keep the resolved configuration."""
        write_text(self.path / CONFIG, text)

    def report(self) -> dict[str, Any]:
        """The report so far; {} before the first."""
        file = self.path / REPORT
        return dict(read_json(file)) if file.exists() else {}

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Replace the report."""
        write_json(self.path / REPORT, report)

    def write_page(self, page: str) -> None:
        """Replace the report's page."""
        write_text(self.path / PAGE, page)

    def check_writable(self) -> None:
        """Fail early.

        Raises:
            ConfigError: if the folder cannot be made or written to.
        """
        probe = self.path / ".writable"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written to: {error.strerror}") from None


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Say where two records differ, one line per value: "key.path: 1 -> 2"."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in dict.fromkeys([*old, *new]):
            found += differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line
            for place, (one, other) in enumerate(zip(old, new, strict=True))
            for line in differences(one, other, f"{path}[{place}]")
        ]
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
