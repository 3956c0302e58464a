"""Cutting faces: the squares of the ABAW 2021 protocol, and which pixels end up where."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from mtl_affect.databases.crops import (
    BoxCrop,
    EyeCrop,
    LandmarkCrop,
    Square,
    cut_box,
    cut_square,
    eye_square,
    landmark_square,
)
from torch import Tensor

# A face that looks straight ahead, round its middle: eyes 40 apart, the mouth 50 below them.
EYE_DISTANCE, EYES_TO_MOUTH = 40.0, 50.0
LEFT_EYE = np.array([[-7, 0], [-3, -4], [3, -4], [7, 0], [3, 4], [-3, 4]]) + np.array([-20, -25])
RIGHT_EYE = LEFT_EYE * (-1, 1)

sizes = st.integers(1, 40)
edges = st.integers(-60, 60)


def upright_face() -> np.ndarray:
    """68 landmarks; those that a square of the eyes must not depend on lie anywhere."""
    face = np.random.default_rng(3).uniform(-400, 400, (68, 2))
    face[36:42], face[42:48] = LEFT_EYE, RIGHT_EYE
    face[48], face[54] = (-15, 25), (15, 25)
    return face


def turned(
    points: np.ndarray, angle: float, scale: float = 1.0, x: float = 0.0, y: float = 0.0
) -> np.ndarray:
    """Turn points clockwise, as they are seen with y downwards, then scale and move them."""
    as_complex = (points[..., 0] + 1j * points[..., 1]) * scale * np.exp(1j * angle) + complex(x, y)
    return np.stack([as_complex.real, as_complex.imag], axis=-1)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def padded_cut(pixels: Tensor, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """The same by padding the picture on all sides, far enough for any box."""
    far = 200
    wide = np.pad(pixels.numpy(), ((0, 0), (far, far), (far, far)))
    return wide[:, top + far : bottom + far, left + far : right + far]


# The square round eyes and mouth


@given(st.floats(-3.1, 3.1), st.floats(0.1, 20), st.floats(-500, 500), st.floats(-500, 500))
def test_the_square_of_the_eyes_follows_the_face(angle, scale, x, y):
    """Its side is twice the 50 from the eyes to the mouth; its middle lies between them."""
    square = eye_square(turned(upright_face(), angle, scale, x, y))
    assert (square.x, square.y) == pytest.approx((x, y), abs=1e-6 * scale)
    assert square.side == pytest.approx(2 * EYES_TO_MOUTH * scale)
    assert square.angle == pytest.approx(angle, abs=1e-9)


def test_of_eyes_further_apart_than_the_mouth_is_low_the_distance_counts():
    """Round the middle between the eyes' centre (0, -25) and the mouth's (0, -5)."""
    face = upright_face()
    face[48], face[54] = (-15, -5), (15, -5)
    assert eye_square(face) == Square(0.0, -15.0, 2 * EYE_DISTANCE, 0.0)


def test_the_mouth_need_not_lie_straight_below_the_eyes():
    """A head that is turned aside: only the eyes say what is level."""
    face = upright_face()
    face[[48, 54], 0] += 30
    square = eye_square(face)
    assert (square.x, square.y, square.angle) == (15, 0, 0)
    assert square.side == pytest.approx(2 * math.hypot(30, 50))


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.uint16])
def test_landmarks_may_be_of_any_type_of_number(kind):
    face = np.abs(turned(upright_face(), 0, 1, 500, 500)).astype(kind)
    assert attrs_of(eye_square(face)) == pytest.approx((500, 500, 100, 0), abs=1e-4)
    box = landmark_square(np.array([[10, 40], [30, 20]], kind), 100, 100, 0.0)
    assert attrs_of(box) == (20, 30, 20, 0)


def attrs_of(square: Square) -> tuple[float, float, float, float]:
    return (square.x, square.y, square.side, square.angle)


# The square round all landmarks


points = st.lists(st.tuples(st.floats(-50, 150), st.floats(-50, 150)), min_size=1, max_size=8)


@given(points, st.integers(1, 100), st.integers(1, 100), st.floats(0, 1))
def test_the_square_of_the_landmarks_lies_in_the_picture(landmarks, width, height, margin):
    """Wherever they are; the pixels cut out are as many as its side, none of them from outside."""
    square = landmark_square(np.array(landmarks), width, height, margin)
    assert 1 <= square.side <= min(width, height)
    near = pytest.approx
    for centre, length in ((square.x, width), (square.y, height)):
        assert centre - square.side / 2 >= 0 or centre - square.side / 2 == near(0, abs=1e-9)
        assert centre + square.side / 2 <= length or centre + square.side / 2 == near(length)
    face = cut_square(torch.ones(3, height, width, dtype=torch.uint8), square)
    assert face.shape == (3, round(square.side), round(square.side))
    assert face.all()


@given(points, st.floats(0, 0.5))
def test_in_a_large_picture_it_is_the_landmarks_extent_with_the_margin(landmarks, margin):
    xs, ys = (np.array(column) + 1000 for column in zip(*landmarks, strict=True))
    square = landmark_square(np.stack([xs, ys], axis=1), 3000, 2000, margin)
    extent = max(max(xs) - min(xs), max(ys) - min(ys))
    assert square.side == pytest.approx(max(extent * (1 + 2 * margin), 1))
    assert (square.x, square.y) == pytest.approx(((max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2))
    assert square.angle == 0


def test_the_margin_is_5_percent_of_the_longer_side_on_each_side():
    square = landmark_square(np.array([[100, 100], [300, 200]]), 1000, 1000)
    assert attrs_of(square) == pytest.approx((200, 150, 220, 0))


def test_it_is_moved_into_the_picture_before_it_is_shrunk():
    """At the right edge it keeps its side; in a low picture it is as high as that."""
    corners = np.array([[80, 10], [100, 30]])
    assert landmark_square(corners, 100, 100, 0.1) == Square(88, 20, 24)
    assert landmark_square(corners, 100, 18, 0.1) == Square(90, 9, 18)
    assert landmark_square(corners - 200, 100, 100, 0.1) == Square(12, 12, 24)


# Cutting out boxes


@given(sizes, sizes, edges, edges, st.integers(1, 50), st.integers(1, 50))
def test_a_box_is_cut_out_with_black_outside_the_picture(height, width, left, top, across, down):
    """Partly or wholly outside, on any side."""
    pixels = picture(height, width)
    found = cut_box(pixels, left, top, left + across, top + down)
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found, padded_cut(pixels, left, top, left + across, top + down))


def test_boxes_are_left_top_right_bottom():
    pixels = picture(20, 30)
    crop = BoxCrop(np.array([[0, 0, 30, 20], [3.4, 1.6, 12.5, 8.2]]))
    np.testing.assert_array_equal(crop.cut(pixels, 0), pixels)
    np.testing.assert_array_equal(crop.cut(pixels, 1), pixels[:, 2:8, 3:12])


def test_an_empty_box_is_a_pixel():
    """Enough to be scaled."""
    crop = BoxCrop(np.array([[5, 6, 5, 6], [5, 6, 2, 3]]))
    for row in range(2):
        np.testing.assert_array_equal(crop.cut(picture(20, 30), row), picture(20, 30)[:, 6:7, 5:6])


# Cutting out squares


@given(sizes, sizes, edges, edges, st.integers(1, 30))
def test_a_level_square_is_a_box(height, width, left, top, side):
    pixels = picture(height, width)
    found = cut_square(pixels, Square(left + side / 2, top + side / 2, side))
    np.testing.assert_array_equal(found, cut_box(pixels, left, top, left + side, top + side))


@given(sizes, sizes, edges, edges, st.integers(1, 30), st.integers(-3, 3))
def test_quarter_turns_are_those_of_the_level_square(height, width, left, top, side, quarters):
    """A square turned clockwise shows its pixels turned the other way; black outside, too."""
    pixels = picture(height, width)
    square = Square(left + side / 2, top + side / 2, side, quarters * math.pi / 2)
    level = cut_box(pixels, left, top, left + side, top + side)
    np.testing.assert_array_equal(cut_square(pixels, square), torch.rot90(level, quarters, (1, 2)))


@given(st.floats(-3, 3), st.floats(5, 20))
def test_a_turned_square_is_interpolated_between_pixels(angle, side):
    """On a picture whose brightness is a plane, every pixel has the plane's value at its place."""
    assume(abs(angle) > 1e-3)
    y, x = np.mgrid[:60, :80] + 0.5
    pixels = torch.from_numpy(np.stack([x * 3, y * 4, x + y]).round()).to(torch.uint8)
    square = Square(41.3, 28.7, side, angle)
    found = cut_square(pixels, square).numpy().astype(float)
    count = found.shape[1]
    assert count == round(side)
    steps = ((np.arange(count) + 0.5) / count - 0.5) * side
    places = turned(np.stack(np.meshgrid(steps, steps), axis=-1), angle, 1, square.x, square.y)
    expected = np.stack([places[..., 0] * 3, places[..., 1] * 4, places.sum(axis=-1)])
    np.testing.assert_allclose(found, expected, atol=1.01)


def test_beyond_the_edge_a_turned_square_is_black():
    found = cut_square(torch.full((3, 40, 40), 255, dtype=torch.uint8), Square(0, 20, 20, 0.3))
    assert found.shape == (3, 20, 20)
    assert not found[:, :, 0].any()
    assert (found[:, :, -1] == 255).all()


def test_even_the_smallest_square_has_a_pixel():
    pixels = picture(10, 10)
    for angle in (0.0, 1.0):
        assert cut_square(pixels, Square(5, 5, 0.0, angle)).shape == (3, 1, 1)


# Faces


def drawn_face(angle: float, scale: float, x: float, y: float) -> tuple[Tensor, np.ndarray]:
    """A picture with a red left eye, a green right eye and a blue mouth, soft spots; and its landmarks."""
    landmarks = turned(upright_face(), angle, scale, x, y)
    centres = [landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[[48, 54]].mean(0)]
    down, across = np.mgrid[:240, :320] + 0.5
    spots = [np.exp(-((across - cx) ** 2 + (down - cy) ** 2) / (2 * 3.0**2)) for cx, cy in centres]
    return torch.from_numpy((np.stack(spots) * 255).round()).to(torch.uint8), landmarks


def middle(spot: Tensor) -> tuple[float, float]:
    """Its x and y as shares of the picture's side."""
    weights = spot.double().numpy()
    places = (np.arange(len(weights)) + 0.5) / len(weights)
    return (
        float((weights.sum(0) * places).sum() / weights.sum()),
        float((weights.sum(1) * places).sum() / weights.sum()),
    )


@pytest.mark.parametrize("degrees", [-150, -90, -35, -1, 0, 0.5, 20, 90, 179])
@pytest.mark.parametrize("scale", [0.8, 1.3])
def test_a_turned_face_becomes_level(degrees, scale):
    """Eyes 40 apart and 50 above the mouth in a square of 100: at 30 and 70, 25 and 75 hundredths."""
    pixels, landmarks = drawn_face(math.radians(degrees), scale, 160.3, 119.8)
    face = EyeCrop(landmarks[None]).cut(pixels, 0)
    assert face.shape == (3, round(100 * scale), round(100 * scale))
    found = [middle(spot) for spot in face]
    np.testing.assert_allclose(found, [(0.3, 0.25), (0.7, 0.25), (0.5, 0.75)], atol=0.008)


def test_each_row_is_cut_by_its_own_landmarks():
    pixels = picture(100, 100)
    corners = np.array([[[10, 10], [30, 30]], [[50, 40], [70, 60]]])
    crop = LandmarkCrop(corners, margin=0.0)
    np.testing.assert_array_equal(crop.cut(pixels, 0), pixels[:, 10:30, 10:30])
    np.testing.assert_array_equal(crop.cut(pixels, 1), pixels[:, 40:60, 50:70])
    np.testing.assert_array_equal(LandmarkCrop(corners).cut(pixels, 1), pixels[:, 39:61, 49:71])
    moved = np.stack([turned(upright_face(), 0, 0.2, 30, 30), turned(upright_face(), 0, 0.2, 60, 50)])
    np.testing.assert_array_equal(EyeCrop(moved).cut(pixels, 1), pixels[:, 40:60, 50:70])


def test_a_picture_is_never_changed_by_cutting():
    pixels = picture(60, 60)
    before = pixels.clone()
    for angle in (0.0, 0.4):
        face = cut_square(pixels, Square(0, 30, 40, angle))
        assert face.dtype == torch.uint8
        face.zero_()
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("crop", [BoxCrop(np.zeros((1, 4))), EyeCrop(upright_face()[None])])
def test_crops_travel_to_other_processes(crop):
    copy = pickle.loads(pickle.dumps(crop))
    assert torch.equal(copy.cut(picture(9, 9), 0), crop.cut(picture(9, 9), 0))
