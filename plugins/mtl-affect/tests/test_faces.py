"""The synthetic faces: determinism, labels, and what the parameters do to the picture."""

from collections.abc import Iterator
from itertools import pairwise

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_affect.faces import (
    ACTION_UNITS,
    EXPRESSIONS,
    STYLES,
    Faces,
    labels,
    render,
    sample,
    sample_frame,
    sample_identity,
    take,
    valence_arousal,
)
from mtl_affect.faces.hashing import Draws, cumulative
from torch import nn
from torch.nn import functional as F

STUDIO, WILD = STYLES["studio"], STYLES["wild"]
SIZE = 64
UPPER, LOWER = slice(0, 36), slice(36, 64)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep small operations from waiting for threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_same_labels(left: object, right: object) -> None:
    for name in ("expression", "valence_arousal", "au_labels", "aus", "identity_id"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def frontal(count: int) -> Faces:
    """Neutral faces in the middle of the picture, without noise, hair or anything in front."""
    style = attrs.evolve(
        STUDIO,
        roll=0.0,
        yaw=0.0,
        pitch=0.0,
        shift=0.0,
        scale=(0.9, 0.9),
        noise=(0.0, 0.0),
        blur=0.0,
        activation=0.0,
        blend=0.0,
    )
    faces = sample(3, range(count), style=style, class_weights=[1, 0, 0, 0, 0, 0, 0], faces_per_identity=1)
    plain = {name: torch.zeros(count) for name in ("beard", "moustache", "glasses", "hair_amount")}
    return attrs.evolve(faces, identity=attrs.evolve(faces.identity, **plain))


def with_unit(faces: Faces, unit: str, intensity: float) -> Faces:
    aus = np.zeros_like(faces.labels.aus)
    aus[:, ACTION_UNITS.index(unit)] = intensity
    return attrs.evolve(faces, labels=attrs.evolve(faces.labels, aus=aus))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(-(2**40), 2**40),
    indices=st.lists(st.integers(0, 10**12), min_size=1, max_size=12),
    style=st.sampled_from(sorted(STYLES)),
)
def test_a_face_depends_on_seed_and_index_alone(seed: int, indices: list[int], style: str) -> None:
    together = sample(seed, indices, style=STYLES[style])
    pictures = render(together, 32)
    for place, index in enumerate(indices):
        alone = sample(seed, [index], style=STYLES[style])
        assert torch.equal(render(alone, 32)[0], pictures[place])
        assert_same_labels(alone.labels, take(together.labels, slice(place, place + 1)))


def test_chunks_do_not_show() -> None:
    faces = sample(1, range(100), style=WILD)
    reversed_faces = take(faces, np.arange(99, -1, -1))
    assert torch.equal(render(faces, SIZE), render(reversed_faces, SIZE).flip(0))


def test_seeds_and_indices_differ() -> None:
    pictures = torch.cat([render(sample(seed, range(8), style=WILD), 32) for seed in (0, 1)])
    assert len({picture.numpy().tobytes() for picture in pictures}) == 16


def test_no_faces() -> None:
    faces = sample(0, [], style=WILD)
    assert len(faces) == 0
    assert render(faces, 32).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("size", [16, 32, 48, 63, 112, 256])
@pytest.mark.parametrize("style", sorted(STYLES))
def test_any_size_renders_the_same_faces(size: int, style: str) -> None:
    quiet = attrs.evolve(STYLES[style], noise=(0.0, 0.0), blur=0.0, blocks=0.0)
    faces = sample(5, range(4), style=quiet)
    pictures = render(faces, size)
    assert pictures.shape == (4, 3, size, size)
    assert pictures.dtype == torch.uint8
    small, reference = (F.adaptive_avg_pool2d(p.float(), 16) for p in (pictures, render(faces, 128)))
    assert (small - reference).abs().mean() < (10 if size < 32 else 4)


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        render(sample(0, [0], style=WILD), 8)


def test_labels_need_no_rendering_and_agree_with_sample() -> None:
    indices = np.arange(40_000)[::-7]
    weights = [3, 1, 1, 1, 2, 1, 1]
    light = labels(9, indices, style=WILD, class_weights=weights, faces_per_identity=3)
    assert_same_labels(
        light, sample(9, indices, style=WILD, class_weights=weights, faces_per_identity=3).labels
    )
    np.testing.assert_array_equal(light.au_labels, light.aus >= 0.3)


def test_class_frequencies_follow_the_weights() -> None:
    weights = np.array([0.4, 0.05, 0.05, 0.1, 0.25, 0.15, 0.0])
    drawn = labels(2, range(50_000), style=WILD, class_weights=list(weights)).expression
    frequencies = np.bincount(drawn, minlength=7) / len(drawn)
    np.testing.assert_allclose(frequencies, weights, atol=0.01)
    assert frequencies[6] == 0.0


@pytest.mark.parametrize("weights", [[1.0] * 6, [0.0] * 7, [1, 1, 1, 1, 1, 1, -1], [float("nan")] * 7])
def test_weights_that_are_no_distribution_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        labels(0, [0], style=WILD, class_weights=weights)


def test_identities_are_shared_by_consecutive_faces() -> None:
    faces = sample(4, range(12), style=WILD, faces_per_identity=4)
    np.testing.assert_array_equal(faces.labels.identity_id, np.arange(12) // 4)
    width = faces.identity.width
    assert torch.equal(width[0:4], width[0].expand(4))
    assert width[0] != width[4]
    assert len(set(faces.frame.pose.roll.tolist())) == 12
    with pytest.raises(ValueError, match="faces_per_identity"):
        sample(4, [0], style=WILD, faces_per_identity=0)


def test_identity_and_frame_are_sampled_apart() -> None:
    faces = sample(4, range(12), style=WILD)
    assert torch.equal(sample_identity(4, faces.labels.identity_id).skin, faces.identity.skin)
    assert torch.equal(sample_frame(4, np.arange(12), WILD).camera.noise, faces.frame.camera.noise)


def test_valence_and_arousal_are_in_range_and_sensibly_ordered() -> None:
    drawn = labels(6, range(20_000), style=STUDIO)
    assert drawn.valence_arousal.dtype == np.float32
    assert np.abs(drawn.valence_arousal).max() <= 1.0
    means = {name: drawn.valence_arousal[drawn.expression == i].mean(0) for i, name in enumerate(EXPRESSIONS)}
    valence, arousal = ({name: float(mean[axis]) for name, mean in means.items()} for axis in (0, 1))
    assert valence["happiness"] > 0.5
    assert all(valence[name] < -0.3 for name in ("anger", "disgust", "fear", "sadness"))
    assert abs(valence["neutral"]) < 0.2
    assert arousal["sadness"] < arousal["neutral"] < arousal["happiness"]
    assert all(arousal[name] > 0.2 for name in ("anger", "fear", "surprise"))


@given(aus=st.lists(st.floats(0.0, 1.0), min_size=12, max_size=12))
def test_annotations_are_near_what_units_express(aus: list[float]) -> None:
    expressed = valence_arousal(np.array([aus]))
    assert expressed.shape == (1, 2)
    assert np.abs(expressed).max() < 1.0


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_units_move_the_region_they_belong_to(unit: str) -> None:
    faces = frontal(6)
    rest, shown = (render(with_unit(faces, unit, value), SIZE).float() for value in (0.0, 1.0))
    change = (shown - rest).abs().mean(dim=(0, 1))
    upper, lower = float(change[UPPER].sum()), float(change[LOWER].sum())
    assert upper + lower > 150.0
    if unit in {"AU1", "AU2", "AU4", "AU6", "AU7"}:
        assert upper > 2 * lower
    else:
        assert lower > 2 * upper


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_units_act_gradually(unit: str) -> None:
    faces = frontal(6)
    rest, half, full = (render(with_unit(faces, unit, value), SIZE).float() for value in (0.0, 0.4, 1.0))
    assert 0.0 < (half - rest).abs().mean() < (full - rest).abs().mean()


def test_styles_differ_as_databases_do() -> None:
    pictures = {
        name: render(sample(8, range(200), style=style), 32).float() for name, style in STYLES.items()
    }
    colour = {name: float((p[:, 0] - p[:, 2]).abs().mean()) for name, p in pictures.items()}
    assert colour["grey"] == 0.0
    assert min(colour[name] for name in ("studio", "wild", "film")) > 10.0
    brightness = {name: float(p.mean()) for name, p in pictures.items()}
    assert brightness["film"] < min(brightness["studio"], brightness["wild"]) - 10.0
    edges = {name: float((p[..., :4, 1:] - p[..., :4, :-1]).abs().mean()) for name, p in pictures.items()}
    assert edges["studio"] < 0.75 * edges["wild"]


def test_streams_are_independent() -> None:
    ids = np.arange(20_000)
    columns = [Draws(seed, group, ids).uniform(name) for seed in (0, 1) for group in "ab" for name in "xy"]
    assert np.abs(np.corrcoef(columns) - np.eye(8)).max() < 0.03
    np.testing.assert_allclose([c.mean() for c in columns], 0.5, atol=0.01)
    bell = Draws(0, "a", ids).normal("z", 2.0, 0.5)
    np.testing.assert_allclose([bell.mean(), bell.std()], [2.0, 0.5], atol=0.01)
    np.testing.assert_allclose(cumulative([1.0, 1.0, 2.0]), [0.25, 0.5, 1.0])


def studio_set(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures in -1..1 and their expressions, in the style that a network learns fastest."""
    faces = sample(seed, range(count), style=STUDIO)
    return render(faces, 48).float() / 127.5 - 1.0, torch.from_numpy(faces.labels.expression)


def macro_f1(predicted: torch.Tensor, truth: torch.Tensor) -> float:
    scores = []
    for label in range(len(EXPRESSIONS)):
        hits = ((predicted == label) & (truth == label)).sum()
        scores.append(float(2 * hits / ((predicted == label).sum() + (truth == label).sum()).clamp(min=1)))
    return float(np.mean(scores))


def ridge_f1(train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor]) -> float:
    inputs, held_out = (F.avg_pool2d(part[0], 2).flatten(1) for part in (train, test))
    centred = inputs - inputs.mean(0)
    targets = F.one_hot(train[1], len(EXPRESSIONS)).float()
    kernel = centred.T @ centred + 1000.0 * torch.eye(centred.shape[1])
    weights = torch.linalg.solve(kernel, centred.T @ targets)
    return macro_f1(((held_out - inputs.mean(0)) @ weights).argmax(1), test[1])


def small_network() -> nn.Sequential:
    widths = [3, 16, 32, 64, 128]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * 9, len(EXPRESSIONS)))


def network_f1(train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor]) -> float:
    torch.manual_seed(0)
    network = small_network()
    steps = torch.cat([torch.randperm(len(train[1])) for _ in range(8)]).view(-1, 50)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=len(steps))
    for step, part in enumerate(steps):
        pictures = train[0][part].flip(3) if step % 2 else train[0][part]
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(pictures), train[1][part]))
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return macro_f1(network.eval()(test[0]).argmax(1), test[1])


@pytest.mark.slow
def test_expressions_need_more_than_a_linear_model() -> None:
    train, test = studio_set(20, 3000), studio_set(21, 700)
    linear, network = ridge_f1(train, test), network_f1(train, test)
    assert linear < 0.4
    assert network > linear + 0.2
