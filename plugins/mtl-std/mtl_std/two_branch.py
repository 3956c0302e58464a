"""Two branches for two groups of tasks, with a shared stem and an exchange between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import attrs
from torch import Tensor, nn

from mtl_toolkit import Architecture, Chain, ConfigError, Features, hookimpl, suggestion
from mtl_toolkit.validators import Rule, at_least

from .exchange import CrossAttention, Gated


def _tasks_differ(branches: Mapping[str, Sequence[str]]) -> bool:
    tasks = [task for listed in branches.values() for task in listed]
    return len(set(tasks)) == len(tasks)


@attrs.frozen(kw_only=True)
class TwoBranch(Architecture):
    """Two branches, each for tasks of its own: shared blocks, then blocks of their own, then an exchange.

    The branches begin with the backbone's blocks up to `split`, which they share. Each has the blocks after
    it for itself, and at the end may take something over from the other's last feature map. An emotion and
    an appearance branch that share what they know are the idea of Jeong et al. (ECCV Workshops, 2022), whose
    layers are not public; the exchanges are those of other papers.
    """

    name: ClassVar[str] = "two-branch"
    branches: Mapping[str, tuple[str, ...]] = attrs.field(
        validator=[
            Rule("must name two branches", lambda value: len(value) == 2),
            Rule("the names must have no dot", lambda value: not any("." in name for name in value)),
            Rule("must name no task twice", _tasks_differ),
        ],
        metadata={"doc": "two branches by name, each with its tasks"},
    )
    split: str = attrs.field(
        default="",
        metadata={"doc": "the last block that both share, such as layer2; empty: none, two whole backbones"},
    )
    exchange: Literal["none", "cross-attention", "gated"] = attrs.field(
        default="none", metadata={"doc": "what a branch takes over from the other's last feature map"}
    )
    attention_heads: int = attrs.field(
        default=4,
        validator=at_least(1),
        metadata={"doc": "heads of the cross-attention; a divisor of the channels of the last feature map"},
    )

    def problems(self, tasks: Sequence[str]) -> list[str]:
        """Tasks that are in neither branch."""
        return [
            f"branches: every task of the stage must be in one of them (got {task!r} in none)"
            for task in tasks
            if task not in self._branch_of()
        ]

    def build(self, backbone: Callable[[], nn.Module], tasks: Sequence[str]) -> TwoBranchTrunk:
        """Build what the tasks need: a branch without tasks only if the other takes something over from it.

        Each branch is cut from a backbone of its own, so that pretrained weights are in both.

        Raises:
            ConfigError: if a task is in neither branch, or the backbone cannot be split so.
        """
        if problems := self.problems(tasks):
            raise ConfigError(*(f"model.architecture: {problem}" for problem in problems))
        branch_of = {task: branch for task, branch in self._branch_of().items() if task in tasks}
        trained = [branch for branch in self.branches if branch in branch_of.values()]
        run = trained if self.exchange == "none" else list(self.branches)
        parts = {branch: self._parts(backbone()) for branch in run}
        shared = self._shared(next(iter(parts.values())).chain)
        exchanges = {branch: self._exchange(parts[branch].chain.channels) for branch in trained}
        return TwoBranchTrunk(parts, shared, exchanges, branch_of)

    def _branch_of(self) -> dict[str, str]:
        return {task: branch for branch, listed in self.branches.items() for task in listed}

    def _parts(self, backbone: nn.Module) -> Parts:
        """A backbone in blocks; in one, where it is neither split nor looked into."""
        features = int(backbone.num_features)  # type: ignore[arg-type] # a backbone's own attribute
        if not self.split and self.exchange == "none":
            return Parts(Chain({"": backbone}, nn.Identity(), features), features)
        if not hasattr(backbone, "chain"):
            raise ConfigError(
                'model.architecture: only split = "" and exchange = "none" fit the backbone, which '
                "cannot be taken apart (it has no method `chain`)"
            )
        return Parts(backbone.chain(), features)  # type: ignore[operator] # its own method

    def _shared(self, chain: Chain) -> int:
        """How many blocks both branches share."""
        names = list(chain.blocks)
        inside = [place for place, name in enumerate(names, 1) if f"{name}.".startswith(f"{self.split}.")]
        if self.split and not inside:
            known = names if "." in self.split else [name.partition(".")[0] for name in names]
            near = suggestion(self.split, known)
            raise ConfigError(f"model.architecture.split: the backbone has no block {self.split!r}{near}")
        return inside[-1] if self.split else 0

    def _exchange(self, channels: int) -> nn.Module | None:
        if self.exchange == "none":
            return None
        if self.exchange == "gated":
            return Gated(channels)
        if channels % self.attention_heads:
            raise ConfigError(
                f"model.architecture.attention_heads: must divide the {channels} channels of the last "
                f"feature map (got {self.attention_heads})"
            )
        return CrossAttention(channels, self.attention_heads)


class Parts(NamedTuple):
    """A backbone taken apart, and how many features it gives."""

    chain: Chain
    num_features: int


class TwoBranchTrunk(nn.Module):
    """Blocks for all, then a tail, an exchange and a pool for each branch.

    Args:
        parts: a backbone for each branch that is run; the blocks that are shared are those of the first.
        shared: how many blocks that is.
        exchanges: by branch with tasks: a module called with its own last map and the other's; None: nothing
            is exchanged.
        branch_of: the branch of each task.
    """

    def __init__(
        self,
        parts: Mapping[str, Parts],
        shared: int,
        exchanges: Mapping[str, nn.Module | None],
        branch_of: Mapping[str, str],
    ) -> None:
        super().__init__()
        blocks = {branch: list(one.chain.blocks.values()) for branch, one in parts.items()}
        self.stem = nn.Sequential(*next(iter(blocks.values()))[:shared])
        # The suffixes keep a branch called `values` or `type` apart from ModuleDict's own attributes.
        tails = {f"{branch}_tail": nn.Sequential(*own[shared:]) for branch, own in blocks.items()}
        self.tails = nn.ModuleDict(tails)
        self.pools = nn.ModuleDict({f"{branch}_pool": parts[branch].chain.pool for branch in exchanges})
        live = {f"{branch}_exchange": one for branch, one in exchanges.items() if one is not None}
        self.exchanges = nn.ModuleDict(live)
        self.branches = tuple(parts)
        self.branch_of = dict(branch_of)
        self.num_features: Mapping[str, int] = {
            task: parts[branch].num_features for task, branch in branch_of.items()
        }

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor | Features]:
        """Run the branches of the tasks asked for, and the other where something is taken over from it."""
        wanted = list(dict.fromkeys(self.branch_of[task] for task in tasks))
        maps = self._maps(self.stem(inputs), self.branches if self.exchanges else wanted)
        features = {branch: self._features(branch, maps) for branch in wanted}
        return {task: features[self.branch_of[task]] for task in tasks}

    def _maps(self, shared: Tensor, branches: Sequence[str]) -> dict[str, Tensor]:
        """The last feature map of each branch."""
        maps = {}
        for branch in branches:
            # A tail may begin with a layer that works in place; the last may have the tensor for itself.
            own = shared.clone() if len(self.stem) and branch != branches[-1] else shared
            maps[branch] = self.tails[f"{branch}_tail"](own)
        return maps

    def _features(self, branch: str, maps: Mapping[str, Tensor]) -> Tensor | Features:
        found = maps[branch]
        if self.exchanges:
            (other,) = (maps[one] for one in maps if one != branch)
            found = self.exchanges[f"{branch}_exchange"](found, other)
        features: Tensor | Features = self.pools[f"{branch}_pool"](found)
        return features


@hookimpl
def mtl_architectures() -> list[type[Architecture]]:
    """The architecture of this module."""
    return [TwoBranch]
