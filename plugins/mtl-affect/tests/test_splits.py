"""Splits by a hash of names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mtl_affect.databases.splits import check_split, in_split

from mtl_toolkit import DataError

VIDEOS = [f"{number:03d}".encode() for number in range(1, 601)]
PICTURES = [f"{mood}_actor_{number}.jpg".encode() for mood in ("angry", "happy") for number in range(500)]
shares = st.floats(0, 1)


@given(st.lists(st.binary(max_size=8)), shares)
def test_training_and_validation_are_all_there_is_and_share_nothing(names, share):
    train, validation = (in_split(names, split, share) for split in ("train", "validation"))
    assert (train ^ validation).all()
    assert in_split(names, "all", share).all()
    assert len(train) == len(validation) == len(names)


@given(st.lists(st.binary(max_size=8), min_size=1), shares, st.randoms())
def test_the_part_of_a_name_depends_on_nothing_but_its_text(names, share, random):
    expected = dict(zip(names, in_split(names, "validation", share), strict=True))
    shuffled = [*names, b"another"]
    random.shuffle(shuffled)
    for name, found in zip(shuffled, in_split(shuffled, "validation", share), strict=True):
        assert expected.get(name, found) == found
        assert in_split([name], "validation", share)[0] == found


@given(shares, shares)
def test_a_larger_share_only_adds_to_validation(first, second):
    low, high = sorted((first, second))
    assert not (in_split(VIDEOS, "validation", low) & in_split(VIDEOS, "train", high)).any()


@pytest.mark.parametrize("names", [VIDEOS, PICTURES], ids=["videos", "pictures"])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.5])
def test_shares_are_met_up_to_chance(names, share):
    """Within three standard deviations, also for names that differ in a digit."""
    allowed = 3 * np.sqrt(share * (1 - share) / len(names))
    assert in_split(names, "validation", share).mean() == pytest.approx(share, abs=allowed)


def test_no_share_is_nothing_and_the_whole_is_everything():
    assert not in_split(VIDEOS, "validation", 0.0).any()
    assert in_split(VIDEOS, "validation", 1.0).all()


def test_the_parts_are_the_same_in_every_release():
    """Published results depend on them: these must never change."""
    held_out = in_split(VIDEOS[:40], "validation", 0.1)
    assert [VIDEOS[place].decode() for place in np.flatnonzero(held_out)] == [
        "006",
        "011",
        "028",
        "031",
    ]
    packed = np.array(VIDEOS[:40])
    np.testing.assert_array_equal(in_split(packed, "validation", 0.1), held_out)


def test_a_part_with_nothing_in_it_is_refused():
    check_split(np.array([False, True]), "train", 0.5, "db")
    message = r"^db: split = 'validation' with validation_share = 0.001 leaves nothing of 3$"
    with pytest.raises(DataError, match=message):
        check_split(np.zeros(3, bool), "validation", 0.001, "db")
