"""AFEW-VA: both layouts, frames by number, valence and arousal, and level eyes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mtl_affect.databases.afew_va import AfewVa, mtl_datasets
from mtl_affect.databases.table import FaceSamples
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from PIL import Image

from mtl_toolkit import DataError, DataFacts
from mtl_toolkit.testing import check_dataset

WIDTH, HEIGHT = 60, 40
EYES = "eyes at (20, 15) and (30, 15), mouth's corners at (21, 23) and (29, 23)"


def landmarks(x: float = 0, y: float = 0) -> np.ndarray:
    """68 points: see `EYES`, moved by (x, y); those that must not matter lie far away."""
    points = np.full((68, 2), 55.0)
    origin, corners = np.array([20, 15]), np.array([[-2, 0], [-1, -1], [1, -1], [2, 0], [1, 1], [-1, 1]])
    points[36:42], points[42:48] = corners + origin, corners + origin + np.array([10, 0])
    points[48], points[54] = (21, 23), (29, 23)
    return points + np.array([x, y])


def entry(valence: Any, arousal: Any, points: Any = None) -> dict[str, Any]:
    shown = landmarks().tolist() if points is None else points
    return {"landmarks": shown, "valence": valence, "arousal": arousal}


def pixels(blue: int = 0) -> np.ndarray:
    """A picture whose pixels all differ: red is 4 x, green 6 y."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 4, y * 6, np.full_like(x, blue)], axis=-1).astype(np.uint8)


def write(root: Path, folder: str, frames: dict[str, Any], pictures: list[str] | None = None) -> Path:
    name = folder.rpartition("/")[2]
    (root / folder).mkdir(parents=True, exist_ok=True)
    table = {"video_id": name, "actor": "nobody", "frames": frames}
    (root / folder / f"{name}.json").write_text(json.dumps(table))
    for frame in frames if pictures is None else pictures:
        Image.fromarray(pixels(int(frame))).save(root / folder / f"{frame}.png")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three videos in two parts; frames are neither in order nor without gaps."""
    folder = tmp_path / "AFEW-VA"
    write(folder, "02/051", {"00000": entry(0, 0)})
    write(folder, "01/001", {"00011": entry(10, -10), "00002": entry(-3, 2.5), "00010": entry(5, 1)})
    write(folder, "01/002", {"00000": entry(1, 2), "00001": entry(3, 4)})
    return folder


def build(root: Path, size: int = 8, **fields: Any) -> FaceSamples:
    return AfewVa(root=root, **fields).build(DataFacts({"va": ValenceArousal()}, size))


def problem_of(root: Path, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        build(root, **fields)
    return str(caught.value)


def ids(samples: FaceSamples) -> list[str]:
    return [samples.id(index) for index in range(len(samples))]


def column(samples: FaceSamples, name: str) -> list[Any]:
    found = samples.column(name)
    assert found is not None
    return list(found.tolist())


def test_labels_from_minus_10_to_10_become_the_task_s_range(root):
    """By the number of the frame, not its place in the table."""
    labels = build(root).labels()["va"]
    assert labels.valid.all()
    expected = [[-0.3, 0.25], [0.5, 0.1], [1, -1], [0.1, 0.2], [0.3, 0.4], [0, 0]]
    np.testing.assert_allclose(labels.values, expected, atol=1e-7)


def test_frames_know_their_file_video_and_number(root):
    samples = build(root)
    assert ids(samples) == [
        "01/001/00002.png",
        "01/001/00010.png",
        "01/001/00011.png",
        "01/002/00000.png",
        "01/002/00001.png",
        "02/051/00000.png",
    ]
    assert column(samples, "group") == [b"afew-va: 001"] * 3 + [b"afew-va: 002"] * 2 + [b"afew-va: 051"]
    assert column(samples, "video") == [b"001"] * 3 + [b"002"] * 2 + [b"051"]
    assert column(samples, "frame") == [2, 10, 11, 0, 1, 0]
    assert column(samples, "file")[0] == f"{root}/01/001/00002.png".encode()
    assert samples.problems() == []
    assert samples.counts() == {}


def test_numbers_are_compared_as_numbers(tmp_path):
    """9 comes before 10, however they are written."""
    write(tmp_path, "007", {"10": entry(1, 1), "9": entry(2, 2)})
    assert column(build(tmp_path), "frame") == [9, 10]
    assert ids(build(tmp_path)) == ["007/9.png", "007/10.png"]


def test_videos_may_lie_in_parts_or_not(root, tmp_path):
    """The same rows, whether `root` is the database, a part of it, or has no parts."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for video in ("01/001", "01/002", "02/051"):
        (root / video).rename(flat / video[3:])
    samples = build(flat)
    assert ids(samples)[0] == "001/00002.png"
    assert column(samples, "group")[-1] == b"afew-va: 051"
    assert samples.labels()["va"].values[2].tolist() == [1, -1]


def test_other_files_and_hidden_folders_do_not_matter(root):
    """What macOS and people leave lying about."""
    write(root, ".trash/001", {"00000": entry(99, 99)})
    (root / "__MACOSX/01/001").mkdir(parents=True)
    (root / "__MACOSX/01/001/._00000.png").write_bytes(b"poison")
    (root / "01/001/._00000.png").write_bytes(b"poison")
    (root / "01/001/notes.txt").write_text("poison")
    (root / "01/readme.json").write_text("poison")
    (root / "papers").mkdir()
    (root / "papers/afew.pdf").write_text("poison")
    samples = build(root)
    assert len(samples) == 6
    assert samples.counts() == {}


def test_faces_are_cut_by_eyes_and_mouth(root):
    """Eyes' centre (25, 15), mouth's (25, 23): the square is of side 2 * 10 round (25, 19)."""
    face = AfewVa(root=root).table().face(1)
    np.testing.assert_array_equal(face.permute(1, 2, 0), pixels(blue=10)[9:29, 15:35])


def test_faces_are_cut_by_their_own_frame_s_landmarks(tmp_path):
    write(tmp_path, "001", {"00001": entry(0, 0, landmarks(3, 1).tolist()), "00000": entry(0, 0)})
    table = AfewVa(root=tmp_path).table()
    np.testing.assert_array_equal(table.face(0).permute(1, 2, 0), pixels()[9:29, 15:35])
    np.testing.assert_array_equal(table.face(1).permute(1, 2, 0), pixels(1)[10:30, 18:38])


def test_the_whole_frame_can_be_kept(root):
    """Then landmarks do not matter, and need not be there."""
    write(root, "02/052", {"00000": {"valence": 1, "arousal": 1}, "00001": entry(1, 1, [[0, 0]])})
    samples = build(root, crop="none")
    assert len(samples) == 8
    assert samples.counts() == {}
    face = AfewVa(root=root, crop="none").table().face(0)
    np.testing.assert_array_equal(face.permute(1, 2, 0), pixels(blue=2))


@pytest.mark.parametrize(
    "points",
    [[], [[1, 2]] * 67, [[1, 2, 3]] * 68, [[5, 5]] * 68, [[1, float("nan")]] * 68, [[1, "x"]] * 68, "x"],
    ids=["none", "67", "three values", "all in one place", "nan", "text", "no list"],
)
def test_frames_without_usable_landmarks_are_left_out_and_counted(root, points):
    """The other frames keep their own pictures and labels."""
    write(root, "01/002", {"00000": entry(9, 9, points), "00001": entry(3, 4, landmarks(5).tolist())})
    samples = build(root)
    assert "01/002/00000.png" not in ids(samples)
    assert samples.counts() == {"frames without usable landmarks, left out": 1}
    place = ids(samples).index("01/002/00001.png")
    np.testing.assert_allclose(samples.labels()["va"].values[place], [0.3, 0.4], atol=1e-7)
    face = samples.table.face(place)
    np.testing.assert_array_equal(face.permute(1, 2, 0), pixels(1)[9:29, 20:40])


def test_a_database_without_any_landmarks_says_so(tmp_path):
    write(tmp_path / "db", "001", {"00000": {"valence": 0, "arousal": 0}})
    assert problem_of(tmp_path / "db") == "afew-va db: none of 1 frames has landmarks to cut a face by"


def test_pictures_without_a_label_are_counted_and_labels_without_a_picture_are_problems(root):
    write(root, "01/002", {"00000": entry(1, 2), "00007": entry(1, 2)}, pictures=[])
    samples = build(root)
    assert samples.counts() == {"pictures without a label": 1}
    assert samples.problems() == [f"afew-va AFEW-VA: there is no picture 01/002/00007.png in {root}"]


def test_videos_go_to_one_part_whole(tmp_path):
    """The parts share no video and leave none out, in either layout."""
    for number in range(60):
        frames = {f"{frame:05d}": entry(0, 0) for frame in range(2)}
        write(tmp_path / "parts", f"{number // 20}/{number:03d}", frames, pictures=[])
        write(tmp_path / "flat", f"{number:03d}", frames, pictures=[])
    videos = {}
    for split in ("train", "validation", "all"):
        samples = build(tmp_path / "parts", split=split, validation_share=0.3)
        videos[split] = column(samples, "group")
        assert column(build(tmp_path / "flat", split=split, validation_share=0.3), "group") == videos[split]
    assert sorted(videos["train"] + videos["validation"]) == videos["all"]
    assert not set(videos["train"]) & set(videos["validation"])
    assert 8 <= len(set(videos["validation"])) <= 28


def test_only_tables_of_the_part_are_read(root):
    """A broken one in the other part does not matter."""
    (root / "01/002/002.json").write_text("{")
    splits = ("train", "validation")
    broken = [split for split in splits if _fails(root, split)]
    assert len(broken) == 1


def _fails(root: Path, split: Any) -> bool:
    try:
        build(root, split=split, validation_share=0.5)
    except DataError as error:
        return "cannot be read as JSON" in str(error)
    return False


def test_a_part_without_videos_is_refused(root):
    message = problem_of(root, split="train", validation_share=1)
    assert message == "afew-va AFEW-VA: split = 'train' with validation_share = 1 leaves nothing of 3"


@pytest.mark.parametrize(
    ("valence", "shown"),
    [(10.5, "10.5"), (-11, "-11"), (None, "None"), ("3", "'3'"), (True, "True"), (float("nan"), "nan")],
)
def test_labels_outside_the_range_are_told_with_file_and_frame(root, valence, shown):
    write(root, "01/002", {"00004": entry(valence, 0)})
    assert problem_of(root) == (
        f"afew-va AFEW-VA: 01/002/002.json frame 00004: valence must be a number from -10 to 10 (got {shown})"
    )


def test_every_problem_is_told(root):
    write(root, "01/002", {"x1": entry(0, 0), "00001": 5, "00002": {}}, pictures=[])
    (root / "01/001/001.json").write_text("[1, 2]")
    (root / "02/051/051.json").write_text('{"frames": ')
    lines = problem_of(root).splitlines()
    start = "afew-va AFEW-VA: "
    assert lines[0] == f"{start}01/001/001.json: must hold a table 'frames'"
    assert lines[1] == f"{start}01/002/002.json: a frame must be a number with a table (got 'x1')"
    assert lines[2] == f"{start}01/002/002.json: a frame must be a number with a table (got '00001')"
    assert lines[3].startswith(f"{start}01/002/002.json frame 00002: valence must be a number")
    assert lines[4].startswith(f"{start}01/002/002.json frame 00002: arousal must be a number")
    assert lines[5].startswith(f"{start}02/051/051.json: cannot be read as JSON (Expecting value")
    assert len(lines) == 6


def test_missing_and_doubled_videos_are_told(root):
    (root / "01/001/001.json").unlink()
    write(root, "051", {"00000": entry(0, 0)})
    assert problem_of(root).splitlines() == [
        "afew-va AFEW-VA: there is no 001.json beside the pictures in 01/001",
        "afew-va AFEW-VA: a video must be there once; 051 is in 02/051 and in 051",
    ]


def test_missing_folders_are_named(tmp_path):
    assert problem_of(tmp_path / "AFEW") == f"{tmp_path}/AFEW: No such file or directory"
    (tmp_path / "AFEW/01").mkdir(parents=True)
    message = f"afew-va: there is no <video>/<video>.json in {tmp_path}/AFEW or in a folder of it"
    assert problem_of(tmp_path / "AFEW") == message


def test_another_task_s_labels_are_not_there(root):
    with pytest.raises(DataError, match=r"none of 6 faces .* \(its labels: valence-arousal\)"):
        AfewVa(root=root).build(DataFacts({"expr": Expression()}, 8))


def test_samples_travel_to_other_processes(root):
    samples = build(root)
    copy = pickle.loads(pickle.dumps(samples))
    assert ids(copy) == ids(samples)
    assert (copy.read([4, 0]) == samples.read([4, 0])).all()


def test_it_is_a_dataset_plugin():
    assert mtl_datasets() == [AfewVa]
    assert AfewVa.name == "afew-va"


def test_it_conforms(root):
    """To what `mtl_toolkit.testing` asks of every dataset."""
    for check in check_dataset(AfewVa(root=root), {"va": ValenceArousal()}, image_size=8):
        check()
