"""Whether all processes of a run, on whatever machines, see one run directory."""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator

from ..errors import ConfigError
from ..rundir import CONFIG, RunDirectory

# Seconds. Network file systems remember for up to half a minute that a folder was not there.
PATIENCE = 60.0


def check_one_folder(
    directory: RunDirectory, text: str, accelerator: Accelerator, patience: float = PATIENCE
) -> None:
    """Wait until every process sees the configuration that the first one has written.

    All of them read checkpoints, features and records there. One that had a folder of its own would train
    what the others skip, and they would wait for each other without end.

    Args:
        directory: of the run.
        text: the configuration that the first process has written.
        accelerator: the processes.
        patience: seconds to wait.

    Raises:
        ConfigError: in every process, if one of them does not see it.
    """
    if accelerator.num_processes == 1:
        return
    seen = torch.tensor(int(_appears(directory, text, patience)), device=accelerator.device)
    everyone = int(accelerator.reduce(seen, "sum"))
    if everyone < accelerator.num_processes:
        raise ConfigError(
            f"{directory.path}: must be one folder for all processes, on a disk that their machines share "
            f"({everyone} of {accelerator.num_processes} processes see what the first one wrote)"
        )


def _appears(directory: RunDirectory, text: str, patience: float) -> bool:
    file = directory.path / CONFIG
    give_up = time.monotonic() + patience
    while True:
        try:
            if file.read_text(encoding="utf-8") == text:
                return True
        except OSError:  # not there yet, or not to be read: the others must hear of it, and stop too
            pass
        if time.monotonic() > give_up:
            return False
        time.sleep(0.2)
