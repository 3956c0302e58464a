"""Processes that see different run directories are refused instead of waiting for each other."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mtl_toolkit import ConfigError
from mtl_toolkit.pipeline.one_folder import check_one_folder
from mtl_toolkit.rundir import RunDirectory


def processes(others):
    """A process among others, of which some see the file (1) and some do not (0)."""
    return SimpleNamespace(
        num_processes=1 + len(others), device=torch.device("cpu"), reduce=lambda seen, _: seen + sum(others)
    )


def test_one_process_looks_at_nothing(tmp_path):
    check_one_folder(RunDirectory(tmp_path / "none"), "x", processes([]))


def test_what_all_processes_see_is_accepted(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.write_config("x = 1\n")
    check_one_folder(directory, "x = 1\n", processes([1]), patience=0)


@pytest.mark.parametrize(("written", "others", "seen"), [("x = 1\n", [0, 1], 2), ("y = 1\n", [1, 1], 2)])
def test_a_process_that_does_not_see_it_stops_all_of_them(tmp_path, written, others, seen):
    """A configuration that an earlier run has left in a folder of its own is not what was written."""
    directory = RunDirectory(tmp_path)
    directory.write_config(written)
    with pytest.raises(ConfigError, match=rf"must be one folder .*\({seen} of 3 processes see"):
        check_one_folder(directory, "x = 1\n", processes(others), patience=0)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ESTALE])
def test_a_process_that_cannot_read_it_stops_all_of_them(tmp_path, monkeypatch, number):
    """It must not leave alone: the others wait for what it sees."""

    def fail(self, **_):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "read_text", fail)
    with pytest.raises(ConfigError, match=r"\(2 of 3 processes see"):
        check_one_folder(RunDirectory(tmp_path), "x = 1\n", processes([1, 1]), patience=0)


def test_a_file_system_may_take_its_time(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    later = threading.Timer(0.3, directory.write_config, ["x = 1\n"])
    later.start()
    check_one_folder(directory, "x = 1\n", processes([1]), patience=30)
    later.join()
