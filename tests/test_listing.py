"""Test lists are read as they are meant, or refused by their line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl_toolkit import DataError, Listing, parse_listing


def listed(tmp_path: Path, text: str) -> Listing:
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    return parse_listing(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("text", "listing"),
    [
        ("v/00001.jpg\nv/00002.JPG\n", Listing(names=("v/00001.jpg", "v/00002.JPG"))),
        ("\ufeff# a list\n\n  w.png  \n", Listing(names=("w.png",))),
        ("image_location,valence,arousal\nv/00001.jpg,0,0\nw,1,1", Listing(names=("v/00001.jpg", "w"))),
        ("Image,expression\r\n1.jpg,\r\n", Listing(names=("1.jpg",))),
        ("image\n1.jpg\n", Listing(names=("1.jpg",))),
        ("v/00001.jpg,0.5,0.5\n", Listing(names=("v/00001.jpg",))),
        ("video1\n135\n", Listing(videos={"video1": None, "135": None})),
        ("b 12\na,7\nc\n", Listing(videos={"b": 12, "a": 7, "c": None})),
        ("my video  0012\n1 2 3\na b , 4\n", Listing(videos={"my video": 12, "1 2": 3, "a b": 4})),
        ("10-60-1280x720_right\n", Listing(videos={"10-60-1280x720_right": None})),
    ],
)
def test_a_list_names_pictures_or_videos_in_order(text, listing, tmp_path):
    found = listed(tmp_path, text)
    assert found == listing
    assert list(found.videos) == list(listing.videos)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [": must name at least one picture or video (got none)"]),
        ("image\n# none\n", [": must name at least one picture or video (got none)"]),
        ("a.jpg\n\nb.jpg\na.jpg\n", [" line 4: 'a.jpg' is on line 1 already"]),
        ("v 3\nv,4\n", [" line 2: 'v' is on line 1 already"]),
        ("v,x\n", [" line 1: the number of frames must be a whole number of at least 1 (got 'x')"]),
        ("v,\n", [" line 1: the number of frames must be a whole number of at least 1 (got '')"]),
        ("v 0\n", [" line 1: the number of frames must be a whole number of at least 1 (got '0')"]),
        ("v,1,2\n", [" line 1: the number of frames must be a whole number of at least 1 (got '1,2')"]),
        (",5\n", [" line 1: must begin with a name (got ',5')"]),
        ("a.jpg\nv\n", [" line 2: must be a picture, as the lines before (got a video: 'v')"]),
        ("v\na.jpg\n", [" line 2: must be a video, as the lines before (got a picture: 'a.jpg')"]),
    ],
)
def test_what_is_wrong_with_a_list_is_told_by_its_line(text, problems, tmp_path):
    with pytest.raises(DataError) as caught:
        listed(tmp_path, text)
    assert caught.value.problems == tuple(f"{tmp_path / 'list.txt'}{problem}" for problem in problems)


def test_a_list_that_is_no_text_is_told(tmp_path):
    (tmp_path / "list").write_bytes(b"a.jpg\n\xff.jpg\n")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'list'} line 2: must be UTF-8 text")):
        parse_listing(tmp_path / "list")
    with pytest.raises(DataError, match="No such file"):
        parse_listing(tmp_path / "missing")
    with pytest.raises(DataError, match="directory"):
        parse_listing(tmp_path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    videos=st.dictionaries(
        st.text("ab1/_-.é ", min_size=1, max_size=6)
        .map(str.strip)
        .filter(lambda name: name and not re.search(r"\s\d+$", name)),
        st.none() | st.integers(1, 9999),
        min_size=1,
        max_size=6,
    ),
    between=st.sampled_from([" ", ",", "\t", " , "]),
)
def test_videos_are_read_back_whatever_stands_before_their_count(videos, between, tmp_path):
    lines = [name if count is None else f"{name}{between}{count}" for name, count in videos.items()]
    assert listed(tmp_path, "\n".join(lines)) == Listing(videos=videos)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=60) | st.text("a.jpg,# 01\n\r\t", max_size=60).map(str.encode))
def test_any_list_is_read_or_refused(raw, tmp_path):
    (tmp_path / "list").write_bytes(raw)
    try:
        found, told = parse_listing(tmp_path / "list"), ()
    except DataError as error:
        found, told = None, error.problems
    assert all(line.startswith((str(tmp_path), "... and")) and "\n" not in line for line in told)
    if found is not None:
        assert bool(found.names) != bool(found.videos)
