"""Two branches: what they share, what is their own, and what goes from one to the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from mtl_std.shared import Shared
from mtl_std.timm_backbone import Timm
from mtl_std.two_branch import TwoBranch, TwoBranchTrunk
from torch import Tensor, nn

from mtl_toolkit import Chain, ConfigError
from mtl_toolkit.testing.architectures import SmallBackbone

SIZE = 32
BRANCHES = {"emotion": ("expr", "va"), "appearance": ("identity",)}
TASKS = ["expr", "va", "identity"]
EXCHANGES = ("cross-attention", "gated")


def pictures(rows: int = 3) -> Tensor:
    return torch.randn(rows, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(rows))


class Made:
    """Makes backbones, and keeps them."""

    def __init__(self, recipe: Timm | None = None):
        self.recipe = recipe or Timm(name="test_resnet")
        self.backbones: list[nn.Module] = []

    def __call__(self) -> nn.Module:
        self.backbones.append(self.recipe.build(SIZE))
        return self.backbones[-1]


def trunk(made: Callable[[], nn.Module] | None = None, tasks=TASKS, **fields: object) -> TwoBranchTrunk:
    torch.manual_seed(0)
    return TwoBranch(branches=BRANCHES, **fields).build(made or Made(), tasks).eval()


def stirred(module: nn.Module) -> nn.Module:
    """As after some steps: what begins at zero is no longer so."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module


def trained_by(module: TwoBranchTrunk, task: str) -> set[str]:
    """The parts, by the first two words of their names, that a loss on a task moves."""
    module.train().zero_grad()
    module(pictures(4), [task])[task].square().sum().backward()
    moved = [name for name, one in module.named_parameters() if one.grad is not None and one.grad.any()]
    return {name.partition(".")[0] if name.startswith("stem") else name.split(".")[1] for name in moved}


def message(build: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        build()
    return str(caught.value)


# What is shared.


def test_without_a_split_and_an_exchange_they_are_two_backbones():
    made = Made()
    features = trunk(made)(pictures(), TASKS)
    emotion, appearance = (backbone.eval()(pictures()) for backbone in made.backbones)
    assert not torch.allclose(emotion, appearance)
    assert torch.equal(features["expr"], emotion)
    assert torch.equal(features["va"], emotion)
    assert torch.equal(features["identity"], appearance)


def test_split_at_the_last_block_they_are_one_backbone():
    made = Made()
    features = trunk(made, split="layer4")(pictures(), TASKS)
    for task in TASKS:
        assert torch.equal(features[task], made.backbones[0].eval()(pictures()))


@pytest.mark.parametrize("split", ["maxpool", "layer1", "layer2.0", "layer3"])
def test_blocks_up_to_the_split_are_of_one_backbone_and_those_after_it_of_two(split):
    made = Made()
    features = trunk(made, split=split)(pictures(), TASKS)
    first, second = (backbone.eval().network for backbone in made.backbones)
    names = ["conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    shared = names.index(split.partition(".")[0]) + 1
    maps = pictures()
    with torch.no_grad():
        for name in names[:shared]:
            maps = getattr(first, name)(maps)
        for task, network in (("expr", first), ("identity", second)):
            own = maps
            for name in names[shared:]:
                own = getattr(network, name)(own)
            assert torch.equal(features[task], own.mean((2, 3)))


def test_what_is_shared_is_there_once_and_what_is_not_twice():
    def size(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    whole = Made()()
    own = size(whole.network.layer3) + size(whole.network.layer4)
    assert size(trunk(split="layer2")) == size(whole) + own
    assert size(trunk(split="")) == 2 * size(whole)
    assert size(trunk(split="layer4")) == size(whole)


def test_both_branches_begin_with_the_weights_of_a_file(tmp_path):
    path = tmp_path / "weights.pth"
    torch.manual_seed(5)
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    made = Made(Timm(name="test_resnet", weights=path))
    wanted = Made(made.recipe)().eval()(pictures())
    for exchange in ("none", *EXCHANGES):
        features = trunk(made, split="layer1", exchange=exchange)(pictures(), TASKS)
        assert all(torch.equal(features[task], wanted) for task in TASKS)


def test_a_tail_that_works_in_place_leaves_the_other_what_is_shared():
    class InPlace(SmallBackbone):
        """Its second block changes its input."""

        def chain(self):
            blocks = {"first": self.layers[0], "second": nn.SiLU(inplace=True), "third": self.layers[3]}
            return Chain(blocks, self.pool, self.num_features)

    module = trunk(InPlace, split="first")
    maps = module.stem(pictures())
    for branch, task in (("emotion", "expr"), ("appearance", "identity")):
        convolution = module.tails[f"{branch}_tail"][1]
        wanted = convolution(torch.nn.functional.silu(maps)).mean((2, 3))
        assert torch.allclose(module(pictures(), TASKS)[task], wanted)


def test_frozen_parts_stay_frozen_in_both():
    made = Made(Timm(name="test_resnet", freeze="batch-norm"))
    module = trunk(made, split="layer1").train()
    norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert trained_by(module, "expr") == {"stem", "emotion_tail"}


# What goes from one to the other.


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_training_begins_with_two_plain_branches(exchange):
    plain, exchanging = (trunk(split="layer2", exchange=one)(pictures(), TASKS) for one in ("none", exchange))
    for task in TASKS:
        assert torch.equal(plain[task], exchanging[task])


def test_without_an_exchange_a_task_trains_its_own_branch_and_what_is_shared():
    assert trained_by(trunk(split="layer2"), "va") == {"stem", "emotion_tail"}
    assert trained_by(trunk(), "identity") == {"appearance_tail"}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_with_an_exchange_a_task_trains_the_other_branch_too(exchange):
    module = stirred(trunk(exchange=exchange))
    assert trained_by(module, "expr") == {"emotion_tail", "emotion_exchange", "appearance_tail"}
    assert trained_by(module, "identity") == {"appearance_tail", "appearance_exchange", "emotion_tail"}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_each_branch_takes_over_from_the_others_map_before_its_exchange(exchange):
    module = stirred(trunk(split="layer1", exchange=exchange)).eval()
    maps = {name: tail(module.stem(pictures())) for name, tail in module.tails.items()}
    own, other = maps["emotion_tail"], maps["appearance_tail"]
    found = module(pictures(), TASKS)
    for task, branch, pair in (("va", "emotion", (own, other)), ("identity", "appearance", (other, own))):
        mapped = module.exchanges[f"{branch}_exchange"](*pair)
        assert torch.allclose(found[task], module.pools[f"{branch}_pool"](mapped), atol=1e-6)


def test_a_branch_that_nobody_asks_for_is_not_run():
    module = trunk(split="layer1")
    with torch.no_grad():
        next(module.tails["appearance_tail"].parameters()).fill_(torch.nan)
    features = module(pictures(), ["va", "expr"])
    assert list(features) == ["va", "expr"]
    assert all(one.isfinite().all() for one in features.values())
    assert module(pictures(), ["identity"])["identity"].isnan().all()


# Stages with tasks of one branch only.


def test_without_an_exchange_a_branch_without_tasks_is_not_built():
    made = Made()
    module = trunk(made, ["identity"], split="layer1")
    assert len(made.backbones) == 1
    assert list(module.tails) == ["appearance_tail"]
    assert module.num_features == {"identity": 96}
    assert torch.equal(module(pictures(), ["identity"])["identity"], made.backbones[0].eval()(pictures()))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_with_an_exchange_it_is_built_and_every_parameter_learns(exchange):
    module = stirred(trunk(tasks=["expr"], exchange=exchange))
    assert list(module.tails) == ["emotion_tail", "appearance_tail"]
    assert list(module.pools) == ["emotion_pool"]
    assert list(module.exchanges) == ["emotion_exchange"]
    module.train()(pictures(4), ["expr"])["expr"].sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


# Mistakes.


def test_a_task_in_neither_branch_is_a_problem_and_one_that_the_stage_lacks_is_none():
    recipe = TwoBranch(branches=BRANCHES)
    line = "branches: every task of the stage must be in one of them (got 'units' in none)"
    assert recipe.problems(["expr", "units"]) == [line]
    assert recipe.problems(["expr"]) == []
    assert message(lambda: recipe.build(Made(), ["expr", "units"])) == f"model.architecture: {line}"


@pytest.mark.parametrize(
    ("branches", "rule"),
    [
        ({"one": ("a",)}, "must name two branches"),
        ({"one": ("a",), "two": ("b",), "three": ("c",)}, "must name two branches"),
        ({"one": ("a", "b"), "two": ("b",)}, "must name no task twice"),
        ({"o.ne": ("a",), "two": ("b",)}, "the names must have no dot"),
    ],
)
def test_branches_that_are_not_two_lists_of_tasks_are_refused(branches, rule):
    with pytest.raises(ValueError, match=rule):
        TwoBranch(branches=branches)


def test_a_branch_may_be_named_as_an_attribute_of_modules_is():
    module = TwoBranch(branches={"type": ("a",), "values": ("b",)}, exchange="gated").build(
        Made(), ["a", "b"]
    )
    assert set(module(pictures(), ["a", "b"])) == {"a", "b"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"split": "layer5"},
            "model.architecture.split: the backbone has no block 'layer5'; did you mean 'layer4'?",
        ),
        ({"split": "layer2.7"}, "no block 'layer2.7'; did you mean 'layer2.0'?"),
        ({"split": "trunk"}, "no block 'trunk'; there are: act1, bn1, conv1, layer1, layer2, layer3, layer4"),
        (
            {"exchange": "cross-attention", "attention_heads": 7},
            "model.architecture.attention_heads: must divide the 96 channels of the last feature map (got 7)",
        ),
    ],
)
def test_what_does_not_fit_the_backbone_is_told(fields, told):
    assert told in message(lambda: trunk(**fields))


@pytest.mark.parametrize("fields", [{"split": "layers"}, {"exchange": "gated"}])
def test_a_backbone_without_parts_only_fits_two_whole_branches(fields):
    class Whole(nn.Module):
        num_features = 3

        def forward(self, inputs):
            return inputs.mean((2, 3))

    assert message(lambda: trunk(Whole, **fields)) == (
        'model.architecture: only split = "" and exchange = "none" fit the backbone, which cannot be taken '
        "apart (it has no method `chain`)"
    )
    assert trunk(Whole)(pictures(), ["va"])["va"].shape == (3, 3)


def test_a_vision_transformer_fits_two_whole_branches_and_says_why_it_cannot_be_split():
    made = Made(Timm(name="test_vit"))
    assert trunk(made)(pictures(), ["va"])["va"].shape == (3, 64)
    assert "is not made of blocks" in message(lambda: trunk(made, split="blocks"))


def test_with_all_shared_it_gives_what_hard_sharing_gives():
    torch.manual_seed(0)
    shared = Shared().build(Made(), TASKS).eval()(pictures(), TASKS)
    found = trunk(split="layer4")(pictures(), TASKS)
    assert all(torch.equal(found[task], shared[task]) for task in TASKS)
