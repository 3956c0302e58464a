"""Self-supervised heads: targets that are made of what the network sees, in training and everywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from mtl_affect.combined import Combined
from mtl_std.balancers import Sum
from mtl_std.classification import Classification
from mtl_std.samplers import Sequential
from torch import nn

from mtl_toolkit import (
    Batch,
    Feed,
    FeedMetrics,
    LiveStream,
    MultiTaskModel,
    Objective,
    SequentialPlan,
    StreamLoader,
    StreamTask,
    TensorSamples,
    Trainer,
    TrainPlan,
    load_config,
    load_stage,
    run,
    with_own_targets,
)
from mtl_toolkit.pipeline import DataSource, survey
from mtl_toolkit.preprocessing import CentreCrop, seen_by
from tests import thumbnails
from tests.test_distributed import epochs, launch
from tests.thumbnails import Thumbnail

HEADS = {"side": Classification(classes=("left", "right"), hidden=0), "small": Thumbnail()}


def pictures(rows, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, 3, size, size), dtype=torch.uint8, generator=generator)


def shrunk(inputs):
    """Each quarter's mean, by hand."""
    half = inputs.shape[-1] // 2
    values = inputs.double() / 255 if inputs.dtype == torch.uint8 else inputs.double()
    parts = [
        [values[..., top : top + half, left : left + half].mean((2, 3)) for left in (0, half)]
        for top in (0, half)
    ]
    return torch.stack([torch.stack(row, -1) for row in parts], -2).float()


class Flat(nn.Module):
    """A trunk that lays pixels in a row."""

    def forward(self, inputs, tasks):
        return dict.fromkeys(tasks, inputs.float().flatten(1) / 255)


class Recorded(Objective):
    """Keeps the batches that it is given."""

    def forward(self, outputs, batch, teacher=None):
        self.seen = [*getattr(self, "seen", []), batch]
        return super().forward(outputs, batch, teacher)


def stream(title, task, rows=8, size=4):
    side = {"side": torch.arange(rows) % 2}
    samples = TensorSamples(pictures(rows, size), side if task == "side" else {})
    draw = Sequential().build(rows, {}, {})
    return LiveStream(title, task, samples, draw, 4)


def make_trainer(*, prepare=lambda batch: batch.inputs, size=4, **objective):
    streams = [stream("l", "side", size=size), stream("p", "small", size=size)]
    torch.manual_seed(0)
    model = MultiTaskModel(Flat(), {task: head.build(48) for task, head in HEADS.items()}, CentreCrop(4))
    return Trainer(
        model=model,
        objective=Recorded(HEADS, [StreamTask(one.title, one.task) for one in streams], **objective),
        balancer=Sum().build(list(HEADS)),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        loader=StreamLoader(TrainPlan(streams, seed=0), HEADS),
        epochs=1,
        prepare=prepare,
        accelerator=Accelerator(cpu=True),
    )


class TestABatch:
    @pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
    def test_is_completed_with_targets_of_every_row(self, kind):
        inputs = pictures(5)
        inputs = inputs if kind == torch.uint8 else inputs / 255
        mask = torch.tensor([True, False, True, True, False])
        batch = Batch.from_tensors(
            inputs, {"side": torch.zeros(5, dtype=torch.long)}, {"side": mask}, sizes=[2, 3]
        )
        found = with_own_targets(batch, inputs, HEADS)
        torch.testing.assert_close(found.targets["small"], shrunk(inputs))
        assert found.masks["small"].shape == (5, 3, 2, 2)
        assert found.masks["small"].all()
        assert found.counts[0, "small"] == (2 * 12, 0)
        assert found.counts[1, "small"] == (3 * 12, 0)
        assert found.targets["side"] is batch.targets["side"]
        assert found.counts[0, "side"] == batch.counts[0, "side"] == (1, 1)
        assert "small" not in batch.targets

    def test_without_such_heads_is_the_same(self):
        batch = Batch.from_tensors(pictures(2), {})
        assert with_own_targets(batch, batch.inputs, {"side": HEADS["side"]}) is batch

    def test_of_a_head_that_makes_other_targets_than_it_says_is_refused(self):
        class Larger(Thumbnail):
            target_shape = (3, 4, 4)

        batch = Batch.from_tensors(pictures(2), {})
        with pytest.raises(
            ValueError, match=r"task 'small': target_of must give \(2, 3, 4, 4\) \(got \(2, 3, 2, 2\)\)"
        ):
            with_own_targets(batch, batch.inputs, {"small": Larger()})

    def test_comes_without_such_targets_from_a_loader(self):
        loader = StreamLoader(TrainPlan([stream("l", "side")], seed=0), HEADS)
        batch = next(loader.epoch(0))
        assert set(batch.targets) == set(batch.masks) == {"side"}


def test_other_heads_make_no_targets():
    with pytest.raises(TypeError, match="head 'classification' is not self-supervised"):
        HEADS["side"].target_of(pictures(1))


class TestTraining:
    def test_makes_targets_of_what_the_network_sees(self):
        trainer = make_trainer(prepare=lambda batch: 255 - batch.inputs)
        trainer.fit()
        assert len(trainer.objective.seen) == 2
        for batch in trainer.objective.seen:
            torch.testing.assert_close(batch.targets["small"], shrunk(255 - batch.inputs))

    def test_and_of_the_part_that_it_cuts_out(self):
        trainer = make_trainer(size=6)
        trainer.fit()
        for batch in trainer.objective.seen:
            torch.testing.assert_close(batch.targets["small"], shrunk(batch.inputs[..., 1:5, 1:5]))

    @pytest.mark.parametrize(("sharing", "streams"), [(True, {"l", "p"}), (False, {"p"})])
    def test_follows_the_rules_of_sharing(self, sharing, streams):
        trainer = make_trainer(sharing=sharing)
        terms = {}

        def keep(losses):
            terms.update(losses.terms)
            return losses

        forward = trainer.objective.forward
        trainer.objective.forward = lambda *args: keep(forward(*args))
        trainer.fit()
        assert {name.split("/")[0] for name in terms if name.split("/")[1] == "small"} == streams

    def test_takes_the_mean_over_streams_of_the_mean_over_rows(self):
        inputs = pictures(5)
        batch = Batch.from_tensors(inputs, {}, sizes=[2, 3])
        heads = {**HEADS, "both": Combined(tasks=("side", "small"))}
        objective = Objective(heads, [StreamTask("p", "small"), StreamTask("b", "both")], sharing=False)
        model = MultiTaskModel(Flat(), {"small": HEADS["small"].build(48)})
        outputs = model(inputs)
        found = objective(outputs, with_own_targets(batch, inputs, heads)).tasks["small"]
        errors = (outputs["small"].values - shrunk(inputs)).square().mean((1, 2, 3))
        torch.testing.assert_close(found, (errors[:2].mean() + errors[2:].mean()) / 2)

    def test_lowers_the_error(self):
        trainer = make_trainer()
        trainer.epochs = 40
        trainer.fit()
        first, last = (trainer.progress.history[at]["losses"]["p/small/ground-truth"] for at in (0, -1))
        assert last < first / 2


def test_validation_is_against_the_part_of_a_picture_that_the_network_sees():
    trainer = make_trainer()
    held_out = stream("v", "small", rows=6, size=6)
    heads = {"small": HEADS["small"]}
    trainer.feeds = [Feed(StreamLoader(SequentialPlan(held_out), heads), FeedMetrics("v", heads))]
    trainer.fit()
    inputs = held_out.samples.inputs[..., 1:5, 1:5]
    errors = (trainer.model(inputs)["small"].values.detach() - shrunk(inputs)).square().mean()
    assert trainer.progress.history[0]["metrics"]["v/small/thumbnail_error"] == pytest.approx(
        float(errors), rel=1e-5
    )


def test_a_network_without_a_cut_sees_all():
    inputs = pictures(1, 6)
    assert seen_by(nn.Linear(2, 2), inputs) is inputs
    assert seen_by(nn.Sequential(CentreCrop(4)), inputs).shape == (1, 3, 4, 4)


TASK = "tasks.small.head={ type = 'thumbnail', side = 4 }"
STREAMS = (
    "defaults.streams=[{ dataset = 'a', task = 'expr', batch_size = 8 }, "
    "{ dataset = 'b', task = 'small', batch_size = 8 }]"
)
VALIDATION = "defaults.validation=[{ dataset = 'val', task = 'expr' }, { dataset = 'val', task = 'small' }]"
SHORT = ("stages=[{ name = 'one' }]", "defaults.epochs=2", "datasets.val.samples=8")
JOB = (TASK, STREAMS, VALIDATION, *SHORT)


def sets(*overrides):
    return [part for override in overrides for part in ("--set", override)]


@pytest.fixture
def thumbs(packages):
    """The head as an installed plugin."""
    packages.add("mtl-thumbs", {"thumbs": Path(thumbnails.__file__).read_text()})


@pytest.mark.usefixtures("thumbs")
class TestACommand:
    def test_checks_a_task_that_no_dataset_knows(self, tiny, mtl):
        code, out, err = mtl("check", str(tiny), *sets(*JOB))
        assert (code, err) == (0, "")
        assert out.count("small: made of the inputs") == 3  # of both streams, and of one validation

    def test_tells_what_sharing_leaves_out(self, tiny, mtl):
        code, out, _ = mtl("check", str(tiny), *sets(*JOB, "stages.one.sharing=false"))
        assert (code, out.count("small: made of the inputs")) == (0, 2)

    def test_inspects_datasets_without_it(self, tiny, mtl):
        code, out, _ = mtl("data", "inspect", str(tiny), *sets(*JOB))
        assert code == 0
        assert "expr" in out
        assert "small" not in out

    def test_says_that_its_samples_cannot_be_balanced(self, tiny):
        balanced = STREAMS.replace("task = 'small',", "task = 'small', sampler = 'balanced',")
        config = load_config(tiny, overrides=(*JOB, balanced)).config
        assert survey(config, DataSource(config))[1] == [
            "stages.one: stream 'b': sampler 'balanced': no sample has a label of the stream's task"
        ]

    def test_trains_predicts_and_evaluates(self, tiny, tmp_path, mtl):
        code, _, err = mtl("run", str(tiny), "-o", str(tmp_path / "run"), *sets(*JOB))
        assert code == 0, err
        lines = epochs(tmp_path / "run", "one")
        assert {"a/small/ground-truth", "b/small/ground-truth"} <= set(lines[0]["losses"])
        assert (
            lines[1]["metrics"]["val/small/thumbnail_error"]
            < lines[0]["metrics"]["val/small/thumbnail_error"]
        )
        code, _, err = mtl("predict", str(tmp_path / "run"), "val", "-o", str(tmp_path / "out.csv"))
        assert code == 0, err
        header = (tmp_path / "out.csv").read_text().splitlines()[0]
        assert "expr.happiness" in header
        assert "small" not in header
        code, out, err = mtl("evaluate", str(tmp_path / "run"))
        assert code == 0, err
        assert "macro_f1" in out
        assert "small" not in out

    def test_resumes_and_loads_a_network_that_draws(self, tiny, tmp_path):
        run(load_config(tiny, overrides=JOB), tmp_path / "run")
        stage = load_stage(tmp_path / "run" / "one")
        outputs = stage.outputs(pictures(2, 19))
        assert outputs["small"].values.shape == (2, 3, 4, 4)
        assert set(stage.outputs(pictures(2, 19), tasks=["expr"])) == {"expr"}
        assert set(stage.predicted) == {"expr"}


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path, tiny_text):
    (tmp_path / "tiny.toml").write_text(tiny_text)
    with pytest.MonkeyPatch.context() as patch:
        from tests.conftest import Packages

        Packages(tmp_path, patch).add("mtl-thumbs", {"thumbs": Path(thumbnails.__file__).read_text()})
    uneven = STREAMS.replace("task = 'small', batch_size = 8", "task = 'small', batch_size = 1")
    for processes in (1, 2):
        launch(tmp_path / "tiny.toml", tmp_path / str(processes), processes, *JOB, uneven)
    alone, together = (epochs(tmp_path / str(processes), "one") for processes in (1, 2))
    assert len(alone) == len(together) == 2
    for left, right in zip(alone, together, strict=True):
        assert right["losses"] == pytest.approx(left["losses"], rel=1e-4, abs=1e-4)
        assert right["metrics"] == pytest.approx(left["metrics"], rel=1e-4, abs=1e-4)
