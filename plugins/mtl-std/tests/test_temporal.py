"""The temporal networks: shapes, masks, gradients, precision, and what each computes."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std.temporal import GRU, TCN, Transformer, mtl_temporals
from mtl_std.temporal_layers import sinusoids
from torch import Tensor, nn

from mtl_toolkit import Temporal

FEATURES = 5
LENGTHS = (7, 3, 1)  # of the windows of a batch
NETWORKS: dict[str, tuple[Temporal, int]] = {
    "gru": (GRU(hidden=6), 12),
    "gru, forward, two layers": (GRU(hidden=6, layers=2, bidirectional=False, dropout=0.2), 6),
    "tcn": (TCN(channels=8, layers=2), 8),
    "tcn, causal": (TCN(channels=FEATURES, layers=2, kernel=5, causal=True), FEATURES),
    "transformer": (Transformer(width=8, heads=2, feedforward=12), 8),
    "transformer, odd width": (Transformer(width=9, heads=3, layers=1, dropout=0.0), 9),
}
every_network = pytest.mark.parametrize("case", NETWORKS)


def built(recipe: Temporal, *, training: bool = False, seed: int = 0) -> nn.Module:
    """A network with weights of its own seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return recipe.build(FEATURES).train(training)


def network(case: str, *, training: bool = False) -> nn.Module:
    return built(NETWORKS[case][0], training=training)


def scattered(module: nn.Module) -> nn.Module:
    """In float64, with no parameter left at the zero or one it may have started from."""
    module = module.double()
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.add_(0.3 * noise(*parameter.shape, seed=seed))
    return module


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mask_of(*lengths: int, frames: int | None = None) -> Tensor:
    return torch.arange(frames or max(lengths))[None] < torch.tensor(lengths)[:, None]


def filled(inputs: Tensor, mask: Tensor, outside: Tensor | float) -> Tensor:
    """The inputs, with something else outside the mask."""
    return torch.where(mask[..., None], inputs, outside)


def gradients(module: nn.Module, inputs: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Of the summed squares of the outputs inside the mask: by parameter, and of the inputs."""
    module = copy.deepcopy(module)
    inputs = inputs.clone().requires_grad_()
    (module(inputs, mask)[mask] ** 2).sum().backward()
    assert inputs.grad is not None
    found = {"inputs": inputs.grad}
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        found[name] = parameter.grad
    return found


# Every network.


def test_every_network_of_the_package_is_among_the_cases():
    assert {type(recipe) for recipe, _ in NETWORKS.values()} == set(mtl_temporals())
    assert [recipe.name for recipe in mtl_temporals()] == ["gru", "tcn", "transformer"]


@every_network
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("windows", "frames"), [(1, 1), (3, 1), (1, 32), (4, 9)])
def test_every_frame_of_every_window_has_outputs(case, training, windows, frames):
    module, size = network(case, training=training), NETWORKS[case][1]
    assert module.num_features == size
    for mask in (None, mask_of(*[frames] * windows)):
        outputs = module(noise(windows, frames, FEATURES), mask)
        assert outputs.shape == (windows, frames, size)
        assert outputs.dtype == torch.float32
        assert outputs.isfinite().all()


@every_network
@pytest.mark.parametrize("outside", [1e4, math.nan])
def test_what_lies_outside_the_mask_does_not_matter(case, outside):
    """Neither to outputs nor to gradients; its own gradient and the outputs there are zero."""
    module, mask, inputs = network(case), mask_of(*LENGTHS), noise(3, 7, FEATURES)
    expected = module(filled(inputs, mask, 0.0), mask)
    outputs = module(filled(inputs, mask, outside), mask)
    assert torch.equal(outputs, expected)
    assert not outputs[~mask].any()
    clean, poisoned = (gradients(module, filled(inputs, mask, value), mask) for value in (0.0, outside))
    assert not poisoned["inputs"][~mask].any()
    for name, gradient in clean.items():
        assert torch.equal(poisoned[name], gradient), name


@every_network
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_any_frames_outside_any_mask_may_change(case, data):
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    frames = data.draw(st.integers(max(lengths), 11))
    seed = data.draw(st.integers(0, 1000))
    module, mask = network(case), mask_of(*lengths, frames=frames)
    inputs = noise(len(lengths), frames, FEATURES, seed=seed)
    changed = filled(inputs, mask, 100 * noise(*inputs.shape, seed=seed + 1))
    assert torch.equal(module(changed, mask)[mask], module(inputs, mask)[mask])
    before, after = gradients(module, inputs, mask), gradients(module, changed, mask)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


@every_network
@pytest.mark.parametrize("masked_alone", [True, False])
def test_a_short_window_alone_gives_the_same_as_padded_in_a_batch(case, masked_alone):
    module, mask, inputs = network(case), mask_of(*LENGTHS), noise(3, 7, FEATURES)
    together = module(filled(inputs, mask, 1e4), mask)
    for window, length in enumerate(LENGTHS):
        own_mask = mask_of(length) if masked_alone else None
        alone = module(inputs[window : window + 1, :length], own_mask)
        torch.testing.assert_close(together[window, :length], alone[0])


@every_network
def test_padding_adds_nothing_to_the_gradients(case):
    """The gradient of a padded batch is the sum of those of its windows alone."""
    module, mask, inputs = network(case), mask_of(*LENGTHS), noise(3, 7, FEATURES)
    together = gradients(module, filled(inputs, mask, 1e4), mask)
    alone = [
        gradients(module, inputs[window : window + 1, :length], mask_of(length))
        for window, length in enumerate(LENGTHS)
    ]
    for window, length in enumerate(LENGTHS):
        own = alone[window].pop("inputs")[0]
        torch.testing.assert_close(together["inputs"][window, :length], own, rtol=1e-4, atol=1e-5)
    for name in alone[0]:
        total = sum(one[name] for one in alone)
        torch.testing.assert_close(together[name], total, rtol=1e-4, atol=1e-4, msg=name)


@every_network
def test_no_mask_means_that_all_frames_count(case):
    module, inputs = network(case), noise(3, 7, FEATURES)
    torch.testing.assert_close(module(inputs, None), module(inputs, mask_of(7, 7, 7)))
    assert torch.equal(module(inputs), module(inputs, None))


@every_network
@pytest.mark.parametrize("learning", [True, False])
def test_a_window_without_frames_spoils_no_other(case, learning):
    """Outputs are the same, and none is nan, with gradients on and off (torch has a path for each)."""
    module, inputs = network(case), noise(2, 4, FEATURES)
    with torch.set_grad_enabled(learning):
        outputs = module(filled(inputs, mask_of(3, 0, frames=4), math.nan), mask_of(3, 0, frames=4))
        expected = module(inputs[:1], mask_of(3, frames=4))
    torch.testing.assert_close(outputs[:1], expected)
    assert not outputs[1].any()


@every_network
def test_gradients_reach_all_parameters(case):
    found = gradients(network(case, training=True), noise(3, 7, FEATURES), mask_of(*LENGTHS))
    assert [name for name, gradient in found.items() if not gradient.any()] == []


@every_network
def test_a_state_dict_carries_all_that_was_learned(case):
    first, second = network(case), built(NETWORKS[case][0], seed=1)
    inputs, mask = noise(3, 7, FEATURES), mask_of(*LENGTHS)
    assert not torch.equal(first(inputs, mask), second(inputs, mask))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(inputs, mask), second(inputs, mask))


@every_network
def test_eval_has_no_dropout_and_is_the_same_with_and_without_gradients(case):
    module, inputs, mask = network(case), noise(3, 7, FEATURES), mask_of(*LENGTHS)
    expected = module(inputs, mask)
    assert torch.equal(module(inputs, mask), expected)
    with torch.inference_mode():
        again = module(inputs, mask)
        assert torch.equal(module(inputs, mask), again)
    torch.testing.assert_close(again, expected)


@every_network
def test_training_with_one_seed_gives_the_same_twice(case):
    module, inputs, mask = network(case, training=True), noise(3, 7, FEATURES), mask_of(*LENGTHS)

    def once() -> dict[str, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return gradients(module, inputs, mask)

    first, second = once(), once()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "recipe",
    [
        GRU(hidden=6, dropout=0.5),
        GRU(hidden=6, layers=2, dropout=0.5),
        TCN(channels=8, dropout=0.5),
        Transformer(width=8, heads=2, dropout=0.5),
    ],
)
def test_dropout_is_random_while_training(recipe):
    module, inputs = built(recipe, training=True), noise(3, 7, FEATURES)
    assert not torch.equal(module(inputs, None), module(inputs, None))


@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("masked", [True, False])
def test_bfloat16_autocast_is_finite_and_close(case, dtype, masked):
    """With the inputs that autocast's own layers would hand over, too."""
    module, inputs = network(case), noise(3, 7, FEATURES)
    mask = mask_of(*LENGTHS) if masked else None
    expected = module(inputs, mask)
    inputs = inputs.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = module(inputs, mask)
    assert outputs.isfinite().all()
    torch.testing.assert_close(outputs.float(), expected, rtol=0.1, atol=0.1)
    outputs.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@every_network
def test_a_network_of_another_precision_works_in_it(case, dtype):
    module = network(case).to(dtype)
    outputs = module(noise(3, 7, FEATURES).to(dtype), mask_of(*LENGTHS))
    assert outputs.dtype == dtype
    assert outputs.isfinite().all()


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (GRU, {"hidden": 0}, r"must be at least 1 \(got 0\)"),
        (GRU, {"layers": 0}, r"must be at least 1 \(got 0\)"),
        (GRU, {"dropout": 1.5}, r"must be between 0 and 1 \(got 1.5\)"),
        (TCN, {"channels": 0}, r"must be at least 1 \(got 0\)"),
        (TCN, {"layers": 0}, r"must be at least 1 \(got 0\)"),
        (TCN, {"kernel": 4}, r"must be odd and at least 1 \(got 4\)"),
        (TCN, {"kernel": -1}, r"must be odd and at least 1 \(got -1\)"),
        (Transformer, {"width": 0}, r"must be at least 1 \(got 0\)"),
        (Transformer, {"heads": 0}, r"must be at least 1 \(got 0\)"),
        (Transformer, {"width": 10, "heads": 3}, r"must divide the width, 10 \(got 3\)"),
        (Transformer, {"feedforward": 0}, r"must be at least 1 \(got 0\)"),
        (Transformer, {"dropout": math.nan}, r"must be between 0 and 1 \(got nan\)"),
    ],
)
def test_options_outside_their_range_are_refused(recipe, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        recipe(**options)


# GRU.


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def read_window(window: np.ndarray, weights: dict[str, np.ndarray], suffix: str) -> np.ndarray:
    """One direction of a GRU over [frames, features]: Cho et al. (2014), the reset after the product.

    r = s(W_r x + b_r + U_r h + c_r), z likewise, n = tanh(W_n x + b_n + r (U_n h + c_n)),
    h' = (1 - z) n + z h; h starts at zero.
    """
    w, u = weights[f"weight_ih_{suffix}"], weights[f"weight_hh_{suffix}"]
    b, c = weights[f"bias_ih_{suffix}"], weights[f"bias_hh_{suffix}"]
    state, states = np.zeros(u.shape[1]), []
    for frame in window:
        in_reset, in_update, in_new = np.split(w @ frame + b, 3)
        of_reset, of_update, of_new = np.split(u @ state + c, 3)
        update = sigmoid(in_update + of_update)
        new = np.tanh(in_new + sigmoid(in_reset + of_reset) * of_new)
        state = (1 - update) * new + update * state
        states.append(state)
    return np.array(states)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_gru_follows_the_formula_in_both_directions(bidirectional, layers):
    """ReLU comes last, and is not between the layers; the backward direction starts at a window's end."""
    module = built(GRU(hidden=4, layers=layers, bidirectional=bidirectional)).double()
    weights = {name: value.numpy() for name, value in module.gru.state_dict().items()}
    inputs, mask = noise(3, 7, FEATURES).double(), mask_of(*LENGTHS)
    outputs = module(filled(inputs, mask, 1e4), mask).detach().numpy()
    for window, length in enumerate(LENGTHS):
        frames = inputs[window, :length].numpy()
        for layer in range(layers):
            directions = [read_window(frames, weights, f"l{layer}")]
            if bidirectional:
                directions.append(read_window(frames[::-1], weights, f"l{layer}_reverse")[::-1])
            frames = np.concatenate(directions, axis=1)
        np.testing.assert_allclose(outputs[window, :length], np.maximum(frames, 0), atol=1e-12)


def test_gru_is_64_units_each_way_by_default():
    module = GRU().build(128)
    assert module.num_features == 128
    assert {name: tuple(value.shape) for name, value in module.named_parameters() if "weight" in name} == {
        "gru.weight_ih_l0": (192, 128),
        "gru.weight_hh_l0": (192, 64),
        "gru.weight_ih_l0_reverse": (192, 128),
        "gru.weight_hh_l0_reverse": (192, 64),
    }


def test_gru_drops_outputs_of_the_last_layer():
    module, inputs = built(GRU(hidden=50, dropout=0.5), training=True), noise(2, 5, FEATURES)
    dropped, whole = module(inputs, None), module.eval()(inputs, None)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])
    assert 0.3 < kept.sum() / (whole != 0).sum() < 0.7


def test_gru_drops_outputs_between_its_layers_too():
    module, inputs = built(GRU(hidden=6, layers=2, dropout=0.5), training=True), noise(2, 5, FEATURES)
    module.dropout.eval()
    assert not torch.equal(module(inputs, None), module(inputs, None))


def test_gru_keeps_full_precision_under_autocast():
    module, inputs = network("gru"), noise(2, 50, FEATURES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = module(inputs, None)
    assert torch.equal(outputs, module(inputs, None))


# TCN.

FRAMES, MIDDLE = 41, 20


def moved_by(module: nn.Module, at: int, mask: Tensor | None = None) -> list[int]:
    """The frames, relative to `at`, whose outputs change when that frame does."""
    inputs = noise(1, FRAMES, FEATURES)
    changed = inputs.clone()
    changed[:, at] += noise(FEATURES, seed=1)
    moved = (module(changed, mask) != module(inputs, mask)).any(-1)[0]
    return (moved.nonzero()[:, 0] - at).tolist()


@pytest.mark.parametrize(
    ("layers", "kernel", "reach"), [(1, 3, 4), (2, 3, 12), (3, 3, 28), (2, 5, 24), (2, 1, 0)]
)
@pytest.mark.parametrize("causal", [True, False])
def test_tcn_moves_the_outputs_of_its_receptive_field_and_no_other(layers, kernel, reach, causal):
    """`reach` is 2 (kernel - 1) (2^layers - 1): all of it later if causal, else half on each side."""
    module = built(TCN(channels=16, layers=layers, kernel=kernel, causal=causal))
    expected = range(reach + 1) if causal else range(-reach // 2, reach // 2 + 1)
    assert moved_by(module, 5 if causal else MIDDLE) == list(expected)


def convolved(
    frames: np.ndarray, weight: np.ndarray, bias: np.ndarray, dilation: int, causal: bool
) -> np.ndarray:
    """[frames, inputs] to [frames, outputs], zero beyond both ends."""
    kernel = weight.shape[2]
    outputs = np.tile(bias, (len(frames), 1))
    for frame in range(len(frames)):
        for tap in range(kernel):
            steps_back = kernel - 1 - tap if causal else kernel // 2 - tap
            source = frame - steps_back * dilation
            if 0 <= source < len(frames):
                outputs[frame] += weight[:, :, tap] @ frames[source]
    return outputs


def layer_normed(frames: np.ndarray, key: str, weights: dict[str, np.ndarray]) -> np.ndarray:
    centred = frames - frames.mean(1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    return normed * weights[f"{key}.weight"] + weights[f"{key}.bias"]


def linear(frames: np.ndarray, key: str, weights: dict[str, np.ndarray]) -> np.ndarray:
    return frames @ weights[f"{key}.weight"].T + weights[f"{key}.bias"]


@pytest.mark.parametrize("causal", [True, False])
def test_tcn_is_blocks_of_two_normed_convolutions_beside_a_shortcut(causal):
    module = scattered(built(TCN(channels=4, layers=2, causal=causal)))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    inputs = noise(1, 7, FEATURES).double()
    frames = inputs[0].numpy()
    for block, dilation in enumerate((1, 2)):
        inner = frames
        for part in ("first", "second"):
            key = f"blocks.{block}.{part}"
            weight, bias = weights[f"{key}.convolution.weight"], weights[f"{key}.convolution.bias"]
            inner = convolved(inner, weight, bias, dilation, causal)
            inner = np.maximum(layer_normed(inner, f"{key}.norm", weights), 0)
        if block == 0:
            frames = linear(frames, "blocks.0.shortcut", weights)
        frames = np.maximum(frames + inner, 0)
    np.testing.assert_allclose(module(inputs, None)[0].detach().numpy(), frames, atol=1e-12)


# Transformer.


def positions(frames: int, width: int) -> np.ndarray:
    """sin(t / 10000^(2i / width)) in unit 2i of frame t, the cosine of the same in 2i + 1."""
    functions = (math.sin, math.cos)
    values = [
        [functions[unit % 2](frame / 10000 ** (2 * (unit // 2) / width)) for unit in range(width)]
        for frame in range(frames)
    ]
    return np.array(values)


def attended(frames: np.ndarray, key: str, weights: dict[str, np.ndarray], heads: int) -> np.ndarray:
    """Multi-head attention of frames [frames, width] to themselves (Vaswani et al., 2017, section 3.2)."""
    joint = frames @ weights[f"{key}.in_proj_weight"].T + weights[f"{key}.in_proj_bias"]
    results = []
    for query, of_key, value in zip(
        *(np.split(part, heads, axis=1) for part in np.split(joint, 3, axis=1)), strict=True
    ):
        scores = np.exp(query @ of_key.T / np.sqrt(query.shape[1]))
        results.append(scores / scores.sum(1, keepdims=True) @ value)
    return linear(np.concatenate(results, axis=1), f"{key}.out_proj", weights)


def test_transformer_is_encoder_layers_with_their_norms_first_and_one_at_the_end():
    module = scattered(built(Transformer(width=8, heads=2, layers=2, feedforward=12)))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    inputs, mask = noise(3, 7, FEATURES).double(), mask_of(*LENGTHS)
    outputs = module(filled(inputs, mask, 1e4), mask).detach().numpy()
    for window, length in enumerate(LENGTHS):
        frames = linear(inputs[window, :length].numpy(), "project", weights) + positions(length, 8)
        for layer in (f"encoder.layers.{number}" for number in range(2)):
            normed = layer_normed(frames, f"{layer}.norm1", weights)
            frames = frames + attended(normed, f"{layer}.self_attn", weights, heads=2)
            normed = layer_normed(frames, f"{layer}.norm2", weights)
            hidden = np.maximum(linear(normed, f"{layer}.linear1", weights), 0)
            frames = frames + linear(hidden, f"{layer}.linear2", weights)
        expected = layer_normed(frames, "encoder.norm", weights)
        np.testing.assert_allclose(outputs[window, :length], expected, atol=1e-5)


def test_transformer_sees_every_frame_from_every_frame():
    module = built(Transformer(width=8, heads=2, layers=1))
    for at in (0, MIDDLE):
        assert moved_by(module, at) == list(range(-at, FRAMES - at))
        own = mask_of(MIDDLE + 1, frames=FRAMES)
        assert moved_by(module, at, own) == list(range(-at, MIDDLE + 1 - at))


def test_transformer_knows_the_order_of_frames():
    """Without positions a reversed window would give reversed outputs."""
    module, inputs = network("transformer"), noise(1, 7, FEATURES)
    assert not torch.allclose(module(inputs.flip(1), None).flip(1), module(inputs, None), atol=1e-3)


def test_transformer_layers_start_from_weights_of_their_own():
    module = built(Transformer(width=8, heads=2, layers=2))
    first, second = (dict(layer.named_parameters()) for layer in module.encoder.layers)
    matrices = [name for name, parameter in first.items() if parameter.ndim > 1]
    assert len(matrices) == 4
    assert not any(torch.equal(first[name], second[name]) for name in matrices)


@pytest.mark.parametrize(("frames", "width"), [(1, 1), (5, 8), (5, 7), (3000, 4)])
def test_positions_are_sines_and_cosines_for_any_length_and_width(frames, width):
    np.testing.assert_allclose(sinusoids(frames, width), positions(frames, width), atol=1e-3)
