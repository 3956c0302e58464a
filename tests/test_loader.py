"""From samples to batches: the same with and without loader processes, and what cannot be read."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections import Counter

import attrs
import numpy as np
import psutil
import pytest
import torch
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal

from mtl_toolkit import (
    CachedSamples,
    ConcatSamples,
    Count,
    DataError,
    LiveStream,
    RunError,
    SequentialPlan,
    StreamLoader,
    TensorSamples,
    TrainPlan,
    UnreadableSampleError,
    collate,
)
from mtl_toolkit.data.loader import _unless_abandoned

HEADS = {"expr": Expression(), "va": ValenceArousal()}


class Files(TensorSamples):
    """Samples of which some cannot be read; remembers what was read in this process."""

    def __init__(self, rows, bad=(), on_error="stop", first=0, targets=None):
        numbers = torch.arange(first, first + rows)
        inputs = numbers.to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
        super().__init__(inputs, {"expr": numbers % 7} if targets is None else targets)
        self.bad, self.on_error, self.reads = frozenset(bad), on_error, Counter()

    def read(self, indices):
        indices = np.asarray(indices)
        for index in indices.tolist():
            if index in self.bad:
                raise UnreadableSampleError(f"picture-{index}.jpg: the picture is empty (0 bytes)")
            self.reads[index] += 1
        return super().read(indices)


def stream(samples, rows=4, title="a", task="expr"):
    return LiveStream(title, task, samples, lambda generator: generator.permutation(len(samples)), rows)


def two_streams(**options):
    va = {"va": torch.linspace(-1, 1, 30).reshape(15, 2)}
    return [stream(Files(20, **options)), stream(Files(15, targets=va), 3, "b", "va")]


def pictures(batch):
    """The number of the picture in each row."""
    return batch.inputs[:, 0, 0, 0].tolist()


def children():
    return set(psutil.Process().children())


def equal(one, other):
    for name in (field.name for field in attrs.fields(type(one))):
        left, right = getattr(one, name), getattr(other, name)
        if isinstance(left, torch.Tensor):
            assert torch.equal(left, right), name
        elif name in ("targets", "masks"):
            assert left.keys() == right.keys()
            assert all(torch.equal(left[task], right[task]) for task in left), name
        else:
            assert left == right, name


def test_rows_carry_their_own_picture_label_id_and_noise():
    plan = TrainPlan(two_streams(), seed=3)
    batch = next(StreamLoader(plan, HEADS).epoch(2, start=1))
    first, second = plan.indices(2, 1)
    assert pictures(batch) == [*first, *second]
    assert batch.sizes == (4, 3)
    assert batch.ids == (*(f"a:{i}" for i in first), *(f"b:{i}" for i in second))
    assert batch.targets["expr"][:4].tolist() == [i % 7 for i in first]
    assert batch.targets["va"][4:].tolist() == torch.linspace(-1, 1, 30).reshape(15, 2)[second].tolist()
    assert torch.equal(batch.noise, torch.from_numpy(np.concatenate(plan.noise(2, 1))))


def test_a_label_that_a_dataset_lacks_is_masked_out():
    batch = next(StreamLoader(TrainPlan(two_streams(), seed=0), HEADS).epoch(0))
    assert batch.masks["expr"].tolist() == [True] * 4 + [False] * 3
    assert batch.masks["va"].tolist() == [[False] * 2] * 4 + [[True] * 2] * 3
    assert batch.counts == {
        (0, "expr"): Count(4, 0),
        (1, "expr"): Count(0, 3),
        (0, "va"): Count(0, 8),
        (1, "va"): Count(6, 0),
    }
    assert (batch.targets["expr"].dtype, batch.targets["va"].dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize("options", [{}, {"bad": (1, 7), "on_error": "skip"}])
def test_loader_processes_give_the_same_batches_in_every_epoch(options):
    plan = TrainPlan(two_streams(**options), seed=3, length="longest")
    here, there = StreamLoader(plan, HEADS), StreamLoader(plan, HEADS, workers=2)
    try:
        for epoch in range(2):
            for one, other in zip(here.epoch(epoch), there.epoch(epoch), strict=True):
                equal(one, other)
    finally:
        there.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_taken_up_at_any_step(workers):
    plan = TrainPlan(two_streams(), seed=3)
    whole = list(StreamLoader(plan, HEADS).epoch(1))
    loader = StreamLoader(plan, HEADS, workers=workers)
    try:
        for start in range(len(whole) + 1):
            rest = list(loader.epoch(1, start))
            assert len(rest) == len(whole) - start
            for one, other in zip(rest, whole[start:], strict=True):
                equal(one, other)
    finally:
        loader.close()


def test_an_epoch_given_up_half_way_leaves_no_batch_behind():
    plan = TrainPlan(two_streams(), seed=3)
    loader = StreamLoader(plan, HEADS, workers=2)
    try:
        next(loader.epoch(0))
        equal(next(loader.epoch(1)), next(StreamLoader(plan, HEADS).epoch(1)))
    finally:
        loader.close()


def test_validation_has_every_sample_once_and_no_noise():
    loader = StreamLoader(SequentialPlan(stream(Files(10))), HEADS)
    batches = list(loader.epoch(0))
    assert [pictures(batch) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert all(batch.noise is None for batch in batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_sample_stops_with_its_own_message(workers):
    loader = StreamLoader(SequentialPlan(stream(Files(10, bad=[6]))), HEADS, workers=workers)
    batches = loader.epoch(0)
    next(batches)
    with pytest.raises(RunError) as caught:
        next(batches)
    loader.close()
    assert caught.value.problems == ("picture-6.jpg: the picture is empty (0 bytes)",)


def test_a_skipped_sample_takes_its_row_with_it():
    samples = Files(6, bad=[1, 4], on_error="skip")
    others = Files(3, first=50)
    noise = [np.arange(6, dtype=np.float32)[:, None], 10 + np.arange(3, dtype=np.float32)[:, None]]
    indices = [np.arange(6), np.arange(3)]
    batch = collate([stream(samples), stream(others, title="b")], indices, HEADS, noise)
    assert pictures(batch) == [0, 2, 3, 5, 50, 51, 52]
    assert batch.sizes == (4, 3)
    assert batch.skipped == 2
    assert batch.targets["expr"].tolist() == [0, 2, 3, 5, 1, 2, 3]
    assert batch.ids == ("a:0", "a:2", "a:3", "a:5", "b:0", "b:1", "b:2")
    assert batch.noise[:, 0].tolist() == [0, 2, 3, 5, 10, 11, 12]
    assert batch.counts[0, "expr"] == Count(4, 0)


def test_a_step_of_which_nothing_can_be_read_has_no_rows():
    samples = Files(3, bad=range(3), on_error="skip")
    batch = collate([stream(samples)], [np.arange(3)], HEADS)
    assert (len(batch), batch.skipped, batch.sizes) == (0, 3, (0,))


def test_each_part_of_a_concatenation_decides_for_itself_what_to_skip():
    skipping, stopping = Files(3, bad=[1], on_error="skip"), Files(3, bad=[2], first=50)
    both = CachedSamples(ConcatSamples({"one": skipping, "two": stopping}))
    batch = collate([stream(both)], [np.array([4, 0, 1, 3])], HEADS)
    assert pictures(batch) == [51, 0, 50]
    assert batch.skipped == 1
    with pytest.raises(UnreadableSampleError, match=r"picture-2\.jpg"):
        collate([stream(both)], [np.array([1, 5])], HEADS)


def test_a_concatenation_reads_in_the_order_asked_for_and_fills_in_missing_labels():
    va = {"va": torch.rand(2, 2)}
    both = ConcatSamples({"one": Files(3), "two": Files(2, first=50, targets=va)})
    batch = collate([stream(both)], [np.array([4, 1, 3, 0])], HEADS)
    assert pictures(batch) == [51, 1, 50, 0]
    assert batch.ids == ("a:1", "a:1", "a:0", "a:0")
    assert batch.masks["expr"].tolist() == [False, True, False, True]
    assert torch.equal(batch.targets["va"][[0, 2]], va["va"][[1, 0]])


def test_parts_whose_targets_differ_in_shape_are_refused():
    one, other = (TensorSamples(torch.zeros(2, 1), {"va": torch.zeros(2, n)}) for n in (2, 3))
    with pytest.raises(DataError, match=r"task 'va': .* shapes \[\(2,\), \(3,\)\]"):
        ConcatSamples({"one": one, "two": other})


def test_inputs_of_different_shapes_are_refused_naming_the_streams():
    grey = TensorSamples(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), {})
    with pytest.raises(RunError, match=r"'a' uint8 \(3, 2, 2\), 'b' uint8 \(1, 2, 2\)"):
        collate([stream(Files(2)), stream(grey, title="b")], [np.arange(2)] * 2, HEADS)


def test_a_label_in_memory_must_be_finite_where_it_is_valid():
    with pytest.raises(DataError, match="task 'va': a valid label is not finite"):
        TensorSamples(torch.zeros(2, 1), {"va": torch.tensor([0.0, torch.nan])})
    mask = {"va": torch.tensor([True, False])}
    assert len(TensorSamples(torch.zeros(2, 1), {"va": torch.tensor([0.0, torch.nan])}, mask)) == 2


def test_a_cache_reads_each_sample_once():
    source = Files(6)
    cached = CachedSamples(source)
    for indices in ([0, 1, 1], [1, 2, 0], range(6), [5, 0]):
        assert cached.read(indices)[:, 0, 0, 0].tolist() == list(indices)
    assert source.reads == Counter(range(6))


def test_a_cache_is_shared_by_loader_processes():
    cached = CachedSamples(Files(12))
    loader = StreamLoader(SequentialPlan(stream(cached)), HEADS, workers=2)
    try:
        assert [number for batch in loader.epoch(0) for number in pictures(batch)] == list(range(12))
    finally:
        loader.close()
    # What the workers have read is here too: reading from the files again would raise.
    cached.source.bad = frozenset(range(12))
    assert cached.read(range(12))[:, 0, 0, 0].tolist() == list(range(12))


def test_streams_of_different_types_are_refused_where_they_would_be_converted():
    floats = TensorSamples(torch.zeros(8, 3, 2, 2), {"expr": torch.zeros(8, dtype=torch.int64)})
    loader = StreamLoader(TrainPlan([stream(Files(8)), stream(floats, title="b")], seed=0), HEADS)
    message = r"must have one type and shape \(got 'a' uint8 \(3, 2, 2\), 'b' float32 \(3, 2, 2\)\)"
    with pytest.raises(RunError, match=message):
        next(loader.epoch(0))


def test_loader_processes_may_be_spawned_where_forking_is_unsafe(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    plan = TrainPlan(
        two_streams(), seed=0, length=3
    )  # the orders are drawn by lambdas, which no pickle takes
    here, there = StreamLoader(plan, HEADS), StreamLoader(plan, HEADS, workers=1)
    try:
        for one, other in zip(here.epoch(1), there.epoch(1), strict=True):
            assert one.ids == other.ids
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.noise, other.noise)
            assert torch.equal(one.targets["va"], other.targets["va"])
    finally:
        there.close()


def test_a_cache_does_not_keep_what_could_not_be_read():
    source = Files(3, bad=[0, 1])
    cached = CachedSamples(source)
    cached.prepare()
    with pytest.raises(UnreadableSampleError, match=r"picture-1\.jpg"):
        cached.read([1, 2])
    source.bad = frozenset()
    assert cached.read([1, 2])[:, 0, 0, 0].tolist() == [1, 2]


def test_a_cache_for_which_there_is_no_memory_says_how_much_it_wants():
    class Endless(Files):
        def __len__(self):
            return 2**50

    with pytest.raises(RunError, match=r"cache = true: no memory for 12,582,912\.0 GiB"):
        CachedSamples(Endless(1)).read([0])


def test_a_pickled_cache_starts_empty():
    cached = CachedSamples(Files(3))
    cached.read([0, 1])
    copy = pickle.loads(pickle.dumps(cached))
    copy.source.bad = frozenset([0])
    with pytest.raises(UnreadableSampleError):
        copy.read([0])
    assert copy.read([1, 2])[:, 0, 0, 0].tolist() == [1, 2]


def test_loader_processes_hold_no_copy_of_the_dataset_and_end_when_closed():
    size = 200 * 2**20
    samples = TensorSamples(torch.ones(size // 256, 256, dtype=torch.uint8), {})
    loader = StreamLoader(TrainPlan([stream(samples, 8)], seed=0, length=50), HEADS, workers=2)
    before = children()
    batches = loader.epoch(0)
    next(batches)
    workers = children() - before
    own = [worker.memory_full_info().uss for worker in workers]
    list(batches)
    loader.close()
    assert len(workers) == 2
    assert max(own) < size
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)


def test_signals_to_the_whole_process_group_do_not_end_the_loader_processes():
    loader = StreamLoader(TrainPlan([stream(Files(20))], seed=0, length=40), HEADS, workers=1)
    before = children()
    batches = loader.epoch(0)
    next(batches)
    (worker,) = children() - before
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    assert len(list(batches)) == 39
    assert worker.is_running()
    loader.close()


def test_a_cache_reads_neighbours_together_and_each_sample_once():
    samples, plain = Files(200, bad=[70, 130], on_error="skip"), Files(200)
    cached = CachedSamples(samples)
    for wanted in ([3], [5, 60, 63], [64], [199, 2]):
        assert torch.equal(cached.read(wanted), plain.read(wanted))
    assert all(samples.reads[index] == 1 for index in range(64))
    with pytest.raises(UnreadableSampleError):
        cached.read([71, 70])
    inputs, kept = cached.read_or_skip([129, 130, 131])
    assert kept.tolist() == [0, 2]
    assert torch.equal(inputs, plain.read([129, 131]))


@pytest.mark.parametrize(
    ("targets", "problem"),
    [
        ({"expr": torch.tensor([0, 9, 1])}, r"stream 'a': task 'expr': .*\(got 9\)"),
        ({"expr": torch.tensor([0, 1, 2], dtype=torch.int32)}, "labels of task 'expr' must be int64"),
        ({"va": torch.zeros(3, 3)}, r"labels of task 'va' must have shape \(3, 2\) \(got \(3, 3\)\)"),
        ({"exp": torch.zeros(3)}, "no label of its task 'expr' .got labels of 'exp'."),
    ],
)
def test_labels_that_a_head_does_not_take_are_refused_before_the_first_batch(targets, problem):
    plan = TrainPlan([stream(Files(3, targets=targets), 3)], seed=0)
    with pytest.raises(DataError, match=problem):
        StreamLoader(plan, HEADS)
    StreamLoader(plan, HEADS, check_labels=False)


def test_a_stream_without_labels_is_fine_for_a_teacher():
    loader = StreamLoader(TrainPlan([stream(Files(3, targets={}), 3)], seed=0), HEADS)
    assert next(loader.epoch(0)).counts[0, "expr"] == Count(0, 3)


@pytest.mark.parametrize(
    ("masks", "problem"),
    [
        ({"expr": torch.ones(3)}, r"task 'expr': the mask must be bool \(got torch.float32\)"),
        (
            {"exp": torch.ones(3, dtype=torch.bool)},
            "masks: there are no targets of 'exp'; did you mean 'expr'",
        ),
    ],
)
def test_masks_that_are_not_bool_or_of_no_task_are_refused(masks, problem):
    with pytest.raises(DataError, match=problem):
        TensorSamples(torch.zeros(3, 1), {"expr": torch.zeros(3).long()}, masks)


@pytest.mark.parametrize("told", [False, True])
def test_a_worker_says_nothing_of_a_main_process_that_went_away(told, capsys):
    """Ctrl-C ends the main process while workers hand it tensors; what fails elsewhere is told."""
    module = "a_dataset" if told else "multiprocessing.resource_sharer"
    with pytest.raises(ConnectionResetError) as caught:
        exec("raise ConnectionResetError('nobody listens')", {"__name__": module})
    trace = caught.tb.tb_next  # without this test's own frame
    _unless_abandoned(caught.type, caught.value, trace)
    assert ("nobody listens" in capsys.readouterr().err) == told
