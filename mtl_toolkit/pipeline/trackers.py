"""Experiment trackers: accelerate's, told of a run by the lifecycle hooks that any plugin gets."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from accelerate import tracking
from accelerate.utils import LoggerType

from ..config import Tracker
from ..errors import suggestion
from ..files import read_json, write_json
from ..hookspecs import EpochFinished, StageFinished, StageStarted, StageStopped, StepsLogged, hookimpl

IDENTITIES = "trackers.json"  # in the stage's folder: the runs that a resumed stage goes on with
REFUSED = re.compile(r"[^\w./ -]")  # in names of values, by one tracker or another


@attrs.frozen
class Manner:
    """How one of accelerate's trackers is told which run a stage is, in the names of its own options.

    Attributes:
        project: the option that accelerate takes as its first argument; None: that is the run's name.
        name: the option for the run's name.
        resume: from the identity of a run to the options that go on with it.
        identity: from the tracker's own object to the identity of its run.
    """

    project: str | None = None
    name: str | None = None
    resume: Callable[[str], Mapping[str, Any]] | None = None
    identity: Callable[[Any], str] | None = None


MANNERS: Mapping[str, Manner] = {
    "clearml": Manner("project_name", "task_name"),
    "comet_ml": Manner("project_name"),
    "mlflow": Manner(
        "experiment_name",
        "run_name",
        resume=lambda identity: {"run_id": identity},
        identity=lambda run: str(run.info.run_id),
    ),
    "swanlab": Manner("project", "experiment_name"),
    "trackio": Manner("project", "name"),
    "wandb": Manner(
        "project",
        "name",
        resume=lambda identity: {"id": identity, "resume": "allow"},
        identity=lambda run: str(run.id),
    ),
}


class StageTracker:
    """Hands what it hears of stages to one tracker of accelerate, as one run for each stage that trains.

    What fails in the tracker is raised, and the tracker left out for the rest of the stage.
    """

    def __init__(self, options: Tracker) -> None:
        self._options = options
        self._tracker: Any = None
        self._step = 0

    @hookimpl
    def mtl_stage_started(self, event: StageStarted) -> None:
        """Begin a run, or go on with that of the stage."""
        if event.kind != "train":  # it has neither losses nor metrics
            return
        known = _identity(self._options, event)
        tracker = make_tracker(self._options, event, known)
        # The oldest accelerate that we allow starts a tracker when it is made.
        getattr(tracker, "start", lambda: None)()
        self._tracker, self._step = tracker, event.global_step
        with self._left_out_if_it_fails():
            _remember(self._options, event, tracker.tracker)
            if known is None and not event.global_step:
                tracker.store_init_configuration(settings_of(event))

    @hookimpl
    def mtl_steps_logged(self, event: StepsLogged) -> None:
        """Log loss terms and learning rates."""
        self._log(event.global_step, {"losses": event.losses, "rates": event.rates})

    @hookimpl
    def mtl_epoch_finished(self, event: EpochFinished) -> None:
        """Log metrics and the epoch's losses."""
        facts = {"epoch": event.epoch, "score": event.score}
        self._log(
            event.global_step, {"metrics": event.metrics, "epoch_losses": event.losses, "epochs": facts}
        )

    @hookimpl
    def mtl_stage_finished(self, event: StageFinished) -> None:
        """Log the best epoch and end the run."""
        self._log(self._step, {"best": {"epoch": event.best_epoch, **event.metrics}})
        self._finish()

    @hookimpl
    def mtl_stage_stopped(self, event: StageStopped) -> None:
        """End the run, for a resumed stage to go on with."""
        self._finish()

    def _log(self, step: int, groups: Mapping[str, Mapping[str, float]]) -> None:
        self._step = step
        if self._tracker is not None:
            values = {
                REFUSED.sub("_", f"{group}/{name}"): value
                for group, members in groups.items()
                for name, value in members.items()
            }
            with self._left_out_if_it_fails():
                self._tracker.log(values, step=step)

    def _finish(self) -> None:
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            tracker.finish()

    @contextlib.contextmanager
    def _left_out_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            with contextlib.suppress(Exception):  # the first failure is the one to tell
                self._finish()
            raise


def tracker_listeners(trackers: Sequence[Tracker]) -> list[tuple[str, StageTracker]]:
    """A listener for each tracker, and what messages call it."""
    return [(f"tracker {options.type}", StageTracker(options)) for options in trackers]


def tracker_problems(trackers: Sequence[Tracker]) -> Iterator[str]:
    """Trackers that accelerate does not know, that are not installed, refuse an option, or are the same."""
    seen: dict[str, int] = {}
    for place, options in enumerate(trackers):
        where, known = f"trainer.trackers[{place}]", tracking.LOGGER_TYPE_TO_CLASS
        if options.type not in known:
            near = suggestion(options.type, known)
            yield f"{where}.type: accelerate has no tracker {options.type!r}{near}"
        elif not _installed(options.type):
            yield f"{where}: {options.type} is not installed: pip install {options.type}"
        elif options.options:
            accepted = _accepted(options.type)
            for option in options.options if accepted else ():
                if option not in accepted:
                    near = suggestion(option, accepted)
                    yield f"{where}.{option}: {options.type} has no such option{near}"
        if (first := seen.setdefault(_place(options), place)) != place:
            project = MANNERS.get(options.type, Manner()).project
            apart = f" in its {project}" if project else ""
            yield f"{where}: must differ from trackers[{first}]{apart} (got {options.type} twice)"


def make_tracker(options: Tracker, event: StageStarted, identity: str | None = None) -> Any:
    """A tracker of accelerate for one stage, not started.

    Args:
        options: which one; its options go where its own documentation says.
        event: the stage.
        identity: the run to go on with.
    """
    kind = tracking.LOGGER_TYPE_TO_CLASS[options.type]
    manner = MANNERS.get(options.type, Manner())
    arguments = dict(options.options)
    title, first = f"{event.run}/{event.stage}", None
    if kind.requires_logging_directory:
        folder = Path(event.directory)
        if options.type == LoggerType.TENSORBOARD.value:
            # What an attempt logged after the step that the stage now goes on from is not shown twice.
            arguments.setdefault("purge_step", event.global_step + 1)
            title = title if "logging_dir" in arguments else folder.name
        arguments.setdefault("logging_dir", str(folder.parent))
    if manner.project:
        first = arguments.pop(manner.project, event.run)
        if manner.name:
            arguments.setdefault(manner.name, title)
    if identity is not None and manner.resume:
        arguments = {**manner.resume(identity), **arguments}
    return kind(first or title, **arguments)


def settings_of(event: StageStarted) -> dict[str, bool | int | float | str]:
    """The configuration as one flat table, to compare runs by.

    The stage's own tables are under `stage`, so that stages compare; other stages and the trackers, whose
    options may be secret, are left out.
    """
    config = {key: value for key, value in event.config.items() if key != "stages"}
    config["trainer"] = {k: v for k, v in config.get("trainer", {}).items() if k != "trackers"}
    own = event.stage.partition("/")[0]  # a repeat has the settings of its stage
    stages = [stage for stage in event.config.get("stages", ()) if stage["name"] == own]
    return dict(_flat({**config, **({"stage": stages[0]} if stages else {})}))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        items = enumerate(value)
    elif isinstance(value, list):
        yield path, json.dumps(value, default=str)
    else:
        yield path, value if isinstance(value, bool | int | float | str) else str(value)
    for key, item in items:
        yield from _flat(item, f"{path}.{key}" if path else str(key))


def _installed(name: str) -> bool:
    """Trackers that a program has registered itself are no business of accelerate's list."""
    own = {one.value for one in LoggerType}
    return name not in own or name in {one.value for one in tracking.get_available_trackers()}


def _accepted(name: str) -> list[str]:
    """The options of a tracker, as far as they can be known; [] if it passes on whatever it gets."""
    kind: Any = tracking.LOGGER_TYPE_TO_CLASS[name]
    parameters = dict(inspect.signature(kind.__init__).parameters)
    if name == LoggerType.TENSORBOARD.value:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # accelerate then takes tensorboardX
            return []
        writer = dict(inspect.signature(SummaryWriter.__init__).parameters)
        parameters = {"logging_dir": parameters["logging_dir"], **writer}
        del parameters["log_dir"]  # accelerate fills it in
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return []
    return [option for option in parameters if option != "self"]


def _identity(options: Tracker, event: StageStarted) -> str | None:
    """The run that an earlier attempt at the stage began with this tracker, if the stage goes on with it."""
    path = Path(event.directory) / IDENTITIES
    if not event.global_step or not path.exists():
        return None
    found = read_json(path).get(_key(options))
    return None if found is None else str(found)


def _remember(options: Tracker, event: StageStarted, own: Any) -> None:
    manner, path = MANNERS.get(options.type, Manner()), Path(event.directory) / IDENTITIES
    if manner.identity is not None:
        known = read_json(path) if path.exists() else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**known, _key(options): manner.identity(own)})


def _place(options: Tracker) -> str:
    """Where a tracker logs to: two in one place would mix their runs, or forget which is whose."""
    if options.type in MANNERS:
        return _key(options)
    return f"{options.type}/{options.options.get('logging_dir', sorted(options.options.items()))}"


def _key(options: Tracker) -> str:
    """What tells trackers of a stage apart: one may log to two projects."""
    project = MANNERS[options.type].project if options.type in MANNERS else None
    return f"{options.type}/{options.options.get(project or '', '')}"
