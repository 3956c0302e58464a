"""What `mtl check` and a run know of the data without reading a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal

from mtl_toolkit import CachedSamples, ConcatSamples, TensorSamples
from mtl_toolkit.data import find_overlap, fingerprint, summarise

HEADS = {"expr": Expression(), "va": ValenceArousal()}


class Filed(TensorSamples):
    """Samples with columns of facts; reading one is an error."""

    def __init__(self, rows, targets=None, masks=None, **columns):
        super().__init__(torch.zeros(rows, 1), targets or {}, masks)
        self.columns = {name: np.asarray(values) for name, values in columns.items()}

    def read(self, indices):
        raise AssertionError("pictures are not to be read")

    def column(self, name):
        return self.columns.get(name)


def test_labels_are_counted_in_full_and_in_part():
    masks = {"va": torch.tensor([[True, True], [True, False], [False, False], [True, True]])}
    targets = {"expr": torch.tensor([0, 1, 1, 6]), "va": torch.zeros(4, 2), "other": torch.zeros(4)}
    summary = summarise("a", "expr", Filed(4, targets, masks), HEADS)
    assert (summary.title, summary.task, summary.samples) == ("a", "expr", 4)
    assert {task: (one.labelled, one.partly) for task, one in summary.coverage.items()} == {
        "expr": (4, 0),
        "va": (2, 1),
    }


def test_shared_files_and_groups_are_found():
    train = Filed(3, file=[b"/x/1", b"/x/2", b"/x/3"], group=[b"anna", b"ben", b"ben"])
    validation = Filed(2, file=[b"/x/3", b"/x/4"], group=[b"ben", b"carl"])
    file, group = find_overlap([("a", train)], [("v", validation)])
    assert str(file) == "training stream 'a' and validation 'v' share 1 file (/x/3)"
    assert (group.column, group.count, group.examples) == ("group", 1, ("ben",))


def test_apart_from_an_empty_value_which_is_none():
    train, validation = Filed(2, group=[b"", b"anna"]), Filed(2, group=[b"", b"ben"])
    assert find_overlap([("a", train)], [("v", validation)]) == []


def test_only_some_examples_of_many_are_shown():
    samples = Filed(9, group=[f"p{i}".encode() for i in range(9)])
    (overlap,) = find_overlap([("a", samples)], [("v", samples)])
    assert str(overlap).endswith("share 9 groups (p0, p1, p2, ...)")


@pytest.mark.parametrize(
    "values",
    [["é", "b"], np.array(["é", "b"], object), [b"\xc3\xa9", b"b"], np.array(["é", None], object)],
)
def test_columns_compare_as_text_whatever_their_type(values):
    other = Filed(2, group=["é".encode(), b"c"])
    for one, two in ((Filed(2, group=values), other), (other, Filed(2, group=values))):
        (overlap,) = find_overlap([("a", one)], [("v", two)])
        assert overlap.examples == ("é",)


def test_numbers_are_groups_too_and_zero_is_one_of_them():
    (overlap,) = find_overlap([("a", Filed(2, group=[0, 1]))], [("v", Filed(1, group=[0]))])
    assert overlap.examples == ("0",)


def test_a_concatenation_shares_what_its_parts_share():
    parts = {"one": Filed(1, group=["anna"]), "two": Filed(2), "three": Filed(1, group=[b"ben"])}
    train = CachedSamples(ConcatSamples(parts))
    (overlap,) = find_overlap([("a", train)], [("v", Filed(2, group=[b"ben", b""]))])
    assert (overlap.count, overlap.examples) == (1, ("ben",))
    assert train.column("group").tolist() == [b"anna", b"", b"", b"ben"]
    assert train.column("file") is None


def test_numbers_of_frames_stay_numbers_in_a_concatenation():
    train = ConcatSamples({"one": Filed(1, frame=[7]), "two": Filed(2, frame=[1, 2])})
    assert train.column("frame").tolist() == [7, 1, 2]
    assert ConcatSamples({"one": Filed(1, frame=[7]), "two": Filed(1)}).column("frame").tolist() == [
        b"7",
        b"",
    ]


def test_columns_of_a_dataset_that_names_none_are_those_with_a_meaning():
    one, other = Filed(1, group=["anna"], gender=["f"]), Filed(1, frame=[1], video=["v"])
    assert one.column_names() == ("group",)
    assert CachedSamples(ConcatSamples({"one": one, "other": other})).column_names() == (
        "group",
        "video",
        "frame",
    )
    assert ConcatSamples({"one": one, "other": other}).column("gender").tolist() == [b"f", b""]


def labelled(label=1, valid=True, hidden=5, group=b"anna"):
    targets = {"expr": torch.tensor([label, hidden])}
    return Filed(2, targets, {"expr": torch.tensor([valid, False])}, group=[group, b"ben"])


def test_a_fingerprint_is_of_the_labels_and_columns():
    same = fingerprint(labelled())
    assert fingerprint(labelled()) == same
    for other in (labelled(label=2), labelled(valid=False), labelled(group=b"emma"), Filed(2)):
        assert fingerprint(other) != same


def test_what_lies_under_a_missing_label_is_not_in_the_fingerprint():
    assert fingerprint(labelled(hidden=5)) == fingerprint(labelled(hidden=6))


def test_a_fingerprint_of_text_objects_is_that_of_their_text():
    def made():
        return Filed(2, group=np.array(["".join(["a", "nna"]), None], object))

    assert fingerprint(made()) == fingerprint(made())
    assert fingerprint(made()) == fingerprint(Filed(2, group=[b"anna", b""]))


def test_a_million_files_are_compared_in_seconds():
    def files(first):
        return Filed(
            500_000, file=np.char.add(b"/data/frame", np.arange(first, first + 500_000).astype(np.bytes_))
        )

    (overlap,) = find_overlap([("a", files(0))], [("v", files(499_990))])
    assert overlap.count == 10
