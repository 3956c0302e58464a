"""The default file of predictions: what is in it, what comes back, and what is wrong with one."""

from __future__ import annotations

import contextlib
import csv
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mtl_std.classification import Classification
from mtl_std.multi_label import MultiLabel
from mtl_std.regression import Regression

from mtl_toolkit import ConfigError, DataError, Head, Predictions, RunError
from mtl_toolkit.evaluation import PredictionCsv, prediction_csv, prediction_csv_reader, read_predictions

HEADS: Mapping[str, Head] = {
    "mood": Classification(classes=("calm", 'so-"so", or so', "wild")),
    "va": Regression(axes=("valence", "arousal")),
    "au": MultiLabel(names=("AU1", "AU2")),
}
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
MISSING_OR_FINITE = st.one_of(FINITE, st.just(float("nan")))


def predictions_of(
    values: Mapping[str, Any], heads: Mapping[str, Head] = HEADS, **columns: Any
) -> Predictions:
    rows = len(next(iter(values.values())))
    return Predictions(
        heads=heads,
        values={task: np.asarray(value, np.float32) for task, value in values.items()},
        names=np.array(columns.get("names", [f"{row}.jpg" for row in range(rows)]), np.str_),
        videos=np.array(columns.get("videos", [""] * rows), np.str_),
        frames=np.array(columns.get("frames", [0] * rows), np.int64),
        faces=np.array(columns.get("faces", [True] * rows), np.bool_),
    )


def written(path: Path, predictions: Predictions) -> Path:
    with PredictionCsv(path, predictions.heads) as file:
        file.write(predictions)
    return path


def two_rows() -> Predictions:
    return predictions_of(
        {
            "mood": [[0.25, 0.5, 0.25], [np.nan] * 3],
            "va": [[-0.123456789, 1e-9], [np.nan, 0.5]],
            "au": [[0, 1], [np.nan] * 2],
        },
        names=["a,b/00007.jpg", "c.jpg"],
        videos=["a,b", ""],
        frames=[7, 0],
        faces=[True, False],
    )


def test_a_file_has_a_row_per_picture_and_the_columns_of_each_task(tmp_path):
    with written(tmp_path / "p.csv", two_rows()).open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    moods = ["mood", "mood.calm", 'mood.so-"so", or so', "mood.wild"]
    assert header[:4] == ["name", "video", "frame", "face"]
    assert header[4:] == [*moods, "va.valence", "va.arousal", "au.AU1", "au.AU2"]
    found = ['so-"so", or so', "0.25", "0.5", "0.25", "-0.123457", "1e-09", "0", "1"]
    assert rows == [
        ["a,b/00007.jpg", "a,b", "7", "1", *found],
        ["c.jpg", "", "0", "0", "", "", "", "", "", "0.5", "", ""],
    ]


@st.composite
def some_predictions(draw: Callable[[Any], Any]) -> Predictions:
    rows = draw(st.integers(0, 5))

    def several(of: Any) -> Any:
        return draw(st.lists(of, min_size=rows, max_size=rows))

    values = {
        task: np.array(
            several(st.lists(MISSING_OR_FINITE, min_size=width, max_size=width)), np.float32
        ).reshape(rows, width)
        for task, width in (("mood", 3), ("va", 2), ("au", 2))
    }
    return predictions_of(
        values,
        names=several(NAMES),
        videos=several(NAMES),
        frames=several(st.integers(0, 2**31)),
        faces=several(st.booleans()),
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some_predictions())
def test_what_was_written_comes_back(tmp_path, predictions):
    found = read_predictions(written(tmp_path / "p.csv", predictions), HEADS)
    for column in ("names", "videos", "frames", "faces"):
        assert getattr(found, column).tolist() == getattr(predictions, column).tolist()
        assert getattr(found, column).dtype.kind == getattr(predictions, column).dtype.kind
    for task, values in predictions.values.items():
        assert found.values[task].dtype == np.float32
        assert found.values[task].shape == values.shape
        np.testing.assert_allclose(found.values[task], values, rtol=5.1e-6, atol=0)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(FINITE, st.integers(-20, 20), st.integers(-20, 20)), min_size=1, max_size=6))
def test_decisions_survive_the_rounding(tmp_path, rows):
    """Neighbours in float32 are the same number in six digits."""

    def near(value: float, steps: int) -> float:
        return float(np.clip(np.float32(value), -1e30, 1e30) * (1 + np.float32(2.0**-23) * steps))

    probabilities = [[near(0.5, a), near(0.5, b)] for _, a, b in rows]
    shares = [[near(value, a), near(value, b), near(value, 0)] for value, a, b in rows]
    predictions = predictions_of({"mood": shares, "va": np.zeros((len(rows), 2)), "au": probabilities})
    found = read_predictions(written(tmp_path / "p.csv", predictions), HEADS)
    for task, decided in predictions.decisions().items():
        assert found.decisions()[task].tolist() == decided.tolist()


@given(st.lists(FINITE, min_size=1))
def test_six_digits_are_those_of_the_file(values):
    """But for values in the middle between two such numbers, where either will do."""
    found = prediction_csv.six_digits(np.array(values)).tolist()
    for value, rounded in zip(values, found, strict=True):
        assert f"{rounded:.6g}" in {f"{value * (1 + nudge):.6g}" for nudge in (-1e-14, 0, 1e-14)}
        assert rounded == pytest.approx(float(f"{rounded:.6g}"), rel=1e-14)


@pytest.mark.parametrize("module", [prediction_csv, prediction_csv_reader])
def test_files_of_many_blocks_are_read_and_written(tmp_path, monkeypatch, module):
    monkeypatch.setattr(module, "BLOCK", 3)
    values = np.random.default_rng(0).random((10, 2)).round(4)
    path = tmp_path / "p.csv"
    with PredictionCsv(path, {"va": HEADS["va"]}) as file:
        file.write(predictions_of({"va": values[:7]}, names=[f"{row}" for row in range(7)]))
        file.write(predictions_of({"va": values[7:]}, names=["7", "8", "a longer one"]))
    found = read_predictions(path, HEADS)
    assert list(found.values) == list(found.heads) == ["va"]
    np.testing.assert_array_equal(found.values["va"], values.astype(np.float32))
    assert found.names.tolist() == [*(f"{row}" for row in range(9)), "a longer one"]


def test_names_that_are_not_utf8_come_back(tmp_path):
    """As the file system gives them: bytes that are not UTF-8 are lone surrogates in a str."""
    predictions = predictions_of({"va": [[0, 0]]}, {"va": HEADS["va"]}, names=["caf\udce9.jpg"])
    found = read_predictions(written(tmp_path / "p.csv", predictions), HEADS)
    assert found.names.tolist() == ["caf\udce9.jpg"]


# Writing.


def test_a_file_that_is_not_finished_leaves_the_old_one(tmp_path):
    path = written(tmp_path / "p.csv", two_rows())
    before = path.read_bytes()
    with contextlib.suppress(KeyboardInterrupt), PredictionCsv(path, HEADS) as file:
        file.write(two_rows())
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["p.csv"]


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    file = PredictionCsv(tmp_path / "file" / "p.csv", HEADS)
    with pytest.raises(RunError, match=r"p\.csv: cannot be saved"), file:
        pass


def test_other_tasks_than_the_files_are_a_mistake_of_the_program(tmp_path):
    with PredictionCsv(tmp_path / "p.csv", HEADS) as file, pytest.raises(ValueError, match="must be of"):
        file.write(predictions_of({"va": [[0, 0]]}))


@pytest.mark.parametrize(
    ("heads", "column"),
    [
        ({"video": HEADS["mood"]}, "video"),
        ({"a": MultiLabel(names=("b.c",)), "a.b": MultiLabel(names=("c",))}, "a.b.c"),
    ],
)
def test_columns_of_the_same_name_are_an_error(tmp_path, heads, column):
    with pytest.raises(ConfigError, match=f"must have columns of its own in the file .got '{column}' twice"):
        PredictionCsv(tmp_path / "p.csv", heads)


# Reading what is wrong.

HEADER = 'name,video,frame,face,mood,mood.calm,"mood.so-""so"", or so",mood.wild'
ROW = "x.jpg,v,1,1,wild,0.1,0.2,0.7"


def problems_of(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_predictions(path, HEADS)
    return [problem.removeprefix(str(path)) for problem in caught.value.problems]


def test_the_smallest_good_file_is_read(tmp_path):
    """With a byte-order mark, blank lines, and other line ends, as other programs write them."""
    path = tmp_path / "p.csv"
    path.write_text(f"\ufeff{HEADER}\n\n{ROW}\n", encoding="utf-8")
    found = read_predictions(path, HEADS)
    assert found.values["mood"].tolist() == [pytest.approx([0.1, 0.2, 0.7])]
    assert (found.names[0], found.videos[0], found.frames[0], found.faces[0]) == ("x.jpg", "v", 1, True)


def test_the_decided_class_may_be_left_out(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(f"{HEADER.replace('mood,', '')}\n{ROW.replace('wild,', '')}\n", encoding="utf-8")
    assert read_predictions(path, HEADS).decisions()["mood"].tolist() == [2]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (",v,1,", ",v,-1,", " line 2: column 'frame': must be the number of a frame, or 0 (got '-1')"),
        (",v,1,", ",v,1.5,", " line 2: column 'frame': must be the number of a frame, or 0 (got '1.5')"),
        ("1,wild", "yes,wild", " line 2: column 'face': must be 1 or 0 (got 'yes')"),
        (",0.1,", ",much,", " line 2: column 'mood.calm': must be a finite number, or empty (got 'much')"),
        (",0.1,", ",inf,", " line 2: column 'mood.calm': must be a finite number, or empty (got 'inf')"),
        ("wild", "calm", " line 2: column 'mood': must be 'wild', as its probabilities say (got 'calm')"),
        (",0.1,", ",,", " line 2: column 'mood': must be '', as its probabilities say (got 'wild')"),
        ("wild,", "", " line 2: must have 8 fields, as the header (got 7)"),
        ("0.7", '0.7"', None),
        ("x.jpg", '"x.jpg', " line 2: cannot be read as CSV (unexpected end of data)"),
    ],
)
def test_what_is_wrong_with_a_row_is_told_with_its_line(tmp_path, old, new, problem):
    found = problems_of(tmp_path / "p.csv", f"{HEADER}\n{ROW.replace(old, new)}\n")
    assert len(found) == 1
    assert problem is None or found == [problem]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "mood.calm",
            "mood.clam",
            [
                " line 1: there must be no column 'mood.clam'; did you mean 'mood.calm'?",
                " line 1: there must be a column 'mood.calm'; did you mean 'mood.clam'?",
            ],
        ),
        (
            "video",
            "name",
            [
                " line 1: there must be a column 'video'; there are: face, frame, mood, mood.calm, "
                'mood.so-"so", or so, mood.wild, name',
                " line 1: column 'name' must be there once (got 2 of that name)",
            ],
        ),
    ],
)
def test_columns_that_are_wrong_are_told_with_the_nearest(tmp_path, old, new, expected):
    assert problems_of(tmp_path / "p.csv", f"{HEADER.replace(old, new)}\n{ROW}\n") == expected


def test_the_first_problems_are_told_and_the_rest_counted(tmp_path):
    bad = ROW.replace(",v,1,", ",v,one,")
    found = problems_of(tmp_path / "p.csv", "\n".join([HEADER, ROW, *[bad] * 30]))
    assert len(found) == 21
    assert found[0].startswith(" line 3: column 'frame'")
    assert found[-1] == "... and 10 more"


def test_an_empty_file_and_one_that_is_not_there_are_errors(tmp_path):
    assert problems_of(tmp_path / "p.csv", "") == [": is empty; the first line must name the columns"]
    with pytest.raises(DataError, match=r"none\.csv: cannot be read: No such file"):
        read_predictions(tmp_path / "none.csv", HEADS)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from(string.printable), max_size=40))
def test_any_text_is_read_or_refused(tmp_path, text):
    path = tmp_path / "p.csv"
    path.write_text(f"{HEADER}\n{ROW}\n{text}", encoding="utf-8", newline="")
    with contextlib.suppress(DataError):
        assert read_predictions(path, HEADS).names[0] == "x.jpg"
