"""Optimizers and learning-rate schedules of torch, by name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import lr_scheduler

from .. import config
from ..errors import ConfigError, suggestion
from ..model import MultiTaskModel, parameter_groups

# Arguments that the trainer fills in: the optimizer itself, and the number of steps.
NOT_OPTIONS = ("optimizer", "params", "lr", "last_epoch")
FILLED_IN = (*NOT_OPTIONS, "total_steps", "T_max")


class Schedule:
    """A scheduler of torch after a linear warm-up, stepped per optimizer step or per epoch.

    Args:
        optimizer: whose learning rates it sets.
        options: the scheduler's table.
        steps: optimizer steps in the whole stage.
        epochs: epochs in the whole stage.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, options: config.Scheduler, steps: int, epochs: int
    ) -> None:
        self.per: Literal["step", "epoch"] = options.per
        self.warmup = options.warmup
        self._optimizer = optimizer
        self._done = 0
        total = max(1, (steps if options.per == "step" else epochs) - options.warmup)
        self._scheduler = _make_scheduler(optimizer, options, total)
        self._target = [float(group["lr"]) for group in optimizer.param_groups]
        self._warm()

    def step_done(self) -> None:
        """Tell it of an optimizer step."""
        if self.per == "step":
            self._advance(None)

    def epoch_done(self, score: float | None) -> None:
        """Tell it of an epoch and its score."""
        if self.per == "epoch":
            self._advance(score)

    def state_dict(self) -> dict[str, Any]:
        """Its state in plain JSON types."""
        inner = self._scheduler.state_dict() if self._scheduler else {}
        return {"done": self._done, "target": self._target, "scheduler": inner}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; the learning rates come with the optimizer."""
        self._done, self._target = state["done"], list(state["target"])
        if self._scheduler:
            self._scheduler.load_state_dict(_restored(state["scheduler"], self._scheduler.state_dict()))

    def _advance(self, score: float | None) -> None:
        self._done += 1
        if self._done < self.warmup:
            self._warm()
        elif self._done == self.warmup:
            self._set(self._target)
        elif isinstance(self._scheduler, lr_scheduler.ReduceLROnPlateau):
            if score is not None:
                self._scheduler.step(score)
        elif self._scheduler:
            self._scheduler.step()

    def _warm(self) -> None:
        if self._done < self.warmup:
            share = (self._done + 1) / (self.warmup + 1)
            self._set([share * rate for rate in self._target])

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _restored(saved: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's saved state; what JSON only wrote otherwise (keys that are numbers, tuples) as it was."""
    return {
        key: mine[key] if key in mine and json.loads(json.dumps(mine[key])) == value else value
        for key, value in saved.items()
    }


def make_optimizer(
    options: config.Optimizer, model: MultiTaskModel, objective: nn.Module
) -> torch.optim.Optimizer:
    """An optimizer over the model's and the objective's parameters, backbone and heads as groups.

    Raises:
        ConfigError: if torch refuses the options, a layer is lazy, or nothing is left to train.
    """
    kind: Any = optimizer_class(options.type)
    groups = parameter_groups(model, options.backbone, options.heads)
    if extra := list(objective.parameters()):
        groups.append({"params": extra, "name": "losses", **options.heads})
    if not groups:
        raise ConfigError("model: every parameter is frozen; there is nothing to train")
    for group in groups:
        if any(isinstance(one, UninitializedParameter) for one in group["params"]):
            # Several processes would fill it in from generators of their own.
            raise ConfigError(f"{group['name']}: a lazy layer has no size yet; build it with its size")
    try:
        optimizer: torch.optim.Optimizer = kind(groups, lr=options.lr, **_plain_options(options.options))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer: {options.type} refuses its options: {error}") from error
    return optimizer


def option_problems(stage: config.Stage) -> Iterator[tuple[str, str]]:
    """What is wrong with a stage's optimizer and scheduler: (key, message) pairs."""
    optimizer, scheduler = stage.optimizer, stage.scheduler
    yield from _table_problems("optimizer", optimizer.type, optimizer_class, optimizer.options)
    for part in ("backbone", "heads"):
        options = {name: value for name, value in getattr(optimizer, part).items() if name != "lr"}
        yield from _unknown(f"optimizer.{part}", optimizer.type, optimizer_class, options)
    if scheduler.type is not None:
        yield from _table_problems("scheduler", scheduler.type, scheduler_class, scheduler.options)
        yield from _plateau_problems(stage)


def _plateau_problems(stage: config.Stage) -> Iterator[tuple[str, str]]:
    """ReduceLROnPlateau looks at the score, which there is once an epoch."""
    if str(stage.scheduler.type).lower() == lr_scheduler.ReduceLROnPlateau.__name__.lower():
        if stage.scheduler.per != "epoch":
            yield "scheduler.per", "must be 'epoch' for ReduceLROnPlateau, which watches the epochs' score"
        if not stage.select:
            yield "scheduler.type", "ReduceLROnPlateau watches the score, but the stage has no validation"


def _table_problems(
    key: str, name: str, find: Callable[[str], type], options: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    try:
        kind = find(name)
    except ConfigError as error:
        yield f"{key}.type", str(error)
        return
    yield from _unknown(key, name, find, options)
    for option, value in inspect.signature(kind).parameters.items():
        wanted = value.default is inspect.Parameter.empty and value.kind is value.POSITIONAL_OR_KEYWORD
        if wanted and option not in (*FILLED_IN, *options):
            yield key, f"{kind.__name__} needs {option}"


def _unknown(
    key: str, name: str, find: Callable[[str], type], options: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    try:
        kind = find(name)
    except ConfigError:
        return
    known = [option for option in inspect.signature(kind).parameters if option not in NOT_OPTIONS]
    for option in options:
        if option not in known:
            yield f"{key}.{option}", f"{kind.__name__} has no such option{suggestion(option, known)}"


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """Find an optimizer of torch by name, whatever the case."""
    found: type[torch.optim.Optimizer] = _find(torch.optim, torch.optim.Optimizer, name, "optimizer")
    return found


def scheduler_class(name: str) -> type[lr_scheduler.LRScheduler]:
    """Find a learning-rate scheduler of torch by name, whatever the case."""
    what = "learning-rate scheduler"
    found: type[lr_scheduler.LRScheduler] = _find(lr_scheduler, lr_scheduler.LRScheduler, name, what)
    return found


def _find(module: Any, base: type, name: str, what: str) -> Any:
    known = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value is not base
        and not key.startswith("_")
    }
    for key, value in known.items():
        if key.lower() == name.lower():
            return value
    raise ConfigError(f"torch has no {what} {name!r}{suggestion(name, known)}")


def _make_scheduler(optimizer: torch.optim.Optimizer, options: config.Scheduler, total: int) -> Any:
    if options.type is None:
        return None
    kind = scheduler_class(options.type)
    signature = inspect.signature(kind.__init__).parameters
    filled = {name: total for name in ("total_steps", "T_max") if name in signature}
    if kind is lr_scheduler.OneCycleLR:
        # torch counts the first value as a step of its own and refuses one step more than that.
        filled["total_steps"] = total + 1
    if kind is lr_scheduler.ReduceLROnPlateau:
        filled["mode"] = "max"  # type: ignore[assignment] # a score is better when larger
    try:
        return kind(optimizer, **{**filled, **_plain_options(options.options)})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"scheduler: {options.type} refuses its options: {error}") from error


def _plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
