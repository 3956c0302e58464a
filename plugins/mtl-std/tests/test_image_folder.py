"""The image-folder dataset: what is listed, in which order, which faces are cut out, and what is refused."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mtl_std.classification import Classification
from mtl_std.face_cut import face_square
from mtl_std.image_folder import FolderSamples, ImageFolder
from mtl_std.multi_label import MultiLabel
from mtl_std.picture_folders import frame_numbers
from mtl_std.pictures import square
from PIL import Image

from mtl_toolkit import (
    CachedSamples,
    ConcatSamples,
    DataError,
    DataFacts,
    Detector,
    Head,
    LiveStream,
    UnreadableSampleError,
    collate,
)
from mtl_toolkit.testing import check_dataset

EXPR = Classification(classes=("neutral", "happiness", "sadness"))


def write_picture(path: Path, level: int = 0, size: tuple[int, int] = (20, 10)) -> None:
    """A picture of one red level; the detector below finds a face where it is not 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, 50)).save(path, "PNG")


def build(root: Path, tasks: dict[str, Head] | None = None, size: int = 8, **fields: Any) -> FolderSamples:
    return ImageFolder(root=root, **fields).build(DataFacts(tasks or {}, size))


def ids(samples: FolderSamples) -> list[str]:
    return [samples.id(index) for index in range(len(samples))]


def column(samples: FolderSamples, name: str) -> list[Any]:
    values = samples.column(name)
    assert values is not None
    return values.tolist()


@attrs.frozen(kw_only=True)
class RedFaces(Detector):
    """Finds a face of a given box, and a smaller one, in pictures with any red."""

    name: ClassVar[str] = "red-faces"
    box: tuple[float, float, float, float] = (0, 0, 4, 4)

    def build(self) -> Callable[[np.ndarray], np.ndarray]:
        def find(picture: np.ndarray) -> np.ndarray:
            assert picture.dtype == np.uint8
            assert picture.flags.c_contiguous
            assert picture.shape[2] == 3
            boxes = [self.box, (0, 0, 1, 1)] if picture[..., 0].any() else []
            return np.array(boxes, np.float32).reshape(-1, 4)

        return find


# What is listed


def test_pictures_come_by_folder_then_number_then_name(tmp_path: Path) -> None:
    """Numbers count as numbers; the folder is the video, the number the frame, from the name's end."""
    names = ["b/10.png", "b/9.png", "b/x.png", "a/c/img_003.JPG", "a/c/take2_1.jpeg", "z.png", "cover 7.png"]
    for name in names:
        write_picture(tmp_path / name)
    samples = build(tmp_path)
    assert ids(samples) == [
        "z.png",
        "cover 7.png",
        "a/c/take2_1.jpeg",
        "a/c/img_003.JPG",
        "b/x.png",
        "b/9.png",
        "b/10.png",
    ]
    assert column(samples, "video") == [b"", b"", b"a/c", b"a/c", b"b", b"b", b"b"]
    assert column(samples, "frame") == [0, 7, 1, 3, 0, 9, 10]
    assert column(samples, "file") == [str(tmp_path / name).encode() for name in ids(samples)]
    assert samples.column("group") is None
    assert samples.column("frame").dtype == np.int64


@given(
    st.lists(
        st.tuples(st.text("ab_", max_size=3), st.integers(0, 10**20) | st.none()), min_size=1, unique=True
    )
)
def test_positive_frame_numbers_ascend_and_are_those_of_the_names(
    parts: list[tuple[str, int | None]],
) -> None:
    """Unless a number occurs twice, or has more digits than a frame number would."""
    names = [f"{text}{'' if number is None else number}.jpg".encode() for text, number in parts]
    order, frames = frame_numbers(names)
    assert sorted(order.tolist()) == list(range(len(names)))
    assert (np.diff(frames[frames > 0]) > 0).all()
    expected = [0 if number is None or number >= 10**18 else number for _, number in parts]
    positive = [number for number in expected if number > 0]
    if len(set(positive)) < len(positive):
        assert not frames.any()
    else:
        assert frames.tolist() == [expected[place] for place in order]


def test_a_folder_in_which_a_number_occurs_twice_is_no_sequence(tmp_path: Path) -> None:
    """A sequence has each number once; another folder keeps its numbers."""
    for name in ("people/anna_1.png", "people/bob_1.png", "people/bob_2.png", "video/1.png", "video/2.png"):
        write_picture(tmp_path / name)
    assert column(build(tmp_path), "frame") == [0, 0, 0, 1, 2]


def test_other_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    """Others are counted; what begins with a dot is not even that."""
    for name in ("a.png", ".b.png", ".hidden/c.png", "sub/._d.png"):
        write_picture(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sub" / "labels.csv").touch()
    samples = build(tmp_path)
    assert ids(samples) == ["a.png"]
    assert samples.counts() == {"files that are no pictures": 2}


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    """A link to a folder elsewhere is a folder; one to a folder above is left out."""
    write_picture(tmp_path / "elsewhere" / "1.png")
    write_picture(tmp_path / "root" / "2.png")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root")
    assert ids(build(tmp_path / "root")) == ["2.png", "link/1.png"]


def test_one_picture_is_a_dataset_too(tmp_path: Path) -> None:
    """Whatever else is in its folder."""
    write_picture(tmp_path / "face.png", 100)
    write_picture(tmp_path / "other.png")
    samples = build(tmp_path / "face.png")
    assert ids(samples) == ["face.png"]
    assert column(samples, "file") == [str(tmp_path / "face.png").encode()]
    assert column(samples, "video") == [b""]
    assert samples.read([0])[0, 0].unique().tolist() == [100]


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    """Missing, without pictures, or with a name that is no text."""
    with pytest.raises(DataError, match=f"^{tmp_path / 'none'}: No such file or directory$"):
        build(tmp_path / "none")
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match=r"there are no pictures in this folder or below \(it has no files\)"):
        build(tmp_path)
    (tmp_path / "sub" / "clip.mp4").touch()
    with pytest.raises(DataError, match="got 1 other files"):
        build(tmp_path)
    try:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))).touch()
    except OSError:
        return  # this file system takes no such names
    with pytest.raises(DataError, match=r"names must be UTF-8 text \(got b'\\xff.png'\)"):
        build(tmp_path)


# Labels


def test_folders_named_like_classes_give_labels(tmp_path: Path) -> None:
    """In any case, for tasks whose classes have all the names; a picture in the root has no label."""
    for name in ("Happiness/x/1.png", "Happiness/2.png", "neutral/3.png", "4.png"):
        write_picture(tmp_path / name)
    tasks = {
        "expr": EXPR,
        "animal": Classification(classes=("cat", "dog")),
        "aus": MultiLabel(names=("neutral", "happiness")),
    }
    samples = build(tmp_path, tasks, class_folders=True)
    assert ids(samples) == ["4.png", "Happiness/2.png", "Happiness/x/1.png", "neutral/3.png"]
    assert list(samples.labels()) == ["expr"]
    assert samples.labels()["expr"].valid.tolist() == [False, True, True, True]
    assert samples.labels()["expr"].values[1:].tolist() == [1, 1, 0]
    assert build(tmp_path, tasks).labels() == {}


def test_folders_that_are_no_classes_are_refused_where_classes_are_wanted(tmp_path: Path) -> None:
    """With the nearest class; without a task that has classes there is nothing to check."""
    write_picture(tmp_path / "happines" / "1.png")
    with pytest.raises(DataError) as caught:
        build(tmp_path, {"expr": EXPR}, class_folders=True)
    assert str(caught.value) == (
        f"{tmp_path}: class_folders: folder 'happines' must be a class of task 'expr'; "
        "did you mean 'happiness'?"
    )
    assert build(tmp_path, {"aus": MultiLabel(names=("a",))}, class_folders=True).labels() == {}


# Faces


@given(
    edges=st.tuples(*[st.floats(-50, 150, width=32)] * 4),
    width=st.integers(1, 100),
    height=st.integers(1, 100),
    margin=st.floats(0, 2),
)
def test_the_square_lies_in_the_picture_round_the_box(
    edges: tuple[float, float, float, float], width: int, height: int, margin: float
) -> None:
    """Its side is the box's longer one with margins; its centre the box's, if there is room for it."""
    left, top, right, bottom = edges
    box = np.array(edges)
    if not (left < right and top < bottom and left < width and right > 0 and top < height and bottom > 0):
        with pytest.raises(ValueError, match=f"in the picture of {width}x{height} pixels"):
            face_square(box, width, height, margin)
        return
    x, y, side = face_square(box, width, height, margin)
    assert 0 <= x <= width - side
    assert 0 <= y <= height - side
    wanted = max(right - left, bottom - top) * (1 + 2 * margin)
    assert abs(side - min(max(wanted, 1), width, height)) <= 0.5
    for start, low, high, length in ((x, left, right, width), (y, top, bottom, height)):
        centre = (low + high) / 2
        if side / 2 + 1 <= centre <= length - side / 2 - 1:
            assert abs(start + side / 2 - centre) <= 0.5


@pytest.mark.parametrize("edge", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(4))
def test_a_box_that_is_not_finite_is_refused(edge: float, place: int) -> None:
    """As a detector gone wrong may return it."""
    box = np.array([1.0, 1, 5, 5])
    box[place] = edge
    with pytest.raises(ValueError, match="the face's box must be in the picture"):
        face_square(box, 10, 10, 0)


def test_the_best_face_is_cut_out_before_scaling(tmp_path: Path) -> None:
    """A square round the first box, from the picture's own resolution."""
    pixels = np.random.default_rng(0).integers(1, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    samples = build(tmp_path, detector=RedFaces(box=(10, 6, 16, 14)), margin=0.25)
    cut = torch.from_numpy(pixels[4:16, 7:19]).permute(2, 0, 1)  # 8 px and a quarter on each side: 12
    assert torch.equal(samples.read([0])[0], square(cut, 8))


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Four pictures; the second and third show no face."""
    for number, level in enumerate((10, 0, 0, 40)):
        write_picture(tmp_path / f"{number}.png", level)
    return tmp_path


def test_pictures_without_a_face_are_passed_over_and_no_error(faces: Path) -> None:
    """Even with on_error = "stop"; the samples know afterwards which they were."""
    samples = build(faces, detector=RedFaces())
    pictures, kept = samples.read_or_skip([3, 1, 0, 2])
    assert kept.tolist() == [0, 2]
    assert pictures[:, 0, 0, 0].tolist() == [40, 10]
    assert [samples.skips(index) for index in range(4)] == [False, True, True, False]
    with pytest.raises(UnreadableSampleError, match=f"^{faces / '1.png'}: no face was found$"):
        samples.read([1])
    nothing, none = samples.read_or_skip([1, 2])
    assert nothing is None
    assert len(none) == 0


def test_pictures_without_a_face_are_passed_over_in_every_wrapping(faces: Path) -> None:
    """Alone, as a part of several datasets, and where pictures are kept in memory."""
    plain = build(faces, detector=RedFaces())
    parts = ConcatSamples({"a": build(faces), "b": build(faces, detector=RedFaces())})
    for samples, offset in ((plain, 0), (parts, 4), (CachedSamples(build(faces, detector=RedFaces())), 0)):
        stream = LiveStream("faces", "expr", samples, lambda _: np.arange(4), 4)
        batch = collate([stream], [np.arange(4) + offset], {"expr": EXPR})
        assert batch.skipped == 2
        assert batch.ids == ("faces:0.png", "faces:3.png")
        assert batch.inputs[:, 0, 0, 0].tolist() == [10, 40]


def test_an_unreadable_picture_is_an_error_beside_one_without_a_face(faces: Path) -> None:
    """Only on_error = "skip" passes over it."""
    (faces / "3.png").write_bytes(b"")
    with pytest.raises(UnreadableSampleError, match="the picture is empty"):
        build(faces, detector=RedFaces()).read_or_skip(np.arange(4))
    pictures, kept = build(faces, detector=RedFaces(), on_error="skip").read_or_skip(np.arange(4))
    assert kept.tolist() == [0]
    assert len(pictures) == 1


def test_every_picture_is_decoded_once(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though some of them cannot be used; and none again that is known to show no face."""
    samples = build(faces, detector=RedFaces())
    opened: list[int] = []
    load = samples.picture
    monkeypatch.setattr(samples, "picture", lambda index: opened.append(index) or load(index))
    samples.read_or_skip([3, 2, 1, 0])
    assert opened == [0, 1, 2, 3]
    samples.read_or_skip([1, 2, 3])
    assert opened == [0, 1, 2, 3, 3]


def test_a_box_outside_the_picture_is_an_error(faces: Path) -> None:
    """It is the detector's fault, not a picture without a face."""
    samples = build(faces, detector=RedFaces(box=(20, 0, 25, 5)))
    with pytest.raises(UnreadableSampleError) as caught:
        samples.read_or_skip([0])
    assert str(caught.value) == (
        f"{faces / '0.png'}: the face's box must be in the picture of 20x10 pixels (got 20, 0, 25, 5)"
    )


def test_samples_go_to_another_process_without_the_live_detector(faces: Path) -> None:
    """The detector here is a function that cannot be pickled; it is built again there."""
    samples = build(faces, detector=RedFaces())
    expected = samples.read([0, 3])
    again = pickle.loads(pickle.dumps(samples))
    assert torch.equal(again.read([0, 3]), expected)
    assert again.labels() == {}


# Paths


def test_a_folder_or_a_picture_is_known_by_its_path(tmp_path: Path) -> None:
    """What it is told is handed on; other files are not of this kind."""
    write_picture(tmp_path / "A.PNG")
    (tmp_path / "notes.txt").touch()
    detector = RedFaces()
    found = ImageFolder.for_path(tmp_path, detector=detector, on_error="skip")
    assert found == ImageFolder(root=tmp_path, detector=detector, on_error="skip")
    assert ImageFolder.for_path(tmp_path / "A.PNG") == ImageFolder(root=tmp_path / "A.PNG")
    assert ImageFolder.for_path(tmp_path / "notes.txt") is None


def test_it_conforms(tmp_path: Path) -> None:
    """To what `mtl_toolkit.testing` asks of every dataset; it has no labels, and some names no number."""
    for number in range(6):
        write_picture(tmp_path / f"clip{number % 2}" / f"{number}.png", 30 * number)
    for name in ("a", "b"):
        write_picture(tmp_path / "clip0" / f"{name}.png", 99)
    for check in check_dataset(ImageFolder(root=tmp_path), {}, image_size=8):
        check()
