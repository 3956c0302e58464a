"""Two processes compute what one does, with methods that look at rows of the whole step."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.test_combined_methods import JOB
from tests.test_distributed import epochs, torchrun

# Without batch statistics a step does not depend on how its rows are split.
SAME = (
    ('"expression", hidden = 6', '"expression", hidden = 0, dropout = 0'),
    ('"action-units", hidden = 6', '"action-units", hidden = 0, dropout = 0'),
    ('name = "resnet10t",', 'name = "resnet10t", freeze = "batch-norm",'),
    ('batch_statistics = "dataset"\n', ""),
)

# The command line of one process, which mixes rows as two processes do: each among its own half.
AS_TWO = """
from mtl_toolkit.cli import entry
from mtl_toolkit.trainer import mixup, step

def draw(alpha, seed, sizes, rank=0):
    ((*rows,),) = sizes
    halves = [tuple(one - one // 2 for one in rows), tuple(one // 2 for one in rows)]
    found = mixup.draw_mixing(alpha, seed, halves)
    return mixup.Mixing(found.share, found.labels_of, found.labels_of)

step.draw_mixing = draw
entry()
"""


@pytest.mark.slow
def test_all_methods_together_give_the_same_losses_metrics_and_weights(tmp_path):
    text = JOB
    for old, new in SAME:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "job.toml").write_text(text)
    (tmp_path / "as_two.py").write_text(AS_TWO)
    for processes, program in ((1, ["as_two.py"]), (2, ["-m", "mtl_toolkit"])):
        done = torchrun(processes, *program, "run", "job.toml", "--output", str(processes), folder=tmp_path)
        assert done.returncode == 0, done.stderr
    logs = [(tmp_path / one / "one/log.jsonl").read_text() for one in ("1", "2")]
    first = [json.loads(log.partition("\n")[0]) for log in logs]
    assert first[0]["step"] == 1
    assert first[1]["losses"] == pytest.approx(first[0]["losses"], rel=1e-5, abs=1e-6)
    alone, together = (epochs(tmp_path / str(processes), "one") for processes in (1, 2))
    assert len(alone) == len(together) == 2
    for left, right in zip(alone, together, strict=True):
        assert left["losses"].keys() >= {"both/distribution-matching", "b/picture/ground-truth"}
        assert right["losses"] == pytest.approx(left["losses"], rel=1e-4, abs=1e-4)
        assert right["metrics"] == pytest.approx(left["metrics"], rel=1e-3, abs=1e-3)
    for name in ("model", "ema"):
        left, right = (load_file(tmp_path / one / f"one/last/{name}.safetensors") for one in ("1", "2"))
        for key, value in left.items():
            torch.testing.assert_close(right[key], value, rtol=0, atol=1e-3)
