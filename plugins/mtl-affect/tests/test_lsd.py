"""LSD: class folders with a misspelt one, validation with folders or a table, a test set without labels."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from mtl_affect.databases.lsd import Lsd, mtl_datasets
from mtl_affect.databases.table import FaceSamples
from mtl_affect.expression import EXPRESSIONS, Expression
from PIL import Image

from mtl_toolkit import DataError, DataFacts
from mtl_toolkit.testing import check_dataset

ORDER = ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]  # ids 0 to 5
FOLDERS = ["ANGRER", "DISGUST", "FEAR", "HAPPINESS", "SADNESS", "SURPRISE"]
TRAIN, VALIDATION, TEST = "training_set_synthetic_images", "validation_set_real_images", "test_set"


def paint(path: Path, grey: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 5), (grey, grey, grey)).save(path, "JPEG", quality=100)


def tree(root: Path, part: str = TRAIN, folders: list[str] = FOLDERS) -> Path:
    """A picture per class folder, each in its own grey."""
    for number, folder in enumerate(folders):
        paint(root / part / folder / f"{number}.jpg", 10 * number)
    return root


def build(root: Path, split: Any = "train", **fields: Any) -> FaceSamples:
    return Lsd(root=root, split=split, **fields).build(DataFacts({"expr": Expression()}, image_size=5))


def problem_of(root: Path, split: Any = "train", **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        build(root, split, **fields)
    return str(caught.value)


def ids(samples: FaceSamples) -> list[str]:
    return [samples.id(index) for index in range(len(samples))]


@pytest.mark.parametrize("anger", ["ANGRER", "ANGER", "ANG"])
def test_the_folder_is_the_class_and_that_of_anger_may_be_misspelt(tmp_path: Path, anger: str) -> None:
    """Classes are the head's by name."""
    samples = build(tree(tmp_path, folders=[anger, *FOLDERS[1:]]))
    assert ids(samples)[:2] == [f"{TRAIN}/{anger}/0.jpg", f"{TRAIN}/DISGUST/1.jpg"]
    labels = samples.labels()["expr"]
    assert labels.values.tolist() == [EXPRESSIONS.index(name) for name in ORDER] == [1, 2, 3, 4, 5, 6]
    assert labels.valid.all()
    assert samples.read(range(6))[:, 0, 2, 2].tolist() == [0, 10, 20, 30, 40, 50]


def test_the_ids_of_six_classes_are_those_of_the_release(tmp_path: Path) -> None:
    six = {"expr": Expression(classes=tuple(ORDER))}
    samples = Lsd(root=tree(tmp_path), split="train").build(DataFacts(six, image_size=5))
    assert samples.labels()["expr"].values.tolist() == [0, 1, 2, 3, 4, 5]
    assert samples.labels()["expr"].valid.all()


def test_pictures_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Whatever order the file system has; files of other kinds are counted, parts and hidden folders not."""
    root = tree(tmp_path)
    for name in ("b.jpg", "a.JPG", "c.png", "Thumbs.db"):
        paint(root / TRAIN / "FEAR" / name)
    paint(root / TRAIN / "stray.jpg")
    paint(root / TRAIN / ".cache" / "hidden.jpg")
    paint(root / VALIDATION / "FEAR" / "other.jpg")
    samples = build(root)
    fear = [name for name in ids(samples) if "FEAR" in name]
    assert fear == [f"{TRAIN}/FEAR/{name}" for name in ("2.jpg", "a.JPG", "b.jpg")]
    assert len(samples) == 8
    assert samples.labels()["expr"].values.tolist() == [1, 2, 3, 3, 3, 4, 5, 6]
    assert samples.counts() == {"files that are no .jpg pictures": 2}


def test_files_are_whole_paths_and_nothing_ties_pictures_together(tmp_path: Path) -> None:
    """And the samples can be pickled."""
    samples = build(tree(tmp_path))
    assert samples.column("file")[5] == f"{tmp_path}/{TRAIN}/SURPRISE/5.jpg".encode()
    assert samples.column("group") is None
    assert samples.column("frame") is None
    assert samples.counts() == {}
    assert torch.equal(pickle.loads(pickle.dumps(samples)).read([3]), samples.read([3]))


def test_folders_that_do_not_fit_the_classes_are_told(tmp_path: Path) -> None:
    """One of no class, two of one class, and one that is missing."""
    root = tree(tmp_path, folders=["ANGER", "ANGRER", "FEAR", "HAPPINESS", "NEUTRAL", "SADNESS", "SURPRISE"])
    assert problem_of(root).split("\n") == [
        f"{root}/{TRAIN}: anger must have one folder (got 'ANGER' and 'ANGRER')",
        f"{root}/{TRAIN}: each folder must be that of a class, {', '.join(FOLDERS)} (got 'NEUTRAL')",
        f"{root}/{TRAIN}: there is no folder DISGUST (disgust)",
    ]


def test_a_missing_part_is_told_with_what_is_there(tmp_path: Path) -> None:
    """What was looked for, and the nearest name."""
    root = tree(tmp_path, "training_set_synthetic")
    assert problem_of(root) == (
        f"{root}: there is no training_set_synthetic_images; did you mean 'training_set_synthetic'?"
    )
    assert problem_of(root / "lsd", "validation").startswith(
        f"{root}: there is no lsd/validation_set_real_images; there are: training_set_synthetic"
    )


def test_empty_class_folders_are_no_database(tmp_path: Path) -> None:
    """Folders alone are not enough."""
    for folder in FOLDERS:
        (tmp_path / TRAIN / folder).mkdir(parents=True)
    assert problem_of(tmp_path) == f"lsd {tmp_path.name}: there are no faces"


# Validation


def test_validation_may_have_class_folders(tmp_path: Path) -> None:
    """As training has."""
    samples = build(tree(tmp_path, VALIDATION), "validation")
    assert ids(samples)[0] == f"{VALIDATION}/ANGRER/0.jpg"
    assert samples.labels()["expr"].values.tolist() == [1, 2, 3, 4, 5, 6]


def test_validation_may_have_a_table(tmp_path: Path) -> None:
    """Its class ids are matched by name; pictures that it does not name are no samples."""
    for number, name in enumerate(("a", "b", "unnamed")):
        paint(tmp_path / VALIDATION / f"{name}.jpg", 10 * number)
    table = tmp_path / "labels.csv"
    table.write_text("image,expression\nb.jpg,5\na.jpg,0\n")
    samples = build(tmp_path, "validation", annotations=table)
    assert ids(samples) == [f"{VALIDATION}/b.jpg", f"{VALIDATION}/a.jpg"]
    assert samples.labels()["expr"].values.tolist() == [6, 1]
    assert samples.read([0, 1])[:, 0, 2, 2].tolist() == [10, 0]
    assert samples.problems() == []


def test_a_table_goes_before_folders(tmp_path: Path) -> None:
    """It may name pictures in them."""
    table = tmp_path / "labels.csv"
    table.write_text("image,expression\nFEAR/2.jpg,3\n")
    samples = build(tree(tmp_path, VALIDATION), "validation", annotations=table)
    assert ids(samples) == [f"{VALIDATION}/FEAR/2.jpg"]
    assert samples.labels()["expr"].values.tolist() == [4]


def test_what_is_wrong_with_the_table_is_told_by_line(tmp_path: Path) -> None:
    """Ids outside 0 to 5, and an empty one."""
    root, table = tree(tmp_path, VALIDATION), tmp_path / "labels.csv"
    table.write_text("image,expression\na.jpg,6\nb.jpg,2\nc.jpg,-1\nd.jpg,\n")
    source, rule = f"{root.name}/labels.csv", "column 'expression': must be a class id from 0 to 5"
    assert problem_of(root, "validation", annotations=table).split("\n") == [
        f"{source} line 2: {rule} (got '6')",
        f"{source} line 4: {rule} (got '-1')",
        f"{source} line 5: {rule} (got '')",
    ]
    table.write_text("image,expression\n")
    assert problem_of(root, "validation", annotations=table) == f"{source}: has no rows"
    absent = tmp_path / "absent.csv"
    assert problem_of(root, "validation", annotations=absent) == f"{absent}: No such file or directory"


def test_validation_without_folders_or_table_says_what_to_do(tmp_path: Path) -> None:
    """Unless labels are not wanted."""
    paint(tmp_path / VALIDATION / "a.jpg")
    assert problem_of(tmp_path, "validation") == (
        f"{tmp_path}/{VALIDATION}: has no class folders; name the table of its labels with annotations, or "
        "set unlabelled = true"
    )
    samples = build(tmp_path, "validation", unlabelled=True)
    assert ids(samples) == [f"{VALIDATION}/a.jpg"]
    assert not samples.labels()["expr"].valid.any()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_table_is_for_validation_only(split: Any) -> None:
    """The recipe itself refuses it elsewhere."""
    with pytest.raises(ValueError, match='annotations are those of split = "validation"') as caught:
        Lsd(root=Path("lsd"), split=split, annotations=Path("labels.csv"), unlabelled=True)
    assert f'(got split = "{split}")' in str(caught.value)


# Test


def test_the_test_set_has_no_labels(tmp_path: Path) -> None:
    """Its one folder is flat; what the other parts hold does not matter."""
    root = tree(tmp_path)
    for number, name in enumerate(("b", "a")):
        paint(root / TEST / f"{name}.jpg", 10 * number)
    samples = build(root, "test", unlabelled=True)
    assert ids(samples) == [f"{TEST}/a.jpg", f"{TEST}/b.jpg"]
    assert samples.labels()["expr"].valid.tolist() == [False, False]
    assert samples.read([0])[0, 0, 2, 2] == 10


def test_the_test_set_must_be_asked_for_without_labels() -> None:
    """The recipe itself says so."""
    with pytest.raises(ValueError, match=r'split = "test" has no labels, so it needs unlabelled = true'):
        Lsd(root=Path("lsd"), split="test")


def test_there_must_be_one_folder_of_the_test_set(tmp_path: Path) -> None:
    """None or two are told."""
    root, rule = tree(tmp_path), "there must be one folder whose name begins with test"
    assert problem_of(root, "test", unlabelled=True) == f"{root}: {rule} (got none)"
    paint(root / "test_a" / "1.jpg")
    paint(root / "test_b" / "1.jpg")
    assert problem_of(root, "test", unlabelled=True) == f"{root}: {rule} (got test_a, test_b)"
    absent = root / "absent"
    assert problem_of(absent, "test", unlabelled=True).startswith(f"{root}: there is no absent; there are:")


def test_the_plugin_is_lsd() -> None:
    """Under its name."""
    assert [recipe.name for recipe in mtl_datasets()] == ["lsd"]


def test_it_conforms(tmp_path: Path) -> None:
    """To what `mtl_toolkit.testing` asks of every dataset."""
    root = tree(tmp_path)
    for check in check_dataset(Lsd(root=root, split="train"), {"expr": Expression()}, image_size=8):
        check()
