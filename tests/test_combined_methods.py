"""Methods that were written apart, in one stage: a run stays a function of seed and position."""

from __future__ import annotations

import json
import textwrap

import pytest
import torch
from safetensors.torch import load_file

import mtl_toolkit.pipeline.runner
from mtl_toolkit import Interrupted, Screen, load_config, run
from mtl_toolkit.pipeline import DataSource, survey

JOB = """
name = "all"
seed = 5
[trainer]
device = "cpu"
threads = 1
log_every = 1
save_every = 2
[tasks.expr]
head = { type = "expression", hidden = 6 }
losses = [{ type = "cross-entropy", class_weights = "balanced" }]
[tasks.au]
head = { type = "action-units", hidden = 6 }
[tasks.both]
head = { type = "combined", tasks = ["expr", "au"] }
losses = [{ type = "distribution-matching", weight = 0.5 }]
[tasks.picture]
head = { type = "reconstruction", size = 8 }
[datasets.a]
type = "synthetic-faces"
samples = 32
seed = 1
labels = ["expression"]
extra_labels = ["action-units"]
extra_share = 0.5
[datasets.b]
type = "synthetic-faces"
samples = 24
seed = 2
labels = ["action-units"]
[datasets.val]
type = "synthetic-faces"
samples = 16
seed = 3
labels = ["expression", "action-units"]
[model]
image_size = 16
batch_statistics = "dataset"
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }
[defaults]
epochs = 2
epoch_length = 4
optimizer = { type = "AdamW", lr = 1e-2, sam = 0.05 }
augmentation = { mixup = 0.4, flip = true }
accumulate = 2
ema = 0.9
teacher = "ema"
losses = [{ type = "consistency", weight = 0.3 }, { type = "hint", weight = 0.2 }]
streams = [
    { dataset = ["a", "b"], name = "ab", task = "both", batch_size = 8, sampler = "temperature" },
    { dataset = "b", task = "picture", batch_size = 4 },
]
validation = [{ dataset = "val", task = "both" }, { dataset = "val", task = "picture" }]
[[stages]]
name = "one"
"""


@pytest.fixture(autouse=True)
def _no_page(monkeypatch):
    """Drawing its plots takes longer than all else."""
    monkeypatch.setattr(mtl_toolkit.pipeline.runner, "render_report", lambda *_: "")


class StopAfter(Screen):
    """Counts steps, and asks to stop after some."""

    def __init__(self, steps):
        self.left = steps

    def step_done(self, progress, steps, rows):
        self.left -= 1

    def stop(self):
        return 15 if self.left <= 0 else 0


def job(folder, *overrides, text=JOB):
    path = folder / "job.toml"
    path.write_text(text)
    return load_config(path, overrides=overrides)


def weights(folder):
    return {
        f"{kind}/{file.name}/{name}": value
        for kind in ("best", "last")
        for file in sorted((folder / kind).glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def logged(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def same(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


@pytest.mark.parametrize("fold", [(), ("stages.one.folds=2",)])
def test_a_stage_with_all_of_them_resumes_bit_for_bit(tmp_path, fold):
    run(job(tmp_path, *fold), tmp_path / "whole")
    last = "one/fold-2" if fold else "one"
    screen = StopAfter(10 if fold else 2)
    with pytest.raises(Interrupted):
        run(job(tmp_path, *fold), tmp_path / "parts", screen=screen, stop=screen.stop)
    run(job(tmp_path, *fold), tmp_path / "parts")
    same(weights(tmp_path / "whole" / last), weights(tmp_path / "parts" / last))
    assert logged(tmp_path / "whole" / last) == logged(tmp_path / "parts" / last)


def test_a_climb_moves_batch_statistics_of_groups_once(tmp_path):
    """The second pass over a step's batches, at other weights, leaves no trace in them."""
    short = ("defaults.epochs=1", "defaults.epoch_length=2")  # two batches, and one step at their end
    run(job(tmp_path, *short), tmp_path / "climbed")
    run(job(tmp_path, *short, "defaults.optimizer={ type = 'AdamW', lr = 1e-2 }"), tmp_path / "plain")
    left, right = (
        {name: value for name, value in weights(tmp_path / one / "one").items() if "running_" in name}
        for one in ("climbed", "plain")
    )
    assert len(left) > 4
    same(left, right)


ENSEMBLE = """
[[stages]]
name = "alone"
kind = "ensemble"
members = ["one"]
validation = [{ dataset = "val", task = "both" }, { dataset = "val", task = "picture" }]
"""


def test_an_ensemble_is_judged_on_self_supervised_tasks_too(tmp_path):
    short = ("defaults.epochs=1", "defaults.epoch_length=2")
    one, alone = run(job(tmp_path, *short, text=JOB + ENSEMBLE), tmp_path / "run")["stages"]
    assert "val/picture/psnr" in alone["metrics"]
    assert alone["metrics"] == pytest.approx(one["metrics"])


def test_nothing_is_fitted_to_self_supervised_tasks(tmp_path):
    fitted = ENSEMBLE + 'tune = true\nfit_on = [{ dataset = "a", task = "picture" }]\nallow_overlap = true\n'
    config = job(tmp_path, text=JOB + fitted).config
    assert survey(config, DataSource(config))[1] == [
        "stages.alone: fit_on 'a' has no label of task 'picture'"
    ]


def test_a_self_supervised_head_that_cannot_make_targets_of_features_is_told_before_training(tmp_path):
    on_features = """
    [[stages]]
    name = "made"
    kind = "extract"
    network = "one"
    datasets = ["a", "b", "val"]
    [[stages]]
    name = "late"
    features = "made"
    """
    config = job(tmp_path, text=JOB + textwrap.dedent(on_features)).config
    (line,) = survey(config, DataSource(config))[1]
    assert line.startswith("stages.late: task 'picture': reconstruction: needs pictures of three channels ")
    assert line.endswith("(got inputs of (2, 20))")
