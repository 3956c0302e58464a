"""The device a run works on: which one, in what precision, and how much memory it took."""

from __future__ import annotations

import resource
import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ..errors import ConfigError


def peak_memory(device: torch.device) -> int:
    """The most memory used so far, in bytes: of the GPU, or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Device, precision and processes, through accelerate.

    Raises:
        ConfigError: if the device or precision is not to be had.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device != "auto" and not available[device]:
        raise ConfigError(f"trainer.device: there is no {device} on this machine")
    if precision == "fp16" and (device == "cpu" or not (available["cuda"] or available["mps"])):
        raise ConfigError("trainer.precision: fp16 needs a GPU; bf16 works on the CPU too")
    wanted = {"fp32": "no"}.get(precision, precision)
    if AcceleratorState._shared_state.get("_mixed_precision", wanted) != wanted:
        # accelerate keeps one precision per process; another run of this process may want another one.
        AcceleratorState._reset_state()
    return Accelerator(cpu=device == "cpu", mixed_precision=wanted)
