"""The hdf5 dataset: what is read from a packed file, and what is said about one that cannot be used."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.hdf5 import Hdf5
from mtl_std.multi_label import MultiLabel
from mtl_std.packing import write_packed
from mtl_std.stored_labels import StoredLabels, class_ids, target_values
from PIL import Image
from torch.utils.data import DataLoader

from mtl_toolkit import DataError, DataFacts, Head, LiveStream, Samples, UnreadableSampleError, collate
from mtl_toolkit.testing import check_dataset

CLASSES = ("neutral", "happiness", "sadness")
EXPR = Classification(classes=CLASSES, label="expression")
VA = BinnedRegression(axes=("valence", "arousal"), range=(-1, 1), label="va")
SAMPLES = 6


def picture(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level * 30, 0, 255 - level * 30)).save(buffer, "PNG")
    return buffer.getvalue()


def expression(*ids: int, classes: Sequence[str] = CLASSES) -> StoredLabels:
    values = np.array(ids)
    return StoredLabels(values, values >= 0, classes=tuple(classes))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Six pictures with expression, valence-arousal, ids and splits."""
    path = tmp_path / "faces.h5"
    va = np.linspace(-10, 10, 2 * SAMPLES).reshape(SAMPLES, 2)
    valid = np.ones((SAMPLES, 2), bool)
    valid[1, 1] = False
    write_packed(
        path,
        (picture(level) for level in range(SAMPLES)),
        labels={
            "expression": expression(0, 1, 2, -1, 1, 0),
            "va": StoredLabels(va, valid, units=("valence", "arousal"), range=(-10, 10)),
        },
        columns={
            "id": [f"Ünal/{number}" for number in range(SAMPLES)],
            "split": ["train", "train", "val", "train", "val", ""],
        },
        preprocessing={"aligned": True},
    )
    return path


def build(path: Path, tasks: dict[str, Head] | None = None, size: int = 8, **fields: Any) -> Samples:
    return Hdf5(path=path, **fields).build(DataFacts(tasks or {}, size))


def problems_of(path: Path, tasks: dict[str, Head] | None = None, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        build(path, tasks, **fields)
    return str(caught.value)


def column_of(samples: Samples, name: str) -> list[Any]:
    values = samples.column(name)
    assert values is not None
    found: list[Any] = values.tolist()
    return found


def change(path: Path, name: str, values: Any) -> None:
    """Replace a dataset of the file."""
    with h5py.File(path, "r+") as file:
        del file[name]
        if values is not None:
            file[name] = values


# What is read


def test_pictures_come_in_the_order_asked_for(packed: Path) -> None:
    """Whatever the order in the file; repeated ones too."""
    samples = build(packed)
    pictures = samples.read([4, 0, 5, 0])
    assert pictures.shape == (4, 3, 8, 8)
    assert pictures.dtype == torch.uint8
    assert pictures[:, 0, 0, 0].tolist() == [120, 0, 150, 0]
    assert build(packed, size=12).read([1]).shape == (1, 3, 12, 12)


def test_labels_are_found_by_the_head_s_name_for_them(packed: Path) -> None:
    """Missing labels are not valid; a task the file knows nothing of is absent."""
    tasks = {"expr": EXPR, "au": MultiLabel(names=("AU1",))}
    labels = build(packed, tasks).labels()
    assert list(labels) == ["expr"]
    assert labels["expr"].valid.tolist() == [True, True, True, False, True, True]
    assert labels["expr"].values[labels["expr"].valid].tolist() == [0, 1, 2, 1, 0]


def test_a_task_may_be_mapped_to_another_stored_label(packed: Path) -> None:
    """By the labels option."""
    head = Classification(classes=CLASSES)
    assert build(packed, {"e": head}).labels() == {}
    assert len(build(packed, {"e": head}, labels={"e": "expression"}).labels()["e"]) == SAMPLES


def test_a_stored_range_is_scaled_to_that_of_the_task(packed: Path) -> None:
    """-10..10 becomes -1..1; one of two units may be missing."""
    labels = build(packed, {"va": VA}).labels()["va"]
    assert labels.values[0, 0] == -1
    assert labels.values[-1, 1] == 1
    assert labels.valid[1].tolist() == [True, False]
    assert labels.values.dtype == np.float32


def test_classes_are_matched_by_name(packed: Path) -> None:
    """A head with its classes in another order gets other ids; the names agree."""
    classes = ("sadness", "contempt", "neutral", "happiness")
    labels = build(packed, {"expr": Classification(classes=classes, label="expression")}).labels()["expr"]
    found = [classes[number] for number in labels.values[labels.valid]]
    assert found == ["neutral", "happiness", "sadness", "happiness", "neutral"]


def test_a_stored_class_the_task_lacks_is_refused_unless_dropped(packed: Path) -> None:
    """Dropped, its labels are missing; a dropped class that does not exist is refused too."""
    head = {"expr": Classification(classes=("neutral", "happiness"), label="expression")}
    assert "task 'expr': the task has no class 'sadness'" in problems_of(packed, head)
    labels = build(packed, head, drop_classes=("sadness",)).labels()["expr"]
    assert labels.valid.tolist() == [True, True, False, False, True, True]
    message = problems_of(packed, head, drop_classes=("sadnes",))
    assert "drop_classes: there is no class 'sadnes'; did you mean 'sadness'?" in message


@given(st.permutations(["a", "b", "c", "d"]), st.lists(st.integers(0, 3) | st.none()))
def test_remapped_ids_name_the_same_classes(names: list[str], ids: list[int | None]) -> None:
    """For any order of the classes."""
    stored = ("a", "b", "c", "d")
    values = np.array([np.nan if number is None else number for number in ids], float)
    result = class_ids(values, stored, names, ())
    assert [None if np.isnan(number) else names[int(number)] for number in result] == [
        None if number is None else stored[number] for number in ids
    ]


def test_units_are_matched_by_name_and_by_place_where_they_have_none() -> None:
    """Extra units are left out; one that is not there is refused with the nearest."""
    values = np.array([[0.1, 0.2, 0.3]])
    stored = StoredLabels(values, np.ones((1, 3), bool), units=("arousal", "x", "valence"))
    assert target_values(stored, VA).tolist() == [[0.3, 0.1]]
    bare = StoredLabels(values[:, :2], np.ones((1, 2), bool))
    assert target_values(bare, VA).tolist() == [[0.1, 0.2]]
    wrong = StoredLabels(values[:, :2], np.ones((1, 2), bool), units=("valence", "arousl"))
    with pytest.raises(ValueError, match="there is no unit 'arousal'; did you mean 'arousl'"):
        target_values(wrong, VA)
    with pytest.raises(ValueError, match=r"shape \[samples, 2\]"):
        target_values(StoredLabels(values, np.ones((1, 3), bool)), VA)


def test_stored_votes_become_shares() -> None:
    """For a head with soft targets."""
    votes = StoredLabels(np.array([[1, 3], [0, 0]]), np.ones((2, 2), bool), classes=("b", "a"))
    found = target_values(votes, Classification(classes=("a", "b"), soft=True))
    np.testing.assert_array_equal(found, [[0.75, 0.25], [np.nan, np.nan]])


def test_where_selects_samples_by_columns_of_text(packed: Path) -> None:
    """Ids, labels and pictures stay together."""
    samples = build(packed, {"expr": EXPR}, where={"split": {"not": ["train", ""]}})
    assert [samples.id(index) for index in range(len(samples))] == ["Ünal/2", "Ünal/4"]
    assert samples.labels()["expr"].values.tolist() == [2, 1]
    assert samples.read([1])[0, 0, 0, 0] == 120
    split = samples.column("split")
    assert split is not None
    assert split.tolist() == [b"val", b"val"]
    assert samples.column("group") is None
    files = samples.column("file")
    assert files is not None
    assert [file.decode() for file in files] == [f"{packed.parent}: Ünal/2", f"{packed.parent}: Ünal/4"]


def test_texts_of_any_length_are_read(packed: Path) -> None:
    """Other programs store texts with a length of their own each."""
    change(packed, "split", ["a", "längere", "", "b", "a", "a"])
    assert len(build(packed, where={"split": ["längere", "b"]})) == 2


def test_numbers_of_frames_select_too(tmp_path: Path) -> None:
    """As text, or between bounds; they are read back as integers."""
    path = tmp_path / "frames.h5"
    columns = {"video": ["a", "a", "b"], "frame": [1, 20, 3]}
    write_packed(path, [picture(level) for level in range(3)], labels={}, columns=columns)
    samples = build(path, where={"frame": {"min": 2}})
    assert column_of(samples, "frame") == [20, 3]
    assert column_of(samples, "video") == [b"a", b"b"]
    assert len(build(path, where={"frame": 20})) == 1


def test_whole_names_are_compared_as_they_are(tmp_path: Path) -> None:
    """File and group have nothing put in front of them, and an id is no file."""
    path = tmp_path / "whole.h5"
    columns = {"id": ["1"], "file": ["/data/1.jpg"], "group": ["set: anna"], "source": ["set"]}
    write_packed(path, [picture(0)], labels={}, columns=columns, whole_names=True)
    samples = build(path)
    assert column_of(samples, "file") == [b"/data/1.jpg"]
    assert column_of(samples, "group") == [b"set: anna"]
    change(path, "file", None)
    assert build(path).column("file") is None


def test_without_ids_samples_are_numbered(packed: Path) -> None:
    """Ids are optional."""
    change(packed, "id", None)
    assert build(packed).id(3) == "3"


def test_two_loader_processes_read_what_one_process_reads(packed: Path) -> None:
    """Also after the file has been read in the parent: nothing of it is shared that moves."""
    heads = {"expr": EXPR, "va": VA}
    samples = build(packed, heads)
    stream = LiveStream("faces", "expr", samples, lambda _: np.arange(SAMPLES), 2)

    class Steps:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, step: int) -> Any:
            return collate([stream], [np.array([5 - step, step])], heads)

    here = [Steps()[step] for step in range(3)]
    loader = DataLoader(
        Steps(),  # type: ignore[arg-type]
        batch_size=None,
        collate_fn=lambda batch: batch,
        num_workers=2,
        multiprocessing_context="fork",
    )
    for ours, theirs in zip(here, loader, strict=True):
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.targets["va"], theirs.targets["va"])
        assert ours.ids == theirs.ids


def test_samples_can_be_sent_to_a_process_that_is_not_forked(packed: Path) -> None:
    """They are pickled, and read the file anew."""
    samples = build(packed)
    assert torch.equal(pickle.loads(pickle.dumps(samples)).read([3]), samples.read([3]))


# What is said about a file that cannot be used


def test_a_file_that_is_not_there_or_not_hdf5_is_named(packed: Path, tmp_path: Path) -> None:
    """Missing, empty, truncated, of another kind, or a folder."""
    whole = packed.read_bytes()
    for content, reason in (
        (None, "No such file or directory"),
        (b"", "is empty (0 bytes)"),
        (whole[: len(whole) // 2], "is truncated or not an HDF5 file"),
        (b"file,expression\n", "is truncated or not an HDF5 file"),
    ):
        path = tmp_path / "other.h5"
        if content is not None:
            path.write_bytes(content)
        assert problems_of(path) == f"{path}: {reason}"
    assert problems_of(tmp_path) == f"{tmp_path}: Is a directory"


def test_another_format_or_version_is_refused(packed: Path) -> None:
    """A newer version says that a newer release may read it."""
    with h5py.File(packed, "r+") as file:
        file.attrs["version"] = 2
    assert "must be of format version 1 (got 2); a newer mtl-std may read others" in problems_of(packed)
    with h5py.File(packed, "r+") as file:
        file.attrs["format"] = "other"
    assert "the attribute 'format' must be 'mtl-toolkit' (got 'other')" in problems_of(packed)
    with h5py.File(packed, "r+") as file:
        del file.attrs["format"]
    assert "(got None)" in problems_of(packed)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "pictures/offsets",
            [0, 9, 5, 6, 7, 8, 9],
            "pictures/offsets must start at 0 or above and never go down",
        ),
        ("pictures/offsets", [-1, 1, 2, 3, 4, 5, 6], "pictures/offsets must start at 0 or above"),
        ("pictures/offsets", np.zeros(0, np.int64), "pictures/offsets must start at 0 or above"),
        ("pictures/offsets", [0, 1, 2, 3, 4, 5, 10**9], "pictures/offsets must end within the "),
        ("pictures/offsets", [0, 1, 2], "crc32 must have as many rows as there are pictures, 2 (got 6)"),
        ("pictures/offsets", None, "there is no pictures/offsets; there are: crc32, data"),
        ("split", ["train"], "split must have as many rows as there are pictures, 6 (got 1)"),
        ("pictures/data", None, "there is no pictures/data"),
        ("pictures/crc32", [1, 2], "pictures/crc32 must have as many rows as there are pictures, 6 (got 2)"),
        ("pictures/crc32", [1] * 6, "pictures/crc32 must be uint32 (got int64)"),
        ("pictures/data", np.zeros(9999, np.int16), "pictures/data must be uint8 and stored contiguously"),
        ("labels/expression/values", [0, 1], "labels/expression/values must have as many rows as there are"),
        ("labels/expression/values", [0, 1, 2, 0, 7, 1], "class ids must be from 0 to 2 (got 7)"),
        ("labels/expression/values", [[0]] * 6, "labels/expression/valid must be bool of shape (6, 1)"),
        ("labels/expression/valid", [1] * 6, "labels/expression/valid must be bool of shape (6,) (got int64"),
        ("labels/expression/valid", None, "there is no labels/expression/valid; there are: values"),
        ("labels/va/values", np.full((6, 2), np.nan), "a valid value must be finite (sample 0 is not)"),
        ("labels/va/values", np.full((6, 2), np.inf), "a valid value must be finite (sample 0 is not)"),
    ],
)
def test_contents_that_do_not_agree_are_refused(packed: Path, name: str, values: Any, message: str) -> None:
    """With the name of the dataset within the file."""
    change(packed, name, values)
    found = problems_of(packed, {"expr": EXPR, "va": VA}, where={"split": {"present": True}})
    assert found.startswith(f"{packed}: ")
    assert message in found


def test_values_beyond_the_stored_range_are_refused(packed: Path) -> None:
    """They are not clipped in scaling."""
    change(packed, "labels/va/values", np.full((SAMPLES, 2), 11.0))
    assert "task 'va': must lie in the stored range [-10, 10] (got 11)" in problems_of(packed, {"va": VA})


def test_pictures_that_are_not_contiguous_are_refused(packed: Path) -> None:
    """Compressed or chunked data cannot be read at an offset."""
    with h5py.File(packed, "r+") as file:
        data = file["pictures/data"][:]
        del file["pictures/data"]
        file.create_dataset("pictures/data", data=data, chunks=(64,), compression="gzip")
    assert "pictures/data must be uint8 and stored contiguously" in problems_of(packed)


def test_a_name_that_is_not_stored_is_told_with_the_nearest(packed: Path) -> None:
    """For labels that are mapped, and for columns of `where`."""
    message = problems_of(packed, {"expr": EXPR}, labels={"expr": "expresion"})
    assert "there is no labels/expresion; did you mean 'expression'?" in message
    assert "there is no column 'splt'; did you mean 'split'?" in problems_of(packed, where={"splt": "train"})
    assert "no sample is left by `where`, of 6 in the file" in problems_of(packed, where={"split": "test"})


def test_a_picture_that_cannot_be_decoded_is_named(packed: Path) -> None:
    """By file and id; the file may also have gone since it was opened."""
    change(packed, "pictures/crc32", None)
    with h5py.File(packed, "r+") as file:
        file["pictures/data"][:10] = 0
    samples = build(packed, on_error="skip")
    assert samples.on_error == "skip"
    with pytest.raises(UnreadableSampleError, match=r"faces\.h5: Ünal/0: is not a picture"):
        samples.read([1, 0])
    packed.unlink()
    with pytest.raises(UnreadableSampleError, match=r"faces\.h5: No such file"):
        samples.read([1])


# Writing


@given(st.lists(st.binary(max_size=50), max_size=5), st.lists(st.text(max_size=5), max_size=5))
def test_bytes_and_texts_are_read_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, pictures: list[bytes], texts: list[str]
) -> None:
    """Any pictures, even empty ones; any texts but those that end in zero bytes."""
    from mtl_std.packed import open_packed

    texts = [(texts[number] if number < len(texts) else "").rstrip("\0") for number in range(len(pictures))]
    path = tmp_path_factory.mktemp("packed") / "any.h5"
    write_packed(path, pictures, labels={}, columns={"id": texts})
    with open_packed(path) as file:
        found, column = file.pictures(), file.column("id")
    assert column is not None
    assert [text.decode() for text in column] == texts
    assert list(found.read(range(len(pictures)))) == pictures


def test_an_interrupted_write_leaves_what_was_there(packed: Path) -> None:
    """No half file, no leftovers beside it."""
    before = packed.read_bytes()

    def broken() -> Iterator[bytes]:
        yield picture(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_packed(packed, broken(), labels={})
    assert packed.read_bytes() == before
    assert list(packed.parent.iterdir()) == [packed]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": {"e": expression(0)}}, "labels 'e' need 2 rows"),
        ({"labels": {}, "columns": {"id": ["a"]}}, "column 'id' needs 2 values"),
        ({"labels": {}, "columns": {"frame": [1, 2, 3]}}, "column 'frame' needs 2 values"),
        ({"labels": {}, "columns": {"grp": ["a", "b"]}}, "no column 'grp'; did you mean 'group'"),
    ],
)
def test_lengths_that_do_not_agree_are_not_written(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    """The caller gets an error, and there is no file."""
    with pytest.raises(ValueError, match=message):
        write_packed(tmp_path / "x.h5", [picture(0), picture(1)], **arguments)
    assert list(tmp_path.iterdir()) == []


# Paths


def test_a_packed_file_is_known_by_its_suffix_and_format(packed: Path, tmp_path: Path) -> None:
    """A detector is not needed; HDF5 files of other formats are not of this kind."""
    assert Hdf5.for_path(packed, on_error="skip") == Hdf5(path=packed, on_error="skip")
    upper = tmp_path / "FACES.HDF5"
    upper.write_bytes(packed.read_bytes())
    assert Hdf5.for_path(upper) == Hdf5(path=upper)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = [1]
    assert Hdf5.for_path(other) is None
    text = tmp_path / "notes.txt"
    text.touch()
    assert Hdf5.for_path(text) is None
    assert Hdf5.for_path(tmp_path) is None


def test_a_damaged_file_with_the_suffix_is_refused(packed: Path, tmp_path: Path) -> None:
    """No other dataset could read it either; nor a version that is not known yet."""
    cut = tmp_path / "cut.h5"
    cut.write_bytes(packed.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cut\.h5: is truncated or not an HDF5 file"):
        Hdf5.for_path(cut)
    with h5py.File(packed, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(DataError, match=r"must be of format version 1 \(got 2\)"):
        Hdf5.for_path(packed)


def test_it_conforms(packed: Path) -> None:
    """To what `mtl_toolkit.testing` asks of every dataset."""
    for check in check_dataset(Hdf5(path=packed), {"expression": EXPR, "va": VA}, image_size=8):
        check()


def test_columns_that_are_stored_are_named(packed: Path) -> None:
    """The ids stand for files, as nothing says that there are whole names."""
    samples = build(packed, where={"split": "val"})
    assert samples.column_names() == ("id", "split", "file")
    assert column_of(samples, "split") == [b"val", b"val"]
    assert all(samples.column(name) is not None for name in samples.column_names())
