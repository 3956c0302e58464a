"""RAF-DB: its list of labels, its aligned pictures, and what is said about a list that cannot be used."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from mtl_affect.databases.raf_db import RafDb, mtl_datasets
from mtl_affect.databases.table import FaceSamples
from mtl_affect.expression import EXPRESSIONS, Expression
from PIL import Image

from mtl_toolkit import DataError, DataFacts, UnreadableSampleError
from mtl_toolkit.testing import check_dataset

ORDER = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]  # ids 1 to 7
LIST = "EmoLabel/list_patition_label.txt"


def tree(root: Path, lines: str | bytes, listed: str = LIST, pictures: tuple[str, ...] = ()) -> Path:
    """A copy of the database; every picture is painted in its own grey."""
    path = root / listed
    path.parent.mkdir(parents=True)
    path.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    folder = path.parent.parent / "Image" / "aligned"
    folder.mkdir(parents=True)
    for grey, name in enumerate(pictures, 1):
        Image.new("RGB", (6, 6), (10 * grey, 10 * grey, 10 * grey)).save(folder / name, quality=100)
    return root


def build(root: Path, split: Any = "train", **fields: Any) -> FaceSamples:
    return RafDb(root=root, split=split, **fields).build(DataFacts({"expr": Expression()}, image_size=6))


def problem_of(root: Path, split: Any = "train") -> str:
    with pytest.raises(DataError) as caught:
        build(root, split)
    return str(caught.value)


def ids(samples: FaceSamples) -> list[str]:
    return [samples.id(index) for index in range(len(samples))]


def test_ids_from_one_to_seven_are_the_head_s_classes_by_name(tmp_path: Path) -> None:
    """Surprise is RAF-DB's first class and the head's last."""
    lines = "".join(f"train_{number:05}.jpg {number}\n" for number in range(1, 8))
    labels = build(tree(tmp_path, lines)).labels()["expr"]
    assert labels.values.tolist() == [EXPRESSIONS.index(name) for name in ORDER] == [6, 3, 2, 4, 5, 1, 0]
    assert labels.valid.all()


@pytest.mark.parametrize(("split", "expected"), [("train", [5, 1]), ("test", [4])])
def test_the_prefix_of_the_name_is_the_part(tmp_path: Path, split: str, expected: list[int]) -> None:
    """Parts may be mixed in the list; what stands later in a name is no prefix."""
    root = tree(tmp_path, "train_00001.jpg 5\ntest_train_0001.jpg 4\ntrain_00002.jpg 6\n")
    assert build(root, split).labels()["expr"].values.tolist() == expected


def test_pictures_are_the_aligned_ones(tmp_path: Path) -> None:
    """`train_00002.jpg` of the list is `Image/aligned/train_00002_aligned.jpg`."""
    names = ("train_00001_aligned.jpg", "train_00002_aligned.jpg", "train_00002.jpg")
    samples = build(tree(tmp_path, "train_00002.jpg 4\ntrain_00001.jpg 4\n", pictures=names))
    assert ids(samples) == ["Image/aligned/train_00002_aligned.jpg", "Image/aligned/train_00001_aligned.jpg"]
    assert samples.read([0, 1])[:, :, 3, 3].tolist() == [[20] * 3, [10] * 3]
    assert samples.column("file")[0] == str(tmp_path / "Image/aligned/train_00002_aligned.jpg").encode()
    assert samples.problems() == []
    assert torch.equal(pickle.loads(pickle.dumps(samples)).read([0]), samples.read([0]))


def test_persons_and_frames_are_not_known(tmp_path: Path) -> None:
    """There is nothing that ties pictures together."""
    samples = build(tree(tmp_path, "train_00001.jpg 5\n"))
    assert samples.column("group") is None
    assert samples.column("frame") is None


@pytest.mark.parametrize("folder", ["", "basic/"])
@pytest.mark.parametrize("name", ["list_patition_label.txt", "list_partition_label.txt"])
def test_the_list_may_be_spelt_right_and_lie_in_basic(tmp_path: Path, folder: str, name: str) -> None:
    """The pictures are then below `basic` too."""
    pictures = ("train_00001_aligned.jpg",)
    samples = build(tree(tmp_path, "train_00001.jpg 2\n", f"{folder}EmoLabel/{name}", pictures))
    assert ids(samples) == ["Image/aligned/train_00001_aligned.jpg"]
    assert samples.read([0])[0, 0, 3, 3] == 10


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    """As after an editor has saved the list."""
    samples = build(tree(tmp_path, b"\xef\xbb\xbftrain_00001.jpg 5\r\n\r\ntrain_00002.jpg 7\r\n"))
    assert samples.labels()["expr"].values.tolist() == [5, 0]


def test_every_line_that_is_wrong_is_told(tmp_path: Path) -> None:
    """With its number, the rule and what was found, whichever part it belongs to."""
    lines = "train_00001.jpg 5\ntrain_00002.jpg 8\ntest_0001.jpg 0\nval_1.jpg 2\ntrain_3.png 2\ntrain_4.jpg\n"
    name = "the picture's name must begin with train_ or test_ and end in .jpg"
    assert problem_of(tree(tmp_path, lines)).split("\n") == [
        f"{LIST} line 2: the class id must be from 1 to 7 (got 'train_00002.jpg 8')",
        f"{LIST} line 3: the class id must be from 1 to 7 (got 'test_0001.jpg 0')",
        f"{LIST} line 4: {name} (got 'val_1.jpg 2')",
        f"{LIST} line 5: {name} (got 'train_3.png 2')",
        f"{LIST} line 6: must be the name of a picture and a class id (got 'train_4.jpg')",
    ]


def test_a_part_without_pictures_is_an_error(tmp_path: Path) -> None:
    """An empty list too."""
    message = f"{LIST}: there is no picture whose name begins with test_"
    assert problem_of(tree(tmp_path / "a", "train_00001.jpg 5\n"), "test") == message
    assert problem_of(tree(tmp_path / "b", ""), "test") == message


def test_a_missing_list_is_told_with_what_is_there(tmp_path: Path) -> None:
    """The folder that is there, what was looked for in it, and the nearest name."""
    root = tree(tmp_path / "raf", "train_00001.jpg 5\n", "EmoLabel/list_partition_labels.txt")
    assert problem_of(root) == (
        f"{root}/EmoLabel: there is no list_patition_label.txt; did you mean 'list_partition_labels.txt'?"
    )
    assert problem_of(tmp_path / "rafdb") == (
        f"{tmp_path}: there is no rafdb/EmoLabel/list_patition_label.txt; did you mean 'raf'?"
    )


def test_missing_aligned_pictures_are_told(tmp_path: Path) -> None:
    """All of them as an error, one by one as problems."""
    root = tree(tmp_path, "train_00001.jpg 5\n")
    assert build(root).problems() == [
        f"raf-db {root.name}: there is no picture Image/aligned/train_00001_aligned.jpg in {root}"
    ]
    with pytest.raises(UnreadableSampleError, match=r"train_00001_aligned\.jpg: No such file"):
        build(root).read([0])
    (root / "Image" / "aligned").rename(root / "Image" / "original")
    assert problem_of(root) == f"{root}/Image: there is no aligned; there are: original"


def test_a_list_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    """A byte that is not UTF-8."""
    root = tree(tmp_path, b"train_00001.jpg 5\xff\n")
    assert problem_of(root) == f"{root}/{LIST}: must be UTF-8 text"


def test_the_plugin_is_raf_db() -> None:
    """Under its name."""
    assert [recipe.name for recipe in mtl_datasets()] == ["raf-db"]


def test_it_conforms(tmp_path: Path) -> None:
    """To what `mtl_toolkit.testing` asks of every dataset."""
    names = [f"train_{number:05}" for number in range(1, 8)]
    lines = "".join(f"{name}.jpg {number}\n" for number, name in enumerate(names, 1))
    root = tree(tmp_path, lines, pictures=tuple(f"{name}_aligned.jpg" for name in names))
    for check in check_dataset(RafDb(root=root, split="train"), {"expr": Expression()}, image_size=6):
        check()
