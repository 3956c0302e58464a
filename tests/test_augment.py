"""Augmentation of batches, against each picture on its own in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_toolkit.config import Augmentation
from mtl_toolkit.data import augment
from mtl_toolkit.data.augment import copy_squares, crop_and_flip, gather_squares

OFF = {"flip": False}
FORMATS = [torch.contiguous_format, torch.channels_last]
COLOURS = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "grey": 0.3}
LAST = float(np.nextafter(np.float32(1), np.float32(0)))  # the largest random number


def pictures(rows, side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, 3, side, side), dtype=torch.uint8, generator=generator)


def noise(rows, seed=1, **columns):
    lots = torch.from_numpy(np.random.default_rng(seed).random((rows, 16), dtype=np.float32))
    for column, value in columns.items():
        lots[:, int(column[1:])] = value
    return lots


@settings(max_examples=100)
@given(
    places=st.lists(
        st.tuples(st.floats(0, LAST, width=32), st.floats(0, LAST, width=32), st.booleans()), min_size=1
    ),
    size=st.integers(1, 7),
    extra=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    channels=st.integers(1, 4),
    memory_format=st.sampled_from(FORMATS),
)
def test_each_picture_is_cut_at_its_own_place_and_mirrored_or_not(
    places, size, extra, channels, memory_format
):
    """On the host picture by picture, elsewhere by the place of each pixel: the same."""
    height, width = size + extra[0], size + extra[1]
    whole = torch.arange(len(places) * channels * height * width).reshape(-1, channels, height, width)
    whole = whole.contiguous(memory_format=memory_format)
    top, left, mirror = (torch.tensor(column) for column in zip(*places, strict=True))
    cut = crop_and_flip(whole, top, left, mirror, size)
    starts = []
    for row, (down, across, flipped) in enumerate(places):
        y, x = int(np.float32(down) * (height - size + 1)), int(np.float32(across) * (width - size + 1))
        starts.append((y, x))
        expected = whole[row, :, y : y + size, x : x + size].numpy()
        np.testing.assert_array_equal(cut[row].numpy(), expected[:, :, ::-1] if flipped else expected)
    y, x = torch.tensor(starts).unbind(1)
    for way in (copy_squares, gather_squares):
        assert torch.equal(way(whole, y, x, mirror, size), cut)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("way", [copy_squares, gather_squares])
def test_the_memory_format_stays(way, memory_format):
    whole = pictures(4, 13).contiguous(memory_format=memory_format)
    start = torch.tensor([0, 1, 4, 5])
    cut = way(whole, start, start.flip(0), start > 2, 8)
    assert cut.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("way", [copy_squares, gather_squares])
def test_parts_of_other_tensors_are_cut_too(way):
    """Neither memory format: every second row and channel of a larger tensor; what lies between is unread."""
    large = torch.full((6, 6, 13, 26), float("nan"))
    large[::2, ::2, :, ::2] = pictures(3, 13).float()
    y, x, mirror = torch.tensor([0, 3, 5]), torch.tensor([5, 0, 2]), torch.tensor([True, False, True])
    cut = way(large[::2, ::2, :, ::2], y, x, mirror, 8)
    assert torch.equal(cut, way(pictures(3, 13).float(), y, x, mirror, 8))


@pytest.mark.parametrize("options", [{}, {"erase": 0.5}, COLOURS, COLOURS | {"erase": 0.5}])
def test_values_do_not_depend_on_the_memory_format(options):
    whole, lots = pictures(30, 20), noise(30)
    first, second = (
        augment(whole.contiguous(memory_format=memory_format), lots, Augmentation(**options), 16)
        for memory_format in FORMATS
    )
    assert torch.equal(first, second)
    assert first.is_contiguous()
    assert second.is_contiguous(memory_format=torch.channels_last)


def test_no_pictures_are_none_afterwards():
    options = Augmentation(**COLOURS, erase=0.5)
    assert augment(pictures(0, 9), noise(0), options, 7).shape == (0, 3, 7, 7)


@pytest.mark.parametrize(("value", "corner"), [(0.0, slice(0, 8)), (LAST, slice(5, 13))])
def test_extreme_random_numbers_cut_at_the_edges(value, corner):
    whole = pictures(4, 13)
    cut = augment(whole, noise(4, c0=value, c1=value), Augmentation(flip=False), 8)
    assert torch.equal(cut, whole[:, :, corner, corner])


def test_all_places_come_equally_often():
    whole = torch.arange(10).expand(1, 3, 10, 10)
    rows = 20_000
    lots = noise(rows)
    cut = crop_and_flip(whole.expand(rows, -1, -1, -1), lots[:, 0], lots[:, 1], torch.zeros(rows).bool(), 6)
    counts = torch.bincount(cut[:, 0, 0, 0])
    assert len(counts) == 5
    assert (counts / rows - 1 / 5).abs().max() < 0.02


def test_half_of_the_pictures_are_mirrored():
    whole = pictures(1, 4).expand(10_000, -1, -1, -1)
    done = augment(whole, noise(10_000), Augmentation(), 4)
    mirrored = (done == whole.flip(3)).flatten(1).all(1)
    kept = (done == whole).flatten(1).all(1)
    assert (mirrored | kept).all()
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.02)


def test_with_everything_off_pictures_stay_as_they_are():
    whole = pictures(5, 9)
    assert torch.equal(augment(whole, noise(5), Augmentation(**OFF), 9), whole)


def recoloured(picture, lots, options):
    """One picture [3, side, side] in float64."""
    change = 2 * lots.astype(np.float64) - 1
    picture = picture.astype(np.float64) * (1 + options.brightness * change[3])
    picture = picture.mean() + (picture - picture.mean()) * (1 + options.contrast * change[4])
    grey = 0.299 * picture[0] + 0.587 * picture[1] + 0.114 * picture[2]
    factor = 0 if lots[6] < options.grey else 1 + options.saturation * change[5]
    return np.clip(grey + (picture - grey) * factor, 0, 255)


@pytest.mark.parametrize(
    "change",
    [
        {"brightness": 0.7},
        {"contrast": 0.6},
        {"saturation": 1.0},
        {"grey": 0.5},
        {"brightness": 1, "contrast": 1, "saturation": 1, "grey": 0.3},
    ],
)
def test_colours_change_as_the_formulas_say(change):
    options = Augmentation(**OFF, **change)
    whole, lots = pictures(16, 6), noise(16)
    done = augment(whole, lots, options, 6)
    assert done.dtype == torch.uint8
    for row in range(16):
        expected = recoloured(whole[row].numpy(), lots[row].numpy(), options)
        assert np.abs(done[row].numpy() - expected).max() <= 0.501  # half a level, for rounding


@pytest.mark.parametrize("lot", [0.0, LAST])
def test_extreme_changes_stay_between_black_and_white(lot):
    options = Augmentation(brightness=1, contrast=1, saturation=1, flip=False)
    whole = torch.stack([torch.zeros(3, 4, 4), torch.full((3, 4, 4), 255.0)]).to(torch.uint8)
    lots = torch.full((2, 16), lot)
    expected = whole if lot else torch.zeros_like(whole)
    assert torch.equal(augment(whole, lots, options, 4), expected)


def test_a_rectangle_of_each_chosen_picture_is_blanked():
    side = 20
    whole, lots = torch.full((200, 3, side, side), 9, dtype=torch.uint8), noise(200)
    done = augment(whole, lots, Augmentation(**OFF, erase=0.4), side).numpy()
    blank = 0
    for row, (chosen, y, x, tall, wide) in enumerate(lots[:, 7:12].double().tolist()):
        expected = np.full((side, side), 9)
        if chosen < 0.4:
            blank += 1
            inside = [
                [j for j in range(side) if low * side <= j < (low + 0.1 + 0.4 * size) * side]
                for low, size in ((y, tall), (x, wide))
            ]
            expected[np.ix_(*inside)] = 127
        np.testing.assert_array_equal(done[row], np.stack([expected] * 3))
    assert blank / 200 == pytest.approx(0.4, abs=0.1)


def test_a_row_depends_on_its_own_picture_and_numbers_only():
    options = Augmentation(**COLOURS, erase=0.5)
    whole, lots = pictures(12, 12), noise(12)
    together = augment(whole, lots, options, 10)
    alone = [augment(whole[row : row + 1], lots[row : row + 1], options, 10) for row in range(12)]
    assert torch.equal(torch.cat(alone), together)


def test_switching_an_option_on_changes_nothing_else():
    whole, lots = pictures(12, 12), noise(12)
    plain = augment(whole, lots, Augmentation(), 10)
    erased = augment(whole, lots, Augmentation(erase=1.0), 10)
    assert ((erased == plain) | (erased == 127)).all()
