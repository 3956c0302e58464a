"""Sharpness-aware minimisation against closed forms, and what its second pass must leave alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import attrs
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std.balancers import Sum
from torch import nn

from mtl_toolkit import Batch, HeadOutput, Losses
from mtl_toolkit.trainer.sharpness import Sharpness, keeping_buffers
from mtl_toolkit.trainer.step import OptimizerStep
from tests.points import make_trainer, network

DIMENSIONS = 3
NUMBERS = st.floats(-2, 2).filter(lambda value: abs(value) > 0.01)
VECTORS = st.lists(NUMBERS, min_size=DIMENSIONS, max_size=DIMENSIONS).map(np.array)
RHOS = st.floats(0.001, 1.0)


@st.composite
def matrices(draw):
    """Symmetric and positive definite."""
    rows = np.array([draw(VECTORS) for _ in range(DIMENSIONS)])
    return rows @ rows.T + 0.1 * np.eye(DIMENSIONS)


class Point(nn.Module):
    """A network that is nothing but its weights, one part of which stands still."""

    def __init__(self, w):
        super().__init__()
        self.first = nn.Parameter(torch.tensor(w[:1]))
        self.rest = nn.Parameter(torch.tensor(w[1:]))
        self.frozen = nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False)
        self.seen = []

    def forward(self, inputs, tasks=None, windows=None):
        weights = torch.cat([self.first, self.rest])
        self.seen.append((weights.detach().clone(), self.frozen.detach().clone()))
        return {"bowl": HeadOutput(weights, weights)}


class Bowl(nn.Module):
    """L = w'Aw / 2, where A is what the batch holds."""

    heads: ClassVar = {}

    def forward(self, outputs, batch, teacher=None):
        weights, matrix = outputs["bowl"].values, batch.inputs
        return Losses({"bowl": weights @ matrix @ weights / 2}, {})


def step_of(model, lr=0.1, objective=None, **more):
    objective = objective or Bowl()
    trained = [one for one in (*model.parameters(), *objective.parameters()) if one.requires_grad]
    return OptimizerStep(
        model=model,
        objective=objective,
        balancer=Sum().build(["bowl"]),
        optimizer=torch.optim.SGD(trained, lr=lr),
        accelerator=Accelerator(cpu=True),
        prepare=lambda batch: batch.inputs,
        **more,
    )


def bowl(matrix):
    return Batch.from_tensors(torch.tensor(matrix), {})


def weights_after(model, *matrices, **options):
    """The weights after one step over batches that count alike."""
    step = step_of(model, **options)
    for number, matrix in enumerate(matrices):
        step.backward(bowl(matrix), [], 1 / len(matrices), (0, number))
    step.update()
    return torch.cat([model.first, model.rest]).detach().numpy()


def climb(matrix, w, rho):
    return w + rho * (matrix @ w) / np.linalg.norm(matrix @ w)


class TestAStep:
    @settings(max_examples=30)
    @given(matrices(), VECTORS, RHOS)
    def test_goes_by_the_gradient_at_the_end_of_the_climb(self, matrix, w, rho):
        found = weights_after(Point(w), matrix, lr=0.1, sharpness=Sharpness(rho))
        np.testing.assert_allclose(found, w - 0.1 * matrix @ climb(matrix, w, rho), rtol=1e-9)

    @settings(max_examples=30)
    @given(matrices(), VECTORS)
    def test_of_a_tiny_climb_is_the_plain_one(self, matrix, w):
        plain = weights_after(Point(w), matrix)
        found = weights_after(Point(w), matrix, sharpness=Sharpness(1e-10))
        np.testing.assert_allclose(found, plain, rtol=0, atol=1e-8)

    @settings(max_examples=30)
    @given(matrices(), matrices(), VECTORS, RHOS)
    def test_over_several_batches_is_the_one_over_their_mean(self, first, second, w, rho):
        found = weights_after(Point(w), first, second, sharpness=Sharpness(rho))
        whole = weights_after(Point(w), (first + second) / 2, sharpness=Sharpness(rho))
        np.testing.assert_allclose(found, whole, rtol=1e-9)

    @settings(max_examples=30)
    @given(matrices(), VECTORS, RHOS)
    def test_is_clipped_by_its_second_gradient(self, matrix, w, rho):
        second = matrix @ climb(matrix, w, rho)
        norm = np.linalg.norm(second) / 2
        found = weights_after(Point(w), matrix, lr=1.0, clip_norm=norm, sharpness=Sharpness(rho))
        np.testing.assert_allclose(found, w - second / 2, rtol=1e-4, atol=1e-6)

    @settings(max_examples=30)
    @given(matrices(), VECTORS, RHOS)
    def test_may_measure_each_weight_by_its_size(self, matrix, w, rho):
        size, gradient = np.abs(w) + 0.01, matrix @ w
        at = w + rho * size**2 * gradient / np.linalg.norm(size * gradient)
        found = weights_after(Point(w), matrix, lr=0.1, sharpness=Sharpness(rho, adaptive=True))
        np.testing.assert_allclose(found, w - 0.1 * matrix @ at, rtol=1e-9)

    def test_without_a_slope_leaves_the_weights(self):
        found = weights_after(Point(np.zeros(3)), np.eye(3), sharpness=Sharpness(0.1))
        np.testing.assert_array_equal(found, np.zeros(3))

    def test_climbs_with_the_losses_parameters_too(self):
        """One norm over all that is trained: L = w'w s / 2 with s of the loss."""

        class Scaled(Bowl):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

            def forward(self, outputs, batch, teacher=None):
                (loss,) = super().forward(outputs, batch).tasks.values()
                return Losses({"bowl": loss * self.scale}, {})

        w = np.array([1.0, -2.0, 0.5])
        loss, gradient = w @ w / 2, 2 * w
        length = np.hypot(np.linalg.norm(gradient), loss)
        at, scale = w + 0.1 * gradient / length, 2 + 0.1 * loss / length
        found = weights_after(Point(w), np.eye(3), objective=Scaled(), sharpness=Sharpness(0.1))
        np.testing.assert_allclose(found, w - 0.1 * scale * at, rtol=1e-9)

    def test_does_not_climb_with_what_is_frozen(self):
        model = Point(np.array([1.0, 2.0, 3.0]))
        weights_after(model, np.eye(3), sharpness=Sharpness(0.5))
        (before, still), (after, frozen) = model.seen
        assert float((after - before).norm()) == pytest.approx(0.5)
        assert torch.equal(still, frozen)

    def test_a_second_step_forgets_the_batches_of_the_first(self):
        model = Point(np.array([1.0, 2.0, 3.0]))
        step = step_of(model, sharpness=Sharpness(0.5))
        for number in range(3):
            step.backward(bowl(np.eye(3)), [], 1.0, (0, number))
            step.update()
        assert len(model.seen) == 6


class TestTheClimb:
    @settings(max_examples=30)
    @given(st.lists(NUMBERS, min_size=1, max_size=20), RHOS, st.booleans())
    def test_ends_where_it_began_bit_for_bit(self, values, rho, adaptive):
        """Adding and taking away again would round."""
        parameter = nn.Parameter(torch.tensor(values))
        parameter.grad = torch.randn(len(values), generator=torch.Generator().manual_seed(0))
        before = parameter.detach().clone()
        with Sharpness(rho, adaptive).climbed([parameter]):
            assert not torch.equal(parameter, before)
        assert torch.equal(parameter, before)

    def test_ends_there_after_an_error_too(self):
        parameter = nn.Parameter(torch.ones(2))
        parameter.grad = torch.ones(2)
        with pytest.raises(RuntimeError, match="out of memory"), Sharpness(0.1).climbed([parameter]):
            raise RuntimeError("out of memory")
        assert torch.equal(parameter, torch.ones(2))

    def test_needs_a_length(self):
        with pytest.raises(ValueError, match="must be above 0"):
            Sharpness(0.0)


class TestTraining:
    def test_moves_running_statistics_as_the_first_pass_does(self):
        """After a step they are those of a step without a climb; nobody has counted the second pass."""
        plain, wary = network(), network()
        for model, sharpness in ((plain, None), (wary, Sharpness(0.5))):
            trainer = make_trainer(model, sharpness=sharpness, epochs=1)
            step = trainer._step()
            model.train()
            batch = next(iter(trainer.loader.epoch(0)))
            step.backward(batch, [], 1.0, (0, 0))
            step.update()
        statistics = [dict(model.trunk.body[1].named_buffers()) for model in (plain, wary)]
        assert int(statistics[1]["num_batches_tracked"]) == 1
        for name, value in statistics[0].items():
            assert torch.equal(statistics[1][name], value)
        assert not torch.equal(plain.trunk.body[0].weight, wary.trunk.body[0].weight)

    def test_drops_the_same_values_in_both_passes(self):
        """Hardly any climb: the passes differ by nothing but what dropout does."""
        model = network()
        outputs = []
        model.trunk.body.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        make_trainer(model, sharpness=Sharpness(1e-12), epochs=1, feeds=(), select={}).fit()
        assert len(outputs) == 12
        for first, second in zip(outputs[::2], outputs[1::2], strict=True):
            assert torch.equal(first == 0, second == 0)

    def test_learns(self):
        trainer = make_trainer(sharpness=Sharpness(0.05), epochs=10)
        assert trainer.fit().best_metrics["held-out/side/macro_f1"] > 0.8

    def test_is_refused_with_a_loss_scaler(self):
        accelerator = SimpleNamespace(scaler=object())
        with pytest.raises(ValueError, match="sharpness: cannot climb in fp16"):
            attrs.evolve(make_trainer(), accelerator=accelerator, sharpness=Sharpness(0.05))


def test_buffers_are_put_back_after_an_error_too():
    module = nn.BatchNorm1d(2)

    def fail():
        with keeping_buffers([module]):
            module.running_mean.fill_(7)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert torch.equal(module.running_mean, torch.zeros(2))
