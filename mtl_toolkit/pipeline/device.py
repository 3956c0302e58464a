"""The device a run works on: which one, in what precision, how much memory it took; all left as it was."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from ..errors import ConfigError


def peak_memory(device: torch.device) -> int:
    """The most memory used, in bytes: of the GPU since `start_measuring`, or of this process in its life."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def start_measuring(device: torch.device) -> None:
    """Forget a GPU's earlier peak of memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


@contextlib.contextmanager
def leaving_process_as_found() -> Iterator[None]:
    """Put back what a run sets for the whole process: torch's threads, and what accelerate keeps once.

    That is the device, the precision and the accumulation of gradients. A program may have an `Accelerator`
    of its own, before and after. The processes of a `torchrun` stay.
    """
    threads = torch.get_num_threads()
    shared = [AcceleratorState._shared_state, GradientState._shared_state]
    if "WORLD_SIZE" not in os.environ:
        shared.append(PartialState._shared_state)
    before = [dict(state) for state in shared]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for state, values in zip(shared, before, strict=True):
            state.clear()  # in place: every Accelerator holds the same dictionary
            state.update(values)


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
    known = PartialState._shared_state.get("device")
    if known is not None and device not in ("auto", known.type) and "WORLD_SIZE" not in os.environ:
        AcceleratorState._reset_state(reset_partial_state=True)  # likewise for the device
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=wanted)
    if device not in ("auto", accelerator.device.type):
        raise ConfigError(f"trainer.device: accelerate chose {accelerator.device.type} (wanted {device})")
    return accelerator
