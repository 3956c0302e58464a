"""s-Aff-Wild2: one text file per split, its header shorter than its rows."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mtl_affect.action_units import ACTION_UNITS, ActionUnits
from mtl_affect.databases.aff_wild2 import AffWild2
from mtl_affect.databases.s_aff_wild2 import SAffWild2, mtl_datasets
from mtl_affect.databases.table import FaceTable
from mtl_affect.expression import EXPRESSIONS, Expression
from mtl_affect.valence_arousal import ValenceArousal
from PIL import Image

from mtl_toolkit import DataError, DataFacts, Samples
from mtl_toolkit.testing import check_dataset

HEADER = "image,valence,arousal,expression,aus"
TRAIN, VALIDATION = "training_set_annotations.txt", "validation_set_annotations.txt"
UNITS = ",".join("01" * 6)
NONE = ",".join(["-1"] * 12)


def colour(number: int) -> tuple[int, int, int]:
    return (number * 40 % 256, 255 - number * 40 % 256, 100)


def write(root: Path, rows: Sequence[str], name: str = TRAIN, header: str = HEADER, end: str = "\n") -> None:
    """The annotations, and the pictures they name."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}{end}" for line in [header, *rows]).encode())
    (root / "cropped_aligned").mkdir(exist_ok=True)
    for row in rows:
        picture = root / "cropped_aligned" / row.partition(",")[0].strip()
        if picture.suffix == ".jpg" and picture.stem.isdigit():
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), colour(int(picture.stem))).save(picture, quality=100)


def recipe(root: Path, **fields: Any) -> SAffWild2:
    return SAffWild2(**({"root": root, "split": "train"} | fields))


def table(root: Path, **fields: Any) -> FaceTable:
    return recipe(root, **fields).table()


def build(root: Path, tasks: dict[str, Any], **fields: Any) -> Samples:
    return recipe(root, **fields).build(DataFacts(tasks=tasks, image_size=8))


def error(root: Path, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        table(root, **fields)
    return str(caught.value)


def test_rows_longer_than_the_header_are_read_whole(tmp_path):
    write(
        tmp_path,
        [
            f"a/00007.jpg,0.5,-0.25,3,{UNITS}",
            f"a/00003.jpg,-5,1,-1,1,-1,{','.join('0' * 10)}",
            f"b_left/00001.jpg,-5,-5,7,{NONE}",
        ],
    )
    found = table(tmp_path)
    assert [found.pictures.name(row) for row in range(3)] == [
        "a/00007.jpg",
        "a/00003.jpg",
        "b_left/00001.jpg",
    ]
    assert found.frames.tolist() == [7, 3, 1]
    assert found.groups.tolist() == [b"aff-wild2: a", b"aff-wild2: a", b"aff-wild2: b"]
    va, expr, au = (found.labels[name] for name in ("valence-arousal", "expression", "action-units"))
    assert va.valid.tolist() == [[True, True], [False, True], [False, False]]
    assert va.values[va.valid].tolist() == [0.5, -0.25, 1]
    assert va.range == (-1, 1)
    assert expr.valid.tolist() == [True, False, True]
    assert expr.values[expr.valid].tolist() == [3, 7]
    assert au.valid.tolist() == [[True] * 12, [True, False] + [True] * 10, [False] * 12]
    assert au.values[0].tolist() == [0, 1] * 6
    assert au.values.min() == 0
    assert found.counts == {}


def test_classes_and_units_are_matched_with_the_heads_by_name(tmp_path):
    write(tmp_path, [f"v/{n + 1:05d}.jpg,0,0,{n},{UNITS}" for n in range(8)])
    heads = {
        "expr": Expression(classes=("other", *EXPRESSIONS[::-1])),
        "va": ValenceArousal(),
        "au": ActionUnits(names=ACTION_UNITS[::-1]),
    }
    labels = build(tmp_path, heads).labels()
    assert labels["expr"].values.tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert labels["au"].values[0].tolist() == [1, 0] * 6
    seven = build(tmp_path, {"expr": Expression()}, drop_classes=("other",))
    assert seven.labels()["expr"].values.tolist() == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(DataError, match="the task has no class 'other'"):
        build(tmp_path, {"expr": Expression()})


def test_a_face_is_the_picture_of_its_row(tmp_path):
    write(tmp_path, [f"v/{n:05d}.jpg,0,0,0,{UNITS}" for n in (5, 2)])
    samples = build(tmp_path, {"va": ValenceArousal()})
    assert [samples.id(index) for index in range(2)] == ["v/00005.jpg", "v/00002.jpg"]
    pixels = samples.read([0, 1]).float().mean(dim=(2, 3))
    assert np.abs(pixels.numpy() - [colour(5), colour(2)]).max() < 3
    assert samples.column("frame").tolist() == [5, 2]


def test_held_out_videos_and_the_others_share_nobody_and_make_up_the_whole(tmp_path):
    """A video of two people is one group; labels stay with their frames."""
    names = [f"v{n}{side}" for n in range(12) for side in ("_left", "_right")]
    rows = [f"{name}/{n:05d}.jpg,{n / 10},0,{n},{UNITS}" for name in names for n in (2, 5)]
    write(tmp_path, rows)
    whole = table(tmp_path)
    parts = {videos: table(tmp_path, videos=videos, held_out=0.3) for videos in ("held-out", "others")}
    owners = {videos: set(part.groups.tolist()) for videos, part in parts.items()}
    assert not owners["held-out"] & owners["others"]
    assert all(len(part) for part in parts.values())
    found = sorted(part.pictures.name(row) for part in parts.values() for row in range(len(part)))
    assert found == sorted(whole.pictures.name(row) for row in range(len(whole)))
    for part in parts.values():
        numbers = part.labels["expression"].values
        np.testing.assert_array_equal(numbers, part.frames)
        np.testing.assert_allclose(part.labels["valence-arousal"].values[:, 0], numbers / 10)
        assert len(part.videos) == len(part.labels["action-units"].values) == len(part)


def test_no_video_held_out_is_an_error(tmp_path):
    write(tmp_path, [f"v/00001.jpg,0,0,0,{UNITS}"])
    assert error(tmp_path, videos="held-out", held_out=0).endswith(
        "videos = 'held-out' with held_out = 0 leaves nothing of 1 videos"
    )


def test_a_listed_picture_that_is_missing_stays_and_is_told(tmp_path):
    write(tmp_path, [f"v/{n:05d}.jpg,0,0,0,{UNITS}" for n in (1, 2)])
    (tmp_path / "cropped_aligned/v/00001.jpg").unlink()
    samples = build(tmp_path, {"va": ValenceArousal()})
    assert len(samples) == 2
    assert len(samples.problems()) == 1
    assert f"there is no picture v/00001.jpg in {tmp_path}/cropped_aligned" in samples.problems()[0]


def test_groups_are_those_of_aff_wild2(tmp_path):
    write(tmp_path, [f"10-60-1280x720_right/00001.jpg,0,0,0,{UNITS}"])
    folder = tmp_path / "VA_Set/Validation_Set"
    folder.mkdir(parents=True)
    (folder / "10-60-1280x720_right.txt").write_text("valence,arousal\n0,0\n")
    videos = AffWild2(root=tmp_path, split="validation", part="valence-arousal").table()
    assert videos.groups.tolist() == table(tmp_path).groups.tolist() == [b"aff-wild2: 10-60-1280x720"]
    assert videos.pictures.paths().tolist() == table(tmp_path).pictures.paths().tolist()


def test_a_table_survives_pickling(tmp_path):
    write(tmp_path, [f"v/00001.jpg,0,0,0,{UNITS}"])
    found = table(tmp_path)
    copy = pickle.loads(pickle.dumps(found))
    assert copy.groups.tolist() == found.groups.tolist()
    assert (copy.face(0) == found.face(0)).all()


def test_frames_without_any_label_and_pictures_listed_twice_are_counted(tmp_path):
    row = f"v/00001.jpg,0,0,0,{UNITS}"
    write(tmp_path, [row, row, f"v/00002.jpg,-5,-5,-1,{NONE}"])
    found = table(tmp_path)
    assert len(found) == 3
    assert found.counts == {
        "frames without a valid label": 1,
        "rows whose picture another row has too": 1,
    }
    assert len(build(tmp_path, {"va": ValenceArousal()})) == 2


# Where the files are


@pytest.mark.parametrize(
    ("edition", "split", "name"),
    [
        ("abaw3", "train", "MTL_Challenge/train_set.txt"),
        ("abaw3", "validation", "MTL_Challenge/validation_set.txt"),
        ("abaw4", "train", TRAIN),
        ("abaw4", "validation", VALIDATION),
        ("abaw7", "train", TRAIN),
        ("abaw7", "validation", VALIDATION),
    ],
)
def test_the_file_is_found_by_edition_and_split(tmp_path, edition, split, name):
    for other in (TRAIN, VALIDATION, "MTL_Challenge/train_set.txt", "MTL_Challenge/validation_set.txt"):
        write(tmp_path, ["poison"], other)
    write(tmp_path, [f"v/00001.jpg,0,0,2,{UNITS}"], name)
    assert table(tmp_path, edition=edition, split=split).labels["expression"].values.tolist() == [2]


def test_file_and_faces_may_be_named(tmp_path):
    write(tmp_path / "elsewhere", [f"v/00001.jpg,0,0,2,{UNITS}"], "mine.txt")
    found = table(
        tmp_path,
        annotations=tmp_path / "elsewhere/mine.txt",
        frames=tmp_path / "elsewhere/cropped_aligned",
    )
    assert found.face(0).shape == (3, 8, 8)


def test_a_file_of_another_edition_is_named(tmp_path):
    write(tmp_path, [], "MTL_Challenge/train_set.txt")
    assert error(tmp_path) == (
        f"{tmp_path}/training_set_annotations.txt: there is no such file, "
        f'but {tmp_path}/MTL_Challenge/train_set.txt (as of edition = "abaw3")'
    )


def test_missing_files_and_folders_are_named_with_what_is_near(tmp_path):
    (tmp_path / "training_set_annotation.txt").touch()
    assert error(tmp_path) == (
        f"{tmp_path}: there is no training_set_annotations.txt; did you mean 'training_set_annotation.txt'?"
    )
    assert "there is no mine.txt; " in error(tmp_path, annotations=tmp_path / "mine.txt")
    write(tmp_path, [])
    (tmp_path / "cropped_aligned").rename(tmp_path / "cropped")
    assert error(tmp_path) == (f"{tmp_path}: there is no cropped_aligned; did you mean 'cropped'?")


# What is wrong with a file


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [HEADER, "Image, Valence, Arousal, Expression, AUs", "\ufeff" + HEADER])
def test_case_and_spaces_of_the_header_and_ends_of_lines_do_not_matter(tmp_path, header, end):
    write(tmp_path, [f"v/00001.jpg , 0.5, -5, -1, {UNITS}", ""], header=header, end=end)
    found = table(tmp_path)
    assert found.labels["valence-arousal"].values[0, 0] == 0.5
    assert len(found) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("v/00001.jpg,0,0,0,0", "must have 16 fields (got 5)"),
        (f"v/00001.jpg,0,0,0,{UNITS},0", "must have 16 fields (got 17)"),
        (f"v/00001.jpg,0,0,8,{UNITS}", "expression must be a class from 0 to 7, or -1 for none (got 8)"),
        (f"v/00001.jpg,0,-2,0,{UNITS}", "arousal must be from -1 to 1, or -5 for none (got -2)"),
        (f"v/00001.jpg,0,0,0,{UNITS[:-1]}7", "AU26 must be 0 or 1, or -1 for none (got 7)"),
        (f"v/00001.jpg,0,x,0,{UNITS}", "must be numbers (got 'x')"),
        (f"00001.jpg,0,0,0,{UNITS}", "image must be like '<video>/00001.jpg' (got '00001.jpg')"),
        (f"v/face.jpg,0,0,0,{UNITS}", "image must be like '<video>/00001.jpg' (got 'v/face.jpg')"),
    ],
)
def test_what_breaks_the_format_is_told_with_file_line_and_rule(tmp_path, row, message):
    write(tmp_path, [f"v/00009.jpg,0,0,0,{UNITS}", row])
    assert error(tmp_path) == f"{tmp_path}/{TRAIN} line 3: {message}"


def test_a_wrong_header_is_told(tmp_path):
    row = f"v/00001.jpg,0,0,0,{UNITS}"
    write(tmp_path, [row], header=row)
    assert error(tmp_path) == f"{tmp_path}/{TRAIN} line 1: must be '{HEADER}' (got '{row}')"


def test_problems_come_in_the_order_of_the_lines(tmp_path):
    write(tmp_path, [f"v/00001.jpg,0,9,0,{UNITS}", f"v/x.jpg,0,0,0,{UNITS}", f"v/00003.jpg,0,0,99,{UNITS}"])
    lines = error(tmp_path).split("\n")
    assert ["line 2" in lines[0], "line 3" in lines[1], "line 4" in lines[2]] == [True] * 3


def test_a_file_without_rows_is_an_error(tmp_path):
    write(tmp_path, [])
    assert error(tmp_path) == f"{tmp_path}/{TRAIN}: there are no rows after the header"


def test_a_file_of_lines_without_numbers_is_told_line_by_line(tmp_path):
    write(tmp_path, ["v/00001.jpg", "v/00002.jpg"])
    assert error(tmp_path).split("\n")[0].endswith("line 2: must have 16 fields (got 1)")


def test_the_hook_offers_the_recipe():
    assert mtl_datasets() == [SAffWild2]
    assert SAffWild2.name == "s-aff-wild2"


def test_it_conforms(tmp_path):
    """To what `mtl_toolkit.testing` asks of every dataset; a row may lack any of its labels."""
    write(
        tmp_path,
        [
            f"a/00001.jpg,0.5,-0.25,3,{UNITS}",
            f"a/00002.jpg,-5,-5,2,{NONE}",
            f"a/00004.jpg,-5,1,-1,1,-1,{','.join('0' * 10)}",
            f"b_left/00001.jpg,-0.5,0.5,-1,{NONE}",
        ],
    )
    expression = Expression(classes=(*EXPRESSIONS, "other"))
    tasks = {"expr": expression, "va": ValenceArousal(), "units": ActionUnits()}
    for check in check_dataset(recipe(tmp_path), tasks, image_size=8):
        check()
