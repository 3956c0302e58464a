"""The timm backbone: names, weight files, freezing, options; nothing here needs a network."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from mtl_std.chain import EXAMPLES
from mtl_std.shared import Shared
from mtl_std.timm_backbone import IMAGENET, Timm, load_weights
from safetensors.torch import save_file
from torch import Tensor, nn

from mtl_toolkit import ConfigError

SMALL = "test_resnet"  # timm's own, for tests
SIZE = 32


def messages(recipe: Timm) -> str:
    with pytest.raises(ConfigError) as caught:
        recipe.build(SIZE)
    return str(caught.value)


def tensors(seed: int = 1, model: str = SMALL, **options: object) -> dict[str, Tensor]:
    """A state dict of the small network with its classifier."""
    torch.manual_seed(seed)
    return timm.create_model(model, num_classes=10, **options).state_dict()


def loaded_weights(path: Path) -> dict[str, Tensor]:
    return Timm(name=SMALL, weights=path).build(SIZE).network.state_dict()


def body(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


# Networks.


@pytest.mark.parametrize("model", [SMALL, "mobilenetv3_small_050", "test_vit", "lcnet_035"])
def test_features_have_the_width_that_the_backbone_announces(model):
    """MobileNet's and LCNet's have another than timm's `num_features` says."""
    backbone = Timm(name=model).build(SIZE).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, backbone.num_features)


def test_networks_of_a_fixed_input_size_are_built_for_the_given_one():
    with torch.no_grad():
        assert Timm(name="test_vit").build(48).eval()(torch.zeros(1, 3, 48, 48)).isfinite().all()


def test_options_reach_timm():
    assert Timm(name=SMALL, options={"in_chans": 1}).build(SIZE)(torch.zeros(2, 1, SIZE, SIZE)).ndim == 2


def test_an_option_that_timm_does_not_know_is_named():
    found = messages(Timm(name=SMALL, options={"blocks": 3}))
    assert found.startswith(f"model.backbone.options: do not fit {SMALL!r}:")
    assert "blocks" in found


def test_the_classifier_cannot_be_asked_for():
    assert "num_classes" in messages(Timm(name=SMALL, options={"num_classes": 7}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet5o"}, "model.backbone.name: timm has no model 'resnet5o'; did you mean 'resnet50'?"),
        (
            {"name": "resnet50.a1_in1"},
            "model.backbone.name: timm has no weights 'a1_in1' of 'resnet50'; did you mean 'a1_in1k'?",
        ),
        ({"name": "resnet10", "pretrained": True}, "did you mean 'resnet10t'?"),
        (
            {"name": SMALL, "weights": Path("no/such.pth")},
            "model.backbone.weights: no such file (got 'no/such.pth')",
        ),
    ],
)
def test_what_cannot_be_found_is_named_with_the_nearest(options, message):
    problems = Timm(**options).problems()
    assert len(problems) == 1
    assert message in problems[0]
    assert messages(Timm(**options)) == problems[0]


def test_pretrained_weights_of_a_network_that_has_none_are_refused():
    without = next(name for name in timm.list_models() if not timm.models.is_model_pretrained(name))
    (problem,) = Timm(name=without, pretrained=True).problems()
    assert problem == f"model.backbone.pretrained: timm has no weights of {without!r}"
    assert Timm(name=without).problems() == []


def test_two_sources_of_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(tensors(), path)
    (problem,) = Timm(name=SMALL, weights=path, pretrained=True).problems()
    assert problem == "model.backbone.pretrained: must not be true where weights names a file"


def test_statistics_are_those_of_the_pretrained_weights_or_imagenets():
    assert Timm(name="resnet50").statistics() == IMAGENET
    inception = Timm(name="vit_base_patch16_224.augreg_in21k").statistics()
    assert inception == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_weights_that_cannot_be_downloaded_are_a_clear_error(monkeypatch):
    def offline(*_: object, pretrained: bool, **__: object) -> nn.Module:
        assert pretrained
        raise FileNotFoundError("cannot find the requested files in the local cache\nand more")

    monkeypatch.setattr(timm, "create_model", offline)
    assert messages(Timm(name="resnet18", pretrained=True)) == (
        "model.backbone.pretrained: the weights of 'resnet18' are not in the local cache and could not be "
        "downloaded (FileNotFoundError: cannot find the requested files in the local cache); "
        "name a local file with weights = '...'"
    )


def test_an_error_inside_timm_keeps_its_traceback(monkeypatch):
    def broken(*_: object, **__: object) -> nn.Module:
        raise RuntimeError("a bug")

    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        Timm(name="resnet18").build(SIZE)


def test_a_checkpoint_that_brings_its_own_weights_reads_no_others(tmp_path, monkeypatch):
    asked = []
    create = timm.create_model

    def noted(*names: str, pretrained: bool, **options: object) -> nn.Module:
        asked.append(pretrained)
        return create(*names, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", noted)
    Timm(name="test_resnet", pretrained=True).build(SIZE, weights=False)
    path = tmp_path / "damaged.pth"
    path.write_bytes(b"not read")
    Timm(name=SMALL, weights=path).build(SIZE, weights=False)
    path.unlink()
    Timm(name=SMALL, weights=path).build(SIZE, weights=False)
    assert asked == [False, False, False]


# Weight files.


def test_counts_of_batches_which_other_frameworks_do_not_keep_may_be_missing(tmp_path):
    state = tensors()
    path = tmp_path / "weights.pth"
    torch.save({name: value for name, value in state.items() if "num_batches" not in name}, path)
    found = loaded_weights(path)
    assert all(torch.equal(found[name], state[name]) for name in found if "num_batches" not in name)


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "trunk.backbone.network.", "module.encoder."])
def test_a_state_dict_is_loaded_without_its_classifier_and_whatever_it_was_wrapped_in(tmp_path, wrap, prefix):
    state = tensors()
    path = tmp_path / "weights.pth"
    torch.save(wrap({prefix + name: tensor for name, tensor in state.items()}), path)
    found = loaded_weights(path)
    assert found.keys() == body(state).keys()
    assert all(torch.equal(found[name], state[name]) for name in found)


def test_safetensors_are_loaded(tmp_path):
    state = tensors()
    path = tmp_path / "weights.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, path)
    found = loaded_weights(path)
    assert all(torch.equal(found[name], state[name]) for name in body(state))


def test_tensors_of_another_shape_are_refused(tmp_path):
    state = tensors()
    state["conv1.0.weight"] = torch.zeros(3)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    assert messages(Timm(name=SMALL, weights=path)) == (
        "model.backbone.weights: weights.pth does not fit: 0 tensors are missing, "
        "1 have another shape (such as 'conv1.0.weight')"
    )


def test_the_weights_of_another_network_are_refused_and_change_nothing(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"somewhere.else": torch.zeros(2)}, path)
    network = timm.create_model(SMALL, num_classes=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wanted = [name for name in before if not name.endswith("num_batches_tracked")]
    with pytest.raises(ConfigError, match=f"does not fit: {len(wanted)} tensors are missing"):
        load_weights(network, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Code:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_file_that_holds_code_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "weights.pth", tmp_path / "was-here"
    torch.save({"weight": Code(trace)}, path)
    found = messages(Timm(name=SMALL, weights=path))
    assert found == (
        "model.backbone.weights: weights.pth is damaged or holds more than tensors; save its state dict"
    )
    assert not trace.exists()
    pickle.loads(pickle.dumps(Code(trace)))
    assert trace.exists(), "the file would have run"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_file_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert messages(Timm(name=SMALL, weights=path)).startswith(f"model.backbone.weights: {name} ")


def test_a_file_that_holds_no_state_dict_is_named(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save([torch.zeros(2)], path)
    found = messages(Timm(name=SMALL, weights=path))
    assert found == "model.backbone.weights: weights.pth must hold a state dict of tensors"


# Freezing.


def statistics_of(network: nn.Module) -> list[Tensor]:
    return [buffer.clone() for name, buffer in network.named_buffers() if "running" in name]


def step(backbone: nn.Module) -> None:
    backbone.train()
    backbone(torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))).sum().backward()


def test_nothing_is_frozen_by_default():
    backbone = Timm(name=SMALL).build(SIZE)
    before = statistics_of(backbone)
    step(backbone)
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, statistics_of(backbone), strict=True))


def test_a_frozen_network_has_no_gradient_and_stays_in_eval_mode():
    backbone = Timm(name=SMALL, freeze="all").build(SIZE)
    before = statistics_of(backbone)
    backbone.train()
    inputs = torch.randn(4, 3, SIZE, SIZE, requires_grad=True)
    backbone(inputs).sum().backward()
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.network.modules())
    assert all(torch.equal(a, b) for a, b in zip(before, statistics_of(backbone), strict=True))


def test_frozen_batch_norm_keeps_its_statistics_while_the_rest_trains():
    backbone = Timm(name=SMALL, freeze="batch-norm").build(SIZE)
    before = statistics_of(backbone)
    step(backbone)
    assert all(torch.equal(a, b) for a, b in zip(before, statistics_of(backbone), strict=True))
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    assert backbone.network.conv1[0].weight.grad.abs().sum() > 0


def test_modules_are_frozen_by_name():
    backbone = Timm(name=SMALL, freeze=("conv1", "layer1.0")).build(SIZE)
    step(backbone)
    frozen = {name for name, parameter in backbone.network.named_parameters() if parameter.grad is None}
    assert frozen == {
        name for name, _ in backbone.network.named_parameters() if name.startswith(("conv1.", "layer1.0."))
    }
    assert not backbone.network.layer1[0].bn1.training
    assert backbone.network.layer2.training


def test_a_module_that_is_not_there_is_named_with_the_nearest():
    found = messages(Timm(name=SMALL, freeze=("layer9",)))
    assert found.startswith(f"model.backbone.freeze: {SMALL!r} has no module 'layer9'; did you mean 'layer")


# The shared architecture.


def test_all_tasks_share_one_pass_of_one_backbone():
    built = []

    def build() -> nn.Module:
        built.append(Timm(name=SMALL).build(SIZE))
        return built[0]

    trunk = Shared().build(build, ["a", "b"])
    assert len(built) == 1
    assert trunk.num_features == {"a": built[0].num_features, "b": built[0].num_features}
    features = trunk(torch.zeros(2, 3, SIZE, SIZE), ["b", "a"])
    assert features["a"] is features["b"]


# In parts.

CHAINS = [
    ("resnet18", "layer4.1", 512),  # which changes nothing before it is trained
    ("mobilenetv3_small_050", "blocks.5.0", 288),
    ("test_efficientnet", "bn2", 256),
    ("convnext_atto", "norm_pre", 320),
    ("regnetx_002", "final_conv", 368),
    ("dla34", "level5", 512),
]


@pytest.mark.parametrize(("model", "last", "channels"), CHAINS)
def test_a_network_is_taken_apart_into_named_blocks_and_a_pool(model, last, channels):
    backbone = Timm(name=model).build(SIZE).eval()
    chain = backbone.chain()
    assert list(chain.blocks)[-1] == last
    assert chain.channels == channels
    modules = dict(backbone.network.named_modules())
    assert all(block.network is modules[name] for name, block in chain.blocks.items())
    maps = pictures = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for block in chain.blocks.values():
            maps = block(maps)
        assert maps.shape[:2] == (2, channels)
        assert torch.equal(chain.pool(maps), backbone(pictures))


@pytest.mark.parametrize("model", ["test_vit", "hrnet_w18_small", "swin_tiny_patch4_window7_224"])
def test_a_network_that_is_no_chain_of_maps_says_so_and_names_some_that_are(model):
    backbone = Timm(name=model).build(224 if "224" in model else 2 * SIZE)
    with pytest.raises(ConfigError) as caught:
        backbone.chain()
    assert str(caught.value) == (
        f"model.backbone.name: {model!r} is not made of blocks that follow each other up to a feature map "
        "[channels, height, width]; such as these are: resnet18, efficientnet_b0, mobilenetv3_small_100, "
        "convnext_atto, regnetx_002, densenet121"
    )


def test_the_networks_that_the_message_names_are_known_to_timm():
    assert all(timm.is_model(name) for name in EXAMPLES.split(", "))


def test_parts_drop_what_the_whole_drops():
    """Timm's ResNets drop features by a function in their `forward`, not by a layer."""
    backbone = Timm(name=SMALL, options={"drop_rate": 0.5}).build(SIZE).train()
    chain = backbone.chain()
    pictures = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.manual_seed(3)
        whole = backbone(pictures)
        torch.manual_seed(3)
        parts = chain.pool(nn.Sequential(*chain.blocks.values())(pictures))
        others = backbone(pictures)
    assert torch.equal(parts, whole)
    assert not torch.equal(others, whole), "nothing was dropped"


def test_a_frozen_network_drops_nothing_in_parts_either():
    backbone = Timm(name=SMALL, freeze="all", options={"drop_rate": 0.5}).build(SIZE)
    chain = backbone.chain()
    parts = nn.Sequential(*chain.blocks.values(), chain.pool).train()
    pictures = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(parts(pictures), backbone.train()(pictures))
    assert not any(parameter.requires_grad for parameter in parts.parameters())


def test_what_is_frozen_by_name_stays_in_eval_mode_in_parts():
    chain = Timm(name=SMALL, freeze=("layer1", "layer2.0.bn1")).build(SIZE).chain()
    for block in chain.blocks.values():
        block.train()
    assert not any(module.training for module in chain.blocks["layer1.0"].network.modules())
    assert not chain.blocks["layer2.0"].network.bn1.training
    assert chain.blocks["layer2.0"].network.bn2.training


def test_names_of_weights_in_parts_do_not_depend_on_what_is_frozen():
    free, frozen = (Timm(name=SMALL, freeze=freeze).build(SIZE).chain() for freeze in ("none", "all"))
    for name, block in free.blocks.items():
        assert block.state_dict().keys() == frozen.blocks[name].state_dict().keys()


def test_taking_apart_leaves_the_network_and_the_random_state_as_they_were():
    backbone = Timm(name=SMALL, freeze=("layer1",)).build(SIZE).train()
    modes = {name: module.training for name, module in backbone.named_modules()}
    before, state = statistics_of(backbone), torch.get_rng_state()
    backbone.chain()
    assert modes == {name: module.training for name, module in backbone.named_modules()}
    assert all(torch.equal(a, b) for a, b in zip(before, statistics_of(backbone), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert backbone.network._modules.keys() >= {"layer1", "layer4", "fc"}
