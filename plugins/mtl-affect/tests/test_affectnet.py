"""AffectNet: both releases, what counts as a missing label, and how faces are cut."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mtl_affect.databases.affectnet import AffectNet, mtl_datasets
from mtl_affect.databases.table import FaceSamples
from mtl_affect.expression import EXPRESSIONS, Expression
from mtl_affect.valence_arousal import ValenceArousal
from PIL import Image

from mtl_toolkit import DataError, DataFacts, Head
from mtl_toolkit.testing import check_dataset

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)
TASKS: dict[str, Head] = {
    "expr": Expression(classes=(*EXPRESSIONS, "contempt")),
    "va": ValenceArousal(),
}
WIDTH, HEIGHT = 50, 40
NATIVE = ["neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"]


def landmarks(left: float, top: float, right: float, bottom: float) -> list[float]:
    """68 points x, y, x, y ... that span a box: its edges are on four of them, the others lie inside."""
    rng = np.random.default_rng(0)
    points = rng.uniform((left, top), (right, bottom), (68, 2)).round(2)
    points[[3, 11, 27, 40]] = [(left, top + 1), (left + 1, top), (right, top + 1), (left + 1, bottom)]
    return [float(value) for value in points.ravel()]


POINTS = ";".join(f"{value:.2f}" for value in landmarks(10, 8, 30, 24))


def line(file: str, expression: Any = 0, valence: Any = 0, arousal: Any = 0, **more: Any) -> str:
    box, points = more.get("box", "1,2,8,6"), more.get("points", POINTS)
    return f"{file},{box},{points},{expression},{valence},{arousal}"


def pixels(blue: int = 0) -> np.ndarray:
    """A picture whose pixels all differ: red is 5 x, green 6 y."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 5, y * 6, np.full_like(x, blue)], axis=-1).astype(np.uint8)


def save(path: Path, blue: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(blue)).save(path, "PNG")  # lossless, whatever it is called


def write(
    root: Path, *lines: str, table: str = "training.csv", images: str = "Manually_Annotated_Images"
) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / table).write_text("\n".join(lines) + "\n")
    for blue, text in enumerate(text for text in lines if text != HEADER):
        save(root / images / text.split(",")[0], blue)
    return root


def build(root: Path, tasks: dict[str, Head] | None = None, size: int = 8, **fields: Any) -> FaceSamples:
    return AffectNet(root=root, **fields).build(DataFacts(TASKS if tasks is None else tasks, size))


def problem_of(root: Path, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        build(root, **fields)
    return str(caught.value)


def ids(samples: FaceSamples) -> list[str]:
    return [samples.id(index) for index in range(len(samples))]


def expressions(samples: FaceSamples, task: str = "expr") -> list[str | None]:
    labels, classes = samples.labels()[task], [*EXPRESSIONS, "contempt"]
    pairs = zip(labels.values.tolist(), labels.valid.tolist(), strict=True)
    return [classes[value] if valid else None for value, valid in pairs]


def affect(samples: FaceSamples) -> list[list[float | None]]:
    labels = samples.labels()["va"]
    values = np.where(labels.valid, labels.values.astype(float).round(6), np.nan)
    return [[None if np.isnan(value) else value for value in row] for row in values.tolist()]


def face(root: Path, row: int = 0, **fields: Any) -> np.ndarray:
    return AffectNet(root=root, **fields).table().face(row).permute(1, 2, 0).numpy()


# The labels of the CSV release


def test_classes_are_matched_to_the_task_s_by_name(tmp_path):
    write(tmp_path, HEADER, *(line(f"1/{number}.jpg", number) for number in range(8)))
    samples = build(tmp_path)
    assert expressions(samples) == NATIVE
    assert ids(samples) == [f"1/{number}.jpg" for number in range(8)]


def test_contempt_can_be_dropped_for_the_task_of_seven_classes(tmp_path):
    write(tmp_path, HEADER, line("1/a.jpg", 7, 0.5, 0.5), line("1/b.jpg", 6))
    seven: dict[str, Head] = {"expr": Expression(), "va": ValenceArousal()}
    samples = build(tmp_path, seven, drop_classes=("contempt",))
    assert expressions(samples) == [None, "anger"]
    with pytest.raises(DataError, match=r"the task has no class 'contempt'.*\(drop_classes leaves"):
        build(tmp_path, seven)


def test_none_uncertain_and_no_face_are_no_expression(tmp_path):
    """Counted, and kept where valence and arousal are there."""
    lines = [line("1/a.jpg", 8, 0.5, -0.25), line("1/b.jpg", 9, -2, -2), line("1/c.jpg", 10, "-2.0", "-2")]
    samples = build(write(tmp_path, HEADER, *lines, line("1/d.jpg", 3, -1, 1)))
    assert ids(samples) == ["1/a.jpg", "1/d.jpg"]
    assert expressions(samples) == [None, "surprise"]
    assert affect(samples) == [[0.5, -0.25], [-1, 1]]
    assert samples.counts() == {
        "faces without an expression (ids 8 to 10)": 3,
        "faces without valence or arousal (-2)": 2,
        "faces without a label of the tasks": 2,
    }
    assert len(build(tmp_path, unlabelled=True)) == 4


def test_valence_and_arousal_can_be_missing_each_for_itself(tmp_path):
    write(
        tmp_path,
        HEADER,
        line("a.jpg", 1, -2, 0.125),
        line("b.jpg", 1, 0.25, -2.000),
        line("c.jpg", 2, -2, -2),
    )
    samples = build(tmp_path)
    assert affect(samples) == [[None, 0.125], [0.25, None], [None, None]]
    assert expressions(samples) == ["happiness", "happiness", "sadness"]


def test_faces_without_both_labels_can_be_left_out(tmp_path):
    """As the ABAW 2021 protocol has it for seven classes: contempt counts as none."""
    lines = [line("a.jpg", 7, 0.5, 0.5), line("b.jpg", 6, 0.25, -1), line("c.jpg", 8, 0, 0)]
    write(tmp_path, HEADER, *lines, line("d.jpg", 2, -2, -2), line("e.jpg", 0, 0, 0))
    both = ("expression", "valence-arousal")
    seven: dict[str, Head] = {"expr": Expression(), "va": ValenceArousal()}
    samples = build(tmp_path, seven, drop_classes=("contempt",), require=both)
    assert ids(samples) == ["b.jpg", "e.jpg"]
    assert (expressions(samples), affect(samples)) == (["anger", "neutral"], [[0.25, -1], [0, 0]])
    assert samples.counts() == {
        "faces without an expression (ids 8 to 10)": 1,
        "faces without valence or arousal (-2)": 1,
        "faces that lack a required label (expression, valence-arousal)": 3,
    }


def test_codes_of_missing_labels_never_leave_the_reader(tmp_path):
    write(tmp_path, HEADER, line("a.jpg", 10, -2, -2), line("b.jpg", 7, 0.5, 0.5))
    labels = AffectNet(root=tmp_path).table().labels
    assert labels["expression"].values.tolist() == [0, 7]
    assert labels["expression"].classes == tuple(NATIVE)
    assert labels["valence-arousal"].values.tolist() == [[0, 0], [0.5, 0.5]]


def test_a_class_written_as_a_float_is_the_same(tmp_path):
    """As pandas writes it."""
    assert expressions(build(write(tmp_path, HEADER, line("a.jpg", "6.0")))) == ["anger"]


# The table of the CSV release


@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"], ids=["bare", "BOM", "blank lines"])
@pytest.mark.parametrize("headless", [True, False])
def test_the_first_line_may_name_the_columns_or_not(tmp_path, headless, start):
    """In a table without it the first line is a face like the others."""
    lines = [line("1/a.jpg", 5, 0.1, 0.2), line("1/b.jpg", 3, 0.3, 0.4)]
    write(tmp_path, *lines, table="validation.csv")
    text = "\n".join(lines if headless else [HEADER, *lines])
    (tmp_path / "validation.csv").write_text(start + text)
    samples = build(tmp_path, split="validation")
    assert expressions(samples) == ["disgust", "surprise"]
    assert affect(samples) == [[0.1, 0.2], [0.3, 0.4]]
    np.testing.assert_array_equal(face(tmp_path, 1, split="validation", crop="box"), pixels(1)[2:8, 1:9])


def test_columns_are_found_by_name(tmp_path):
    """In another order and among others."""
    write(tmp_path, line("1/a.jpg"))
    names = "note,arousal,valence,expression,face_height,face_width,face_y,face_x,facial_landmarks"
    row = f'"x, y",0.5,-0.5,4,6,8,2,1,{POINTS},1/a.jpg'
    (tmp_path / "training.csv").write_text(f"{names},subDirectory_filePath\n{row}\n")
    samples = build(tmp_path)
    assert (expressions(samples), affect(samples)) == (["fear"], [[-0.5, 0.5]])
    np.testing.assert_array_equal(face(tmp_path, crop="box"), pixels()[2:8, 1:9])


def test_each_split_has_its_table(tmp_path):
    write(tmp_path, HEADER, line("t.jpg"))
    write(tmp_path, line("v.jpg"), table="validation.csv")
    assert ids(build(tmp_path)) == ["t.jpg"]
    assert ids(build(tmp_path, split="validation")) == ["v.jpg"]
    write(tmp_path, line("x.jpg"), table="mine.csv")
    assert ids(build(tmp_path, csv=tmp_path / "mine.csv")) == ["x.jpg"]


def test_long_tables_are_read_whole(tmp_path):
    """Longer than what is held as text at a time; problems keep their lines."""
    lines = [line(f"{number // 1000}/{number}.jpg", number % 8) for number in range(5000)]
    (tmp_path / "training.csv").write_text("\n".join([HEADER, *lines]))
    samples = build(tmp_path)
    assert expressions(samples) == [NATIVE[number % 8] for number in range(5000)]
    assert ids(samples)[4999] == "4/4999.jpg"
    (tmp_path / "training.csv").write_text("\n".join([HEADER, *lines, line("x.jpg", 11)]))
    assert problem_of(tmp_path).startswith(f"{tmp_path.name}/training.csv line 5002: column 'expression'")


def test_what_is_not_in_the_format_is_told_line_by_line(tmp_path):
    lines = [
        HEADER,
        line("a.jpg", 11),
        line("b.jpg", "happy", 1.25, "-2.5"),
        line("c.jpg", 1.5, "", "nan"),
        line("", -1),
        line("d.jpg", box="1,2,wide,6"),
        "e.jpg,1,2,3",
    ]
    (tmp_path / "training.csv").write_text("\n".join(lines))
    start = f"{tmp_path.name}/training.csv line"
    rule, span = "must be a class id from 0 to 10", "must be between -1 and 1, or -2 for none"
    assert problem_of(tmp_path).splitlines() == [
        f"{start} 2: column 'expression': {rule} (got '11')",
        f"{start} 3: column 'expression': {rule} (got 'happy')",
        f"{start} 3: column 'valence': {span} (got '1.25')",
        f"{start} 3: column 'arousal': {span} (got '-2.5')",
        f"{start} 4: column 'expression': {rule} (got '1.5')",
        f"{start} 4: column 'valence': {span} (got '')",
        f"{start} 4: column 'arousal': {span} (got 'nan')",
        f"{start} 5: column 'subDirectory_filePath': must name a picture (got '')",
        f"{start} 5: column 'expression': {rule} (got '-1')",
        f"{start} 6: column 'face_width': must be a number (got 'wide')",
        f"{start} 7: must have 9 fields (got 4)",
    ]


def test_a_header_with_other_names_is_told(tmp_path):
    header = HEADER.replace("expression", "expresion")
    message = problem_of(write(tmp_path, header, images="x"))
    assert message.endswith("training.csv line 1: there is no column 'expression'; did you mean 'expresion'?")


@pytest.mark.parametrize("text", ["", "\n", HEADER, HEADER + "\n\n"])
def test_a_table_without_rows_is_told(tmp_path, text):
    (tmp_path / "training.csv").write_text(text)
    assert problem_of(tmp_path) == f"{tmp_path}/training.csv: has no rows"


def test_a_table_that_is_no_text_is_told(tmp_path):
    (tmp_path / "training.csv").write_bytes(HEADER.encode() + b"\n\xff\xfe\x00")
    assert problem_of(tmp_path) == f"{tmp_path}/training.csv: must be UTF-8 text"


def test_a_table_that_is_no_csv_is_told(tmp_path):
    (tmp_path / "training.csv").write_text(HEADER + "\n\n" + "a" * 200_000)
    message = problem_of(tmp_path)
    assert message.startswith(f"{tmp_path}/training.csv line 3: cannot be read as CSV (field larger than")


# The pictures of the CSV release


def test_pictures_are_looked_for_in_their_usual_folder_else_in_the_root(tmp_path):
    write(tmp_path / "usual", HEADER, line("1/a.jpg"))
    write(tmp_path / "bare", HEADER, line("1/a.jpg"), images=".")
    write(tmp_path / "else", HEADER, line("1/a.jpg"), images="../pictures")
    for name, folder, fields in (
        ("usual", "usual/Manually_Annotated_Images", {}),
        ("bare", "bare", {}),
        ("else", "pictures", {"images": tmp_path / "pictures"}),
    ):
        samples = build(tmp_path / name, **fields)
        files = samples.column("file")
        assert files is not None
        assert files.tolist() == [f"{tmp_path}/{folder}/1/a.jpg".encode()]
        assert samples.read([0]).shape == (1, 3, 8, 8)


def test_there_are_no_groups_or_frames_and_missing_pictures_are_named(tmp_path):
    write(tmp_path, HEADER, line("1/a.jpg"), line("2/b.jpg"))
    (tmp_path / "Manually_Annotated_Images/2/b.jpg").unlink()
    samples = build(tmp_path)
    assert samples.column("group") is None
    assert samples.column("frame") is None
    assert samples.problems() == [
        f"affectnet {tmp_path.name}: there is no picture 2/b.jpg in {tmp_path}/Manually_Annotated_Images"
    ]


def test_the_square_lies_round_the_landmarks_with_a_margin(tmp_path):
    """The landmarks span 20 x 16 round (20, 16): a square of side 22."""
    write(tmp_path, HEADER, line("1/a.jpg"))
    np.testing.assert_array_equal(face(tmp_path), pixels()[5:27, 9:31])
    np.testing.assert_array_equal(face(tmp_path, crop="landmarks"), pixels()[5:27, 9:31])


def test_the_square_stays_in_the_picture(tmp_path):
    """Landmarks of 20 x 16 at the upper right corner, some of them outside."""
    points = ";".join(map(str, landmarks(35, -4, 55, 12)))
    write(tmp_path, HEADER, line("1/a.jpg", points=points))
    np.testing.assert_array_equal(face(tmp_path), pixels()[0:22, 28:50])


def test_the_box_or_the_whole_picture_can_be_asked_for(tmp_path):
    """The box is x, y, width, height."""
    write(tmp_path, HEADER, line("1/a.jpg"))
    np.testing.assert_array_equal(face(tmp_path, crop="box"), pixels()[2:8, 1:9])
    np.testing.assert_array_equal(face(tmp_path, crop="none"), pixels())


UNUSABLE = {
    "empty": "",
    "null": "null",
    "67 points": POINTS.rpartition(";")[0].rpartition(";")[0],
    "an odd number": POINTS + ";1",
    "nan": "nan" + POINTS[POINTS.index(";") :],
    "infinite": "inf" + POINTS[POINTS.index(";") :],
    "text": "x" + POINTS[POINTS.index(";") :],
    "one place": ";".join(["3"] * 136),
}


@pytest.mark.parametrize("points", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_without_usable_landmarks_the_box_is_cut_and_without_it_nothing(tmp_path, points):
    """Decided for each row, and counted."""
    lines = [
        line("1/a.jpg", points=points),
        line("1/b.jpg"),
        line("1/c.jpg", points=points, box="5,5,0,9"),
        line("1/d.jpg", points=points, box=",,,"),
    ]
    write(tmp_path, HEADER, *lines)
    assert len(face(tmp_path)) == 6
    np.testing.assert_array_equal(face(tmp_path, 0), pixels(0)[2:8, 1:9])
    np.testing.assert_array_equal(face(tmp_path, 1), pixels(1)[5:27, 9:31])
    np.testing.assert_array_equal(face(tmp_path, 2), pixels(2))
    np.testing.assert_array_equal(face(tmp_path, 3), pixels(3))
    assert build(tmp_path).counts() == {
        "faces without usable landmarks, cut by their box": 1,
        "faces with nothing to cut them by, kept as the whole picture": 2,
    }
    assert build(tmp_path, crop="box").counts() == {
        "faces with nothing to cut them by, kept as the whole picture": 2
    }
    assert build(tmp_path, crop="none").counts() == {}


# The release of 2021


def note(root: Path, name: str, expression: Any, valence: Any, arousal: Any, points: Any = None) -> None:
    folder = root / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    values = {"exp": expression, "val": valence, "aro": arousal, "lnd": points or landmarks(10, 8, 30, 24)}
    for kind, value in values.items():
        np.save(folder / f"{name}_{kind}.npy", np.asarray(value))


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    """Text as well as numbers; ids that sort differently as text."""
    root = tmp_path / "AffectNet"
    note(root / "train_set", "10", "1", "0.785714", "-0.0555556")
    note(root / "train_set", "9", 7, -0.5, np.float32(0.25))
    note(root / "train_set", "100", np.int64(4), "-2", b"1.0")
    note(root / "val_set", "0", ["3"], [0.5], [[0.25]])
    for blue, name in enumerate(("train_set/images/9", "train_set/images/10", "train_set/images/100")):
        save(root / f"{name}.jpg", blue)
    save(root / "val_set/images/0.jpg", 77)
    return root


def test_values_are_read_from_text_and_numbers(npy):
    """In the order of the ids as numbers."""
    samples = build(npy, release="npy")
    assert ids(samples) == ["9.jpg", "10.jpg", "100.jpg"]
    assert expressions(samples) == ["contempt", "happiness", "fear"]
    assert affect(samples) == [[-0.5, 0.25], [0.785714, -0.055556], [None, 1]]
    assert samples.counts() == {"faces without valence or arousal (-2)": 1}
    files = samples.column("file")
    assert files is not None
    assert files[0] == f"{npy}/train_set/images/9.jpg".encode()


def test_each_split_has_its_folder(npy):
    """One value may stand in an array of one."""
    samples = build(npy, release="npy", split="validation")
    assert (ids(samples), expressions(samples), affect(samples)) == (["0.jpg"], ["surprise"], [[0.5, 0.25]])
    np.testing.assert_array_equal(face(npy, release="npy", split="validation"), pixels(77))


def test_cut_pictures_are_not_cut_again_unless_asked_for(npy):
    np.testing.assert_array_equal(face(npy, 1, release="npy"), pixels(1))
    np.testing.assert_array_equal(face(npy, 1, release="npy", crop="none"), pixels(1))
    np.testing.assert_array_equal(face(npy, 1, release="npy", crop="landmarks"), pixels(1)[5:27, 9:31])


@pytest.mark.parametrize("stored", ["pairs", "text", "32 bits", "column order"])
def test_landmarks_are_read_in_any_shape(npy, stored):
    flat = np.array(landmarks(12, 8, 32, 24))
    points = {
        "pairs": flat.reshape(68, 2),
        "text": flat.astype(str),
        "32 bits": flat.astype(np.float32),
        "column order": np.asfortranarray(flat.reshape(68, 2)),
    }[stored]
    np.save(npy / "train_set/annotations/10_lnd.npy", points)
    np.testing.assert_array_equal(face(npy, 1, release="npy", crop="landmarks"), pixels(1)[5:27, 11:33])


def test_without_usable_landmarks_a_cut_picture_is_kept_whole(npy):
    np.save(npy / "train_set/annotations/10_lnd.npy", np.zeros(10))
    (npy / "train_set/annotations/9_lnd.npy").write_bytes(b"")
    np.testing.assert_array_equal(face(npy, 1, release="npy", crop="landmarks"), pixels(1))
    counts = build(npy, release="npy", crop="landmarks").counts()
    assert counts["faces with nothing to cut them by, kept as the whole picture"] == 2
    assert "kept as the whole picture" not in str(build(npy, release="npy").counts())


def test_pictures_without_annotations_and_the_reverse_are_left_out_and_counted(npy):
    """The published validation set lacks a picture."""
    note(npy / "train_set", "2000", 5, 0, 0)
    note(npy / "train_set", "3000", 5, 0, 0)
    save(npy / "train_set/images/11.jpg")
    (npy / "train_set/annotations/9_aro.npy").unlink()
    for stray in ("images/._9.jpg", "images/Thumbs.db", "annotations/._2_exp.npy", "annotations/a_xyz.npy"):
        (npy / "train_set" / stray).write_bytes(b"poison")
    samples = build(npy, release="npy")
    assert ids(samples) == ["10.jpg", "100.jpg"]
    assert samples.counts() == {
        "pictures without all their annotations": 2,
        "annotations without a picture": 2,
        "faces without valence or arousal (-2)": 1,
    }
    assert samples.problems() == []


def test_landmark_files_are_needed_only_to_cut_by_them(npy):
    (npy / "train_set/annotations/9_lnd.npy").unlink()
    assert ids(build(npy, release="npy")) == ["9.jpg", "10.jpg", "100.jpg"]
    samples = build(npy, release="npy", crop="landmarks")
    assert ids(samples) == ["10.jpg", "100.jpg"]
    assert samples.counts()["pictures without all their annotations"] == 1


def test_many_files_keep_their_order(tmp_path):
    """More than a thread reads at a time."""
    for number in range(600):
        note(tmp_path / "train_set", str(number), number % 8, number / 1000, "0")
        save(tmp_path / f"train_set/images/{number}.jpg")
    samples = build(tmp_path, release="npy")
    assert expressions(samples) == [NATIVE[number % 8] for number in range(600)]
    assert affect(samples) == [[number / 1000, 0] for number in range(600)]


def test_files_that_are_not_in_the_format_are_named(npy):
    folder = npy / "train_set/annotations"
    np.save(folder / "9_exp.npy", "happy")
    np.save(folder / "9_val.npy", 1.5)
    np.save(folder / "9_aro.npy", np.zeros(2))
    (folder / "10_exp.npy").write_bytes(b"")
    (folder / "10_val.npy").write_bytes((folder / "10_aro.npy").read_bytes()[:-4])
    np.save(folder / "100_exp.npy", np.array(object()), allow_pickle=True)
    np.save(folder / "100_val.npy", "")
    start = "AffectNet/train_set: annotations/"
    lines = [text.removeprefix(start) for text in problem_of(npy, release="npy").splitlines()]
    found = dict(text.split(".npy: ") for text in lines)
    rule, span = "must be a class id from 0 to 10", "must be between -1 and 1, or -2 for none"
    unusable = "(got no npy file that can be used: "
    assert found.pop("10_exp").startswith(f"{rule} {unusable}")
    assert found.pop("10_val").startswith(f"{span} {unusable}")
    assert found.pop("100_exp") == f"{rule} {unusable}must not hold Python objects)"
    assert found == {
        "9_exp": f"{rule} (got happy)",
        "9_val": f"{span} (got 1.5)",
        "9_aro": f"{span} (got an array of shape (2,))",
        "100_val": f"{span} (got an empty text)",
    }


def test_a_folder_without_any_whole_face_is_told(tmp_path):
    for name in ("images", "annotations"):
        (tmp_path / "val_set" / name).mkdir(parents=True)
    save(tmp_path / "val_set/images/0.jpg")
    message = problem_of(tmp_path, release="npy", split="validation")
    assert message == f"{tmp_path}/val_set: none of 1 pictures has its annotations (exp, val, aro)"


# Mistakes in the recipe


def test_missing_files_are_named_with_what_is_there_instead(tmp_path, npy):
    root = tmp_path / "db"
    assert problem_of(root) == f"affectnet: there is no folder {root}"
    write(root, HEADER, line("a.jpg"), table="trainning.csv")
    assert problem_of(root) == (
        f"affectnet: there is no table {root}/training.csv; did you mean 'trainning.csv'?"
    )
    assert problem_of(root, csv=tmp_path / "no/x.csv") == f"affectnet: there is no table {tmp_path}/no/x.csv"
    assert problem_of(npy) == (
        f"affectnet: there is no table {npy}/training.csv; train_set is there, which is of release = 'npy'"
    )
    write(root, HEADER, line("a.jpg"))
    assert problem_of(root, release="npy") == (
        f"affectnet: there is no folder {root}/train_set; training.csv is there, which is of release = 'csv'"
    )
    message = problem_of(root, images=tmp_path / "pictures")
    assert message == f"affectnet: images: there is no folder {tmp_path}/pictures"
    (npy / "train_set/annotations").rename(npy / "train_set/notes")
    message = problem_of(npy, release="npy")
    assert message == f"{npy}/train_set/annotations: No such file or directory"


def test_options_of_the_other_release_are_refused(tmp_path):
    with pytest.raises(ValueError, match="csv and images are of release csv"):
        AffectNet(root=tmp_path, release="npy", csv=tmp_path / "x.csv")
    with pytest.raises(ValueError, match="csv and images are of release csv"):
        AffectNet(root=tmp_path, release="npy", images=tmp_path)
    with pytest.raises(ValueError, match="release npy has no boxes"):
        AffectNet(root=tmp_path, release="npy", crop="box")


def test_samples_travel_to_other_processes(tmp_path, npy):
    write(tmp_path, HEADER, line("1/a.jpg"), line("1/b.jpg", points=""))
    for samples in (build(tmp_path), build(npy, release="npy", crop="landmarks")):
        copy = pickle.loads(pickle.dumps(samples))
        assert ids(copy) == ids(samples)
        assert (copy.read([1, 0]) == samples.read([1, 0])).all()


def test_it_is_a_dataset_plugin():
    assert mtl_datasets() == [AffectNet]
    assert AffectNet.name == "affectnet"


def test_it_conforms(tmp_path):
    """To what `mtl_toolkit.testing` asks of every dataset."""
    lines = [line(f"1/{number}.png", number % 8, number / 10, -number / 10) for number in range(9)]
    root = write(tmp_path, HEADER, *lines, line("1/9.png", 9, -2, -2), line("1/10.png", 3, -2, -2))
    for check in check_dataset(AffectNet(root=root), TASKS, image_size=8):
        check()
