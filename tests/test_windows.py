"""Windows hold the frames they should: of one video, in order, across no gap; and become batches."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal

from mtl_toolkit import (
    ConcatSamples,
    Count,
    DataError,
    LiveStream,
    SequentialPlan,
    StreamLoader,
    TensorSamples,
    TrainPlan,
    UnreadableSampleError,
    collate,
)
from mtl_toolkit.config import Windows
from mtl_toolkit.data import WindowTable, covering_windows, training_windows, video_numbers, video_order
from mtl_toolkit.data.windows import frame_runs

HEADS = {"expr": Expression(), "va": ValenceArousal()}


class Clips(TensorSamples):
    """Frames of videos; the picture of row i is filled with the number `first` + i.

    A row is given as (video, frame); some rows cannot be read.
    """

    def __init__(self, rows, *, first=0, bad=(), on_error="skip", lacks=(), kind=np.int64):
        numbers = torch.arange(first, first + len(rows))
        inputs = numbers[:, None, None, None].expand(-1, 3, 2, 2).to(torch.int32)
        super().__init__(inputs, {"expr": numbers % 7})
        self.columns = {
            "video": np.array([video.encode() for video, _ in rows], np.bytes_),
            "frame": np.array([frame for _, frame in rows], kind),
        }
        self.bad, self.on_error, self.lacks = frozenset(bad), on_error, lacks

    def column(self, name):
        return None if name in self.lacks else self.columns.get(name)

    def read(self, indices):
        for index in np.asarray(indices).tolist():
            if index in self.bad:
                raise UnreadableSampleError(f"frame-{index}.jpg: the picture is empty (0 bytes)")
        return super().read(indices)


def clip(name, frames):
    return [(name, frame) for frame in frames]


def windows_of(table):
    """Each window as its rows."""
    return [table.rows(np.array([window])).tolist() for window in range(len(table))]


def frames_of(samples, table):
    """Each window as the frame numbers of its rows."""
    frames = samples.column("frame")
    return [frames[rows].tolist() for rows in windows_of(table)]


# The same from the definition, in plain Python.


def naive_runs(parts, step):
    """Rows by run, of parts that are lists of (video, frame); those of no video come first, each alone."""
    videos, lonely = defaultdict(dict), []
    for row, (part, (video, frame)) in enumerate(
        (number, row) for number, rows in enumerate(parts) for row in rows
    ):
        if video:
            videos[part, video][frame] = row
        else:
            lonely.append((frame, row))
    runs = []
    for by_frame in videos.values():
        last = None
        for frame in sorted(by_frame):
            if last is None or frame - last > step:
                runs.append([])
            runs[-1].append(by_frame[frame])
            last = frame
    return [*([row] for _, row in sorted(lonely)), *runs]


def naive_training(run, length, stride, gaps):
    full = [run[at : at + length] for at in range(0, len(run), stride)]
    full = [window for window in full if len(window) == length]
    if gaps == "drop":
        return full
    if len(run) <= length:
        return [run]
    return full if full[-1][-1] == run[-1] else [*full, run[-length:]]


def naive_covering(run, length):
    windows, left = [], list(run)
    while left:
        windows.append(left[:length])
        left = left[length:]
    return windows


# Rows of up to three datasets as (dataset, video, frame), in any order; videos have gaps, and names recur.
ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["", "a", "b"]), st.integers(0, 15)),
    unique=True,
    max_size=40,
)
PARTS = ROWS.map(
    lambda rows: [
        [row[1:] for row in rows if row[0] == part] for part in range(max(rows, default=(0,))[0] + 1)
    ]
)
OPTIONS = st.builds(
    Windows,
    length=st.integers(1, 9),
    stride=st.integers(1, 9),
    gaps=st.sampled_from(["drop", "cut"]),
    step=st.integers(1, 4),
)


def together(parts):
    firsts = np.cumsum([0, *(len(rows) for rows in parts)]).tolist()
    found = {str(i): Clips(rows, first=firsts[i]) for i, rows in enumerate(parts)}
    return found["0"] if len(found) == 1 else ConcatSamples(found)


@given(parts=PARTS, options=OPTIONS)
def test_windows_that_cover_equal_those_of_the_definition_and_hold_every_row_once(parts, options):
    table = covering_windows(together(parts), options)
    found = windows_of(table)
    runs = naive_runs(parts, options.step)
    assert found == [window for run in runs for window in naive_covering(run, options.length)]
    assert Counter(itertools.chain(*found)) == Counter(range(sum(map(len, parts))))
    assert all(1 <= len(window) <= options.length for window in found)
    assert table.left_out() == 0


@given(parts=PARTS, options=OPTIONS)
def test_training_windows_equal_those_of_the_definition(parts, options):
    runs = naive_runs(parts, options.step)
    expected = [
        window for run in runs for window in naive_training(run, options.length, options.stride, options.gaps)
    ]
    samples = together(parts)
    if not expected:
        with pytest.raises(DataError, match=f"no video has {options.length} frames without a gap"):
            training_windows(samples, options)
        return
    table = training_windows(samples, options)
    assert windows_of(table) == expected
    assert table.lengths.tolist() == [len(window) for window in expected]
    assert table.middles().tolist() == [window[len(window) // 2] for window in expected]
    inside = {row for window in expected for row in window}
    assert table.left_out() == len(samples) - len(inside)
    if options.gaps == "cut" and options.stride <= options.length:
        assert table.left_out() == 0


@given(parts=PARTS, options=OPTIONS, cover=st.booleans())
def test_no_window_reaches_across_a_gap_or_into_another_video(parts, options, cover):
    rows = [(part, *row) for part, rows in enumerate(parts) for row in rows]
    try:
        table = (covering_windows if cover else training_windows)(together(parts), options)
    except DataError:
        return
    for window in windows_of(table):
        assert len({rows[row][:2] for row in window}) == 1
        frames = [rows[row][2] for row in window]
        assert all(0 < later - frame <= options.step for frame, later in itertools.pairwise(frames))
        assert len(window) == 1 or rows[window[0]][1] != ""


@given(parts=PARTS, seed=st.integers(0, 9))
def test_the_rows_of_several_windows_are_those_of_each_one_after_the_other(parts, seed):
    table = covering_windows(together(parts), Windows(length=4))
    chosen = np.random.default_rng(seed).integers(0, max(1, len(table)), 7 if len(table) else 0)
    alone = windows_of(table)
    assert table.rows(chosen).tolist() == [row for window in chosen for row in alone[window]]


@pytest.mark.parametrize("stride", [1, 16, 32])
def test_a_video_without_a_gap_is_cut_as_the_paper_says(stride):
    """Windows of 32 frames that start every `stride` frames; what is left over at the end is in none."""
    samples = Clips(clip("a", range(1, 101)))
    table = training_windows(samples, Windows(stride=stride))
    assert [frames[0] for frames in frames_of(samples, table)] == list(range(1, 70, stride))
    assert all(frames == list(range(frames[0], frames[0] + 32)) for frames in frames_of(samples, table))


def test_a_missing_frame_drops_the_windows_that_it_is_in():
    samples = Clips(clip("a", [1, 2, 3, 4, 6, 7, 8, 9, 10]))
    table = training_windows(samples, Windows(length=3, stride=2))
    assert frames_of(samples, table) == [[1, 2, 3], [6, 7, 8], [8, 9, 10]]
    assert table.left_out() == 1


def test_or_the_video_is_cut_there_and_every_frame_is_in_a_window():
    samples = Clips(clip("a", [1, 2, 3, 4, 6, 7, 8, 9, 10, 12]))
    table = training_windows(samples, Windows(length=3, stride=2, gaps="cut"))
    assert frames_of(samples, table) == [[1, 2, 3], [2, 3, 4], [6, 7, 8], [8, 9, 10], [12]]
    assert table.left_out() == 0


def test_a_video_shorter_than_a_window_is_dropped_or_a_window_of_its_own():
    samples = Clips([*clip("short", range(3)), *clip("long", range(5))])
    for gaps, expected in (("drop", [[0, 1, 2, 3]]), ("cut", [[0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4]])):
        table = training_windows(samples, Windows(length=4, stride=4, gaps=gaps))
        assert frames_of(samples, table) == expected


def test_a_stride_over_the_length_thins_and_the_rest_is_counted():
    table = training_windows(Clips(clip("a", range(10))), Windows(length=2, stride=4, gaps="cut"))
    assert windows_of(table) == [[0, 1], [4, 5], [8, 9]]
    assert table.left_out() == 4


def test_frames_of_thinned_videos_follow_each_other_at_the_step():
    samples = Clips(clip("a", [0, 5, 10, 15, 21, 26]))
    assert frames_of(samples, covering_windows(samples, Windows(length=8))) == [
        [n] for n in (0, 5, 10, 15, 21, 26)
    ]
    five = covering_windows(samples, Windows(length=8, step=5))
    assert frames_of(samples, five) == [[0, 5, 10, 15], [21, 26]]
    assert frames_of(samples, covering_windows(samples, Windows(length=8, step=6))) == [
        [0, 5, 10, 15, 21, 26]
    ]


def test_videos_of_one_name_in_two_datasets_are_two():
    one, other = Clips(clip("a", [1, 2])), Clips(clip("a", [2, 3]))
    both = ConcatSamples({"one": one, "two": other})
    assert windows_of(covering_windows(both, Windows())) == [[0, 1], [2, 3]]
    # So they are if datasets are put together twice over.
    nested = ConcatSamples({"both": both, "three": Clips(clip("a", [3, 4]))})
    assert windows_of(covering_windows(nested, Windows())) == [[0, 1], [2, 3], [4, 5]]
    assert video_numbers(nested).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.uint64])
def test_frame_numbers_may_be_of_any_integer_type(kind):
    samples = Clips(clip("a", [255, 3, 1, 2]), kind=kind)
    assert windows_of(covering_windows(samples, Windows())) == [[2, 3, 1], [0]]
    assert frames_of(samples, covering_windows(samples, Windows())) == [[1, 2, 3], [255]]


def test_names_of_videos_may_be_text_of_any_kind():
    class Named(Clips):
        def column(self, name):
            column = super().column(name)
            return np.array([one.decode() for one in column.tolist()], object) if name == "video" else column

    samples = Named([*clip("zürich", [2, 1]), *clip("é", [1]), ("", 7)])
    assert windows_of(covering_windows(samples, Windows())) == [[3], [1, 0], [2]]


@pytest.mark.parametrize("cut", [training_windows, covering_windows])
def test_a_frame_that_is_there_twice_is_refused_naming_frame_and_video(cut):
    samples = Clips([*clip("a", [1, 2]), *clip("été", [7, 9, 7])])
    with pytest.raises(DataError) as caught:
        cut(samples, Windows(length=1))
    assert caught.value.problems == ("frame 7 of video 'été' is there twice (samples 2 and 4)",)


def test_frames_without_a_video_may_share_their_number():
    samples = Clips([("", 1), ("a", 1), ("", 1)])
    assert windows_of(covering_windows(samples, Windows())) == [[0], [2], [1]]


@pytest.mark.parametrize("cut", [training_windows, covering_windows])
@pytest.mark.parametrize("lacks", ["video", "frame"])
def test_a_column_that_is_missing_is_named(cut, lacks):
    samples = Clips(clip("a", range(9)), lacks=[lacks])
    rule = "windows need to know each sample's video and frame"
    with pytest.raises(DataError, match=f"{rule}; the dataset has no '{lacks}'"):
        cut(samples, Windows(length=2))
    both = ConcatSamples({"one": Clips(clip("a", range(9))), "two": samples})
    with pytest.raises(DataError, match=f"the dataset has no '{lacks}'"):
        cut(both, Windows(length=2))


def test_datasets_without_any_window_say_what_to_do():
    with pytest.raises(DataError) as caught:
        training_windows(Clips(clip("a", range(5))), Windows(length=6))
    assert caught.value.problems == (
        'no video has 6 frames without a gap; shorten windows.length, or set windows.gaps = "cut"',
    )


def test_no_rows_make_no_windows_that_cover():
    empty = covering_windows(Clips([]), Windows())
    assert (len(empty), empty.left_out(), empty.rows(np.zeros(0, np.int64)).tolist()) == (0, 0, [])


def test_the_order_of_rows_does_not_matter_but_for_the_order_of_videos():
    rows = [*clip("b", range(4)), *clip("a", range(3))]
    shuffled = [rows[i] for i in (5, 3, 0, 6, 1, 4, 2)]
    found = [
        [shuffled[row] for row in window]
        for window in windows_of(covering_windows(Clips(shuffled), Windows()))
    ]
    assert found == [clip("a", range(3)), clip("b", range(4))]


def test_rows_of_a_file_of_features_are_in_the_order_of_windows():
    samples = Clips([*clip("b", [3, 1, 2]), ("", 5), *clip("a", [9, 4])])
    assert video_order(samples).tolist() == frame_runs(samples)[0].tolist() == [3, 1, 2, 0, 5, 4]
    for lacks in ("video", "frame"):
        assert video_order(Clips(clip("b", [3, 1, 2]), lacks=[lacks])).tolist() == [0, 1, 2]


@pytest.mark.parametrize("apart", [1, 2])
def test_hundreds_of_thousands_of_rows_take_no_quadratic_time(apart):
    """Shuffled, and (apart by 2) with a gap after every frame."""
    rows = 200_000
    shuffle = np.random.default_rng(0).permutation(rows)
    samples = Clips([])
    samples.columns = {
        "video": np.char.mod("%d", shuffle // 500).astype(np.bytes_),
        "frame": shuffle % 500 * apart,
    }
    options = Windows(length=32, stride=1, gaps="cut")
    table = training_windows(samples, options)
    assert len(table) == (rows if apart == 2 else rows // 500 * (500 - 31))
    assert table.left_out() == 0
    assert len(covering_windows(samples, options).rows(np.arange(10))) == (10 if apart == 2 else 9 * 32 + 32)


# From windows to batches.


def training(samples, options, items=3, title="a"):
    table = training_windows(samples, options)
    return LiveStream(title, "expr", samples, lambda rng: rng.permutation(len(table)), items, table)


def validating(samples, options, items=3, title="v"):
    table = covering_windows(samples, options)
    return LiveStream(title, "expr", samples, lambda rng: rng.permutation(0), items, table)


def numbers(batch):
    return batch.inputs[:, 0, 0, 0].tolist()


def split(batch, values):
    """Values of rows, by window."""
    ends = np.cumsum(batch.windows).tolist()
    return [list(values[start:end]) for start, end in itertools.pairwise([0, *ends])]


TWO = [*clip("b", [4, 1, 2, 3, 5]), *clip("a", [1, 2, 3, 5, 6, 7, 8, 10])]
CUT = Windows(length=3, stride=2, gaps="cut")


def test_a_batch_lays_the_frames_of_its_windows_side_by_side_in_order():
    stream = training(Clips(TWO), CUT)
    plan = TrainPlan([stream], seed=5)
    batch = next(StreamLoader(plan, HEADS).epoch(1))
    wanted = [stream.windows.rows(np.array([item])).tolist() for item in plan.indices(1, 0)[0]]
    assert split(batch, numbers(batch)) == wanted
    assert batch.windows == tuple(map(len, wanted))
    assert batch.sizes == (sum(batch.windows),) == (len(batch),)
    rows = [row for window in wanted for row in window]
    assert batch.ids == tuple(f"a:{row}" for row in rows)
    assert batch.targets["expr"].tolist() == [row % 7 for row in rows]
    assert batch.counts == {(0, "expr"): Count(len(rows), 0), (0, "va"): Count(0, 2 * len(rows))}
    assert (batch.skipped, batch.rows_read) == (0, None)


def test_streams_of_windows_lie_one_after_the_other():
    streams = [training(Clips(TWO), CUT, 3), training(Clips(TWO, first=50), CUT, 2, "b")]
    plan = TrainPlan(streams, seed=0)
    batch = next(StreamLoader(plan, HEADS).epoch(0))
    first, second = (
        stream.rows(items)[0].tolist() for stream, items in zip(streams, plan.indices(0, 0), strict=True)
    )
    assert numbers(batch) == [*first, *(50 + row for row in second)]
    assert batch.sizes == (len(first), len(second))
    assert len(batch.windows) == 5
    assert sum(batch.windows[:3]) == len(first)
    assert batch.stream.tolist() == [0] * len(first) + [1] * len(second)


def test_the_frames_of_a_window_share_their_noise_and_windows_differ():
    stream = training(Clips(TWO), CUT)
    plan = TrainPlan([stream], seed=5)
    batch = next(StreamLoader(plan, HEADS).epoch(0))
    by_window = [torch.stack(rows) for rows in split(batch, batch.noise)]
    assert all((rows == rows[0]).all() for rows in by_window)
    assert len({tuple(rows[0].tolist()) for rows in by_window}) == 3
    assert torch.equal(torch.stack([rows[0] for rows in by_window]), torch.from_numpy(plan.noise(0, 0)[0]))


def test_frames_that_cannot_be_read_shorten_their_windows():
    samples = Clips(clip("a", range(12)), bad=[1, 6, 7, 8])
    stream = validating(samples, Windows(length=3), items=2)
    one, two = StreamLoader(SequentialPlan(stream), HEADS).epoch(0)
    assert (numbers(one), one.windows, one.sizes) == ([0, 2, 3, 4, 5], (2, 3), (5,))
    assert (one.skipped, one.rows_read) == (1, (0, 2, 3, 4, 5))
    # A window of which nothing can be read is gone.
    assert (numbers(two), two.windows, two.sizes) == ([9, 10, 11], (3,), (3,))
    assert (two.skipped, two.rows_read) == (3, (3, 4, 5))
    assert two.ids == ("v:9", "v:10", "v:11")
    assert two.targets["expr"].tolist() == [2, 3, 4]


def test_noise_stays_with_its_window_when_frames_are_skipped():
    samples = Clips(clip("a", range(9)), bad=[0, 3, 4, 5])
    stream = validating(samples, Windows(length=3))
    noise = [np.array([[0.1], [0.2], [0.3]], np.float32)]
    batch = collate([stream], [np.arange(3)], HEADS, noise)
    assert batch.windows == (2, 3)
    assert batch.noise[:, 0].tolist() == pytest.approx([0.1, 0.1, 0.3, 0.3, 0.3])


def test_places_of_the_rows_read_count_over_all_streams():
    one, other = Clips(clip("a", range(4)), bad=[2]), Clips(clip("a", range(3)), bad=[0], first=50)
    streams = [validating(one, Windows(length=4)), validating(other, Windows(length=4), title="w")]
    batch = collate(streams, [np.arange(1), np.arange(1)], HEADS)
    assert numbers(batch) == [0, 1, 3, 51, 52]
    assert (batch.rows_read, batch.windows, batch.skipped) == ((0, 1, 3, 5, 6), (3, 2), 2)


def test_a_frame_that_may_not_be_skipped_stops_the_batch():
    stream = validating(Clips(clip("a", range(4)), bad=[2], on_error="stop"), Windows(length=2))
    batches = StreamLoader(SequentialPlan(stream), HEADS).epoch(0)
    with pytest.raises(UnreadableSampleError, match=r"frame-2\.jpg"):
        list(batches)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_split_windows_and_together_train_on_those_of_one_process(world):
    stream = training(Clips(TWO), CUT, items=4)
    alone = TrainPlan([stream], seed=1)
    ranks = [TrainPlan([stream], seed=1, rank=rank, world=world) for rank in range(world)]
    for step in range(alone.steps()):
        whole = collate([stream], alone.indices(0, step), HEADS, alone.noise(0, step))
        parts = [collate([stream], one.indices(0, step), HEADS, one.noise(0, step)) for one in ranks]
        assert [row for part in parts for row in numbers(part)] == numbers(whole)
        assert tuple(rows for part in parts for rows in part.windows) == whole.windows
        assert torch.equal(torch.cat([part.noise for part in parts]), whole.noise)


@given(parts=PARTS, options=OPTIONS, world=st.integers(1, 4), items=st.integers(1, 4))
def test_ranks_validate_every_frame_once(parts, options, world, items):
    stream = validating(together(parts), options, items)
    seen = []
    for rank in range(world):
        plan = SequentialPlan(stream, rank=rank, world=world)
        for step in range(plan.steps()):
            rows, lengths = stream.rows(plan.indices(0, step)[0])
            assert lengths.sum() == len(rows)
            assert 1 <= len(lengths) <= items
            seen += rows.tolist()
    assert seen == stream.windows.order.tolist()
    assert sorted(seen) == list(range(len(stream.samples)))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_of_windows_can_be_taken_up_at_any_step(workers):
    plan = TrainPlan([training(Clips(TWO, bad=[1]), CUT, items=2)], seed=2)
    whole = list(StreamLoader(plan, HEADS).epoch(3))
    loader = StreamLoader(plan, HEADS, workers=workers)
    try:
        for start in range(len(whole) + 1):
            rest = list(loader.epoch(3, start))
            assert [(one.ids, one.windows) for one in rest] == [
                (one.ids, one.windows) for one in whole[start:]
            ]
            for one, other in zip(rest, whole[start:], strict=True):
                assert torch.equal(one.inputs, other.inputs)
                assert torch.equal(one.noise, other.noise)
    finally:
        loader.close()


def test_an_epoch_counts_windows_not_frames():
    stream = training(Clips(clip("a", range(100))), Windows(length=10, stride=5), items=4)
    assert (stream.items, len(stream.samples)) == (19, 100)
    assert TrainPlan([stream], seed=0).steps() == 4
    assert TrainPlan([stream], seed=0, length="longest").steps() == 5


def test_batches_of_single_samples_have_no_windows():
    samples = Clips(clip("a", range(4)))
    stream = LiveStream("a", "expr", samples, lambda rng: rng.permutation(4), 2)
    assert next(StreamLoader(TrainPlan([stream], seed=0), HEADS).epoch(0)).windows is None


def test_a_table_of_windows_may_be_made_by_hand():
    """Two windows that share rows, over rows in an order of their own."""
    table = WindowTable(np.array([4, 2, 0, 1, 3]), np.array([0, 1]), np.array([3, 2]))
    assert windows_of(table) == [[4, 2, 0], [2, 0]]
    assert (table.middles().tolist(), table.left_out()) == ([2, 0], 2)
