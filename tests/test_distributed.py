"""Two processes compute what one does: losses, gradients, metrics, and one run directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Packages

# Without batch statistics and dropout a step does not depend on how its rows are split.
SAME = (
    "tasks.expr.head.hidden=0",
    "tasks.expr.head.dropout=0",
    "tasks.va.head.hidden=0",
    "tasks.va.head.dropout=0",
    "model.backbone.freeze='batch-norm'",
)

# Prints what it hears, whatever process it is in.
EAR = """
from mtl_toolkit import hookimpl

@hookimpl
def mtl_stage_finished(event):
    print("heard of", event.stage, flush=True)
"""

# The command line, where each process has a run directory of its own and little patience.
APART = """
import functools, os, sys
from mtl_toolkit.cli import entry
from mtl_toolkit.pipeline import runner

runner.check_one_folder = functools.partial(runner.check_one_folder, patience=0.5)
sys.argv += ["--output", os.environ["RANK"]]
entry()
"""


def torchrun(processes, *arguments, folder):
    """Start processes in a folder; plugins that lie there are found."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )


def launch(config, output, processes, *overrides):
    options = [part for override in (*SAME, *overrides) for part in ("--set", override)]
    arguments = ["-m", "mtl_toolkit", "run", str(config), "--output", str(output), *options]
    done = torchrun(processes, *arguments, folder=config.parent)
    assert done.returncode == 0, done.stderr
    return done


def epochs(directory, stage):
    lines = [json.loads(line) for line in (directory / stage / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "metrics" in line]


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tiny_text):
    """The same job in one process and in two; `b` gives one row a step, so that one rank has none."""
    folder = tmp_path_factory.mktemp("distributed")
    config = folder / "tiny.toml"
    config.write_text(tiny_text.replace('task = "va", batch_size = 8', 'task = "va", batch_size = 1'))
    with pytest.MonkeyPatch.context() as patch:
        Packages(folder, patch).add("ear", {"ear": EAR})
    one, two = folder / "one", folder / "two"
    launch(config, one, 1)
    done = launch(config, two, 2)
    return one, two, done


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_losses_and_metrics_of_two_processes_equal_those_of_one(pair, stage):
    one, two, _ = pair
    alone, together = epochs(one, stage), epochs(two, stage)
    assert len(alone) == len(together) == 3
    for left, right in zip(alone, together, strict=True):
        assert right["losses"] == pytest.approx(left["losses"], rel=1e-4, abs=1e-4)
        assert right["metrics"] == pytest.approx(left["metrics"], rel=1e-4, abs=1e-4)


def test_gradients_of_two_processes_equal_those_of_one(tmp_path, tiny):
    """One step of plain gradient descent with rate 1: the weights differ by the gradients' difference."""
    tiny.write_text(tiny.read_text().replace('task = "va", batch_size = 8', 'task = "va", batch_size = 1'))
    one_step = (
        "defaults.optimizer={ type = 'SGD', lr = 1.0 }",
        "defaults.scheduler={}",
        "defaults.epochs=1",
        "defaults.epoch_length=1",
    )
    weights = []
    for processes in (1, 2):
        launch(tiny, tmp_path / str(processes), processes, *one_step)
        weights.append(load_file(tmp_path / str(processes) / "teacher" / "last" / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_climbs_and_averages_of_two_processes_equal_those_of_one(tmp_path, tiny):
    """Sharpness-aware steps need the gradient of all rows before they climb."""
    tiny.write_text(tiny.read_text().replace('task = "va", batch_size = 8', 'task = "va", batch_size = 1'))
    short = (
        "stages=[{ name = 'teacher' }]",
        "defaults.optimizer={ type = 'SGD', lr = 0.1, sam = 0.5 }",
        "defaults.scheduler={}",
        "defaults.ema=0.5",
        "defaults.epochs=1",
        "defaults.epoch_length=3",
    )
    kept = []
    for processes in (1, 2):
        launch(tiny, tmp_path / str(processes), processes, *short)
        last = tmp_path / str(processes) / "teacher" / "last"
        kept.append(load_file(last / "model.safetensors") | load_file(last / "ema.safetensors"))
    assert kept[0].keys() == kept[1].keys()
    for name, value in kept[0].items():
        torch.testing.assert_close(kept[1][name], value, rtol=0, atol=1e-3)


def test_only_the_first_process_writes_and_speaks(pair):
    one, two, done = pair
    assert {p.relative_to(one) for p in one.rglob("*")} == {p.relative_to(two) for p in two.rglob("*")}
    assert done.stdout.count("run directory:") == 1
    assert done.stderr.count("teacher: 3 epochs") == 1
    assert [done.stdout.count(f"heard of {stage}") for stage in ("teacher", "student")] == [1, 1]


def test_processes_with_a_run_directory_each_are_refused_before_they_train(tmp_path, tiny):
    (tmp_path / "apart.py").write_text(APART)
    done = torchrun(2, "apart.py", "run", str(tiny), folder=tmp_path)
    assert "0: must be one folder for all processes, on a disk that their machines share" in done.stderr
    assert "(1 of 2 processes see what the first one wrote)" in done.stderr
    assert [path.name for path in (tmp_path / "0").iterdir()] == ["config.toml"]
    assert not (tmp_path / "1").exists()
