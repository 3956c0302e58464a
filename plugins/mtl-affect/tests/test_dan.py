"""DAN: its attention and its losses, against the formulas on plain tensors."""

from __future__ import annotations

import math

import pytest
import timm
import torch
import torch.nn.functional as F
from mtl_affect.dan.attention import AttentionHeads
from mtl_affect.dan.backbone import Dan
from mtl_affect.dan.losses import Affinity, Partition, affinity_loss, extra_of
from mtl_affect.expression import Expression
from mtl_std.regression import Regression
from mtl_std.shared import Shared
from mtl_std.two_branch import TwoBranch
from torch import Tensor, nn

from mtl_toolkit import ConfigError, HeadOutput, MultiTaskModel

SIZE, CHANNELS, HEADS = 32, 32, 4
CLASSES = len(Expression().classes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(rows: int = 3) -> Tensor:
    return torch.randn(rows, CHANNELS, 3, 5, generator=generator())


def attention(heads: int = HEADS) -> AttentionHeads:
    """With random numbers in all parameters and running statistics, in eval mode."""
    module = AttentionHeads(CHANNELS, heads).eval()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            drawn = 0.3 * torch.randn(tensor.shape, generator=generator(len(name)))
            tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return module


# Attention.


def head_by_hand(state: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """One head's vectors [rows, channels], from the tensors of its state."""

    def norm(values: Tensor, name: str) -> Tensor:
        shape = (1, -1, *[1] * (values.ndim - 2))
        mean, variance = (state[f"{name}.running_{one}"].view(shape) for one in ("mean", "var"))
        scale, shift = (state[f"{name}.{one}"].view(shape) for one in ("weight", "bias"))
        return (values - mean) / (variance + 1e-5).sqrt() * scale + shift

    def convolved(values: Tensor, name: str, padding: tuple[int, int]) -> Tensor:
        weight, bias = state[f"0.{name}.0.weight"], state[f"0.{name}.0.bias"]
        return norm(F.conv2d(values, weight, bias, padding=padding), f"0.{name}.1")

    inner = convolved(inputs, "reduce", (0, 0))
    square = convolved(inner, "square", (1, 1))
    row, column = convolved(inner, "row", (0, 1)), convolved(inner, "column", (1, 0))
    weights = (square + row + column).clamp(min=0).sum(1)
    pooled = (inputs * weights[:, None]).flatten(2).mean(2)
    narrow = norm(pooled @ state["1.weigh.0.weight"].T + state["1.weigh.0.bias"], "1.weigh.1").clamp(min=0)
    shares = 1 / (1 + (-(narrow @ state["1.weigh.3.weight"].T + state["1.weigh.3.bias"])).exp())
    return pooled * shares


def test_the_attention_is_the_formula():
    module = attention().double()
    inputs = maps().double()
    by_hand = torch.stack([head_by_hand(head.state_dict(), inputs) for head in module.heads], 1)
    wanted = by_hand - by_hand.exp().sum(1, keepdim=True).log()
    found = module(inputs)
    assert torch.allclose(found.extras["heads"], wanted)
    assert torch.allclose(found.values, wanted.sum(1))
    assert torch.allclose(found.extras["pooled"], inputs.flatten(2).mean(2))


def test_a_single_head_is_taken_as_it_is():
    module = attention(heads=1)
    found = module(maps())
    wanted = head_by_hand(module.heads[0].state_dict(), maps())
    assert torch.allclose(found.values, wanted, rtol=1e-4, atol=1e-6)
    assert found.extras["heads"].shape == (3, 1, CHANNELS)


def test_on_resnet18_the_widths_are_those_of_the_paper():
    network = Dan(name="resnet18").build(SIZE)
    assert network.num_features == 512
    assert len(network.attention.heads) == 4
    spatial, channel = network.attention.heads[0]
    shapes = {
        name: tuple(getattr(spatial, name)[0].weight.shape) for name in ("reduce", "square", "row", "column")
    }
    assert shapes == {
        "reduce": (256, 512, 1, 1),
        "square": (512, 256, 3, 3),
        "row": (512, 256, 1, 3),
        "column": (512, 256, 3, 1),
    }
    assert [tuple(layer.weight.shape) for layer in channel.weigh if isinstance(layer, nn.Linear)] == [
        (32, 512),
        (512, 32),
    ]


# The backbone.


def test_the_network_under_the_heads_is_timms_without_its_pooling(tmp_path):
    path = tmp_path / "weights.pth"
    torch.manual_seed(3)
    network = timm.create_model("test_resnet", num_classes=0).eval()
    torch.save(network.state_dict(), path)
    dan = Dan(name="test_resnet", weights=path).build(SIZE).eval()
    pictures = torch.randn(2, 3, SIZE, SIZE, generator=generator())
    with torch.no_grad():
        wanted = network.forward_features(pictures)
        found = dan(pictures)
    assert torch.equal(found.extras["pooled"], wanted.mean((2, 3)))
    assert torch.equal(found.values, dan.attention(wanted).values)


def test_a_checkpoint_of_it_is_a_weight_file_of_timm(tmp_path):
    dan = Dan(name="test_resnet").build(SIZE)
    state = {f"trunk.backbone.{name}": tensor for name, tensor in dan.state_dict().items()}
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    again = Dan(name="test_resnet", weights=path).build(SIZE)
    for name, tensor in dan.backbone.state_dict().items():
        assert torch.equal(again.backbone.state_dict()[name], tensor)


def test_what_is_frozen_is_the_network_under_the_heads():
    dan = Dan(name="test_resnet", freeze="all").build(SIZE).train()
    assert not any(parameter.requires_grad for parameter in dan.backbone.parameters())
    assert all(parameter.requires_grad for parameter in dan.attention.parameters())


@pytest.mark.parametrize(("model", "size"), [("test_vit", 32), ("swin_tiny_patch4_window7_224", 64)])
def test_a_network_without_maps_is_refused(model, size):
    with pytest.raises(ConfigError, match=r"^model\.backbone\.name: .* makes no feature map"):
        Dan(name=model).build(size)


def test_networks_with_layers_after_their_last_block_have_them_under_the_heads():
    dan = Dan(name="mobilenetv3_small_050").build(SIZE).eval()
    with torch.no_grad():
        found = dan(torch.zeros(2, 3, SIZE, SIZE))
    assert found.values.shape == (2, dan.num_features) == (2, 1024)
    dan.train()(torch.zeros(2, 3, SIZE, SIZE)).values.sum().backward()
    assert all(parameter.grad is not None for parameter in dan.parameters())


def test_two_branches_have_attention_heads_of_their_own():
    torch.manual_seed(0)
    recipe = TwoBranch(branches={"a": ("x",), "b": ("y",)}, split="layer2", exchange="gated")
    trunk = recipe.build(lambda: Dan(name="test_resnet").build(SIZE), ["x", "y"]).eval()
    found = trunk(torch.randn(2, 3, SIZE, SIZE, generator=generator()), ["x", "y"])
    assert not torch.allclose(found["x"].values, found["y"].values)
    assert found["x"].extras.keys() == found["y"].extras.keys() == {"pooled", "heads"}


# Losses.


def output(rows: int = 6, heads: int = HEADS, features: int = 5) -> HeadOutput:
    draw = generator(rows)
    extras = {
        "pooled": torch.randn(rows, features, generator=draw),
        "heads": torch.randn(rows, heads, features, generator=draw).log_softmax(1),
    }
    return HeadOutput(torch.zeros(rows, CLASSES), torch.zeros(rows, 3), extras)


def test_affinity_is_the_formula_row_by_row():
    given, target = output(), torch.tensor([0, 3, 3, 1, 6, 2])
    mask = torch.tensor([True, True, False, True, True, False])
    torch.manual_seed(1)
    live = Affinity().build(Expression())
    found = live(given, target, mask)
    centres = live.centres.detach()
    assert centres.shape == (CLASSES, 5)
    variance = sum(
        float(((centres[:, place] - centres[:, place].mean()) ** 2).sum() / (CLASSES - 1))
        for place in range(5)
    )
    rows = [0, 1, 3, 4]
    distances = [float(((given.extras["pooled"][row] - centres[target[row]]) ** 2).sum()) for row in rows]
    assert found.item() == pytest.approx(sum(distances) / variance / len(rows), rel=1e-5)


def test_affinity_to_votes_is_the_mean_over_the_votes():
    given = output(rows=2)
    votes = torch.zeros(2, CLASSES)
    votes[0, 2], votes[0, 5], votes[1, 1] = 0.25, 0.75, 1.0
    torch.manual_seed(1)
    live = Affinity().build(Expression(soft=True))
    found = live(given, votes, torch.ones(2, CLASSES, dtype=torch.bool))
    one, two, three = (
        affinity_loss(
            given.extras["pooled"][[row]],
            F.one_hot(torch.tensor([to]), CLASSES),
            live.centres,
            torch.tensor([True]),
        )
        for row, to in ((0, 2), (0, 5), (1, 1))
    )
    assert torch.allclose(found, (0.25 * one + 0.75 * two + three) / 2)


def variances_by_hand(heads: Tensor) -> list[float]:
    """Of each row and feature, from heads [rows, heads, features]."""
    found = []
    for values in heads.transpose(1, 2).reshape(-1, heads.shape[1]).tolist():
        mean = sum(values) / len(values)
        found.append(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return found


@pytest.mark.parametrize("mean_of", ["variances", "logarithms"])
def test_partition_is_the_formula(mean_of):
    """As published, one logarithm of the mean variance; or the mean of logarithms, feature by feature."""
    given = output(rows=3)
    mask = torch.tensor([True, False, True])
    found = Partition(mean_of=mean_of).build(Expression())(given, torch.zeros(3, dtype=torch.int64), mask)
    variances = variances_by_hand(given.extras["heads"][mask])
    assert len(variances) == 10
    if mean_of == "variances":
        wanted = math.log(1 + HEADS / (sum(variances) / 10))
    else:
        wanted = sum(math.log(1 + HEADS / variance) for variance in variances) / 10
    assert found.item() == pytest.approx(wanted, rel=1e-4)


def test_partition_is_by_default_as_in_the_published_code():
    assert Partition().mean_of == "variances"


@pytest.mark.parametrize("mean_of", ["variances", "logarithms"])
def test_without_a_labelled_row_the_partition_loss_is_zero(mean_of):
    heads = torch.full((2, HEADS, 5), torch.nan, requires_grad=True)
    given = output(rows=2)._replace(extras={"heads": heads})
    loss = Partition(mean_of=mean_of).build(Expression())(given, None, torch.tensor([False, False]))
    loss.backward()
    assert loss == 0
    assert not heads.grad.any()


@pytest.mark.parametrize("mean_of", ["variances", "logarithms"])
def test_heads_that_are_all_alike_give_a_finite_partition_loss_and_gradient(mean_of):
    heads = torch.zeros(2, HEADS, 5, requires_grad=True)
    given = output(rows=2)._replace(extras={"heads": heads})
    loss = Partition(mean_of=mean_of).build(Expression())(given, None, torch.tensor([True, True]))
    loss.backward()
    assert loss.isfinite()
    assert heads.grad.isfinite().all()


@pytest.mark.parametrize("loss", [Affinity(), Partition(), Partition(mean_of="logarithms")])
def test_nan_in_rows_without_a_label_reaches_neither_value_nor_gradient(loss):
    given, target = output(), torch.tensor([0, 3, 3, 1, 6, 2])
    mask = torch.tensor([True, True, False, True, True, False])
    torch.manual_seed(1)
    live = loss.build(Expression())
    clean = live(given, target, mask)
    poisoned = given.map(lambda part: torch.where(mask.view(-1, *[1] * (part.ndim - 1)), part, torch.nan))
    poisoned = poisoned.map(lambda part: part.requires_grad_())
    found = live(poisoned, torch.where(mask, target, 2**62), mask)
    found.backward()
    assert torch.equal(found, clean)
    gradients = [part.grad for part in poisoned.extras.values() if part.grad is not None]
    assert all(gradient.isfinite().all() and not gradient[~mask].any() for gradient in gradients)


def test_a_backbone_without_what_they_look_at_is_told():
    bare = HeadOutput(torch.zeros(2, CLASSES), torch.zeros(2, 3))
    for loss, name in ((Affinity(), "pooled"), (Partition(), "heads")):
        with pytest.raises(ConfigError) as caught:
            loss.build(Expression())(
                bare, torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool)
            )
        assert str(caught.value) == (
            f"{loss.name}: needs a backbone that gives {name!r} beside its features, such as 'dan', and no "
            "temporal network over it (got nothing)"
        )
    assert extra_of(output(), "heads", "partition").shape == (6, HEADS, 5)


def test_a_single_head_leaves_nothing_to_part():
    with pytest.raises(ConfigError, match=r"^partition: needs at least 2 attention heads \(got 1\)$"):
        Partition().build(Expression())(output(heads=1), None, torch.ones(6, dtype=torch.bool))


def test_affinity_needs_classes():
    with pytest.raises(ConfigError, match="affinity: needs a head with classes"):
        Affinity().build(Regression())


def test_training_brings_rows_to_the_centres_of_their_classes():
    """Affinity falls, and the nearest centre becomes that of the own class."""
    torch.manual_seed(0)
    dan = Dan(name="test_resnet").build(SIZE)
    model = MultiTaskModel(
        Shared().build(lambda: dan, ["expr"]), {"expr": Expression().build(dan.num_features)}
    ).train()
    live = Affinity().build(Expression())
    target = torch.arange(24) % CLASSES
    pictures = 0.3 * torch.randn(24, 3, SIZE, SIZE, generator=generator())
    pictures += torch.randn(CLASSES, 3, 1, 1, generator=generator(1))[target]
    mask = torch.ones(24, dtype=torch.bool)
    losses = []
    live(model(pictures)["expr"], target, mask)
    optimizer = torch.optim.Adam([*model.parameters(), *live.parameters()], lr=3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        loss = live(model(pictures)["expr"], target, mask)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with torch.no_grad():
        pooled = model(pictures)["expr"].extras["pooled"]
    nearest = torch.cdist(pooled, live.centres.detach()).argmin(1)
    assert (nearest == target).float().mean() > 0.9
