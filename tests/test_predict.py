"""Predictions of a trained stage: every row once, the same in any block, and what `mtl predict` writes."""

from __future__ import annotations

import csv
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import attrs
import numpy as np
import pytest
import torch
from mtl_std.regression import Regression
from torch import Tensor, nn

from mtl_toolkit import (
    DataError,
    HeadOutput,
    PostProcessor,
    Predictions,
    Preprocessing,
    Samples,
    TensorSamples,
    TrainedStage,
    UnreadableSampleError,
    load_config,
    load_stage,
    predict,
    run,
)
from mtl_toolkit.prediction import blocks, joined, postprocessed

SIDE = 16
CONFIG = """
name = "small"
[trainer]
device = "cpu"
threads = 1
[tasks.expr]
head = { type = "expression", hidden = 8 }
[tasks.va]
head = { type = "valence-arousal", hidden = 8, bins = 5 }
[datasets.faces]
type = "synthetic-faces"
samples = 32
[datasets.videos]
type = "synthetic-videos"
videos = 3
frames = 16
seed = 1
[datasets.held_out]
type = "synthetic-videos"
videos = 3
frames = 20
frames_spread = 0.3
missing = 0.2
seed = 2
[datasets.long]
type = "synthetic-videos"
videos = 50
frames = 400
seed = 3
[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }
[defaults]
epochs = 1
[[stages]]
name = "cnn"
streams = [
    { dataset = "faces", task = "expr", batch_size = 16 },
    { dataset = "faces", name = "more", task = "va", batch_size = 16 },
]
[[stages]]
name = "features"
kind = "extract"
network = "cnn"
datasets = ["videos"]
[[stages]]
name = "gru"
features = "features"
temporal = { type = "gru", hidden = 8 }
windows = { length = 8, stride = 4, gaps = "cut" }
streams = [
    { dataset = "videos", name = "e", task = "expr", batch_size = 2 },
    { dataset = "videos", name = "v", task = "va", batch_size = 2 },
]
"""

# A dataset of files: a line per picture, `video frame`, with a third word for one that cannot be read.
CLIPS = '''
from pathlib import Path
from typing import ClassVar

import attrs
import numpy as np
import torch

from mtl_toolkit import Dataset, Detector, Samples, UnreadableSampleError, hookimpl


class ClipSamples(Samples):
    def __init__(self, recipe, size):
        self.lines = [line.split() for line in recipe.path.read_text().splitlines()]
        self.on_error, self.size = recipe.on_error, size
        self.shift = 0 if recipe.detector is None else recipe.detector.shift

    def __len__(self):
        return len(self.lines)

    def labels(self):
        return {}

    def read(self, indices):
        pictures = []
        for index in map(int, indices):
            video, frame, *broken = self.lines[index]
            if broken:
                raise UnreadableSampleError(f"{self.id(index)}: the picture is empty")
            random = torch.Generator().manual_seed(int(frame) + self.shift)
            pictures.append(torch.randint(0, 255, (3, self.size, self.size), generator=random).byte())
        return torch.stack(pictures)

    def id(self, index):
        return "{}/{}.jpg".format(*self.lines[index])

    def column(self, name):
        if name == "video":
            return np.array([line[0] for line in self.lines])
        return np.array([int(line[1]) for line in self.lines]) if name == "frame" else None


@attrs.frozen(kw_only=True)
class Shifted(Detector):
    """Looks elsewhere."""

    name: ClassVar[str] = "shifted"
    shift: int = 1000

    def build(self):
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class Clips(Dataset):
    """A list of pictures."""

    name: ClassVar[str] = "NAME"
    path: Path
    detector: Detector | None = None
    on_error: str = "stop"

    def build(self, facts):
        return ClipSamples(self, facts.image_size)

    @classmethod
    def for_path(cls, path, *, detector=None, on_error="stop"):
        return cls(path=path, detector=detector, on_error=on_error) if path.suffix == ".clips" else None


@hookimpl
def mtl_datasets():
    return [Clips]


@hookimpl
def mtl_detectors():
    return [Shifted]
'''

COLUMNS = [
    "name",
    "video",
    "frame",
    "face",
    "expr",
    *(f"expr.{name}" for name in ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")),
    "va.valence",
    "va.arousal",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run with a CNN, and a GRU on its features."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.toml").write_text(CONFIG)
    run(load_config(folder / "small.toml"), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def cnn(trained) -> TrainedStage:
    return load_stage(trained / "cnn")


@pytest.fixture(scope="module")
def gru(trained) -> TrainedStage:
    return load_stage(trained / "gru")


class Frames(TensorSamples):
    """Pictures in memory that know their video and frame; some cannot be read."""

    def __init__(
        self, inputs: Tensor, videos: Sequence[object], frames: Sequence[int], broken: Sequence[int] = ()
    ) -> None:
        super().__init__(inputs, {}, ids=[f"{v}/{f:05}" for v, f in zip(videos, frames, strict=True)])
        self.columns = {"video": np.array(videos), "frame": np.array(frames, np.int64)}
        self.broken = set(broken)

    def column(self, name: str) -> np.ndarray | None:
        return self.columns.get(name)

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        if bad := self.broken & set(map(int, indices)):
            raise UnreadableSampleError(f"{self.id(min(bad))}: is empty")
        return super().read(indices)


def pictures(rows: int, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 255, (rows, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def clips(stage: TrainedStage, broken: Sequence[tuple[str, int]] = ()) -> Frames:
    """Three videos with gaps, their frames mixed up."""
    numbers = {"b é": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "a": [3, 4, 9], "c": list(range(20, 40))}
    rows = [(video, frame) for video, frames in numbers.items() for frame in frames]
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[place] for place in order]
    assert stage.preprocessing.read_size >= SIDE
    side = stage.preprocessing.read_size
    inputs = torch.randint(
        0, 255, (len(rows), 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    samples = Frames(inputs, *zip(*rows, strict=True), broken=[rows.index(one) for one in broken])
    samples.on_error = "skip" if broken else "stop"
    return samples


def whole(
    stage: TrainedStage, samples: Samples, postprocess: Mapping[str, Sequence[PostProcessor]] | None = None
) -> Predictions:
    return joined(list(predict(stage, samples, batch_size=64, postprocess=postprocess)))


def by_hand(stage: TrainedStage, inputs: Tensor) -> dict[str, np.ndarray]:
    """The predictions of rows that are one window."""
    return {
        task: stage.heads[task].predictions(output.values).numpy()
        for task, output in stage.outputs(inputs).items()
    }


class TestRows:
    def test_every_row_is_there_once_in_order_of_videos_and_frames(self, cnn):
        samples = clips(cnn)
        found = whole(cnn, samples)
        rows = list(zip(found.videos.tolist(), found.frames.tolist(), strict=True))
        first = list(dict.fromkeys(samples.columns["video"].tolist()))
        assert rows == sorted(
            zip(*(samples.columns[name].tolist() for name in ("video", "frame")), strict=True),
            key=lambda row: (first.index(row[0]), row[1]),
        )
        assert found.names.tolist() == [f"{video}/{frame:05}" for video, frame in rows]
        assert found.faces.all()

    def test_values_are_the_heads_own_of_single_pictures(self, cnn):
        samples = clips(cnn)
        found = whole(cnn, samples)
        for row, name in enumerate(found.names.tolist()):
            index = next(place for place in range(len(samples)) if samples.id(place) == name)
            for task, values in by_hand(cnn, samples.inputs[[index]]).items():
                np.testing.assert_allclose(found.values[task][row], values[0], atol=1e-5)

    @pytest.mark.parametrize("name", ["cnn", "gru"])
    def test_the_size_of_blocks_does_not_change_a_value(self, name, request):
        stage = request.getfixturevalue(name)
        samples = clips(stage, broken=[("c", 30)])
        expected = whole(stage, samples)
        for size in (1, 7):
            parts = list(predict(stage, samples, batch_size=size))
            assert len(parts) > 3
            assert max(map(len, parts)) <= max(size, 8)
            found = joined(parts)
            np.testing.assert_array_equal(found.names, expected.names)
            np.testing.assert_array_equal(found.faces, expected.faces)
            for task, values in expected.values.items():
                np.testing.assert_allclose(found.values[task], values, atol=1e-5)

    @pytest.mark.parametrize("name", ["cnn", "gru"])
    def test_loader_processes_do_not_change_a_value(self, name, request):
        stage = request.getfixturevalue(name)
        samples = clips(stage, broken=[("c", 30)])
        found = joined(list(predict(stage, samples, batch_size=8, workers=2)))
        for task, values in whole(stage, samples).values.items():
            np.testing.assert_allclose(found.values[task], values, atol=1e-5)

    def test_samples_without_videos_come_as_they_are(self, cnn):
        side = cnn.preprocessing.read_size
        inputs = torch.randint(0, 255, (5, 3, side, side), dtype=torch.uint8)
        found = whole(cnn, TensorSamples(inputs, {}, ids=list("edcba")))
        assert found.names.tolist() == list("edcba")
        assert found.videos.tolist() == [""] * 5
        assert found.frames.tolist() == [0] * 5
        np.testing.assert_allclose(found.values["va"], by_hand(cnn, inputs)["va"], atol=1e-5)


class TestWindows:
    def test_a_temporal_network_sees_windows_that_follow_each_other_and_end_at_gaps(self, gru):
        samples = clips(gru)
        found = whole(gru, samples)
        assert gru.windows.length == 8
        windows = [("b é", range(1, 9)), ("b é", range(9, 12)), ("a", [3, 4]), ("a", [9])]
        windows += [("c", range(20, 28)), ("c", range(28, 36)), ("c", range(36, 40))]
        self.check(gru, samples, found, windows)

    def test_an_unreadable_frame_has_no_values_and_cuts_its_window(self, gru):
        samples = clips(gru, broken=[("c", 22), ("c", 29), ("c", 30), ("a", 9)])
        found = whole(gru, samples)
        windows = [("b é", range(1, 9)), ("b é", range(9, 12)), ("a", [3, 4])]
        windows += [("c", [20, 21]), ("c", range(23, 28)), ("c", [28]), ("c", range(31, 36))]
        windows += [("c", range(36, 40))]
        self.check(gru, samples, found, windows)

    def check(
        self,
        stage: TrainedStage,
        samples: Frames,
        found: Predictions,
        windows: Sequence[tuple[str, Sequence[int]]],
    ) -> None:
        """The values are those of each window by itself, and NaN elsewhere."""
        rows = {
            frame: place
            for place, frame in enumerate(zip(found.videos.tolist(), found.frames.tolist(), strict=True))
        }
        where = [samples.id(place) for place in range(len(samples))]
        rest = np.ones(len(found), np.bool_)
        for video, frames in windows:
            inputs = samples.inputs[[where.index(f"{video}/{frame:05}") for frame in frames]]
            there = [rows[video, frame] for frame in frames]
            rest[there] = False
            for task, values in by_hand(stage, inputs).items():
                np.testing.assert_allclose(found.values[task][there], values, atol=1e-5)
        np.testing.assert_array_equal(found.faces, ~rest)
        for values in found.values.values():
            assert np.isnan(values[rest]).all()

    def test_a_window_in_which_nothing_can_be_read_is_blank(self, gru):
        samples = clips(gru, broken=[("a", 3), ("a", 4), ("a", 9)])
        for size in (1, 64):
            found = joined(list(predict(gru, samples, batch_size=size)))
            np.testing.assert_array_equal(found.faces, found.videos != "a")

    def test_a_temporal_network_needs_videos(self, gru):
        side = gru.preprocessing.read_size
        samples = TensorSamples(torch.zeros(5, 3, side, side, dtype=torch.uint8), {})
        with pytest.raises(DataError, match="the dataset has no 'video'"):
            whole(gru, samples)


def test_a_sample_that_cannot_be_read_stops_unless_it_is_skipped(cnn):
    samples = clips(cnn, broken=[("a", 4), ("c", 20)])
    found = whole(cnn, samples)
    blank = [f"{video}/{frame:05}" for video, frame in (("a", 4), ("c", 20))]
    assert sorted(found.names[~found.faces].tolist()) == blank
    assert np.isnan(found.values["va"][~found.faces]).all()
    assert not np.isnan(found.values["va"][found.faces]).any()
    samples.on_error = "stop"
    with pytest.raises(UnreadableSampleError, match="is empty"):
        whole(cnn, samples)


@attrs.frozen(kw_only=True)
class Ranked(PostProcessor):
    """Adds to each value its place among the video's rows, which a part of the video would change."""

    name: ClassVar[str] = "ranked"
    step: float = 1.0

    def apply(self, values: np.ndarray, frames: np.ndarray) -> np.ndarray:
        assert (np.diff(frames) > 0).all()
        total = np.nansum(values)
        return (values + total + self.step * np.arange(len(values))[:, None]).astype(np.float32)


class TestPostProcessing:
    @pytest.mark.parametrize("size", [1, 7, 64])
    def test_it_sees_whole_videos_whatever_the_blocks(self, cnn, size):
        samples = clips(cnn, broken=[("c", 25)])
        chains = {"va": [Ranked(), Ranked(step=10)], "expr": [Ranked(step=0.1)]}
        plain = whole(cnn, samples)
        found = list(predict(cnn, samples, batch_size=size, postprocess=chains))
        assert len(found) == 3  # one for each video
        expected = plain.values["va"].copy()
        for video in ("a", "b é", "c"):
            rows = plain.videos == video
            for step in (1, 10):
                places = np.arange(rows.sum())[:, None]
                expected[rows] = expected[rows] + np.nansum(expected[rows]) + step * places
        np.testing.assert_allclose(joined(found).values["va"], expected, rtol=1e-4)
        at_once = postprocessed(plain, chains)
        for task in plain.values:
            np.testing.assert_allclose(joined(found).values[task], at_once.values[task], rtol=1e-5)

    def test_pictures_of_no_video_pass_as_they_come(self, cnn):
        side = cnn.preprocessing.read_size
        samples = TensorSamples(torch.zeros(9, 3, side, side, dtype=torch.uint8), {})
        found = list(predict(cnn, samples, batch_size=4, postprocess={"va": [Ranked()]}))
        assert [len(block) for block in found] == [4, 4, 1]
        np.testing.assert_allclose(joined(found).values["va"], whole(cnn, samples).values["va"])

    def test_pictures_of_a_folder_that_have_no_numbers_stay_as_they_are(self):
        before = values_of(["v"] * 4 + ["w"] * 3, [0, 0, 1, 2, 0, 1, 2])
        after = postprocessed(before, {"xy": [Ranked()]}).values["xy"]
        np.testing.assert_array_equal(after[:2], before.values["xy"][:2])
        assert (after[2:] != before.values["xy"][2:]).all()  # a single frame 0 is one like the others

    def test_a_frame_that_is_there_twice_is_told(self):
        with pytest.raises(DataError) as caught:
            postprocessed(values_of(["v"] * 3, [1, 2, 2]), {"xy": [Ranked()]})
        told = "post-processing needs each frame once (got frame 2 of video 'v' twice)"
        assert caught.value.problems == (told,)


def values_of(videos: Sequence[str], frames: Sequence[int]) -> Predictions:
    rows = len(videos)
    return Predictions(
        heads={"xy": Regression(axes=("x", "y"))},
        values={"xy": np.arange(2.0 * rows, dtype=np.float32).reshape(rows, 2) + 1},
        names=np.array([f"{row}" for row in range(rows)]),
        videos=np.array(videos, np.str_),
        frames=np.array(frames, np.int64),
        faces=np.ones(rows, np.bool_),
    )


class Echo(nn.Module):
    """Gives back its inputs."""

    def forward(
        self, inputs: Tensor, tasks: Sequence[str] | None = None, windows: Sequence[int] | None = None
    ) -> dict[str, HeadOutput]:
        return {"xy": HeadOutput(inputs, inputs[:, :0])}


class Virtual(Samples):
    """Rows that are made when they are read; remembers which, and what of it is still held."""

    def __init__(self, rows: int, per_video: int) -> None:
        self.rows, self.per_video = rows, per_video
        self.read_rows = 0
        self.held: list[weakref.ref[Tensor]] = []

    def __len__(self) -> int:
        return self.rows

    def labels(self) -> Mapping[str, object]:
        return {}

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        self.read_rows += len(indices)
        made = torch.as_tensor(np.asarray(indices))[:, None] * torch.tensor([1.0, -1.0])
        self.held.append(weakref.ref(made))
        return made

    def column(self, name: str) -> np.ndarray | None:
        if name == "video":
            return np.char.mod("%06d", np.arange(self.rows) // self.per_video).astype(np.bytes_)
        return np.arange(self.rows) % self.per_video + 1 if name == "frame" else None


ECHO = TrainedStage(
    model=Echo(),
    heads={"xy": Regression(axes=("x", "y"))},
    preprocessing=Preprocessing(SIDE, SIDE, (0.0,), (1.0,)),
    description={},
    path=Path(),
)


def test_a_long_dataset_is_read_block_by_block_as_blocks_are_taken():
    samples = Virtual(200_000, per_video=100_000)
    found: Iterator[Predictions] = predict(ECHO, samples, batch_size=5000)
    assert samples.read_rows == 0
    kept, taken = [], 0
    for block in found:
        np.testing.assert_array_equal(
            block.values["xy"][:, 0], np.arange(taken, taken + 5000, dtype=np.float32)
        )
        taken += len(block)
        assert samples.read_rows == taken
        kept.append(weakref.ref(block.values["xy"]))
        del block
        gc.collect(0)
        assert sum(one() is not None for one in samples.held) <= 2
        assert sum(one() is not None for one in kept) <= 1
    assert taken == 200_000


def test_post_processing_holds_no_more_than_a_video():
    samples = Virtual(20_000, per_video=1000)
    sizes = []
    for block in predict(ECHO, samples, batch_size=300, postprocess={"xy": [Ranked()]}):
        sizes.append(len(block))
        assert samples.read_rows <= 1000 * len(sizes) + 300
    assert sizes == [1000] * 20


def rows_of(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def here(tmp_path, monkeypatch, trained) -> Path:
    """An empty current folder, with the run beside it as `run`."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("run").symlink_to(trained)
    return tmp_path / "here"


def written(mtl, *arguments: str) -> tuple[list[str], list[dict[str, str]]]:
    """What is said on standard output, and the rows of the file."""
    code, output, errors = mtl("predict", *arguments, "-o", "out.csv", "--device", "cpu")
    assert (code, errors) == (0, "")
    return output.splitlines(), rows_of("out.csv")


class TestCommand:
    def test_a_dataset_of_the_run_becomes_a_table_of_all_its_rows(self, mtl, here, cnn):
        said, rows = written(mtl, "run/cnn", "held_out")
        samples = load_config("run/config.toml").config.datasets["held_out"].build(facts(cnn))
        assert said == [f"out.csv: {len(samples)} rows, predicted by cnn"]
        assert list(rows[0]) == COLUMNS
        assert [row["name"] for row in rows] == [samples.id(place) for place in range(len(samples))]
        assert [int(row["frame"]) for row in rows] == samples.column("frame").tolist()
        assert [row["video"].encode() for row in rows] == samples.column("video").tolist()
        expected = by_hand(cnn, samples.read(range(len(samples))))
        for task, head in cnn.heads.items():
            values = [[float(row[f"{task}.{column}"]) for column in head.columns] for row in rows]
            np.testing.assert_allclose(values, expected[task], atol=1e-4)
        classes = cnn.heads["expr"].meaning()["classes"]
        assert [row["expr"] for row in rows] == [classes[place] for place in expected["expr"].argmax(1)]

    @pytest.mark.parametrize(
        ("given", "stage"),
        [
            ("run", "gru"),
            ("run/gru", "gru"),
            ("run/cnn/best", "cnn"),
            ("run/cnn/last", "cnn"),
            ("run/cnn/", "cnn"),
        ],
    )
    def test_a_run_a_stage_or_a_checkpoint_is_named(self, mtl, here, given, stage):
        said, _ = written(mtl, given, "held_out")
        assert said[-1].endswith(f" rows, predicted by {stage}")

    def test_the_current_folder_may_be_the_stage(self, mtl, here, monkeypatch, trained):
        monkeypatch.chdir(trained / "cnn")
        out = here / "out.csv"
        code, output, _ = mtl("predict", ".", "held_out", "-o", str(out), "--device", "cpu")
        assert code == 0
        assert output.endswith("predicted by cnn\n")

    def test_a_checkpoint_alone_predicts_files_but_knows_no_datasets(self, mtl, here, packages):
        packages.add("clips", {"clips": CLIPS.replace("NAME", "clips")})
        shutil.copytree("run/gru/best", "mine")
        Path("a.clips").write_text("v 1\nv 2\n")
        said, _ = written(mtl, "mine", "a.clips")
        assert said == ["out.csv: 2 rows, predicted by mine"]
        code, _, errors = mtl("predict", "mine", "held_out", "-o", "x.csv")
        assert (code, errors) == (2, "error: held_out: no such file or folder\n")

    def test_smoothing_is_what_the_library_does(self, mtl, here, gru):
        _, plain = written(mtl, "run", "held_out")
        _, smooth = written(
            mtl,
            "run",
            "held_out",
            "--postprocess",
            "va=mean",
            "--postprocess",
            'va={type="median", window=3}',
        )
        from mtl_std.smoothing import Mean, Median

        expected = np.array(
            [[float(row["va.valence"]), float(row["va.arousal"])] for row in plain], np.float32
        )
        frames, videos = (np.array([row[key] for row in plain]) for key in ("frame", "video"))
        for video in dict.fromkeys(videos.tolist()):
            rows = videos == video
            for one in (Mean(), Median(window=3)):
                expected[rows] = one.apply(expected[rows], frames[rows].astype(np.int64))
        found = [[float(row["va.valence"]), float(row["va.arousal"])] for row in smooth]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert [row["expr.fear"] for row in smooth] == [row["expr.fear"] for row in plain]

    def test_a_list_of_videos_gives_every_frame_in_its_order(self, mtl, here):
        _, plain = written(mtl, "run/cnn", "held_out")
        videos = sorted({row["video"] for row in plain}, reverse=True)[:2]
        Path("list.txt").write_text("".join(f"{video},25\n" for video in videos))
        said, rows = written(mtl, "run/cnn", "held_out", "--list", "list.txt")
        names = [f"{video}/{frame:05}.jpg" for video in videos for frame in range(1, 26)]
        assert [row["name"] for row in rows] == names
        own = {(row["video"], int(row["frame"])): row["va.valence"] for row in plain}
        earlier = later = 0
        for row in rows:
            there = sorted(frame for video, frame in own if video == row["video"])
            number = int(row["frame"])
            before = [frame for frame in there if frame <= number]
            nearest = before[-1] if before else there[0]
            assert row["va.valence"] == own[row["video"], nearest]
            assert row["face"] == str(int(nearest == number))
            earlier, later = earlier + (nearest < number), later + (nearest > number)
        listed = sum(row["video"] in videos and int(row["frame"]) <= 25 for row in plain)
        assert said[0] == (
            f"{earlier + later} rows filled from other frames: {earlier} from the nearest earlier one"
            + (f", {later} at a video's start from the nearest later one" if later else "")
        )
        assert said[1:] == [
            f"{len(plain) - listed} predictions left out: not on the list",
            "out.csv: 50 rows, predicted by cnn",
        ]

    def test_a_list_of_pictures_gives_them_in_its_order(self, mtl, here):
        _, plain = written(mtl, "run/cnn", "held_out")
        last, first = plain[-1], plain[0]
        names = [f"{row['video']}/{int(row['frame']):05}.jpg" for row in (last, first)]
        Path("list.txt").write_text("\n".join(names))
        said, rows = written(mtl, "run/cnn", "held_out", "--list", "list.txt")
        assert [row["name"] for row in rows] == names
        assert [row["va.arousal"] for row in rows] == [last["va.arousal"], first["va.arousal"]]
        assert said[0] == f"{len(plain) - 2} predictions left out: not on the list"

    def test_what_is_listed_and_not_there_is_told_before_anything_is_predicted(self, mtl, here, monkeypatch):
        monkeypatch.setattr(blocks, "_block", None)
        Path("list.txt").write_text("seed 2 video 0001,5\nnobody\n")
        code, output, errors = mtl("predict", "run", "held_out", "-o", "o.csv", "--list", "list.txt")
        assert (code, output) == (2, "")
        assert errors == "error: video 'nobody' is in the list, but no frame of it has a prediction\n"

    def test_a_format_writes_what_its_plugin_writes(self, mtl, here):
        said = mtl("predict", "run", "held_out", "-o", "o", "--format", '{type="abaw5", task="va"}')[1]
        assert said.endswith(" rows, predicted by gru\n")
        assert Path("o").read_text().startswith("image_location,valence,arousal\n")


class TestFiles:
    @pytest.fixture(autouse=True)
    def clip(self, packages, here) -> None:
        packages.add("clips", {"clips": CLIPS.replace("NAME", "clips")})
        Path("a.clips").write_text("v 1\nv 2\nv 3 broken\nw 7\n")
        Path("b.clips").write_text("v 1\nv 2\n")

    def test_a_picture_that_cannot_be_read_stops_and_leaves_no_file(self, mtl):
        for stage in ("run/cnn", "run/gru"):
            code, output, errors = mtl("predict", stage, "a.clips", "-o", "out.csv", "--device", "cpu")
            assert (code, output, errors) == (1, "", "error: v/3.jpg: the picture is empty\n")
        assert not list(Path().glob("*out.csv*"))
        assert not list(Path().glob(".*out.csv*"))

    @pytest.mark.parametrize("stage", ["run/cnn", "run/gru"])
    def test_skipped_pictures_have_rows_without_values(self, mtl, stage):
        said, rows = written(mtl, stage, "a.clips", "--on-error", "skip")
        assert said[:-1] == ["1 row without values: no face was found, or the picture cannot be read"]
        assert [row["face"] for row in rows] == ["1", "1", "0", "1"]
        assert {rows[2][column] for column in COLUMNS[4:]} == {""}
        assert "" not in {rows[3][column] for column in COLUMNS[4:]}

    def test_a_dataset_of_the_run_skips_too(self, mtl, trained, monkeypatch):
        Path("run").unlink()
        shutil.copytree(trained, "run")
        more = f'[datasets.mine]\ntype = "clips"\npath = "{Path("a.clips").absolute()}"\n'
        config = Path("run/config.toml").read_text()
        Path("run/config.toml").write_text(config + more)
        code, _, errors = mtl("predict", "run/cnn", "mine", "-o", "out.csv", "--device", "cpu")
        assert (code, errors) == (1, "error: v/3.jpg: the picture is empty\n")
        _, rows = written(mtl, "run/cnn", "mine", "--on-error", "skip", "--detector", "shifted")
        assert rows == written(mtl, "run/cnn", "a.clips", "--on-error", "skip", "--detector", "shifted")[1]

    def test_the_detector_reaches_the_dataset_with_its_options(self, mtl):
        plain = written(mtl, "run/cnn", "b.clips")[1]
        shifted = written(mtl, "run/cnn", "b.clips", "--detector", "shifted")[1]
        again = written(mtl, "run/cnn", "b.clips", "--detector", '{type = "shifted", shift = 0}')[1]
        assert plain == again
        assert plain != shifted

    def test_with_a_format_rows_are_filled(self, mtl):
        options = ("--on-error", "skip", "--format", '{type="abaw5", task="va"}', "--device", "cpu")
        code, output, _ = mtl("predict", "run/cnn", "a.clips", "-o", "out.txt", *options)
        assert code == 0
        assert output.splitlines() == [
            "1 row filled from other frames: 1 from the nearest earlier one",
            "out.txt: 4 rows, predicted by cnn",
        ]
        lines = Path("out.txt").read_text().splitlines()
        assert lines[2].split(",")[1:] == lines[3].split(",")[1:]

    def test_of_several_plugins_that_read_a_file_one_must_be_left(self, mtl, packages):
        packages.add("others", {"others": CLIPS.replace("NAME", "others").replace("shifted", "moved")})
        code, _, errors = mtl("predict", "run", "b.clips", "-o", "out.csv")
        told = "error: b.clips: is read by several dataset plugins: clips, others; disable all but one\n"
        assert (code, errors) == (2, told)
        said, _ = written(mtl, "run", "b.clips", "--disable-plugin", "others:others")
        assert said == ["out.csv: 2 rows, predicted by gru"]

    def test_an_empty_input_is_told(self, mtl):
        Path("none.clips").write_text("")
        code, _, errors = mtl("predict", "run/cnn", "none.clips", "-o", "out.csv")
        assert (code, errors) == (2, "error: none.clips: has no samples\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run/gur held_out", "error: run: there is no trained stage 'gur'; did you mean 'gru'?"),
        ("run/features held_out", "error: run: there is no trained stage 'features'; there are: cnn, gru"),
        (
            "nosuch held_out",
            "error: nosuch: no run and no trained stage there (neither config.toml nor checkpoint.json)",
        ),
        (
            "run heldout",
            "error: heldout: neither a file or folder, nor a dataset of run/config.toml; "
            "did you mean 'held_out'?",
        ),
        ("run nosuch.strange", "error: nosuch.strange: neither a file or folder, nor a dataset of "),
        ("run strange.xyz", "error: strange.xyz: no dataset plugin reads such a file; "),
        (
            "run held_out --format abwa5",
            "error: --format abwa5: unknown writer 'abwa5'; did you mean 'abaw5'?",
        ),
        ("run held_out --format lsd", "error: --format lsd: "),
        ("run held_out --postprocess va", "error: --postprocess va: must be TASK=PLUGIN"),
        (
            "run held_out --postprocess av=mean",
            "error: --postprocess av=mean: unknown task; there are: expr, va",
        ),
        (
            "run held_out --postprocess va=maen",
            "error: --postprocess maen: unknown postprocessor 'maen'; did you mean 'mean'?",
        ),
        (
            "run held_out --postprocess va={type='mean',window=4}",
            "error: --postprocess {type='mean',window=4}: window: must be an odd number, at least 1 (got 4)",
        ),
        (
            "run held_out --detector opencv-cascad",
            "error: --detector opencv-cascad: unknown detector 'opencv-cascad'; did you mean",
        ),
        (
            "run held_out --detector opencv-cascade",
            "error: held_out: takes no detector; dataset 'synthetic-videos' has no such key",
        ),
        ("run held_out --list nosuch.txt", "Error: Invalid value for '--list': File 'nosuch.txt' does not"),
        ("run held_out --list empty.txt", "error: empty.txt: must name at least one picture or video"),
        ("run held_out --precision fp16", "error: --precision: fp16 needs a GPU; bf16 works on the CPU too"),
        ("run held_out --batch-size 0", "Error: Invalid value for '--batch-size': 0 is not in the range"),
        ("run held_out --disable-plugin mtl-std:smothing", "error: no installed plugin 'mtl-std:smothing'"),
        ("run held_out -o .", "error: --output .: is a folder; name the file to write"),
        ("run", "Error: Missing argument 'INPUT'."),
    ],
)
def test_wrong_usage_is_told_in_a_line(mtl, here, arguments, line):
    Path("strange.xyz").write_text("?")
    Path("empty.txt").write_text("# nothing\n")
    output = () if " -o " in arguments else ("-o", "out.csv")
    device = () if "--precision" not in arguments else ("--device", "cpu")
    code, said, errors = mtl("predict", *arguments.split(" "), *output, *device)
    assert (code, said) == (2, "")
    lines = errors.splitlines()
    assert lines[-1].startswith(line)
    assert lines[0] == lines[-1] or lines[0].startswith("Usage: ")
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("options", [(), ("--postprocess", "va=mean"), ("--list", "list.txt")])
def test_a_signal_leaves_no_part_of_a_file(mtl, here, monkeypatch, number, code, options):
    make, made = blocks._block, []

    def interrupted(*arguments):
        made.append(make(*arguments))
        if len(made) == 2:
            os.kill(os.getpid(), number)
        return made[-1]

    monkeypatch.setattr(blocks, "_block", interrupted)
    Path("list.txt").write_text("seed 2 video 0001,5\n")
    Path("out.csv").write_text("what was there")
    found, output, errors = mtl(
        "predict", "run/cnn", "held_out", "-o", "out.csv", "--batch-size", "16", "--device", "cpu", *options
    )
    assert (found, output) == (code, "")
    assert re.fullmatch(r"stopped at \d+ of \d+ samples; nothing is written\n", errors)
    assert Path("out.csv").read_text() == "what was there"
    assert {path.name for path in here.iterdir()} == {"run", "list.txt", "out.csv"}


@pytest.mark.slow  # starts the command line anew
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_ends_a_long_prediction_at_once(here, workers):
    command = [sys.executable, "-m", "mtl_toolkit", "predict", "run", "long", "-o", "out.csv"]
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--workers", str(workers)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    while not Path(".out.csv.tmp").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    with process:
        assert process.wait(timeout=120) == 130
        errors = process.stderr.read()
    assert re.fullmatch(r"stopped at [\d,]+ of [\d,]+ samples; nothing is written\n", errors)
    assert {path.name for path in here.iterdir()} == {"run"}


def facts(stage: TrainedStage):
    from mtl_toolkit import DataFacts

    return DataFacts(stage.heads, stage.preprocessing.read_size, validation=True)
