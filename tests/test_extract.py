"""Extract stages: what they write equals the network run by hand; stopped anywhere, they go on from there."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading

import attrs
import h5py
import numpy as np
import pytest
import torch

import mtl_toolkit.pipeline.extract
import mtl_toolkit.pipeline.runner
from mtl_toolkit import ConfigError, Interrupted, RunError, Screen, load_config, load_stage, run
from mtl_toolkit.pipeline import DataSource
from mtl_toolkit.pipeline.device import make_accelerator
from mtl_toolkit.pipeline.extract import Extraction, extract_stage
from mtl_toolkit.pipeline.job import StageJob
from mtl_toolkit.rundir import StageDirectory
from tests.stopping import stop_after

# A dataset of noise: frames of videos in any order, with gaps, missing labels, and some that cannot be read.
CLIPS = '''
from typing import ClassVar

import attrs
import numpy as np
import torch

from mtl_toolkit import Dataset, Labels, Samples, UnreadableSampleError, hookimpl


class ClipSamples(Samples):
    on_error = "skip"

    def __init__(self, recipe, size):
        self.recipe, self.size = recipe, size
        draw = np.random.default_rng(recipe.seed)
        rows = [(v, f) for v in range(recipe.videos) for f in range(1, 13) if draw.random() < 0.9]
        self.rows = draw.permutation(np.array(rows))
        count = len(rows)
        known = {"expr": draw.random(count) < 0.8, "va": draw.random((count, 2)) < 0.8}
        values = {
            "expr": np.where(known["expr"], draw.integers(0, 7, count), 99),
            "va": np.where(known["va"], draw.uniform(-1, 1, (count, 2)), np.nan).astype(np.float32),
        }
        self.known = {task: Labels(values[task], known[task]) for task in values}

    def __len__(self):
        return len(self.rows)

    def labels(self):
        return self.known

    def read(self, indices):
        for index in np.asarray(indices).tolist():
            if index in self.recipe.bad:
                raise UnreadableSampleError(f"clip-{index}.jpg: the picture is empty (0 bytes)")
        return torch.stack([torch.from_numpy(self.picture(int(index))) for index in indices])

    def picture(self, index):
        draw = np.random.default_rng([self.recipe.seed, index])
        return draw.integers(0, 256, (3, self.size, self.size), np.uint8)

    def id(self, index):
        return f"clip-{index}.jpg"

    def column(self, name):
        if name not in self.recipe.columns:
            return None
        videos, frames = self.rows.T
        names = np.char.add(f"{self.recipe.seed}-", videos.astype(str))
        return frames if name == "frame" else names.astype("S")


@attrs.frozen(kw_only=True)
class Clips(Dataset):
    """Noise."""

    name: ClassVar[str] = "clips"
    videos: int = 4
    seed: int = 0
    bad: tuple[int, ...] = ()
    columns: tuple[str, ...] = ("video", "frame")

    def build(self, facts):
        return ClipSamples(self, facts.image_size)


@hookimpl
def mtl_datasets():
    return [Clips]
'''

CONFIG = """
name = "clips"
seed = 1
[trainer]
device = "cpu"
threads = 1
[tasks.expr]
head = { type = "expression", hidden = 6 }
[tasks.va]
head = { type = "valence-arousal", hidden = 5, bins = 4 }
[datasets.stills]
type = "clips"
videos = 2
columns = []
bad = [4]
[datasets.clips]
type = "clips"
seed = 1
bad = [3, 17, 18, 40]
[datasets.val]
type = "clips"
videos = 2
seed = 2
[model]
image_size = 16
crop = 1.25
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }
[defaults]
epochs = 1
epoch_length = 2
optimizer = { type = "AdamW", lr = 1e-2 }
[[stages]]
name = "cnn"
streams = [
    { dataset = "stills", name = "e", task = "expr", batch_size = 8 },
    { dataset = "stills", name = "v", task = "va", batch_size = 8 },
]
[[stages]]
name = "features"
kind = "extract"
network = "cnn"
datasets = ["stills", "clips", "val"]
batch_size = 8
[[stages]]
name = "gru"
features = "features"
temporal = { type = "gru", hidden = 4 }
windows = { length = 8, stride = 4, gaps = "cut" }
streams = [
    { dataset = "clips", name = "e", task = "expr", batch_size = 4 },
    { dataset = "clips", name = "v", task = "va", batch_size = 4 },
]
validation = [{ dataset = "val", task = "expr" }, { dataset = "val", task = "va" }]
"""

DATASETS = ("stills", "clips", "val")
BAD = {"stills": [4], "clips": [3, 17, 18, 40], "val": []}
TASKS = ("expr", "va")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder on `sys.path` with a distribution that brings the dataset."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "scratch_clips.py").write_text(CLIPS)
    info = folder / "scratch_clips-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scratch-clips\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mtl_toolkit]\nclips = scratch_clips\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    sys.modules.pop("scratch_clips", None)


@functools.cache
def load(path, *overrides):
    """A configuration; the tests of this module read few of them many times."""
    return load_config(path, overrides=overrides)


@pytest.fixture(scope="module", autouse=True)
def no_page():
    """The report's page takes longer than these runs, and is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mtl_toolkit.pipeline.runner, "render_report", lambda *_: "")
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, site):
    """A run of all stages, and its configuration."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "clips.toml").write_text(CONFIG)
    run(load_config(folder / "clips.toml"), folder / "run")
    return folder


@pytest.fixture
def done(finished, tmp_path):
    """A copy of the run, to work on: (configuration, run directory)."""
    shutil.copytree(finished, tmp_path / "done")
    return tmp_path / "done" / "clips.toml", tmp_path / "done" / "run"


class Rank:
    """Stands in for accelerate's Accelerator: one process of several, which a thread plays."""

    def __init__(self, rank=0, barrier=None):
        self.process_index, self.is_main_process = rank, rank == 0
        self.num_processes = barrier.parties if barrier else 1
        self.device = torch.device("cpu")
        self.autocast = make_accelerator("cpu", "fp32").autocast
        self.wait_for_everyone = barrier.wait if barrier else lambda: None


def never():
    return 0


def extract(finished, folder, *, stop=never, screen=None, rank=None, overrides=(), **options):
    """The extract stage alone, into a folder, with the network of the finished run."""
    loaded = load(finished / "clips.toml", *overrides)
    job = StageJob(
        loaded=loaded,
        stage=attrs.evolve(loaded.config.stages[1], **options),
        source=DataSource(loaded.config),
        directory=StageDirectory(folder),
        references={"cnn": finished / "run" / "cnn"},
        accelerator=rank or Rank(),
        screen=screen or Screen(),
        stop=stop,
    )
    return extract_stage(job, "key")


@pytest.fixture(scope="module")
def whole(finished):
    """What the stage writes if it is left alone: bytes by file."""
    extract(finished, finished / "whole")
    return written(finished / "whole")


@pytest.fixture
def forwarded(monkeypatch):
    """How many pictures each forward pass of an extract stage has had."""
    passes = []
    original = mtl_toolkit.pipeline.extract.feature_rows

    def counted(model, pictures, layout):
        passes.append(len(pictures))
        return original(model, pictures, layout)

    monkeypatch.setattr(mtl_toolkit.pipeline.extract, "feature_rows", counted)
    return passes


def clips(config, name, size=20):
    """A dataset of a configuration, with its pictures at a size."""
    recipe = load(config).config.datasets[name]
    return sys.modules["scratch_clips"].ClipSamples(recipe, size)


def written(features):
    """The bytes of every file of features."""
    return {path.stem: path.read_bytes() for path in sorted(features.glob("*.h5"))}


def left_over(features):
    """Files that are only there while an extract stage is at work."""
    return sorted(path.name for path in features.iterdir() if path.name.startswith("."))


def by_hand(config, directory, name):
    """What the last layers of the heads read, and the trunk's output, of every picture that can be read.

    Pictures are cut and normalised here in numpy, and a hook looks at what goes into each last layer.
    """
    samples, stage = clips(config, name), load_stage(directory / "cnn")
    rows = [row for row in range(len(samples)) if row not in BAD[name]]
    pictures = np.stack([samples.picture(row) for row in rows])[:, :, 2:18, 2:18].astype(np.float64) / 255
    mean, std = (np.array(getattr(stage.preprocessing, key))[:, None, None] for key in ("mean", "std"))
    inputs = torch.from_numpy((pictures - mean) / std).float()
    found, model = {}, stage.model.eval()
    with torch.no_grad():
        found["trunk"] = model.trunk.backbone(inputs)
        for task in TASKS:
            head = model.heads[f"{task}_head"]
            *_, last = (layer for layer in head.modules() if isinstance(layer, torch.nn.Linear))
            hook = last.register_forward_pre_hook(
                lambda _, given, task=task: found.__setitem__(task, given[0])
            )
            head(found["trunk"])
            hook.remove()
    return rows, {key: value.numpy() for key, value in found.items()}


def same_features(folder, other):
    """Whether all but where the features come from is the same."""
    for name in DATASETS:
        with h5py.File(folder / f"{name}.h5") as one, h5py.File(other / f"{name}.h5") as two:
            assert one["sample"][()].tolist() == two["sample"][()].tolist()
            rows = one["present"][()]
            assert rows.tolist() == two["present"][()].tolist()
            for task in TASKS:
                values = (file[f"features/{task}"][()][rows] for file in (one, two))
                np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-6)


# What is written


@pytest.mark.parametrize("name", DATASETS)
def test_features_equal_the_network_run_by_hand_on_every_frame(finished, name):
    rows, wanted = by_hand(finished / "clips.toml", finished / "run", name)
    with h5py.File(finished / "run" / "features" / f"{name}.h5") as file:
        assert (file.attrs["source"], json.loads(file.attrs["parts"])) == ("heads", ["expr", "va"])
        assert json.loads(file.attrs["tasks"]) == {"expr": "expr", "va": "va"}
        place = np.argsort(file["sample"][()])[rows]
        for task, width in (("expr", 6), ("va", 5)):
            values = file[f"features/{task}"][()]
            assert (values.dtype, values.shape[1]) == (np.float32, width)
            np.testing.assert_allclose(values[place], wanted[task], rtol=1e-4, atol=1e-5)
            assert wanted[task].std() > 0.01


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-5), ("float16", 2e-3)])
def test_the_trunk_that_tasks_share_is_kept_once(finished, tmp_path, dtype, error):
    extract(finished, tmp_path, part="trunk", dtype=dtype)
    rows, wanted = by_hand(finished / "clips.toml", finished / "run", "clips")
    with h5py.File(tmp_path / "clips.h5") as file:
        assert file.attrs["source"] == "trunk"
        assert list(file["features"]) == ["expr"]
        assert json.loads(file.attrs["tasks"]) == {"expr": "expr", "va": "expr"}
        values = file["features/expr"][()]
        place = np.argsort(file["sample"][()])[rows]
    assert values.dtype == np.dtype(dtype)
    np.testing.assert_allclose(values[place], wanted["trunk"], rtol=error, atol=error)


@pytest.mark.parametrize("name", DATASETS)
def test_rows_go_by_video_and_frame_with_their_labels(finished, name):
    samples = clips(finished / "clips.toml", name)
    with h5py.File(finished / "run" / "features" / f"{name}.h5") as file:
        order = file["sample"][()]
        assert file["id"].asstr()[()].tolist() == [f"clip-{row}.jpg" for row in order]
        assert file["present"][()].tolist() == [row not in BAD[name] for row in order]
        for task, labels in samples.labels().items():
            valid = file[f"labels/{task}/valid"][()]
            assert np.array_equal(valid, labels.valid[order])
            values = file[f"labels/{task}/values"][()]
            assert np.array_equal(values[valid], labels.values[order][valid])
        origin = json.loads(file.attrs["origin"])
        assert (origin["run"], origin["stage"], origin["dataset"]) == ("clips", "features", name)
        if name == "stills":  # has neither videos nor frames
            assert order.tolist() == list(range(len(samples)))
            assert "videos" not in file
            assert "frame" not in file
            return
        found = samples.rows[order]
        assert np.array_equal(file["frame"][()], found[:, 1])
        videos = np.repeat(file["videos/name"].asstr()[()], np.diff(file["videos/start"][()]))
        assert videos.tolist() == [f"{samples.recipe.seed}-{video}" for video, _ in found]
        # In the order in which videos first come in the dataset.
        firsts = list(dict.fromkeys(samples.rows[:, 0].tolist()))
        assert found.tolist() == sorted(samples.rows.tolist(), key=lambda row: (firsts.index(row[0]), row[1]))


def test_the_report_counts_what_was_passed_over(finished):
    report = json.loads((finished / "run" / "report.json").read_text())
    entry = {stage["name"]: stage for stage in report["stages"]}["features"]
    assert (entry["kind"], entry["skipped_samples"], entry["epochs"]) == ("extract", 5, 0)
    assert entry["samples_per_second"] > 0
    assert left_over(finished / "run" / "features") == []


def test_a_run_writes_what_the_stage_alone_does(finished, whole):
    same_features(finished / "run" / "features", finished / "whole")
    assert whole.keys() == set(DATASETS)


def test_the_batch_size_changes_nothing(finished, whole, tmp_path):
    extract(finished, tmp_path, batch_size=5)
    same_features(tmp_path, finished / "whole")


def test_loader_processes_change_nothing(finished, whole, tmp_path):
    extract(finished, tmp_path, overrides=["trainer.workers=2"], datasets=("clips",))
    assert written(tmp_path) == {"clips": whole["clips"]}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_features_too_large_for_their_type_are_refused(finished, tmp_path, monkeypatch, dtype):
    original = mtl_toolkit.pipeline.extract.feature_rows
    monkeypatch.setattr(
        mtl_toolkit.pipeline.extract, "feature_rows", lambda *args: original(*args).clip(0, 1) + 1e5
    )
    if dtype == "float32":
        extract(finished, tmp_path, dtype=dtype)
        return
    problem = "features are too large for float16 (got 1e+05)"
    message = re.escape(f'stages.features.dtype: {problem}; set it to "float32"')
    with pytest.raises(RunError, match=f"^{message}$"):
        extract(finished, tmp_path, dtype=dtype)


def test_a_disk_without_room_is_told_in_one_line(finished, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    path = re.escape(str(tmp_path / "stills.h5"))
    with pytest.raises(RunError, match=f"^{path}: cannot be saved: No space left on device"):
        extract(finished, tmp_path)


# Skipped pictures


def test_whatever_stands_in_rows_that_were_passed_over_reaches_no_stage(done, finished):
    """NaN does, in every such row; the stage that reads the features comes out the same."""
    config, directory = done
    shutil.rmtree(directory / "gru")
    for name in DATASETS:
        with h5py.File(directory / "features" / f"{name}.h5", "a") as file:
            absent = ~file["present"][()]
            assert absent.sum() == len(BAD[name])
            for task in TASKS:
                values = file[f"features/{task}"][()]
                values[absent] = np.nan
                file[f"features/{task}"][...] = values
    run(load(config), directory)
    for part in ("best", "last"):
        file = f"gru/{part}/model.safetensors"
        assert (directory / file).read_bytes() == (finished / "run" / file).read_bytes()
    reports = [
        json.loads((path / "report.json").read_text())["stages"][-1] for path in (directory, finished / "run")
    ]
    assert reports[0]["metrics"] == reports[1]["metrics"]
    assert reports[0]["skipped_samples"] == reports[1]["skipped_samples"] > 0


def test_a_picture_that_may_not_be_skipped_stops_the_stage(finished, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["scratch_clips"].ClipSamples, "on_error", "stop")
        with pytest.raises(RunError, match=r"^clip-4\.jpg: the picture is empty"):
            extract(finished, tmp_path)
    extract(finished, tmp_path)
    assert written(tmp_path) == whole


# Interruptions. A stop is asked for once a batch of 8: stills has 3 batches, clips 6 and val 3.


def run_of_all(finished):
    """Pictures that a whole extraction runs the network on."""
    return sum(len(clips(finished / "clips.toml", name)) - len(BAD[name]) for name in DATASETS)


@pytest.mark.parametrize("batches", [1, 2, 3, 5, 9, 10, 12])
def test_stopped_anywhere_it_goes_on_from_there_and_the_files_are_the_same(
    finished, whole, tmp_path, forwarded, batches
):
    with pytest.raises(Interrupted) as stopped:
        extract(finished, tmp_path, stop=stop_after(batches))
    assert stopped.value.signal == 2
    notes, part = left_over(tmp_path)
    assert (notes[-7:], part[-8:]) == (".0.json", ".h5.part")
    assert json.loads((tmp_path / notes).read_text())["rows"] > 0
    # One more pass may have been set going than was kept.
    assert batches <= len(forwarded) <= batches + 1
    kept = sum(forwarded[:batches])
    forwarded.clear()
    done = extract(finished, tmp_path)
    assert kept + sum(forwarded) == run_of_all(finished)
    assert written(tmp_path) == whole
    assert left_over(tmp_path) == []
    assert done.skipped == 5


def test_stopped_at_every_batch_it_comes_to_the_same(finished, whole, tmp_path):
    for _ in range(12):
        with pytest.raises(Interrupted):
            extract(finished, tmp_path, stop=stop_after(1))
    extract(finished, tmp_path)
    assert written(tmp_path) == whole


def test_a_run_stopped_while_extracting_equals_the_run_left_alone(done, finished):
    config, directory = done
    for stage in ("features", "gru"):
        shutil.rmtree(directory / stage)
    with pytest.raises(Interrupted):
        run(load(config), directory, stop=stop_after(5))
    run(load(config), directory)
    assert written(directory / "features") == written(finished / "run" / "features")
    model = "gru/last/model.safetensors"
    assert (directory / model).read_bytes() == (finished / "run" / model).read_bytes()
    ours, theirs = (
        json.loads((path / "report.json").read_text())["stages"] for path in (directory, finished / "run")
    )
    for one, other in zip(ours, theirs, strict=True):
        assert all(one[key] == other[key] for key in ("name", "metrics", "skipped_samples", "data"))


class CrashError(Exception):
    pass


def crash_at(patch, batch):
    """End with the n-th batch half stored, as a kill does."""
    store, calls = Extraction._store, []

    def half(self, parts, present, rows, values):
        calls.append(None)
        if len(calls) == batch:
            parts["expr"][rows[:3]] = -1.0
            present[rows[:2]] = True
            raise CrashError
        store(self, parts, present, rows, values)

    patch.setattr(Extraction, "_store", half)


@pytest.mark.parametrize("seconds", [0.0, 10.0])
@pytest.mark.parametrize("batch", [1, 2, 6])
def test_a_crash_goes_on_from_the_last_point_saved(
    finished, whole, tmp_path, forwarded, monkeypatch, seconds, batch
):
    monkeypatch.setattr(mtl_toolkit.pipeline.extract, "SAVE_EVERY", seconds)
    with monkeypatch.context() as patch:
        crash_at(patch, batch)
        with pytest.raises(CrashError):
            extract(finished, tmp_path)
    forwarded.clear()
    extract(finished, tmp_path)
    assert written(tmp_path) == whole
    assert left_over(tmp_path) == []
    # With no point saved in between, the dataset at hand is begun again; the first has 3 batches.
    saved = batch - 1 if seconds == 0.0 else 3 * (batch > 3)
    assert len(forwarded) == 12 - saved


def test_a_file_begun_under_another_key_is_begun_again(finished, whole, tmp_path, forwarded):
    with pytest.raises(Interrupted):
        extract(finished, tmp_path, stop=stop_after(2))
    notes = tmp_path / ".stills.h5.0.json"
    notes.write_text(notes.read_text().replace('"key ', '"another-key '))
    with h5py.File(tmp_path / ".stills.h5.part", "a") as file:
        file["features/expr"][...] = -1.0
    forwarded.clear()
    extract(finished, tmp_path)
    assert sum(forwarded) == run_of_all(finished)
    assert written(tmp_path) == whole


@pytest.mark.parametrize("lost", [".stills.h5.part", ".stills.h5.0.json"])
def test_so_is_one_of_which_a_part_is_lost(finished, whole, tmp_path, lost):
    with pytest.raises(Interrupted):
        extract(finished, tmp_path, stop=stop_after(2))
    (tmp_path / lost).unlink()
    extract(finished, tmp_path)
    assert written(tmp_path) == whole


def test_a_file_that_is_finished_is_not_made_again(finished, whole, tmp_path, forwarded):
    with pytest.raises(Interrupted):
        extract(finished, tmp_path, stop=stop_after(5))
    before = (tmp_path / "stills.h5").stat()
    extract(finished, tmp_path)
    after = (tmp_path / "stills.h5").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    forwarded.clear()
    done = extract(finished, tmp_path)
    assert (forwarded, done.samples, done.skipped) == ([], 0, 5)
    assert written(tmp_path) == whole


def test_progress_counts_up_to_the_whole_dataset_and_goes_on_where_it_was(finished, tmp_path):
    class Told(Screen):
        def __init__(self):
            self.lines = []

        def extracting(self, stage, dataset, done, total):
            self.lines.append((dataset, done, total))

    first, second = Told(), Told()
    with pytest.raises(Interrupted):
        extract(finished, tmp_path, stop=stop_after(2), screen=first)
    extract(finished, tmp_path, screen=second)
    stills, val = (len(clips(finished / "clips.toml", name)) for name in ("stills", "val"))
    assert first.lines == [("stills", done, stills) for done in (0, 8, 16)]
    assert second.lines[:2] == [("stills", done, stills) for done in (16, stills)]
    assert second.lines[-4:] == [("val", done, val) for done in (0, 8, 16, val)]


# What is done again


def made(directory):
    """When each stage's result was written."""
    files = [*directory.glob("*/best/model.safetensors"), *directory.glob("features/*.h5")]
    return {str(path.relative_to(directory)): path.stat().st_mtime_ns for path in files}


@pytest.mark.parametrize(
    ("fresh", "redone"),
    [("cnn", {"cnn", "features", "gru"}), ("features", {"features", "gru"})],
)
def test_a_stage_redone_takes_along_the_features_and_what_reads_them(done, fresh, redone):
    config, directory = done
    before = made(directory)
    run(load(config), directory, fresh=[fresh])
    after = made(directory)
    assert before.keys() == after.keys()
    assert {name.split("/")[0] for name in after if after[name] != before[name]} == redone


def test_a_changed_network_gives_other_features(done, finished):
    config, directory = done
    overrides = ("stages.cnn.epoch_length=1",)
    with pytest.raises(ConfigError) as refused:
        run(load(config, *overrides), directory)
    told = "\n".join(refused.value.problems)
    assert all(f"--fresh {stage}" in told for stage in ("cnn", "features", "gru"))
    run(load(config, *overrides), directory, fresh=["cnn"])
    ours, theirs = written(directory / "features"), written(finished / "run" / "features")
    assert all(ours[name] != theirs[name] for name in DATASETS)


def test_a_changed_dataset_is_refused_saying_what_differs(done):
    config, directory = done
    before = made(directory)
    with pytest.raises(ConfigError) as refused:
        run(load_config(config, overrides=("datasets.clips.seed=9",)), directory)
    features, gru = refused.value.problems
    assert features.startswith(f"{directory / 'features'}: was made otherwise (")
    assert "datasets.clips.seed: 1 -> 9" in features
    assert features.endswith("redo it with --fresh features, or choose another --output")
    assert gru.startswith(f"{directory / 'gru'}: ")
    assert made(directory) == before


# Files that cannot be used


DAMAGES = {
    "version": (lambda path: set_attribute(path, "version", 2), "written by a newer mtl-toolkit (version 2,"),
    "format": (
        lambda path: set_attribute(path, "format", "mtl-toolkit"),
        "must be a file of mtl-toolkit features",
    ),
    "truncated": (lambda path: os.truncate(path, 3000), "cannot be read as a file of features: "),
    "missing": (lambda path: path.unlink(), "no such file"),
}


def set_attribute(path, name, value):
    with h5py.File(path, "a") as file:
        file.attrs[name] = value


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_used_is_told_in_one_line(done, mtl, damage):
    config, directory = done
    shutil.rmtree(directory / "gru")
    path = directory / "features" / "val.h5"
    change, message = DAMAGES[damage]
    change(path)
    code, _, err = mtl("run", str(config), "-o", str(directory))
    line = err.strip().splitlines()[-1]
    assert code == 2
    assert f"{path}: {message}" in line
    assert "Traceback" not in err


# Features of another run


def other_job(done, tmp_path, *overrides):
    """The last stage alone, with the features of a run that is there already."""
    directory = done[1]
    text = CONFIG[: CONFIG.index("[[stages]]")] + CONFIG[CONFIG.rindex("[[stages]]") :]
    path = tmp_path / "other.toml"
    path.write_text(text.replace('features = "features"', f'features = "{directory / "features"}"'))
    return load(path, *overrides)


def test_features_of_another_run_are_read_by_their_path(done, finished, tmp_path):
    loaded = other_job(done, tmp_path)
    run(loaded, tmp_path / "run")
    for file in ("model.safetensors", "network/model.safetensors"):
        ours, theirs = (one / "gru" / "best" / file for one in (tmp_path / "run", finished / "run"))
        assert ours.read_bytes() == theirs.read_bytes()
    # It predicts from pictures without the other run.
    shutil.rmtree(done[1])
    stage = load_stage(tmp_path / "run" / "gru")
    pictures = clips(done[0], "val").read([0, 1, 2])
    outputs = stage.outputs(pictures, windows=[3])
    assert {task: len(out.values) for task, out in outputs.items()} == {"expr": 3, "va": 3}


def test_features_of_another_number_of_samples_are_refused(done, tmp_path):
    loaded = other_job(done, tmp_path, "datasets.clips.videos=3")
    path = re.escape(str(done[1] / "features" / "clips.h5"))
    with pytest.raises(ConfigError, match=rf"{path}: has features of \d+ samples \(the dataset has \d+\)"):
        run(loaded, tmp_path / "run")


def test_so_are_features_of_other_videos(done, tmp_path):
    """As many samples, each of which would be given another one's features."""
    path = done[1] / "features" / "clips.h5"
    with h5py.File(path, "a") as file:
        names = file["videos/name"][()]
        file["videos/name"][...] = names[::-1]
    message = "has features of other videos: of '1-[0-3]' where the dataset has '1-[0-3]'"
    with pytest.raises(ConfigError, match=f"{re.escape(str(path))}: {message}"):
        run(other_job(done, tmp_path), tmp_path / "run")


# Several processes


def ranks_extract(finished, folder, *stops):
    """As many processes as there are functions that ask to stop; returns what each has done or raised."""
    barrier = threading.Barrier(len(stops), timeout=30)
    results = [None] * len(stops)

    def play(rank):
        try:
            results[rank] = extract(finished, folder, stop=stops[rank], rank=Rank(rank, barrier))
        except (Interrupted, threading.BrokenBarrierError) as error:
            barrier.abort()
            results[rank] = error

    threads = [threading.Thread(target=play, args=(rank,)) for rank in range(len(stops))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_write_the_file_of_one(finished, whole, tmp_path, forwarded, world):
    results = ranks_extract(finished, tmp_path, *[never] * world)
    same_features(tmp_path, finished / "whole")
    assert left_over(tmp_path) == []
    assert [done.skipped for done in results] == [5] * world
    shares = [done.samples for done in results]
    assert sum(shares) == run_of_all(finished) + 5
    assert max(shares) - min(shares) <= len(DATASETS)
    assert sum(forwarded) == run_of_all(finished)


@pytest.mark.parametrize("stopped", [(1, 2), (2, 1), (1, 3), (4, 4)])
def test_several_processes_stopped_at_different_places_go_on(finished, whole, tmp_path, stopped):
    results = ranks_extract(finished, tmp_path, *map(stop_after, stopped))
    assert any(isinstance(result, Interrupted) for result in results)
    ranks_extract(finished, tmp_path, never, never)
    same_features(tmp_path, finished / "whole")
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("lost", [0, 1])
def test_rows_of_a_process_whose_notes_are_lost_are_done_again(finished, whole, tmp_path, lost):
    """As when a kill comes after one process has saved and before another has."""
    ranks_extract(finished, tmp_path, stop_after(1), stop_after(1))
    assert ".stills.h5.part" in left_over(tmp_path)
    (tmp_path / f".stills.h5.{lost}.json").unlink(missing_ok=True)
    ranks_extract(finished, tmp_path, never, never)
    same_features(tmp_path, finished / "whole")


def test_another_number_of_processes_begins_again(finished, whole, tmp_path):
    ranks_extract(finished, tmp_path, stop_after(1), stop_after(1))
    assert ".stills.h5.part" in left_over(tmp_path)
    assert extract(finished, tmp_path).samples == run_of_all(finished) + 5
    assert written(tmp_path) == whole
    assert left_over(tmp_path) == []


@pytest.mark.slow
def test_two_real_processes_give_the_features_of_one(site, finished, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "mtl_toolkit", "run", str(finished / "clips.toml"), "--output", str(tmp_path / "run")]
    network = f"network = '{finished / 'run' / 'cnn'}', datasets = ['stills', 'clips', 'val'], batch_size = 8"
    command += ["--set", f"stages=[{{ name = 'features', kind = 'extract', {network} }}]"]
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    same_features(tmp_path / "run" / "features", finished / "run" / "features")
    assert left_over(tmp_path / "run" / "features") == []
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["stages"][0]["skipped_samples"] == 5
