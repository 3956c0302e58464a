"""What a stage is trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from accelerate import Accelerator

from ..config import AnyStage, Loaded, Stage
from ..rundir import StageDirectory
from .data import DataSource
from .screen import Screen


@attrs.frozen(eq=False)
class StageJob:
    """What a stage is done with: the run's parts that it needs.

    Attributes:
        loaded: the configuration and its plugins.
        stage: the stage.
        source: its data.
        directory: its folder.
        references: the checkpoint of each stage or path that the stage refers to.
        accelerator: device, precision, processes.
        screen: who shows progress.
        stop: a request to stop: a signal's number, or 0.
    """

    loaded: Loaded
    stage: AnyStage
    source: DataSource
    directory: StageDirectory
    references: Mapping[str, Path]
    accelerator: Accelerator
    screen: Screen
    stop: Callable[[], int]

    @property
    def training(self) -> Stage:
        """The stage, where it is one that trains."""
        assert isinstance(self.stage, Stage)
        return self.stage

    def notify(self, hook: str, event: Any) -> None:
        """Tell the lifecycle listeners, on the first process; one that fails is a warning."""
        if self.accelerator.is_main_process:
            for problem in self.loaded.registry.notify(hook, event):
                self.screen.warn(problem)
