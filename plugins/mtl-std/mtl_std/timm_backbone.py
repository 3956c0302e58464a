"""Any image model of timm as a backbone."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import torch
from torch import Tensor, nn

from mtl_toolkit import Backbone, Chain, ConfigError, hookimpl, suggestion

from .chain import EXAMPLES, AfterMaps, Kept, blocks_of

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@attrs.frozen(kw_only=True)
class Timm(Backbone):
    """An image model of timm by name, from scratch, from a weight file, or from timm's hub.

    timm is Wightman's PyTorch Image Models (2019).
    """

    name: ClassVar[str] = "timm"
    # The key in the TOML file is `name`, which a recipe's own name already takes in Python.
    model: str = attrs.field(alias="name", metadata={"doc": "timm's name of the model, such as resnet50"})
    weights: Path | None = attrs.field(
        default=None, metadata={"doc": "a local .safetensors or .pth file with the backbone's weights"}
    )
    pretrained: bool = attrs.field(
        default=False, metadata={"doc": "take timm's weights from its hub, or from its local cache"}
    )
    freeze: Literal["none", "all", "batch-norm"] | tuple[str, ...] = attrs.field(
        default="none", metadata={"doc": "what is not trained; or a list of module names, such as layer1"}
    )
    options: Mapping[str, Any] = attrs.field(
        factory=dict, metadata={"doc": "further arguments of timm.create_model"}
    )

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Those of the model's pretrained weights; ImageNet's where timm knows none."""
        import timm

        found = timm.get_pretrained_cfg(self.model, allow_unregistered=True)
        return (tuple(found.mean), tuple(found.std)) if found is not None else IMAGENET

    def problems(self) -> list[str]:
        """An unknown model, weights that do not exist, or two sources of weights."""
        return [*self._name_problems(), *self._weight_problems()]

    def _name_problems(self) -> list[str]:
        import timm

        name, _, tag = self.model.partition(".")
        has_weights = timm.models.is_model_pretrained(self.model)
        if not timm.is_model(name):
            near = suggestion(name, timm.list_models())
            return [f"model.backbone.name: timm has no model {name!r}{near}"]
        if tag and not has_weights:
            tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
            near = suggestion(tag, tags)
            return [f"model.backbone.name: timm has no weights {tag!r} of {name!r}{near}"]
        if self.pretrained and not has_weights:
            return [f"model.backbone.pretrained: timm has no weights of {name!r}"]
        return []

    def _weight_problems(self) -> list[str]:
        problems = []
        if self.weights is not None and not self.weights.is_file():
            problems.append(f"model.backbone.weights: no such file (got '{self.weights}')")
        if self.weights is not None and self.pretrained:
            problems.append("model.backbone.pretrained: must not be true where weights names a file")
        return problems

    def build(self, image_size: int, *, weights: bool = True) -> FrozenParts:
        """Create the model without its classifier.

        Raises:
            ConfigError: if the model is unknown, its weights do not fit, or the hub cannot be reached.
        """
        if problems := self.problems() if weights else self._name_problems():
            raise ConfigError(*problems)
        network = self._create(image_size, pretrained=weights and self.pretrained)
        if weights and self.weights is not None:
            load_weights(network, self.weights)
        shape = (int(self.options.get("in_chans", 3)), image_size, image_size)
        return FrozenParts(network, list(self._frozen_modules(network)), shape)

    def _create(self, image_size: int, *, pretrained: bool) -> nn.Module:
        import timm

        options = dict(self.options)
        found = timm.get_pretrained_cfg(self.model, allow_unregistered=True)
        if found is not None and found.fixed_input_size:
            options.setdefault("img_size", image_size)
        try:
            network: nn.Module = timm.create_model(
                self.model, pretrained=pretrained, num_classes=0, **options
            )
        except (TypeError, AssertionError) as error:
            raise ConfigError(f"model.backbone.options: do not fit {self.model!r}: {error}") from error
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            raise ConfigError(
                f"model.backbone.pretrained: the weights of {self.model!r} are not in the local cache and "
                f"could not be downloaded ({_first_line(error)}); name a local file with weights = '...'"
            ) from error
        return network

    def _frozen_modules(self, network: nn.Module) -> Iterator[nn.Module]:
        if self.freeze == "all":
            yield network
        elif self.freeze == "batch-norm":
            norms = nn.modules.batchnorm._BatchNorm
            yield from (module for module in network.modules() if isinstance(module, norms))
        elif self.freeze != "none":
            modules = dict(network.named_modules())
            for name in self.freeze:
                if not name or name not in modules:
                    near = suggestion(name, [key for key in modules if key and "." not in key])
                    raise ConfigError(f"model.backbone.freeze: {self.model!r} has no module {name!r}{near}")
                yield modules[name]


class FrozenParts(Kept):
    """A network of timm without its classifier, of which some modules may not be trained.

    Args:
        network: from pictures to features.
        frozen: its modules that are not trained.
        shape: of a picture: channels, height, width.
    """

    def __init__(
        self, network: nn.Module, frozen: Collection[nn.Module] = (), shape: Sequence[int] = (3, 224, 224)
    ) -> None:
        super().__init__(network, frozen)
        # Some networks (MobileNet, VGG) have layers between their last feature map and the classifier.
        self.num_features = int(getattr(network, "head_hidden_size", None) or network.num_features)  # type: ignore[arg-type]
        self.shape = tuple(shape)

    def chain(self) -> Chain:
        """Take the network apart, into blocks up to its last feature map and the rest.

        That they do the same as the network is tried on a picture of random numbers.

        Raises:
            ConfigError: if it is not made of blocks that follow each other.
        """
        was_training = self.training
        try:
            found = self.eval()._parts()
        finally:
            self.train(was_training)
        if found is None:
            model = self.network.pretrained_cfg.get("architecture", type(self.network).__name__)  # type: ignore[union-attr, operator]
            raise ConfigError(
                f"model.backbone.name: {model!r} is not made of blocks that follow each other up to a "
                f"feature map [channels, height, width]; such as these are: {EXAMPLES}"
            )
        for part in (*found.blocks.values(), found.pool):
            part.train(was_training)
        return found

    @torch.no_grad()
    def _parts(self) -> Chain | None:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randn(1, *self.shape, generator=generator).to(next(self.parameters()).device)
        blocks = blocks_of(self.network, pictures)
        if blocks is None:
            return None
        maps = nn.Sequential(*blocks.values())(pictures)
        pool = AfterMaps(self.network, {name.partition(".")[0] for name in blocks})
        if not torch.allclose(pool(maps), self(pictures), atol=1e-6):
            return None
        kept = {name: Kept(block, self.frozen) for name, block in blocks.items()}
        # Where the whole network is frozen, so is this view of it.
        frozen = [*self.frozen, pool] if self.network in self.frozen else self.frozen
        return Chain(kept, Kept(pool, frozen), maps.shape[1])


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a backbone's weights from a local file, without its classifier.

    Wrappers' prefixes (`module.`, `model.`, `backbone.`, `encoder.` ...) are taken off, so that a checkpoint
    of this program fits too.

    Raises:
        ConfigError: if the file cannot be read or its tensors do not fit.
    """
    tensors = _read(path)
    wanted = network.state_dict()
    fitting = {key: tensors[name] for name in tensors if (key := _without_prefix(name, wanted)) in wanted}
    # Counts of batches, which other frameworks' files lack, matter only where momentum is None.
    missing = sorted(key for key in set(wanted) - set(fitting) if not key.endswith("num_batches_tracked"))
    wrong = sorted(key for key, tensor in fitting.items() if tensor.shape != wanted[key].shape)
    if missing or wrong:
        raise ConfigError(
            f"model.backbone.weights: {path.name} does not fit: {len(missing)} tensors are missing, "
            f"{len(wrong)} have another shape (such as {(wrong + missing)[0]!r})"
        )
    network.load_state_dict(fitting, strict=False)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # weights_only: loading a stranger's file runs nothing.
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's message advises to run what is in the file.
        raise ConfigError(
            f"model.backbone.weights: {path.name} is damaged or holds more than tensors; save its state dict"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"model.backbone.weights: {path.name} cannot be read: {_first_line(error)}"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ConfigError(f"model.backbone.weights: {path.name} must hold a state dict of tensors")
    return found


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _without_prefix(name: str, wanted: Mapping[str, Tensor]) -> str:
    while name not in wanted:
        head, dot, rest = name.partition(".")
        if not dot or head not in ("module", "model", "trunk", "backbone", "encoder", "network"):
            return name
        name = rest
    return name


@hookimpl
def mtl_backbones() -> list[type[Backbone]]:
    """The timm backbone."""
    return [Timm]
