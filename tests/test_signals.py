"""Ctrl-C and requests to terminate: saved, one line, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow  # each starts the command line anew, some twice

# Long enough that it is still at it when the signal comes.
LONG = ("--set", "defaults.epochs=60")


def start(config, output, *arguments):
    command = [sys.executable, "-m", "mtl_toolkit", "run", str(config), "-o", str(output), *arguments]
    return subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def wait_for(process, text):
    """The lines on standard error up to the first that holds a text."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    process.stderr.close()
    raise AssertionError("".join(lines))


def to_the_group(process, number):
    os.killpg(process.pid, number)


def rest_of(process):
    with process:
        return process.wait(timeout=120), process.stderr.read()


@pytest.mark.parametrize(("number", "code", "workers"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 2)])
def test_a_signal_saves_and_leaves_and_the_same_command_goes_on(tiny, tmp_path, number, code, workers):
    options = ("--set", "defaults.epochs=4", "--set", f"trainer.workers={workers}")
    process = start(tiny, tmp_path / "run", *options)
    wait_for(process, "epoch 1/4")
    to_the_group(process, number)
    found, errors = rest_of(process)
    assert found == code
    assert f"stopped and saved in {tmp_path / 'run'}; the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run" / "report.html").exists()

    process = start(tiny, tmp_path / "run", *options)
    found, errors = rest_of(process)
    assert (found, "Traceback" in errors) == (0, False)
    assert "going on at epoch" in errors
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [(stage["name"], stage["epochs"]) for stage in report["stages"]] == [
        ("teacher", 4),
        ("student", 4),
    ]


@pytest.mark.parametrize(("second", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_leaves_at_once(tiny, tmp_path, second, code):
    # Steps of thousands of rows, so that the first is still at work when the second comes.
    heavy = (
        "--set",
        "datasets.a.samples=20000",
        "--set",
        "stages.teacher.streams=[{ dataset = 'a', task = 'expr', batch_size = 20000 }]",
        "--set",
        "model.image_size=64",
    )
    process = start(tiny, tmp_path / "run", *heavy)
    wait_for(process, "teacher: 3 epochs")
    to_the_group(process, signal.SIGINT)
    wait_for(process, "stopping after this step, to save; once more stops at once without saving")
    started = time.monotonic()
    to_the_group(process, second)
    found, errors = rest_of(process)
    assert found == code
    assert time.monotonic() - started < 5
    assert "Traceback" not in errors
    assert not (tmp_path / "run" / "teacher" / "last").exists()


def test_a_kill_without_warning_loses_no_more_than_the_epoch(tiny, tmp_path):
    process = start(tiny, tmp_path / "run", *LONG)
    wait_for(process, "epoch 2/60")
    to_the_group(process, signal.SIGKILL)
    rest_of(process)
    process = start(tiny, tmp_path / "run", *LONG)
    lines = wait_for(process, "going on at epoch")
    to_the_group(process, signal.SIGKILL)
    rest_of(process)
    assert int(lines[-1].split("going on at epoch ")[1].split()[0]) >= 2
