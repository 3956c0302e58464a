"""Mixup: rows and losses are mixed alike, whatever labels are missing, and by the same pairs everywhere."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_distill.distillation import Distillation
from mtl_std.classification import Classification
from mtl_std.regression import Regression
from torch.nn import functional

from mtl_toolkit import Batch, HeadOutput, Losses, Objective, StreamTask
from mtl_toolkit.batch import count_labels
from mtl_toolkit.distributed import merge
from mtl_toolkit.trainer.mixup import Mixing, draw_mixing
from tests.points import make_trainer, network

SIZES = st.integers(1, 3).flatmap(
    lambda streams: st.lists(
        st.lists(st.integers(0, 5), min_size=streams, max_size=streams).filter(any), min_size=1, max_size=3
    )
)
HEADS = {"kind": Classification(classes=("a", "b", "c"), hidden=0), "value": Regression(hidden=0)}


def mixing_of(partners, share=0.3):
    return Mixing(share, torch.tensor(partners), torch.tensor(partners))


class TestTheDraw:
    @given(SIZES, st.integers(0, 2**63 - 1))
    def test_pairs_rows_inside_their_stream_and_process(self, sizes, seed):
        for rank, own in enumerate(sizes):
            mixing = draw_mixing(0.4, seed, sizes, rank)
            streams = torch.repeat_interleave(torch.arange(len(own)), torch.tensor(own))
            assert torch.equal(streams[mixing.partners], streams)
            assert sorted(mixing.partners.tolist()) == list(range(sum(own)))

    @given(SIZES, st.integers(0, 2**63 - 1))
    def test_gives_every_process_the_labels_that_fit_the_inputs_of_all(self, sizes, seed):
        """Rows with a number each: the partners' numbers, gathered, are the gathered numbers' partners."""
        mixings = [draw_mixing(0.4, seed, sizes, rank) for rank in range(len(sizes))]
        numbers = list(torch.arange(sum(map(sum, sizes))).split([sum(own) for own in sizes]))
        gathered = merge(numbers, sizes)
        of_partners = merge([one[m.partners] for one, m in zip(numbers, mixings, strict=True)], sizes)
        for mixing in mixings:
            assert torch.equal(gathered[mixing.labels_of], of_partners)
            assert mixing.share == mixings[0].share

    def test_is_a_function_of_the_seed(self):
        first, again, other = (draw_mixing(0.4, seed, [[8, 4]]) for seed in (1, 1, 2))
        assert (first.share, first.partners.tolist()) == (again.share, again.partners.tolist())
        assert (first.share, first.partners.tolist()) != (other.share, other.partners.tolist())

    def test_follows_the_distribution(self):
        """The mean of Beta(a, a) is 1/2, its variance 1 / (4 (2 a + 1))."""
        shares = np.array([draw_mixing(0.2, seed, [[1]]).share for seed in range(4000)])
        assert shares.mean() == pytest.approx(0.5, abs=0.02)
        assert shares.var() == pytest.approx(1 / (4 * 1.4), abs=0.01)


class TestInputs:
    def test_of_bytes_become_floats_between_0_and_1(self):
        pictures = torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8)
        mixed = mixing_of([1, 0, 3, 2]).inputs(pictures)
        scaled = pictures.double() / 255
        expected = 0.3 * scaled + 0.7 * scaled[[1, 0, 3, 2]]
        torch.testing.assert_close(mixed, expected.float())

    def test_of_floats_are_mixed_as_they_are(self):
        rows = torch.randn(4, 7)
        mixed = mixing_of([1, 0, 3, 2]).inputs(rows)
        torch.testing.assert_close(mixed, 0.3 * rows + 0.7 * rows[[1, 0, 3, 2]])

    def test_keep_their_memory_format(self):
        pictures = torch.rand(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
        mixed = mixing_of([1, 0, 3, 2]).inputs(pictures)
        assert mixed.is_contiguous(memory_format=torch.channels_last)


def step(labelled, seed=0):
    """Two streams of labels, some missing and NaN there, and outputs for them."""
    generator = torch.Generator().manual_seed(seed)
    rows = len(labelled)
    kinds = torch.randint(0, 3, (rows,), generator=generator)
    values = torch.randn(rows, 1, generator=generator)
    masks = {"kind": torch.tensor(labelled), "value": torch.rand(rows, 1, generator=generator) < 0.7}
    values = torch.where(masks["value"], values, torch.nan)
    sizes = (rows // 2, rows - rows // 2)
    batch = Batch.from_tensors(torch.zeros(rows, 1), {"kind": kinds, "value": values}, masks, sizes=sizes)
    outputs = {
        "kind": HeadOutput(torch.randn(rows, 3, generator=generator), torch.zeros(rows, 0)),
        "value": HeadOutput(torch.randn(rows, 1, generator=generator), torch.zeros(rows, 0)),
    }
    return batch, outputs


def objective(**more):
    return Objective(HEADS, [StreamTask("one", "kind"), StreamTask("two", "value")], **more)


class TestLosses:
    def test_of_cross_entropy_are_those_of_soft_labels(self):
        batch, outputs = step([True] * 10)
        mixing = draw_mixing(0.4, 3, [batch.sizes])
        live = objective()
        mixed = mixing.losses(live(outputs, batch), live(outputs, mixing.partners_labels(batch)))

        own = functional.one_hot(batch.targets["kind"], 3).double()
        soft = mixing.share * own + (1 - mixing.share) * own[mixing.partners]
        rows = functional.cross_entropy(outputs["kind"].values.double(), soft, reduction="none")
        expected = torch.stack([part.mean() for part in rows.split(list(batch.sizes))]).mean()
        torch.testing.assert_close(mixed.tasks["kind"].double(), expected, rtol=1e-5, atol=1e-6)

    @settings(max_examples=50)
    @given(st.lists(st.booleans(), min_size=4, max_size=12), st.integers(0, 1000))
    def test_keep_their_names_and_counts_whatever_is_missing(self, labelled, seed):
        batch, outputs = step(labelled, seed)
        teacher = {task: HeadOutput(-one.values, one.features) for task, one in outputs.items()}
        mixing = draw_mixing(0.4, seed, [batch.sizes])
        partners = mixing.partners_labels(batch)
        assert count_labels(partners.masks, partners.sizes) == partners.counts == batch.counts

        live = objective(extra=[Distillation()], ground_truth_weight=0.6)
        own, theirs = live(outputs, batch, teacher), live(outputs, partners, teacher)
        mixed = mixing.losses(own, theirs)
        assert mixed.terms.keys() == own.terms.keys() == theirs.terms.keys()
        for name, value in mixed.terms.items():
            expected = mixing.share * own.terms[name] + (1 - mixing.share) * theirs.terms[name]
            torch.testing.assert_close(value, expected)
            assert torch.isfinite(value)


class TestTraining:
    def test_shows_network_and_teacher_the_mixed_inputs(self):
        seen = {"network": [], "teacher": []}
        model = network()
        model.trunk.register_forward_hook(lambda _module, inputs, _output: seen["network"].append(inputs[0]))
        other = network(7).eval()

        def teach(inputs, windows):
            seen["teacher"].append(inputs)
            with torch.no_grad():
                return other(inputs)

        trainer = make_trainer(
            model, teacher=teach, losses=[Distillation()], mixup=5.0, epochs=1, feeds=(), select={}
        )
        plain = [batch.inputs for batch in trainer.loader.epoch(0)]
        trainer.fit()
        assert len(plain) == len(seen["network"]) == 6
        for left, right, inputs in zip(seen["network"], seen["teacher"], plain, strict=True):
            assert torch.equal(left, right)
            assert not torch.equal(left, inputs)
            torch.testing.assert_close(left.mean(0), inputs.mean(0), rtol=0, atol=1e-5)

    def test_learns_from_few_labels(self):
        trainer = make_trainer(mixup=0.4, labelled=0.5, epochs=10)
        assert trainer.fit().best_metrics["held-out/side/macro_f1"] > 0.75

    def test_of_no_mixing_calls_the_objective_once(self):
        """Off means off: the losses are those of a trainer that knows nothing of it."""
        calls = []
        trainer = make_trainer(epochs=1, mixup=0.0)
        trainer.objective.register_forward_hook(lambda *_: calls.append(1))
        trainer.fit()
        assert len(calls) == 6

    def test_refuses_frames_of_windows(self):
        trainer = make_trainer(mixup=0.4)
        batch = attrs.evolve(next(iter(trainer.loader.epoch(0))), windows=(16,))
        with pytest.raises(ValueError, match="mixup: mixes single rows, but these are the frames of windows"):
            trainer._step().backward(batch, [], 1.0, (0, 0))


def test_losses_have_one_total():
    first, second = (Losses({"a": torch.tensor(value)}, {}) for value in (1.0, 3.0))
    assert float(mixing_of([0], share=0.25).losses(first, second).total) == pytest.approx(2.5)
