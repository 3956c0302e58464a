"""The image-csv dataset: what is read from the table, and what is said about a table that cannot be used."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mtl_std.binned_regression import BinnedRegression
from mtl_std.cells import Cells, ProblemList, parse_numbers
from mtl_std.classification import Classification
from mtl_std.image_csv import ImageCsv
from mtl_std.label_columns import LabelColumns, parse_classes, rescale
from mtl_std.multi_label import MultiLabel
from mtl_std.picture_files import absolute_paths
from mtl_std.pictures import decode, square
from mtl_std.regression import Regression
from PIL import Image

from mtl_toolkit import (
    DataError,
    DataFacts,
    Detector,
    Head,
    LiveStream,
    Samples,
    UnreadableSampleError,
    collate,
)
from mtl_toolkit.testing import check_dataset

EXPR = Classification(classes=("neutral", "happiness", "sadness"))
VA = BinnedRegression(axes=("valence", "arousal"), range=(-1, 1))
AU = MultiLabel(names=("AU1", "AU2"))
EXPR_COLUMN = LabelColumns(column="expression")
VA_COLUMNS = LabelColumns(columns=("valence", "arousal"))


def build(
    folder: Path, table: str | bytes, tasks: dict[str, Head] | None = None, size: int = 8, **fields: Any
) -> Samples:
    path = folder / "labels.csv"
    path.write_bytes(table.encode() if isinstance(table, str) else table)
    recipe = ImageCsv(csv=path, **fields)
    return recipe.build(DataFacts(tasks or {}, size))


def problems_of(folder: Path, table: str | bytes, tasks: dict[str, Head] | None = None, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        build(folder, table, tasks, **fields)
    return str(caught.value)


def files(samples: Samples) -> list[str]:
    return [samples.id(index) for index in range(len(samples))]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# What is read


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"split": "train"}, ["a", "b", "d"]),
        ({"subset": ["va", "both"]}, ["a", "b"]),
        ({"fold": 1}, ["a", "d"]),
        ({"subset": {"present": True}}, ["a", "b"]),
        ({"subset": {"present": False}}, ["c", "d"]),
        ({"quality": {"not": "bad"}}, ["a", "c", "d"]),
        ({"quality": {"not": ["bad", "poor"]}}, ["a", "d"]),
        ({"valence": {"min": -0.5, "max": 1}}, ["a", "d"]),
        ({"valence": {"max": 0}}, ["b", "d"]),
        ({"split": "train", "fold": {"min": 2}}, ["b"]),
        ({}, ["a", "b", "c", "d"]),
    ],
)
def test_where_keeps_the_rows_that_comply_with_every_column(
    tmp_path: Path, where: dict[str, Any], expected: list[str]
) -> None:
    """A value, a list, `present`, `not`, `min` and `max` each select rows; all conditions must hold."""
    table = (
        "file,split,subset,fold,quality,valence\n"
        "a,train,va,1,good,0.5\nb,train,both,2,bad,-0.9\nc,val,,3,poor,\nd,train,,1,,-0.5\n"
    )
    assert files(build(tmp_path, table, where=where)) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"a": {"nto": "x"}}, "column 'a': unknown operator 'nto'; did you mean 'not'?"),
        ({"a": {"present": 1}}, "column 'a': present must be true or false (got 1)"),
        ({"a": {"min": "x"}}, "column 'a': min must be a number (got 'x')"),
        ({"a": 1.5}, "column 'a': must be a text, a whole number, a list of these, or a table of"),
        ({"a": [True]}, "column 'a': must be a text, a whole number, a list of these, or a table of"),
    ],
)
def test_a_where_that_is_not_one_is_refused_with_its_column(where: dict[str, Any], message: str) -> None:
    """The recipe itself refuses the condition, before any file is read."""
    with pytest.raises(ValueError, match="column 'a'") as caught:
        ImageCsv(csv=Path("labels.csv"), where=where)
    assert message in str(caught.value)


def test_an_empty_field_is_a_missing_label_of_that_column_only(tmp_path: Path) -> None:
    """A row may have a valence and no arousal; the rest of the row counts."""
    table = "file,valence,arousal\na,0.5,\nb,,-1\nc,,\nd,1,0\n"
    labels = build(tmp_path, table, {"va": VA}, labels={"va": VA_COLUMNS}).labels()["va"]
    assert labels.valid.tolist() == [[True, False], [False, True], [False, False], [True, True]]
    assert labels.values[labels.valid].tolist() == [0.5, -1.0, 1.0, 0.0]
    assert labels.values.dtype == np.float32


def test_classes_are_matched_by_name_and_by_the_given_mapping(tmp_path: Path) -> None:
    """Names that the task knows need no mapping; `classes` maps the others, `missing` drops some."""
    columns = LabelColumns(column="expression", classes={"sad": "sadness"}, missing=("contempt",))
    table = "file,expression\na,happiness\nb,sad\nc,sadness\nd,contempt\ne,\n"
    labels = build(tmp_path, table, {"expr": EXPR}, labels={"expr": columns}).labels()["expr"]
    assert labels.values[labels.valid].tolist() == [1, 2, 2]
    assert labels.valid.tolist() == [True, True, True, False, False]
    assert labels.values.dtype == np.int64


def test_numbers_are_classes_in_the_given_order(tmp_path: Path) -> None:
    """`order` names the numbers; 2.0 is 2, and a sentinel may be declared missing."""
    columns = LabelColumns(
        column="id", order=("happiness", "contempt", "neutral"), missing=("-1", "contempt")
    )
    table = "file,id\na,0\nb,1\nc,2\nd,2.0\ne,-1\n"
    labels = build(tmp_path, table, {"expr": EXPR}, labels={"expr": columns}).labels()["expr"]
    assert labels.values[labels.valid].tolist() == [1, 0, 0]
    assert labels.valid.tolist() == [True, False, True, True, False]


def test_a_range_of_the_columns_is_scaled_to_that_of_the_task(tmp_path: Path) -> None:
    """-10..10 becomes -1..1, linearly."""
    columns = LabelColumns(columns=("valence", "arousal"), range=(-10, 10))
    table = "file,valence,arousal\na,-10,5\nb,10,\n"
    labels = build(tmp_path, table, {"va": VA}, labels={"va": columns}).labels()["va"]
    assert labels.values[labels.valid].tolist() == [-1.0, 0.5, 1.0]


@given(st.lists(st.floats(-3, 7), min_size=1), st.floats(-5, 5), st.floats(0.1, 10))
def test_scaling_keeps_values_inside_and_can_be_undone(values: list[float], low: float, width: float) -> None:
    """Whatever the rounding, scaled values lie in the target range; scaling back gives the values."""
    scaled = rescale(np.array(values), (-3, 7), (low, low + width))
    assert scaled.min() >= low
    assert scaled.max() <= low + width
    np.testing.assert_allclose(rescale(scaled, (low, low + width), (-3, 7)), values, atol=1e-9)


def test_units_of_a_multi_label_task_are_missing_one_by_one(tmp_path: Path) -> None:
    """One action unit may be empty, or hold the sentinel declared as missing, while the other counts."""
    columns = LabelColumns(columns=("u1", "u2"), missing=("-1",))
    labels = build(
        tmp_path, "file,u2,u1\na,1,\nb,-1,0\nc,0,1\n", {"au": AU}, labels={"au": columns}
    ).labels()["au"]
    assert labels.valid.tolist() == [[False, True], [True, False], [True, True]]
    assert labels.values[2].tolist() == [1.0, 0.0]


def test_votes_become_shares_of_the_classes(tmp_path: Path) -> None:
    """Soft targets are votes divided by their number; no vote, or a missing one, is a missing label."""
    head = Classification(classes=("neutral", "happiness"), soft=True)
    columns = LabelColumns(columns=("n", "h"))
    labels = build(
        tmp_path, "file,n,h\na,3,1\nb,0,0\nc,,2\n", {"expr": head}, labels={"expr": columns}
    ).labels()["expr"]
    assert labels.complete().tolist() == [True, False, False]
    assert labels.values[0].tolist() == [0.75, 0.25]


def test_a_single_value_may_be_named_as_a_column(tmp_path: Path) -> None:
    """A task with one axis and no range takes any finite number."""
    labels = build(
        tmp_path,
        "file,age\na,31.5\n",
        {"age": Regression(axes=("age",))},
        labels={"age": LabelColumns(column="age")},
    ).labels()["age"]
    assert labels.values.tolist() == [[31.5]]


def test_only_the_tasks_asked_for_are_read(tmp_path: Path) -> None:
    """A mapping of another task is ignored, and so are its columns; an unmapped task is absent."""
    labels = {"expr": EXPR_COLUMN, "va": VA_COLUMNS}
    samples = build(tmp_path, "file,expression\na,neutral\n", {"expr": EXPR, "au": AU}, labels=labels)
    assert list(samples.labels()) == ["expr"]


def test_a_byte_order_mark_quotes_and_names_beyond_ascii_are_read(tmp_path: Path) -> None:
    """A file as spreadsheets save it works."""
    table = '\ufefffile,group\r\n"Größe, 1.jpg",Ünal\r\n\r\nb.jpg,\r\n'
    samples = build(tmp_path, table, group="group")
    assert files(samples) == ["Größe, 1.jpg", "b.jpg"]
    groups = samples.column("group")
    assert groups is not None
    names = [group.decode().removeprefix(f"{tmp_path}: ") for group in groups]
    assert names == ["Ünal", ""]


def test_file_column_has_absolute_paths_that_are_equal_for_equal_files(tmp_path: Path) -> None:
    """`..`, `.` and absolute names are resolved, for checks that no picture is in two splits."""
    paths = absolute_paths("/data/set", np.array([b"a.jpg", b"./a.jpg", b"../set/a.jpg", b"/other/b.jpg"]))
    assert paths.tolist() == [b"/data/set/a.jpg"] * 3 + [b"/other/b.jpg"]
    samples = build(tmp_path, "file\nx/a.jpg\n", root=tmp_path / "pictures")
    column = samples.column("file")
    assert column is not None
    assert column.tolist() == [os.fsencode(tmp_path / "pictures" / "x" / "a.jpg")]
    assert samples.column("group") is None


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))))
def test_numbers_survive_the_way_through_text(numbers: list[float | None]) -> None:
    """Every finite number is read back exactly, an empty field as NaN."""
    cells = Cells("x", np.arange(1, len(numbers) + 1), ["" if n is None else repr(n) for n in numbers])
    problems = ProblemList("labels.csv")
    np.testing.assert_array_equal(
        parse_numbers(cells, problems), np.array([np.nan if n is None else n for n in numbers], float)
    )
    problems.check()


@given(st.lists(st.sampled_from(["", "a", "b", "c"])))
def test_class_ids_name_the_classes_they_came_from(texts: list[str]) -> None:
    """Reading classes and naming the ids again gives the column."""
    names = ("b", "a", "c")
    cells = Cells("x", np.arange(len(texts)), texts)
    ids = parse_classes(cells, {"": -1, "b": 0, "a": 1, "c": 2}, ProblemList("labels.csv"))
    assert ["" if np.isnan(number) else names[int(number)] for number in ids] == texts


# What is said about a table that cannot be used


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("abc", "must be a number (got 'abc')"),
        ("NaN", "must be a number; leave the field empty for a missing label (got 'NaN')"),
        ("inf", "must be a finite number (got 'inf')"),
        ("1.5", "must be between -1 and 1 (got '1.5')"),
    ],
)
def test_a_bad_number_is_named_with_line_and_column(tmp_path: Path, value: str, rule: str) -> None:
    """The message has the file, the line, the column, the rule and what was found."""
    message = problems_of(
        tmp_path, f"file,valence,arousal\na,0,0\nb,{value},0\n", {"va": VA}, labels={"va": VA_COLUMNS}
    )
    assert f"labels.csv line 3: column 'valence': {rule}" in message


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("hapiness", "must be a class of the task; did you mean 'happiness'? (got 'hapiness')"),
        ("nan", "must be a class; leave the field empty for a missing label (got 'nan')"),
        ("3", "must be a class of the task; give the names with order = [...] (got '3')"),
    ],
)
def test_an_unknown_class_is_named_with_the_nearest(tmp_path: Path, value: str, rule: str) -> None:
    """The message helps with a typing error, a literal nan and a column of numbers."""
    message = problems_of(
        tmp_path, f"file,expression\na,{value}\n", {"expr": EXPR}, labels={"expr": EXPR_COLUMN}
    )
    assert f"labels.csv line 2: column 'expression': {rule}" in message


def test_all_problems_are_told_the_first_ones_in_full(tmp_path: Path) -> None:
    """Twenty lines in the order of the file, then a count."""
    rows = "".join(f"f{number},joy,x\n" for number in range(30))
    message = problems_of(
        tmp_path,
        f"file,expression,valence\n{rows}",
        {"expr": EXPR, "va": Regression(axes=("v",))},
        labels={"expr": EXPR_COLUMN, "va": LabelColumns(column="valence")},
    )
    lines = message.splitlines()
    assert len(lines) == 21
    assert "line 2:" in lines[0]
    assert lines[-1].endswith("... and 40 more")


def test_a_label_in_a_row_that_is_not_used_does_not_matter(tmp_path: Path) -> None:
    """`where` is applied before labels are read."""
    table = "file,split,valence,arousal\na,train,0,0\nb,val,abc,nan\n"
    assert files(build(tmp_path, table, {"va": VA}, labels={"va": VA_COLUMNS}, where={"split": "train"})) == [
        "a"
    ]


def test_missing_columns_are_all_told_with_the_nearest(tmp_path: Path) -> None:
    """Those of labels, group and `where` alike."""
    message = problems_of(
        tmp_path,
        "file,expresion,split\na,neutral,train\n",
        {"expr": EXPR},
        labels={"expr": EXPR_COLUMN},
        group="identity",
        where={"splt": "train"},
    )
    assert "there is no column 'expression'; did you mean 'expresion'?" in message
    assert "there is no column 'splt'; did you mean 'split'?" in message
    assert "there is no column 'identity'; there are: file, expresion, split" in message


def test_a_column_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    """Which of the two is meant is not guessed."""
    message = problems_of(tmp_path, "file,split,split\na,x,y\n", where={"split": "x"})
    assert "labels.csv line 1: column 'split' must be there once (got 2 of that name)" in message


def test_a_picture_listed_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    """Unless `where` takes only one of them, or they are to be kept."""
    table = "file,rater\na,1\nb,1\na,2\n"
    message = problems_of(tmp_path, table)
    assert "labels.csv line 4: each picture must be listed once; 'a' is on line 2 too" in message
    assert files(build(tmp_path, table, where={"rater": "1"})) == ["a", "b"]
    assert files(build(tmp_path, table, duplicates="keep")) == ["a", "b", "a"]


def test_a_where_that_leaves_no_row_says_how_many_there_were(tmp_path: Path) -> None:
    """So that a misspelt value is told from an empty table."""
    assert "no row is left by `where`, of 2 in the table" in problems_of(
        tmp_path, "file,split\na,train\nb,train\n", where={"split": "trian"}
    )
    assert "of 0 in the table" in problems_of(tmp_path, "file,split\n")


def test_a_field_that_where_cannot_compare_is_named(tmp_path: Path) -> None:
    """`min` and `max` need numbers."""
    message = problems_of(tmp_path, "file,age\na,old\n", where={"age": {"min": 1}})
    assert "labels.csv line 2: column 'age': must be a number (got 'old')" in message


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "labels.csv: is empty; the first line must name the columns"),
        (b"\n", "labels.csv: is empty; the first line must name the columns"),
        ("file,group\nä,1\n".encode("latin-1"), "labels.csv line 2: must be UTF-8 text"),
        ("file\na\n".encode("utf-16"), "labels.csv line 1: must be UTF-8 text"),
        (b"file,group\na,1\nb\n", "labels.csv line 3: must have 2 fields, as the header (got 1)"),
        (b"file,group\na,1,2\n", "labels.csv line 2: must have 2 fields, as the header (got 3)"),
        (b'file,group\n"a"b,1\n', "labels.csv line 2: cannot be read as CSV"),
        (b'file,group\n"a,1\nb,2\n', "cannot be read as CSV (unexpected end of data)"),
        (b"file,group\n,1\n", "labels.csv line 2: column 'file': must name a picture (got '')"),
    ],
)
def test_a_file_that_is_no_proper_table_is_refused(tmp_path: Path, table: bytes, message: str) -> None:
    """Empty, in another encoding, with ragged rows, with broken quotes, or with nameless pictures."""
    assert message in problems_of(tmp_path, table)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And so is a folder in its place."""
    for path, reason in ((tmp_path / "none.csv", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=f"{path}: {reason}"):
            ImageCsv(csv=path).build(DataFacts({}, 8))


@pytest.mark.parametrize(
    ("head", "columns", "message"),
    [
        (VA, LabelColumns(column="x"), "the task needs 2 columns (got 1)"),
        (EXPR, LabelColumns(columns=("x", "y")), "the task needs 1 columns (got 2)"),
        (
            EXPR,
            LabelColumns(column="x", classes={"sad": "sadnes"}),
            "no class 'sadnes'; did you mean 'sadness'?",
        ),
        (EXPR, LabelColumns(column="x", order=("anger",)), "the task has no class 'anger'"),
        (EXPR, LabelColumns(column="x", range=(0, 1)), "of the kind 'class', which has no range"),
        (AU, LabelColumns(columns=("x", "y"), order=("a",)), "of the kind 'yes-no', which has no order"),
        (
            Regression(),
            LabelColumns(column="x", range=(0, 1)),
            "no range that the columns' could be scaled to",
        ),
    ],
)
def test_columns_that_do_not_fit_the_task_are_refused(
    tmp_path: Path, head: Head, columns: LabelColumns, message: str
) -> None:
    """With the task's name."""
    found = problems_of(tmp_path, "file,x,y\na,,\n", {"t": head}, labels={"t": columns})
    assert "task 't': " in found
    assert message in found


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({}, "either a column or columns"),
        ({"column": "a", "columns": ("b",)}, "either a column or columns"),
        ({"column": "a", "classes": {"x": "y"}, "order": ("y",)}, "either classes or order"),
        ({"column": "a", "range": (1, 0)}, "range must go from low to high"),
    ],
)
def test_label_columns_that_contradict_themselves_are_refused(fields: dict[str, Any], rule: str) -> None:
    """Before any file is read."""
    with pytest.raises(ValueError, match=rule):
        LabelColumns(**fields)


# Videos and faces


def column_of(samples: Samples, name: str) -> list[Any]:
    values = samples.column(name)
    assert values is not None
    return values.tolist()


def test_a_row_may_say_which_frame_of_which_video_it_is(tmp_path: Path) -> None:
    """Numbers may be written as pandas does; an empty field is no video, and the number 0."""
    table = "file,clip,number,who\na,v1,1,x\nb,v1,12.0,\nc,,,y\n"
    samples = build(tmp_path, table, video="clip", frame="number", group="who")
    assert column_of(samples, "video") == [b"v1", b"v1", b""]
    assert column_of(samples, "frame") == [1, 12, 0]
    assert samples.column("frame").dtype == np.int64
    assert column_of(samples, "group") == [f"{tmp_path}: x".encode(), b"", f"{tmp_path}: y".encode()]
    assert build(tmp_path, table).column("video") is None
    assert build(tmp_path, table).column("frame") is None


def test_columns_keep_their_rows_over_many_blocks(tmp_path: Path) -> None:
    """The table is read a block of rows at a time; `where` leaves some out."""
    rows = "".join(f"f{n},v{n // 100},{n},{n},0,{n + 5},5,{n % 2}\n" for n in range(5000))
    samples = build(
        tmp_path,
        f"file,v,n,l,t,r,b,odd\n{rows}",
        where={"odd": 1},
        video="v",
        frame="n",
        box=("l", "t", "r", "b"),
    )
    assert column_of(samples, "frame") == list(range(1, 5000, 2))
    assert column_of(samples, "video") == [f"v{n // 100}".encode() for n in range(1, 5000, 2)]
    assert samples._faces.boxes[:, 2].tolist() == [n + 5 for n in range(1, 5000, 2)]


@pytest.mark.parametrize("number", ["1.5", "-1", "x", "nan", "1e300"])
def test_a_frame_that_is_no_number_of_one_is_refused(tmp_path: Path, number: str) -> None:
    """With its line."""
    message = problems_of(tmp_path, f"file,v,n\na,v,1\nb,v,{number}\n", video="v", frame="n")
    assert message.startswith(f"{tmp_path.name}/labels.csv line 3: column 'n': must be ")
    assert message.endswith(f"(got {number!r})")


SPOTS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("form", "columns"), [("corners", "10,4,14,12"), ("size", "10,4,4,8"), ("corners", "10.2,3.9,13.8,12")]
)
def test_the_face_s_box_is_cut_out_as_a_square(tmp_path: Path, form: str, columns: str) -> None:
    """Round the box, whichever way it is written, with a margin, from the picture's own pixels."""
    Image.fromarray(SPOTS).save(tmp_path / "a.png")
    table = f"file,l,t,r,b\na.png,{columns}\n"
    box = ("l", "t", "r", "b")
    picture = torch.from_numpy(SPOTS).permute(2, 0, 1)
    samples = build(tmp_path, table, box=box, box_form=form)
    assert torch.equal(samples.read([0])[0], square(picture[:, 4:12, 8:16], 8))
    samples = build(tmp_path, table, box=box, box_form=form, margin=0.25)
    assert torch.equal(samples.read([0])[0], square(picture[:, 2:14, 6:18], 8))


def test_a_row_with_an_empty_box_has_no_face(tmp_path: Path) -> None:
    """It is passed over, whatever its picture: that is not even looked for."""
    for name in ("a", "c"):
        Image.fromarray(SPOTS).save(tmp_path / name, "PNG")
    table = "file,l,t,r,b\na,0,0,5,5\nb,,,,\nc,1,1,6,6\n"
    samples = build(tmp_path, table, box=("l", "t", "r", "b"))
    pictures, kept = samples.read_or_skip([2, 1, 0])
    assert kept.tolist() == [0, 2]
    assert torch.equal(pictures, samples.read([2, 0]))
    assert [samples.skips(index) for index in range(3)] == [False, True, False]
    assert samples.counts() == {"rows without a face": 1}
    with pytest.raises(UnreadableSampleError, match=r"labels\.csv line 3: b: no face was found$"):
        samples.read([1])


def test_boxes_that_are_none_are_refused(tmp_path: Path) -> None:
    """Partly empty, without an area, or no numbers: with line and column."""
    table = "file,l,t,r,b\na,0,0,5,\nb,5,0,5,5\nc,0,9,5,5\nd,0,x,5,5\n"
    box = ("l", "t", "r", "b")
    source = f"{tmp_path.name}/labels.csv"
    assert problems_of(tmp_path, table, box=box).splitlines() == [
        f"{source} line 2: column 'b': must be filled in, as other columns of the box are (got '')",
        f"{source} line 3: column 'r': must be greater than the left edge (got '5')",
        f"{source} line 4: column 'b': must be greater than the top edge (got '5')",
        f"{source} line 5: column 't': must be a number (got 'x')",
    ]
    message = problems_of(tmp_path, "file,l,t,r,b\na,0,0,5,-1\n", box=box, box_form="size")
    assert message == f"{source} line 2: column 'b': must be above 0 (got '-1')"


def test_a_box_outside_its_picture_is_an_error(tmp_path: Path) -> None:
    """With the table's line; it is not a picture without a face."""
    Image.fromarray(SPOTS).save(tmp_path / "a", "PNG")
    samples = build(tmp_path, "file,l,t,r,b\na,40,0,50,5\n", box=("l", "t", "r", "b"))
    with pytest.raises(UnreadableSampleError) as caught:
        samples.read_or_skip([0])
    assert str(caught.value) == (
        f"{tmp_path.name}/labels.csv line 2: a: the face's box must be in the picture of 30x20 pixels "
        "(got 40, 0, 50, 5)"
    )


def test_a_picture_may_be_listed_once_for_each_of_its_faces(tmp_path: Path) -> None:
    """The same box twice is a duplicate."""
    table = "file,l,t,r,b\na,0,0,5,5\na,5,0,9,5\n"
    box = ("l", "t", "r", "b")
    assert len(build(tmp_path, table, box=box)) == 2
    assert "'a' is on line 2 too" in problems_of(tmp_path, f"{table}a,0,0,5,5.0\n", box=box)


@attrs.frozen(kw_only=True)
class Corner(Detector):
    """Finds a face in the upper left corner of every picture."""

    name: ClassVar[str] = "corner"

    def build(self) -> Any:
        return lambda _picture: np.array([[0, 0, 8, 8]], np.float32)


def test_a_detector_finds_the_face_where_the_table_has_no_boxes(tmp_path: Path) -> None:
    """And is refused where it has."""
    Image.fromarray(SPOTS).save(tmp_path / "a", "PNG")
    samples = build(tmp_path, "file\na\n", detector=Corner())
    assert torch.equal(samples.read([0])[0], torch.from_numpy(SPOTS[:8, :8]).permute(2, 0, 1))
    with pytest.raises(ValueError, match="either box or detector"):
        ImageCsv(csv=Path("x.csv"), box=("l", "t", "r", "b"), detector=Corner())


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"box": ("l", "t", "r")}, r"box must name four columns \(got 3\)"),
        ({"box": ("l", "t", "r", "l")}, "must not name anything twice"),
        ({"frame": "n"}, "frame must come with video"),
        ({"margin": -0.1}, "must be at least 0"),
    ],
)
def test_fields_that_cannot_be_meant_are_refused(fields: dict[str, Any], rule: str) -> None:
    """Before any file is read."""
    with pytest.raises(ValueError, match=rule):
        ImageCsv(csv=Path("x.csv"), **fields)


# Tables known by their columns


def for_path(folder: Path, table: str, name: str = "list.csv", **told: Any) -> ImageCsv | None:
    path = folder / name
    path.write_text(table)
    return ImageCsv.for_path(path, **told)


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("file", {"file": "file"}),
        ("name,path", {"file": "path"}),
        ("IMAGE,expression", {"file": "IMAGE"}),
        ("image_location,Neutral", {"file": "image_location"}),
        ("id,filename,video,frame", {"file": "filename", "video": "video", "frame": "frame"}),
        ("file,frame,group", {"file": "file", "group": "group"}),
        ("file,left,top,right,bottom", {"file": "file", "box": ("left", "top", "right", "bottom")}),
        (
            "name,X,Y,Width,Height",
            {"file": "name", "box": ("X", "Y", "Width", "Height"), "box_form": "size"},
        ),
        ("file,x,y,width", {"file": "file"}),
        (
            "subDirectory_filePath,face_x,face_y,face_width,face_height,expression",
            {
                "file": "subDirectory_filePath",
                "box": ("face_x", "face_y", "face_width", "face_height"),
                "box_form": "size",
            },
        ),
    ],
)
def test_a_table_is_known_by_its_columns(tmp_path: Path, header: str, fields: dict[str, Any]) -> None:
    """In any case; what it is told is handed on, but for a detector where the table has boxes."""
    detector = Corner()
    found = for_path(tmp_path, f"{header}\n", detector=detector, on_error="skip")
    assert found == ImageCsv(
        csv=tmp_path / "list.csv",
        detector=None if "box" in fields else detector,
        duplicates="keep",
        on_error="skip",
        **fields,
    )


def test_a_table_with_tabs_is_read_by_its_suffix(tmp_path: Path) -> None:
    """A comma is then part of a name."""
    recipe = for_path(tmp_path, "file\tvideo\na,1.jpg\tv\n", "list.tsv")
    assert recipe is not None
    samples = recipe.build(DataFacts({}, 8))
    assert samples.id(0) == "a,1.jpg"
    assert column_of(samples, "video") == [b"v"]
    assert column_of(samples, "file") == [str(tmp_path / "a,1.jpg").encode()]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("emotion,pixels\n", "a column with the pictures' paths, called file, path, image, image_location, "),
        ("emotion,pixels\n", "or subDirectory_filePath (got 'emotion', 'pixels')"),
        ("", "is empty; the first line must name the columns"),
        ('"file\n', "cannot be read as CSV"),
    ],
)
def test_a_table_without_pictures_is_refused(tmp_path: Path, table: str, message: str) -> None:
    """With what it has instead."""
    with pytest.raises(DataError) as caught:
        for_path(tmp_path, table)
    assert str(caught.value).startswith(str(tmp_path / "list.csv"))
    assert message in str(caught.value)


def test_other_paths_are_no_tables(tmp_path: Path) -> None:
    """Files with another suffix, and folders."""
    assert for_path(tmp_path, "file\n", "list.txt") is None
    (tmp_path / "folder.csv").mkdir()
    assert ImageCsv.for_path(tmp_path / "folder.csv") is None


# Pictures


def one_picture(folder: Path, content: bytes, size: int = 8) -> torch.Tensor:
    (folder / "a").write_bytes(content)
    return build(folder, "file\na\n", size=size).read([0])


RED = Image.new("RGB", (20, 10), (200, 50, 10))


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (encoded(RED), (200, 50, 10)),
        (encoded(RED, "JPEG", quality=95), (200, 50, 10)),
        (encoded(RED, "BMP"), (200, 50, 10)),
        (encoded(RED.convert("CMYK"), "JPEG", quality=95), (200, 50, 10)),
        (encoded(Image.new("L", (20, 10), 77)), (77, 77, 77)),
        (encoded(Image.new("L", (20, 10), 77), "JPEG"), (77, 77, 77)),
        (encoded(Image.new("1", (20, 10), 1)), (255, 255, 255)),
        (encoded(Image.new("RGBA", (20, 10), (200, 50, 10, 0))), (200, 50, 10)),
        (encoded(Image.new("LA", (20, 10), (77, 0))), (77, 77, 77)),
        (encoded(RED.quantize(4), transparency=b"\x00\x10"), (200, 50, 10)),
        (encoded(Image.fromarray(np.full((10, 20), 30000, np.uint16))), (117, 117, 117)),
    ],
    ids=[
        "png",
        "jpeg",
        "bmp",
        "cmyk",
        "grey",
        "grey-jpeg",
        "bits",
        "rgba",
        "grey-alpha",
        "palette",
        "16-bit",
    ],
)
def test_every_kind_of_picture_becomes_rgb_of_the_size_asked_for(
    tmp_path: Path, content: bytes, colour: tuple[int, int, int]
) -> None:
    """Grey and palettes become RGB, transparency is dropped, 16 bits become 8; the result is square."""
    picture = one_picture(tmp_path, content, size=12)
    assert picture.shape == (1, 3, 12, 12)
    assert picture.dtype == torch.uint8
    assert (picture.int() - torch.tensor(colour)[:, None, None]).abs().max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_turned_upright(kind: str) -> None:
    """EXIF orientation 6 says that the camera was turned: what is stored as 20x10 is shown as 10x20."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(RED, kind, exif=exif)).shape == (3, 20, 10)


def test_without_torchvision_s_decoder_pictures_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """PIL takes its place: upright, and with the same pixels but for rounding."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(NOISE.resize((20, 10)), "JPEG", quality=95, exif=exif)
    expected = decode(content)
    monkeypatch.setitem(sys.modules, "torchvision.io", None)
    assert (decode(content).int() - expected.int()).abs().max() <= 2


def test_scaling_down_averages_over_the_pixels_left_out(tmp_path: Path) -> None:
    """A fine checkerboard becomes grey, not noise: the bilinear filter is antialiased."""
    board = np.indices((64, 64)).sum(0) % 2 * 255
    picture = one_picture(tmp_path, encoded(Image.fromarray(board.astype(np.uint8))))
    assert (picture[..., 1:-1, 1:-1].float() - 127.5).abs().max() < 10


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the picture is empty (0 bytes)"),
        (b"not a picture at all", "is not a picture, or of an unknown format"),
        (encoded(NOISE, "JPEG")[:400], "the picture cannot be decoded"),
        (encoded(NOISE, "JPEG")[:-2], "the picture cannot be decoded"),
        (encoded(NOISE)[:400], "the picture cannot be decoded"),
        (encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"), "at most 16 bits"),
        (None, "No such file or directory"),
    ],
    ids=["empty", "text", "jpeg-half", "jpeg-end", "png-half", "float", "absent"],
)
def test_a_picture_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """In one line."""
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(UnreadableSampleError) as caught:
        build(tmp_path, "file\na\n").read([0])
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'a'}: ")
    assert reason in message
    assert "\n" not in message


def test_a_damaged_png_does_not_end_the_process() -> None:
    """A flipped byte of its data made torchvision's decoder crash."""
    content = bytearray(encoded(NOISE))
    content[len(content) // 2] ^= 255
    with pytest.raises(ValueError, match="the picture cannot be decoded"):
        decode(bytes(content))


def test_unreadable_pictures_are_skipped_and_counted_where_that_is_wanted(tmp_path: Path) -> None:
    """The other rows of the batch keep their labels; with on_error = "stop" the batch is refused."""
    for name in "abc":
        (tmp_path / name).write_bytes(encoded(RED) if name != "b" else b"")
    table = "file,expression\na,neutral\nb,happiness\nc,sadness\n"
    fields = {"labels": {"expr": EXPR_COLUMN}}

    def batch(on_error: str) -> Any:
        samples = build(tmp_path, table, {"expr": EXPR}, on_error=on_error, **fields)
        stream = LiveStream("faces", "expr", samples, lambda _: np.arange(3), 3)
        return collate([stream], [np.arange(3)], {"expr": EXPR})

    found = batch("skip")
    assert found.skipped == 1
    assert found.targets["expr"].tolist() == [0, 2]
    assert found.ids == ("faces:a", "faces:c")
    with pytest.raises(UnreadableSampleError, match="the picture is empty"):
        batch("stop")


def test_missing_pictures_are_counted_without_reading_any(tmp_path: Path) -> None:
    """The first twenty are named with their lines, in the order of the table."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "here.jpg").touch()
    rows = "".join(f"{'xyz'[n % 3]}/{n}.jpg\n" for n in range(25))
    lines = build(tmp_path, f"file\nx/here.jpg\n{rows}").problems()
    assert len(lines) == 21
    assert f"labels.csv line 3: there is no picture x/0.jpg in {tmp_path}" in lines[0]
    assert lines[-1].endswith("... and 5 more missing pictures")
    assert build(tmp_path, "file\nx/here.jpg\n").problems() == []


# A real set, where there is one


def test_a_real_set_is_read_in_full() -> None:
    """All rows of DiffusionFER that have a split, with their groups; every picture is there."""
    folder = Path(os.environ.get("MTL_DATA", "data")) / "diffusionfer"
    if not (folder / "labels.csv").exists():
        pytest.skip("needs the picture sets in MTL_DATA")
    classes = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
    samples = ImageCsv(
        csv=folder / "labels.csv",
        group="group",
        where={"split": "train"},
        labels={"expr": EXPR_COLUMN, "va": VA_COLUMNS},
    ).build(DataFacts({"expr": Classification(classes=classes), "va": VA}, 112))
    assert len(samples) == 1014
    assert samples.labels()["va"].valid.all()
    assert samples.problems() == []
    assert samples.read([0, 1013]).shape == (2, 3, 112, 112)


def test_it_conforms(tmp_path: Path) -> None:
    """To what `mtl_toolkit.testing` asks of every dataset."""
    rows = ["file,expression,valence,arousal,AU1,AU2,person"]
    for number in range(8):
        name = f"{number}.png"
        (tmp_path / name).write_bytes(
            encoded(Image.new("RGB", (12, 10), (30 * number, 9, 255 - 30 * number)))
        )
        expression = ("neutral", "", "sadness")[number % 3]
        valence = "" if number % 4 == 1 else number / 10
        rows.append(f"{name},{expression},{valence},{-number / 10},{number % 2},,{number // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    labels = {"expr": EXPR_COLUMN, "va": VA_COLUMNS, "au": LabelColumns(columns=("AU1", "AU2"))}
    tasks: dict[str, Head] = {"expr": EXPR, "va": VA, "au": AU}
    for cache in (False, True):
        recipe = ImageCsv(csv=tmp_path / "labels.csv", labels=labels, group="person", cache=cache)
        for check in check_dataset(recipe, tasks, image_size=8):
            check()


def test_several_faces_of_one_picture_have_names_of_their_own(tmp_path: Path) -> None:
    """Tables of predictions go by names; the first face keeps the picture's."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encoded(Image.new("RGB", (20, 20), (9, 99, 200))))
    table = "file,l,t,r,b\nb.png,0,0,8,8\na.png,0,0,8,8\nb.png,9,9,18,18\nb.png,2,2,8,8\n"
    samples = build(tmp_path, table, box=("l", "t", "r", "b"))
    assert files(samples) == ["b.png", "a.png", "b.png#2", "b.png#3"]


# Further columns


PEOPLE = "file,gender,age,group,split\na.png,female,31,x,train\nb.png,,8,y,test\n\nc.png,Jürgen,70,z,train\n"


def test_any_column_of_the_table_is_there_for_the_rows_chosen(tmp_path: Path) -> None:
    """Blank lines and rows that `where` leaves out do not shift it."""
    samples = build(tmp_path, PEOPLE, where={"split": "train"})
    assert files(samples) == ["a.png", "c.png"]
    for name, wanted in {"gender": ["female", "Jürgen"], "age": ["31", "70"]}.items():
        column = samples.column(name)
        assert column is not None
        assert column.dtype.kind == "S"
        assert [text.decode() for text in column.tolist()] == wanted
    assert samples.column("gendre") is None


def test_columns_with_a_meaning_of_their_own_are_those_that_the_recipe_names(tmp_path: Path) -> None:
    """A column that only happens to be called `group` ties no samples together."""
    samples = build(tmp_path, PEOPLE)
    assert samples.column("group") is None
    assert samples.column_names() == ("file", "gender", "age", "split")
    named = build(tmp_path, PEOPLE, group="gender")
    assert named.column_names() == ("file", "group", "gender", "age", "split")
    assert all(named.column(name) is not None for name in named.column_names())


def test_a_column_of_a_table_that_has_changed_is_an_error(tmp_path: Path) -> None:
    samples = build(tmp_path, PEOPLE)
    (tmp_path / "labels.csv").write_text("file,gender\na.png,male\n")
    with pytest.raises(DataError, match=r"labels\.csv: has changed since it was opened: 2 rows are gone"):
        samples.column("gender")


def test_a_column_whose_name_is_there_twice_is_an_error(tmp_path: Path) -> None:
    samples = build(tmp_path, "file,age,age\na.png,1,2\n")
    with pytest.raises(DataError, match="column 'age' must be there once"):
        samples.column("age")


def test_columns_are_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtl_std.csv_table.BLOCK", 3)
    table = "file,age\n" + "".join(f"{row}.png,{row}\n" for row in range(11))
    column = build(tmp_path, table).column("age")
    assert column is not None
    assert column.tolist() == [str(row).encode() for row in range(11)]
