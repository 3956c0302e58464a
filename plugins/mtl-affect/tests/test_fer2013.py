"""FER2013 and FER+: pictures that are text, votes row by row, and tables that do not fit each other."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mtl_affect.databases import fer2013, ferplus
from mtl_affect.databases.fer2013 import Fer2013
from mtl_affect.databases.ferplus import FerPlus
from mtl_affect.databases.table import FaceSamples
from mtl_affect.expression import EXPRESSIONS, Expression
from mtl_std.classification import Classification

from mtl_toolkit import DataError, DataFacts, Head
from mtl_toolkit.testing import check_dataset

FER_ORDER = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
PLUS_ORDER = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"]
VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
EIGHT = Expression(classes=(*EXPRESSIONS, "contempt"))
SOFT = Expression(classes=(*EXPRESSIONS, "contempt"), soft=True)
SOFT_SEVEN = Expression(soft=True)


def pixels(value: int) -> str:
    """A picture of one grey."""
    return " ".join([str(value)] * 48 * 48)


def write_fer(root: Path, *rows: tuple[object, str, str], header: str = "emotion,pixels,Usage") -> Path:
    root.mkdir(exist_ok=True)
    lines = [header, *(f"{emotion},{values},{usage}" for emotion, values, usage in rows)]
    (root / "fer2013.csv").write_text("\n".join(lines) + "\n")
    return root


def write_votes(root: Path, *rows: str) -> Path:
    (root / "fer2013new.csv").write_text("\n".join([VOTES_HEADER, *rows]) + "\n")
    return root


def write_plus(root: Path, *rows: str) -> Path:
    """Votes, and a table of pictures with the same parts; the picture of row n has the grey n + 1."""
    usages = [row.split(",")[0] for row in rows]
    write_fer(root, *((row % 7, pixels(row + 1), usage) for row, usage in enumerate(usages)))
    return write_votes(root, *rows)


def open_fer(root: Path, split: Any = "train", head: Head | None = None, **fields: Any) -> FaceSamples:
    facts = DataFacts({"expr": head or Expression()}, image_size=48)
    return Fer2013(root=root, split=split, **fields).build(facts)


def open_plus(root: Path, split: Any = "train", head: Head = EIGHT, **fields: Any) -> FaceSamples:
    return FerPlus(root=root, split=split, **fields).build(DataFacts({"expr": head}, image_size=48))


def problem_of(root: Path, opened: Any = open_fer, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        opened(root, **fields)
    return str(caught.value)


def ids(samples: FaceSamples) -> list[str]:
    return [samples.id(index) for index in range(len(samples))]


# FER2013


def test_ids_of_fer2013_are_the_head_s_classes_by_name(tmp_path: Path) -> None:
    """Anger is FER2013's first class, neutral its last."""
    root = write_fer(tmp_path, *((number, pixels(0), "Training") for number in range(7)))
    labels = open_fer(root).labels()["expr"]
    assert labels.values.tolist() == [EXPRESSIONS.index(name) for name in FER_ORDER] == [1, 2, 3, 4, 5, 6, 0]
    assert labels.valid.all()


@pytest.mark.parametrize(
    ("split", "rows", "classes"),
    [("train", [0, 3], [1, 4]), ("public-test", [1], [2]), ("private-test", [2], [3])],
)
def test_the_usage_is_the_part(tmp_path: Path, split: str, rows: list[int], classes: list[int]) -> None:
    """A picture is named by its row in the whole table, from 0; other parts' pixels are not read."""
    usages = ["Training", "PublicTest", "PrivateTest", "Training"]
    root = write_fer(
        tmp_path,
        *(
            (number, pixels(50 + number) if number in rows else "poison 999", usage)
            for number, usage in enumerate(usages)
        ),
    )
    samples = open_fer(root, split)
    assert ids(samples) == [f"fer2013.csv row {row}" for row in rows]
    assert samples.labels()["expr"].values.tolist() == classes
    assert samples.read(range(len(rows)))[:, 0, 0, 0].tolist() == [50 + row for row in rows]


def test_pixels_are_grey_values_row_by_row(tmp_path: Path) -> None:
    """The text runs from left to right, then down; all three colours are the same."""
    values = np.arange(48 * 48) % 256
    root = write_fer(tmp_path, (3, " ".join(map(str, values)), "Training"))
    picture = open_fer(root).read([0])[0]
    assert (picture.shape, picture.dtype) == ((3, 48, 48), torch.uint8)
    assert (picture.numpy() == values.reshape(48, 48)).all()
    assert picture[0, 1, 0] == 48


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """Some copies have another order, and blanks in the header."""
    header = "emotion, Usage, pixels"
    root = write_fer(tmp_path, (3, "Training", pixels(7)), header=header)
    assert open_fer(root).read([0])[0, :, 5, 5].tolist() == [7, 7, 7]


def test_every_picture_has_a_path_of_its_own(tmp_path: Path) -> None:
    """Training and validation that share rows are found out; there are no persons."""
    root = write_fer(tmp_path, (3, pixels(7), "PublicTest"), (3, pixels(7), "Training"))
    samples = open_fer(root)
    assert samples.column("file").tolist() == [f"{root}/fer2013.csv row 1".encode()]
    assert samples.column("group") is None
    assert samples.problems() == []


def test_what_is_wrong_with_fer2013_is_told_by_line(tmp_path: Path) -> None:
    """Labels and parts of all rows, pixels of the part; a field of pixels is not repeated whole."""
    root = write_fer(
        tmp_path,
        (7, pixels(0), "Training"),
        (0, pixels(0), "Test"),
        ("", pixels(0), "PublicTest"),
        (0, pixels(256), "Training"),
        (0, pixels(0)[2:], "Training"),
        (0, pixels(0)[:-1] + "-1", "Training"),
        (0, pixels(0)[:-1] + "1.5", "Training"),
        (0, pixels(0) + " 99999999999999999999", "Training"),
    )
    source, rule = f"{root.name}/fer2013.csv", "column 'pixels': must hold 2304 grey values from 0 to 255"
    assert problem_of(root).split("\n") == [
        f"{source} line 2: column 'emotion': must be a class id from 0 to 6 (got '7')",
        f"{source} line 3: column 'Usage': must be Training, PublicTest, PrivateTest (got 'Test')",
        f"{source} line 4: column 'emotion': must be a class id from 0 to 6 (got '')",
        f"{source} line 5: {rule} (got '256')",
        f"{source} line 6: {rule} (got 2303)",
        f"{source} line 7: {rule} (got '-1')",
        f"{source} line 8: {rule} (got '1.5')",
        f"{source} line 9: {rule} (got '99999999999999999999')",
    ]


def test_a_missing_table_or_part_of_fer2013_is_told(tmp_path: Path) -> None:
    """What was looked for, and the nearest name."""
    root = write_fer(tmp_path / "fer", (3, pixels(7), "PublicTest"))
    assert problem_of(root) == "fer/fer2013.csv: there is no row with the Usage Training"
    (root / "fer2013.csv").rename(root / "fer2013.csv.old")
    assert problem_of(root) == f"{root}: there is no fer2013.csv; did you mean 'fer2013.csv.old'?"
    assert problem_of(write_fer(tmp_path / "b")) == "b/fer2013.csv: there is no row with the Usage Training"
    assert "there is no column 'pixels'" in problem_of(
        write_fer(tmp_path / "c", (3, "1", "Training"), header="emotion,pxls,Usage")
    )


def test_fer2013_can_be_pickled(tmp_path: Path) -> None:
    """Spawned loader processes get a copy of the pictures."""
    samples = open_fer(write_fer(tmp_path, (3, pixels(7), "Training")))
    copy = pickle.loads(pickle.dumps(samples))
    assert torch.equal(copy.read([0]), samples.read([0]))
    assert ids(copy) == ids(samples)


# FER+


def test_the_most_votes_are_the_class(tmp_path: Path) -> None:
    """Each of the eight classes, matched by name; no half of all votes is needed."""
    rows = [
        "Training,fer.png," + ",".join("4" if place == number else "0" for place in range(8)) + ",3,3"
        for number in range(8)
    ]
    labels = open_plus(write_plus(tmp_path, *rows)).labels()["expr"]
    assert labels.values.tolist() == [[*EXPRESSIONS, "contempt"].index(name) for name in PLUS_ORDER]
    assert labels.values.tolist() == [0, 4, 6, 5, 1, 2, 3, 7]


def test_ties_unknown_and_no_face_have_no_label_and_are_counted(tmp_path: Path) -> None:
    """A tie with unknown is a tie."""
    root = write_plus(
        tmp_path,
        "Training,a.png,0,6,0,4,0,0,0,0,0,0",
        "Training,b.png,5,5,0,0,0,0,0,0,0,0",
        "Training,c.png,5,0,0,0,0,0,0,0,5,0",
        "Training,d.png,4,0,0,0,0,0,0,0,6,0",
        "Training,e.png,0,0,0,0,0,0,0,0,0,10",
    )
    samples = open_plus(root)
    assert ids(samples) == ["fer2013.csv row 0"]
    counts = {"ties": 2, "most votes for unknown or no face": 2}
    assert samples.counts() == {**counts, "faces without a label of the tasks": 4}
    whole = open_plus(root, unlabelled=True)
    assert whole.labels()["expr"].valid.tolist() == [True, False, False, False, False]
    assert whole.counts() == counts


@pytest.mark.parametrize("votes", ["majority", "shares"])
def test_rows_without_a_picture_s_name_are_skipped(tmp_path: Path, votes: str) -> None:
    """Their votes are not read, and the pictures of the other rows stay with their votes."""
    root = write_plus(
        tmp_path,
        "Training,,poison,0,0,0,0,0,0,0,0,-1",
        "Training,a.png,10,0,0,0,0,0,0,0,0,0",
        "Training, ,0,0,0,0,0,0,0,0,0,10",
        "Training,b.png,0,10,0,0,0,0,0,0,0,0",
    )
    head = EIGHT if votes == "majority" else SOFT
    samples = open_plus(root, head=head, votes=votes, unlabelled=True)
    assert ids(samples) == ["fer2013.csv row 1", "fer2013.csv row 3"]
    assert samples.read([0, 1])[:, 0, 0, 0].tolist() == [2, 4]
    assert head.class_ids(samples.labels()["expr"]).tolist() == [0, 4]
    assert samples.counts() == {"rows without a picture's name": 2}


def test_a_part_of_fer_plus_has_its_own_rows(tmp_path: Path) -> None:
    """Votes of other parts are not read, their rows not counted."""
    root = write_plus(
        tmp_path,
        "Training,a.png,x,0,0,0,0,0,0,0,0,0",
        "PublicTest,b.png,0,0,7,0,0,0,0,0,0,0",
        "Training,,0,0,0,0,0,0,0,0,0,0",
        "PrivateTest,c.png,0,0,0,9,0,0,0,0,0,0",
    )
    public, private = open_plus(root, "public-test"), open_plus(root, "private-test")
    assert (ids(public), ids(private)) == (["fer2013.csv row 1"], ["fer2013.csv row 3"])
    assert public.labels()["expr"].values.tolist() == [6]
    assert private.labels()["expr"].values.tolist() == [5]
    assert public.read([0])[0, 0, 0, 0] == 2
    assert public.counts() == private.counts() == {}


def test_shares_are_votes_over_the_classes_by_name(tmp_path: Path) -> None:
    """Votes for unknown and no face do not count, a tie is no harm."""
    root = write_plus(
        tmp_path,
        "Training,a.png,4,2,0,0,0,0,0,2,1,1",
        "Training,b.png,0,0,5,5,0,0,0,0,0,0",
    )
    labels = open_plus(root, head=SOFT, votes="shares").labels()["expr"]
    assert labels.values.shape == (2, 8)
    named = [dict(zip(SOFT.classes, row, strict=True)) for row in labels.values.tolist()]
    assert {name: share for name, share in named[0].items() if share} == {
        "neutral": 0.5,
        "happiness": 0.25,
        "contempt": 0.25,
    }
    assert {name: share for name, share in named[1].items() if share} == {"surprise": 0.5, "sadness": 0.5}
    assert labels.valid.all()


def test_shares_are_missing_where_unknown_or_no_face_outdo_every_class(tmp_path: Path) -> None:
    """One vote for neutral makes no face of what nine people saw none in; as many as a class are borne."""
    root = write_plus(
        tmp_path,
        "Training,a.png,1,0,0,0,0,0,0,0,0,9",
        "Training,b.png,4,0,0,0,0,0,0,0,5,1",
        "Training,c.png,0,0,0,0,0,0,0,0,0,0",
        "Training,d.png,4,1,0,0,0,0,0,0,4,1",
    )
    samples = open_plus(root, head=SOFT, votes="shares")
    assert ids(samples) == ["fer2013.csv row 3"]
    assert samples.labels()["expr"].values[0].tolist() == pytest.approx([0.8, 0, 0, 0, 0.2, 0, 0, 0])
    assert samples.counts()["most votes for unknown or no face"] == 3


def test_contempt_can_be_dropped_from_the_majority(tmp_path: Path) -> None:
    """A picture of contempt has then no label; a head without it needs that."""
    root = write_plus(
        tmp_path,
        "Training,a.png,4,0,0,0,0,0,0,6,0,0",
        "Training,b.png,0,0,0,0,8,0,0,2,0,0",
    )
    samples = open_plus(root, head=Expression(), drop_classes=("contempt",))
    assert ids(samples) == ["fer2013.csv row 1"]
    assert samples.labels()["expr"].values.tolist() == [1]
    assert "the task has no class 'contempt'" in problem_of(root, open_plus, head=Expression())


def test_contempt_can_be_dropped_from_shares(tmp_path: Path) -> None:
    """The other votes add up to 1 again; a picture with no other vote has no label."""
    root = write_plus(
        tmp_path,
        "Training,a.png,3,0,0,0,1,0,0,6,0,0",
        "Training,b.png,0,0,0,0,0,0,0,10,0,0",
    )
    samples = open_plus(root, head=SOFT_SEVEN, votes="shares", drop_classes=("contempt",))
    assert ids(samples) == ["fer2013.csv row 0"]
    assert samples.labels()["expr"].values.tolist() == [[0.75, 0.25, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("votes", "head", "message"),
    [
        ("majority", SOFT, 'votes must be "shares" for a head with soft targets (got "majority")'),
        ("shares", EIGHT, 'votes must be "majority" for a head with class ids (got "shares")'),
    ],
)
def test_votes_must_be_what_the_head_takes(tmp_path: Path, votes: str, head: Head, message: str) -> None:
    """Told before a file is read."""
    found = problem_of(tmp_path / "nowhere", open_plus, head=head, votes=votes)
    assert found == f"ferplus nowhere: task 'expr': {message}"


def test_a_head_of_another_label_does_not_mind_the_votes(tmp_path: Path) -> None:
    """Only tasks that take the database's label are asked."""
    root = write_plus(tmp_path, "Training,a.png,0,6,0,4,0,0,0,0,0,0")
    tasks = {"expr": EIGHT, "other": Classification(classes=("a", "b"), soft=True)}
    samples = FerPlus(root=root, split="train").build(DataFacts(tasks, image_size=48))
    assert list(samples.labels()) == ["expr"]


def test_tables_whose_parts_differ_are_refused_with_the_row(tmp_path: Path) -> None:
    """The first row that differs is named in both tables."""
    rows = [f"{usage},a.png,9,0,0,0,0,0,0,0,0,0" for usage in ("Training", "PublicTest", "PublicTest")]
    root = write_plus(tmp_path, *rows)
    write_votes(root, rows[0], rows[0], "PrivateTest" + rows[2].removeprefix("PublicTest"))
    assert problem_of(root, open_plus) == (
        f"{root.name}/fer2013new.csv line 3: column 'Usage': must be 'PublicTest', as on line 3 of "
        "fer2013.csv (got 'Training'; rows that differ: 2)"
    )


def test_tables_of_different_lengths_are_refused_with_the_row(tmp_path: Path) -> None:
    """A row that is missing in the middle shows as the first one that differs."""
    rows = [f"{usage},a.png,9,0,0,0,0,0,0,0,0,0" for usage in ("Training", "PublicTest", "Training")]
    root = write_plus(tmp_path, *rows)
    source, length = f"{root.name}/fer2013new.csv", "must have a row for each of the 3 of fer2013.csv"
    write_votes(root, rows[0], rows[2])
    assert problem_of(root, open_plus).split("\n") == [
        f"{source}: {length} (got 2)",
        f"{source} line 3: column 'Usage': must be 'PublicTest', as on line 3 of fer2013.csv "
        "(got 'Training'; rows that differ: 1)",
    ]
    write_votes(root, *rows, rows[0])
    assert problem_of(root, open_plus) == f"{source}: {length} (got 4)"


def test_what_is_wrong_with_votes_is_told_by_line(tmp_path: Path) -> None:
    """Votes are whole numbers, parts have known names."""
    root = write_plus(
        tmp_path,
        "Training,a.png,1.5,0,0,0,0,0,0,0,0,0",
        "Training,a.png,1,0,0,0,0,0,0,0,0,-1",
        "Training,a.png,1,,0,0,0,0,0,0,0,0",
        "Test,a.png,1,0,0,0,0,0,0,0,0,0",
        "Training,a.png,1,0,0",
    )
    source = f"{root.name}/fer2013new.csv"
    assert problem_of(root, open_plus).split("\n") == [
        f"{source} line 2: column 'neutral': must be a number of votes (got '1.5')",
        f"{source} line 3: column 'NF': must be a number of votes (got '-1')",
        f"{source} line 4: column 'happiness': must be a number of votes (got '')",
        f"{source} line 5: column 'Usage': must be Training, PublicTest, PrivateTest (got 'Test')",
        f"{source} line 6: must have 12 fields, as the header (got 5)",
    ]


def test_fer_plus_needs_both_tables(tmp_path: Path) -> None:
    """The one that is missing is named."""
    root = write_fer(tmp_path / "fer", (3, pixels(7), "Training"))
    assert problem_of(root, open_plus).startswith(f"{root}: there is no fer2013new.csv")
    write_votes(root)
    assert problem_of(root, open_plus) == "fer/fer2013new.csv: has no rows"
    (root / "fer2013.csv").unlink()
    assert problem_of(root, open_plus).startswith(f"{root}: there is no fer2013.csv")


def test_fer2013_and_fer_plus_share_the_names_of_their_pictures(tmp_path: Path) -> None:
    """So that training on the one and validating on the other is found out."""
    root = write_plus(tmp_path, "Training,,0,0,0,0,0,0,0,0,0,0", "Training,b.png,9,0,0,0,0,0,0,0,0,0")
    assert open_plus(root).column("file")[0] == open_fer(root).column("file")[1]


def test_fer_plus_can_be_pickled(tmp_path: Path) -> None:
    """Pictures, shares and counts."""
    root = write_plus(tmp_path, "Training,,0,0,0,0,0,0,0,0,0,0", "Training,b.png,8,2,0,0,0,0,0,0,0,0")
    samples = open_plus(root, head=SOFT, votes="shares")
    copy = pickle.loads(pickle.dumps(samples))
    assert torch.equal(copy.read([0]), samples.read([0]))
    np.testing.assert_array_equal(copy.labels()["expr"].values, samples.labels()["expr"].values)
    assert copy.counts() == {"rows without a picture's name": 1}


def test_the_plugins_are_fer2013_and_ferplus() -> None:
    """Each module gives its own."""
    found = [recipe.name for module in (fer2013, ferplus) for recipe in module.mtl_datasets()]
    assert found == ["fer2013", "ferplus"]


def test_both_conform(tmp_path: Path) -> None:
    """To what `mtl_toolkit.testing` asks of every dataset."""
    rows = (["6" if place == row else "0" for place in range(10)] for row in range(10))
    root = write_plus(tmp_path, *(f"Training,fer{n}.png,{','.join(row)}" for n, row in enumerate(rows)))
    for check in check_dataset(Fer2013(root=root, split="train"), {"expr": Expression()}, image_size=16):
        check()
    for votes, head in (("majority", EIGHT), ("shares", SOFT)):
        recipe = FerPlus(root=root, split="train", votes=votes)
        for check in check_dataset(recipe, {"expr": head}, image_size=16):
            check()
