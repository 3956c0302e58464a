"""Batch norm over groups of rows: what it computes, and that nothing else changes."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d
from torch import nn

from mtl_toolkit import (
    Batch,
    LiveStream,
    MultiTaskModel,
    RunError,
    StreamLoader,
    TensorSamples,
    TrainPlan,
    in_groups,
    load_config,
    load_stage,
    run,
)
from mtl_toolkit.batch_norm import GroupedNorm, Groups, group_batch_norms
from mtl_toolkit.data import ConcatSamples
from tests.test_distributed import epochs, launch

NORMS = {
    "1d": (lambda **options: nn.BatchNorm1d(3, **options), ()),
    "2d": (lambda **options: nn.BatchNorm2d(3, **options), (4, 4)),
    "3d": (lambda **options: nn.BatchNorm3d(3, **options), (2, 2, 2)),
    "with an activation": (lambda **options: BatchNormAct2d(3, **options), (4, 4)),
}


def norm_and_rows(kind, rows, seed=0, **options):
    make, shape = NORMS[kind]
    torch.manual_seed(seed)
    norm = make(**options)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    if norm.track_running_stats:
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    # Each row is about its own level: groups differ.
    inputs = torch.randn(rows, 3, *shape) + torch.arange(rows).reshape(-1, *[1] * (len(shape) + 1)) % 5
    return norm.train(), inputs.requires_grad_()


def one_by_one(norm, inputs, numbers):
    """Each group through a batch norm of its own; a lone row with all: (outputs, the statistics after)."""
    numbers = np.asarray(numbers)
    joint = copy.deepcopy(norm)(inputs)
    outputs = joint.clone()
    before = {name: value.clone() for name, value in norm.named_buffers()}
    moved, rows = {}, 0
    for number in np.unique(numbers):
        mine = np.flatnonzero(numbers == number)
        if len(mine) < 2:
            continue
        own = copy.deepcopy(norm)
        outputs[mine] = own(inputs[mine])
        rows += len(mine)
        for name, value in own.named_buffers():
            moved[name] = moved.get(name, 0) + len(mine) * value
    means = {name: (value / rows).to(before[name].dtype) for name, value in moved.items()}
    return outputs, means


def grouped(norm, inputs, numbers):
    changed = copy.deepcopy(norm)
    groups = group_batch_norms([changed], "dataset")
    batch = Batch.from_tensors(inputs.detach(), {}, datasets=numbers)
    with groups.of(batch, batch.sizes):
        return changed(inputs), changed


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize(
    "numbers",
    [[0, 0, 0, 1, 1, 1, 1], [2, 0, 1, 0, 2, 2, 1], [0, 1, 0, 2, 0, 2, 2]],
    ids=["apart", "mixed", "lone"],
)
def test_each_group_is_normalised_as_if_it_were_alone(kind, numbers):
    norm, inputs = norm_and_rows(kind, 7)
    wanted, statistics = one_by_one(norm, inputs, numbers)
    found, changed = grouped(norm, inputs, numbers)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    for name, value in changed.named_buffers():
        torch.testing.assert_close(value, statistics[name], rtol=1e-4, atol=1e-5)
    weight = torch.randn(found.shape)
    gradients = [torch.autograd.grad((one * weight).sum(), inputs)[0] for one in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.sampled_from([0.1, 0.5, None]))
def test_any_groups_and_momentum_are_right(numbers, momentum):
    norm, inputs = norm_and_rows("2d", len(numbers), momentum=momentum)
    with torch.no_grad():
        wanted, statistics = one_by_one(norm, inputs, numbers)
        found, changed = grouped(norm, inputs, numbers)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    for name, value in changed.named_buffers():
        torch.testing.assert_close(value, statistics.get(name, value), rtol=1e-4, atol=1e-5)


def test_rows_that_are_all_alone_are_normalised_together():
    norm, inputs = norm_and_rows("1d", 4)
    found, changed = grouped(norm, inputs, [0, 1, 2, 3])
    together = copy.deepcopy(norm)
    torch.testing.assert_close(found, together(inputs))
    torch.testing.assert_close(changed.running_var, together.running_var)


def test_without_running_statistics_or_weights_groups_work_too():
    norm, inputs = norm_and_rows("2d", 5, track_running_stats=False, affine=False)
    found, changed = grouped(norm, inputs, [0, 1, 0, 1, 1])
    torch.testing.assert_close(found, one_by_one(norm, inputs, [0, 1, 0, 1, 1])[0])
    assert changed.running_mean is None


def test_the_running_mean_is_that_of_all_rows():
    norm, inputs = norm_and_rows("1d", 9)
    _, changed = grouped(norm, inputs, [0, 0, 1, 1, 1, 2, 2, 2, 2])
    norm(inputs)
    torch.testing.assert_close(changed.running_mean, norm.running_mean)
    assert (changed.running_var < norm.running_var).all()  # it lacks what the groups differ in


def test_outside_of_a_pass_and_in_eval_mode_it_is_a_batch_norm():
    norm, inputs = norm_and_rows("2d", 6)
    changed = copy.deepcopy(norm)
    groups = group_batch_norms([changed], "stream")
    torch.testing.assert_close(changed(inputs), norm(inputs), rtol=0, atol=0)
    batch = Batch.from_tensors(inputs.detach(), {}, sizes=[2, 4])
    with groups.of(batch, batch.sizes):
        torch.testing.assert_close(changed.eval()(inputs), norm.eval()(inputs), rtol=0, atol=0)
    assert list(changed.state_dict()) == list(norm.state_dict())
    assert isinstance(changed, nn.BatchNorm2d)
    assert type(changed).__name__ == "BatchNorm2d"


def test_the_memory_format_stays():
    norm, inputs = norm_and_rows("2d", 6)
    inputs = inputs.detach().contiguous(memory_format=torch.channels_last)
    found, _ = grouped(norm, inputs, [0, 1, 0, 1, 0, 1])
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_network_that_changes_the_number_of_rows_is_told():
    norm, inputs = norm_and_rows("1d", 4)
    groups = group_batch_norms([norm], "stream")
    batch = Batch.from_tensors(inputs.detach(), {}, sizes=[2, 2])
    with groups.of(batch, batch.sizes), pytest.raises(RunError, match=r"sees 8 rows in a pass of 4"):
        norm(torch.cat([inputs, inputs]))
    assert groups.now is None


def test_datasets_that_the_batch_does_not_know_are_told():
    groups = group_batch_norms([nn.BatchNorm1d(3)], "dataset")
    batch = Batch.from_tensors(torch.zeros(4, 3), {}, sizes=[2, 2])
    with (
        pytest.raises(ValueError, match=r"must have the dataset of each of 4 rows \(got 0\)"),
        groups.of(batch, [2, 2]),
    ):
        pass


@pytest.mark.parametrize(("numbers", "nothing"), [([0, 0, 0], True), ([0, 1, 2], True), ([0, 0, 1], False)])
def test_one_group_of_all_rows_is_no_group(numbers, nothing):
    assert (Groups.of(np.array(numbers), torch.device("cpu")) is None) == nothing


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, inputs, tasks):
        return dict.fromkeys(tasks, self.layers(inputs).flatten(1))


class HeadLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, features):
        from mtl_toolkit import HeadOutput

        features = self.norm(features)
        return HeadOutput(self.last(features), features)


def model_of(batch_statistics):
    torch.manual_seed(0)
    return MultiTaskModel(Trunk(), {"a": HeadLayers()}, batch_statistics=batch_statistics)


def test_trunk_and_heads_look_at_the_streams_of_a_batch():
    joint, apart = model_of("joint"), model_of("stream")
    inputs = torch.randn(6, 3, 5, 5)
    inputs[2:] += 3
    batch = Batch.from_tensors(inputs, {}, sizes=[2, 4])
    with in_groups(apart, batch, batch.sizes):
        found = apart(inputs)["a"].values
    parts = [copy.deepcopy(joint)(part)["a"].values for part in (inputs[:2], inputs[2:])]
    torch.testing.assert_close(found, torch.cat(parts))
    with in_groups(joint, batch, batch.sizes):
        torch.testing.assert_close(joint(inputs)["a"].values, model_of("joint")(inputs)["a"].values)


def test_a_checkpoint_fits_with_and_without_groups():
    joint, apart = model_of("joint"), model_of("dataset")
    shapes = [{name: one.shape for name, one in it.state_dict().items()} for it in (joint, apart)]
    assert shapes[0] == shapes[1]
    joint.load_state_dict(apart.state_dict())
    inputs = torch.randn(3, 3, 5, 5)
    torch.testing.assert_close(joint.eval()(inputs)["a"].values, apart.eval()(inputs)["a"].values)


def test_a_copy_has_groups_of_its_own():
    model = model_of("stream")
    other = copy.deepcopy(model)
    norms = [[one for one in it.modules() if isinstance(one, GroupedNorm)] for it in (model, other)]
    assert all(one.row_groups is model.row_groups for one in norms[0])
    assert all(one.row_groups is other.row_groups for one in norms[1])
    assert other.row_groups is not model.row_groups


def test_a_network_over_groups_is_exported():
    model = model_of("dataset").eval()
    inputs = torch.randn(4, 3, 5, 5)
    exported = torch.export.export(model, (inputs,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    found = exported.module()(inputs[:3])
    torch.testing.assert_close(found["a"].values, model(inputs[:3])["a"].values)


class TestABatch:
    def samples(self, size, at):
        return TensorSamples(torch.full((size, 2), float(at)), {})

    def test_knows_the_dataset_of_each_row_over_all_streams(self):
        one, two = self.samples(5, 1), self.samples(3, 2)
        both = ConcatSamples({"one": one, "two": two})
        other = ConcatSamples({"three": self.samples(2, 3), "one": one})
        streams = [
            LiveStream("first", "t", both, lambda _: np.array([7, 0, 6, 1]), 4),
            LiveStream("second", "t", other, lambda _: np.array([0, 4]), 2),
            LiveStream("third", "t", two, lambda _: np.array([1]), 1, datasets=("two",)),
            LiveStream("fourth", "t", one, lambda _: np.array([1]), 1),
        ]
        batch = next(StreamLoader(TrainPlan(streams, seed=0, length=1), {}).epoch(0))
        assert batch.datasets == (1, 0, 1, 0, 2, 0, 1, 3)
        levels = {0: 1.0, 1: 2.0, 2: 3.0, 3: 1.0}
        assert batch.inputs[:, 0].tolist() == [levels[number] for number in batch.datasets]
        assert batch.to("cpu").datasets == batch.datasets

    def test_of_tensors_is_told_them(self):
        assert Batch.from_tensors(torch.zeros(3, 1), {}, datasets=[1, 0, 1]).datasets == (1, 0, 1)
        with pytest.raises(ValueError, match=r"datasets must be of the 3 rows of inputs \(got 2\)"):
            Batch.from_tensors(torch.zeros(3, 1), {}, datasets=[1, 0])


STREAMS = (
    "defaults.streams=[{ dataset = ['a', 'b'], name = 'ab', task = 'expr_va', batch_size = 8 }, "
    "{ dataset = 'b', task = 'va', batch_size = 4 }]"
)
SHORT = (STREAMS, "stages=[{ name = 'one' }]", "defaults.epochs=1", "datasets.val.samples=8")


@pytest.mark.parametrize("over", ["stream", "dataset"])
def test_a_run_moves_other_running_statistics_and_keeps_a_network_that_loads(tiny, tmp_path, over):
    found = {}
    for kind in ("joint", over):
        overrides = (*SHORT, f"model.batch_statistics={kind}")
        run(load_config(tiny, overrides=overrides), tmp_path / kind)
        found[kind] = load_stage(tmp_path / kind / "one").model.state_dict()
    assert found["joint"].keys() == found[over].keys()
    name = next(name for name in found[over] if name.endswith("running_var"))
    assert not torch.equal(found["joint"][name], found[over][name])
    described = json.loads((tmp_path / over / "one/best/checkpoint.json").read_text())
    assert described["model"]["batch_statistics"] == over


@pytest.mark.slow
def test_each_of_two_processes_looks_at_the_groups_of_its_own_rows(tmp_path, tiny_text):
    (tmp_path / "tiny.toml").write_text(tiny_text)
    groups = ("model.batch_statistics=dataset", "model.backbone.freeze=none")
    launch(tmp_path / "tiny.toml", tmp_path / "two", 2, *SHORT, *groups)
    (line,) = epochs(tmp_path / "two", "one")
    assert np.isfinite(list(line["losses"].values())).all()
    state = load_stage(tmp_path / "two" / "one").model.state_dict()
    variance = next(value for name, value in state.items() if name.endswith("running_var"))
    assert not torch.equal(variance, torch.ones_like(variance))
