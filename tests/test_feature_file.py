"""Files of features: what stands in them, read with h5py alone; how samples read them; what is refused."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pickle
import sys

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal

from mtl_toolkit import (
    DataError,
    LiveStream,
    SequentialPlan,
    StreamLoader,
    TensorSamples,
    UnreadableSampleError,
)
from mtl_toolkit.config import Windows
from mtl_toolkit.data import (
    FeatureLayout,
    FeatureSamples,
    covering_windows,
    create_features,
    map_features,
    open_features,
    video_order,
)

HEADS = {"expr": Expression(), "va": ValenceArousal()}
LAYOUT = FeatureLayout("heads", {"expr": 3, "va": 2}, {"expr": "expr", "va": "va"})


class Frames(TensorSamples):
    """Frames of videos given as (video, frame); masked labels hold what must never be read."""

    def __init__(self, rows, lacks=()):
        count = len(rows)
        generator = np.random.default_rng(count)
        masks = {"expr": generator.random(count) < 0.7, "va": generator.random((count, 2)) < 0.7}
        targets = {
            "expr": np.where(masks["expr"], generator.integers(0, 7, count), 99),
            "va": np.where(masks["va"], generator.uniform(-1, 1, (count, 2)), np.nan).astype(np.float32),
        }
        as_tensors = ({k: torch.from_numpy(v) for k, v in one.items()} for one in (targets, masks))
        super().__init__(torch.zeros(count, 1), *as_tensors, [f"{v or 'none'}/{f}.jpg" for v, f in rows])
        columns = {
            "video": np.array([video.encode() for video, _ in rows], np.bytes_),
            "frame": np.array([frame for _, frame in rows], np.int64),
        }
        self.columns = {name: column for name, column in columns.items() if name not in lacks}

    def read(self, indices):
        raise AssertionError("pictures are not read")

    def column(self, name):
        return self.columns.get(name)

    def problems(self):
        raise AssertionError("pictures are not looked for")

    def counts(self):
        return {"odd": 3}


ROWS = [("b", 2), ("a", 5), ("", 9), ("b", 1), ("a", 4), ("é", 1), ("b", 7)]
ORDER = [2, 3, 0, 6, 4, 1, 5]  # rows without a video, then videos as they come, each by frame


def features_of(samples, width=5):
    """Of sample i: 10 i, 10 i + 1, ..."""
    return 10.0 * np.arange(len(samples))[:, None] + np.arange(width)


def write(path, samples, layout=LAYOUT, *, skipped=(), dtype="float32"):
    """A file as an extract stage leaves it; rows of skipped samples hold NaN."""
    order = video_order(samples)
    create_features(path, samples, order, layout, dtype=dtype, origin={"run": "r", "key": "k"})
    parts, present = map_features(path, "r+")
    values, start = features_of(samples, layout.width)[order], 0
    kept = ~np.isin(order, list(skipped))
    for part, width in layout.parts.items():
        parts[part][:] = np.where(kept[:, None], values[:, start : start + width], np.nan)
        start += width
    present[:] = kept
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "clips.h5"


# What stands in the file


def test_the_file_holds_what_is_promised(path):
    samples = Frames(ROWS)
    write(path, samples, skipped=[0, 5])
    with h5py.File(path) as file:
        attributes = dict(file.attrs)
        assert attributes.pop("format") == "mtl-toolkit features"
        assert attributes.pop("version") == 1
        assert attributes.pop("source") == "heads"
        assert {name: json.loads(text) for name, text in attributes.items()} == {
            "origin": {"run": "r", "key": "k"},
            "parts": ["expr", "va"],
            "tasks": {"expr": "expr", "va": "va"},
        }
        assert file["sample"][()].tolist() == ORDER
        assert file["present"][()].tolist() == [row not in (0, 5) for row in ORDER]
        assert file["frame"][()].tolist() == [ROWS[row][1] for row in ORDER]
        assert file["id"].asstr()[()].tolist() == [samples.id(row) for row in ORDER]
        assert file["videos/name"].asstr()[()].tolist() == ["", "b", "a", "é"]
        assert file["videos/start"][()].tolist() == [0, 1, 4, 6, 7]
        for part, first, last in (("expr", 0, 3), ("va", 3, 5)):
            assert file[f"features/{part}"].dtype == np.float32
            found, wanted = file[f"features/{part}"][()], features_of(samples)[ORDER, first:last]
            rows = file["present"][()]
            assert np.array_equal(found[rows], wanted[rows])


@pytest.mark.parametrize("task", ["expr", "va"])
def test_it_holds_the_labels_with_what_is_missing(path, task):
    samples = Frames(ROWS)
    write(path, samples)
    labels = samples.labels()[task]
    with h5py.File(path) as file:
        values, valid = file[f"labels/{task}/values"][()], file[f"labels/{task}/valid"][()]
    assert (values.dtype, valid.dtype) == (labels.values.dtype, np.bool_)
    assert np.array_equal(valid, labels.valid[ORDER])
    assert 0 < valid.sum() < valid.size
    assert np.array_equal(values[valid], labels.values[ORDER][valid])


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 9)), unique=True, max_size=20
    )
)
def test_every_video_lies_together_and_its_frames_ascend(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "any.h5"
    create_features(path, Frames(rows), video_order(Frames(rows)), LAYOUT, dtype="float32", origin={})
    with h5py.File(path) as file:
        assert sorted(file["sample"][()].tolist()) == list(range(len(rows)))
        found = [rows[row] for row in file["sample"][()]]
        assert file["frame"][()].tolist() == [frame for _, frame in found]
        if not rows:
            return
        names, starts = file["videos/name"].asstr()[()].tolist(), file["videos/start"][()].tolist()
    assert len(set(names)) == len(names)
    assert [video for video, _ in found] == np.repeat(names, np.diff(starts)).tolist()
    for start, stop in itertools.pairwise(starts):
        assert found[start:stop] == sorted(found[start:stop])


@pytest.mark.parametrize("lacks", [("video",), ("frame",), ("video", "frame")])
def test_without_videos_rows_are_in_the_order_of_the_dataset(path, lacks):
    samples = Frames(ROWS, lacks)
    write(path, samples)
    with h5py.File(path) as file:
        assert file["sample"][()].tolist() == list(range(len(ROWS)))
        assert ("frame" in file) == ("frame" not in lacks)
        assert ("videos" in file) == ("video" not in lacks)
        if "videos" in file:  # they are not put together, as nothing says in which order
            assert file["videos/name"].asstr()[()].tolist() == ["b", "a", "", "b", "a", "é", "b"]
    assert FeatureSamples(samples, path).read(range(7)).tolist() == features_of(samples).tolist()


def test_features_lie_in_one_piece_whose_disk_space_is_taken_at_once(path):
    wide = FeatureLayout("trunk", {"va": 100_000}, {"expr": "va", "va": "va"})
    create_features(path, Frames(ROWS), np.arange(7), wide, dtype="float16", origin={})
    with h5py.File(path) as file:
        column = file["features/va"]
        assert (column.chunks, column.compression, column.dtype) == (None, None, np.float16)
        assert column.id.get_offset() is not None
    if hasattr(os, "posix_fallocate"):
        assert path.stat().st_blocks * 512 >= path.stat().st_size > 7 * 100_000 * 2


def test_a_full_disk_shows_when_the_file_is_begun(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        write(path, Frames(ROWS))


def test_a_file_system_that_cannot_take_room_is_written_all_the_same(path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unknown, raising=False)
    samples = Frames(ROWS)
    assert FeatureSamples(samples, write(path, samples)).read([3]).tolist() == [[30, 31, 32, 33, 34]]


def test_tasks_that_share_a_trunk_share_one_part(path):
    layout = FeatureLayout("trunk", {"expr": 4}, {"expr": "expr", "va": "expr"})
    samples = Frames(ROWS)
    found = FeatureSamples(samples, write(path, samples, layout)).layout
    assert found == layout
    assert found.columns() == {"expr": (0, 4), "va": (0, 4)}
    assert found.width == 4


def test_parts_stand_side_by_side_in_their_order():
    layout = FeatureLayout("heads", {"z": 3, "a": 2, "m": 4}, {"a": "a", "m": "m", "z": "z"})
    assert layout.columns() == {"z": (0, 3), "a": (3, 5), "m": (5, 9)}


@pytest.mark.parametrize("task", ["present", "sample", "features"])
def test_a_task_may_have_the_name_of_anything_in_the_file(path, task):
    layout = FeatureLayout("heads", {task: 2, "va": 2}, {task: task, "va": "va"})
    samples = Frames(ROWS)
    found = FeatureSamples(samples, write(path, samples, layout, skipped=[1]))
    assert found.read([4, 0]).tolist() == features_of(samples, 4)[[4, 0]].tolist()
    assert [found.skips(row) for row in range(3)] == [False, True, False]


def test_a_dataset_without_samples_makes_a_file_that_can_be_opened(path):
    assert open_features(write(path, Frames([]))).rows.tolist() == []


def test_there_may_be_no_labels(path):
    samples = Frames(ROWS)
    samples._labels = {}
    write(path, samples)
    with h5py.File(path) as file:
        assert "labels" not in file
    assert FeatureSamples(samples, path).read([0]).tolist() == [[0, 1, 2, 3, 4]]


# Reading


def test_samples_have_their_own_features_in_whatever_order_they_are_asked_for(path):
    samples = Frames(ROWS)
    found = FeatureSamples(samples, write(path, samples))
    values = found.read([6, 0, 6, 3])
    assert values.dtype == torch.float32
    assert values.tolist() == features_of(samples)[[6, 0, 6, 3]].tolist()
    assert found.read(np.arange(7)).tolist() == features_of(samples).tolist()


def test_half_precision_is_read_as_float32(path):
    samples = Frames(ROWS)
    values = FeatureSamples(samples, write(path, samples, dtype="float16")).read(range(7))
    assert values.dtype == torch.float32
    assert values.tolist() == features_of(samples).tolist()


def test_all_but_the_inputs_is_that_of_the_dataset(path):
    samples = Frames(ROWS)
    found = FeatureSamples(samples, path)  # the file need not be there yet
    assert len(found) == 7
    assert found.labels() is samples.labels()
    assert found.id(1) == "a/5.jpg"
    assert found.column("frame") is samples.column("frame")
    assert found.column("group") is None
    assert (found.problems(), found.counts()) == ([], {"odd": 3})
    write(path, samples)
    assert found.read([1]).tolist() == [[10, 11, 12, 13, 14]]


def test_a_sample_that_was_passed_over_is_passed_over_again(path):
    samples = Frames(ROWS)
    found = FeatureSamples(samples, write(path, samples, skipped=[1, 4]))
    assert [row for row in range(7) if found.skips(row)] == [1, 4]
    with pytest.raises(UnreadableSampleError, match=r"clips\.h5: a/4\.jpg has no features"):
        found.read([0, 4, 1])
    values, kept = found.read_or_skip([1, 0, 4, 6])
    assert kept.tolist() == [1, 3]
    assert values.tolist() == features_of(samples)[[0, 6]].tolist()


def stream(samples, length=3):
    table = covering_windows(samples, Windows(length=length))
    return LiveStream("v", "expr", samples, lambda rng: rng.permutation(0), 2, table)


def test_windows_of_features_leave_out_what_was_passed_over(path):
    """Its features are NaN, and none of them comes through."""
    samples = Frames([("a", frame) for frame in range(8)])
    found = FeatureSamples(samples, write(path, samples, skipped=[1, 5]))
    batches = list(StreamLoader(SequentialPlan(stream(found)), HEADS).epoch(0))
    assert [batch.windows for batch in batches] == [(2, 2), (2,)]
    assert [batch.skipped for batch in batches] == [2, 0]
    rows = torch.cat([batch.inputs for batch in batches])
    assert rows.tolist() == features_of(samples)[[0, 2, 3, 4, 6, 7]].tolist()


def test_it_can_be_pickled_opened_or_not(path):
    samples = Frames(ROWS)
    found = FeatureSamples(samples, path)
    before = pickle.loads(pickle.dumps(found))
    write(path, samples)
    found.read([0])
    wide = len(pickle.dumps(found))
    for copy in (before, pickle.loads(pickle.dumps(found))):
        assert copy.read([2, 5]).tolist() == features_of(samples)[[2, 5]].tolist()
    assert wide == len(pickle.dumps(before)), "features must not go through the pipe"


@pytest.mark.parametrize("platform", ["linux", pytest.param("darwin", marks=pytest.mark.slow)])
def test_loader_processes_read_the_same_forked_or_spawned(path, monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    samples = Frames([("a", frame) for frame in range(8)])
    plan = SequentialPlan(stream(FeatureSamples(samples, write(path, samples, skipped=[2])), 2))
    loader = StreamLoader(plan, HEADS, workers=1)
    try:
        for one, other in zip(StreamLoader(plan, HEADS).epoch(0), loader.epoch(0), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert (one.ids, one.windows, one.rows_read) == (other.ids, other.windows, other.rows_read)
    finally:
        loader.close()


# What is refused


def refused(path, *, samples=None):
    """The line that says why."""
    with pytest.raises(DataError) as caught:
        FeatureSamples(samples or Frames(ROWS), path).read([0])
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line.removeprefix(f"{path}: ")


def test_a_file_that_is_missing(path):
    assert refused(path) == "no such file"


def test_a_folder(path):
    path.mkdir()
    assert refused(path).startswith("cannot be read as a file of features: ")


@pytest.mark.parametrize("content", [b"", b"name,valence\n", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_hdf5(path, content):
    path.write_bytes(content)
    assert refused(path).startswith("cannot be read as a file of features: ")


def test_another_hdf5_file(path):
    with h5py.File(path, "w") as file:
        file["id"] = [1, 2]
    assert refused(path) == "must be a file of mtl-toolkit features (got format None)"
    with h5py.File(path, "a") as file:
        file.attrs["format"] = "mtl-toolkit"
    assert refused(path) == "must be a file of mtl-toolkit features (got format 'mtl-toolkit')"


def test_a_newer_version(path):
    write(path, Frames(ROWS))
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 2
    assert refused(path) == "written by a newer mtl-toolkit (version 2, this one reads 1)"


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file(path, share):
    size = write(path, Frames(ROWS)).stat().st_size
    os.truncate(path, int(size * share))
    assert refused(path).startswith("cannot be read as a file of features: ")


@pytest.mark.parametrize("name", ["sample", "present", "features", "features/va", "videos/start", "id"])
def test_a_file_that_lacks_something(path, name):
    samples = Frames(ROWS, ("video", "frame") if name == "id" else ())
    write(path, samples)
    with h5py.File(path, "a") as file:
        del file[name]
    assert name.split("/")[-1] in refused(path, samples=samples)


DAMAGED = [(name, None) for name in ("tasks", "parts", "origin", "source")]
DAMAGED += [(name, text) for name in ("tasks", "parts") for text in ("{", "17", '["expr", 3]')]
DAMAGED += [
    ("tasks", '{"expr": "unknown"}'),
    ("parts", '{"unknown": 3}'),
    ("origin", "{"),
    ("source", "eyes"),
]


@pytest.mark.parametrize(("name", "text"), DAMAGED)
def test_a_file_whose_description_is_damaged(path, name, text):
    write(path, Frames(ROWS))
    with h5py.File(path, "a") as file:
        del file.attrs[name]
        if text is not None:
            file.attrs[name] = text
    assert refused(path).startswith("cannot be read as a file of features: ")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("sample", [0, 1, 2, 3, 4, 5, 5]),
        ("sample", [0, 1, 2, 3, 4, 5, 7]),
        ("sample", [0.5] * 7),
        ("sample", [0, 1, 2]),
        ("sample", 3),
        ("present", [True] * 3),
        ("features/va", [[0.0, 1.0]] * 6),
        ("features/va", [0.0] * 7),
    ],
)
def test_a_file_whose_columns_do_not_fit_together(path, name, column):
    write(path, Frames(ROWS))
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = column
    assert refused(path).startswith("cannot be read as a file of features: ")


@pytest.mark.parametrize("options", [{"chunks": (2, 2)}, {"compression": "gzip"}])
def test_a_file_that_was_packed_again(path, options):
    """A map of it would show other bytes than the features."""
    write(path, Frames(ROWS))
    with h5py.File(path, "a") as file:
        values = file["features/va"][()]
        del file["features/va"]
        file.create_dataset("features/va", data=values, **options)
    assert refused(path).endswith("/features/va must lie in one piece, neither chunked nor compressed")


def test_features_of_another_number_of_samples(path):
    write(path, Frames(ROWS))
    assert refused(path, samples=Frames(ROWS[:-1])) == "has features of 7 samples (the dataset has 6)"


def test_features_of_other_videos_or_frames(path):
    """As many samples are not enough: each row would have another one's features."""
    write(path, Frames(ROWS))
    renamed = Frames([("é" if v == "a" else "a" if v == "é" else v, f) for v, f in ROWS])
    assert refused(path, samples=renamed) == "has features of other videos: of 'a' where the dataset has 'é'"
    later = Frames([(v, f + (v == "b")) for v, f in ROWS])
    assert refused(path, samples=later) == "has features of other frames: of 1 where the dataset has 2"
    shuffled = Frames([ROWS[row] for row in (1, 0, 2, 3, 4, 5, 6)])
    assert refused(path, samples=shuffled).startswith("has features of other ")


def test_where_there_are_no_videos_features_of_samples_of_other_names(path):
    lacks = ("video", "frame")
    write(path, Frames(ROWS, lacks))
    turned = Frames(ROWS[::-1], lacks)
    assert refused(path, samples=turned) == (
        "has features of other samples: of 'b/2.jpg' where the dataset has 'b/7.jpg'"
    )
