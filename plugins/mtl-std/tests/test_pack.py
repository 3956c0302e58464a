"""Packing a dataset: what reads back, what survives a crash, what is left out, what is refused."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mtl_std import pack_parts, packed
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.hdf5 import Hdf5
from mtl_std.image_csv import ImageCsv
from mtl_std.multi_label import MultiLabel
from mtl_std.packed import PictureBytes, open_packed
from mtl_std.packing import write_packed
from mtl_std.pictures import decode, encode, square
from mtl_std.regression import Regression
from mtl_std.stored_labels import task_labels, to_stored
from PIL import Image
from torch import Tensor

from mtl_toolkit import (
    DataError,
    DataFacts,
    Head,
    Labels,
    RunError,
    Samples,
    TensorSamples,
    UnreadableSampleError,
)
from mtl_toolkit.data import find_overlap, fingerprint

SIZE = 8
COUNT = 10
PART = 3
CLASSES = ("neutral", "happiness", "sadness")
HEADS: Mapping[str, Head] = {
    "expr": Classification(classes=CLASSES, label="expression"),
    "votes": Classification(classes=CLASSES, soft=True, label="votes"),
    "va": BinnedRegression(axes=("valence", "arousal"), label="va"),
    "age": Regression(range=(0, 0.7), label="age"),
    "au": MultiLabel(names=("AU1", "AU2", "AU4"), label="au"),
}


class Faces(TensorSamples):
    """Samples in memory that note what is read, and of which some cannot be."""

    def __init__(
        self,
        labels: Mapping[str, Labels],
        *,
        broken: Sequence[int] = (),
        on_error: Literal["stop", "skip"] = "stop",
        instead: Callable[[], object] | None = None,
        **columns: Any,
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randint(0, 256, (COUNT, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
        super().__init__(pictures, {}, ids=[f"face {number}" for number in range(COUNT)])
        self._labels = dict(labels)
        self.on_error = on_error
        self.broken = broken
        self.instead = instead
        self.columns = {name: np.asarray(values) for name, values in columns.items()}
        self.reads: list[list[int]] = []

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        self.reads.append([int(index) for index in indices])
        for index in self.broken:
            if index in self.reads[-1]:
                if self.instead is not None:
                    self.instead()
                raise UnreadableSampleError(f"face {index}: is torn")
        return super().read(indices)

    def column(self, name: str) -> np.ndarray | None:
        return self.columns.get(name)


def labels_of_every_kind(poison: float = np.nan) -> dict[str, Labels]:
    """Each missing in some samples; what lies there is poison."""
    random = np.random.default_rng(0)
    votes = random.integers(1, 9, (COUNT, 3)).astype(np.float32)
    values = {
        "expr": random.integers(0, 3, COUNT),
        "votes": votes / votes.sum(1, keepdims=True),
        "va": random.uniform(-1, 1, (COUNT, 2)).astype(np.float32),
        "age": np.full((COUNT, 1), 0.7, np.float32),
        "au": random.integers(0, 2, (COUNT, 3)).astype(np.float32),
    }
    found = {}
    for task, known in values.items():
        valid = random.random(known.shape) < 0.7
        if task == "votes":
            valid[:] = valid[:, :1]
        hidden = 99 if known.dtype.kind == "i" else poison
        found[task] = Labels(np.where(valid, known, hidden).astype(known.dtype), valid)
    return found


def pack(path: Path, samples: Samples, heads: Mapping[str, Head] = HEADS, **options: Any) -> int:
    return Hdf5.write(path, samples, heads, size=SIZE, **options)


def build(path: Path, tasks: Mapping[str, Head] = HEADS, **fields: Any) -> Samples:
    return Hdf5(path=path, **fields).build(DataFacts(tasks, SIZE))


def assert_equal(found: Mapping[str, Labels], expected: Mapping[str, Labels]) -> None:
    assert list(found) == list(expected)
    for task, labels in expected.items():
        assert found[task].values.dtype == labels.values.dtype
        np.testing.assert_array_equal(found[task].valid, labels.valid)
        np.testing.assert_array_equal(found[task].values[labels.valid], labels.values[labels.valid])


def column_of(samples: Samples, name: str) -> list[Any]:
    values = samples.column(name)
    assert values is not None
    found: list[Any] = values.tolist()
    return found


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four parts, the last one of a single sample."""
    monkeypatch.setattr("mtl_std.pack_samples.PART", PART)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A table of six pictures, two of each person."""
    folder = tmp_path / "original"
    folder.mkdir()
    lines = ["file,who"]
    for number in range(6):
        Image.new("RGB", (SIZE, SIZE), (40 * number, 0, 0)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'abc'[number // 2]}")
    table = folder / "table.csv"
    table.write_text("\n".join(lines))
    return table


# What reads back


def test_labels_of_every_kind_read_back_equal(tmp_path: Path) -> None:
    """Whatever lies where they are missing, and nothing of it is in the file."""
    labels = labels_of_every_kind()
    assert pack(tmp_path / "x.h5", Faces(labels)) == COUNT
    assert_equal(build(tmp_path / "x.h5").labels(), labels)
    with h5py.File(tmp_path / "x.h5") as file:
        assert all(np.isfinite(label["values"][:]).all() for label in file["labels"].values())
        assert file["labels/expression/values"][:].max() < 3


@given(arrays.arrays(np.float32, (4, 3), elements=st.floats(0.125, 1, width=32)))
def test_shares_read_back_to_the_last_bit(votes: np.ndarray) -> None:
    """Though they do not add up to exactly 1 after rounding."""
    shares = votes / votes.sum(axis=1, keepdims=True)
    labels = Labels(shares, np.ones(shares.shape, np.bool_))
    stored = to_stored("votes", HEADS["votes"], labels)
    back = task_labels("votes", HEADS["votes"], stored, np.arange(4), dropped=(), source="")
    np.testing.assert_array_equal(back.values, shares)


def test_another_head_gets_the_labels_in_its_own_terms(tmp_path: Path) -> None:
    """Classes and units by name, ranges scaled: the file says what its numbers mean."""
    pack(tmp_path / "x.h5", Faces(labels_of_every_kind()))
    labels = labels_of_every_kind()
    turned = Classification(classes=CLASSES[::-1], label="expression")
    wide = BinnedRegression(axes=("arousal", "valence"), range=(-10, 10), label="va")
    found = build(tmp_path / "x.h5", {"expr": turned, "va": wide}).labels()
    valid = labels["expr"].valid
    assert (2 - found["expr"].values[valid] == labels["expr"].values[valid]).all()
    assert np.array_equal(found["va"].valid, labels["va"].valid[:, ::-1])
    both = found["va"].valid
    np.testing.assert_allclose(found["va"].values[both], labels["va"].values[:, ::-1][both] * 10, rtol=1e-6)


def test_pictures_are_those_of_the_dataset_up_to_jpeg(tmp_path: Path) -> None:
    """In the same order."""
    samples = Faces({})
    samples.inputs = torch.arange(COUNT, dtype=torch.uint8)[:, None, None, None] * 25 + torch.zeros(
        COUNT, 3, SIZE, SIZE, dtype=torch.uint8
    )
    pack(tmp_path / "x.h5", samples, quality=90)
    found = build(tmp_path / "x.h5").read(range(COUNT))
    assert (found.int() - samples.inputs.int()).abs().max() <= 2


def test_pictures_come_in_the_order_asked_for(tmp_path: Path) -> None:
    """Also twice, or none; in the memory format in which they are decoded, as are scaled ones."""
    pack(tmp_path / "x.h5", Faces({}))
    samples = build(tmp_path / "x.h5")
    with open_packed(tmp_path / "x.h5") as file:
        stored = [decode(encoded) for encoded in file.pictures().read(range(COUNT))]
    wanted = [7, 2, 2, 9, 0]
    found = samples.read(wanted)
    assert torch.equal(found, torch.stack([stored[index] for index in wanted]))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert samples.read([]).shape == (0, 3, SIZE, SIZE)
    larger = Hdf5(path=tmp_path / "x.h5").build(DataFacts({}, 2 * SIZE)).read(wanted)
    assert larger.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(larger, torch.stack([square(stored[index], 2 * SIZE) for index in wanted]))


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(0, 300) | st.just(70_000), min_size=1, max_size=9), block=st.integers(1, 9))
def test_pictures_of_any_length_are_found(sizes: list[int], block: int) -> None:
    """Wherever the longest one lies; lengths are kept in no more bytes than they need."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "x.h5"
        write_packed(path, map(bytes, sizes), labels={}, columns={})
        patch.setattr(packed, "BLOCK", block)
        with open_packed(path) as file:
            pictures = file.pictures()
    assert pictures.lengths.tolist() == sizes
    assert pictures.lengths.itemsize == (1 if max(sizes) < 256 else 2 if max(sizes) < 65_536 else 4)


class Drip(FileIO):
    """A file that gives three bytes at a time, as a file system may."""

    def readinto(self, buffer: Any) -> int:
        return super().readinto(memoryview(buffer)[:3])

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        return super().read(min(size, 3))


def test_pictures_are_read_in_full_where_a_file_gives_little_at_a_time(tmp_path: Path) -> None:
    """And up to the end of a file that has become shorter."""
    (tmp_path / "x").write_bytes(bytes(range(20)))
    path: Any = SimpleNamespace(open=lambda *_, **__: Drip(tmp_path / "x"))
    pictures = PictureBytes(path, np.array([2, 12, 0, 13, 20]), np.array([10, 3, 0, 30, 4]))
    found = [list(encoded) for encoded in pictures.read(range(5))]
    assert found == [[*range(2, 12)], [12, 13, 14], [], [*range(13, 20)], []]


@pytest.mark.parametrize("frames", [{"max": 4}, {"min": 3, "max": 6}, {"min": 0}, 9])
def test_columns_and_pictures_are_those_of_the_rows_chosen(tmp_path: Path, frames: Any) -> None:
    """The first rows, some in the middle, all, the last one."""
    pack(tmp_path / "x.h5", Faces({}, frame=range(COUNT)))
    whole, part = build(tmp_path / "x.h5"), build(tmp_path / "x.h5", where={"frame": frames})
    rows = column_of(part, "frame")
    assert len(part) == len(rows)
    assert [part.id(index) for index in range(len(part))] == [f"face {row}" for row in rows]
    assert torch.equal(part.read(range(len(part))), whole.read(rows))


def test_facts_about_samples_read_back(tmp_path: Path) -> None:
    """Columns of text of any type, and the numbers of frames."""
    columns = {
        "group": [f"set: person {number}" for number in range(COUNT)],
        "video": np.array(["Ünal", None] * 5, object),
        "frame": range(1, COUNT + 1),
        "split": [b"train"] * COUNT,
        "source": ["set"] * COUNT,
    }
    pack(tmp_path / "x.h5", Faces({}, **columns))
    samples = build(tmp_path / "x.h5", where={"frame": {"max": 2}, "split": "train"})
    assert [samples.id(index) for index in range(2)] == ["face 0", "face 1"]
    assert column_of(samples, "group") == [b"set: person 0", b"set: person 1"]
    assert column_of(samples, "video") == ["Ünal".encode(), b""]
    assert column_of(samples, "frame") == [1, 2]
    assert column_of(samples, "source") == [b"set", b"set"]


def test_a_pack_shares_files_and_groups_with_what_it_was_made_from(tmp_path: Path, pictures: Path) -> None:
    """Also a pack of the pack: nothing is put in front of a name again."""
    original = ImageCsv(csv=pictures, group="who").build(DataFacts({}, SIZE))
    folder = tmp_path / "elsewhere"
    pack(folder / "one.h5", original)
    one = build(folder / "one.h5", {})
    pack(folder / "two.h5", one)
    two = build(folder / "two.h5", {})
    for first, second in ((original, one), (one, two), (two, original)):
        found = find_overlap([("a", first)], [("b", second)])
        assert [(overlap.column, overlap.count) for overlap in found] == [("file", 6), ("group", 3)]
    assert fingerprint(two) == fingerprint(original)


def test_packs_of_samples_that_are_no_files_share_none(tmp_path: Path) -> None:
    """Though their ids are alike and they lie in one folder."""
    packs = []
    for name in ("one.h5", "two.h5"):
        pack(tmp_path / name, Faces({}))
        packs.append((name, build(tmp_path / name, {})))
    assert find_overlap(packs[:1], packs[1:]) == []


def test_two_tasks_with_the_same_labels_share_them_and_others_are_refused(tmp_path: Path) -> None:
    """A name stands for one kind of label in a file."""
    labels = labels_of_every_kind()
    heads = {"expr": HEADS["expr"], "again": Classification(classes=CLASSES, label="expression", hidden=7)}
    pack(tmp_path / "x.h5", Faces({"expr": labels["expr"], "again": labels["expr"]}), heads)
    assert list(build(tmp_path / "x.h5", heads).labels()) == ["expr", "again"]
    other = Labels(labels["expr"].values, ~labels["expr"].valid)
    other.values[other.valid] = 0
    samples = Faces({"expr": labels["expr"], "again": other})
    with pytest.raises(DataError, match="'again': another task has other labels of the name 'expression'"):
        pack(tmp_path / "y.h5", samples, heads)


# What survives


def test_workers_make_no_difference_to_the_bytes(tmp_path: Path) -> None:
    """Nor to what is reported, but for the order."""
    labels = labels_of_every_kind()
    for workers in (0, 2):
        told: list[int] = []
        pack(tmp_path / f"{workers}.h5", Faces(labels), workers=workers, progress=told.append)
        assert (told[0], told[-1], sorted(told)) == (0, COUNT, told)
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.h5", "2.h5"]


@pytest.mark.parametrize("workers", [0, 1])
def test_after_a_crash_finished_parts_are_not_read_again(tmp_path: Path, workers: int) -> None:
    """The same call goes on, and the file is the same as without the crash."""
    labels = labels_of_every_kind()
    pack(tmp_path / "whole.h5", Faces(labels))
    path = tmp_path / "x.h5"

    def crash(done: int) -> None:
        if done == 2 * PART:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(path, Faces(labels), workers=workers, progress=crash)
    assert not path.exists()
    told: list[int] = []
    samples = Faces(labels)
    assert pack(path, samples, progress=told.append) == COUNT
    assert told[0] >= 2 * PART
    assert samples.reads[0][0] == told[0]
    assert len(samples.reads) == len(told) - 1
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["whole.h5", "x.h5"]


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({"quality": 80}, {}),
        ({"origin": {"crop": "eyes"}}, {}),
        ({}, {"group": ["anna"] * COUNT}),
        ({}, {}),
    ],
)
def test_another_plan_starts_over(
    tmp_path: Path, options: dict[str, Any], columns: dict[str, list[str]]
) -> None:
    """Another quality, another origin, other columns, other labels."""
    labels = labels_of_every_kind()
    with pytest.raises(UnreadableSampleError):
        pack(tmp_path / "x.h5", Faces(labels, broken=[COUNT - 1]))
    if not options and not columns:
        labels["expr"].valid[:] = False
    told: list[int] = []
    pack(tmp_path / "x.h5", Faces(labels, **columns), progress=told.append, **options)
    assert told[0] == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_cannot_be_read_stops_with_its_message_and_the_old_file_stays(
    tmp_path: Path, workers: int
) -> None:
    """Once it is skipped, the same parts go on."""
    path = tmp_path / "x.h5"
    path.write_bytes(b"old")
    with pytest.raises(UnreadableSampleError, match="face 9: is torn"):
        pack(path, Faces({}, broken=[9]), workers=workers)
    assert path.read_bytes() == b"old"
    samples = Faces({}, broken=[9], on_error="skip")
    assert pack(path, samples) == COUNT - 1
    assert samples.reads[-2:] == [[9], [9]]  # the batch, then one by one
    # A worker that was still at another part is ended in the middle of it; that part is made again.
    assert workers or len(samples.reads) == 2


def test_what_is_skipped_is_left_out_with_its_labels(tmp_path: Path) -> None:
    """Ids, labels, columns and pictures stay together."""
    labels = labels_of_every_kind()
    samples = Faces(labels, broken=[0, 4], on_error="skip", frame=range(COUNT))
    assert pack(tmp_path / "x.h5", samples) == COUNT - 2
    kept = [1, 2, 3, 5, 6, 7, 8, 9]
    found = build(tmp_path / "x.h5")
    assert_equal(
        found.labels(),
        {task: Labels(known.values[kept], known.valid[kept]) for task, known in labels.items()},
    )
    assert [found.id(index) for index in range(len(found))] == [f"face {index}" for index in kept]
    assert column_of(found, "frame") == kept
    pack(tmp_path / "all.h5", Faces(labels))
    assert torch.equal(found.read(range(8)), build(tmp_path / "all.h5").read(kept))


def test_a_worker_that_is_killed_is_told_and_finished_parts_stay(tmp_path: Path) -> None:
    """As when the system runs short of memory; nothing waits for it forever."""
    parent = os.getpid()

    def kill() -> None:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match="a worker process was ended by signal 9"):
        pack(tmp_path / "x.h5", Faces({}, broken=[9], instead=kill), workers=1)
    told: list[int] = []
    pack(tmp_path / "x.h5", Faces({}), progress=told.append)
    assert told[0] == COUNT - 1


@pytest.mark.parametrize("cut", [0, 1, 12, 10_000])
def test_a_damaged_part_is_found(tmp_path: Path, cut: int) -> None:
    """A picture that changed, or bytes missing at the end; the part is named, so that it can be removed."""
    path = tmp_path / "x.h5"
    with pytest.raises(UnreadableSampleError):
        pack(path, Faces({}, broken=[9]))
    part = tmp_path / ".x.h5.parts" / "000001.part"
    content = bytearray(part.read_bytes())
    content[5] ^= 1
    part.write_bytes(content[: max(len(content) - cut, 0)])
    with pytest.raises(RunError, match=r"000001\.part: is damaged; remove it and run again"):
        pack(path, Faces({}))
    assert not path.exists()
    part.unlink()
    assert pack(path, Faces({})) == COUNT


def test_no_more_than_a_few_pictures_are_decoded_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not grow with a part, nor with the dataset."""
    monkeypatch.setattr(pack_parts, "READ", 2)
    samples = Faces({})
    pack(tmp_path / "x.h5", samples)
    assert max(map(len, samples.reads)) == 2
    assert sorted(index for read in samples.reads for index in read) == list(range(COUNT))


# What is refused


def test_damaged_bytes_of_a_picture_are_found_when_it_is_read(tmp_path: Path) -> None:
    """Even where they would still make a picture; the file and the sample are named."""
    path = tmp_path / "x.h5"
    pack(path, Faces({}))
    with h5py.File(path, "r+") as file:
        end = int(file["pictures/offsets"][4])
        file["pictures/data"][end - 3] ^= 1
    samples = build(path, on_error="skip")
    with pytest.raises(UnreadableSampleError, match=r"x\.h5: face 3: the picture's bytes are not those"):
        samples.read([2, 3])
    assert samples.read([2, 4]).shape == (2, 3, SIZE, SIZE)
    with h5py.File(path, "r+") as file:
        del file["pictures/crc32"]
    assert build(path).read([3]).shape == (1, 3, SIZE, SIZE)


def test_a_dataset_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    """No empty file is made of it."""
    with pytest.raises(RunError, match="none of 10 samples can be read"):
        pack(tmp_path / "x.h5", Faces({}, broken=range(COUNT), on_error="skip"))
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize("inputs", [torch.zeros(COUNT, 5), torch.zeros(COUNT, 3, 4, 4, dtype=torch.uint8)])
def test_samples_that_are_no_pictures_of_the_size_are_refused(tmp_path: Path, inputs: Tensor) -> None:
    """Features, or another size."""
    shape = ", ".join(map(str, inputs.shape[1:]))
    with pytest.raises(DataError, match=rf"must be pictures, uint8 of shape \(3, 8, 8\) \(got .*{shape}"):
        pack(tmp_path / "x.h5", TensorSamples(inputs, {}))


def test_labels_that_would_not_read_back_are_refused(tmp_path: Path) -> None:
    """Before any picture is read."""
    labels = {"va": Labels(np.full((COUNT, 2), 1.5, np.float32), np.ones((COUNT, 2), np.bool_))}
    samples = Faces(labels)
    with pytest.raises(DataError, match=r"task 'va': must lie in the stored range \[-1, 1\] \(got 1.5\)"):
        pack(tmp_path / "x.h5", samples)
    assert samples.reads == []


def test_a_file_that_cannot_be_written_is_a_run_error(tmp_path: Path) -> None:
    """Found before pictures are read."""
    (tmp_path / "file").touch()
    samples = Faces({})
    with pytest.raises(RunError, match="cannot be"):
        pack(tmp_path / "file" / "x.h5", samples)
    assert samples.reads == []


def test_pictures_are_encoded_without_torchvision_s_encoder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has announced the encoder's end; both are libjpeg at the same settings."""
    pictures = Faces({}).inputs
    expected = encode(pictures, 95)
    monkeypatch.setitem(sys.modules, "torchvision.io", None)
    found = encode(pictures, 95)
    for ours, theirs in zip(map(decode, found), map(decode, expected), strict=True):
        assert (ours.int() - theirs.int()).abs().max() <= 2
