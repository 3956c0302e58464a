"""Submissions: what is written, read back, and found wrong; compared with the formats line by line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mtl_affect.action_units import ActionUnits
from mtl_affect.combined import Combined
from mtl_affect.expression import EXPRESSIONS, Expression
from mtl_affect.submissions.abaw2 import Abaw2
from mtl_affect.submissions.abaw5 import Abaw5
from mtl_affect.submissions.lsd import LsdSubmission
from mtl_affect.submissions.mtl import MultiTask
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.classification import Classification
from mtl_std.regression import Regression

from mtl_toolkit import ConfigError, DataError, Head, Listing, Predictions, RunError, Writer

EIGHT = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
SIX = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
TWELVE = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26")

EXPR = Expression(classes=("sadness", "neutral", "happiness"))  # some of them, in another order
VA = Regression(axes=("arousal", "valence"), range=(-1, 1), label="valence-arousal")
AU = ActionUnits(names=("AU20", *reversed(TWELVE)), threshold=0.3)
ALL: Mapping[str, Head] = {"expr": EXPR, "va": VA, "au": AU}

WRITERS: dict[str, tuple[Writer, Mapping[str, Head]]] = {
    "abaw2": (Abaw2(), ALL),
    "abaw2 one task": (Abaw2(tasks=("au",)), ALL),
    "abaw1": (Abaw2(edition="abaw1"), {"au": ActionUnits(names=(*TWELVE, "AU20"))}),
    "abaw5 expression": (Abaw5(task="expr"), ALL),
    "abaw5 valence-arousal": (Abaw5(task="va"), ALL),
    "abaw5 action-units": (Abaw5(task="au"), ALL),
    "mtl": (MultiTask(), ALL),
    "lsd": (LsdSubmission(), {"expr": Expression(classes=("surprise", "anger"))}),
}
VIDEOS = {"b.1_left": 2, "a": 3}


def guesses(heads: Mapping[str, Head], rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Probabilities, or values of which some lie beyond the range."""
    generator = np.random.default_rng(seed)
    lows = {task: -1.2 if "axes" in head.meaning() else 0 for task, head in heads.items()}
    return {
        task: generator.uniform(lows[task], 1.2 if lows[task] else 1, (rows, len(head.columns))).astype("f4")
        for task, head in heads.items()
    }


def predictions(heads: Mapping[str, Head], videos: Mapping[str, int] = VIDEOS, seed: int = 0) -> Predictions:
    frames = [(video, frame) for video, count in videos.items() for frame in range(1, count + 1)]
    return Predictions(
        heads,
        guesses(heads, len(frames), seed),
        names=np.array([f"{video}/{frame:05d}.jpg" for video, frame in frames]),
        videos=np.array([video for video, _ in frames]),
        frames=np.array([frame for _, frame in frames]),
        faces=np.ones(len(frames), np.bool_),
    )


def expression_id(head: Head, row: np.ndarray, order: Sequence[str]) -> str:
    return str(order.index(head.columns[max(range(len(row)), key=row.__getitem__)]))


def axis_values(head: Head, row: np.ndarray) -> list[float]:
    return [max(-1.0, min(1.0, float(row[head.columns.index(axis)]))) for axis in ("valence", "arousal")]


def unit_bits(head: ActionUnits, row: np.ndarray, order: Sequence[str]) -> list[str]:
    return ["1" if row[head.columns.index(unit)] > head.threshold else "0" for unit in order]


def lines_of(path: Path) -> list[str]:
    text = path.read_bytes().decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def refused(read: Callable[..., object], *arguments: object) -> tuple[str, ...]:
    """The problems that reading tells, if any."""
    try:
        read(*arguments)
    except DataError as error:
        return error.problems
    return ()


# What is written.


def test_abaw2_has_a_folder_per_kind_of_label_and_a_file_per_video(tmp_path):
    found = predictions(ALL)
    written = Abaw2().write(tmp_path / "out", found)
    folders = {"EXPR_Set", "VA_Set", "AU_Set"}
    assert {path.relative_to(tmp_path / "out").as_posix() for path in written} == {
        f"{folder}/{video}.txt" for folder in folders for video in VIDEOS
    }
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(written)
    for video in VIDEOS:
        rows = np.flatnonzero(found.videos == video)
        header, *lines = lines_of(tmp_path / f"out/EXPR_Set/{video}.txt")
        assert header == "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"
        assert lines == [expression_id(EXPR, found.values["expr"][row], EIGHT[:7]) for row in rows]
        header, *lines = lines_of(tmp_path / f"out/VA_Set/{video}.txt")
        assert header == "valence,arousal"
        values = [[float(field) for field in line.split(",")] for line in lines]
        assert np.float32(values).tolist() == [axis_values(VA, found.values["va"][row]) for row in rows]
        header, *lines = lines_of(tmp_path / f"out/AU_Set/{video}.txt")
        assert header == ",".join(TWELVE)
        assert lines == [",".join(unit_bits(AU, found.values["au"][row], TWELVE)) for row in rows]


def test_abaw2_puts_a_single_task_into_the_folder_itself_by_frame(tmp_path):
    found = predictions({"expr": EXPR})
    shuffled = found.take(np.array([4, 1, 3, 0, 2]))
    written = Abaw2().write(tmp_path, shuffled)
    assert sorted(path.name for path in written) == ["a.txt", "b.1_left.txt"]
    ids = [expression_id(EXPR, row, EIGHT) for row in found.values["expr"]]
    assert lines_of(tmp_path / "a.txt")[1:] == ids[2:]
    assert lines_of(tmp_path / "b.1_left.txt")[1:] == ids[:2]


def test_abaw1_has_eight_units(tmp_path):
    writer, heads = WRITERS["abaw1"]
    writer.write(tmp_path, predictions(heads))
    assert lines_of(tmp_path / "a.txt")[0] == "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25"


def test_abaw5_has_one_file_in_the_order_given(tmp_path):
    found = predictions(ALL).take(np.array([3, 0, 4]))
    for task in ALL:
        assert Abaw5(task=task).write(tmp_path / task, found) == [tmp_path / task]
    header, *lines = lines_of(tmp_path / "expr")
    assert header == "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    ids = [expression_id(EXPR, row, EIGHT) for row in found.values["expr"]]
    assert lines == [f"{name},{number}" for name, number in zip(found.names, ids, strict=True)]
    header, *lines = lines_of(tmp_path / "va")
    assert header == "image_location,valence,arousal"
    assert [line.split(",")[0] for line in lines] == found.names.tolist()
    values = np.float32([line.split(",")[1:] for line in lines])
    assert values.tolist() == [axis_values(VA, row) for row in found.values["va"]]
    header, *lines = lines_of(tmp_path / "au")
    assert header == "image_location," + ",".join(TWELVE)
    bits = [",".join(unit_bits(AU, row, TWELVE)) for row in found.values["au"]]
    assert lines == [f"{name},{row}" for name, row in zip(found.names, bits, strict=True)]


def test_mtl_has_16_fields_a_row(tmp_path):
    found = predictions(ALL)
    MultiTask().write(tmp_path / "out.txt", found)
    header, *lines = lines_of(tmp_path / "out.txt")
    assert header == "image,valence,arousal,expression,aus"
    for row, line in enumerate(lines):
        name, valence, arousal, expression, *units = line.split(",")
        assert name == found.names[row]
        assert np.float32([valence, arousal]).tolist() == axis_values(VA, found.values["va"][row])
        assert expression == expression_id(EXPR, found.values["expr"][row], EIGHT)
        assert units == unit_bits(AU, found.values["au"][row], TWELVE)


def test_lsd_has_six_classes_and_pictures_without_a_folder(tmp_path):
    writer, heads = WRITERS["lsd"]
    found = attrs.evolve(predictions(heads, {"x": 2}), names=np.array(["1.jpg", "2.jpg"]))
    writer.write(tmp_path / "out.txt", found)
    ids = [expression_id(heads["expr"], row, SIX) for row in found.values["expr"]]
    assert lines_of(tmp_path / "out.txt") == ["image,expression", f"1.jpg,{ids[0]}", f"2.jpg,{ids[1]}"]
    back = writer.read(tmp_path / "out.txt", heads)
    assert (back.videos.tolist(), back.frames.tolist()) == (["", ""], [0, 0])


def test_a_class_id_is_that_of_the_name_not_of_the_place(tmp_path):
    found = predictions({"expr": EXPR}, {"a": 3})
    found.values["expr"][:] = np.eye(3)
    Abaw5().write(tmp_path / "out", found)
    assert [line.split(",")[1] for line in lines_of(tmp_path / "out")[1:]] == ["5", "0", "4"]


# Round trips.


def named_by(writer: Writer, heads: Mapping[str, Head]) -> set[str]:
    if isinstance(writer, Abaw5):
        return {str(writer.task)}
    return set(writer.tasks) or set(heads) if isinstance(writer, Abaw2) else set(heads)


@pytest.mark.parametrize("case", WRITERS)
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    videos=st.dictionaries(
        st.text("ab1_- é.", min_size=1, max_size=5).filter(lambda name: name == name.strip(" .")),
        st.integers(1, 6),
        min_size=1,
        max_size=3,
    ),
    seed=st.integers(0, 1000),
)
def test_what_is_written_passes_the_check_and_reads_back_to_the_same_decisions(case, videos, seed, tmp_path):
    writer, heads = WRITERS[case]
    found = predictions(heads, videos, seed)
    path = tmp_path / f"{seed} {sorted(videos.items())}"[:80]
    for file in path.rglob("*.txt"):
        file.unlink()
    writer.write(path, found)
    assert writer.check(path, Listing(videos=videos)) == []
    assert writer.check(path, Listing(videos=dict.fromkeys(videos))) == []
    assert writer.check(path, Listing(names=tuple(found.names.tolist()))) == []
    assert writer.check(path, Listing()) == []
    back = writer.read(path, heads)
    places = [back.names.tolist().index(name) for name in found.names.tolist()]
    assert len(places) == len(back)
    back = back.take(np.array(places))
    assert back.videos.tolist() == found.videos.tolist()
    assert back.frames.tolist() == found.frames.tolist()
    assert back.faces.all()
    assert set(back.values) == set(back.heads) == named_by(writer, heads)
    for task, values in back.values.items():
        head = heads[task]
        assert values.dtype == np.float32
        written = ~np.isnan(values).all(axis=0)  # of the task's columns
        assert set(np.array(head.columns)[~written]) <= {"AU20", "AU7", "AU10", "AU23", "AU24", "AU26"}
        expected = found.decisions()[task]
        if head is VA:
            expected = np.clip(expected, -1, 1)
        decided = back.decisions()[task]
        columns = written if decided.ndim == 2 else slice(None)
        assert np.array_equal(decided[..., columns], expected[..., columns])
        if "classes" in head.meaning():
            assert np.array_equal(values, np.eye(len(head.columns))[expected])


def test_kinds_of_labels_with_different_videos_are_joined(tmp_path):
    """The test sets of ABAW2 differ; what a task has no row for is NaN."""
    Abaw2(tasks=("expr",)).write(tmp_path / "EXPR_Set", predictions(ALL, {"a": 2, "b": 1}))
    Abaw2(tasks=("va",)).write(tmp_path / "VA_Set", predictions(ALL, {"b": 2, "c": 1}))
    back = Abaw2().read(tmp_path, ALL)
    assert back.names.tolist() == [
        f"{name}.jpg" for name in ("a/00001", "a/00002", "b/00001", "b/00002", "c/00001")
    ]
    assert np.isnan(back.values["expr"]).any(axis=1).tolist() == [False, False, False, True, True]
    assert np.isnan(back.values["va"]).any(axis=1).tolist() == [True, True, False, False, False]
    assert set(back.heads) == {"expr", "va"}


def test_only_the_tasks_of_the_file_are_read(tmp_path):
    MultiTask().write(tmp_path / "all", predictions(ALL))
    assert set(MultiTask().read(tmp_path / "all", {"au": AU}).values) == {"au"}
    Abaw5(task="va").write(tmp_path / "one", predictions(ALL))
    assert set(Abaw5().read(tmp_path / "one", ALL).values) == {"va"}
    with pytest.raises(ConfigError, match="abaw5: there is no task with the label 'valence-arousal'"):
        Abaw5().read(tmp_path / "one", {"au": AU})


def test_writing_again_replaces_the_file_and_leaves_nothing_else(tmp_path):
    for seed in (0, 1):
        MultiTask().write(tmp_path / "out.txt", predictions(ALL, seed=seed))
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    MultiTask().write(tmp_path / "second.txt", predictions(ALL, seed=1))
    assert (tmp_path / "out.txt").read_bytes() == (tmp_path / "second.txt").read_bytes()


# What cannot be written.

HAPPY = Expression(classes=("neutral", "happy"))
FEW = ActionUnits(names=TWELVE[:-1])


@pytest.mark.parametrize(
    ("writer", "heads", "problems"),
    [
        (Abaw5(), ALL, ["task must name the one to write (there are expr, va, au)"]),
        (Abaw5(task="exp"), ALL, ["there is no task 'exp'; did you mean 'expr'?"]),
        (Abaw5(), {"both": Combined(tasks=("a", "b"))}, ["there is no task with the label 'expression' or "]),
        (Abaw5(), {"e": HAPPY}, ["task 'e' class 'happy' is none of the edition's; there are: anger, "]),
        (Abaw5(), {"u": FEW}, ["task 'u' must have 'AU26' among its units (got AU1, AU2, AU4, "]),
        (
            Abaw5(),
            {"v": ValenceArousal(axes=("valence", "dominance"))},
            ["task 'v' must have 'arousal' among its axes (got valence, dominance)"],
        ),
        (
            Abaw5(task="m"),
            {"m": Classification(classes=("a",))},
            [
                "task 'm' must have the label 'expression' or 'valence-arousal' or 'action-units' "
                "(got 'class')"
            ],
        ),
        (
            Abaw5(),
            {"e": Regression(label="expression")},
            ["task 'e' must have classes (got head 'regression')"],
        ),
        (Abaw2(), {"e": Expression(classes=EIGHT)}, ["task 'e' class 'other' is none of the edition's; "]),
        (LsdSubmission(), {"e": Expression()}, ["task 'e' class 'neutral' is none of the edition's; "]),
        (
            LsdSubmission(),
            {"e": EXPR},
            ["task 'e' class 'neutral' is none of the edition's; "],
        ),
        (
            MultiTask(),
            {"e": EXPR, "f": EXPR, "v": VA},
            [
                "expression must name one of the tasks with the label 'expression' (there are e, f)",
                "there is no task with the label 'action-units'",
            ],
        ),
        (MultiTask(action_units="ua"), ALL, ["there is no task 'ua'"]),
        (
            MultiTask(action_units="va"),
            ALL,
            ["task 'va' must have the label 'action-units' (got 'valence-arousal')"],
        ),
        (
            Abaw2(tasks=("e", "f")),
            {"e": EXPR, "f": EXPR, "v": VA},
            ["tasks must name one of the tasks with the label 'expression' (there are e, f)"],
        ),
    ],
)
def test_what_keeps_tasks_from_being_written_is_told(writer, heads, problems, tmp_path):
    found = writer.problems(heads)
    assert len(found) == len(problems)
    for line, expected in zip(found, problems, strict=True):
        assert line.startswith(f"{writer.name}: {expected}")
    if not isinstance(next(iter(heads.values())), Combined):
        with pytest.raises(ConfigError) as caught:
            writer.write(tmp_path / "out", predictions(heads))
        assert caught.value.problems == tuple(found)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("writer", "heads"), WRITERS.values(), ids=WRITERS)
def test_tasks_that_fit_have_no_problems(writer, heads):
    assert writer.problems(heads) == []
    assert writer.problems(heads | {"more": Classification(classes=("a",))}) == []


def test_naming_the_task_settles_which_of_several_is_written(tmp_path):
    heads = {"e": EXPR, "f": Expression(classes=("fear",)), "v": VA, "u": AU}
    MultiTask(expression="f").write(tmp_path / "out", predictions(heads))
    assert {line.split(",")[3] for line in lines_of(tmp_path / "out")[1:]} == {"3"}


def without_prediction(found: Predictions) -> Predictions:
    found.values["va"][2:4, 1] = np.nan
    return found


@pytest.mark.parametrize(
    ("writer", "spoil", "message"),
    [
        (
            MultiTask(),
            without_prediction,
            "every row must have a prediction of task 'va' (2 have none, the first is 'a/00001.jpg')",
        ),
        (
            Abaw2(),
            lambda found: found.take(np.array([0, 1, 2, 4])),
            "video 'a' must have one row for each frame from 1 on (got 2 rows, the last is frame 3)",
        ),
        (
            Abaw2(),
            lambda found: found.take(np.array([2, 3, 3])),
            "video 'a' must have one row for each frame from 1 on (got 3 rows, the last is frame 2)",
        ),
        (
            Abaw2(),
            lambda found: attrs.evolve(found, videos=np.array([""] * 5)),
            "every row must be of a video, as there is a file per video (got 'b.1_left/00001.jpg')",
        ),
        (
            Abaw2(),
            lambda found: attrs.evolve(found, videos=np.array(["../x"] * 5), frames=np.arange(1, 6)),
            "a video's name must be that of a file (got '../x')",
        ),
        (
            MultiTask(),
            lambda found: attrs.evolve(found, names=np.array(["a,b.jpg"] * 5)),
            "the name of a picture must have no comma and no line break (got 'a,b.jpg')",
        ),
    ],
)
def test_rows_that_the_file_cannot_hold_are_told_and_nothing_is_written(writer, spoil, message, tmp_path):
    with pytest.raises(RunError) as caught:
        writer.write(tmp_path / "out", spoil(predictions(ALL)))
    assert str(caught.value) == f"{tmp_path / 'out'}: {message}"
    assert list(tmp_path.iterdir()) == []


def test_no_rows_make_a_header_or_no_file(tmp_path):
    nothing = predictions(ALL).take(np.arange(0))
    MultiTask().write(tmp_path / "out", nothing)
    assert len(MultiTask().read(tmp_path / "out", ALL)) == 0
    assert Abaw2().write(tmp_path / "videos", nothing) == []


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be saved"):
        MultiTask().write(tmp_path / "file" / "out.txt", predictions(ALL))


def test_tasks_that_are_not_written_may_have_gaps(tmp_path):
    found = without_prediction(predictions(ALL))
    Abaw5(task="expr").write(tmp_path / "out", found)
    assert len(lines_of(tmp_path / "out")) == 6


# What the check finds: `{line}` of the file becomes the given text; None: it goes.

LIST = Listing(videos={"b": 2, "a": 3})
NAMES = Listing(names=("b/00001.jpg", "b/00002.jpg", "a/00001.jpg", "a/00002.jpg", "a/00003.jpg"))
MTL_ROW = ",0.5,-0.5,3" + ",0" * 12


def spoiled(path: Path, changes: Mapping[int, str | None]) -> None:
    lines = dict(enumerate(path.read_text().splitlines(), 1)) | dict(changes)
    path.write_text("".join(f"{text}\n" for _, text in sorted(lines.items()) if text is not None))


@pytest.mark.parametrize(
    ("changes", "listing", "problems"),
    [
        (
            {1: "image,valence,arousal,expression"},
            LIST,
            [
                " line 1: the header must be 'image,valence,arousal,expression,aus' "
                "(got 'image,valence,arousal,expression')"
            ],
        ),
        ({1: " Image, valence,arousal,EXPRESSION,aus"}, LIST, []),
        ({3: f"b/00002.jpg{MTL_ROW},0"}, LIST, [" line 3: must have 16 fields (got 17)"]),
        ({3: "b/00002.jpg"}, LIST, [" line 3: must have 16 fields (got 1)"]),
        ({7: "", 8: ""}, LIST, []),
        ({4: f"a/00001.jpg{MTL_ROW}".replace("-0.5", "x")}, LIST, [" line 4: must be numbers (got 'x')"]),
        (
            {
                2: f"b/00001.jpg{MTL_ROW}".replace(",3", ",8"),
                4: f"a/00001.jpg{MTL_ROW}".replace(",3", ",2.5"),
            },
            LIST,
            [
                " line 2: expression must be a class from 0 to 7 (got 8)",
                " line 4: expression must be a class from 0 to 7 (got 2.5)",
            ],
        ),
        (
            {2: f"b/00001.jpg{MTL_ROW}".replace(",0.5", ",nan,-1.0000001", 1).replace(",-0.5", "")},
            LIST,
            [
                " line 2: valence must be from -1 to 1 (got nan)",
                " line 2: arousal must be from -1 to 1 (got -1.0000001)",
            ],
        ),
        ({2: f"b/00001.jpg{MTL_ROW[:-1]}0.5"}, LIST, [" line 2: AU26 must be 0 or 1 (got 0.5)"]),
        (
            {3: None},
            LIST,
            [": video 'b' must have a row for each frame from 1 to 2 (got 1, without frame 2)"],
        ),
        ({3: None}, NAMES, [": there is no row for 'b/00002.jpg', which is on the list"]),
        ({2: None, 3: None}, LIST, [": there is no row for video 'b', which is on the list"]),
        (
            {2: None},
            Listing(videos={"b": None, "a": None}),
            [": video 'b' must have a row for each frame from 1 to 2 (got 1, without frame 1)"],
        ),
        ({7: f"a/00001.jpg{MTL_ROW}"}, LIST, [" line 7: 'a/00001.jpg' is there twice"]),
        ({7: f"a/00001.jpg{MTL_ROW}"}, NAMES, [" line 7: 'a/00001.jpg' is on line 4 already"]),
        ({7: f"a/00001.jpg{MTL_ROW}"}, Listing(), [" line 7: 'a/00001.jpg' is on line 4 already"]),
        ({7: f"c/00001.jpg{MTL_ROW}"}, LIST, [" line 7: video 'c' is not on the list"]),
        ({7: f"c/00001.jpg{MTL_ROW}"}, NAMES, [" line 7: 'c/00001.jpg' is not on the list"]),
        ({7: f"a/00004.jpg{MTL_ROW}"}, LIST, [" line 7: video 'a' has 3 frames on the list (got frame 4)"]),
        (
            {7: f"a/4.jpg{MTL_ROW}", 8: f"4{MTL_ROW}"},
            LIST,
            [
                " line 7: must be like '<video>/00001.jpg' (got 'a/4.jpg')",
                " line 8: must be like '<video>/00001.jpg' (got '4')",
            ],
        ),
    ],
)
def test_each_problem_of_a_file_is_told_by_its_line(changes, listing, problems, tmp_path):
    path = tmp_path / "out.txt"
    MultiTask().write(path, predictions(ALL, {"b": 2, "a": 3}))
    spoiled(path, changes)
    assert MultiTask().check(path, listing) == [f"{path}{problem}" for problem in problems]


def test_a_blank_line_between_rows_is_told_and_blank_lines_at_the_end_are_not(tmp_path):
    Abaw2().write(tmp_path, predictions({"expr": EXPR}, {"a": 3}))
    spoiled(tmp_path / "a.txt", {3: "", 5: "", 6: " "})
    found = Abaw2().check(tmp_path, Listing(videos={"a": 3}))
    assert found == [f"{tmp_path / 'a.txt'} line 3: must have 1 field (got 0)"]


def test_a_wrong_header_of_abaw5_names_all_that_would_do(tmp_path):
    (tmp_path / "out").write_text("image,valence,arousal\n")
    (problem,) = Abaw5().check(tmp_path / "out", LIST)
    assert problem.startswith(f"{tmp_path / 'out'} line 1: the header must be 'image_location,Neutral,")
    assert " or 'image_location,valence,arousal' or 'image_location,AU1," in problem
    assert problem.endswith("(got 'image,valence,arousal')")


@pytest.mark.parametrize(
    ("spoil", "listing", "problems"),
    [
        (
            lambda path: (path / "a.txt").unlink(),
            LIST,
            [": there is no a.txt, though the video is on the list"],
        ),
        (
            lambda path: (path / "c.txt").write_text("valence,arousal\n0,0\n"),
            LIST,
            ["/c.txt: video 'c' is not on the list"],
        ),
        (
            lambda path: spoiled(path / "a.txt", {5: "0,0"}),
            LIST,
            ["/a.txt: must have 3 rows, one per frame (got 4)"],
        ),
        (
            lambda path: spoiled(path / "a.txt", {4: None}),
            NAMES,
            ["/a.txt: must have 3 rows, one per frame (got 2)"],
        ),
        (lambda path: spoiled(path / "a.txt", {4: None}), Listing(videos={"a": None, "b": None}), []),
        (
            lambda path: (path / "a.txt").write_text("valence,arousal\n\n"),
            Listing(videos={"a": None, "b": None}),
            ["/a.txt: must have at least one row (got none)"],
        ),
        (
            lambda path: spoiled(path / "b.txt", {1: "valence"}),
            LIST,
            ["/b.txt line 1: the header must be 'valence,arousal' (got 'valence')"],
        ),
        (
            lambda path: spoiled(path / "b.txt", {2: "0", 3: "0,2"}),
            LIST,
            [
                "/b.txt line 2: must have 2 fields (got 1)",
                "/b.txt line 3: arousal must be from -1 to 1 (got 2)",
            ],
        ),
        (
            Path.exists,
            Listing(names=("b/00001.jpg", "b/00002.jpg", "a/00001.jpg", "a/00003.jpg", "x.jpg")),
            [
                ": the list must have videos, or pictures like '<video>/00001.jpg' (got 'x.jpg')",
                ": the list must have all frames of video 'a' (it lacks frame 2)",
            ],
        ),
        (
            lambda path: (path / "AU_Set").mkdir(),
            LIST,
            [
                "/a.txt: must be in one of the folders AU_Set",
                "/b.txt: must be in one of the folders AU_Set",
                "/AU_Set: there is no .txt file of a video",
            ],
        ),
    ],
)
def test_each_problem_of_a_folder_is_told_by_its_file(spoil, listing, problems, tmp_path):
    Abaw2(tasks=("va",)).write(tmp_path, predictions(ALL, {"b": 2, "a": 3}))
    spoil(tmp_path)
    assert Abaw2().check(tmp_path, listing) == [f"{tmp_path}{problem}" for problem in problems]


@pytest.mark.parametrize("writer", [Abaw2(), Abaw5(), MultiTask(), LsdSubmission()])
def test_what_is_not_there_is_told(writer, tmp_path):
    path = tmp_path / "nothing"
    (problem,) = writer.check(path, LIST)
    assert problem == f"{path}: No such file or directory"
    heads = {"expr": Expression(classes=("fear",))} if writer.name == "lsd" else ALL
    with pytest.raises(DataError) as caught:
        writer.read(path, heads)
    assert caught.value.problems == (problem,)


@pytest.mark.parametrize("many", [30, 20_000])
def test_the_first_20_problems_are_told_and_the_rest_counted(many, tmp_path):
    """As many as several blocks of rows."""
    rows = "".join(f"a/{frame:05d}.jpg,6\n" for frame in range(1, many + 1))
    (tmp_path / "out").write_text(f"image,expression\n{rows}")
    listing = Listing(names=("b.jpg",))
    found = LsdSubmission().check(tmp_path / "out", listing)
    assert len(found) == 21
    assert found[-1] == f"... and {2 * many + 1 - 20} more"


def test_a_picture_whose_number_is_absurd_is_no_frame(tmp_path):
    name = f"a/{'9' * 5000}.jpg"
    (tmp_path / "out").write_text(f"image,expression\n{name},0\n")
    back = LsdSubmission().read(tmp_path / "out", {"expr": Expression(classes=SIX)})
    assert (back.names.tolist(), back.videos.tolist(), back.frames.tolist()) == ([name], [""], [0])
    (problem,) = LsdSubmission().check(tmp_path / "out", Listing(videos={"a": None}))[1:]
    assert "line 2: must be like '<video>/00001.jpg' (got 'a/999" in problem
    assert len(problem) < 400


def test_line_numbers_go_on_over_blocks(tmp_path):
    count = 20_000
    rows = [f"a/{frame:05d}.jpg,{frame % 6}" for frame in range(1, count + 1)]
    rows[9000] = "a/09001.jpg,x"
    rows[19_998] = "a/19999.jpg,-1"
    (tmp_path / "out").write_text("\n".join(["image,expression", *rows]))
    assert LsdSubmission().check(tmp_path / "out", Listing(videos={"a": count})) == [
        f"{tmp_path / 'out'} line 9002: must be numbers (got 'x')",
        f"{tmp_path / 'out'} line 20000: expression must be a class from 0 to 5 (got -1)",
    ]


def test_a_class_that_the_task_lacks_is_told_when_read(tmp_path):
    (tmp_path / "out").write_text("image,expression\na.jpg,0\nb.jpg,4\nc.jpg,9\n")
    with pytest.raises(DataError) as caught:
        LsdSubmission().read(tmp_path / "out", {"expr": Expression(classes=("anger", "fear"))})
    assert caught.value.problems == (
        f"{tmp_path / 'out'} line 3: class 'sadness' is none of task 'expr'",
        f"{tmp_path / 'out'} line 4: expression must be a class from 0 to 5 (got 9)",
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.text("a/0001.jpg,-+eEnif \"'\n\r\x00#é\ufeff", max_size=60) | st.binary(max_size=40),
    headed=st.booleans(),
)
def test_any_file_is_checked_and_read_without_a_crash(content, headed, tmp_path):
    raw = content.encode() if isinstance(content, str) else content
    header = b"image_location,valence,arousal\n" if headed else b""
    path = tmp_path / "videos"
    path.mkdir(exist_ok=True)
    (path / "a.txt").write_bytes(header.removeprefix(b"image_location,") + raw)
    (tmp_path / "out").write_bytes(header + raw)
    for writer, place in ((Abaw5(), tmp_path / "out"), (Abaw2(), path)):
        problems = writer.check(place, Listing())
        assert all("\n" not in line for line in problems)
        told = refused(writer.read, place, ALL)
        # A file can be read that is no submission: with a picture twice, or without rows.
        assert set(told[:20]) <= set(problems)
        assert told or all("already" in line or "at least one" in line for line in problems)


def test_the_order_of_abaw_is_that_of_the_editions():
    assert EIGHT[:7] == EXPRESSIONS
