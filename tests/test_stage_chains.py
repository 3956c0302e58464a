"""Stages that build on each other: repeats, folds, features, windows, ensembles of all of these, students."""

from __future__ import annotations

import pytest
import torch

import mtl_toolkit.pipeline.runner
from mtl_toolkit import Screen, load_config, load_stage, run

VIDEOS = """
name = "videos"
seed = 3
[trainer]
device = "cpu"
threads = 1
[tasks.expr]
head = { type = "expression", hidden = 6 }
[tasks.au]
head = { type = "action-units", hidden = 6 }
[tasks.both]
head = { type = "combined", tasks = ["au", "expr"] }
[datasets.faces]
type = "synthetic-faces"
samples = 24
labels = ["expression", "action-units"]
[datasets.videos]
type = "synthetic-videos"
videos = 6
frames = 6
missing = 0.1
seed = 1
labels = ["expression", "action-units"]
[datasets.tuning]
type = "synthetic-videos"
videos = 2
frames = 8
seed = 4
labels = ["expression", "action-units"]
[datasets.held_out]
type = "synthetic-videos"
videos = 2
frames = 10
seed = 2
labels = ["expression", "action-units"]
[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }
[defaults]
epochs = 1
epoch_length = 2
optimizer = { type = "AdamW", lr = 1e-2 }
validation = [{ dataset = "held_out", task = "both", batch_size = 16 }]
streams = [{ dataset = "videos", task = "both", batch_size = 2 }]
[[stages]]
name = "cnn"
seeds = 2
streams = [{ dataset = "faces", task = "both", batch_size = 8 }]
[[stages]]
name = "features"
kind = "extract"
network = "cnn/seed-2"
datasets = ["videos", "tuning", "held_out"]
[[stages]]
name = "late"
folds = 2
features = "features"
temporal = { type = "gru", hidden = 4 }
windows = { length = 4, stride = 2, gaps = "cut" }
[[stages]]
name = "wide"
features = "features"
teacher = "late/fold-1"
losses = [{ type = "distillation", weight = 0.4 }]
temporal = { type = "tcn", channels = 4, layers = 1 }
windows = { length = 4, stride = 2, gaps = "cut" }
[[stages]]
name = "joined"
kind = "ensemble"
members = ["late", "wide"]
combine = { expr = "weighted" }
fit_on = [{ dataset = "tuning", task = "both", batch_size = 16 }]
tune = true
[[stages]]
name = "student"
features = "features"
teacher = "joined"
ema = 0.5
losses = [{ type = "distillation", weight = 0.4 }, { type = "hint", weight = 0.1 }]
temporal = { type = "transformer", width = 8, heads = 2, layers = 1, feedforward = 8 }
windows = { length = 4, stride = 2, gaps = "cut" }
[[stages]]
name = "still"
features = "features"
ema = 0.5
optimizer = { type = "SGD", lr = 0.1, sam = 0.05 }
augmentation = { mixup = 0.3 }
streams = [{ dataset = "videos", task = "both", batch_size = 8 }]
[[stages]]
name = "stills"
kind = "ensemble"
members = ["still"]
combine = "majority"
"""


def job(folder):
    path = folder / "job.toml"
    path.write_text(VIDEOS)
    return load_config(path)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A run of stages that build on repeats, folds, features, windows and ensembles of such."""
    folder = tmp_path_factory.mktemp("videos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mtl_toolkit.pipeline.runner, "render_report", lambda *_: "")
        return folder / "run", run(job(folder), folder / "run")


def entry(report, name):
    return next(one for one in report["stages"] if one["name"] == name)


def test_an_ensemble_of_temporal_networks_over_folds_is_their_mean(videos):
    folder, report = videos
    assert entry(report, "joined")["members"] == ["late/fold-1", "late/fold-2", "wide"]
    joined = load_stage(folder / "joined")
    members = [load_stage(folder / name) for name in entry(report, "joined")["members"]]
    rows = torch.randn(7, sum(joined.description["features"]["parts"].values()))
    probable = [one.outputs(rows, [4, 3])["au"].values.sigmoid() for one in members]
    found = joined.outputs(rows, [4, 3])["au"].values.sigmoid()
    torch.testing.assert_close(found, torch.stack(probable).mean(0))
    weights = entry(report, "joined")["tasks"]["expr"]["weights"]
    probable = [one.outputs(rows, [4, 3])["expr"].values.softmax(1) for one in members]
    shares = [weights.get(name, 0.0) for name in entry(report, "joined")["members"]]
    expected = sum(share * value for share, value in zip(shares, probable, strict=True))
    found = joined.outputs(rows, [4, 3])["expr"].values.softmax(1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_an_ensemble_on_features_predicts_from_pictures_by_the_repeat_that_made_them(videos):
    folder, _ = videos
    joined, cnn = load_stage(folder / "joined"), load_stage(folder / "cnn/seed-2")
    pictures = torch.randint(0, 256, (4, 3, 19, 19), dtype=torch.uint8)
    features = cnn.outputs(pictures)["expr"].features
    assert torch.equal(joined.features(pictures)[:, : features.shape[1]], features)
    found = joined.predict(pictures)
    assert {task: len(values) for task, values in found.items()} == {"expr": 4, "au": 4}


def test_the_run_is_skipped_as_a_whole_the_second_time(videos, tmp_path):
    folder, report = videos
    seen = []

    class Skips(Screen):
        def stage_skipped(self, stage):
            seen.append(stage.name)

    again = run(job(tmp_path), folder, screen=Skips())
    assert again["stages"] == report["stages"]
    assert seen[:3] == ["cnn/seed-1", "cnn/seed-2", "features"]
    assert seen[-4:] == ["joined", "student", "still", "stills"]


def test_an_ensemble_of_one_network_on_features_is_judged_as_it_is(videos):
    _, report = videos
    found, member = entry(report, "stills")["metrics"], entry(report, "still")["metrics"]
    assert found == pytest.approx(member)
