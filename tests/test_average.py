"""The moving average of the weights: its rule, what is validated and kept, and how it teaches."""

from __future__ import annotations

import copy
import functools
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mtl_distill.distillation import Distillation
from safetensors.torch import load_file
from torch import nn

from mtl_toolkit import load_config, run
from mtl_toolkit.pipeline.teacher import Teachers
from mtl_toolkit.trainer import WeightAverage, validate
from mtl_toolkit.trainer.average import warmed_up
from tests.points import HEADS, feed, make_trainer, network, samples

DECAYS = st.floats(0.01, 0.9999)


class TestTheDecay:
    @given(DECAYS, st.integers(0, 10**6))
    def test_grows_with_the_updates_up_to_what_is_asked_for(self, decay, updates):
        assert 0 < warmed_up(decay, updates) <= warmed_up(decay, updates + 1) <= decay

    @pytest.mark.parametrize(("updates", "decay"), [(0, 0.1), (8, 0.5), (80, 0.9), (10**6, 0.999)])
    def test_is_that_of_the_rule(self, updates, decay):
        assert warmed_up(0.999, updates) == pytest.approx(decay)


class TestWeightAverage:
    def test_is_the_model_before_the_first_update(self):
        model = network()
        average = WeightAverage(model, 0.9)
        points = torch.randn(8, 4)
        expected = model.eval()(points)
        for task, output in average(points).items():
            assert torch.equal(output.values, expected[task].values)

    @given(st.floats(0.05, 0.999), st.integers(1, 30))
    def test_follows_weights_and_running_statistics_by_the_rule(self, decay, updates):
        model = nn.BatchNorm1d(3)
        average = WeightAverage(model, decay)
        expected = None
        for number in range(updates):
            with torch.no_grad():
                for tensor in (model.weight, model.running_mean):
                    tensor.copy_(torch.full_like(tensor, float(number**2)))
            average.update_parameters(model)
            share = min(decay, (1 + number) / (10 + number))
            expected = number**2 if expected is None else share * expected + (1 - share) * number**2
        for tensor in (average.module.weight, average.module.running_mean):
            torch.testing.assert_close(tensor, torch.full((3,), float(expected)), rtol=1e-5, atol=1e-5)

    def test_keeps_the_memory_format(self):
        model = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
        average = WeightAverage(model, 0.9)
        average.update_parameters(model)
        assert average.module.weight.is_contiguous(memory_format=torch.channels_last)

    def test_has_no_gradient_and_is_in_eval_mode(self):
        average = WeightAverage(network(), 0.9)
        assert not any(parameter.requires_grad for parameter in average.parameters())
        assert not any(module.training for module in average.modules())


class TestTraining:
    def test_validates_the_average_and_not_the_weights_that_are_trained(self):
        trainer = make_trainer(model := network())
        trainer.average = WeightAverage(model, 0.99)
        found = trainer.fit().history[-1]["metrics"]
        assert found == validate(trainer.average, [feed()], trainer.accelerator).metrics
        assert found != validate(model, [feed()], trainer.accelerator).metrics

    def test_trains_the_weights_as_without_an_average(self):
        (alone := make_trainer(plain := network())).fit()
        followed = make_trainer(model := network())
        followed.average = WeightAverage(model, 0.99)
        followed.fit()
        for name, value in plain.state_dict().items():
            assert torch.equal(model.state_dict()[name], value)
        losses = [[epoch["losses"] for epoch in one.progress.history] for one in (alone, followed)]
        assert losses[0] == losses[1]

    @pytest.mark.parametrize(("accumulate", "updates"), [(1, 12), (4, 4)])
    def test_moves_once_an_update(self, accumulate, updates):
        trainer = make_trainer(model := network(), accumulate=accumulate)
        trainer.average = WeightAverage(model, 0.99)
        trainer.fit()
        assert int(trainer.average.n_averaged) == trainer.progress.updates == updates

    def test_leaves_frozen_parts_as_they_are(self):
        model = network()
        frozen = model.trunk.body[0].requires_grad_(requires_grad=False)
        before = copy.deepcopy(frozen.state_dict())
        trained = [one for one in model.parameters() if one.requires_grad]
        trainer = make_trainer(model, optimizer=torch.optim.SGD(trained, lr=0.1))
        trainer.average = WeightAverage(model, 0.9)
        trainer.fit()
        for name, value in trainer.average.module.trunk.body[0].state_dict().items():
            assert torch.equal(value, before[name])


class TestMeanTeacher:
    """Half of the points have a label; on the others the average teaches, or nobody does."""

    def make(self, weight):
        imitate = Distillation(temperature=1.0, weight=0.0, unlabelled_weight=weight)
        trainer = make_trainer(model := network(1), labelled=0.5, losses=[imitate], seed=1, epochs=10)
        trainer.average = WeightAverage(model, 0.95)
        precision = functools.partial(torch.autocast, "cpu", enabled=False)
        networks = [(trainer.average.module, tuple(HEADS))]
        trainer.teacher = Teachers(networks, torch.device("cpu"), precision)
        return trainer

    def disagreement(self, trainer):
        """KL(average, student with dropout) over new points."""
        points, units = samples(256, 7).inputs, torch.ones(256, 1, dtype=torch.bool)
        compare = Distillation(temperature=1.0).build(HEADS["side"])
        trainer.model.train()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            return float(compare(trainer.model(points)["side"], trainer.teacher(points)["side"], units))

    def test_starts_as_the_student(self):
        trainer = self.make(weight=1.0)
        points = torch.randn(8, 4)
        taught = trainer.teacher(points, None)
        own = trainer.model.eval()(points)
        for task in HEADS:
            assert torch.equal(taught[task].values, own[task].values)
            assert not taught[task].values.requires_grad

    def test_pulls_rows_without_a_label_towards_what_the_average_says(self):
        alone, taught = self.make(weight=0.0), self.make(weight=1.0)
        for trainer in (alone, taught):
            trainer.fit()
        assert self.disagreement(taught) < self.disagreement(alone) / 2
        assert taught.progress.history[-1]["metrics"]["held-out/side/macro_f1"] > 0.75

    def test_stays_in_eval_mode_while_the_student_trains(self):
        trainer = self.make(weight=1.0)
        seen = []
        teach = trainer.teacher
        average = trainer.average.module

        def noting(inputs, windows):
            seen.append((trainer.model.training, average.training))
            return teach(inputs, windows)

        trainer.teacher = noting
        trainer.fit()
        assert set(seen) == {(True, False)}


OVERRIDES = (
    "defaults.epochs=1",
    "defaults.epoch_length=3",
    "defaults.ema=0.5",
    "stages.student.teacher=ema",
    "stages.student.losses=[{ type = 'distillation', weight = 0.1, unlabelled_weight = 0.5 }]",
)


@pytest.fixture(scope="module")
def done(tmp_path_factory, tiny_text):
    """A run whose stages have an average, which teaches in the second."""
    folder = tmp_path_factory.mktemp("average")
    (folder / "tiny.toml").write_text(tiny_text)
    run(load_config(folder / "tiny.toml", overrides=OVERRIDES), folder / "run")
    return folder / "run"


class TestAStage:
    """`ema` and `teacher = "ema"` in a configuration."""

    def test_keeps_the_average_as_best_and_both_to_go_on_from(self, done):
        best, last = (load_file(done / "teacher" / one / "model.safetensors") for one in ("best", "last"))
        average = load_file(done / "teacher" / "last" / "ema.safetensors")
        assert int(average.pop("n_averaged")) == 3
        assert {f"module.{name}" for name in best} == set(average)
        assert all(torch.equal(average[f"module.{name}"], value) for name, value in best.items())
        assert not all(torch.equal(best[name], value) for name, value in last.items())

    def test_has_no_such_file_without_an_average(self, done, tiny, tmp_path):
        run(load_config(tiny, overrides=("defaults.epochs=1", "defaults.epoch_length=1")), tmp_path / "run")
        assert not (tmp_path / "run" / "student" / "last" / "ema.safetensors").exists()

    def test_is_taught_by_its_own_average(self, done):
        epoch = json.loads((done / "student" / "log.jsonl").read_text().splitlines()[-1])
        assert epoch["losses"]["b/expr/distillation-unlabelled"] > 0
        assert json.loads((done / "student" / "stage.json").read_text())["made_from"] == {}

    def test_may_have_another_teacher_for_each_task(self, done, tiny, tmp_path):
        teachers = f"stages.student.teacher={{ expr = 'ema', va = '{done / 'teacher'}' }}"
        loaded = load_config(tiny, overrides=(*OVERRIDES, teachers))
        assert loaded.config.stages[1].trained_teachers == {"va": str(done / "teacher")}
        report = run(loaded, tmp_path / "run")
        assert [stage["name"] for stage in report["stages"]] == ["teacher", "student"]
