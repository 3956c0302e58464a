"""What all databases share: which rows are samples, how labels are matched, what is said about mistakes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from mtl_affect.action_units import ActionUnits
from mtl_affect.databases.base import FaceDatabase
from mtl_affect.databases.crops import BoxCrop
from mtl_affect.databases.table import FaceSamples, FaceTable
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.classification import Classification
from mtl_std.picture_files import PictureFiles, as_bytes
from mtl_std.stored_labels import StoredLabels
from PIL import Image

from mtl_toolkit import DataError, DataFacts, Head, UnreadableSampleError

NATIVE = ("surprise", "neutral", "anger")
MORE = ("surprise", "contempt", "neutral", "anger")  # more than the head has
TASKS = {"expr": Expression(), "va": ValenceArousal()}
IDS = {"surprise": 6, "neutral": 0, "anger": 1}  # of the expression head


@attrs.frozen(kw_only=True)
class Toy(FaceDatabase):
    """A database that is made by the test."""

    name: ClassVar[str] = "toy"
    made: FaceTable

    def table(self) -> FaceTable:
        return self.made


def expressions(*names: str | None, classes: tuple[str, ...] = NATIVE) -> StoredLabels:
    """Class ids under the database's own order; None: missing, under a value that must not be read."""
    values = np.array([99 if name is None else classes.index(name) for name in names])
    return StoredLabels(values, values != 99, classes=classes)


def valence_arousal(*rows: tuple[float | None, float | None]) -> StoredLabels:
    values = np.array([[np.nan if value is None else value for value in row] for row in rows])
    valid = ~np.isnan(values)
    return StoredLabels(
        np.where(valid, values, -500.0), valid, units=("valence", "arousal"), range=(-10.0, 10.0)
    )


def files(count: int) -> np.ndarray:
    return as_bytes([f"{place}.png" for place in range(count)])


def table(root: Path, labels: dict[str, StoredLabels], **fields: Any) -> FaceTable:
    count = max((len(label.values) for label in labels.values()), default=3)
    return FaceTable(**{"pictures": PictureFiles(root, files(count)), "labels": labels, **fields})


def build(made: FaceTable, tasks: dict[str, Head] | None = None, size: int = 4, **fields: Any) -> FaceSamples:
    recipe = Toy(root=Path("/data/toys"), made=made, **fields)
    return recipe.build(DataFacts(tasks=TASKS if tasks is None else tasks, image_size=size))


def problem_of(made: FaceTable, tasks: dict[str, Head] | None = None, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        build(made, tasks, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ids(samples: FaceSamples) -> list[str]:
    return [samples.id(index) for index in range(len(samples))]


def paint(path: Path, *colours: tuple[int, int, int], side: int = 4) -> None:
    """A picture of squares of some colours, side by side."""
    image = Image.new("RGB", (side * len(colours), side))
    for place, colour in enumerate(colours):
        image.paste(colour, (side * place, 0, side * (place + 1), side))
    image.save(path)


# Which rows are samples


def test_rows_without_a_label_of_the_tasks_are_left_out_and_counted(tmp_path: Path) -> None:
    """One axis of two is a label; the tables' own counts come first."""
    made = table(
        tmp_path,
        {
            "expression": expressions("anger", None, None, None),
            "valence-arousal": valence_arousal((None, None), (None, None), (None, 5), (None, None)),
        },
        counts={"rows without a picture": 7},
    )
    samples = build(made)
    assert ids(samples) == ["0.png", "2.png"]
    assert samples.counts() == {"rows without a picture": 7, "faces without a label of the tasks": 2}
    assert samples.labels()["expr"].valid.tolist() == [True, False]
    assert samples.labels()["va"].valid.tolist() == [[False, False], [False, True]]


def test_a_label_that_no_task_wants_keeps_no_row(tmp_path: Path) -> None:
    """Rows count by the tasks of the configuration."""
    made = table(
        tmp_path,
        {
            "expression": expressions("anger", None),
            "valence-arousal": valence_arousal((1, 1), (2, 2)),
        },
    )
    assert ids(build(made, {"expr": Expression()})) == ["0.png"]


def test_unlabelled_keeps_every_row(tmp_path: Path) -> None:
    """Rows without a label have one that is missing, and nothing was left out."""
    made = table(tmp_path, {"expression": expressions("anger", None, "neutral")})
    samples = build(made, unlabelled=True)
    assert ids(samples) == ["0.png", "1.png", "2.png"]
    assert samples.labels()["expr"].valid.tolist() == [True, False, True]
    assert samples.counts() == {}


def test_unlabelled_faces_need_no_task_that_fits(tmp_path: Path) -> None:
    """A database may serve for pictures alone."""
    made = table(tmp_path, {"expression": expressions("anger", None)})
    samples = build(made, {"au": ActionUnits()}, unlabelled=True)
    assert len(samples) == 2
    assert samples.labels() == {}


def test_a_row_whose_only_label_is_dropped_is_left_out(tmp_path: Path) -> None:
    """A dropped class counts as missing, so the row has no label."""
    made = table(tmp_path, {"expression": expressions("contempt", "anger", "contempt", classes=MORE)})
    samples = build(made, drop_classes=("contempt",))
    assert ids(samples) == ["1.png"]
    assert samples.counts() == {"faces without a label of the tasks": 2}
    kept = build(made, drop_classes=("contempt",), unlabelled=True)
    assert kept.labels()["expr"].valid.tolist() == [False, True, False]


def test_no_labelled_row_at_all_is_an_error_that_names_the_labels(tmp_path: Path) -> None:
    """The number of faces, and what could have been asked for."""
    made = table(tmp_path, {"expression": expressions("anger", None)})
    assert problem_of(made, {"au": ActionUnits()}) == (
        "toy toys: none of 2 faces has a label of the tasks (its labels: expression)"
    )


@pytest.mark.parametrize("unlabelled", [False, True])
def test_a_database_without_a_face_is_an_error(tmp_path: Path, unlabelled: bool) -> None:
    """Whether or not faces need a label."""
    made = table(tmp_path, {"expression": expressions()})
    assert problem_of(made, unlabelled=unlabelled) == "toy toys: there are no faces"


# Required labels


def naive_rows(
    expression: list[str | None],
    affect: list[tuple[float | None, float | None]],
    require: tuple[str, ...],
    dropped: tuple[str, ...],
) -> tuple[list[int], dict[str, int]]:
    """The rows that are left and the counts of the others, face by face."""
    lack = f"faces that lack a required label ({', '.join(require)})"
    counts = {lack: 0, "faces without a label of the tasks": 0}
    rows = []
    for row, (name, (valence, arousal)) in enumerate(zip(expression, affect, strict=True)):
        has = {
            "expression": name is not None and name not in dropped,
            "valence-arousal": valence is not None or arousal is not None,
        }
        if not all(has[wanted] for wanted in require):
            counts[lack] += 1
        elif not any(has.values()):
            counts["faces without a label of the tasks"] += 1
        else:
            rows.append(row)
    return rows, {what: number for what, number in counts.items() if number}


NUMBERS = st.none() | st.floats(-10, 10)


@given(
    faces=st.lists(st.tuples(st.sampled_from([None, *MORE]), st.tuples(NUMBERS, NUMBERS)), min_size=1),
    require=st.sampled_from(
        [(), ("expression",), ("valence-arousal",), ("valence-arousal", "expression")],
    ),
)
def test_faces_that_lack_a_required_label_are_left_out_and_counted(faces, require):
    """One axis of two is a label, one of a dropped class is none."""
    expression, affect = [name for name, _ in faces], [values for _, values in faces]
    rows, counts = naive_rows(expression, affect, require, ("contempt",))
    assume(rows)
    made = table(
        Path("/data/toys"),
        {
            "expression": expressions(*expression, classes=MORE),
            "valence-arousal": valence_arousal(*affect),
        },
    )
    samples = build(made, require=require, drop_classes=("contempt",))
    assert ids(samples) == [f"{row}.png" for row in rows]
    assert samples.counts() == counts
    for row, kept in enumerate(rows):
        has = expression[kept] not in (None, "contempt")
        assert samples.labels()["expr"].valid[row] == has
        assert samples.labels()["va"].valid[row].tolist() == [value is not None for value in affect[kept]]


def test_a_label_that_no_task_reads_can_be_required(tmp_path: Path) -> None:
    """The same faces, whatever the tasks are; also where those without a label of the tasks are kept."""
    made = table(
        tmp_path,
        {
            "expression": expressions("anger", None, "contempt", "neutral", None, classes=MORE),
            "valence-arousal": valence_arousal((1, 1), (2, 2), (3, 3), (None, None), (None, None)),
        },
    )
    fields: dict[str, Any] = {"require": ("expression",), "drop_classes": ("contempt",)}
    assert ids(build(made, {"va": ValenceArousal()}, **fields)) == ["0.png"]
    assert ids(build(made, {"va": ValenceArousal()}, unlabelled=True, **fields)) == ["0.png", "3.png"]


def test_votes_for_dropped_classes_alone_are_no_required_label(tmp_path: Path) -> None:
    """Nor are votes that are marked as missing, whatever stands there."""
    votes = np.array([[0, 4, 0, 0], [0, 3, 0, 1], [0, 0, 0, 0], [5, 5, 5, 5], [1, 0, 0, 0]], float)
    valid = np.ones_like(votes, np.bool_)
    valid[3] = False
    votes[3, 2] = np.nan
    made = table(tmp_path, {"class": StoredLabels(votes, valid, classes=MORE)})
    samples = build(made, {}, require=("class",), drop_classes=("contempt",), unlabelled=True)
    assert ids(samples) == ["1.png", "4.png"]
    assert samples.counts() == {"faces that lack a required label (class)": 3}


def test_a_required_label_that_the_database_lacks_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """The key, the name and a guess; naming one twice is refused too."""
    made = table(tmp_path, {"expression": expressions("anger")})
    assert problem_of(made, require=("expresion",)) == (
        "toy toys: require: there is no label 'expresion'; did you mean 'expression'?"
    )
    with pytest.raises(ValueError, match="must not name anything twice"):
        build(made, require=("expression", "expression"))


def test_no_face_with_all_required_labels_is_an_error_that_names_them(tmp_path: Path) -> None:
    """Each is there, but never both; or faces have them, but no task wants them."""
    made = table(
        tmp_path,
        {"expression": expressions("anger", None), "valence-arousal": valence_arousal((None, None), (1, 1))},
    )
    assert problem_of(made, require=("expression", "valence-arousal")) == (
        "toy toys: require: none of 2 faces has all of expression, valence-arousal"
    )
    assert problem_of(made, {"au": ActionUnits()}, require=("expression",)) == (
        "toy toys: none of 1 faces has a label of the tasks (its labels: expression, valence-arousal)"
    )


# Matching by name


def test_classes_are_matched_by_name_whatever_their_order(tmp_path: Path) -> None:
    """The head's ids, from names in the database's own order."""
    names = ("anger", "surprise", "neutral", "anger")
    made = table(tmp_path, {"expression": expressions(*names)})
    labels = build(made).labels()["expr"]
    assert labels.values.tolist() == [IDS[name] for name in names]
    assert labels.values.dtype == np.int64


def test_units_are_matched_by_name_and_ranges_scaled(tmp_path: Path) -> None:
    """-10 to 10 becomes -1 to 1, and a head may have the axes the other way round."""
    made = table(tmp_path, {"valence-arousal": valence_arousal((5, -10), (None, 2))})
    samples = build(made, {"va": ValenceArousal(), "av": ValenceArousal(axes=("arousal", "valence"))})
    assert samples.labels()["va"].values[0].tolist() == pytest.approx([0.5, -1.0])
    assert samples.labels()["av"].values[0].tolist() == pytest.approx([-1.0, 0.5])
    assert samples.labels()["av"].valid.tolist() == [[True, True], [True, False]]


def test_the_head_s_own_name_picks_the_label_unless_another_is_given(tmp_path: Path) -> None:
    """Two labels of one kind can serve two tasks."""
    made = table(
        tmp_path, {"expression": expressions("anger", "neutral"), "second-look": expressions("neutral", None)}
    )
    tasks = {"expr": Expression(), "again": Expression()}
    samples = build(made, tasks, labels={"again": "second-look"})
    assert samples.labels()["expr"].values.tolist() == [1, 0]
    assert samples.labels()["again"].values[:1].tolist() == [0]
    assert samples.labels()["again"].valid.tolist() == [True, False]


def test_a_label_mapped_for_a_task_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    """A dataset may be written for more tasks than a configuration has."""
    made = table(tmp_path, {"expression": expressions("anger")})
    samples = build(made, labels={"pain": "pain"})
    assert list(samples.labels()) == ["expr"]


def test_shares_of_classes_are_matched_by_name_and_add_up_to_one(tmp_path: Path) -> None:
    """Votes for a class that the task lacks do not count; without other votes there is no label."""
    votes = np.array([[2, 4, 1, 1], [0, 3, 0, 0], [0, 0, 0, 5]], float)
    made = table(tmp_path, {"class": StoredLabels(votes, np.ones_like(votes, np.bool_), classes=MORE)})
    head = Classification(classes=("anger", "neutral", "surprise"), soft=True)
    samples = build(made, {"expr": head}, drop_classes=("contempt",))
    assert ids(samples) == ["0.png", "2.png"]
    assert samples.labels()["expr"].values.tolist() == [[0.25, 0.25, 0.5], [1, 0, 0]]
    assert samples.labels()["expr"].valid.all()


# What is refused


def test_a_label_that_the_database_lacks_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """The key, the name and a guess."""
    made = table(tmp_path, {"expression": expressions("anger")})
    assert problem_of(made, labels={"expr": "expresion"}) == (
        "toy toys: labels.expr: there is no label 'expresion'; did you mean 'expression'?"
    )


def test_a_class_to_drop_that_the_database_lacks_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """The key, the name and a guess, as for labels."""
    made = table(tmp_path, {"expression": expressions("anger", classes=MORE)})
    assert problem_of(made, drop_classes=("contemt",)) == (
        "toy toys: drop_classes: there is no class 'contemt'; did you mean 'contempt'?"
    )


def test_a_class_that_the_task_lacks_is_refused_unless_it_is_dropped(tmp_path: Path) -> None:
    """Even if no row has it, since the next part may."""
    made = table(tmp_path, {"expression": expressions("anger", classes=MORE)})
    assert "toy toys: task 'expr': the task has no class 'contempt'" in problem_of(made)
    assert "(drop_classes leaves its labels out)" in problem_of(made)
    assert len(build(made, drop_classes=("contempt",))) == 1


def test_a_value_outside_the_database_s_range_is_refused(tmp_path: Path) -> None:
    """A valid 11 of -10 to 10 is no label."""
    made = table(tmp_path, {"valence-arousal": valence_arousal((5, 11))})
    assert problem_of(made) == "toy toys: task 'va': must lie in the stored range [-10, 10] (got 11)"


# Reading


def test_a_face_is_decoded_cut_and_scaled(tmp_path: Path) -> None:
    """Two faces of one picture differ; the order asked for is kept."""
    paint(tmp_path / "two.png", (250, 0, 0), (0, 250, 0))
    made = table(
        tmp_path,
        {"expression": expressions("anger", "neutral")},
        pictures=PictureFiles(tmp_path, as_bytes(["two.png", "two.png"])),
        crop=BoxCrop(np.array([[0, 0, 4, 4], [4, 0, 8, 4]])),
        faces=as_bytes(["0", "1"]),
    )
    samples = build(made, size=6)
    read = samples.read([1, 0])
    assert (read.shape, read.dtype) == ((2, 3, 6, 6), torch.uint8)
    assert read.amax((2, 3)).tolist() == read.amin((2, 3)).tolist() == [[0, 250, 0], [250, 0, 0]]
    assert ids(samples) == ["two.png#0", "two.png#1"]


def test_columns_and_ids_follow_the_samples(tmp_path: Path) -> None:
    """Rows that were left out are left out of every column."""
    made = table(
        tmp_path,
        {"expression": expressions("anger", None, "neutral")},
        faces=as_bytes(["a", "b", "c"]),
        groups=as_bytes(["toy: 1", "toy: 2", ""]),
        frames=np.array([3, 5, 8]),
    )
    samples = build(made)
    root = str(tmp_path).encode()
    assert ids(samples) == ["0.png#a", "2.png#c"]
    assert samples.column("file").tolist() == [root + b"/0.png", root + b"/2.png"]
    assert samples.column("group").tolist() == [b"toy: 1", b""]
    assert samples.column("frame").tolist() == [3, 8]
    assert samples.column("person") is None


def test_columns_that_a_database_lacks_are_none(tmp_path: Path) -> None:
    """Persons and frames are known of some databases only."""
    samples = build(table(tmp_path, {"expression": expressions("anger")}))
    assert samples.column("group") is None
    assert samples.column("frame") is None


def test_missing_pictures_of_the_samples_are_problems_once_each(tmp_path: Path) -> None:
    """Two faces of a missing picture are one problem; rows that were left out are none."""
    paint(tmp_path / "there.png", (1, 2, 3))
    names = ["gone.png", "there.png", "gone.png", "left-out.png"]
    made = table(
        tmp_path,
        {"expression": expressions("anger", "anger", "anger", None)},
        pictures=PictureFiles(tmp_path, as_bytes(names)),
        faces=as_bytes(["0", "0", "1", "0"]),
    )
    samples = build(made)
    assert samples.problems() == [f"toy toys: there is no picture gone.png in {tmp_path}"]


def test_many_missing_pictures_are_counted(tmp_path: Path) -> None:
    """Twenty are named."""
    made = table(tmp_path, {"expression": expressions(*["anger"] * 25)})
    problems = build(made).problems()
    assert len(problems) == 21
    assert problems[-1] == "toy toys: ... and 5 more missing pictures"


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    """By its path, whether it is damaged or missing."""
    (tmp_path / "0.png").write_bytes(b"not a picture")
    samples = build(table(tmp_path, {"expression": expressions("anger", "anger")}))
    with pytest.raises(UnreadableSampleError, match=r"0\.png: is not a picture, or of an unknown format"):
        samples.read([0])
    with pytest.raises(UnreadableSampleError, match=f"{tmp_path}/1.png: No such file or directory"):
        samples.read([1])


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_the_samples_know_what_to_do_about_an_unreadable_picture(tmp_path: Path, on_error: str) -> None:
    """The recipe's word is the samples'."""
    made = table(tmp_path, {"expression": expressions("anger")})
    assert build(made, on_error=on_error).on_error == on_error


def test_samples_can_be_pickled(tmp_path: Path) -> None:
    """Spawned loader processes get a copy."""
    paint(tmp_path / "0.png", (9, 8, 7), (0, 0, 0))
    made = table(
        tmp_path,
        {"expression": expressions("anger")},
        crop=BoxCrop(np.array([[0, 0, 4, 4]])),
        groups=as_bytes(["toy: 1"]),
        frames=np.array([3]),
        counts={"odd": 1},
    )
    samples = build(made)
    copy = pickle.loads(pickle.dumps(samples))
    assert torch.equal(copy.read([0]), samples.read([0]))
    assert copy.read([0])[0, :, 0, 0].tolist() == [9, 8, 7]
    assert copy.column("group").tolist() == [b"toy: 1"]
    assert copy.labels()["expr"].values.tolist() == [1]
    assert copy.counts() == {"odd": 1}
