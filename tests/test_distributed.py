"""Two processes compute what one does: losses, gradients, metrics, and one run directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

# Without batch statistics and dropout a step does not depend on how its rows are split.
SAME = (
    "tasks.expr.head.hidden=0",
    "tasks.expr.head.dropout=0",
    "tasks.va.head.hidden=0",
    "tasks.va.head.dropout=0",
    "model.backbone.freeze='batch-norm'",
)


def launch(config, output, processes, *overrides):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "mtl_toolkit", "run", str(config), "--output", str(output)]
    for override in (*SAME, *overrides):
        command += ["--set", override]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
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


def test_only_the_first_process_writes_and_speaks(pair):
    one, two, done = pair
    assert {p.relative_to(one) for p in one.rglob("*")} == {p.relative_to(two) for p in two.rglob("*")}
    assert done.stdout.count("run directory:") == 1
    assert done.stderr.count("teacher: 3 epochs") == 1
