"""Checkpoints: exact, whole, and clear about what is wrong with them."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from mtl_toolkit import RunError, checkpoint
from mtl_toolkit.checkpoint import (
    TrainingState,
    load_training,
    load_weights,
    read_description,
    save_checkpoint,
)

OPTIMIZERS = {
    "AdamW": {"lr": 1e-2, "betas": (0.8, 0.9)},
    "Adam": {"lr": 1e-2, "amsgrad": True},
    "SGD": {"lr": 1e-2, "momentum": 0.9, "nesterov": True},
    "NAdam": {"lr": 1e-2},
    "Adagrad": {"lr": 1e-2},
    "Rprop": {"lr": 1e-2, "etas": (0.4, 1.3)},
}


def network(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    return net.to(memory_format=torch.channels_last)


def optimizer_of(net, name="AdamW"):
    first, *rest = net.parameters()
    groups = [{"params": [first], "name": "backbone", "lr": 1e-3}, {"params": rest, "name": "heads"}]
    return getattr(torch.optim, name)(groups, **OPTIMIZERS[name])


def train(net, optimizer, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        inputs = torch.rand(8, 3, 4, 4, generator=generator).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        net(inputs).square().mean().backward()
        optimizer.step()


def state_of(net, optimizer, **more):
    objective = nn.Linear(1, 1)
    nn.init.constant_(objective.weight, 7.0)
    return TrainingState({"epoch": 1}, optimizer, {"done": 3}, objective, **more)


def weights(net):
    return [tensor.clone() for tensor in net.state_dict().values()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_as_if_never_stopped(tmp_path, name):
    net = network(0)
    optimizer = optimizer_of(net, name)
    train(net, optimizer, 3)
    save_checkpoint(tmp_path / "last", net, {}, state_of(net, optimizer))
    train(net, optimizer, 4, seed=1)

    other = network(5)
    resumed = optimizer_of(other, name)
    objective = nn.Linear(1, 1)
    load_weights(tmp_path / "last", other)
    found = load_training(tmp_path / "last", resumed, objective)
    assert found == {"progress": {"epoch": 1}, "scheduler": {"done": 3}, "scaler": {}}
    assert objective.weight.item() == 7.0
    train(other, resumed, 4, seed=1)
    assert same(weights(net), weights(other))


def test_the_optimizers_state_comes_back_exactly_in_the_parameters_memory_format(tmp_path):
    net = network(0)
    optimizer = optimizer_of(net)
    train(net, optimizer, 3)
    save_checkpoint(tmp_path / "last", net, {}, state_of(net, optimizer))
    other = network(1)
    resumed = optimizer_of(other)
    load_training(tmp_path / "last", resumed, nn.Linear(1, 1))
    assert resumed.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    before, after = optimizer.state_dict()["state"], resumed.state_dict()["state"]
    assert before.keys() == after.keys()
    for index, values in before.items():
        for key, value in values.items():
            found = after[index][key]
            assert torch.equal(value, found)
            assert (value.dtype, value.stride()) == (found.dtype, found.stride())


def test_the_loss_scaler_of_fp16_goes_on_with_its_scale(tmp_path):
    net = network(0)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    optimizer = optimizer_of(net)
    scaler.scale(net(torch.full((2, 3, 4, 4), float("inf"))).mean()).backward()
    scaler.step(optimizer)
    scaler.update()
    save_checkpoint(tmp_path / "last", net, {}, state_of(net, optimizer, scaler=scaler.state_dict()))
    resumed = torch.amp.GradScaler("cpu")
    resumed.load_state_dict(load_training(tmp_path / "last", optimizer, nn.Linear(1, 1))["scaler"])
    assert resumed.get_scale() == 32.0


def test_tensors_that_share_memory_are_saved(tmp_path):
    net = nn.Module()
    net.one = nn.Linear(3, 3, bias=False)
    net.two = nn.Linear(3, 3, bias=False)
    net.two.weight = net.one.weight
    save_checkpoint(tmp_path / "best", net, {})
    load_weights(tmp_path / "best", net)


def test_a_description_is_read_back(tmp_path):
    save_checkpoint(tmp_path / "best", nn.Linear(1, 1), {"stage": "teacher"})
    assert read_description(tmp_path / "best") == {"format": 1, "stage": "teacher"}


def enospc(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_room(*_, **__):
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("when", ["weights", "optimizer", "flush"])
def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, when):
    path = tmp_path / "last"
    net = network(0)
    optimizer = optimizer_of(net)
    save_checkpoint(path, net, {"epoch": 1}, state_of(net, optimizer))
    good = weights(net)
    train(net, optimizer, 1)

    def save(tensors, file, original=checkpoint.save_file):
        if when in file.name or (when == "weights" and file.name == "model.safetensors"):
            no_room()
        original(tensors, file)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", save)
        if when == "flush":
            patch.setattr(os, "fsync", enospc)
        with pytest.raises(RunError) as caught:
            save_checkpoint(path, net, {"epoch": 2}, state_of(net, optimizer))
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}: cannot be saved: ")
    assert "No space left on device" in problem
    assert [entry.name for entry in tmp_path.iterdir()] == ["last"]
    assert read_description(path)["epoch"] == 1
    load_weights(path, net)
    assert same(weights(net), good)


def test_a_checkpoint_cut_between_its_renames_is_found_again(tmp_path):
    save_checkpoint(tmp_path / "best", nn.Linear(1, 1), {"epoch": 1})
    (tmp_path / "best").rename(tmp_path / ".best.old")
    assert read_description(tmp_path / "best")["epoch"] == 1


def load_all(path):
    net = network(0)
    load_weights(path, net)
    load_training(path, optimizer_of(net), nn.Linear(1, 1))


@pytest.mark.parametrize("keep", [0, 4, 40, -3])
def test_a_truncated_file_is_named(tmp_path, keep):
    net = network(0)
    optimizer = optimizer_of(net)
    train(net, optimizer, 1)
    save_checkpoint(tmp_path / "last", net, {}, state_of(net, optimizer))
    for file in ("model", "objective", "optimizer"):
        path = tmp_path / "last" / f"{file}.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[:keep])
        with pytest.raises(RunError, match=f"{file}.safetensors: cannot be loaded") as caught:
            load_all(tmp_path / "last")
        assert "\n" not in caught.value.problems[0]
        path.write_bytes(whole)


def test_a_missing_file_is_named(tmp_path):
    net = network(0)
    with pytest.raises(RunError, match=r"checkpoint\.json: cannot be read"):
        read_description(tmp_path)
    with pytest.raises(RunError, match=r"model\.safetensors: cannot be loaded"):
        load_weights(tmp_path, net)
    save_checkpoint(tmp_path / "best", net, {})
    with pytest.raises(RunError, match=r"training\.json: cannot be read"):
        load_training(tmp_path / "best", optimizer_of(net), nn.Linear(1, 1))


def test_weights_of_another_network_do_not_fit(tmp_path):
    save_checkpoint(tmp_path / "best", nn.Linear(3, 2), {})
    with pytest.raises(RunError, match=r"'weight' must have shape \(2, 4\) \(got \(2, 3\)\)$"):
        load_weights(tmp_path / "best", nn.Linear(4, 2))
    with pytest.raises(RunError, match=r"'0\.weight' is missing, and 3 more such$"):
        load_weights(tmp_path / "best", nn.Sequential(nn.Linear(3, 2)))


def test_a_checkpoint_of_a_newer_version_is_refused(tmp_path):
    save_checkpoint(tmp_path / "best", nn.Linear(1, 1), {})
    file = tmp_path / "best" / "checkpoint.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 3}))
    with pytest.raises(RunError, match=r"a newer mtl-toolkit \(format 3, this one reads 2\)"):
        read_description(tmp_path / "best")
