"""What listeners hear of a run, whether a plugin or an object of the program, and that it suffices."""

from __future__ import annotations

import json

import attrs
import pytest

from mtl_toolkit import Interrupted, PluginError, Screen, hookimpl, load_config, run
from mtl_toolkit.config import plain
from mtl_toolkit.hookspecs import EpochFinished, StageFinished, StageStarted

ONE_STAGE = ("stages=[{ name = 'teacher', sharing = false }]", "defaults.epochs=2")


class Ear:
    """Keeps every event."""

    def __init__(self):
        self.heard = []

    @hookimpl
    def mtl_stage_started(self, event):
        self.heard.append(event)

    @hookimpl
    def mtl_steps_logged(self, event):
        self.heard.append(event)

    @hookimpl
    def mtl_epoch_finished(self, event):
        self.heard.append(event)

    @hookimpl
    def mtl_stage_finished(self, event):
        self.heard.append(event)

    @hookimpl
    def mtl_stage_stopped(self, event):
        self.heard.append(event)

    def names(self):
        return [(type(event).__name__, event.stage) for event in self.heard]

    def of(self, name):
        return [event for event in self.heard if type(event).__name__ == name]


class Warnings(Screen):
    def __init__(self):
        self.lines = []

    def warn(self, message):
        self.lines.append(message)


def hear(self, event):
    """A method that listens."""


def bring(self):
    """A method that brings plugins."""
    return []


def log_of(run_directory, stage="teacher"):
    return [json.loads(line) for line in (run_directory / stage / "log.jsonl").read_text().splitlines()]


def test_an_object_hears_all_that_the_log_holds(tiny, tmp_path):
    ear = Ear()
    loaded = load_config(tiny, overrides=ONE_STAGE)
    report = run(loaded, tmp_path / "run", listeners=[ear])
    lines = log_of(tmp_path / "run")
    steps, epochs = ear.of("StepsLogged"), ear.of("EpochFinished")
    assert [{"epoch": e.epoch, "step": e.step, "losses": e.losses, "rates": e.rates} for e in steps] == [
        line for line in lines if "step" in line
    ]
    keys = ("epoch", "losses", "metrics", "score", "rates", "seconds")
    assert [{key: getattr(e, key) for key in keys} for e in epochs] == [
        line for line in lines if "metrics" in line
    ]
    # 5 steps an epoch, a line every 2.
    assert [e.global_step for e in steps] == [2, 4, 5, 7, 9, 10]
    assert [e.global_step for e in epochs] == [5, 10]
    assert ear.names()[0] == ("StageStarted", "teacher")
    assert ear.names()[-1] == ("StageFinished", "teacher")
    started, finished = ear.heard[0], ear.heard[-1]
    assert (started.epochs, started.first_epoch, started.global_step, started.kind) == (2, 1, 0, "train")
    assert started.config == plain(loaded.config)
    assert finished.metrics == report["stages"][0]["metrics"]


def test_a_stage_that_is_stopped_ends_with_one_event_and_goes_on_with_the_steps_it_had(tiny, tmp_path):
    ear, asked = (
        Ear(),
        iter([0] * 9 + [2]),
    )  # 5 steps and 3 validation batches of the first epoch, then 1 step
    loaded = load_config(tiny, overrides=ONE_STAGE)
    with pytest.raises(Interrupted):
        run(loaded, tmp_path / "run", listeners=[ear], stop=lambda: next(asked))
    (stopped,) = ear.of("StageStopped")
    assert ear.heard[-1] is stopped
    assert (stopped.stage, stopped.reason) == ("teacher", "Interrupted: stopped by signal 2")
    assert ear.of("StageFinished") == []

    again = Ear()
    run(loaded, tmp_path / "run", listeners=[again])
    assert again.heard[0].first_epoch == 2
    assert again.heard[0].global_step == 7
    assert [event.global_step for event in again.of("StepsLogged")] == [9, 10]
    assert again.of("StageStopped") == []

    skipped = Ear()
    run(loaded, tmp_path / "run", listeners=[skipped])
    assert skipped.heard == []


def test_a_stage_that_fails_or_is_cut_off_by_a_keyboard_interrupt_is_told_too(tiny, tmp_path):
    class Impatient(Screen):
        def step_done(self, progress, steps, rows):
            raise KeyboardInterrupt

    ear = Ear()
    with pytest.raises(KeyboardInterrupt):
        run(load_config(tiny), tmp_path / "run", listeners=[ear], screen=Impatient())
    assert ear.names() == [("StageStarted", "teacher"), ("StageStopped", "teacher")]
    assert ear.heard[1].reason == "KeyboardInterrupt"


def test_extract_stages_begin_stop_and_end_too_with_their_kind(tiny, tmp_path):
    extract = (
        "{ name = 'features', kind = 'extract', network = 'teacher', datasets = ['a'], batch_size = 16 }"
    )
    stages = f"stages=[{{ name = 'teacher', sharing = false }}, {extract}]"
    ear = Ear()
    loaded = load_config(tiny, overrides=(stages, "defaults.epochs=1", "defaults.epoch_length=1"))
    with pytest.raises(Interrupted):
        run(loaded, tmp_path / "run", listeners=[ear], stop=lambda: 2 * (ear.heard[-1].stage == "features"))
    begun, stopped = ear.heard[-2:]
    assert begun.kind == stopped.kind == "extract"
    assert (stopped.stage, stopped.reason) == ("features", "Interrupted: stopped by signal 2")

    run(loaded, tmp_path / "run", listeners=[ear])
    started, finished = ear.heard[-2:]
    assert (started.stage, started.kind, started.epochs) == ("features", "extract", 0)
    assert (finished.stage, finished.kind, finished.best_epoch, finished.metrics) == (
        "features",
        "extract",
        0,
        {},
    )
    assert finished.record["samples"] == 24  # those of the first batch were done before
    assert finished.directory == str(tmp_path / "run" / "features")


def test_a_listener_that_fails_is_a_warning_and_the_others_hear_on(tiny, tmp_path):
    class Broken:
        @hookimpl
        def mtl_epoch_finished(self, event):
            raise ValueError("no\nroom")

    ear, screen = Ear(), Warnings()
    run(
        load_config(tiny, overrides=ONE_STAGE),
        tmp_path / "run",
        listeners=[Broken(), ear],
        screen=screen,
    )
    assert screen.lines == ["listener Broken failed in mtl_epoch_finished: ValueError: no room"] * 2
    assert len(ear.of("EpochFinished")) == 2


def test_a_listener_that_empties_its_tables_changes_neither_the_report_nor_what_others_hear(tiny, tmp_path):
    class Vandal(Ear):
        @hookimpl
        def mtl_epoch_finished(self, event):
            for table in (event.metrics, event.losses, event.rates):
                table.clear()

        @hookimpl
        def mtl_stage_finished(self, event):
            event.metrics.clear()
            event.record["history"].clear()

    ear = Ear()
    loaded = load_config(tiny, overrides=ONE_STAGE)
    report = run(loaded, tmp_path / "run", listeners=[Vandal(), ear])
    assert report["stages"][0]["metrics"]
    epochs = [line for line in log_of(tmp_path / "run") if "metrics" in line]
    assert [(e.metrics, e.losses, e.rates) for e in ear.of("EpochFinished")] == [
        (line["metrics"], line["losses"], line["rates"]) for line in epochs
    ]
    assert len(ear.heard[-1].record["history"]) == len(epochs) == 2


def test_listeners_belong_to_one_run_only(tiny, tmp_path):
    ear = Ear()
    loaded = load_config(tiny, overrides=(*ONE_STAGE, "defaults.epochs=1"))
    run(loaded, tmp_path / "one", listeners=[ear])
    heard = len(ear.heard)
    run(loaded, tmp_path / "two")
    assert len(ear.heard) == heard
    assert all(listener.source.distribution for listener in loaded.registry.listeners)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({}, "listener Odd: implements no hook: mark its functions with @mtl_toolkit.hookimpl"),
        (
            {"mtl_epoch_finish": hookimpl(hear)},
            "listener Odd: unknown hook 'mtl_epoch_finish'; did you mean 'mtl_epoch_finished'?",
        ),
        (
            {"mtl_heads": hookimpl(bring)},
            "listener Odd: a listener hears of stages and brings no plugins: leave out mtl_heads()",
        ),
    ],
    ids=["none", "a misspelt one", "one that brings plugins"],
)
def test_an_object_without_a_lifecycle_hook_is_refused_before_training(tiny, tmp_path, members, problem):
    odd = type("Odd", (), members)()
    with pytest.raises(PluginError) as refused:
        run(load_config(tiny), tmp_path / "run", listeners=[odd])
    assert refused.value.problems == (problem,)
    assert not (tmp_path / "run").exists()


def test_a_module_can_listen(tiny, tmp_path):
    heard = []
    module = type(pytest)("ears")
    module.mtl_stage_finished = hookimpl(lambda event: heard.append(event.stage))
    run(load_config(tiny, overrides=("defaults.epochs=1",)), tmp_path / "run", listeners=[module])
    assert heard == ["teacher", "student"]


def test_events_of_earlier_versions_can_still_be_made_by_position():
    """Plugins' tests make events themselves; new fields come last and have defaults."""
    assert StageStarted("run", "stage", "folder", 3, 1).global_step == 0
    assert EpochFinished("run", "stage", 1, {}, {}, 0.5).rates == {}
    assert StageFinished("run", "stage", "folder", 1, {}, {}).kind == "train"


def test_events_cannot_be_changed():
    event = StageStarted("run", "stage", "folder", 3, 1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.epochs = 4
