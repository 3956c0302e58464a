"""A test list is filled: every frame once, in the list's order, missing ones with the nearest earlier one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mtl_std.regression import Regression

from mtl_toolkit import DataError, Listing, Predictions
from mtl_toolkit.prediction import Filled, as_pictures, fill

HEAD = Regression(axes=("x", "y"))


class Row(NamedTuple):
    """A row of predictions; `picture` is the end of its name."""

    video: str
    frame: int
    picture: str
    face: bool

    @property
    def name(self) -> str:
        return f"{self.video}/{self.picture}" if self.video else self.picture


def predictions_of(rows: Sequence[Row]) -> Predictions:
    """Row r has the values (r, -r), and NaN where there is no face."""
    values = np.array([[row, -row] if one.face else [np.nan] * 2 for row, one in enumerate(rows)], np.float32)
    return Predictions(
        heads={"xy": HEAD},
        values={"xy": values.reshape(-1, 2)},
        names=np.array([row.name for row in rows], np.str_),
        videos=np.array([row.video for row in rows], np.str_),
        frames=np.array([row.frame for row in rows], np.int64),
        faces=np.array([row.face for row in rows], np.bool_),
    )


def frames(video: str, numbers: Sequence[int], without: Sequence[int] = ()) -> list[Row]:
    return [Row(video, number, f"{number:05}.jpg", number not in without) for number in numbers]


def filled(rows: Sequence[Row], listing: Listing | None = None) -> tuple[list[tuple[Any, ...]], Filled]:
    """The name, video, frame, face and the row that was taken, of each row of the result."""
    found, counts = fill(predictions_of(rows), listing)
    assert found.values["xy"].dtype == np.float32
    np.testing.assert_array_equal(found.values["xy"][:, 0], -found.values["xy"][:, 1])
    columns = (found.names, found.videos, found.frames, found.faces, found.values["xy"][:, 0].astype(int))
    return list(zip(*(column.tolist() for column in columns), strict=True)), counts


def refused(rows: Sequence[Row], listing: Listing | None = None) -> str:
    with pytest.raises(DataError) as caught:
        fill(predictions_of(rows), listing)
    (problem,) = caught.value.problems
    assert "\n" not in problem
    return problem


class TestByVideo:
    def test_a_frame_without_a_prediction_repeats_the_nearest_earlier_one(self):
        found, counts = filled(frames("v", [1, 2, 4, 5], without=[2]), Listing(videos={"v": 6}))
        assert found == [
            ("v/00001.jpg", "v", 1, True, 0),
            ("v/00002.jpg", "v", 2, False, 0),
            ("v/00003.jpg", "v", 3, False, 0),
            ("v/00004.jpg", "v", 4, True, 2),
            ("v/00005.jpg", "v", 5, True, 3),
            ("v/00006.jpg", "v", 6, False, 3),
        ]
        assert counts == Filled(earlier=3, later=0, unlisted=0)

    def test_the_first_frames_repeat_the_nearest_later_one(self):
        found, counts = filled(frames("v", [1, 3, 4], without=[1]), Listing(videos={"v": 4}))
        assert [row[3:] for row in found] == [(False, 1), (False, 1), (True, 1), (True, 2)]
        assert counts == Filled(earlier=0, later=2, unlisted=0)

    def test_a_video_without_a_count_goes_up_to_its_last_row_with_a_face_or_not(self):
        found, _ = filled(frames("v", [1, 3, 5], without=[5]), Listing(videos={"v": None}))
        assert [row[2:] for row in found] == [
            (1, True, 0),
            (2, False, 0),
            (3, True, 1),
            (4, False, 1),
            (5, False, 1),
        ]

    def test_videos_come_in_the_order_of_the_list_and_others_are_left_out(self):
        rows = [*frames("a", [1, 2]), *frames("b", [1], without=[]), *frames("c", [1, 2])]
        found, counts = filled(rows, Listing(videos={"c": 1, "a": 2}))
        assert [row[0] for row in found] == ["c/00001.jpg", "a/00001.jpg", "a/00002.jpg"]
        assert counts.unlisted == 2

    def test_rows_may_come_in_any_order(self):
        rows = [*frames("b", [3, 1]), *frames("a", [2]), *frames("b", [2]), *frames("a", [1])]
        found, _ = filled(rows, Listing(videos={"a": 2, "b": 3}))
        assert [row[4] for row in found] == [4, 2, 1, 3, 0]

    def test_a_row_without_a_face_is_no_prediction_that_is_left_out(self):
        _, counts = filled(frames("v", [1, 2, 3], without=[3]), Listing(videos={"v": 1}))
        assert counts.unlisted == 1

    @pytest.mark.parametrize("count", [None, 3])
    def test_a_video_without_a_prediction_is_told(self, count):
        rows = [*frames("v", [1]), *frames("w", [1, 2], without=[1, 2])]
        told = "video 'w' is in the list, but no frame of it has a prediction"
        assert refused(rows, Listing(videos={"v": 1, "w": count})) == told
        assert refused(rows, Listing(videos={"x": count, "w": count})).endswith("(and 1 more like it)")
        assert refused([], Listing(videos={"w": count})) == told

    def test_pictures_of_a_folder_that_have_no_numbers_are_no_frames(self):
        rows = [Row("v", 0, "a.jpg", face=True), Row("v", 0, "b.jpg", face=True)]
        assert "no frame of it has a prediction" in refused(rows, Listing(videos={"v": None}))

    def test_a_frame_that_is_predicted_twice_is_told(self):
        rows = frames("v", [1, 2, 2])
        told = "predictions: each frame on the list must be there once (got 1 again, as 2 of 'v')"
        assert refused(rows, Listing(videos={"v": 2})) == told
        assert filled(rows, Listing(videos={"v": 1}))[1].unlisted == 2

    def test_frame_numbers_may_be_times_in_microseconds(self):
        late = 10**17
        rows = [Row(video, late + step, f"{late + step}.png", face=True) for video in "ab" for step in (1, 2)]
        listed = Listing(names=(f"b/{late + 3}.png", f"b/{late + 1}.png", f"a/{late}.png"))
        found, counts = filled(rows, listed)
        assert [row[4] for row in found] == [3, 2, 0]
        assert counts == Filled(earlier=1, later=1, unlisted=3)

    def test_of_many_videos_each_finds_its_own_frames(self):
        videos = [f"video {number:05}" for number in range(5000)]
        rows = [row for video in videos for row in frames(video, range(2, 12, 2))]
        found, counts = fill(predictions_of(rows), Listing(videos=dict.fromkeys(reversed(videos))))
        assert len(found) == 5000 * 10
        order = np.repeat(np.arange(5000)[::-1], 10) * 5 + np.tile([0, 0, 0, 1, 1, 2, 2, 3, 3, 4], 5000)
        np.testing.assert_array_equal(found.values["xy"][:, 0], order)
        assert counts == Filled(earlier=4 * 5000, later=5000, unlisted=0)


class TestByName:
    def test_names_are_those_of_the_list_whatever_their_suffix_and_zeros(self):
        names = ("v/2.png", "v/00001", "v/0002.jpg", "v/00003.jpg")
        found, counts = filled(frames("v", [1, 2]), Listing(names=names))
        assert found == [
            ("v/2.png", "v", 2, True, 1),
            ("v/00001", "v", 1, True, 0),
            ("v/0002.jpg", "v", 2, True, 1),
            ("v/00003.jpg", "v", 3, False, 1),
        ]
        assert counts == Filled(earlier=1, later=0, unlisted=0)

    def test_pictures_of_no_video_are_found_by_their_names(self):
        rows = [Row("", 0, name, face=True) for name in ("a.jpg", "7/8.jpg", "b.jpg")]
        found, counts = filled(rows, Listing(names=("b.jpg", "7/8.jpg")))
        assert found == [("b.jpg", "", 0, True, 2), ("7/8.jpg", "", 0, True, 1)]
        assert counts == Filled(earlier=0, later=0, unlisted=1)

    def test_pictures_of_a_folder_that_have_no_numbers_are_found_by_their_names(self):
        rows = [Row("v", 0, "left.jpg", face=True), Row("v", 0, "2.jpg", face=True), *frames("w", [1])]
        found, _ = filled(rows, Listing(names=("v/2.jpg", "w/1.jpg", "v/left.jpg")))
        assert found == [
            ("v/2.jpg", "v", 0, True, 1),
            ("w/1.jpg", "w", 1, True, 2),
            ("v/left.jpg", "v", 0, True, 0),
        ]

    def test_a_numbered_frame_with_another_name_is_found_and_filled(self):
        rows = [Row("v", number, f"img_{number}.jpg", number < 3) for number in (1, 2, 3)]
        found, _ = filled(rows, Listing(names=("v/img_3.jpg", "v/img_1.jpg")))
        assert found == [("v/img_3.jpg", "v", 3, False, 1), ("v/img_1.jpg", "v", 1, True, 0)]

    def test_frames_may_be_counted_from_zero(self):
        rows = frames("v", [0, 1, 2], without=[0])
        found, counts = filled(rows, Listing(names=("v/00000.jpg", "v/00001.jpg")))
        assert [row[1:] for row in found] == [("v", 0, False, 1), ("v", 1, True, 1)]
        assert counts == Filled(earlier=0, later=1, unlisted=1)

    def test_a_frame_zero_that_has_no_row_is_before_the_first(self):
        found, counts = filled(frames("v", [1, 2]), Listing(names=("v/00000.jpg",)))
        assert found == [("v/00000.jpg", "v", 0, False, 0)]
        assert counts.later == 1

    def test_what_has_no_prediction_is_told(self):
        rows = [Row("", 0, "a.jpg", face=False), *frames("v", [1])]
        told = "picture 'a.jpg' is in the list, but no face was found in it"
        assert refused(rows, Listing(names=("v/1.jpg", "a.jpg"))) == told
        told = "picture 'x/1.jpg' is in the list, but it has no prediction"
        assert refused(rows, Listing(names=("x/1.jpg",))) == told
        assert refused(rows, Listing(names=("x/1.jpg", "y", "z"))) == f"{told} (and 2 more like it)"

    def test_of_two_faces_of_a_frame_the_one_that_is_named_is_taken(self):
        rows = [Row("v", 1, name, face=True) for name in ("left.jpg", "right.jpg")]
        found, counts = filled(rows, Listing(names=("v/left.jpg",)))
        assert found == [("v/left.jpg", "v", 1, True, 0)]
        assert counts.unlisted == 1

    def test_a_name_that_two_rows_have_is_told(self):
        rows = [Row("", 0, "a.jpg", face=True)] * 2
        told = "predictions: each picture must be there once (got 1 again, as 'a.jpg')"
        assert refused(rows, Listing(names=("a.jpg",))) == told

    def test_a_listed_name_may_be_there_twice(self):
        found, counts = filled(frames("v", [1, 2]), Listing(names=("v/1.jpg", "v/1.jpg")))
        assert [row[4] for row in found] == [0, 0]
        assert counts.unlisted == 1


class TestWithoutAList:
    def test_rows_stay_in_their_order_and_those_without_a_face_are_filled(self):
        rows = [*frames("b", [2, 1], without=[1]), Row("", 0, "p.jpg", face=True), *frames("a", [7])]
        found, counts = filled(rows)
        assert found == [
            ("b/00002.jpg", "b", 2, True, 0),
            ("b/00001.jpg", "b", 1, False, 0),
            ("p.jpg", "", 0, True, 2),
            ("a/00007.jpg", "a", 7, True, 3),
        ]
        assert counts == Filled(earlier=0, later=1, unlisted=0)

    def test_two_faces_of_a_frame_each_keep_their_own_prediction(self):
        found, counts = filled(frames("v", [1, 1, 2]))
        assert [row[4] for row in found] == [0, 1, 2]
        assert counts == Filled(earlier=0, later=0, unlisted=0)

    def test_what_cannot_be_filled_is_told(self):
        assert refused([Row("", 0, "a.jpg", face=False)]) == "picture 'a.jpg': no face was found in it"
        assert refused(frames("v", [1], without=[1])) == "video 'v': no frame of it has a prediction"

    def test_nothing_stays_nothing(self):
        found, counts = filled([])
        assert (found, counts) == ([], Filled(0, 0, 0))


# What follows restates `fill` row by row, with no array and no sorting.


class Wish(NamedTuple):
    """What is to have a row; `own` is the row of the very picture, -1 if frames are looked up."""

    name: str
    video: str
    frame: int
    own: int


def numbered(rows: Sequence[Row], row: Row) -> bool:
    zeros = sum(other.video == row.video and other.frame == 0 for other in rows)
    return row.video != "" and (row.frame > 0 or zeros == 1)


def wishes(rows: Sequence[Row], listing: Listing | None) -> list[Wish]:
    if listing is None:
        return [Wish(row.name, row.video, row.frame, place) for place, row in enumerate(rows)]
    if listing.names:
        return [wish(rows, name) for name in listing.names]
    found = []
    for video, count in listing.videos.items():
        own = [row.frame for row in rows if row.video == video and numbered(rows, row)]
        last = count if count is not None else max([*own, 1])
        found += [Wish(f"{video}/{frame:05}.jpg", video, frame, -1) for frame in range(1, last + 1)]
    return found


def wish(rows: Sequence[Row], name: str) -> Wish:
    folder, _, last = name.rpartition("/")
    stem, dot, suffix = last.partition(".")
    in_video = any(row.video == folder and numbered(rows, row) for row in rows) and folder
    is_frame = in_video and re.fullmatch("[0-9]+", stem) and (not dot or suffix.isalnum())
    if is_frame and int(stem):
        return Wish(name, folder, int(stem), -1)
    same = [place for place, row in enumerate(rows) if row.name == name]
    if len(same) > 1:
        raise DataError("twice")
    if same:
        return Wish(name, rows[same[0]].video, rows[same[0]].frame, same[0])
    return Wish(name, folder if is_frame else "", 0, -1)


def answers(rows: Sequence[Row], one: Wish) -> tuple[set[int], bool]:
    """The rows that may stand there, and whether that is the frame's own prediction."""
    own = {one.own} if one.own >= 0 and rows[one.own].face else set()
    there = {
        place: row.frame
        for place, row in enumerate(rows)
        if row.face and row.video == one.video and numbered(rows, row)
    }
    if one.own < 0:
        own = {place for place, frame in there.items() if frame == one.frame}
    if one.own < 0 and len(own) > 1:
        raise DataError("twice")
    if own:
        return own, True
    before = [frame for frame in there.values() if frame <= one.frame]
    after = [frame for frame in there.values() if frame > one.frame]
    if not before and not after:
        raise DataError("nothing")
    nearest = max(before) if before else min(after)
    return {place for place, frame in there.items() if frame == nearest}, False


PICTURES = st.sampled_from(["a.jpg", "b.png", "3.jpg", "00002.jpg"])
VIDEOS = st.sampled_from(["", "v", "w/x"])
ROWS = st.lists(
    st.one_of(
        st.builds(
            lambda video, frame, face: Row(video, frame, f"{frame:05}.jpg", face),
            st.sampled_from(["v", "w/x"]),
            st.integers(0, 7),
            st.booleans(),
        ),
        st.builds(Row, VIDEOS, st.integers(0, 2), PICTURES, st.booleans()),
    ),
    max_size=9,
    unique_by=lambda row: (row.video, row.frame, row.picture),
)
NAMES = st.builds(
    lambda folder, last: f"{folder}{last}",
    st.sampled_from(["", "v/", "w/x/", "u/"]),
    st.sampled_from(
        ["1.jpg", "00002.jpg", "00003", "5.png", "0.jpg", "00000.jpg", "a.jpg", "b.png", "3.jpg"]
    ),
)
LISTINGS = st.one_of(
    st.none(),
    st.lists(NAMES, min_size=1, max_size=6).map(lambda names: Listing(names=tuple(names))),
    st.dictionaries(
        st.sampled_from(["v", "w/x", "u"]), st.none() | st.integers(1, 9), min_size=1, max_size=3
    ).map(lambda videos: Listing(videos=videos)),
)


@given(rows=ROWS, twice=st.integers(0, 3), listing=LISTINGS)
def test_rows_are_what_a_search_through_all_rows_finds(rows, twice, listing):
    rows = [*rows, *rows[: max(0, twice - 2)]]  # now and then, a row that is there twice
    try:
        expected = [(one, *answers(rows, one)) for one in wishes(rows, listing)]
    except DataError:
        refused(rows, listing)
        return
    found, counts = filled(rows, listing)
    assert [row[:4] for row in found] == [(one.name, one.video, one.frame, own) for one, _, own in expected]
    for (*_, taken), (_, allowed, _) in zip(found, expected, strict=True):
        assert taken in allowed
    stand_ins = [(rows[min(allowed)].frame, one.frame) for one, allowed, own in expected if not own]
    used = {taken for (*_, face, taken) in found if face}
    assert counts == Filled(
        earlier=sum(frame <= asked for frame, asked in stand_ins),
        later=sum(frame > asked for frame, asked in stand_ins),
        unlisted=0 if listing is None else sum(row.face for row in rows) - len(used),
    )


def test_frames_of_video_files_are_called_as_challenges_call_them():
    found = as_pictures(
        Predictions(
            heads={},
            values={},
            names=np.array(["clip/00012", "walk/00003.png", "face"]),
            videos=np.array(["clip", "walk", ""]),
            frames=np.array([12, 3, 0]),
            faces=np.ones(3, np.bool_),
        )
    )
    assert found.names.tolist() == ["clip/00012.jpg", "walk/00003.png", "face"]
