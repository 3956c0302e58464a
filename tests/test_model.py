"""The network: task names, heads on request, preprocessing, windows of frames, parameter groups."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_std.classification import Classification
from mtl_std.shared import SharedTrunk
from mtl_std.temporal import GRU, TCN, Transformer
from torch import nn

from mtl_toolkit import ConfigError, Features, HeadOutput, MultiTaskModel, Normalise, config_from, load_config
from mtl_toolkit.model import FeatureTrunk, Frames, build_model, parameter_groups
from mtl_toolkit.preprocessing import CentreCrop

HEAD = Classification(classes=("a", "b"), hidden=0)
TEMPORALS = {
    "gru": GRU(hidden=4, layers=2, dropout=0.3),
    "tcn": TCN(channels=6, layers=3),
    "transformer": Transformer(width=8, heads=2, layers=2, feedforward=12),
}
every_temporal = pytest.mark.parametrize("kind", TEMPORALS)
WINDOWS = (4, 1, 6, 3)  # rows of the windows of a batch


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


# Windows of frames


def model_over_time(kind, *tasks):
    """Of random weights, in eval mode: a linear trunk on pictures, a temporal network and a head per task."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        over_time = {task: TEMPORALS[kind].build(3) for task in tasks}
        heads = {task: HEAD.build_last(over_time[task].num_features) for task in tasks}
        return MultiTaskModel(SharedTrunk(Flat(), tasks), heads, temporal=over_time).eval()


def frames_of(rows, seed=0):
    """Pictures [rows, 3, 2, 2] of random numbers."""
    return torch.randn(rows, 3, 2, 2, generator=torch.Generator().manual_seed(seed))


class WithMap(Flat):
    """Gives a map beside its features."""

    def forward(self, pictures):
        return Features(super().forward(pictures), {"map": pictures[:, 0]})


class OwnExtra(nn.Module):
    """A head whose module adds to the extras."""

    def forward(self, features):
        return HeadOutput(features[:, :2], features, {"map": features, "own": -features})


def model_with_map(temporal=None):
    trunk = SharedTrunk(WithMap(), ["a", "b"])
    heads = {"a": HEAD.build(3), "b": OwnExtra()}
    return MultiTaskModel(trunk, heads, temporal=temporal).eval()


def test_extras_of_a_backbone_reach_the_outputs_of_every_task_and_a_heads_own_come_on_top():
    pictures = torch.rand(2, 3, 4, 4)
    outputs = model_with_map()(pictures)
    torch.testing.assert_close(dict(outputs["a"].extras), {"map": pictures[:, 0]})
    features = outputs["b"].features
    torch.testing.assert_close(dict(outputs["b"].extras), {"map": features, "own": -features})


def test_features_of_a_model_are_plain_tensors_and_shared_where_the_trunk_shares_them():
    features = model_with_map().features(torch.rand(2, 3, 4, 4), ["a", "b"])
    assert isinstance(features["a"], torch.Tensor)
    assert features["a"] is features["b"]


def test_temporal_networks_drop_the_extras_of_the_frames():
    model = model_with_map({"a": (gru := TEMPORALS["gru"].build(3)), "b": TEMPORALS["gru"].build(3)})
    model.heads["a_head"] = HEAD.build_last(gru.num_features)
    outputs = model.eval()(torch.rand(4, 3, 4, 4), windows=[3, 1])
    assert outputs["a"].extras == {}
    assert set(outputs["b"].extras) == {"map", "own"}  # both the head's


def test_a_model_with_extras_is_exported_with_them():
    model, pictures = model_with_map(), torch.rand(3, 3, 4, 4)
    shapes = ({0: torch.export.Dim("rows", min=2, max=64)},)
    program = torch.export.export(model, (pictures,), dynamic_shapes=shapes)
    more = torch.rand(5, 3, 4, 4)
    torch.testing.assert_close(program.module()(more), model(more))


@every_temporal
def test_windows_of_a_batch_give_what_each_gives_alone(kind):
    model, pictures = model_over_time(kind, "one", "two"), frames_of(sum(WINDOWS))
    together = model(pictures, windows=WINDOWS)
    alone = [model(window) for window in pictures.split(list(WINDOWS))]
    for task in ("one", "two"):
        for part in ("values", "features"):
            expected = torch.cat([getattr(outputs[task], part) for outputs in alone])
            torch.testing.assert_close(getattr(together[task], part), expected)


@every_temporal
@pytest.mark.parametrize("windows", [(4, 1, 6, 3), (5, 5, 5)])
def test_what_a_window_holds_reaches_no_other_window(kind, windows):
    """The second window is poisoned, and longer and shorter than its neighbours."""
    model, pictures = model_over_time(kind, "one"), frames_of(sum(windows))
    start, stop = windows[0], windows[0] + windows[1]
    poisoned = pictures.clone()
    poisoned[start:stop] = torch.nan
    clean, other = (model(one, windows=windows)["one"].values for one in (pictures, poisoned))
    keep = [row for row in range(len(pictures)) if not start <= row < stop]
    torch.testing.assert_close(other[keep], clean[keep])
    assert other[start:stop].isnan().all()


@every_temporal
def test_without_windows_all_rows_are_one(kind):
    model, pictures = model_over_time(kind, "one"), frames_of(7)
    whole, none = model(pictures, windows=[7]), model(pictures)
    assert torch.equal(whole["one"].values, none["one"].values)
    single = model(pictures, windows=[1] * 7)
    assert not torch.allclose(whole["one"].values, single["one"].values)


@pytest.mark.parametrize("windows", [(4, 4), (3, 3), (5, 3), (7, 1, 1)])
def test_windows_that_do_not_add_up_to_the_rows_are_refused(windows):
    total = sum(windows)
    with pytest.raises(ValueError, match=rf"must add up to the 7 rows of inputs \(got {total}\)"):
        model_over_time("gru", "one")(frames_of(7), windows=windows)


def test_a_network_of_single_rows_does_not_look_at_windows():
    model, pictures = model_of("one").eval(), frames_of(5).sigmoid()
    assert torch.equal(model(pictures, windows=(2, 3))["one"].values, model(pictures)["one"].values)


@every_temporal
def test_a_frames_gradient_reaches_the_trunk_and_the_other_frames_of_its_window_only(kind):
    model, pictures = model_over_time(kind, "one"), frames_of(9).requires_grad_()
    values = model(pictures, windows=(4, 5))["one"].values
    values[1].square().sum().backward()
    reached = pictures.grad.flatten(1).abs().sum(1) > 0
    assert reached.tolist() == [True] * 4 + [False] * 5
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.trunk.parameters())


@every_temporal
def test_only_the_temporal_networks_asked_for_are_run(kind):
    model = model_over_time(kind, "one", "two")
    model.temporal["two_frames"].forward = None  # would fail if called
    assert list(model(frames_of(4), ["one"], (3, 1))) == ["one"]


class Witness(nn.Module):
    """Notes what it is called with, and gives its inputs back."""

    def forward(self, inputs, mask):
        self.inputs, self.mask = inputs, mask
        return inputs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_windows_are_padded_with_zeros_under_a_mask_and_come_back_in_order(lengths):
    rows = torch.arange(1.0, 1 + 2 * sum(lengths)).view(-1, 2)
    witness = Witness()
    assert torch.equal(Frames(lengths, torch.device("cpu")).run(witness, rows), rows)
    assert witness.inputs.shape == (len(lengths), max(lengths), 2)
    start = 0
    for window, length in zip(witness.inputs, lengths, strict=True):
        assert torch.equal(window[:length], rows[start : start + length])
        assert not window[length:].any()
        start += length
    if len(set(lengths)) == 1:
        assert witness.mask is None  # all are full, which is cheaper
    else:
        assert witness.mask.sum(1).tolist() == lengths
        assert all(mask[: int(mask.sum())].all() for mask in witness.mask)


def test_a_trunk_of_features_cuts_each_tasks_columns_out_of_a_row():
    trunk = FeatureTrunk({"one": (0, 3), "two": (3, 5), "three": (0, 3)})
    assert trunk.num_features == {"one": 3, "two": 2, "three": 3}
    assert not list(trunk.parameters())
    assert not trunk.state_dict()
    rows = torch.arange(20.0).view(4, 5)
    found = trunk(rows, ["two", "one"])
    assert list(found) == ["two", "one"]
    assert found["two"].tolist() == [[3, 4], [8, 9], [13, 14], [18, 19]]
    assert found["one"].tolist() == [[0, 1, 2], [5, 6, 7], [10, 11, 12], [15, 16, 17]]


def built_over_time(tiny, temporal=None, columns=None):
    config = load_config(tiny).config
    heads = {task: config.tasks[task].head for task in ("expr", "va")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(config.model, heads, temporal=temporal, columns=columns).eval()


def test_a_model_on_features_has_no_trunk_of_its_own_and_its_heads_only_a_last_layer(tiny):
    model = built_over_time(tiny, GRU(hidden=3), {"expr": (0, 4), "va": (4, 9)})
    assert not list(model.preprocess.parameters()) + list(model.trunk.parameters())
    assert {name.partition(".gru")[0] for name in model.state_dict()} == {
        "temporal.expr_frames",
        "temporal.va_frames",
        "heads.expr_head.last.weight",
        "heads.expr_head.last.bias",
        "heads.va_head.last.weight",
        "heads.va_head.last.bias",
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes["temporal.expr_frames.gru.weight_ih_l0"] == (9, 4)
    assert shapes["temporal.va_frames.gru.weight_ih_l0"] == (9, 5)
    assert shapes["heads.expr_head.last.weight"] == (7, 6)
    outputs = model(torch.randn(6, 9), windows=(2, 4))
    assert {task: tuple(out.values.shape) for task, out in outputs.items()} == {
        "expr": (6, 7),
        "va": (6, 2, 5),
    }


def test_without_a_temporal_network_a_model_on_features_has_whole_heads(tiny):
    model = built_over_time(tiny, None, {"expr": (0, 4), "va": (0, 4)})
    assert "heads.expr_head.hidden.1.weight" in model.state_dict()
    assert not any(name.startswith("temporal") for name in model.state_dict())
    assert model(torch.randn(6, 4))["va"].values.shape == (6, 2, 5)


def test_the_same_trunk_is_built_with_and_without_a_temporal_network(tiny):
    """So that one can start from the weights of the other."""
    plain, over_time = built_over_time(tiny), built_over_time(tiny, GRU(hidden=3))
    trunks = [model.trunk.state_dict() for model in (plain, over_time)]
    assert {k: v.shape for k, v in trunks[0].items()} == {k: v.shape for k, v in trunks[1].items()}


def test_temporal_networks_are_trained_with_the_options_of_the_heads():
    model = model_over_time("gru", "one", "two")
    backbone, heads = parameter_groups(model, {"lr": 0.1}, {"lr": 0.2})
    assert (backbone["name"], heads["name"]) == ("backbone", "heads")
    assert {id(p) for p in backbone["params"]} == {id(p) for p in model.trunk.parameters()}
    after = [*model.temporal.parameters(), *model.heads.parameters()]
    assert [id(p) for p in heads["params"]] == [id(p) for p in after]


def test_a_model_on_features_has_one_group_of_parameters():
    heads = {"one": HEAD.build_last(8)}
    model = MultiTaskModel(FeatureTrunk({"one": (0, 3)}), heads, temporal={"one": GRU(hidden=4).build(3)})
    (group,) = parameter_groups(model, {"lr": 0.1}, {"lr": 0.2})
    assert (group["name"], group["lr"]) == ("heads", 0.2)


@every_temporal
def test_memory_format_changes_nothing_about_windows(tiny, kind):
    model = built_over_time(tiny, TEMPORALS[kind])
    pictures = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8)
    expected = model(pictures, windows=(4, 3))
    model.to(memory_format=torch.channels_last)
    found = model(pictures.contiguous(memory_format=torch.channels_last), windows=(4, 3))
    torch.testing.assert_close(found["va"].values, expected["va"].values, rtol=1e-4, atol=1e-5)


@every_temporal
@pytest.mark.parametrize("windows", [(4, 3), (7,)])
def test_bf16_autocast_gives_the_same_windows_but_for_rounding(tiny, kind, windows):
    model = built_over_time(tiny, TEMPORALS[kind])
    pictures = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8)
    expected = model(pictures, windows=windows)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(pictures, windows=windows)
    for task in ("expr", "va"):
        values = found[task].values.float()
        assert not torch.equal(values, expected[task].values)
        torch.testing.assert_close(values, expected[task].values, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 3, 5, 4), (1, 3, 1, 1), (2, 3, 1, 6), (0, 3, 4, 4)])
def test_pictures_are_normalised_alike_in_either_memory_format(shape, layout):
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8).contiguous(memory_format=layout)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
    wanted = (pictures.double() / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    kept = pictures.clone()
    found = Normalise(mean.tolist(), std.tolist())(pictures)
    torch.testing.assert_close(found.double(), wanted.double(), atol=1e-5, rtol=1e-5)
    assert torch.equal(pictures, kept)
    assert found.shape == pictures.shape
    assert not found.numel() or found.is_contiguous(memory_format=layout)


def test_a_single_picture_and_other_numbers_of_channels_are_normalised():
    picture = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8)
    assert Normalise([0.5] * 3, [0.5] * 3)(picture).shape == (3, 4, 5)
    grey = torch.full((2, 1, 4, 5), 255, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(Normalise([0.5], [0.5])(grey), torch.ones(2, 1, 4, 5))


@pytest.mark.parametrize("shape", [(5, 12), (5, 3, 12), (5, 2, 3, 4, 4)])
def test_floats_that_are_no_pictures_are_not_normalised(shape):
    inputs = torch.randn(shape)
    assert torch.equal(Normalise([0.5] * 3, [0.25] * 3)(inputs), inputs)
