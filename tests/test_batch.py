"""Labels and batches: shapes are checked, counts agree with the masks, rows are found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_toolkit import Batch, Count, Labels
from mtl_toolkit.data import TensorSamples


def test_labels_need_a_bool_mask_of_their_own_shape():
    with pytest.raises(ValueError, match=r"valid must be bool of shape \(3, 2\) \(got bool \(3,\)\)"):
        Labels(np.zeros((3, 2)), np.ones(3, np.bool_))
    with pytest.raises(ValueError, match="got float64"):
        Labels(np.zeros(3), np.ones(3))


def test_a_label_is_complete_where_all_of_its_units_are_there():
    valid = np.array([[True, True], [True, False], [False, False]])
    assert Labels(np.zeros((3, 2)), valid).complete().tolist() == [True, False, False]
    assert Labels(np.zeros(3), np.array([True, False, True])).complete().tolist() == [True, False, True]
    assert Labels.missing(0, (2,), np.dtype(np.float32)).complete().shape == (0,)


def test_missing_labels_have_the_shape_and_type_asked_for():
    labels = Labels.missing(4, (2, 3), np.dtype(np.float32))
    assert (labels.values.shape, labels.values.dtype) == ((4, 2, 3), np.float32)
    assert not labels.valid.any()


@given(data=st.data(), sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_counts_are_those_of_the_masks_stream_by_stream(data, sizes):
    rows = sum(sizes)
    mask = torch.tensor(
        data.draw(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=rows, max_size=rows)),
        dtype=torch.bool,
    ).reshape(rows, 3)
    batch = Batch.from_tensors(torch.zeros(rows, 1), {"au": torch.zeros(rows, 3)}, {"au": mask}, sizes=sizes)
    assert len(batch) == rows
    for stream in range(len(sizes)):
        part = [
            row for row, owner in zip(mask.tolist(), batch.stream.tolist(), strict=True) if owner == stream
        ]
        valid = sum(map(sum, part))
        assert batch.counts[stream, "au"] == Count(valid, 3 * len(part) - valid)
        assert batch.stream[batch.rows(stream)].tolist() == [stream] * sizes[stream]


def test_a_task_without_a_mask_is_labelled_throughout():
    batch = Batch.from_tensors(torch.zeros(2, 3), {"expr": torch.tensor([1, 2])})
    assert batch.masks["expr"].tolist() == [True, True]
    assert batch.counts == {(0, "expr"): Count(2, 0)}


@pytest.mark.parametrize(
    ("targets", "masks", "sizes", "message"),
    [
        ({"t": torch.zeros(3)}, {}, None, "task 't': targets need 2 rows"),
        ({"t": torch.zeros(2)}, {"t": torch.ones(2)}, None, "mask torch.float32"),
        (
            {"t": torch.zeros(2, 2)},
            {"t": torch.ones(2, dtype=torch.bool)},
            None,
            "a bool mask of their shape",
        ),
        ({}, {}, (1, 2), "sizes must add up to the 2 rows"),
    ],
)
def test_lengths_and_shapes_that_do_not_agree_are_refused(targets, masks, sizes, message):
    with pytest.raises(ValueError, match=message):
        Batch.from_tensors(torch.zeros(2, 1), targets, masks, sizes=sizes)


def test_moving_a_batch_keeps_all_but_the_device():
    batch = Batch.from_tensors(torch.zeros(2, 1), {"t": torch.zeros(2)}, ids=("a", "b"))
    moved = batch.to("meta")
    assert {moved.inputs.device.type, moved.targets["t"].device.type, moved.stream.device.type} == {"meta"}
    assert (moved.ids, moved.counts, moved.sizes) == (batch.ids, batch.counts, batch.sizes)


def test_a_sample_holds_only_the_labels_it_has():
    masks = {"va": torch.tensor([[True, False], [False, False]])}
    samples = TensorSamples(torch.zeros(2, 1), {"expr": torch.tensor([3, 4]), "va": torch.rand(2, 2)}, masks)
    assert sorted(samples[0].targets) == ["expr", "va"]
    assert samples[0].masks["va"].tolist() == [True, False]
    assert list(samples[1].targets) == ["expr"]
    assert samples[1].id == "1"
    with pytest.raises(IndexError, match="sample 2 of 2"):
        samples[2]
