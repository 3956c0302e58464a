"""What a branch takes over from the other, against the formulas on plain tensors."""

from __future__ import annotations

import math

import pytest
import torch
from mtl_std.exchange import CrossAttention, Gated, positions
from torch import Tensor, nn

ROWS, CHANNELS, HEIGHT, WIDTH, HEADS = 3, 8, 2, 5, 2


def maps() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (ROWS, CHANNELS, HEIGHT, WIDTH)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def drawn(module: nn.Module) -> nn.Module:
    """With random numbers in all parameters."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def normalised(vector: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return (vector - vector.mean()) / (vector.var(unbiased=False) + 1e-5).sqrt() * scale + shift


def place_of(row: int, column: int) -> Tensor:
    """Two frequencies for eight channels: 1 and 1/100."""
    parts = [function(at * f) for at in (row, column) for function in (math.sin, math.cos) for f in (1, 0.01)]
    return torch.tensor(parts)


def attended(module: CrossAttention, own: Tensor, other: Tensor, row: int, column: int) -> Tensor:
    """What is added at one place of one sample: softmax(q k / sqrt(d)) v, head by head."""
    weights, biases = module.attention.in_proj_weight.chunk(3), module.attention.in_proj_bias.chunk(3)
    own_norm = (module.own_norm.weight, module.own_norm.bias)
    other_norm = (module.other_norm.weight, module.other_norm.bias)
    query = weights[0] @ (normalised(own[:, row, column], *own_norm) + place_of(row, column)) + biases[0]
    keys, values = [], []
    for y in range(HEIGHT):
        for x in range(WIDTH):
            token = normalised(other[:, y, x], *other_norm)
            keys.append(weights[1] @ (token + place_of(y, x)) + biases[1])
            values.append(weights[2] @ token + biases[2])
    found, size = [], CHANNELS // HEADS
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = torch.stack([query[part] @ key[part] for key in keys]) / size**0.5
        shares = scores.exp() / scores.exp().sum()
        found.append(sum(share * value[part] for share, value in zip(shares, values, strict=True)))
    projection = module.attention.out_proj
    return projection.weight @ torch.cat(found) + projection.bias


def test_cross_attention_is_the_formula_at_every_place():
    module = drawn(CrossAttention(CHANNELS, HEADS)).double()
    own, other = (one.double() for one in maps())
    with torch.no_grad():
        found = module(own, other)
        for sample in range(ROWS):
            for row in range(HEIGHT):
                for column in range(WIDTH):
                    added = attended(module, own[sample], other[sample], row, column)
                    wanted = own[sample, :, row, column] + added
                    assert torch.allclose(found[sample, :, row, column], wanted, atol=1e-6)


def test_a_gate_is_the_formula_at_every_place():
    module = drawn(Gated(CHANNELS))
    own, other = maps()
    weight, bias = module.gate.weight, module.gate.bias
    with torch.no_grad():
        both = torch.cat([own, other], 1)
        gate = torch.tanh(torch.einsum("oc,nchw->nohw", weight, both) + bias[:, None, None])
        assert torch.allclose(module(own, other), own + gate * other, atol=1e-6)


@pytest.mark.parametrize("module", [CrossAttention(CHANNELS, HEADS), Gated(CHANNELS)])
def test_training_begins_with_the_own_map_alone_and_learns_from_the_other(module):
    own, other = maps()
    found = module(own, other)
    assert torch.equal(found, own)
    found.square().sum().backward()
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert any(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("module", [CrossAttention(CHANNELS, HEADS), Gated(CHANNELS)])
def test_maps_in_channels_last_are_mapped_alike(module):
    own, other = maps()
    drawn(module)
    with torch.no_grad():
        moved = module(*(one.contiguous(memory_format=torch.channels_last) for one in (own, other)))
        assert torch.allclose(moved, module(own, other), atol=1e-5)


@pytest.mark.parametrize("channels", [8, 10])
def test_places_differ_and_channels_that_are_left_over_are_zero(channels):
    found = positions(3, 4, channels)
    assert found.shape == (12, channels)
    assert len({tuple(one) for one in found.tolist()}) == 12
    assert not found[:, 8:].any()
    assert torch.allclose(found[1 * 4 + 3, :8], place_of(1, 3), atol=1e-6)
