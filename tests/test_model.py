"""The network: task names, heads on request, preprocessing, parameter groups."""

from __future__ import annotations

import pytest
import torch
from mtl_std.classification import Classification
from mtl_std.shared import SharedTrunk
from torch import nn

from mtl_toolkit import ConfigError, MultiTaskModel, Normalise, config_from, load_config
from mtl_toolkit.model import CentreCrop, build_model, parameter_groups

HEAD = Classification(classes=("a", "b"), hidden=0)


class Flat(nn.Module):
    """A backbone of one layer."""

    num_features = 3

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, pictures):
        return self.layer(pictures.mean((2, 3)))


def model_of(*tasks):
    return MultiTaskModel(
        SharedTrunk(Flat(), tasks), {task: HEAD.build(3) for task in tasks}, Normalise([0.5] * 3, [0.25] * 3)
    )


@pytest.mark.parametrize("task", ["values", "type", "keys", "forward", "2", "a-b"])
def test_a_task_may_be_called_like_an_attribute_of_torchs_modules(task):
    outputs = model_of(task, "other")(torch.zeros(2, 3, 4, 4))
    assert list(outputs) == [task, "other"]


def test_a_task_whose_name_has_a_dot_is_refused(tiny_text, tmp_path):
    import tomllib

    raw = tomllib.loads(tiny_text.replace("[tasks.expr]", '[tasks."a.b"]'))
    with pytest.raises(ConfigError, match=r'tasks\."a\.b": must have no dot'):
        config_from(raw, base=tmp_path)


def test_only_the_heads_asked_for_are_run():
    model = model_of("one", "two")
    model.heads["two_head"].forward = None  # would fail if called
    assert list(model(torch.zeros(2, 3, 4, 4), ["one"])) == ["one"]


def test_bytes_and_floats_of_the_same_picture_are_normalised_alike():
    pictures = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    normalise = Normalise([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    expected = (pictures / 255 - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(3, 1, 1)
    torch.testing.assert_close(normalise(pictures), expected)
    torch.testing.assert_close(normalise(pictures / 255), expected)


def test_a_network_sees_the_centre_of_pictures_as_they_are_read(tiny):
    config = load_config(tiny).config
    heads = {"expr": config.tasks["expr"].head}
    model = build_model(config.model, heads).eval()
    side, size = config.model.read_size, config.model.image_size
    assert (side, size) == (19, 16)
    pictures = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    whole, centre = model(pictures), model(pictures[:, :, 1:17, 1:17])
    assert torch.equal(whole["expr"].values, centre["expr"].values)


@pytest.mark.parametrize(("side", "first"), [(8, 0), (9, 0), (10, 1), (13, 2)])
def test_the_centre_leaves_the_same_margin_on_both_sides_but_for_one_pixel(side, first):
    row = torch.arange(side).expand(1, 3, side, side)
    cut = CentreCrop(8)(row)
    assert cut.shape == (1, 3, 8, 8)
    assert cut[0, 0, 0].tolist() == list(range(first, first + 8))


def test_features_are_not_cut():
    features = torch.rand(4, 20)
    assert CentreCrop(8)(features) is features


def test_backbone_and_heads_get_options_of_their_own_and_frozen_parameters_none():
    model = model_of("one")
    model.trunk.backbone.layer.bias.requires_grad_(False)
    backbone, heads = parameter_groups(model, {"lr": 0.1}, {"weight_decay": 0.2})
    assert (backbone["lr"], heads["weight_decay"]) == (0.1, 0.2)
    assert [p is model.trunk.backbone.layer.weight for p in backbone["params"]] == [True]
    assert len(heads["params"]) == 2
