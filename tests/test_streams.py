"""The order of samples: a function of seed, epoch and position, whatever the number of processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl_toolkit import DataError, LiveStream, SequentialPlan, TensorSamples, TrainPlan
from mtl_toolkit.data import epoch_steps


def stream(title, samples, rows):
    data = TensorSamples(torch.zeros(samples, 1), {})
    return LiveStream(title, "expr", data, lambda generator: generator.permutation(samples), rows)


def orders(plan, epoch):
    """Each stream's samples in the order of an epoch."""
    steps = [plan.indices(epoch, step) for step in range(plan.steps())]
    return [np.concatenate(parts).tolist() for parts in zip(*steps, strict=True)]


SIZES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=4)
LENGTHS = st.one_of(st.sampled_from(["shortest", "longest"]), st.integers(1, 8))


@given(
    sizes=SIZES, length=LENGTHS, world=st.integers(1, 5), seed=st.integers(0, 2**63), epoch=st.integers(0, 9)
)
def test_the_ranks_together_make_the_step_of_one_process_exactly_and_in_order(
    sizes, length, world, seed, epoch
):
    streams = [stream(f"s{i}", *size) for i, size in enumerate(sizes)]
    world = min(world, max(rows for _, rows in sizes))
    alone = TrainPlan(streams, seed=seed, length=length)
    ranks = [TrainPlan(streams, seed=seed, length=length, rank=r, world=world) for r in range(world)]
    for step in range(alone.steps()):
        for what in ("indices", "noise"):
            whole = getattr(alone, what)(epoch, step)
            parts = zip(*(getattr(rank, what)(epoch, step) for rank in ranks), strict=True)
            for one, pieces in zip(whole, parts, strict=True):
                assert np.array_equal(np.concatenate(pieces), one)
        assert [len(one) for one in alone.indices(epoch, step)] == [rows for _, rows in sizes]


@given(sizes=SIZES, length=LENGTHS)
def test_every_sample_comes_once_in_each_pass(sizes, length):
    streams = [stream(f"s{i}", *size) for i, size in enumerate(sizes)]
    for (samples, _), order in zip(sizes, orders(TrainPlan(streams, seed=0, length=length), 0), strict=True):
        for start in range(0, len(order), samples):
            part = order[start : start + samples]
            assert len(set(part)) == len(part)
            if len(part) == samples:
                assert sorted(part) == list(range(samples))


def test_a_shorter_stream_starts_again_with_a_fresh_pass():
    plan = TrainPlan([stream("long", 120, 10), stream("short", 20, 10)], seed=1, length="longest")
    _, short = orders(plan, 0)
    passes = [tuple(short[start : start + 20]) for start in range(0, 120, 20)]
    assert len(set(passes)) == 6


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return orders(TrainPlan([stream("a", 100, 10)], seed=seed), epoch)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_epochs_and_steps_may_be_asked_for_in_any_order():
    plan = TrainPlan([stream("a", 30, 10)], seed=0)
    later = plan.indices(5, 2)[0].tolist()
    plan.indices(0, 0)
    assert plan.indices(5, 2)[0].tolist() == later


@pytest.mark.parametrize("what", ["indices", "noise"])
def test_a_streams_samples_and_noise_do_not_depend_on_the_other_streams(what):
    def of_a(streams):
        plan = TrainPlan(streams, seed=7, length=4)
        place = [one.title for one in streams].index("a")
        return [getattr(plan, what)(3, step)[place].tolist() for step in range(4)]

    alone = of_a([stream("a", 50, 8)])
    assert of_a([stream("b", 50, 8), stream("a", 50, 8)]) == alone
    assert of_a([stream("b", 50, 8), stream("a", 50, 8), stream("c", 9, 2)]) == alone


def test_streams_of_the_same_length_have_different_orders():
    one, other = orders(TrainPlan([stream("a", 50, 5), stream("b", 50, 5)], seed=0), 0)
    assert one != other


def test_noise_is_uniform_and_differs_by_row_step_and_epoch():
    plan = TrainPlan([stream("a", 64, 64)], seed=0, length=10)
    lots = np.stack([plan.noise(epoch, step)[0] for epoch in range(5) for step in range(10)])
    assert lots.dtype == np.float32
    assert lots.min() >= 0
    assert lots.max() < 1
    assert len(np.unique(lots[..., 0])) > 0.99 * lots[..., 0].size
    assert abs(lots.mean((0, 1)) - 0.5).max() < 0.03


@given(sizes=SIZES)
def test_shortest_ends_with_the_last_full_step_and_longest_sees_every_sample(sizes):
    shortest, longest = epoch_steps(sizes, "shortest"), epoch_steps(sizes, "longest")
    assert shortest == 1 or all(shortest * rows <= samples for samples, rows in sizes)
    assert any((shortest + 1) * rows > samples for samples, rows in sizes)
    assert all(longest * rows >= samples for samples, rows in sizes)
    assert any((longest - 1) * rows < samples for samples, rows in sizes)
    assert epoch_steps(sizes, 17) == 17


@given(samples=st.integers(1, 50), rows=st.integers(1, 9), world=st.integers(1, 6))
def test_validation_reads_every_sample_once_in_order_over_the_ranks(samples, rows, world):
    seen = []
    for rank in range(world):
        plan = SequentialPlan(stream("v", samples, rows), rank=rank, world=world)
        parts = [plan.indices(0, step)[0] for step in range(plan.steps())]
        assert all(1 <= len(part) <= rows for part in parts)
        seen += [index for part in parts for index in part.tolist()]
        assert plan.noise(0, 0) is None
    assert seen == list(range(samples))


def test_an_empty_stream_is_refused():
    with pytest.raises(DataError, match="stream 'a' has no samples"):
        TrainPlan([stream("a", 0, 4)], seed=0)


def test_a_sampler_that_draws_nothing_is_refused():
    data = TensorSamples(torch.zeros(3, 1), {})
    idle = LiveStream("a", "expr", data, lambda generator: generator.permutation(0), 2)
    with pytest.raises(DataError, match="stream 'a': its sampler draws no samples"):
        TrainPlan([idle], seed=0).indices(0, 0)


def test_more_processes_than_rows_are_refused():
    with pytest.raises(DataError, match="each of the 3 processes"):
        TrainPlan([stream("a", 9, 2), stream("b", 9, 1)], seed=0, world=3)


def test_a_stream_of_a_million_samples_is_ordered_at_once():
    plan = TrainPlan([stream("a", 1_000_000, 64), stream("b", 1_000, 8)], seed=0, length="longest")
    assert plan.steps() == 15_625
    last = plan.indices(0, plan.steps() - 1)
    assert [len(one) for one in last] == [64, 8]


def test_two_streams_of_one_title_are_refused():
    with pytest.raises(ValueError, match=r"must differ \(got 'a' twice\)"):
        TrainPlan([stream("a", 9, 2), stream("a", 9, 1)], seed=0)
