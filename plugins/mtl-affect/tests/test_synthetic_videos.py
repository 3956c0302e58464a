"""The synthetic videos: determinism, smooth labels, frames that stray, and what is said of each."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_affect.faces import ACTION_UNITS, EXPRESSIONS, STYLES, valence_arousal
from mtl_affect.faces.affect import ANNOTATOR_STD
from mtl_affect.faces.identity import sample_identity
from mtl_affect.faces.trajectory import LONGEST_SEGMENT, SHORTEST_SEGMENT, Drifts, video_labels
from mtl_affect.faces.videos import LONGEST_GAP, face_found, sample_video_frames, video_lengths
from mtl_affect.synthetic_faces import SyntheticFaces
from mtl_affect.synthetic_videos import SyntheticVideos, VideoSamples, mtl_datasets
from mtl_affect.valence_arousal import ValenceArousal

from mtl_toolkit import DataError, DataFacts, Head

STUDIO, WILD = STYLES["studio"], STYLES["wild"]
TASKS = {"expr": Expression(), "va": ValenceArousal(), "au": ActionUnits()}


def build(tasks: dict[str, Head] | None = None, size: int = 16, **fields: Any) -> VideoSamples:
    facts = DataFacts(tasks=TASKS if tasks is None else tasks, image_size=size)
    return SyntheticVideos(**{"videos": 4, "frames": 40, **fields}).build(facts)


def course(frames: int, *, video: int = 0, seed: int = 1, **fields: Any) -> Any:
    """Labels of a video's first frames."""
    places = np.arange(frames)
    return video_labels(seed, np.full(frames, video), places, style=STUDIO, **fields)


def steps(values: np.ndarray) -> float:
    """Mean distance from each row to the next."""
    return float(np.abs(np.diff(values.astype(np.float64), axis=0)).mean())


def shuffled(values: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).permutation(values)


# A function of seed, video and frame


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(-(2**40), 2**40),
    places=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 2000)), min_size=1, max_size=5),
    style=st.sampled_from(sorted(STYLES)),
    noise=st.sampled_from([0.0, 0.6, 1.0]),
)
def test_a_frame_depends_on_seed_video_and_frame_alone(
    seed: int, places: list[tuple[int, int]], style: str, noise: float
) -> None:
    videos, frames = np.array(places).T
    together = sample_video_frames(seed, videos, frames, style=STYLES[style], frame_noise=noise)
    for row, (video, frame) in enumerate(places):
        alone = sample_video_frames(seed, [video], [frame], style=STYLES[style], frame_noise=noise)
        one, other = flat(alone), flat(together)
        for name, values in one.items():
            np.testing.assert_array_equal(values[0], other[name][row], err_msg=name)


def flat(record: Any, where: str = "") -> dict[str, np.ndarray]:
    """The arrays of a record and of the records in it."""
    if not attrs.has(type(record)):
        return {where: np.asarray(record)}
    fields = [field.name for field in attrs.fields(type(record))]
    return {
        name: values
        for field in fields
        for name, values in flat(getattr(record, field), f"{where}.{field}").items()
    }


def test_pictures_do_not_depend_on_what_is_read_together() -> None:
    samples = build(size=32)
    whole = samples.read(np.arange(60))
    assert whole.shape == (60, 3, 32, 32)
    assert whole.dtype == torch.uint8
    for index in (0, 31, 59):
        assert torch.equal(samples.read([index])[0], whole[index])
    order = [59, 3, 40, 3]
    assert torch.equal(samples.read(order), whole[order])
    assert torch.equal(build(size=32).read([7]), whole[[7]])


def test_no_frames_are_no_pictures() -> None:
    assert build().read([]).shape == (0, 3, 16, 16)


def test_a_part_is_the_same_videos_as_in_the_whole() -> None:
    """`first` and the number of videos choose videos and change none; nor do longer videos change a frame."""
    whole, part = build(videos=4), build(videos=2, first=2)
    names = [whole.id(index) for index in range(len(whole))]
    own = [names.index(part.id(index)) for index in range(len(part))]
    assert own == list(range(len(whole) - len(part), len(whole)))
    np.testing.assert_array_equal(part.labels()["va"].values, whole.labels()["va"].values[own])
    assert torch.equal(part.read([0, 5]), whole.read([own[0], own[5]]))
    short, long = (build(videos=1, frames=n, frames_spread=0, missing=0) for n in (50, 300))
    np.testing.assert_array_equal(short.labels()["va"].values, long.labels()["va"].values[:50])
    assert torch.equal(short.read([49]), long.read([49]))


def test_reading_leaves_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    build().read([0])
    assert torch.get_num_threads() == before


# Labels


def test_valence_arousal_and_units_change_little_from_frame_to_frame() -> None:
    for video in range(4):
        labels = course(300, video=video)
        for values in (labels.valence_arousal, labels.aus):
            assert steps(values) < 0.15 * steps(shuffled(values))
        assert np.abs(np.diff(labels.aus, axis=0)).max() < 0.35


def test_noted_valence_arousal_is_what_the_units_express_with_a_slow_error() -> None:
    labels = video_labels(3, np.repeat(np.arange(20), 200), np.tile(np.arange(200), 20), style=WILD)
    error = labels.valence_arousal - valence_arousal(labels.aus.astype(np.float64))
    assert 0.5 * ANNOTATOR_STD < error.std() < 1.1 * ANNOTATOR_STD
    assert np.abs(error).max() < 3.5 * ANNOTATOR_STD
    assert steps(error) < 0.15 * steps(shuffled(error))
    np.testing.assert_array_equal(labels.au_labels, labels.aus >= 0.3)


def test_an_expression_lasts() -> None:
    """Segments keep their limits; neighbours may have the same expression, and the last is cut."""
    longest = 0
    for video in range(8):
        runs = [len(list(run)) for _, run in groupby(course(400, video=video).expression)]
        assert min(runs[:-1]) >= SHORTEST_SEGMENT
        longest = max(longest, *runs)
    assert longest > LONGEST_SEGMENT / 2


def test_units_of_a_change_lie_between_those_before_and_after() -> None:
    """Neutral without stray units on one side: units rise from near 0, half of the way at the border."""
    style = attrs.evolve(STUDIO, activation=0.0, blend=0.0)
    found = 0
    for video in range(30):
        weights = [1.0, 0, 0, 0, 1.0, 0, 0]
        places = np.arange(400)
        labels = video_labels(2, np.full(400, video), places, style=style, class_weights=weights)
        smile, shown = labels.aus[:, ACTION_UNITS.index("AU12")], labels.expression
        for start in np.flatnonzero((shown[:-1] == 0) & (shown[1:] == EXPRESSIONS.index("happiness"))) + 1:
            if 12 <= start <= 380:
                peak = smile[start + 11]
                assert smile[start - 11] == 0.0
                np.testing.assert_allclose(smile[start - 1 : start + 1].mean() / peak, 0.5, atol=0.17)
                assert np.all(np.diff(smile[start - 10 : start + 3]) >= -0.02)
                found += 1
    assert found > 20


def test_expressions_come_as_often_as_their_weights_say() -> None:
    weights = [0.4, 0.05, 0.05, 0.1, 0.25, 0.15, 0.0]
    videos, frames = np.repeat(np.arange(400), 300), np.tile(np.arange(300), 400)
    drawn = video_labels(2, videos, frames, style=WILD, class_weights=weights).expression
    np.testing.assert_allclose(np.bincount(drawn, minlength=7) / len(drawn), weights, atol=0.03)
    table = dict(zip(EXPRESSIONS, weights, strict=True))
    found = build(videos=100, class_weights={**table, "fear": 0.0}).labels()["expr"].values
    assert set(np.unique(found)) == {0, 1, 2, 4, 5}


def test_labels_are_those_of_the_smooth_course_whatever_frames_show() -> None:
    quiet, noisy = (build(frame_noise=noise) for noise in (0.0, 1.0))
    for task, labels in quiet.labels().items():
        np.testing.assert_array_equal(labels.values, noisy.labels()[task].values)
        assert labels.valid.all()
    assert not torch.equal(quiet.read([0, 1]), noisy.read([0, 1]))


def test_classes_and_units_are_matched_by_name() -> None:
    full = build(videos=30).labels()
    own = {
        "expr": Expression(classes=("surprise", "contempt", "neutral")),
        "va": ValenceArousal(axes=("arousal",)),
        "au": ActionUnits(names=("AU12", "AU1")),
    }
    found = build(own, videos=30).labels()
    names = np.array(EXPRESSIONS)[full["expr"].values]
    np.testing.assert_array_equal(found["expr"].valid, np.isin(names, ["surprise", "neutral"]))
    valid = found["expr"].valid
    assert 0 < valid.sum() < len(valid)
    np.testing.assert_array_equal(
        np.array(own["expr"].classes)[found["expr"].values[valid]],  # type: ignore[attr-defined]
        names[valid],
    )
    np.testing.assert_array_equal(found["va"].values, full["va"].values[:, [1]])
    columns = [ACTION_UNITS.index(unit) for unit in ("AU12", "AU1")]
    np.testing.assert_array_equal(found["au"].values, full["au"].values[:, columns])


def test_soft_heads_get_shares() -> None:
    hard = build().labels()["expr"].values
    soft = build({"expr": Expression(soft=True, classes=EXPRESSIONS[::-1])}).labels()["expr"]
    assert soft.values.dtype == np.float32
    assert soft.valid.all()
    np.testing.assert_array_equal(soft.values.sum(1), 1.0)
    np.testing.assert_array_equal(6 - soft.values.argmax(1), hard)


def test_an_unknown_unit_is_refused_in_one_line() -> None:
    with pytest.raises(DataError) as caught:
        build({"au": ActionUnits(names=("AU1", "AU27"))})
    assert str(caught.value) == "synthetic-videos has no 'AU27' for task 'au'; did you mean 'AU7'?"


def test_a_share_of_the_videos_shows_the_extra_labels() -> None:
    samples = build(
        videos=200, frames=3, labels=["expression"], extra_labels=["valence-arousal"], extra_share=0.3
    )
    assert set(samples.labels()) == {"expr", "va"}
    assert samples.labels()["expr"].valid.all()
    valid, videos = samples.labels()["va"].valid[:, 0], samples.column("video")
    shares = [valid[videos == video].mean() for video in np.unique(videos)]
    assert set(shares) == {0.0, 1.0}
    assert 0.2 < np.mean(shares) < 0.4


# What single frames show


def test_without_noise_frames_show_what_is_felt() -> None:
    videos, frames = np.repeat([0, 5], 100), np.tile(np.arange(100), 2)
    quiet = sample_video_frames(4, videos, frames, style=WILD)
    felt = video_labels(4, videos, frames, style=WILD).aus
    np.testing.assert_allclose(quiet.labels.aus, felt, atol=1e-7)
    assert quiet.frame.occlusion.present.sum() == 0
    assert set(np.unique(quiet.identity.eye_open[:100])) == {float(quiet.identity.eye_open[0])}


def test_noise_disturbs_shown_units_frame_by_frame_and_more_with_more_noise() -> None:
    videos, frames = np.repeat(np.arange(10), 200), np.tile(np.arange(200), 10)
    felt = video_labels(4, videos, frames, style=WILD).aus
    errors = []
    for noise in (0.2, 0.6, 1.0):
        shown = sample_video_frames(4, videos, frames, style=WILD, frame_noise=noise).labels.aus
        assert shown.min() >= 0.0
        assert shown.max() <= 1.0
        error = shown - felt
        errors.append(np.abs(error).mean())
        jumps = np.diff(error[:200], axis=0)  # of independent frames twice the variance, of steady ones none
        assert jumps.var() > 1.2 * error[:200].var()
    assert 0.01 < errors[0] < 0.5 * errors[1] < 0.5 * errors[2]


def test_neighbours_tell_more_than_a_single_frame() -> None:
    """Units averaged over nine frames are nearer to those felt than the frame's own."""
    videos, frames = np.repeat(np.arange(30), 200), np.tile(np.arange(200), 30)
    drawn = sample_video_frames(5, videos, frames, style=WILD, frame_noise=0.6)
    felt = video_labels(5, videos, frames, style=WILD).aus.reshape(30, 200, 12)[:, 4:-4]
    shown = drawn.labels.aus.reshape(30, 200, 12)
    mean = np.stack([shown[:, start : start + 192] for start in range(9)]).mean(0)
    single, averaged = ((part - felt).std() for part in (shown[:, 4:-4], mean))
    assert averaged < 0.6 * single


def test_noise_spoils_the_picture_too() -> None:
    videos, frames = np.repeat(np.arange(10), 100), np.tile(np.arange(100), 10)
    quiet, noisy = (
        sample_video_frames(4, videos, frames, style=STUDIO, frame_noise=noise) for noise in (0.0, 1.0)
    )
    assert noisy.frame.camera.noise.mean() > 3 * quiet.frame.camera.noise.mean()
    assert noisy.frame.camera.blur.mean() > quiet.frame.camera.blur.mean() + 0.2
    assert 0.2 < noisy.frame.occlusion.present.mean() < 0.4
    shut = noisy.identity.eye_open < 0.5 * quiet.identity.eye_open
    assert 0.08 < shut.float().mean() < 0.22
    shake, drift = (np.diff(part.frame.pose.yaw.reshape(10, 100)).std() for part in (noisy, quiet))
    assert shake > 3 * drift


def test_without_noise_pictures_change_slowly() -> None:
    samples = build(videos=1, frames=150, frames_spread=0, missing=0, frame_noise=0, style="studio", size=32)
    pictures = samples.read(np.arange(150)).numpy()
    apart = steps(shuffled(pictures))
    assert steps(pictures) < 0.35 * apart
    noisy = build(videos=1, frames=150, frames_spread=0, missing=0, style="studio", size=32)
    assert steps(noisy.read(np.arange(150)).numpy()) > 2 * steps(pictures)


def test_a_video_shows_one_person_before_one_background() -> None:
    faces = sample_video_frames(4, [3] * 50 + [4], [*range(50), 0], style=WILD)
    for record, name in ((faces.identity, "skin"), (faces.frame.background, "first")):
        colour = getattr(record, name)
        assert torch.equal(colour[:50], colour[:1].expand(50, 3))
        assert not torch.equal(colour[50], colour[0])
    assert len(set(faces.frame.camera.noise_start.tolist())) > 45


# Lengths, gaps, columns


@settings(max_examples=30, deadline=None)
@given(
    frames=st.integers(1, 5000), spread=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(-(2**30), 2**30)
)
def test_lengths_keep_to_the_spread(frames: int, spread: float, seed: int) -> None:
    lengths = video_lengths(seed, np.arange(50), frames, spread)
    assert lengths.dtype == np.int64
    assert lengths.min() >= max(1, np.floor(frames * (1 - spread)))
    assert lengths.max() <= np.ceil(frames * (1 + spread))


def test_lengths_differ_unless_told() -> None:
    lengths = video_lengths(0, np.arange(3000), 200, 0.5)
    assert len(set(lengths.tolist())) > 150
    np.testing.assert_allclose(lengths.mean(), 200, rtol=0.02)
    assert set(video_lengths(0, np.arange(30), 200, 0.0).tolist()) == {200}


@pytest.mark.parametrize("missing", [0.0, 0.05, 0.5])
def test_a_share_of_the_frames_is_missing_in_short_runs(missing: float) -> None:
    found = face_found(3, np.repeat(np.arange(100), 400), np.tile(np.arange(400), 100), missing)
    np.testing.assert_allclose(1 - found.mean(), missing, atol=0.01)
    runs = [len(list(run)) for there, run in groupby(found) if not there]
    if missing == 0.05:
        assert 3 < np.mean(runs) < LONGEST_GAP
        assert max(runs) <= 3 * LONGEST_GAP


def test_columns_and_ids_say_where_a_frame_stands() -> None:
    samples = build(videos=12, seed=3, missing=0.2)
    videos, frames, groups = (samples.column(name) for name in ("video", "frame", "group"))
    assert videos.dtype.kind == groups.dtype.kind == "S"
    assert frames.dtype == np.int64
    assert {len(column) for column in (videos, frames, groups)} == {len(samples)}
    lengths = video_lengths(3, np.arange(12), 40, 0.5)
    assert samples.counts() == {"frames without a face": int(lengths.sum()) - len(samples)}
    gaps = 0
    for video in range(12):
        rows = np.flatnonzero(videos == f"seed 3 video {video:04d}".encode())
        assert np.all(np.diff(rows) == 1)
        assert np.all(np.diff(frames[rows]) >= 1)
        gaps += int((np.diff(frames[rows]) > 1).sum())
        assert frames[rows[0]] >= 1
        assert frames[rows[-1]] <= lengths[video]
        assert set(groups[rows]) == {f"seed 3 person {video}".encode()}
        assert samples.id(int(rows[0])) == f"{video:04d}/{frames[rows[0]]:05d}"
    assert gaps > 5
    assert samples.column("file") is None


def test_frames_that_are_missing_change_no_other() -> None:
    whole, gappy = build(missing=0), build(missing=0.3)
    assert whole.counts() == {}
    names = {whole.id(index): index for index in range(len(whole))}
    own = [names[gappy.id(index)] for index in range(len(gappy))]
    assert 0.5 * len(whole) < len(own) < 0.9 * len(whole)
    np.testing.assert_array_equal(gappy.labels()["va"].values, whole.labels()["va"].values[own])
    assert torch.equal(gappy.read([10]), whole.read([own[10]]))


def test_thinning_keeps_frames_by_number_and_changes_none() -> None:
    whole, thinned = build(seed=5, missing=0.2), build(seed=5, missing=0.2, thin=4)
    kept = np.flatnonzero((whole.column("frame") - 1) % 4 == 0)
    assert 0 < len(kept) < len(whole)
    assert [thinned.id(row) for row in range(len(thinned))] == [whole.id(row) for row in kept]
    assert torch.equal(thinned.read(np.arange(3)), whole.read(kept[:3]))
    for task, labels in thinned.labels().items():
        assert np.array_equal(labels.values, whole.labels()[task].values[kept])


def test_two_seeds_share_nobody_and_one_seed_shares_its_people() -> None:
    """Faces and videos of one seed show the same people, under the same names."""
    one, other = (set(build(seed=seed).column("group")) for seed in (1, 11))
    assert not one & other
    assert not set(build(seed=1).column("video")) & set(build(seed=11).column("video"))
    assert not one & set(build(seed=1, first=4).column("group"))
    faces = SyntheticFaces(samples=40, seed=1, faces_per_identity=1).build(DataFacts(tasks={}, image_size=16))
    assert one <= set(faces.column("group"))


# Mistakes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"style": "wildly"}, "style must be one of studio, wild, film, grey (got 'wildly')"),
        ({"class_weights": {"joy": 1}}, "class_weights: unknown expression 'joy'"),
        ({"class_weights": {"fear": -1}}, "class_weights: fear must be at least 0 (got -1)"),
        ({"frame_noise": 1.5}, "must be between 0 and 1 (got 1.5)"),
        ({"missing": 1.0}, "must be between 0 and 0.9 (got 1.0)"),
        ({"frames": 0}, "must be between 1 and 1000000 (got 0)"),
        ({"videos": 0}, "must be at least 1 (got 0)"),
        ({"labels": ("expression", "expression")}, "must not name anything twice"),
    ],
)
def test_mistakes_are_told_with_what_was_found(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        SyntheticVideos(**fields)
    assert message in str(caught.value)


def test_the_plugin_offers_the_dataset() -> None:
    assert mtl_datasets() == [SyntheticVideos]
    assert SyntheticVideos.name == "synthetic-videos"
    assert all("doc" in field.metadata for field in attrs.fields(SyntheticVideos))


def test_drifts_pass_through_their_knots() -> None:
    frames = np.arange(0, 41)
    values = Drifts.of(1, "a", np.zeros(41, np.int64), frames, 10).normal("x", 2.0)
    knots = values[::10]
    for place in range(4):
        between = values[place * 10 : place * 10 + 11]
        part = np.arange(11) / 10
        expected = knots[place] + (3 * part**2 - 2 * part**3) * (knots[place + 1] - knots[place])
        np.testing.assert_allclose(between, expected, rtol=1e-12)


def test_traits_of_the_person_are_columns_that_the_picture_shows():
    """Faces of one person share them; they are those that the person is drawn with."""
    samples = SyntheticVideos(videos=30, frames=4, seed=3).build(DataFacts({}, 16))
    tones, glasses, groups = (samples.column(name) for name in ("skin_tone", "glasses", "group"))
    people = [int(bytes(group).split()[-1]) for group in groups]
    drawn = sample_identity(3, np.array(people))
    assert (glasses == "yes").tolist() == drawn.glasses.bool().tolist()
    assert 0 < (glasses == "yes").mean() < 1
    assert tones.dtype == np.float64
    assert 0 <= tones.min() < 1
    assert 3 < tones.max() <= 4
    # Darker skin reflects less.
    assert np.corrcoef(tones, drawn.skin.mean(1).numpy())[0, 1] < -0.95
    assert samples.column_names() == ("group", "video", "frame", "skin_tone", "glasses")
    assert samples.column("no such column") is None


def test_faces_have_the_traits_of_their_person():
    samples = SyntheticFaces(samples=12, faces_per_identity=4, seed=5).build(DataFacts({}, 16))
    assert samples.column_names() == ("group", "skin_tone", "glasses")
    tones = samples.column("skin_tone").reshape(3, 4)
    assert (tones == tones[:, :1]).all()
    assert len(np.unique(tones)) == 3
    assert (samples.column("glasses") == "yes").tolist() == sample_identity(
        5, np.arange(12) // 4
    ).glasses.bool().tolist()
