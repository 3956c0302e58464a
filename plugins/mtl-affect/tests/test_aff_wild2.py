"""Aff-Wild2: annotations per video, pictures by frame number, labels of the other sets, leaks, thinning."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mtl_affect.action_units import ACTION_UNITS, ActionUnits
from mtl_affect.databases.aff_wild2 import EDITIONS, AffWild2, mtl_datasets
from mtl_affect.databases.aff_wild2_labels import group_of, video_of
from mtl_affect.databases.aff_wild2_videos import thin
from mtl_affect.databases.table import FaceTable
from mtl_affect.expression import EXPRESSIONS, Expression
from mtl_affect.valence_arousal import ValenceArousal
from PIL import Image

from mtl_toolkit import DataError, DataFacts, Head, Samples
from mtl_toolkit.testing import check_dataset

EXPR = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"
VA = "valence,arousal"
AU = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
TRAIN, VALIDATION = "EXPR_Set/Train_Set", "EXPR_Set/Validation_Set"
VA_TRAIN, VA_VALIDATION = "VA_Set/Train_Set", "VA_Set/Validation_Set"
AU_TRAIN = "AU_Set/Train_Set"
ZEROS = ",".join("0" * 12)


def write(root: Path, folder: str, video: str, header: str, rows: Sequence[Any], end: str = "\n") -> None:
    path = root / folder / f"{video}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{row}{end}" for row in [header, *rows]).encode())


def colour(number: int) -> tuple[int, int, int]:
    return (10 * number % 256, 200 - 10 * number % 200, 7 * number % 256)


def faces(root: Path, video: str, numbers: Sequence[int], ending: str = ".jpg") -> None:
    folder = root / "cropped_aligned" / video
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", (8, 8), colour(number)).save(folder / f"{number:05d}{ending}", quality=100)


def expression(root: Path, videos: Mapping[str, Sequence[int]], folder: str = TRAIN) -> None:
    """Annotations and a picture of every frame."""
    for video, ids in videos.items():
        write(root, folder, video, EXPR, ids)
        faces(root, video, range(1, len(ids) + 1))


def recipe(root: Path, **fields: Any) -> AffWild2:
    return AffWild2(**({"root": root, "split": "train", "part": "expression"} | fields))


def table(root: Path, **fields: Any) -> FaceTable:
    return recipe(root, **fields).table()


def build(root: Path, head: Head, **fields: Any) -> Samples:
    return recipe(root, **fields).build(DataFacts(tasks={"task": head}, image_size=8))


def error(root: Path, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        table(root, **fields)
    return str(caught.value)


def files(found: FaceTable) -> list[str]:
    return [found.pictures.name(row) for row in range(len(found))]


# Rows and pictures


def test_row_i_belongs_to_frame_i_plus_1_whichever_pictures_are_missing(tmp_path):
    write(tmp_path, TRAIN, "v", EXPR, [0, 1, 2, 3, 4, 5, 6])
    faces(tmp_path, "v", [2, 3, 6, 7])
    found = table(tmp_path)
    assert files(found) == ["v/00002.jpg", "v/00003.jpg", "v/00006.jpg", "v/00007.jpg"]
    assert found.frames.tolist() == [2, 3, 6, 7]
    assert found.labels["expression"].values.tolist() == [1, 2, 5, 6]
    assert found.counts == {"labelled frames without a picture": 3, "sets that are not there": 2}


def test_a_face_is_the_picture_of_its_frame(tmp_path):
    write(tmp_path, TRAIN, "v", EXPR, [0, -1, 2, 3])
    faces(tmp_path, "v", [1, 2, 4])
    samples = build(tmp_path, Expression())
    assert [samples.id(index) for index in range(len(samples))] == ["v/00001.jpg", "v/00004.jpg"]
    pixels = samples.read([0, 1]).float().mean(dim=(2, 3))
    assert np.abs(pixels.numpy() - [colour(1), colour(4)]).max() < 3


def test_frames_without_a_label_of_the_part_are_left_out_and_counted(tmp_path):
    expression(tmp_path, {"v": [-1, 4, -1, 0]})
    found = table(tmp_path)
    assert found.frames.tolist() == [2, 4]
    assert found.labels["expression"].valid.all()
    assert found.counts["frames without a valid label"] == 2


@pytest.mark.parametrize(
    ("rows", "pictures", "kept", "beyond"),
    [(4, 3, 3, 0), (3, 4, 3, 1), (3, 3, 3, 0), (1, 4, 1, 3)],
)
def test_there_may_be_more_or_fewer_rows_than_pictures(tmp_path, rows, pictures, kept, beyond):
    write(tmp_path, TRAIN, "v", EXPR, [2] * rows)
    faces(tmp_path, "v", range(1, pictures + 1))
    found = table(tmp_path)
    assert found.frames.tolist() == list(range(1, kept + 1))
    assert found.counts.get("pictures that belong to no row", 0) == beyond
    assert found.counts.get("labelled frames without a picture", 0) == rows - kept


def test_files_that_are_no_annotations_or_frames_are_ignored(tmp_path):
    expression(tmp_path, {"v": [3, 3]})
    for name in ("._v.txt", "notes.md", ".DS_Store", "v.txt~"):
        (tmp_path / TRAIN / name).write_bytes(b"\x00\x05\x16\x07 poison")
    for name in ("Thumbs.db", "3.jpg", "000002.jpg", "00002.jpeg", "00003.jpg.txt", "._00003.jpg", "x.png"):
        (tmp_path / "cropped_aligned/v" / name).write_bytes(b"poison")
    found = table(tmp_path)
    assert files(found) == ["v/00001.jpg", "v/00002.jpg"]
    assert "pictures that belong to no row" not in found.counts


def test_a_frame_0_belongs_to_no_row(tmp_path):
    expression(tmp_path, {"v": [3, 4]})
    faces(tmp_path, "v", [0])
    found = table(tmp_path)
    assert found.labels["expression"].values.tolist() == [3, 4]
    assert found.counts["pictures that belong to no row"] == 1


def test_frame_numbers_may_have_six_digits(tmp_path):
    write(tmp_path, TRAIN, "v", EXPR, [-1] * 99_999 + [6])
    faces(tmp_path, "v", [1, 100_000])
    found = table(tmp_path)
    assert files(found) == ["v/100000.jpg"]
    assert found.frames.tolist() == [100_000]


def test_pictures_are_png_where_a_video_has_no_jpg(tmp_path):
    write(tmp_path, TRAIN, "a", EXPR, [1, 2])
    faces(tmp_path, "a", [2], ".png")
    write(tmp_path, TRAIN, "b", EXPR, [3, 4])
    faces(tmp_path, "b", [1])
    faces(tmp_path, "b", [2], ".png")
    found = table(tmp_path)
    assert files(found) == ["a/00002.png", "b/00001.jpg"]
    assert found.face(0)[:, 0, 0].tolist() == list(colour(2))


def test_faces_may_be_in_another_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    expression(tmp_path, {"v": [5]})
    (tmp_path / "cropped_aligned").rename(tmp_path / "elsewhere/faces")
    found = table(tmp_path, frames=tmp_path / "elsewhere/faces")
    assert found.pictures.paths().tolist() == [str(tmp_path / "elsewhere/faces/v/00001.jpg").encode()]


def test_a_video_without_pictures_is_counted(tmp_path):
    expression(tmp_path, {"a": [1], "c": [1]})
    write(tmp_path, TRAIN, "b", EXPR, [0, 0])
    (tmp_path / "cropped_aligned/b").mkdir()
    write(tmp_path, TRAIN, "d", EXPR, [0])
    found = table(tmp_path)
    assert files(found) == ["a/00001.jpg", "c/00001.jpg"]
    assert found.counts["videos without a picture"] == 2
    assert found.counts["labelled frames without a picture"] == 3


def test_videos_come_in_the_order_of_their_names(tmp_path):
    expression(tmp_path, {"b": [1], "a_right": [2], "10-60-1280x720": [3], "a": [4]})
    names = ["10-60-1280x720/00001.jpg", "a/00001.jpg", "a_right/00001.jpg", "b/00001.jpg"]
    assert files(table(tmp_path)) == names


def test_two_people_of_a_video_are_one_group(tmp_path):
    expression(tmp_path, {"v": [1], "v_left": [2, 3], "v_right": [4], "v_left_out": [5]})
    found = table(tmp_path)
    assert found.groups.tolist() == [
        b"aff-wild2: v",
        b"aff-wild2: v",
        b"aff-wild2: v",
        b"aff-wild2: v_left_out",
        b"aff-wild2: v",
    ]
    assert files(found)[1] == "v_left/00001.jpg"
    assert found.labels["expression"].values.tolist() == [1, 2, 3, 5, 4]
    assert (video_of("left_right"), group_of("6-30-1920x1080_right")) == ("left", "aff-wild2: 6-30-1920x1080")


def test_a_table_survives_pickling(tmp_path):
    expression(tmp_path, {"v": [1, 2]})
    write(tmp_path, VA_TRAIN, "v", VA, ["0.5,-5", "0.25,1"])
    found = table(tmp_path)
    copy = pickle.loads(pickle.dumps(found))
    assert files(copy) == files(found)
    assert copy.labels["valence-arousal"].values.tolist() == found.labels["valence-arousal"].values.tolist()
    assert (copy.face(1) == found.face(1)).all()
    assert copy.counts == found.counts


# Labels


def test_classes_are_matched_with_the_head_by_name(tmp_path):
    expression(tmp_path, {"v": [0, 1, 2, 3, 4, 5, 6]})
    order = ("surprise", "sadness", "happiness", "fear", "disgust", "anger", "neutral")
    assert build(tmp_path, Expression()).labels()["task"].values.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert build(tmp_path, Expression(classes=order)).labels()["task"].values.tolist() == [
        6,
        5,
        4,
        3,
        2,
        1,
        0,
    ]


def test_valence_and_arousal_are_missing_one_by_one(tmp_path):
    rows = ["-1,1", "-5,0.5", "0.25,-5.0", "-5,-5", "-0.125, 0.75"]
    write(tmp_path, VA_TRAIN, "v", VA, rows)
    faces(tmp_path, "v", range(1, 6))
    labels = build(tmp_path, ValenceArousal(), part="valence-arousal").labels()["task"]
    assert labels.valid.tolist() == [[True, True], [False, True], [True, False], [True, True]]
    assert labels.values[labels.valid].tolist() == [-1, 1, 0.5, 0.25, -0.125, 0.75]
    stored = table(tmp_path, part="valence-arousal").labels["valence-arousal"]
    assert stored.range == (-1, 1)
    assert np.abs(stored.values).max() <= 1


def test_action_units_are_missing_one_by_one_and_matched_by_name(tmp_path):
    rows = ["1,0,-1,0,0,0,0,0,0,0,0,1", ",".join(["-1"] * 12), "-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,0"]
    write(tmp_path, AU_TRAIN, "v", AU, rows)
    faces(tmp_path, "v", [1, 2, 3])
    samples = build(tmp_path, ActionUnits(names=ACTION_UNITS[::-1]), part="action-units")
    labels = samples.labels()["task"]
    assert samples.column("frame").tolist() == [1, 3]
    assert labels.valid.tolist() == [[True] * 9 + [False, True, True], [True] + [False] * 11]
    assert labels.values[labels.valid].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    stored = table(tmp_path, part="action-units").labels["action-units"]
    assert stored.units == (
        "AU1",
        "AU2",
        "AU4",
        "AU6",
        "AU7",
        "AU10",
        "AU12",
        "AU15",
        "AU23",
        "AU24",
        "AU25",
        "AU26",
    )
    assert stored.values.min() == 0


# Labels of other sets


def test_labels_of_other_sets_are_joined_by_video_and_frame(tmp_path):
    write(tmp_path, TRAIN, "a", EXPR, [4, -1, 5, 6, 3])
    faces(tmp_path, "a", [1, 2, 3, 5])
    expression(tmp_path, {"b": [1, 2]})
    write(tmp_path, VA_TRAIN, "a", VA, ["0.125,0.25", "1,1", "-5,-5"])
    write(tmp_path, VA_TRAIN, "b", VA, ["0.5,-0.5", "0.75,-0.75", "1,1"])
    write(tmp_path, AU_TRAIN, "b", AU, ["1,-1,0,0,0,0,0,0,0,0,0,0"])
    found = table(tmp_path)
    assert files(found) == [f"{name}.jpg" for name in ("a/00001", "a/00003", "a/00005", "b/00001", "b/00002")]
    va, au = found.labels["valence-arousal"], found.labels["action-units"]
    assert va.valid[:, 0].tolist() == va.valid[:, 1].tolist() == [True, False, False, True, True]
    assert va.values[va.valid].tolist() == [0.125, 0.25, 0.5, -0.5, 0.75, -0.75]
    assert au.valid.tolist() == [[False] * 12] * 3 + [[True, False] + [True] * 10, [False] * 12]
    assert au.values[3].tolist() == [1] + [0] * 11
    assert found.labels["expression"].values.tolist() == [4, 5, 3, 1, 2]


def test_other_sets_add_labels_but_no_frames(tmp_path):
    expression(tmp_path, {"a": [1]})
    write(tmp_path, VA_TRAIN, "a", VA, ["0,0", "0,0"])
    faces(tmp_path, "a", [2])
    write(tmp_path, VA_TRAIN, "only-va", "poison", ["poison"])
    faces(tmp_path, "only-va", [1])
    assert files(table(tmp_path)) == ["a/00001.jpg"]


def test_a_person_of_a_video_has_no_labels_of_the_other(tmp_path):
    expression(tmp_path, {"v_left": [1]})
    write(tmp_path, VA_TRAIN, "v_right", VA, ["0.5,0.5"])
    write(tmp_path, VA_TRAIN, "v", VA, ["0.5,0.5"])
    assert not table(tmp_path).labels["valence-arousal"].valid.any()


def test_the_samples_of_another_part_get_the_expression(tmp_path):
    write(tmp_path, VA_TRAIN, "v", VA, ["0,0", "-5,-5", "0,0"])
    write(tmp_path, TRAIN, "v", EXPR, [-1, 3, 6])
    faces(tmp_path, "v", [1, 2, 3])
    labels = table(tmp_path, part="valence-arousal").labels["expression"]
    assert labels.valid.tolist() == [False, True]
    assert labels.values[1] == 6
    samples = build(tmp_path, Expression(), part="valence-arousal")
    assert samples.column("frame").tolist() == [3]


def test_sharing_can_be_left_off(tmp_path):
    expression(tmp_path, {"v": [1]})
    write(tmp_path, VA_TRAIN, "v", "poison", ["poison"])
    found = table(tmp_path, shared=False)
    assert list(found.labels) == ["expression"]
    assert found.counts == {}


def test_a_set_that_is_not_there_is_counted_and_has_no_label(tmp_path):
    expression(tmp_path, {"v": [1]})
    write(tmp_path, AU_TRAIN, "w", "poison", [])
    found = table(tmp_path)
    assert set(found.labels) == {"expression", "action-units"}
    assert found.counts == {"sets that are not there": 1}


def test_problems_of_a_joined_file_name_its_set(tmp_path):
    expression(tmp_path, {"v": [1]})
    write(tmp_path, VA_TRAIN, "v", VA, ["7,0"])
    assert error(tmp_path) == (
        f"{tmp_path}/VA_Set/Train_Set: v.txt line 2: valence must be from -1 to 1, or -5 for none (got 7)"
    )


# Videos in both splits


def leaking(root: Path) -> None:
    expression(root, {"a": [1, 1], "b": [2, 2], "c_left": [3, 3], "d": [4, 4]})
    write(root, VA_VALIDATION, "a", "poison", ["0,0"])
    write(root, VA_TRAIN, "d", VA, ["0.5,0.5", "0.5,0.5"])
    write(root, "AU_Set/Validation_Set", "c_right", "poison", ["poison"])
    write(root, AU_TRAIN, "f", "poison", ["poison"])
    write(root, VALIDATION, "e", "poison", ["poison"])


def test_a_video_that_another_set_has_in_the_other_split_is_an_error(tmp_path):
    leaking(tmp_path)
    assert error(tmp_path) == (
        f"{tmp_path}/EXPR_Set/Train_Set: no video may be in the validation split too (got 2): "
        "a (VA_Set/Validation_Set), c_left (AU_Set/Validation_Set); "
        'cross_split = "drop" leaves them out, "keep" uses them'
    )


def test_the_check_of_the_splits_works_in_both_directions(tmp_path):
    expression(tmp_path, {"a": [1]}, VALIDATION)
    write(tmp_path, VA_TRAIN, "a", "poison", [])
    found = error(tmp_path, split="validation")
    assert found.startswith(
        f"{tmp_path}/EXPR_Set/Validation_Set: no video may be in the train split too (got 1): "
        "a (VA_Set/Train_Set);"
    )


def test_two_people_of_a_video_in_two_splits_of_one_set_are_an_error(tmp_path):
    expression(tmp_path, {"a_left": [1]})
    write(tmp_path, VALIDATION, "a_right", "poison", [])
    assert "(got 1): a_left (EXPR_Set/Validation_Set);" in error(tmp_path)


def test_twenty_videos_in_both_splits_are_named_and_the_rest_counted(tmp_path):
    for number in range(23):
        write(tmp_path, TRAIN, f"v{number:02d}", EXPR, [0])
        write(tmp_path, VA_VALIDATION, f"v{number:02d}", "poison", [])
    faces(tmp_path, "v00", [1])
    found = error(tmp_path)
    assert "(got 23): v00 (" in found
    assert "v19 (VA_Set/Validation_Set), ... and 3 more; cross_split" in found
    assert "v20" not in found


def test_leaking_videos_can_be_dropped(tmp_path):
    leaking(tmp_path)
    found = table(tmp_path, cross_split="drop")
    assert files(found) == ["b/00001.jpg", "b/00002.jpg", "d/00001.jpg", "d/00002.jpg"]
    assert found.counts["videos in both splits, left out"] == 2


def test_leaking_videos_can_be_kept_but_get_no_label_from_the_other_split(tmp_path):
    leaking(tmp_path)
    found = table(tmp_path, cross_split="keep")
    assert found.labels["expression"].values.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert found.labels["valence-arousal"].valid[:, 0].tolist() == [False] * 6 + [True] * 2
    assert found.counts["videos in both splits, used"] == 2


def test_dropping_every_video_is_an_error(tmp_path):
    expression(tmp_path, {"a": [1]})
    write(tmp_path, VA_VALIDATION, "a", "poison", [])
    assert error(tmp_path, cross_split="drop") == (
        f"{tmp_path}/EXPR_Set/Train_Set: there is no annotation file to use, all 1 being in both splits"
    )


# Thinning


def test_one_in_so_many_labelled_frames_is_kept_across_videos(tmp_path):
    for video, numbers in {"a": range(1, 8), "b": [2, 3, 5, 6]}.items():
        write(tmp_path, VA_TRAIN, video, VA, ["0,0", "-5,-5", *["0,0"] * 5])
        faces(tmp_path, video, numbers)
    found = table(tmp_path, part="valence-arousal", keep_every=5)
    # Labelled and with a picture: a 1 3 4 5 6 7, b 3 5 6.
    assert files(found) == ["a/00001.jpg", "a/00007.jpg"]
    assert found.counts["frames thinned out"] == 7
    found = table(tmp_path, part="valence-arousal", keep_every=3)
    assert files(found) == ["a/00001.jpg", "a/00005.jpg", "b/00003.jpg"]


def test_classes_are_thinned_each_by_its_own_positions(tmp_path):
    ids = [0, 4, 0, 5, 4, 4, 5, 5] + [0] * 9 + [3, 3]
    expression(tmp_path, {"a": ids[:7], "b": ids[7:]})
    found = table(tmp_path, keep_every_class={"neutral": 10, "happiness": 2, "sadness": 2})
    seen: dict[int, int] = {}
    expected = []
    for place, number in enumerate(ids):
        if seen.setdefault(number, 0) % {0: 10, 4: 2, 5: 2}.get(number, 1) == 0:
            expected.append(place)
        seen[number] += 1
    names = [f"a/{n + 1:05d}.jpg" for n in range(7)] + [f"b/{n + 1:05d}.jpg" for n in range(len(ids) - 7)]
    assert files(found) == [names[place] for place in expected]
    assert found.labels["expression"].values.tolist() == [ids[place] for place in expected]
    assert found.labels["expression"].values.tolist().count(0) == 2


def test_classes_are_thinned_after_all_frames():
    ids = np.array([0, 0, 0, 0, 1, 1, 0, 0])
    assert np.flatnonzero(thin(ids, 2, {0: 2})).tolist() == [0, 4, 6]
    assert np.flatnonzero(thin(ids, 1, {0: 4, 1: 2})).tolist() == [0, 4, 6]
    assert thin(ids, 1, {}).all()


def test_groups_frames_and_joined_labels_stay_with_their_rows_when_thinned(tmp_path):
    expression(tmp_path, {"a": [1, 1, 1], "b": [2], "c": [3, 3]})
    write(tmp_path, VA_TRAIN, "a", VA, ["0.1,0", "0.2,0", "0.3,0"])
    write(tmp_path, VA_TRAIN, "c", VA, ["0.4,0", "0.5,0"])
    found = table(tmp_path, keep_every=2)
    assert files(found) == ["a/00001.jpg", "a/00003.jpg", "c/00001.jpg"]
    assert found.groups.tolist() == [b"aff-wild2: a", b"aff-wild2: a", b"aff-wild2: c"]
    assert found.frames.tolist() == [1, 3, 1]
    assert found.labels["valence-arousal"].values[:, 0].tolist() == pytest.approx([0.1, 0.3, 0.4])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"keep_every_class": {"happines": 2}},
            "keep_every_class: there is no class 'happines'; did you mean 'happiness'?",
        ),
        ({"keep_every_class": {"other": 2}}, "keep_every_class: there is no class 'other'; "),
        ({"keep_every_class": {"fear": 0}}, r"keep_every_class.fear must be at least 1 \(got 0\)"),
        (
            {"part": "action-units", "keep_every_class": {"fear": 2}},
            r'keep_every_class is for part = "expression" \(got \'action-units\'\)',
        ),
        ({"keep_every": 0}, r"must be at least 1 \(got 0\)"),
    ],
)
def test_thinning_that_makes_no_sense_is_refused(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        recipe(tmp_path, **fields)


def test_other_can_be_thinned_in_editions_that_have_it(tmp_path):
    assert recipe(tmp_path, edition="abaw5", keep_every_class={"other": 2}).keep_every_class == {"other": 2}


# Editions

FOLDERS = {
    "abaw1": ("EXPR_Set/Training_Set", "VA_Set/Training_Set", "AU_Set/Training_Set"),
    "abaw2": ("EXPR_Set/Train_Set", "VA_Set/Train_Set", "AU_Set/Train_Set"),
    **dict.fromkeys(
        ("abaw3", "abaw5"),
        (
            "EXPR_Classification_Challenge/Train_Set",
            "VA_Estimation_Challenge/Train_Set",
            "AU_Detection_Challenge/Train_Set",
        ),
    ),
    **dict.fromkeys(
        ("abaw6", "abaw8"),
        (
            "EXPR_Recognition_Challenge/Train_Set",
            "VA_Estimation_Challenge/Train_Set",
            "AU_Detection_Challenge/Train_Set",
        ),
    ),
}


@pytest.mark.parametrize("edition", FOLDERS)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_edition_has_its_own_folders_classes_and_units(tmp_path, edition, split):
    classes = EXPR.split(",") + (["Other"] if edition >= "abaw3" else [])
    units = [1, 2, 4, 6, 12, 15, 20, 25] if edition == "abaw1" else [int(name[2:]) for name in AU.split(",")]
    headers = (",".join(classes), VA, ",".join(f"AU{number}" for number in units))
    rows = (len(classes) - 1, "0.5,-0.5", ",".join(["0"] * (len(units) - 1) + ["1"]))
    for folder, header, row in zip(FOLDERS[edition], headers, rows, strict=True):
        other = folder.rpartition("/")[0] + "/Validation_Set"
        write(tmp_path, folder if split == "train" else other, "v", header, [row])
    faces(tmp_path, "v", [1])
    for part in ("expression", "valence-arousal", "action-units"):
        found = table(tmp_path, edition=edition, split=split, part=part)
        assert found.labels["expression"].classes == tuple(name.lower() for name in classes)
        assert found.labels["expression"].values.tolist() == [len(classes) - 1]
        assert found.labels["valence-arousal"].values.tolist() == [[0.5, -0.5]]
        stored = found.labels["action-units"]
        assert stored.units[: len(units)] == tuple(f"AU{number}" for number in units)
        assert stored.values[0, len(units) - 1] == 1
        assert set(AU.split(",")) <= set(stored.units)
        assert stored.valid.tolist() == [[True] * len(units) + [False] * (len(stored.units) - len(units))]
    assert set(EDITIONS) == set(FOLDERS)


def test_the_first_edition_trains_the_head_of_the_later_ones_where_it_has_their_units(tmp_path):
    write(tmp_path, FOLDERS["abaw1"][2], "v", "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25", ["1,0,0,0,0,0,1,1"])
    faces(tmp_path, "v", [1])
    labels = build(tmp_path, ActionUnits(), edition="abaw1", part="action-units").labels()["task"]
    known = {"AU1": 1, "AU2": 0, "AU4": 0, "AU6": 0, "AU12": 0, "AU15": 0, "AU25": 1}
    assert labels.valid[0].tolist() == [unit in known for unit in ActionUnits().names]
    assert labels.values[0, labels.valid[0]].tolist() == list(known.values())


def test_other_must_be_a_class_of_the_task_or_be_dropped(tmp_path):
    write(tmp_path, FOLDERS["abaw3"][0], "v", f"{EXPR},Other", [7, 4])
    faces(tmp_path, "v", [1, 2])
    with pytest.raises(DataError, match="the task has no class 'other'"):
        build(tmp_path, Expression(), edition="abaw3")
    samples = build(tmp_path, Expression(), edition="abaw3", drop_classes=("other",))
    assert samples.column("frame").tolist() == [2]
    eight = build(tmp_path, Expression(classes=(*EXPRESSIONS, "other")), edition="abaw3")
    assert eight.labels()["task"].values.tolist() == [7, 4]


def test_reading_the_folders_of_another_edition_names_it(tmp_path):
    write(tmp_path, FOLDERS["abaw1"][0], "v", EXPR, [0])
    faces(tmp_path, "v", [1])
    assert error(tmp_path) == (
        f"{tmp_path}/EXPR_Set/Train_Set: there is no such folder, "
        f'but {tmp_path}/EXPR_Set/Training_Set (as of edition = "abaw1")'
    )


def test_a_joined_set_of_another_edition_is_not_taken_for_missing(tmp_path):
    write(tmp_path, FOLDERS["abaw3"][1], "v", VA, ["0,0"])
    write(tmp_path, FOLDERS["abaw6"][0], "v", f"{EXPR},Other", [0])
    faces(tmp_path, "v", [1])
    found = error(tmp_path, edition="abaw3", part="valence-arousal")
    assert found == (
        f"{tmp_path}/EXPR_Classification_Challenge/Train_Set: there is no such folder, "
        f'but {tmp_path}/EXPR_Recognition_Challenge/Train_Set (as of edition = "abaw6")'
    )


# What is wrong with files and folders


def test_missing_folders_are_named_with_what_is_there_instead(tmp_path):
    assert error(tmp_path / "nowhere") == (
        f"{tmp_path}: there is no nowhere/EXPR_Set/Train_Set; there are none"
    )
    (tmp_path / "annotations/expr_set/train").mkdir(parents=True)
    assert error(tmp_path) == (f"{tmp_path}: there is no EXPR_Set/Train_Set; there are: annotations")
    (tmp_path / "EXPR_Set/Trian_Set").mkdir(parents=True)
    assert error(tmp_path) == (f"{tmp_path}/EXPR_Set: there is no Train_Set; did you mean 'Trian_Set'?")


def test_a_joined_set_without_the_split_is_an_error(tmp_path):
    expression(tmp_path, {"v": [1]})
    (tmp_path / "VA_Set/train").mkdir(parents=True)
    assert error(tmp_path).startswith(f"{tmp_path}/VA_Set: there is no Train_Set; ")


def test_a_missing_folder_of_faces_is_named(tmp_path):
    write(tmp_path, TRAIN, "v", EXPR, [0])
    (tmp_path / "croped_aligned").mkdir()
    assert error(tmp_path) == (f"{tmp_path}: there is no cropped_aligned; did you mean 'croped_aligned'?")


def test_no_annotation_file_at_all_is_an_error(tmp_path):
    (tmp_path / TRAIN).mkdir(parents=True)
    (tmp_path / "cropped_aligned").mkdir()
    assert error(tmp_path) == (
        f"{tmp_path}/EXPR_Set/Train_Set: there is no annotation file to use, <video>.txt"
    )


def test_no_picture_at_all_is_an_error(tmp_path):
    write(tmp_path, TRAIN, "v", EXPR, [0, -1, 2])
    (tmp_path / "cropped_aligned/batch1/v").mkdir(parents=True)
    assert error(tmp_path) == (
        f"{tmp_path}/cropped_aligned: none of 2 labelled frames has a picture, <video>/00001.jpg"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [EXPR, EXPR.lower(), EXPR.replace(",", ", ") + " ", "\ufeff" + EXPR])
def test_case_and_spaces_of_the_header_and_ends_of_lines_do_not_matter(tmp_path, header, end):
    write(tmp_path, TRAIN, "v", header, [1, " 2 ", "-1", ""], end)
    faces(tmp_path, "v", [1, 2, 3])
    assert table(tmp_path).labels["expression"].values.tolist() == [1, 2]


def test_a_file_with_nothing_but_a_header_has_no_frames(tmp_path):
    expression(tmp_path, {"v": [1]})
    write(tmp_path, TRAIN, "empty", EXPR, [])
    assert files(table(tmp_path)) == ["v/00001.jpg"]


@pytest.mark.parametrize(
    ("folder", "header", "rows", "message"),
    [
        (TRAIN, f"{EXPR},Other", [0], f"line 1: must be '{EXPR}' (got '{EXPR},Other')"),
        (TRAIN, "0", [1], f"line 1: must be '{EXPR}' (got '0')"),
        (TRAIN, "", [], f"line 1: must be '{EXPR}' (got '')"),
        (TRAIN, EXPR, [0, 7], "line 3: expression must be a class from 0 to 6, or -1 for none (got 7)"),
        (TRAIN, EXPR, [-5], "line 2: expression must be a class from 0 to 6, or -1 for none (got -5)"),
        (TRAIN, EXPR, [1.5], "line 2: expression must be a class from 0 to 6, or -1 for none (got 1.5)"),
        (TRAIN, EXPR, ["nan"], "line 2: expression must be a class from 0 to 6, or -1 for none (got nan)"),
        (TRAIN, EXPR, [0, "happy"], "line 3: must be numbers (got 'happy')"),
        (TRAIN, EXPR, [0, "", 1], "line 3: must have 1 fields (got 0)"),
        (TRAIN, EXPR, ["0,0"], "line 2: must have 1 fields (got 2)"),
        (VA_TRAIN, VA, ["0,1.01"], "line 2: arousal must be from -1 to 1, or -5 for none (got 1.01)"),
        (VA_TRAIN, VA, ["inf,0"], "line 2: valence must be from -1 to 1, or -5 for none (got inf)"),
        (VA_TRAIN, VA, ["0,0", "0"], "line 3: must have 2 fields (got 1)"),
        (VA_TRAIN, VA, ["0,"], "line 2: must be numbers (got '')"),
        (VA_TRAIN, "arousal,valence", ["0,0"], "line 1: must be 'valence,arousal' (got 'arousal,valence')"),
        (AU_TRAIN, AU, [ZEROS[:-1] + "2"], "line 2: AU26 must be 0 or 1, or -1 for none (got 2)"),
        (AU_TRAIN, AU, [ZEROS[:-2]], "line 2: must have 12 fields (got 11)"),
    ],
)
def test_what_breaks_the_format_is_told_with_file_line_and_rule(tmp_path, folder, header, rows, message):
    write(tmp_path, folder, "v", header, rows)
    faces(tmp_path, "v", [1])
    part = {TRAIN: "expression", VA_TRAIN: "valence-arousal", AU_TRAIN: "action-units"}[folder]
    assert error(tmp_path, part=part) == f"{tmp_path}/{folder}: v.txt {message}"


def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path):
    expression(tmp_path, {"v": [0]})
    (tmp_path / TRAIN / "v.txt").write_bytes(EXPR.encode() + b"\n0\n\xff\n")
    assert "v.txt line 3: must be numbers (got '\ufffd')" in error(tmp_path)


def test_twenty_problems_are_told_in_the_order_of_the_files_and_the_rest_counted(tmp_path):
    expression(tmp_path, {"a": [0] * 9 + [8] * 15, "b": [9] * 10})
    lines = error(tmp_path).split("\n")
    assert len(lines) == 21
    assert "a.txt line 11: " in lines[0]
    assert "b.txt line 6: " in lines[19]
    assert lines[20].endswith("EXPR_Set/Train_Set: ... and 5 more")


def test_the_hook_offers_the_recipe():
    assert mtl_datasets() == [AffWild2]
    assert AffWild2.name == "aff-wild2"


@pytest.mark.parametrize("part", ["expression", "valence-arousal"])
def test_it_conforms(tmp_path, part):
    """To what `mtl_toolkit.testing` asks of every dataset."""
    expression(tmp_path, {"1-30": [0, -1, 3, 6], "video2_left": [2, 2, -1]})
    write(tmp_path, VA_TRAIN, "1-30", VA, ["0.5,-0.5", "-5,-5", "0,1", "-1,0.25"])
    tasks = {"expr": Expression(), "va": ValenceArousal()}
    for check in check_dataset(recipe(tmp_path, part=part), tasks, image_size=8):
        check()
