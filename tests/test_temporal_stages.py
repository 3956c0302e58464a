"""Whole runs with temporal stages: on cached features and from pictures, taught, resumed, loaded again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mtl_affect.synthetic_videos import SyntheticVideos
from safetensors.torch import load_file
from torch import nn

import mtl_toolkit.pipeline.keep
import mtl_toolkit.pipeline.runner
from mtl_toolkit import (
    ConfigError,
    DataError,
    DataFacts,
    Interrupted,
    RunError,
    Screen,
    load_config,
    load_stage,
    run,
)
from mtl_toolkit.cli.table import report_table
from mtl_toolkit.pipeline import DataSource
from mtl_toolkit.pipeline.device import make_accelerator
from mtl_toolkit.pipeline.job import StageJob
from mtl_toolkit.pipeline.keep import keep_network
from mtl_toolkit.pipeline.stage import initial_model, stage_layout, training_loader
from mtl_toolkit.rundir import RunDirectory
from tests.stopping import stop_after

JOB = """
name = "job"
seed = 3

[trainer]
device = "cpu"
threads = 1
log_every = 1

[tasks.expr]
head = { type = "expression", hidden = 8 }
[tasks.va]
head = { type = "valence-arousal", hidden = 6, bins = 5 }

[datasets.faces]
type = "synthetic-faces"
samples = 24
[datasets.videos]
type = "synthetic-videos"
videos = 5
frames = 12
missing = 0.2
seed = 1
labels = ["expression"]
extra_labels = ["valence-arousal"]
extra_share = 0.6
[datasets.held_out]
type = "synthetic-videos"
videos = 3
frames = 14
missing = 0.1
seed = 2

[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }

[defaults]
epochs = 2
validation = [
    { dataset = "held_out", task = "expr", batch_size = 16 },
    { dataset = "held_out", task = "va", batch_size = 16 },
]
streams = [
    { dataset = "videos", name = "e", task = "expr", batch_size = 3 },
    { dataset = "videos", name = "v", task = "va", batch_size = 2, sampler = "balanced" },
]
optimizer = { type = "AdamW", lr = 1e-2 }

[[stages]]
name = "cnn"
epochs = 1
streams = [
    { dataset = "faces", task = "expr", batch_size = 8 },
    { dataset = "faces", name = "f", task = "va", batch_size = 8 },
]

[[stages]]
name = "features"
kind = "extract"
network = "cnn"
datasets = ["videos", "held_out"]

[[stages]]
name = "teacher"
features = "features"
temporal = { type = "gru", hidden = 4, dropout = 0.2 }
windows = { length = 6, stride = 3, gaps = "cut" }

[[stages]]
name = "student"
features = "features"
temporal = { type = "gru", hidden = 4, dropout = 0.2 }
windows = { length = 6, stride = 3, gaps = "cut" }
teacher = "teacher"
losses = [{ type = "distillation", temperature = 1.5, weight = 0.4 }]

[[stages]]
name = "whole"
start_from = "cnn"
epochs = 1
temporal = { type = "tcn", channels = 4, layers = 2 }
windows = { length = 4, stride = 4, gaps = "cut" }
"""
TRAININGS = ["cnn", "teacher", "student", "whole"]
TIMES = {"seconds", "samples_per_second", "peak_memory_bytes"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of the whole job, with its configuration beside it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "job.toml").write_text(JOB)
    run(load_config(folder / "job.toml"), folder / "run")
    return folder


@pytest.fixture(autouse=True)
def _no_page(monkeypatch):
    """Drawing its plots takes longer than all else; the finished run has one."""
    monkeypatch.setattr(mtl_toolkit.pipeline.runner, "render_report", lambda *_: "")


@pytest.fixture
def done(finished, tmp_path):
    """A copy of the finished run, to work on."""
    shutil.copytree(finished, tmp_path / "done")
    return tmp_path / "done"


@pytest.fixture
def job_file(tmp_path):
    """The job's configuration."""
    (tmp_path / "job.toml").write_text(JOB)
    return tmp_path / "job.toml"


def job_of(loaded, directory, name):
    """What a stage of a run is done with, as the runner puts it together."""
    config, directory = loaded.config, RunDirectory(Path(directory))
    stage = next(stage for stage in config.stages if stage.name == name)
    names = [stage.name for stage in config.stages]
    named = [*stage.teachers.values(), *([stage.start_from] if stage.start_from else [])]
    return StageJob(
        loaded=loaded,
        stage=stage,
        source=DataSource(config, directory),
        directory=directory.stage(name),
        references={one: directory.stage(one).path if one in names else Path(one) for one in named},
        accelerator=make_accelerator("cpu", "fp32"),
        screen=Screen(),
        stop=lambda: 0,
    )


def weights(directory, stage, which="best"):
    return load_file(directory / stage / which / "model.safetensors")


def one_stage(table):
    """An override that leaves only this stage."""
    return f"stages=[{table}]"


def on_features(finished, table):
    """A stage `gru` of its own on the features of the finished run."""
    windows = "windows = { length = 6, stride = 3, gaps = 'cut' }"
    return one_stage(f"{{ name = 'gru', features = '{finished / 'run/features'}', {windows}, {table} }}")


def samples_of(loaded, name, side):
    """A dataset's samples, opened without the pipeline."""
    config = loaded.config
    heads = {task: table.head for task, table in config.tasks.items()}
    recipe = config.datasets[name]
    assert isinstance(recipe, SyntheticVideos)
    return recipe.build(DataFacts(heads, side, validation=True))


def naive_windows(samples, length):
    """Rows of windows that follow each other, cut where a frame is missing, from the names `0001/00012`."""
    windows = []
    for video, frame, row in sorted((*samples.id(row).split("/"), row) for row in range(len(samples))):
        last = windows[-1] if windows else None
        follows = last and last[-1][0] == video and int(frame) == int(last[-1][1]) + 1
        if follows and len(last) < length:
            last.append((video, frame, row))
        else:
            windows.append([(video, frame, row)])
    return [[row for _, _, row in window] for window in windows]


# One step, by hand


def gru_by_hand(tensors, task, rows):
    """Features [frames, n] of one window through torch's own GRU, ReLU and the last layer."""
    prefix, head = f"temporal.{task}_frames.gru.", f"heads.{task}_head.last."
    gru = nn.GRU(rows.shape[1], 4, batch_first=True, bidirectional=True)
    gru.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    with torch.no_grad():
        values = F.linear(gru(rows[None])[0][0].relu(), tensors[head + "weight"], tensors[head + "bias"])
    return values if task == "expr" else values.view(len(rows), 2, 5)


def outputs_by_hand(finished, tensors, pictures, windows):
    """Raw outputs by task, window by window, of features that the CNN makes of pictures."""
    made = load_stage(finished / "run" / "cnn").outputs(pictures)
    return {
        task: torch.cat(
            [gru_by_hand(tensors, task, part) for part in made[task].features.split(list(windows))]
        )
        for task in ("expr", "va")
    }


def truth_by_hand(task, values, target):
    """The ground-truth loss, per unit: classes, or valence and arousal; on rows that have the label."""
    if task == "expr":
        return F.cross_entropy(values, target)[None]
    edges, centres = torch.linspace(-1, 1, 6)[1:-1], torch.linspace(-1, 1, 5)
    losses = []
    for axis in range(2):
        x, y = (values[:, axis].softmax(-1) * centres).sum(-1), target[:, axis]
        bins = (y[:, None] >= edges).sum(1)
        dx, dy = x - x.mean(), y - y.mean()
        rho = (dx * dy).sum() / (dx.norm() * dy.norm())
        ccc = 2 * rho * x.std() * y.std() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        losses.append(F.cross_entropy(values[:, axis], bins) + 1 - ccc)
    return torch.stack(losses)


def taught_by_hand(task, values, goal, temperature=1.5):
    """KL(teacher, student) times the temperature squared, per unit."""
    ours, theirs = (one.view(len(one), -1, one.shape[-1]) / temperature for one in (values, goal))
    kl = (theirs.softmax(-1) * (theirs.log_softmax(-1) - ours.log_softmax(-1))).sum(-1).mean(0)
    return temperature**2 * kl


def step_by_hand(batch, outputs, goal, *, sharing):
    """The total loss of Vu et al. (2021): see the module `objective`."""
    total = torch.zeros(())
    for task in ("expr", "va"):
        terms = []
        for stream, own in enumerate(("expr", "va")):
            rows = torch.arange(len(batch))[batch.rows(stream)]
            has = batch.masks[task][rows].reshape(len(rows), -1).all(1)
            if not sharing and own != task:
                has = torch.zeros_like(has)
            groups = []
            if has.any():
                labelled = rows[has]
                term = truth_by_hand(task, outputs[task][labelled], batch.targets[task][labelled])
                if goal:
                    taught = taught_by_hand(task, outputs[task][labelled], goal[task][labelled])
                    term = 0.6 * term + 0.4 * taught
                groups.append(term)
            if not has.all() and goal:
                groups.append(taught_by_hand(task, outputs[task][rows[~has]], goal[task][rows[~has]]))
            if groups:
                terms.append(torch.stack(groups).mean(0).sum())
        total = total + torch.stack(terms).mean() if terms else total
    return float(total)


@pytest.mark.parametrize(
    ("taught", "sharing"), [(False, True), (True, True), pytest.param(True, False, marks=pytest.mark.slow)]
)
def test_the_loss_of_a_step_is_that_of_the_method_on_the_windows_frames(
    finished, job_file, tmp_path, taught, sharing
):
    """Weights stand still, so that those kept are those of the only step."""
    table = f"temporal = {{ type = 'gru', hidden = 4 }}, sharing = {str(sharing).lower()}, epoch_length = 1"
    if taught:
        teacher = finished / "run/teacher"
        table += f", teacher = '{teacher}', losses = [{{ type = 'distillation', weight = 0.4 }}]"
    still = ("defaults.epochs=1", "defaults.optimizer={ type = 'SGD', lr = 1e-30 }")
    loaded = load_config(job_file, overrides=(on_features(finished, table), *still))
    run(loaded, tmp_path / "run")
    first = json.loads((tmp_path / "run/gru/log.jsonl").read_text().splitlines()[0])
    batch = next(training_loader(job_of(loaded, tmp_path / "run", "gru")).epoch(0))
    samples = samples_of(loaded, "videos", 19)
    row_of = {samples.id(row): row for row in range(len(samples))}
    pictures = samples.read([row_of[name.partition(":")[2]] for name in batch.ids])
    outputs = outputs_by_hand(finished, weights(tmp_path / "run", "gru", "last"), pictures, batch.windows)
    goal = None
    if taught:
        goal = outputs_by_hand(finished, weights(finished / "run", "teacher"), pictures, batch.windows)
    expected = step_by_hand(batch, outputs, goal, sharing=sharing)
    assert first["losses"]["total"] == pytest.approx(expected, rel=1e-4)
    assert 0 < batch.masks["va"].float().mean() < 1  # both groups of rows are there
    assert len(set(batch.windows)) > 1  # and windows of several lengths


def test_the_frames_of_a_training_window_follow_each_other(finished):
    loaded = load_config(finished / "job.toml")
    for name, longest in (("teacher", 6), ("whole", 4)):
        for batch in training_loader(job_of(loaded, finished / "run", name)).epoch(0):
            assert sum(batch.windows) == len(batch) == len(batch.ids)
            assert max(batch.windows) == longest
            start = 0
            for length in batch.windows:
                stream, video, frames = zip(
                    *(re.split("[:/]", name) for name in batch.ids[start : start + length]), strict=True
                )
                assert len(set(stream)) == len(set(video)) == 1
                assert np.diff([int(frame) for frame in frames]).tolist() == [1] * (length - 1)
                start += length


def test_the_student_hears_its_teacher_where_labels_are_missing(finished):
    lines = (finished / "run/student/log.jsonl").read_text().splitlines()
    terms = {name for line in lines for name in json.loads(line)["losses"]}
    assert {"e/expr/ground-truth", "e/expr/distillation", "e/va/distillation-unlabelled"} <= terms
    assert {"e/va/ground-truth", "v/expr/ground-truth"} <= terms  # labels that are not the stream's own
    assert "e/expr/distillation-unlabelled" not in terms


# Validation


def macro_f1(found, truth, classes):
    scores = []
    for one in range(classes):
        hits = ((found == one) & (truth == one)).sum()
        scores.append(2 * hits / max(1, (found == one).sum() + (truth == one).sum()))
    return np.mean(scores)


def population_ccc(x, y):
    return 2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


@pytest.mark.parametrize(("name", "length"), [("student", 6), ("whole", 4)])
def test_the_report_is_of_every_frame_once_in_windows_that_follow_each_other(finished, name, length):
    """Seen from pictures alone, whether the stage was trained on them or on features."""
    loaded = load_config(finished / "job.toml")
    samples = samples_of(loaded, "held_out", 19)
    windows = naive_windows(samples, length)
    rows = np.concatenate(windows)
    assert sorted(rows) == list(range(len(samples)))
    predicted = load_stage(finished / "run" / name).predict(samples.read(rows), [len(one) for one in windows])
    labels = samples.labels()
    classes, truth = predicted["expr"].numpy(), labels["expr"].values[rows]
    f1, accuracy = macro_f1(classes, truth, 7), (classes == truth).mean()
    report = json.loads((finished / "run/report.json").read_text())
    metrics = next(stage for stage in report["stages"] if stage["name"] == name)["metrics"]
    assert metrics["held_out/expr/score"] == pytest.approx(0.67 * f1 + 0.33 * accuracy, abs=1e-6)
    for axis, title in enumerate(("valence", "arousal")):
        expected = population_ccc(predicted["va"][:, axis].double().numpy(), labels["va"].values[rows, axis])
        assert metrics[f"held_out/va/ccc_{title}"] == pytest.approx(expected, abs=1e-5)


# Loading


def test_a_trained_stage_gives_the_same_from_pictures_as_from_cached_features(finished):
    loaded = load_config(finished / "job.toml")
    stage = load_stage(finished / "run/teacher")
    source = DataSource(loaded.config, RunDirectory(finished / "run"))
    training = next(one for one in loaded.config.trainings if one.name == "teacher")
    cached = source.samples(training, training.validation[0], validation=True)
    windows = naive_windows(cached, 6)
    rows, lengths = np.concatenate(windows), [len(one) for one in windows]
    pictures = samples_of(loaded, "held_out", 19).read(rows)
    torch.testing.assert_close(stage.features(pictures), cached.read(rows), rtol=1e-4, atol=1e-5)
    by_pictures, by_features = (stage.outputs(one, lengths) for one in (pictures, cached.read(rows)))
    for task in ("expr", "va"):
        for part in ("values", "features"):
            found, expected = (getattr(out[task], part) for out in (by_pictures, by_features))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_trained_stage_tells_how_it_was_made(finished):
    stage = load_stage(finished / "run/teacher")
    assert (stage.windows.length, stage.windows.stride, stage.windows.gaps) == (6, 3, "cut")
    assert stage.description["temporal"]["type"] == "gru"
    assert stage.description["inputs"] == "features"
    assert stage.description["features"] == {
        "source": "heads",
        "parts": {"expr": 8, "va": 6},
        "tasks": {"expr": "expr", "va": "va"},
    }
    assert stage.network.description["stage"] == "cnn"
    whole = load_stage(finished / "run/whole")
    assert (whole.windows.length, whole.network, whole.description["inputs"]) == (4, None, "pictures")
    with pytest.raises(ValueError, match="the network reads pictures, not features"):
        whole.features(torch.zeros(1, 3, 19, 19, dtype=torch.uint8))
    plain = load_stage(finished / "run/cnn")
    assert (plain.windows, plain.network, plain.description["temporal"]) == (None, None, None)


def test_it_takes_pictures_of_one_side_and_windows_that_add_up(finished):
    stage = load_stage(finished / "run/teacher")
    with pytest.raises(ValueError, match=r"pictures must be 19 x 19 \(got \(16, 16\)\)"):
        stage.outputs(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"windows must add up to the 5 rows of inputs \(got 4\)"):
        stage.outputs(torch.zeros(5, 14), (2, 2))


def test_a_checkpoint_on_features_works_from_pictures_where_nothing_else_is_left(finished, tmp_path):
    pictures = torch.randint(0, 256, (5, 3, 19, 19), dtype=torch.uint8)
    expected = load_stage(finished / "run/student").outputs(pictures, (3, 2))
    shutil.copytree(finished / "run/student/best", tmp_path / "alone")
    found = load_stage(tmp_path / "alone").outputs(pictures, (3, 2))
    assert all(torch.equal(found[task].values, expected[task].values) for task in expected)


def test_the_network_of_features_is_kept_without_using_room_for_it_again(finished):
    folders = [finished / "run/features"]
    folders += [
        finished / "run" / stage / kept for stage in ("teacher", "student") for kept in ("best", "last")
    ]
    inode = (finished / "run/cnn/best/model.safetensors").stat().st_ino
    assert {(folder / "network/model.safetensors").stat().st_ino for folder in folders} == {inode}


def test_where_there_are_no_hard_links_it_is_copied(finished, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(mtl_toolkit.pipeline.keep.os, "link", refuse)
    source = finished / "run/cnn/best"
    for _ in range(2):  # over what is there already
        keep_network(source, tmp_path)
    kept = sorted((tmp_path / "network").iterdir())
    assert [path.name for path in kept] == ["checkpoint.json", "model.safetensors"]
    assert all(path.read_bytes() == (source / path.name).read_bytes() for path in kept)
    assert (tmp_path / "network/model.safetensors").stat().st_nlink == 1


def test_a_checkpoint_that_lost_its_network_says_so(done):
    shutil.rmtree(done / "run/teacher/best/network")
    with pytest.raises(RunError, match=r"network: no checkpoint there"):
        load_stage(done / "run/teacher")


# Initial weights


def test_a_temporal_network_from_pictures_starts_from_the_trunk_alone(finished, job_file):
    network = "temporal = { type = 'tcn', channels = 4, layers = 2 }"
    fresh = load_config(job_file, overrides=(f"stages.4={{ name = 'whole', {network} }}",))
    started = initial_model(job_of(load_config(job_file), finished / "run", "whole"), None).state_dict()
    unstarted = initial_model(job_of(fresh, finished / "run", "whole"), None).state_dict()
    taken = weights(finished / "run", "cnn")
    assert started.keys() == unstarted.keys()
    assert any(name.startswith("temporal.") for name in started)
    for name, tensor in started.items():
        source = taken if name.startswith("trunk.") else unstarted
        assert torch.equal(tensor, source[name]), name
    assert not all(torch.equal(started[name], unstarted[name]) for name in started)


def test_both_a_trunk_and_what_follows_it_are_trained_from_pictures(finished, job_file):
    started = initial_model(job_of(load_config(job_file), finished / "run", "whole"), None)
    after = weights(finished / "run", "whole", "last")
    unmoved = [name for name, p in started.named_parameters() if torch.equal(p, after[name])]
    assert not unmoved


def test_it_trains_from_pictures_without_a_network_to_start_from(job_file, tmp_path):
    table = "{ name = 'whole', temporal = { type = 'gru', hidden = 4 }, windows = { length = 4 } }"
    # At 16x16 the last layers see single pixels, and there torch's bf16 convolution leaves part of its
    # gradient as it finds it in memory.
    short = (
        "defaults.epochs=1",
        "defaults.epoch_length=1",
        "trainer.precision='bf16'",
        "model.image_size=32",
    )
    (stage,) = run(load_config(job_file, overrides=(one_stage(table), *short)), tmp_path / "run")["stages"]
    assert {name.rpartition("/")[0] for name in stage["metrics"]} == {"held_out/expr", "held_out/va"}
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path / "run", "whole").values())


@pytest.mark.parametrize(("name", "source"), [("gru", "teacher"), ("again", "whole")])
def test_a_temporal_network_takes_all_weights_of_its_like(finished, job_file, name, source):
    table = f"start_from = '{finished / 'run' / source}', temporal = "
    if name == "gru":
        stage = on_features(finished, table + "{ type = 'gru', hidden = 4 }")
    else:
        stage = one_stage(f"{{ name = 'again', {table} {{ type = 'tcn', channels = 4, layers = 2 }} }}")
    job = job_of(load_config(job_file, overrides=(stage,)), finished / "elsewhere", name)
    found = initial_model(job, stage_layout(job)).state_dict()
    expected = weights(finished / "run", source)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


def test_another_size_than_that_to_start_from_is_told_in_one_line(finished, job_file, tmp_path):
    table = f"start_from = '{finished / 'run/teacher'}', temporal = {{ type = 'gru', hidden = 5 }}"
    with pytest.raises(RunError) as stopped:
        run(load_config(job_file, overrides=(on_features(finished, table),)), tmp_path / "run")
    (line,) = stopped.value.problems
    assert "does not fit the network: tensor 'heads.expr_head.last.weight' must have shape (7, 10)" in line


# Features of another run


def test_features_of_another_run_can_be_read_by_single_rows_too(finished, job_file, tmp_path):
    """Without a temporal network: heads alone are trained, on features that never change."""
    stage = one_stage(f"{{ name = 'heads', features = '{finished / 'run/features'}' }}")
    run(load_config(job_file, overrides=(stage, "defaults.epochs=1")), tmp_path / "run")
    heads = load_stage(tmp_path / "run/heads")
    assert (heads.windows, set(heads.description["tasks"])) == (None, {"expr", "va"})
    assert all(name.startswith("heads.") for name in weights(tmp_path / "run", "heads"))
    pictures = torch.randint(0, 256, (3, 3, 19, 19), dtype=torch.uint8)
    by_pictures, by_features = heads.outputs(pictures), heads.outputs(heads.features(pictures))
    assert torch.equal(by_pictures["va"].values, by_features["va"].values)


def taught_by(teacher, features):
    losses = "losses = [{ type = 'distillation', weight = 0.4 }]"
    stage = "name = 'gru', temporal = { type = 'gru', hidden = 4 }, windows = { length = 6, gaps = 'cut' }"
    table = one_stage(f"{{ {stage}, features = '{features}', teacher = '{teacher}', {losses} }}")
    return table, "defaults.epochs=1"


def test_a_teacher_from_elsewhere_must_have_read_features_of_the_same_network(
    finished, done, job_file, tmp_path
):
    """The two are as wide, and of the same tasks and meaning."""
    network = done / "run/features/network/model.safetensors"
    content = network.read_bytes()
    network.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    overrides = taught_by(finished / "run/teacher", done / "run/features")
    with pytest.raises(RunError) as stopped:
        run(load_config(job_file, overrides=overrides), tmp_path / "run")
    assert stopped.value.problems == (
        f"stages.gru: teacher {finished / 'run/teacher/best'}: "
        f"was trained on other features than those in {done / 'run/features'}",
    )


def test_copies_of_the_same_features_and_teacher_will_do(finished, done, job_file, tmp_path):
    overrides = taught_by(done / "run/teacher/best", finished / "run/features")
    (stage,) = run(load_config(job_file, overrides=overrides), tmp_path / "run")["stages"]
    assert stage["best_epoch"] == 1


def test_a_folder_of_features_that_lacks_a_dataset_is_refused_before_training(done, job_file, tmp_path):
    (done / "run/features/held_out.h5").unlink()
    table = "{ name = 'gru', temporal = 'gru', windows = { length = 6 }, features = "
    stage = one_stage(f"{table} '{done / 'run/features'}' }}")
    with pytest.raises(ConfigError) as refused:
        run(load_config(job_file, overrides=(stage,)), tmp_path / "run")
    assert refused.value.problems == (f"{done / 'run/features/held_out.h5'}: no such file",)


# Loader processes


@pytest.mark.parametrize("name", ["teacher", "whole"])
def test_loader_processes_give_the_same_batches_of_windows(finished, job_file, name):
    found = []
    for workers in (0, 2):
        loaded = load_config(job_file, overrides=(f"trainer.workers={workers}",))
        loader = training_loader(job_of(loaded, finished / "run", name))
        try:
            found.append([*loader.epoch(0), *loader.epoch(1, start=1)])
        finally:
            loader.close()
    assert len(found[0]) == len(found[1]) > 2
    for one, other in zip(*found, strict=True):
        assert (one.windows, one.sizes, one.ids) == (other.windows, other.sizes, other.ids)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.noise, other.noise)
        for task in one.targets:
            assert torch.equal(one.targets[task], other.targets[task])
            assert torch.equal(one.masks[task], other.masks[task])


# Resuming


def results(directory):
    """All that a run leaves of its training, without timings."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.suffix == ".safetensors":
            found[str(path.relative_to(directory))] = path.read_bytes()
        elif path.name == "log.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[str(path.relative_to(directory))] = [without_times(line) for line in lines]
    report = json.loads((directory / "report.json").read_text())
    return found | {"report": [without_times(stage) for stage in report["stages"]]}


def without_times(record):
    return {key: value for key, value in record.items() if key not in TIMES}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


# Asked once a step and once a validation batch: in the teacher 4 + 6 an epoch, and so in the student. These
# are within the teacher's first epoch, in its validation, in its second epoch, in both of the student's, and
# in training from pictures.
@pytest.mark.parametrize("moment", [slow(2), slow(7), 12, slow(23), slow(33), slow(43)])
def test_temporal_stages_stopped_and_resumed_equal_those_left_alone(done, finished, moment):
    for name in ("teacher", "student", "whole"):
        shutil.rmtree(done / "run" / name)
    loaded = load_config(done / "job.toml")
    with pytest.raises(Interrupted):
        run(loaded, done / "run", stop=stop_after(moment))
    run(loaded, done / "run")
    assert results(done / "run") == results(finished / "run")


# Running again


def test_a_finished_run_is_skipped_whole_also_by_its_resolved_configuration(done, mtl):
    before = {path: path.stat().st_mtime_ns for path in (done / "run").glob("*/**/*") if path.is_file()}
    report = (done / "run/report.json").read_text()
    for config in (done / "job.toml", done / "run/config.toml"):
        code, _, err = mtl("run", str(config), "-o", str(done / "run"))
        assert (code, err.splitlines()) == (
            0,
            [f"{name}: already finished, skipped" for name in ("cnn", "features", *TRAININGS[1:])],
        )
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (done / "run/report.json").read_text() == report


def refused(done, *overrides):
    with pytest.raises(ConfigError) as error:
        run(load_config(done / "job.toml", overrides=overrides), done / "run")
    return error.value.problems


def test_changed_windows_are_refused_for_the_stage_and_those_made_from_it(done):
    teacher, student = refused(done, "stages.teacher.windows.length=5")
    assert "run/teacher: was made otherwise (stage.windows.length: 6 -> 5); redo it with" in teacher
    assert "run/student: was made otherwise (made_from.teacher: " in student


def test_changed_features_are_refused_for_all_that_is_made_of_them(done):
    features, teacher, student = refused(done, "stages.features.dtype='float16'")
    assert 'run/features: was made otherwise (stage.dtype: "float32" -> "float16"); redo it' in features
    assert "run/teacher: was made otherwise (made_from.features: " in teacher
    assert "run/student: was made otherwise (made_from." in student


@pytest.mark.slow
def test_fresh_features_redo_what_is_made_of_them_and_no_more(done):
    def written():
        return {path.parent.name: path.stat().st_mtime_ns for path in (done / "run").glob("*/stage.json")}

    before, expected = written(), results(done / "run")
    run(load_config(done / "job.toml"), done / "run", fresh=["features"])
    after = written()
    assert {name for name in before if after[name] != before[name]} == {"features", "teacher", "student"}
    assert results(done / "run") == expected


def test_features_that_were_deleted_are_missed_only_by_a_stage_that_reads_them(done):
    (done / "run/features/videos.h5").unlink()
    run(load_config(done / "job.toml"), done / "run")
    with pytest.raises(DataError, match=r"videos\.h5: no such file"):
        run(load_config(done / "job.toml"), done / "run", fresh=["student"])


# What is shown


def test_check_tells_windows_a_step(finished, mtl):
    own = "stages.whole.streams=[{ dataset = 'videos', name = 'w', task = 'expr', batch_size = 5 }]"
    code, out, err = mtl("check", str(finished / "job.toml"), "--set", own)
    assert (code, err) == (0, "")
    loaded = load_config(finished / "job.toml")
    loader = training_loader(job_of(loaded, finished / "run", "teacher"))
    assert re.search(rf"^teacher, student: {len(loader)} steps an epoch$", out, re.MULTILINE)
    assert re.search(r"^train +e +expr +\d+ +3 x 6 ", out, re.MULTILINE)
    assert re.search(r"^train +v +va +\d+ +2 x 6 ", out, re.MULTILINE)
    assert re.search(r"^train +w +expr +\d+ +5 x 4 ", out, re.MULTILINE)
    assert re.search(r"^train +faces +expr +24 +8 ", out, re.MULTILINE)


def test_an_extract_stage_has_an_entry_in_the_report_without_epochs_and_metrics(finished):
    report = json.loads((finished / "run/report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["cnn", "features", *TRAININGS[1:]]
    entry = report["stages"][1]
    assert (entry["kind"], entry["epochs"], entry["best_epoch"], entry["metrics"]) == ("extract", 0, 0, {})
    assert entry["samples_per_second"] > 0
    assert set(entry["data"]) == {"videos", "held_out"}
    assert set(entry) - {"kind"} == set(report["stages"][0])
    assert {"distribution": "mtl-std", "entry_point": "temporal"}.items() <= next(
        plugin for plugin in report["plugins"] if plugin["entry_point"] == "temporal"
    ).items()


def test_the_final_table_has_a_row_per_training_and_none_for_extraction(finished):
    table = report_table(json.loads((finished / "run/report.json").read_text()))
    assert list(table.columns[0].cells) == TRAININGS


def test_the_page_has_a_plot_per_training_and_names_every_stage(finished):
    page = (finished / "run/report.html").read_text()
    assert page.count('src="data:image/png;base64,') == len(TRAININGS)
    assert re.findall("<h2>(.*?)</h2>", page) == ["cnn", "features", *TRAININGS[1:], "Configuration"]
