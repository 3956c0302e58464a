"""Checkpoints: weights without pickle, and JSON that says how to use them without the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from .errors import RunError
from .files import read_json, recover_folder, replacing_folder, to_json

FORMAT = 2  # the newest that this version reads
NETWORK_FORMAT, ENSEMBLE_FORMAT = 1, 2
MODEL, OBJECTIVE, OPTIMIZER = "model.safetensors", "objective.safetensors", "optimizer.safetensors"
AVERAGE = "ema.safetensors"
DESCRIPTION, TRAINING = "checkpoint.json", "training.json"


@attrs.frozen(eq=False)
class TrainingState:
    """What a checkpoint needs beside the weights to go on as if never stopped.

    Attributes:
        progress: counters, sums and history, in plain JSON types.
        optimizer: the optimizer.
        scheduler: a learning-rate scheduler's state, in plain JSON types.
        objective: the objective, whose losses may have parameters.
        scaler: the state of the loss scaler of fp16, in plain JSON types; {} without one.
        average: the moving average of the weights; None without one.
    """

    progress: Mapping[str, Any]
    optimizer: Optimizer
    scheduler: Mapping[str, Any]
    objective: nn.Module
    scaler: Mapping[str, Any] = attrs.field(factory=dict)
    average: nn.Module | None = None


def save_checkpoint(
    path: Path,
    model: nn.Module,
    description: Mapping[str, Any],
    state: TrainingState | None = None,
    add: Callable[[Path], None] = lambda _folder: None,
) -> None:
    """Write a checkpoint folder at once; the one that was there stays if anything fails.

    `add` may put more into the folder.

    Raises:
        RunError: if it cannot be written.
    """
    with replacing_folder(path) as folder:
        save_file(tensors_of(model), folder / MODEL)
        (folder / DESCRIPTION).write_text(
            to_json({"format": NETWORK_FORMAT, **description}), encoding="utf-8"
        )
        add(folder)
        if state is not None:
            tensors, rest = _split_optimizer(state.optimizer)
            save_file(tensors, folder / OPTIMIZER)
            save_file(tensors_of(state.objective), folder / OBJECTIVE)
            if state.average is not None:
                save_file(tensors_of(state.average), folder / AVERAGE)
            training = {
                "progress": state.progress,
                "optimizer": rest,
                "scheduler": state.scheduler,
                "scaler": state.scaler,
            }
            (folder / TRAINING).write_text(to_json(training), encoding="utf-8")


def save_ensemble(path: Path, description: Mapping[str, Any], add: Callable[[Path], None]) -> None:
    """Write the checkpoint of an ensemble at once; `add` puts its members into the folder.

    Raises:
        RunError: if it cannot be written.
    """
    with replacing_folder(path) as folder:
        about = to_json({"format": ENSEMBLE_FORMAT, **description})
        (folder / DESCRIPTION).write_text(about, encoding="utf-8")
        add(folder)


def read_description(path: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself.

    Raises:
        RunError: if there is no checkpoint, or it is of a newer version.
    """
    recover_folder(path)
    description = read_json(path / DESCRIPTION)
    found = description.get("format", 0)
    if found > FORMAT:
        raise RunError(f"{path}: written by a newer mtl-toolkit (format {found}, this one reads {FORMAT})")
    return dict(description)


def load_weights(path: Path, module: nn.Module, file: str = MODEL, prefix: str = "") -> None:
    """Load weights into a module of the same shape; with a prefix only those whose names begin so.

    Raises:
        RunError: if the file is damaged or does not fit.
    """
    try:
        tensors = load_file(path / file)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path / file}: cannot be loaded: {error}") from error
    if prefix:
        tensors = module.state_dict() | {k: v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        shapes = ({name: tuple(t.shape) for name, t in one.items()} for one in (module.state_dict(), tensors))
        problem = first_misfit(*shapes) or " ".join(str(error).split())
        raise RunError(f"{path / file}: does not fit the network: {problem}") from error


def stored_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a file, by name; the tensors are not read.

    Raises:
        RunError: if the file is damaged or missing.
    """
    try:
        with safe_open(file, "pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise RunError(f"{file}: cannot be loaded: {error}") from error


def first_misfit(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str | None:
    """The first difference of two states' shapes, and how many more there are; None if there is none."""
    missing = [f"tensor {name!r} is missing" for name in wanted if name not in found]
    surplus = [f"tensor {name!r} has no place" for name in found if name not in wanted]
    wrong = [
        f"tensor {name!r} must have shape {shape} (got {found[name]})"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    problems = [*wrong, *missing, *surplus]
    more = f", and {len(problems) - 1:,} more such" if len(problems) > 1 else ""
    return problems[0] + more if problems else None


def load_training(path: Path, optimizer: Optimizer, objective: nn.Module) -> dict[str, Any]:
    """Put an optimizer and an objective back in the saved state.

    Returns:
        {"progress": ..., "scheduler": ..., "scaler": ...}.

    Raises:
        RunError: if a file is missing or damaged.
    """
    training = read_json(path / TRAINING)
    load_weights(path, objective, OBJECTIVE)
    try:
        tensors = load_file(path / OPTIMIZER)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path / OPTIMIZER}: cannot be loaded: {error}") from error
    _join_optimizer(optimizer, tensors, training["optimizer"])
    return {key: training[key] for key in ("progress", "scheduler", "scaler")}


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """A module's state with every tensor contiguous and on its own memory, as safetensors wants it."""
    return {name: _own_copy(tensor) for name, tensor in module.state_dict().items()}


def _own_copy(tensor: Tensor) -> Tensor:
    """On the CPU: a copy on the GPU would need room there."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _split_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{key}"] = _own_copy(value)
            else:
                numbers.setdefault(str(index), {})[key] = value
    return tensors, {"state": numbers, "param_groups": state["param_groups"]}


def _join_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in rest["state"].items()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        parameter = parameters[int(index)]
        # In the parameter's memory format: arithmetic may round differently over another one.
        fits = tensor.shape == parameter.shape
        value = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor) if fits else tensor
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": _tuples(rest["param_groups"])})


def _tuples(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON turned tuples (betas) into lists; turn them back, all but the parameters' list."""
    return [
        {key: tuple(v) if isinstance(v, list) and key != "params" else v for key, v in group.items()}
        for group in groups
    ]
