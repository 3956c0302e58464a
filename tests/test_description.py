"""`mtl data inspect`: datasets in numbers and as a picture, without decoding one."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.regression import Regression
from PIL import Image

from mtl_toolkit import CachedSamples, ConcatSamples, TensorSamples
from mtl_toolkit.data import describe
from mtl_toolkit.data_figure import class_counts, draw_datasets

HEADS = {
    "expr": Expression(),
    "va": ValenceArousal(),
    "au": ActionUnits(names=("AU1", "AU2", "AU4")),
    "age": Regression(axes=("age",)),
}


class Listed(TensorSamples):
    """Samples with columns and counts; reading one is an error."""

    def __init__(self, targets, masks=None, counts=None, missing=(), **columns):
        super().__init__(torch.zeros(len(next(iter(targets.values()))), 1), targets, masks)
        self.columns = {name: np.asarray(values) for name, values in columns.items()}
        self._counts, self._missing = counts or {}, list(missing)

    def read(self, indices):
        raise AssertionError("pictures are not to be read")

    def column(self, name):
        return self.columns.get(name)

    def counts(self):
        return self._counts

    def problems(self):
        return self._missing


def labelled():
    known = torch.tensor([True, True, False, False, True])
    axes = torch.tensor([[True, True], [False, True], [False, False], [True, True], [False, False]])
    return Listed(
        {"expr": torch.tensor([4, 4, -9, -9, 0]), "va": torch.full((5, 2), 0.25)},
        {"expr": known, "va": axes},
        counts={"rows without a picture": 3},
        missing=["a: there is no picture 7.jpg in /x"],
        file=[b"/x/1.jpg", b"/x/2.jpg", b"/x/2.jpg", b"/x/3.jpg", b"/x/2.jpg"],
        group=[b"anna", b"anna", b"", b"ben", b"ben"],
    )


def test_pictures_faces_and_groups_are_counted():
    found = describe(labelled(), HEADS)
    assert (found.samples, found.pictures, found.groups) == (5, 3, 2)
    assert found.faces == {1: 2, 3: 1}  # pictures 1 and 3 give one sample, picture 2 gives three


def test_labels_are_counted_by_task_and_together():
    found = describe(labelled(), HEADS)
    assert {task: (one.labelled, one.partly) for task, one in found.coverage.items()} == {
        "expr": (3, 0),
        "va": (2, 1),
    }
    assert found.together == {("expr", "va"): 2}
    assert found.coverage["expr"].summary["classes"]["happiness"] == 2


def test_samples_that_are_no_files_have_no_pictures():
    found = describe(TensorSamples(torch.zeros(3, 1), {"expr": torch.tensor([1, 2, 3])}), HEADS)
    assert (found.pictures, found.groups, found.faces) == (None, None, {})


def test_what_was_left_out_is_passed_on_by_caches_and_added_up_over_parts():
    both = ConcatSamples({"a": CachedSamples(labelled()), "b": labelled()})
    found = describe(both, HEADS)
    assert found.counts == {"rows without a picture": 6}
    assert len(found.problems) == 2


def test_hashes_tell_labels_from_the_split():
    first, other = labelled(), labelled()
    other.columns["group"] = np.asarray([b"anna", b"anna", b"", b"ben", b"carl"])
    assert describe(first, HEADS).hashes["labels"] == describe(other, HEADS).hashes["labels"]
    assert describe(first, HEADS).hashes["split"] != describe(other, HEADS).hashes["split"]


def test_soft_targets_count_by_their_shares():
    from mtl_toolkit import Labels

    values = np.array([[0.5, 0.5], [1.0, 0.0], [9.0, 9.0]])
    valid = np.array([[True, True], [True, True], [False, False]])
    assert class_counts(Labels(values, valid), 2).tolist() == [1.5, 0.5]


def test_every_kind_of_label_is_drawn(tmp_path):
    targets = {
        "expr": torch.tensor([0, 1, 2, 6]),
        "va": torch.tensor([[-1.0, 1.0], [0.0, 0.0], [0.5, 0.5], [1.0, -1.0]]),
        "au": torch.tensor([[1.0, 0.0, 1.0]] * 4),
        "age": torch.tensor([[20.0], [30.0], [40.0], [50.0]]),
    }
    samples = TensorSamples(torch.zeros(4, 1), targets)
    bare = TensorSamples(torch.zeros(4, 1), {"expr": targets["expr"]})
    draw_datasets({"full": (samples, HEADS), "bare": (bare, HEADS)}, tmp_path / "sets.png")
    with Image.open(tmp_path / "sets.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    # Bars, densities and curves are coloured; what has no label stays blank but for grey words.
    coloured = pixels.max(2).astype(int) - pixels.min(2) > 40
    rows, columns = coloured.shape
    full, empty = coloured[: rows // 2], coloured[rows // 2 :]
    assert [full[:, columns * i // 4 : columns * (i + 1) // 4].any() for i in range(4)] == [True] * 4
    assert [empty[:, columns * i // 4 : columns * (i + 1) // 4].any() for i in range(4)] == [True] + [
        False
    ] * 3


@pytest.mark.parametrize("chosen", [(), ("val",)])
def test_the_command_describes_all_datasets_of_a_file_or_one(mtl, tiny, chosen):
    code, out, _ = mtl("data", "inspect", str(tiny), *chosen, "--json")
    found = json.loads(out)
    assert code == 0
    assert list(found["datasets"]) == list(chosen or ("a", "b", "val"))
    val = found["datasets"]["val"]
    assert val["samples"] == 20
    assert sum(val["coverage"]["expr"]["summary"]["classes"].values()) == 20
    assert val["together"] == [{"tasks": ["expr", "va"], "samples": 20}]
    assert found["shared"] == []


def test_the_command_tells_what_training_and_validation_share(mtl, tiny):
    same = ("--set", "datasets.val.seed=1", "--set", "datasets.val.samples=40")
    _, out, _ = mtl("data", "inspect", str(tiny), *same)
    assert "training stream 'a' and validation 'val' share 10 groups" in out


def test_the_command_describes_a_plugin_by_its_name_and_draws_it(mtl, tmp_path):
    output = tmp_path / "faces.png"
    _, out, _ = mtl("data", "inspect", "synthetic-faces", "--set", "samples=30", "-o", str(output))
    assert out.startswith("synthetic-faces: 30 samples, ")
    assert output.read_bytes().startswith(b"\x89PNG")
