"""Experiment trackers: what they are given, how a resumed stage goes on, and what is refused."""

from __future__ import annotations

import itertools
import json
import re
import struct
import sys

import pytest
from accelerate import tracking

from mtl_toolkit import (
    ConfigError,
    Interrupted,
    Screen,
    StageFinished,
    StageStarted,
    StepsLogged,
    config_from,
    load_config,
    run,
)
from mtl_toolkit.config import Tracker
from mtl_toolkit.pipeline.trackers import StageTracker, make_tracker, settings_of, tracker_problems
from tests.stopping import stop_after

ONE_STAGE = ("stages=[{ name = 'teacher', sharing = false }]", "defaults.epochs=2")


class Warnings(Screen):
    def __init__(self):
        self.lines = []

    def warn(self, message):
        self.lines.append(message)


class Killed(Screen):
    """Ends the process when a step is logged."""

    def __init__(self, epoch, step):
        self.at = epoch, step

    def log(self, progress, losses, rates):
        if (progress.epoch, progress.step) == self.at:
            raise MemoryError


class Run:
    """What a fake tracker has in place of a run on a server."""

    def __init__(self, identity):
        self.id = identity
        self.info = self
        self.run_id = identity


NUMBERS = itertools.count()


def fake(name, monkeypatch, *, fails_in=()):
    """Put a tracker in the place of accelerate's of this name; return the list of all that are made."""
    made = []

    class Fake(tracking.GeneralTracker):
        requires_logging_directory = False

        def __init__(self, first, /, **options):
            super().__init__()
            self.first, self.options = first, options
            self.settings, self.logged, self.finished = None, [], 0
            made.append(self)

        def _may_fail(self, where):
            if where in fails_in:
                raise OSError(f"no network in {where}")

        @property
        def tracker(self):
            return self.run

        def start(self):
            self._may_fail("start")
            self.run = Run(self.options.get("id", self.options.get("run_id", f"id{next(NUMBERS)}")))

        def store_init_configuration(self, values):
            self.settings = values

        def log(self, values, step=None):
            self._may_fail("log")
            self.logged.append((step, values))

        def finish(self):
            self._may_fail("finish")
            self.finished += 1

    Fake.name = name
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, Fake)
    known = [one for one in tracking.LoggerType if one.value == name]
    monkeypatch.setattr(tracking, "_available_trackers", [*tracking.get_available_trackers(), *known])
    return made


def with_trackers(tiny, trackers, *overrides):
    return load_config(tiny, overrides=(f"trainer.trackers={trackers}", *overrides))


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def float32(value):
    """What a float is after TensorBoard has kept it."""
    return struct.unpack("f", struct.pack("f", value))[0]


def scalars(folder):
    """The curves in a folder's event files, read by TensorBoard itself: tag -> [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}


def curves_of(lines, steps_per_epoch):
    """The curves that a log.jsonl should give."""
    found = {}
    for line in lines:
        if "metrics" in line:
            step = line["epoch"] * steps_per_epoch
            groups = {
                "metrics": line["metrics"],
                "epoch_losses": line["losses"],
                "epochs": {"epoch": line["epoch"], "score": line["score"]},
            }
        else:
            step = (line["epoch"] - 1) * steps_per_epoch + line["step"]
            groups = {"losses": line["losses"], "rates": line["rates"]}
        for group, members in groups.items():
            for name, value in members.items():
                found.setdefault(f"{group}/{name}", []).append((step, float32(value)))
    return found


class TestTensorBoard:
    def test_files_in_the_stages_folders_hold_what_the_logs_hold(self, tiny, tmp_path):
        report = run(with_trackers(tiny, '["tensorboard"]'), tmp_path / "run")
        for stage in report["stages"]:
            folder = tmp_path / "run" / stage["name"]
            found = scalars(folder)
            wanted = curves_of(log_of(folder), steps_per_epoch=5)
            best = {"epoch": stage["best_epoch"], **stage["metrics"]}
            wanted |= {f"best/{name}": [(15, float32(value))] for name, value in best.items()}
            assert found == wanted

    def test_a_stopped_stage_goes_on_with_its_curves_and_shows_no_step_twice(self, tiny, tmp_path):
        """Killed after a log line that no checkpoint covers, it does those steps again."""
        loaded = with_trackers(tiny, '["tensorboard"]', *ONE_STAGE)
        with pytest.raises(MemoryError):
            run(loaded, tmp_path / "run", screen=Killed(1, 4))
        run(loaded, tmp_path / "run")
        folder = tmp_path / "run" / "teacher"
        assert len(list(folder.glob("events.*"))) == 2
        found, wanted = scalars(folder), curves_of(log_of(folder), steps_per_epoch=5)
        assert {tag: values for tag, values in found.items() if not tag.startswith("best/")} == wanted
        assert [step for step, _ in found["losses/total"]] == [2, 4, 5, 7, 9, 10]

    def test_an_attempt_that_ended_before_its_first_checkpoint_is_not_shown(self, tiny, tmp_path):
        loaded = with_trackers(tiny, '["tensorboard"]', *ONE_STAGE)
        with pytest.raises(MemoryError):
            run(loaded, tmp_path / "run", screen=Killed(0, 4))
        run(loaded, tmp_path / "run")
        folder = tmp_path / "run" / "teacher"
        assert [step for step, _ in scalars(folder)["losses/total"]] == [2, 4, 5, 7, 9, 10]

    def test_a_folder_of_its_own_has_a_folder_for_each_run_and_stage(self, tiny, tmp_path):
        elsewhere = tmp_path / "board"
        tracker = f'[{{ type = "tensorboard", logging_dir = "{elsewhere}" }}]'
        run(with_trackers(tiny, tracker, "defaults.epochs=1"), tmp_path / "run")
        for stage in ("teacher", "student"):
            assert "losses/total" in scalars(elsewhere / "tiny" / stage)

    def test_the_settings_of_the_stage_are_kept_beside(self, tiny, tmp_path):
        loaded = with_trackers(tiny, '["tensorboard"]', *ONE_STAGE)
        run(loaded, tmp_path / "run")
        (file,) = (tmp_path / "run" / "teacher").glob("*/hparams.yml")
        text = file.read_text()
        assert "stage.optimizer.lr: 0.01\n" in text
        assert "seed: 3\n" in text


class TestOptions:
    def test_go_to_accelerate_with_the_project_in_its_place_and_a_run_for_each_stage(
        self, tiny, tmp_path, monkeypatch
    ):
        made = fake("wandb", monkeypatch)
        tracker = '[{ type = "wandb", project = "affect", entity = "me" }]'
        report = run(with_trackers(tiny, tracker, "defaults.epochs=1"), tmp_path / "run")
        assert [one.first for one in made] == ["affect", "affect"]
        assert [one.options for one in made] == [
            {"entity": "me", "name": "tiny/teacher"},
            {"entity": "me", "name": "tiny/student"},
        ]
        assert [one.finished for one in made] == [1, 1]
        for one, stage in zip(made, report["stages"], strict=True):
            assert [step for step, _ in one.logged] == [2, 4, 5, 5, 5]
            values = {name.removeprefix("best/"): value for name, value in one.logged[-1][1].items()}
            assert values == {"epoch": 1, **stage["metrics"]}

    @pytest.mark.parametrize(
        ("name", "project", "run_name"),
        [
            ("wandb", "project", "name"),
            ("trackio", "project", "name"),
            ("swanlab", "project", "experiment_name"),
            ("mlflow", "experiment_name", "run_name"),
            ("clearml", "project_name", "task_name"),
        ],
    )
    def test_a_run_is_called_after_configuration_and_stage(
        self, monkeypatch, tmp_path, name, project, run_name
    ):
        fake(name, monkeypatch)
        event = StageStarted("job", "teacher", str(tmp_path), 1, 1)
        plain = make_tracker(Tracker(type=name), event)
        assert (plain.first, plain.options) == ("job", {run_name: "job/teacher"})
        options = {project: "affect", run_name: "mine", "more": 1}
        own = make_tracker(Tracker(type=name, options=options), event)
        assert (own.first, own.options) == ("affect", {run_name: "mine", "more": 1})

    def test_of_accelerates_own_classes_fit_the_first_argument(self, tmp_path):
        """Those that can be made without their package: nothing is started."""
        event = StageStarted("job", "teacher", str(tmp_path / "runs" / "teacher"), 1, 1)
        for name, kind in tracking.LOGGER_TYPE_TO_CLASS.items():
            assert type(make_tracker(Tracker(type=name), event)) is kind
        mlflow = make_tracker(Tracker(type="mlflow", options={"tags": {"a": "b"}}), event, "abc")
        assert (mlflow.experiment_name, mlflow.run_name, mlflow.run_id) == ("job", "job/teacher", "abc")
        assert mlflow.tags == {"a": "b"}

    def test_settings_are_one_flat_table_of_the_stage_without_other_stages_and_trackers(
        self, tiny, tmp_path, monkeypatch
    ):
        made = fake("wandb", monkeypatch)
        loaded = with_trackers(tiny, '[{ type = "wandb", api_key = "secret" }]', "defaults.epochs=1")
        run(loaded, tmp_path / "run")
        teacher, student = (one.settings for one in made)
        assert teacher["stage.optimizer.type"] == "AdamW"
        assert teacher["stage.streams.0.dataset"] == "a"
        assert student["stage.losses.0.weight"] == 0.4
        assert student["stage.name"] == "student"
        assert student["tasks.expr_va.head.tasks"] == '["expr", "va"]'
        assert "secret" not in repr(made[0].settings)
        assert all(isinstance(value, bool | int | float | str) for value in teacher.values())

    def test_settings_of_an_event_without_a_configuration_are_empty(self):
        assert settings_of(StageStarted("job", "teacher", "folder", 1, 1)) == {}

    def test_values_have_names_that_every_tracker_takes(self, tiny, tmp_path, monkeypatch):
        """MLflow, TensorBoard and SwanLab refuse or replace the '+' between the datasets of a stream."""
        made = fake("mlflow", monkeypatch)
        streams = "stages=[{ name = 't', streams = [{ dataset = ['a', 'a'], task = 'expr' }] }]"
        run(with_trackers(tiny, '["mlflow"]', streams, "defaults.epochs=1"), tmp_path / "run")
        names = {name for _, values in made[0].logged for name in values}
        assert "losses/a_a/expr/ground-truth" in names
        assert [name for name in names if not re.fullmatch(r"[\w./ -]+", name)] == []


def test_an_extract_stage_has_no_run(tmp_path, monkeypatch):
    """It has neither losses nor metrics to log."""
    made = fake("wandb", monkeypatch)
    tracker = StageTracker(Tracker(type="wandb"))
    tracker.mtl_stage_started(StageStarted("job", "features", str(tmp_path), 0, 1, kind="extract"))
    tracker.mtl_stage_finished(StageFinished("job", "features", str(tmp_path), 0, {}, {}, kind="extract"))
    assert made == []


@pytest.mark.parametrize(
    ("name", "options"),
    [("wandb", lambda run: {"id": run, "resume": "allow"}), ("mlflow", lambda run: {"run_id": run})],
)
def test_a_resumed_stage_goes_on_with_its_run_and_one_that_starts_over_does_not(
    tiny, tmp_path, monkeypatch, name, options
):
    made = fake(name, monkeypatch)
    loaded = with_trackers(tiny, f'["{name}"]', *ONE_STAGE)
    with pytest.raises(Interrupted):
        run(loaded, tmp_path / "run", stop=stop_after(10))
    run(loaded, tmp_path / "run")
    first, again = made
    assert first.finished == again.finished == 1
    assert options(first.run.id).items() <= again.options.items()
    assert [step for step, _ in first.logged] == [2, 4, 5, 5, 7]
    assert [step for step, _ in again.logged] == [9, 10, 10, 10]
    assert first.settings
    assert again.settings is None  # they are there already; MLflow refuses others

    run(loaded, tmp_path / "run", fresh=["teacher"])
    assert made[2].run.id != first.run.id
    assert made[2].settings


class TestProblems:
    @pytest.mark.parametrize(
        ("trackers", "problem"),
        [
            (
                '["tensorbord"]',
                "trainer.trackers[0].type: accelerate has no tracker 'tensorbord'; "
                "did you mean 'tensorboard'?",
            ),
            (
                '["tensorboard", "comet_ml"]',
                "trainer.trackers[1]: comet_ml is not installed: pip install comet_ml",
            ),
            (
                '[{ type = "tensorboard", flush_sec = 2 }]',
                "trainer.trackers[0].flush_sec: tensorboard has no such option; did you mean 'flush_secs'?",
            ),
            (
                '[{ type = "tensorboard", log_dir = "board" }]',
                "trainer.trackers[0].log_dir: tensorboard has no such option; did you mean 'logging_dir'?",
            ),
            (
                '["tensorboard", "tensorboard"]',
                "trainer.trackers[1]: must differ from trackers[0] (got tensorboard twice)",
            ),
        ],
        ids=["unknown", "not installed", "no such option", "one that accelerate fills in", "twice"],
    )
    def test_are_told_before_training(self, tiny, tmp_path, mtl, monkeypatch, trackers, problem):
        available = [one for one in tracking.get_available_trackers() if one.value == "tensorboard"]
        monkeypatch.setattr(tracking, "_available_trackers", available)
        with pytest.raises(ConfigError) as refused:
            run(with_trackers(tiny, trackers), tmp_path / "run")
        assert refused.value.problems == (problem,)
        code, _, err = mtl("check", str(tiny), "--set", f"trainer.trackers={trackers}")
        assert (code, err.splitlines()[-1]) == (2, f"error: {problem}")
        assert not (tmp_path / "run").exists()

    def test_an_option_that_mlflow_does_not_take_is_told(self, tiny, tmp_path, monkeypatch):
        mlflow = tracking.LoggerType.MLFLOW
        monkeypatch.setattr(tracking, "_available_trackers", [mlflow])
        loaded = with_trackers(tiny, '[{ type = "mlflow", experiment = "affect" }]')
        with pytest.raises(
            ConfigError, match=r"trackers\[0\].experiment: mlflow has no such option; did you"
        ):
            run(loaded, tmp_path / "run")

    @pytest.mark.parametrize(
        ("options", "refused"),
        [
            ([{}, {"name": "other"}], True),
            ([{"project": "one"}, {"project": "one"}], True),
            ([{"project": "one"}, {"project": "two"}], False),
        ],
    )
    def test_two_of_one_type_must_log_to_different_projects(self, monkeypatch, options, refused):
        fake("wandb", monkeypatch)
        found = list(tracker_problems([Tracker(type="wandb", options=one) for one in options]))
        line = "trainer.trackers[1]: must differ from trackers[0] in its project (got wandb twice)"
        assert found == ([line] if refused else [])

    @pytest.mark.parametrize(("where", "hook"), [("start", "mtl_stage_started"), ("log", "mtl_steps_logged")])
    def test_one_that_fails_is_left_out_for_the_stage_with_one_warning_and_the_run_goes_on(
        self, tiny, tmp_path, monkeypatch, where, hook
    ):
        made, screen = fake("wandb", monkeypatch, fails_in=[where]), Warnings()
        fine = fake("mlflow", monkeypatch)
        loaded = with_trackers(tiny, '["wandb", "mlflow"]', "defaults.epochs=1")
        report = run(loaded, tmp_path / "run", screen=screen)
        line = f"tracker wandb failed in {hook}: OSError: no network in {where}"
        assert screen.lines == [line, line]  # of two stages
        assert [stage["epochs"] for stage in report["stages"]] == [1, 1]
        assert [one.finished for one in made] == ([0, 0] if where == "start" else [1, 1])
        assert [one.finished for one in fine] == [1, 1]

    @pytest.mark.parametrize("options", [{}, {"flush_secs": 2}])
    def test_tensorboardx_alone_takes_whatever_it_gets(self, monkeypatch, options):
        """Accelerate falls back on it, where torch cannot import TensorBoard; it ignores unknown options."""
        monkeypatch.setattr(tracking, "_available_trackers", [tracking.LoggerType.TENSORBOARD])
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        assert list(tracker_problems([Tracker(type="tensorboard", options=options)])) == []

    def test_of_one_that_cannot_be_closed_after_a_failure_tell_the_first(self, tmp_path, monkeypatch):
        fake("wandb", monkeypatch, fails_in=["log", "finish"])
        tracker = StageTracker(Tracker(type="wandb"))
        tracker.mtl_stage_started(StageStarted("job", "teacher", str(tmp_path), 1, 1))
        with pytest.raises(OSError, match="no network in log"):
            tracker.mtl_steps_logged(StepsLogged("job", "teacher", 1, 2, 2, {"total": 1.0}, {}))

    def test_a_stage_that_fails_closes_its_tracker(self, tiny, tmp_path, monkeypatch):
        made = fake("wandb", monkeypatch)

        class Broken(Screen):
            def step_done(self, progress, steps, rows):
                raise MemoryError

        with pytest.raises(MemoryError):
            run(with_trackers(tiny, '["wandb"]'), tmp_path / "run", screen=Broken())
        assert [one.finished for one in made] == [1]

    def test_of_a_type_that_is_no_text_are_problems_of_the_file(self, tiny_text, tmp_path):
        import tomllib

        tables = tomllib.loads(tiny_text)
        tables["trainer"]["trackers"] = [3, {"project": "x"}]
        with pytest.raises(ConfigError) as refused:
            config_from(tables, base=tmp_path)
        assert refused.value.problems == (
            "config: trainer.trackers[0]: must be a name or a table { ... } (got 3)",
            "config: trainer.trackers[1].type: is missing",
        )


def test_trackers_can_be_changed_without_training_again(tiny, tmp_path, monkeypatch):
    made = fake("wandb", monkeypatch)
    run(load_config(tiny, overrides=ONE_STAGE), tmp_path / "run")
    run(with_trackers(tiny, '["wandb"]', *ONE_STAGE), tmp_path / "run")
    assert made == []  # the stage is finished and skipped
    assert 'type = "wandb"' in (tmp_path / "run" / "config.toml").read_text()


def test_a_bare_name_is_short_for_a_table_with_only_a_type(tiny):
    short = with_trackers(tiny, '["wandb"]').config.trainer.trackers
    assert (
        short
        == with_trackers(tiny, '[{ type = "wandb" }]').config.trainer.trackers
        == (Tracker(type="wandb"),)
    )
    assert (
        load_config(tiny, overrides=("defaults.optimizer='SGD'",)).config.trainings[0].optimizer.type == "SGD"
    )


def test_a_tracker_that_a_program_has_registered_is_known(tiny, tmp_path, monkeypatch):
    made = fake("house", monkeypatch)
    run(with_trackers(tiny, '[{ type = "house", room = 3 }]', *ONE_STAGE), tmp_path / "run")
    assert [(one.first, one.options) for one in made] == [("tiny/teacher", {"room": 3})]
