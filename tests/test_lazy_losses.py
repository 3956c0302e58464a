"""Losses whose parameters get their sizes from a dry run: from torch objects, and in a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import torch
from mtl_affect.combined import Combined
from mtl_std.classification import Classification
from mtl_std.regression import Regression
from mtl_std.shared import SharedTrunk
from safetensors.torch import load_file
from torch import nn

from mtl_toolkit import (
    Batch,
    CouplingLoss,
    HeadOutput,
    Loss,
    MultiTaskModel,
    Objective,
    RunError,
    StreamTask,
    TeacherLoss,
    TensorSamples,
)
from mtl_toolkit.config import Optimizer
from mtl_toolkit.pipeline.losses import first_inputs, give_sizes
from mtl_toolkit.seeding import seeded
from mtl_toolkit.trainer import make_optimizer

HEAD = Classification(classes=("a", "b"), hidden=0)
WIDTH, ROWS = 6, 4


class Probe(nn.Module):
    """A linear layer on the features whose size it does not know; remembers the masks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(1)
        self.norm = nn.BatchNorm1d(1)
        self.masks: list[Any] = []

    def forward(self, output, other, mask):
        self.masks.append(mask)
        rows = mask if mask.ndim == 1 else mask.any(1)
        scores = self.norm(self.layer(output.features))
        return torch.where(rows, scores[:, 0].square(), 0.0).sum() / rows.sum().clamp(min=1)


@attrs.frozen(kw_only=True)
class Probing(Loss):
    """A loss with a lazy layer."""

    name: ClassVar[str] = "probing"

    def build(self, head):
        return Probe()


@attrs.frozen(kw_only=True)
class Taught(TeacherLoss):
    """A loss with a lazy layer, against a teacher."""

    name: ClassVar[str] = "taught"

    def build(self, head):
        return Probe()


@attrs.frozen(kw_only=True)
class Joint(CouplingLoss):
    """A coupling with a lazy layer."""

    name: ClassVar[str] = "joint"

    def build_joint(self, heads):
        probe = Probe()
        probe.forward = lambda outputs, _, masks: Probe.forward(probe, outputs["a"], None, masks["a"])
        return probe


@attrs.frozen(kw_only=True)
class Plain(Loss):
    """A loss without lazy parts; it must not be called."""

    name: ClassVar[str] = "plain"

    def build(self, head):
        def loss(output, target, mask):
            raise AssertionError("called")

        return loss


def outputs(rows: int = ROWS) -> dict[str, HeadOutput]:
    return {task: HeadOutput(torch.randn(rows, 2), torch.randn(rows, WIDTH)) for task in ("a", "b")}


def objective(losses=(Probing(),), **options: Any) -> Objective:
    heads = {"a": HEAD, "b": HEAD}
    return Objective(heads, [StreamTask("s", "a")], losses={"a": losses, "b": [Plain()]}, **options)


def probe_of(live: Objective) -> Any:
    (probe,) = live.stateful
    return probe


def test_a_dry_run_gives_sizes_with_no_valid_row_and_calls_no_other_loss():
    live = objective()
    assert live.lazy
    live.initialise(outputs())
    assert not live.lazy
    assert probe_of(live).layer.weight.shape == (1, WIDTH)
    (mask,) = probe_of(live).masks
    assert mask.shape == (ROWS,)
    assert not mask.any()


def test_the_state_of_a_loss_and_its_mode_stay_in_a_dry_run():
    live = objective().train()
    live.initialise(outputs())
    norm = probe_of(live).norm
    assert norm.num_batches_tracked == 0
    assert norm.training


def test_a_loss_against_a_teacher_sees_its_outputs_and_a_mask_per_unit():
    live = objective((Taught(),))
    live.initialise(outputs(), outputs())
    (mask,) = probe_of(live).masks
    assert mask.shape == (ROWS, 1)


def test_a_coupling_gets_its_sizes_too():
    heads = {"a": HEAD, "r": Regression(), "c": Combined(tasks=("a", "r"))}
    live = Objective(heads, [StreamTask("s", "c")], losses={"c": [Joint()]})
    found = outputs()
    live.initialise({"a": found["a"], "r": found["b"]})
    assert not live.lazy


def test_what_is_left_lazy_is_refused_by_the_optimizer():
    live, model = objective((Taught(),)), network()
    live.initialise(outputs())  # no teacher
    with pytest.raises(Exception, match=r"^losses: a lazy layer has no size yet"):
        make_optimizer(Optimizer(), model, live)
    live.initialise(outputs(), outputs())
    make_optimizer(Optimizer(), model, live)


class Net(nn.Module):
    num_features = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)
        self.drop = nn.Dropout(0.5)

    def forward(self, inputs):
        return self.drop(self.norm(inputs))


def network() -> MultiTaskModel:
    return MultiTaskModel(SharedTrunk(Net(), ["a", "b"]), {"a": HEAD.build(WIDTH), "b": HEAD.build(WIDTH)})


def test_the_network_is_run_once_in_eval_mode_and_stays_as_it_was():
    model, live = network().train(), objective()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    with seeded(3):
        give_sizes(live, model, torch.randn(2, WIDTH))
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not live.lazy


def test_initial_values_are_a_function_of_the_seed_alone():
    """Not of what the network makes of its inputs, nor of dropout."""
    weights = []
    for inputs in (torch.zeros(2, WIDTH), torch.ones(2, WIDTH)):
        with seeded(3):
            live = objective()
            give_sizes(live, network_once(), inputs)
        weights.append(probe_of(live).layer.weight.detach())
    assert torch.equal(*weights)


def network_once() -> MultiTaskModel:
    with seeded(1):
        return network()


def test_tasks_that_a_teacher_gives_no_output_for_are_taken_as_the_networks_own():
    live = objective((Taught(),))
    give_sizes(live, network(), torch.zeros(2, WIDTH), teacher=lambda _inputs, _windows: {})
    assert not live.lazy


# In a run.

LAZY = '''
from typing import ClassVar

import attrs
import torch
from mtl_toolkit import Loss, hookimpl
from torch import nn


class Probe(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LazyLinear(1)

    def forward(self, output, target, mask):
        rows = mask if mask.ndim == 1 else mask.any(1)
        features = torch.where(rows[:, None], output.features, 0.0)
        errors = torch.where(rows, (self.layer(features)[:, 0] - 1).square(), 0.0)
        return errors.sum() / rows.sum().clamp(min=1)


@attrs.frozen(kw_only=True)
class Lazy(Loss):
    """A probe of the features."""

    name: ClassVar[str] = "lazy"

    def build(self, head):
        return Probe()


@hookimpl
def mtl_losses():
    return [Lazy]
'''
SETTINGS = ("stages.teacher.losses=[{ type = 'lazy', weight = 0.1 }]", "defaults.epochs=2")


def run(mtl, path: Path, output: Path, *overrides: str) -> Path:
    options = [part for one in (*SETTINGS, *overrides) for part in ("--set", one)]
    code, _, err = mtl("run", str(path), "--output", str(output), *options)
    assert code == 0, err
    return output / "teacher"


def test_a_run_trains_a_lazy_loss_and_the_same_seed_gives_the_same_run(tiny, mtl, tmp_path, packages):
    packages.add("stranger", {"lazy": LAZY})
    one, two = (run(mtl, tiny, tmp_path / name) for name in ("one", "two"))
    assert losses_of(one) == losses_of(two)
    first, second = (load_file(folder / "last" / "model.safetensors") for folder in (one, two))
    assert all(torch.equal(first[name], second[name]) for name in first)


def losses_of(stage: Path) -> list[Any]:
    return [json.loads(line)["losses"] for line in (stage / "log.jsonl").read_text().splitlines()]


def test_two_rows_of_the_first_sample_that_can_be_read_are_taken():
    class Halves(TensorSamples):
        def read(self, indices):
            from mtl_toolkit import UnreadableSampleError

            if any(index < 3 for index in indices):
                raise UnreadableSampleError("broken")
            return super().read(indices)

    class Source:
        def __init__(self, samples) -> None:
            self.samples = samples

        def items(self, stage, stream, *, validation):
            return self.samples, None

    stage: Any = type("Stage", (), {"streams": (None,), "name": "t"})
    rows = torch.arange(5.0)[:, None]
    found = first_inputs(Source(Halves(rows, {})), stage)  # type: ignore[arg-type]
    assert found.tolist() == [[3.0], [3.0]]
    with pytest.raises(RunError, match=r"stages\.t: none of the first 10 samples of its streams can be read"):
        first_inputs(Source(Halves(rows[:3], {})), stage)  # type: ignore[arg-type]


def test_objectives_without_lazy_losses_say_so():
    live = Objective({"a": HEAD}, [StreamTask("s", "a")])
    assert not live.lazy
    batch = Batch.from_tensors(torch.zeros(ROWS, 1), {"a": torch.zeros(ROWS, dtype=torch.int64)})
    assert set(live({"a": outputs()["a"]}, batch).tasks) == {"a"}


# The hint of mtl-distill in a run.

HINTED = (
    "stages.student.losses=[{ type = 'hint', weight = 0.5, unlabelled_weight = 0.5 }]",
    "stages.student.ground_truth_weight=1.0",
    "defaults.epochs=1",
)


def test_a_student_of_a_run_is_taught_through_the_features(tiny, mtl, tmp_path):
    """Rows of each stream lack one of the labels."""
    options = [part for one in HINTED for part in ("--set", one)]
    code, _, err = mtl("run", str(tiny), "--output", str(tmp_path / "out"), *options)
    assert code == 0, err
    lines = (tmp_path / "out" / "student" / "log.jsonl").read_text().splitlines()
    losses = json.loads(lines[-1])["losses"]
    assert {"a/expr/hint", "a/va/hint", "a/va/hint-unlabelled", "b/expr/hint-unlabelled"} <= set(losses)


def test_a_network_without_the_extra_is_told_in_one_line(tiny, mtl, tmp_path):
    of_map = "stages.student.losses=[{ type = 'hint', of = 'map' }]"
    options = [part for one in (*HINTED[1:], of_map) for part in ("--set", one)]
    code, _, err = mtl("run", str(tiny), "--output", str(tmp_path / "out"), *options)
    assert code == 2
    assert "error: hint: the student's network gives no 'map'" in err
    assert "Traceback" not in err
