"""ExpW: the list of faces, its order of columns, and the split by picture."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mtl_affect.databases.expw import ExpW, mtl_datasets
from mtl_affect.databases.table import FaceSamples
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from PIL import Image

from mtl_toolkit import DataError, DataFacts, UnreadableSampleError
from mtl_toolkit.testing import check_dataset

# The example of the format, its box moved into a picture of 40 x 30, and the other classes.
LINES = """\
angry_actor_104.jpg 0 2 5 15 12 22.9362 0
disgusted_asian_7.jpg 0 0 0 8 8 31.5 1
awe_boy_1.jpg 1 3 20 30 13 40 2
awe_boy_1.jpg 0 4 1 11 14 50 3
sad_man_3.jpg 2 0 0 40 30 60.25 4
shock_man_3.jpg 0 0 0 10 10 70 5
calm_man_3.jpg 0 0 0 10 10 80 6
"""
EXPRESSIONS = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]


def pixels(seed: int = 0) -> np.ndarray:
    """A picture whose pixels all differ: red is 6 x, green 8 y."""
    y, x = np.mgrid[:30, :40]
    return np.stack([x * 6, y * 8, np.full_like(x, seed)], axis=-1).astype(np.uint8)


def write(
    root: Path, lines: str = LINES, where: str = "label/label.lst", images: str = "image/origin"
) -> Path:
    (root / where).parent.mkdir(parents=True, exist_ok=True)
    (root / where).write_text(lines)
    (root / images).mkdir(parents=True, exist_ok=True)
    names = {line.rsplit(maxsplit=7)[0] for line in lines.splitlines() if len(line.split()) >= 8}
    for seed, name in enumerate(sorted(names)):
        Image.fromarray(pixels(seed)).save(root / images / name, "PNG")  # lossless, whatever it is called
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "ExpW")


def build(root: Path, size: int = 8, **fields: Any) -> FaceSamples:
    return ExpW(root=root, **fields).build(DataFacts({"expr": Expression()}, size))


def problem_of(root: Path, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        build(root, **fields)
    return str(caught.value)


def names_of(samples: FaceSamples) -> list[str]:
    labels = samples.labels()["expr"]
    assert labels.valid.all()
    return [Expression().classes[number] for number in labels.values]


def ids(samples: FaceSamples) -> list[str]:
    return [samples.id(index) for index in range(len(samples))]


def test_classes_are_matched_to_the_task_s_by_name(root):
    assert names_of(build(root)) == EXPRESSIONS


def test_boxes_are_read_in_the_order_top_left_right_bottom(root):
    """In the list: top 2, left 5, right 15, bottom 12."""
    face = ExpW(root=root).table().face(0)
    np.testing.assert_array_equal(face.permute(1, 2, 0)[..., :2], pixels()[2:12, 5:15, :2])


def test_faces_of_a_picture_are_rows_of_their_own(root):
    """Told apart by the id, each with its own box and label."""
    samples = build(root)
    assert ids(samples)[2:4] == ["awe_boy_1.jpg#1", "awe_boy_1.jpg#0"]
    table = ExpW(root=root).table()
    for row, (top, left, right, bottom) in {2: (3, 20, 30, 13), 3: (4, 1, 11, 14)}.items():
        np.testing.assert_array_equal(
            table.face(row).permute(1, 2, 0)[..., :2], pixels()[top:bottom, left:right, :2]
        )
    files = samples.column("file")
    assert files is not None
    assert files[2] == files[3] == f"{root}/image/origin/awe_boy_1.jpg".encode()


def test_faces_are_delivered_as_squares_of_the_size_asked_for(root):
    """The whole picture of 40 x 30 is the face of row 4; its left edge is dark, its right one bright."""
    face = build(root, size=10).read([4])[0]
    assert face.shape == (3, 10, 10)
    assert face[0, 0, 0] < 30
    assert face[0, 0, -1] > 200


def test_there_are_no_groups_or_frames_and_every_picture_is_there(root):
    """Pictures that training and validation share are found by their files."""
    samples = build(root)
    assert samples.column("group") is None
    assert samples.column("frame") is None
    assert samples.problems() == []
    assert samples.counts() == {}


@pytest.mark.parametrize("where", ["label/label.lst", "label.lst"])
@pytest.mark.parametrize("images", ["image/origin", "origin", "image"])
def test_both_places_of_the_list_and_three_of_the_pictures_are_known(tmp_path, where, images):
    samples = build(write(tmp_path, where=where, images=images))
    assert len(samples.read([0])) == 1


def test_the_first_folder_of_pictures_counts(tmp_path):
    """`image` holds `origin`, so it comes last."""
    write(tmp_path, images="image/origin")
    (tmp_path / "origin").mkdir()
    files = build(tmp_path).column("file")
    assert files is not None
    assert files[0] == f"{tmp_path}/image/origin/angry_actor_104.jpg".encode()


def test_pictures_may_be_elsewhere(tmp_path):
    root = write(tmp_path / "db", images="../elsewhere")
    assert build(root, images=tmp_path / "elsewhere").read([0]).shape == (1, 3, 8, 8)
    message = problem_of(root, images=tmp_path / "nowhere")
    assert message == f"expw: images: there is no folder {tmp_path}/nowhere"


def test_the_list_may_have_other_white_space_and_names_with_spaces(tmp_path):
    text = "\ufeffangry man 1.jpg 0 0 0 8 8 22.9 0\r\n\r\nb.jpg\t1\t0\t0\t8\t8\t22.9\t6  \n\n"
    samples = build(write(tmp_path, text))
    assert ids(samples) == ["angry man 1.jpg#0", "b.jpg#1"]
    assert names_of(samples) == ["anger", "neutral"]


def test_unsure_faces_are_left_out_and_counted(root):
    samples = build(root, min_confidence=40)
    assert names_of(samples) == EXPRESSIONS[2:]
    assert samples.counts() == {"faces below min_confidence, left out": 2}
    table = ExpW(root=root, min_confidence=40).table()
    np.testing.assert_array_equal(table.face(0).permute(1, 2, 0)[..., :2], pixels()[3:13, 20:30, :2])
    message = problem_of(root, min_confidence=99)
    assert message == "label/label.lst: all 7 faces have an empty box or less confidence than 99"


def test_faces_with_an_empty_box_are_left_out_and_counted(tmp_path):
    """A list with top and left swapped would have many."""
    lines = "a.jpg 0 5 5 5 9 1 0\nb.jpg 0 9 5 8 9 1 1\nc.jpg 0 0 0 4 4 1 2\n"
    samples = build(write(tmp_path, lines))
    assert ids(samples) == ["c.jpg#0"]
    assert samples.counts() == {"faces with an empty box, left out": 2}


def test_a_face_that_is_listed_twice_is_counted(tmp_path):
    lines = "a.jpg 0 0 0 9 9 1 0\na.jpg 1 0 0 9 9 1 0\na.jpg 0 0 0 9 9 1 1\nb.jpg 0 0 0 9 9 1 1\n"
    samples = build(write(tmp_path, lines))
    assert len(samples) == 4
    assert samples.counts() == {"faces that are listed twice": 1}


def test_boxes_that_reach_over_the_edge_are_black_there(tmp_path):
    face = ExpW(root=write(tmp_path, "a.jpg 0 -2 -3 5 6 1 0\n")).table().face(0)
    expected = np.pad(pixels()[:6, :5], ((2, 0), (3, 0), (0, 0)))
    np.testing.assert_array_equal(face.permute(1, 2, 0), expected)


def test_all_faces_of_a_picture_are_in_the_same_part(tmp_path):
    """Whatever the order of the lines; the parts share no picture and leave none out."""
    lines = [f"p{number}.jpg {face} 0 0 9 9 1 {face}" for face in range(3) for number in range(200)]
    root = write(tmp_path, "\n".join(lines))
    parts = {split: build(root, split=split, validation_share=0.25) for split in ("train", "validation")}
    pictures = {split: [name.split("#")[0] for name in ids(samples)] for split, samples in parts.items()}
    assert not set(pictures["train"]) & set(pictures["validation"])
    assert len(set(pictures["train"]) | set(pictures["validation"])) == 200
    assert all(len(found) == 3 * len(set(found)) for found in pictures.values())
    assert 30 <= len(set(pictures["validation"])) <= 70
    assert len(build(root)) == 600


def test_a_part_without_pictures_is_refused(root):
    message = problem_of(root, split="validation", validation_share=0)
    assert message == "label/label.lst: split = 'validation' with validation_share = 0 leaves nothing of 7"
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        ExpW(root=root, validation_share=1.5)


def test_what_is_not_in_the_format_is_told_line_by_line(tmp_path):
    lines = """\
a.jpg 0 0 0 9 9 1 0
a.jpg 0 0 0 9 9 1 7
b.jpg 0 0 0 9 9 1 -1
c.jpg 0 top 0 9 9 1 1
d.jpg 0 0 0 9 9 nan 1
"""
    assert problem_of(write(tmp_path, lines)).splitlines() == [
        "label/label.lst line 2: column 'label': must be a class id from 0 to 6 (got '7')",
        "label/label.lst line 3: column 'label': must be a class id from 0 to 6 (got '-1')",
        "label/label.lst line 4: column 'top': must be a number (got 'top')",
        "label/label.lst line 5: column 'confidence': must be a number; leave the field empty for a missing "
        "label (got 'nan')",
    ]


def test_lines_with_too_few_fields_are_told(tmp_path):
    assert problem_of(write(tmp_path, "a.jpg 0 0 0 9 9 1 0\nb.jpg 0 0 9 9 1 0\n")) == (
        "label/label.lst line 2: must have 8 fields: "
        "name face_id top left right bottom confidence label (got 7)"
    )
    assert problem_of(write(tmp_path, "\n")).endswith("is empty; each line must hold a face")


def test_missing_files_are_named(tmp_path):
    folder = tmp_path / "ExpW"
    assert "there is no ExpW/label/label.lst" in problem_of(folder)
    write(folder)
    (folder / "label/label.lst").rename(folder / "label/lable.lst")
    assert problem_of(folder) == f"{folder}/label: there is no label.lst; did you mean 'lable.lst'?"
    (folder / "label/lable.lst").rename(folder / "label.lst")
    (folder / "image").rename(folder / "pictures")
    message = problem_of(folder)
    assert message == f"expw: there is no folder image/origin, origin or image with pictures in {folder}"


def test_a_missing_picture_is_named(root):
    (root / "image/origin/sad_man_3.jpg").unlink()
    samples = build(root)
    assert samples.problems() == [f"expw ExpW: there is no picture sad_man_3.jpg in {root}/image/origin"]
    with pytest.raises(UnreadableSampleError, match=r"sad_man_3\.jpg: No such file"):
        samples.read([4])


def test_another_task_s_labels_are_not_there(root):
    with pytest.raises(DataError, match=r"none of 7 faces .* \(its labels: expression\)"):
        ExpW(root=root).build(DataFacts({"va": ValenceArousal()}, 8))


def test_samples_travel_to_other_processes(root):
    samples = build(root, split="train", validation_share=0.3)
    copy = pickle.loads(pickle.dumps(samples))
    assert ids(copy) == ids(samples)
    assert (copy.read([1]) == samples.read([1])).all()


def test_it_is_a_dataset_plugin():
    assert mtl_datasets() == [ExpW]
    assert ExpW.name == "expw"


def test_it_conforms(root):
    """To what `mtl_toolkit.testing` asks of every dataset."""
    for check in check_dataset(ExpW(root=root), {"expr": Expression()}, image_size=8):
        check()
