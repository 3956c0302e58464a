"""Some samples of a dataset are as these samples in the dataset, and nothing is read twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtl_toolkit import TensorSamples, UnreadableSampleError
from mtl_toolkit.data import CachedSamples, SubsetSamples
from mtl_toolkit.data.loader import _prepare

ROWS = np.array([1, 2, 5, 7])


class Counting(TensorSamples):
    """Ten samples that keep what was read; number 5 cannot be."""

    def __init__(self, *, broken=True):
        values = torch.arange(10, dtype=torch.float32)
        masks = {"x": values[:, None] % 2 == 0}
        super().__init__(values[:, None], {"x": values[:, None]}, masks, ids=[f"s{i}" for i in range(10)])
        self.reads = []
        self.broken = broken
        self.on_error = "skip"

    def read(self, indices):
        self.reads.append(list(map(int, indices)))
        if self.broken and 5 in self.reads[-1]:
            raise UnreadableSampleError("s5: cannot be read")
        return super().read(indices)

    def skips(self, index):
        return index == 5

    def column(self, name):
        return np.arange(10) * 10 if name == "frame" else None

    def problems(self):
        return ["s5 is missing"]

    def counts(self):
        return {"left out": 3}


@pytest.fixture
def source():
    return Counting()


@pytest.fixture
def subset(source):
    return SubsetSamples(source, ROWS)


def test_it_has_the_labels_names_and_columns_of_its_rows(subset, source):
    assert len(subset) == 4
    labels = subset.labels()["x"]
    assert labels.values[:, 0].tolist() == [1, 2, 5, 7]
    assert labels.valid[:, 0].tolist() == [False, True, False, False]
    assert [subset.id(i) for i in range(4)] == ["s1", "s2", "s5", "s7"]
    assert subset.column("frame").tolist() == [10, 20, 50, 70]
    assert subset.column("group") is None
    assert [subset.skips(i) for i in range(4)] == [False, False, True, False]
    assert subset.problems() == source.problems()
    assert subset.counts() == {"left out": 3}


def test_what_is_asked_for_is_read_from_the_source_at_once(subset, source):
    assert subset.read([3, 0])[:, 0].tolist() == [7, 1]
    assert source.reads == [[7, 1]]


def test_what_cannot_be_read_is_passed_over_by_place(subset):
    inputs, kept = subset.read_or_skip(np.array([0, 2, 3]))
    assert inputs[:, 0].tolist() == [1, 7]
    assert kept.tolist() == [0, 2]
    inputs, kept = subset.read_or_skip([])
    assert inputs is None
    assert kept.tolist() == []


def test_two_subsets_share_what_a_cache_has_read():
    source = Counting(broken=False)
    cached = CachedSamples(source)
    one, other = SubsetSamples(cached, ROWS), SubsetSamples(cached, np.array([0, 3, 4]))
    assert one.read([0, 1, 2, 3])[:, 0].tolist() == [1, 2, 5, 7]
    reads = len(source.reads)
    assert other.read([0, 1, 2])[:, 0].tolist() == [0, 3, 4]
    assert len(source.reads) == reads


def test_a_cache_under_it_is_allocated_before_loader_processes_are_forked():
    cached = CachedSamples(Counting(broken=False))
    _prepare(SubsetSamples(cached, ROWS))
    assert cached._store is not None
