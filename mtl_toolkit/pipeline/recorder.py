"""What a stage leaves: its log and checkpoints; and who is told of its progress."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..checkpoint import AVERAGE, TrainingState, load_training, load_weights, save_checkpoint
from ..data import FeatureLayout
from ..hookspecs import EpochFinished, StepsLogged
from ..registry import versions
from ..rundir import END
from ..trainer import Progress, Trainer
from .job import StageJob
from .keep import NETWORK, keep_network
from .lifecycle import tell_finished, tell_started
from .misfits import description


class Recorder:
    """Writes a stage's log and checkpoints, and tells the screen and the lifecycle listeners."""

    def __init__(self, job: StageJob, trainer: Trainer, layout: FeatureLayout | None = None) -> None:
        self.job = job
        self.trainer = trainer
        self.layout = layout
        self.main = job.accelerator.is_main_process
        self.run = job.loaded.config.name

    def resume(self) -> None:
        """Put the trainer in the state of the last checkpoint."""
        last, trainer = self.job.directory.last, self.trainer
        load_weights(last, trainer.model)
        if trainer.average is not None:
            load_weights(last, trainer.average, AVERAGE)
        state = load_training(last, trainer.optimizer, trainer.objective)
        trainer.progress = Progress(**state["progress"])
        if trainer.schedule:
            trainer.schedule.load_state_dict(state["scheduler"])
        if trainer.accelerator.scaler is not None:
            trainer.accelerator.scaler.load_state_dict(state["scaler"])
        if self.main:
            progress = trainer.progress
            at = (progress.epoch + 1, progress.step) if progress.step else (progress.epoch, END)
            self.job.directory.rewind_log(*at)

    def start_over(self) -> None:
        """Forget what an attempt left that ended before its first checkpoint."""
        if self.main:
            self.job.directory.clear()

    def started(self) -> None:
        """Training begins or goes on."""
        progress, job = self.trainer.progress, self.job
        if self.main:
            job.screen.stage_started(job.training, progress)
        tell_started(job, first_epoch=progress.epoch + 1, global_step=self._global_step(progress))

    def step_done(self, progress: Progress, steps: int, rows: int) -> None:
        """Show it."""
        if self.main:
            self.job.screen.step_done(progress, steps, rows)

    def log(self, progress: Progress, losses: Mapping[str, float], rates: Mapping[str, float]) -> None:
        """Add a line to the log and tell everyone."""
        line = {"epoch": progress.epoch + 1, "step": progress.step, "losses": losses, "rates": rates}
        if self.main:
            self.job.directory.log(line)
            self.job.screen.log(progress, losses, rates)
            event = StepsLogged(
                run=self.run,
                stage=self.job.stage.name,
                epoch=progress.epoch + 1,
                step=progress.step,
                global_step=self._global_step(progress),
                losses=losses,
                rates=rates,
            )
            self.job.notify("mtl_steps_logged", event)

    def epoch_done(self, progress: Progress, record: Mapping[str, Any]) -> None:
        """Log the epoch and tell everyone."""
        if self.main:
            self.job.directory.log({**record, "seconds": progress.seconds})
            self.job.screen.epoch_done(progress, record)
            event = EpochFinished(
                run=self.run,
                stage=self.job.stage.name,
                epoch=record["epoch"],
                losses=record["losses"],
                metrics=record["metrics"],
                seconds=progress.seconds,
                rates=record["rates"],
                score=record["score"],
                global_step=self._global_step(progress),
            )
            self.job.notify("mtl_epoch_finished", event)

    def improved(self, progress: Progress) -> None:
        """Keep the best weights."""
        if self.main:
            description = self._description(progress.best_epoch, progress.best_metrics)
            save_checkpoint(self.job.directory.best, self.trainer.judged, description, add=self._add_network)

    def save(self, progress: Progress) -> None:
        """Keep a point to go on from; the other processes wait for it."""
        if self.main:
            schedule, scaler = self.trainer.schedule, self.trainer.accelerator.scaler
            state = TrainingState(
                attrs.asdict(progress),
                self.trainer.optimizer,
                schedule.state_dict() if schedule else {},
                self.trainer.objective,
                scaler.state_dict() if scaler is not None else {},
                self.trainer.average,
            )
            metrics = progress.history[-1]["metrics"] if progress.history else {}
            description = self._description(len(progress.history), metrics)
            save_checkpoint(
                self.job.directory.last, self.trainer.model, description, state, self._add_network
            )
        self.job.accelerator.wait_for_everyone()

    def finished(self) -> None:
        """The stage is done."""
        progress, job = self.trainer.progress, self.job
        if self.main:
            job.screen.stage_finished(job.training, progress)
        tell_finished(
            job,
            best_epoch=progress.best_epoch,
            metrics=progress.best_metrics,
            record=attrs.asdict(progress),
        )

    def _global_step(self, progress: Progress) -> int:
        """Steps done in the stage: every epoch has as many."""
        return progress.epoch * len(self.trainer.loader) + progress.step

    def _description(self, epoch: int, metrics: Mapping[str, float]) -> dict[str, Any]:
        config, stage = self.job.loaded.config, self.job.training
        return {
            "stage": stage.name,
            "run": config.name,
            "epoch": epoch,
            "metrics": metrics,
            "versions": versions(self.job.loaded.sources()),
            **description(config, stage),
            **({} if self.layout is None else {"features": attrs.asdict(self.layout)}),
        }

    def _add_network(self, folder: Path) -> None:
        """The network that makes the features goes with those that read them."""
        if self.layout is not None:
            features = self.job.source.features_folder(self.job.training)
            assert features is not None
            keep_network(features / NETWORK, folder)
