"""Smoothing along a video: by frame number, whatever frames or predictions are missing."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std import smoothing
from mtl_std.smoothing import Gaussian, Mean, Median, mtl_postprocessors

from mtl_toolkit import PostProcessor

ALL = [Mean(), Gaussian(), Median()]
NONE = [Mean(window=1), Gaussian(sigma=0.2), Median(window=1)]  # windows of one frame


def name(recipe: PostProcessor) -> str:
    return recipe.name


each = pytest.mark.parametrize("recipe", ALL, ids=name)
some = settings(max_examples=50)  # a loop over pairs of rows takes its time
averages = pytest.mark.parametrize("recipe", ALL[:2], ids=name)


@st.composite
def videos(draw, probabilities=False):
    """Values [rows, 3] with rows of NaN, and ascending frame numbers with gaps, short ones and long ones."""
    steps = st.one_of(st.integers(1, 3), st.integers(1, 200))
    frames = np.cumsum(draw(st.lists(steps, min_size=1, max_size=40)))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    size = (len(frames), 3)
    values = generator.dirichlet(np.ones(3), len(frames)) if probabilities else generator.normal(0, 2, size)
    missing = draw(st.lists(st.booleans(), min_size=len(frames), max_size=len(frames)))
    values[np.array(missing)] = np.nan
    return values.astype(np.float32), frames.astype(np.int64)


def naive(values, frames, radius, combine):
    """Row by row: `combine(distances, column)` over the rows with a prediction that are near enough."""
    result = values.copy()
    for row, frame in enumerate(frames.tolist()):
        if math.isnan(values[row, 0]):
            continue
        near = [
            other
            for other, number in enumerate(frames.tolist())
            if abs(number - frame) <= radius and not math.isnan(values[other, 0])
        ]
        distances = [abs(int(frames[other]) - frame) for other in near]
        for column in range(values.shape[1]):
            result[row, column] = combine(distances, [float(values[other, column]) for other in near])
    return result


def assert_same(found, expected):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@some
@given(videos(), st.sampled_from([1, 3, 9, 51, 1001]))
def test_the_mean_is_that_of_the_rows_within_half_a_window_of_frames(video, window):
    expected = naive(*video, window // 2, lambda _distances, column: statistics.fmean(column))
    assert_same(Mean(window=window).apply(*video), expected)


@some
@given(videos(), st.sampled_from([1, 3, 9, 51, 1001]))
def test_the_median_is_that_of_the_rows_within_half_a_window_of_frames(video, window):
    expected = naive(*video, window // 2, lambda _distances, column: statistics.median(column))
    assert_same(Median(window=window).apply(*video), expected)


@some
@given(videos(), st.sampled_from([0.1, 0.25, 1.3, 3.0, 40.0]))
def test_the_gaussian_weighs_the_rows_within_4_sigma_by_their_distance(video, sigma):
    def combine(distances, column):
        weights = [math.exp(-(d**2) / (2 * sigma**2)) for d in distances]
        return sum(w * value for w, value in zip(weights, column, strict=True)) / sum(weights)

    assert_same(Gaussian(sigma=sigma).apply(*video), naive(*video, 4 * sigma, combine))


@some
@given(videos(), st.integers(0, 30))
def test_the_two_ways_to_the_gaussian_sums_agree(video, radius):
    values, frames = np.nan_to_num(video[0]).astype(np.float64), video[1]
    by_grid = smoothing.convolved(values, frames, radius, 3.0)
    np.testing.assert_allclose(by_grid, smoothing.summed_pairs(values, frames, radius, 3.0), atol=1e-9)


def test_a_frame_far_from_the_others_sees_only_itself():
    frames = np.array([1, 2, 9])
    values = np.array([[1.0], [3.0], [7.0]], np.float32)
    assert Mean(window=5).apply(values, frames).tolist() == [[2.0], [2.0], [7.0]]
    assert Median(window=5).apply(values, frames).tolist() == [[2.0], [2.0], [7.0]]
    assert Gaussian(sigma=1).apply(values, frames)[2] == 7.0


@each
def test_rows_without_a_prediction_stay_so_and_change_no_other(recipe):
    frames = np.arange(1, 31)
    values = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    absent = np.isin(frames, [1, 7, 8, 30])
    values[absent] = [np.nan, 5.0]
    values[15] = [np.inf, -5.0]
    absent[15] = True
    smoothed = recipe.apply(values, frames)
    np.testing.assert_array_equal(smoothed[absent], values[absent])
    np.testing.assert_array_equal(smoothed[~absent], recipe.apply(values[~absent], frames[~absent]))


@each
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_no_prediction_at_all_gives_none(recipe, rows):
    values = np.full((rows, 3), np.nan, np.float32)
    smoothed = recipe.apply(values, np.arange(rows))
    np.testing.assert_array_equal(smoothed, values)
    assert smoothed.dtype == np.float32


@each
@some
@given(video=videos())
def test_what_is_constant_stays_exactly_so(recipe, video):
    values, frames = video
    values[~np.isnan(values[:, 0])] = np.float32([0.1, -0.7, 123.4])
    np.testing.assert_array_equal(recipe.apply(values, frames), values)


@each
def test_a_single_row_stays(recipe):
    values = np.float32([[0.3, 0.7]])
    np.testing.assert_array_equal(recipe.apply(values, np.array([17])), values)


@pytest.mark.parametrize("recipe", NONE, ids=name)
@some
@given(video=videos(probabilities=True))
def test_a_window_of_one_frame_changes_nothing(recipe, video):
    np.testing.assert_allclose(recipe.apply(*video), video[0], rtol=0, atol=1e-9)


@averages
@some
@given(video=videos(probabilities=True))
def test_averaged_probabilities_are_none_negative_and_add_up_to_1(recipe, video):
    smoothed = recipe.apply(*video)
    present = ~np.isnan(video[0][:, 0])
    assert (smoothed[present] >= 0).all()
    np.testing.assert_allclose(smoothed[present].sum(1), 1, atol=1e-6)


def test_a_tiny_probability_never_turns_negative():
    large = np.random.default_rng(0).random(5000)
    tiny = np.where(np.arange(5000) < 2500, large, 1e-30)
    values = np.stack([tiny, 1 - tiny], axis=1).astype(np.float32)
    assert (Mean().apply(values, np.arange(5000)) >= 0).all()


@some
@given(videos(probabilities=True))
def test_medians_of_probabilities_are_scaled_to_a_sum_of_1(video):
    values, frames = video
    medians = naive(values, frames, 4, lambda _distances, column: statistics.median(column))
    sums = medians.sum(1, keepdims=True)
    expected = np.where(sums > 0, medians / np.where(sums > 0, sums, 1), values)
    assert_same(Median(window=9).apply(values, frames), expected)


def test_medians_that_are_all_0_leave_the_row_as_it_is():
    values = np.eye(3, dtype=np.float32)
    assert Median(window=5).apply(values, np.arange(3)).tolist() == values.tolist()


def test_medians_of_points_are_not_scaled_where_a_row_happens_to_add_up_to_1():
    values = np.float32([[0.2, 0.8], [0.1, 0.1], [0.3, 0.2]])
    np.testing.assert_allclose(Median(window=3).apply(values, np.arange(3))[1], [0.2, 0.2])


def test_the_median_is_the_same_in_blocks(monkeypatch):
    generator = np.random.default_rng(0)
    values, frames = generator.normal(size=(50, 3)).astype(np.float32), np.arange(50)
    whole = Median().apply(values, frames)
    for block in (1, 100, 700):
        monkeypatch.setattr(smoothing, "BLOCK", block)
        np.testing.assert_array_equal(Median().apply(values, frames), whole)


@each
def test_a_long_video_comes_out_as_its_parts_do(recipe):
    frames = np.cumsum(np.random.default_rng(1).integers(1, 3, 100_000))
    values = np.random.default_rng(0).random((100_000, 2)).astype(np.float32)
    smoothed = recipe.apply(values, frames)
    part = slice(50_000, 50_100)
    assert_same(smoothed[part][20:80], recipe.apply(values[part], frames[part])[20:80])


@each
def test_a_few_rows_at_enormous_frame_numbers_need_no_memory_for_those_between(recipe):
    values = np.float32([[1, 2], [4, 3], [5, 0]])
    frames = np.array([1, 10**12, 10**15])
    np.testing.assert_array_equal(recipe.apply(values, frames), values)


def test_a_window_longer_than_any_video_takes_all_of_it():
    values, frames = np.float32([[1], [2], [6]]), np.array([1, 5, 90])
    assert Mean(window=10**30 + 1).apply(values, frames).ravel().tolist() == [3, 3, 3]
    assert Median(window=10**30 + 1).apply(values, frames).ravel().tolist() == [2, 2, 2]
    np.testing.assert_allclose(Gaussian(sigma=1e30).apply(values, frames).ravel(), 3)


@each
@pytest.mark.parametrize("frames", [[3, 2], [2, 2]])
def test_frames_must_ascend(recipe, frames):
    with pytest.raises(ValueError, match=rf"frames must ascend, each once \(got 2 after {frames[0]}\)"):
        recipe.apply(np.zeros((2, 1), np.float32), np.array(frames))


@each
def test_the_argument_is_left_alone(recipe):
    values = np.random.default_rng(0).random((9, 2)).astype(np.float32)
    before = values.copy()
    recipe.apply(values, np.arange(9))
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("window", [0, -1, 4])
@pytest.mark.parametrize("recipe", [Mean, Median])
def test_a_window_must_be_odd(recipe, window):
    with pytest.raises(ValueError, match=rf"must be an odd number, at least 1 \(got {window}\)"):
        recipe(window=window)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.inf, math.nan])
def test_sigma_must_be_finite_and_above_0(sigma):
    with pytest.raises(ValueError, match="must be a finite number above 0"):
        Gaussian(sigma=sigma)


def test_the_plugin_offers_the_three():
    assert [recipe.name for recipe in mtl_postprocessors()] == ["mean", "gaussian", "median"]
