"""Training, prediction and evaluation from Python: nothing of the process is changed, nothing is shared."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import warnings
from pathlib import Path

import attrs
import nbformat
import numpy as np
import psutil
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from mtl_affect.synthetic_faces import SyntheticFaces
from mtl_std.balancers import Sum
from mtl_std.classification import Classification
from mtl_std.regression import Regression
from mtl_std.samplers import Shuffle
from nbclient import NotebookClient
from rich.console import Console
from torch import nn

from mtl_toolkit import (
    DataFacts,
    Feed,
    FeedMetrics,
    LiveStream,
    MultiTaskModel,
    Objective,
    ProgressScreen,
    Screen,
    SequentialPlan,
    StreamLoader,
    StreamTask,
    TensorSamples,
    Trainer,
    TrainPlan,
    evaluate,
    hookimpl,
    load_config,
    load_stage,
    predict,
    run,
)
from mtl_toolkit.pipeline.device import leaving_process_as_found

NOTEBOOK = Path(__file__).parents[1] / "examples" / "library.ipynb"
HEADS = {"side": Classification(classes=("left", "right"), hidden=0), "distance": Regression(hidden=0)}
SHORT = ("defaults.epochs=1", "defaults.epoch_length=2", "datasets.val.samples=8")
TEACHER = "stages=[{ name = 'teacher', sharing = false }]"


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2))

    def forward(self, inputs, tasks):
        return dict.fromkeys(tasks, self.body(inputs))


def draw(count, seed):
    points = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return points, (points[:, 0] > 0).long(), points.norm(dim=1, keepdim=True)


def make_accelerator():
    """The program's own; it would accumulate gradients over four batches."""
    return Accelerator(cpu=True, gradient_accumulation_steps=4)


def make_trainer(seed=0, *, workers=0, **more):
    """A trainer of two tasks on points, from objects only; its dropout makes results depend on generators."""
    points, side, distance = draw(96, seed)
    kinds = {
        "side": TensorSamples(points, {"side": side}),
        "distance": TensorSamples(points, {"distance": distance}),
    }
    streams = [
        LiveStream(f"{task}s", task, samples, Shuffle().build(len(samples), {}, {}), 16)
        for task, samples in kinds.items()
    ]
    loader = StreamLoader(TrainPlan(streams, seed=seed, length="shortest"), HEADS, workers=workers)
    points, side, distance = draw(40, 100)
    both = TensorSamples(points, {"side": side, "distance": distance})
    held_out = LiveStream("held-out", "side", both, Shuffle().build(len(both), {}, {}), 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MultiTaskModel(Trunk(), {task: head.build(16) for task, head in HEADS.items()})
    return Trainer(
        model=model,
        objective=Objective(HEADS, [StreamTask(one.title, one.task) for one in streams]),
        balancer=Sum().build(list(HEADS)),
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-2),
        loader=loader,
        epochs=3,
        feeds=[Feed(StreamLoader(SequentialPlan(held_out), HEADS), FeedMetrics("held-out", HEADS))],
        select={"held-out/side/macro_f1": 1.0},
        seed=seed,
        accelerator=make_accelerator(),
        **more,
    )


def outcome(trainer):
    """All that training has made, bit for bit."""
    weights = {name: value.numpy().tobytes() for name, value in trainer.model.state_dict().items()}
    return weights, trainer.progress.history


def report_without_times(report):
    keys = ("name", "best_epoch", "metrics", "epochs", "data")
    return [{key: stage[key] for key in keys} for stage in report["stages"]]


def process_state():
    """What a library must leave as it found it."""
    return {
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": repr(np.random.get_state()),
        "random": random.getstate(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "default type": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "folder": os.getcwd(),  # noqa: PTH109
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "precision": AcceleratorState().mixed_precision,
        "accumulation": GradientState().num_steps,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_text):
    """The run directory of a short run, and its configuration."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(tiny_text)
    loaded = load_config(folder / "tiny.toml", overrides=(TEACHER, *SHORT))
    run(loaded, folder / "run")
    return folder / "run", loaded


class TestTheProcess:
    """Generators, threads, environment, signals, warnings and accelerate's state stay as they were."""

    @pytest.fixture(autouse=True)
    def unchanged(self):
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)
        make_accelerator()
        before = process_state()
        yield
        after = process_state()
        assert [name for name in before if before[name] != after[name]] == []

    @pytest.mark.parametrize("workers", [0, 1])
    def test_is_left_as_it_was_by_a_trainer(self, workers):
        trainer = make_trainer(workers=workers)
        trainer.fit()
        trainer.close()

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_is_left_as_it_was_by_a_run(self, tiny, tmp_path, precision):
        threads = torch.get_num_threads() + 1
        extract = "{ name = 'features', kind = 'extract', network = 'teacher', datasets = ['a'] }"
        stages = f"stages=[{{ name = 'teacher', sharing = false }}, {extract}]"
        options = (f"trainer.precision={precision}", f"trainer.threads={threads}", "trainer.workers=1")
        run(load_config(tiny, overrides=(stages, *SHORT, *options)), tmp_path / "run")

    def test_is_left_as_it_was_by_a_run_that_fails(self, tiny, tmp_path):
        class Broken(Screen):
            def step_done(self, progress, steps, rows):
                raise MemoryError

        loaded = load_config(tiny, overrides=("trainer.precision=bf16", "trainer.threads=2"))
        with pytest.raises(MemoryError):
            run(loaded, tmp_path / "run", screen=Broken())

    @pytest.mark.parametrize("workers", [0, 1])
    def test_is_left_as_it_was_by_prediction_and_evaluation(self, trained, workers):
        directory, loaded = trained
        stage = load_stage(directory / "teacher", loaded.registry)
        samples = SyntheticFaces(samples=12, seed=5).build(
            DataFacts(stage.heads, stage.preprocessing.read_size)
        )
        (block,) = predict(stage, samples, workers=workers)
        evaluate(block, samples.labels(), draws=20)


@pytest.mark.parametrize("launched", [True, False])
def test_the_processes_of_a_torchrun_outlive_a_run_and_a_device_of_its_own_does_not(monkeypatch, launched):
    """A program started by torchrun goes on with its process group; any other may choose another device."""
    if launched:
        monkeypatch.setenv("WORLD_SIZE", "1")
    else:
        monkeypatch.delenv("WORLD_SIZE", raising=False)
    state = {}
    monkeypatch.setattr(PartialState, "_shared_state", state)
    with leaving_process_as_found():
        state["backend"] = "gloo"
    assert state == ({"backend": "gloo"} if launched else {})


class TestTrainers:
    def test_one_after_the_other_and_one_inside_the_other_are_as_if_alone(self):
        alone = []
        for seed in (1, 2):
            trainer = make_trainer(seed)
            trainer.fit()
            alone.append(outcome(trainer))
        assert alone[0] != alone[1]

        inner = []

        class Nesting(Screen):
            def step_done(self, progress, steps, rows):
                if (progress.epoch, progress.step) == (1, 2):
                    inner.append(make_trainer(2))
                    inner[0].fit()

        outer = make_trainer(1, observer=Nesting())
        outer.fit()
        assert [outcome(outer), outcome(inner[0])] == alone

    def test_taking_turns_are_as_if_alone(self):
        """Each trains an epoch, then the other: state is in the objects only."""

        class Turn(Exception):  # noqa: N818 - no error
            pass

        class EndsTurn(Screen):
            def save(self, progress):
                raise Turn

        pair = [make_trainer(seed, observer=EndsTurn()) for seed in (1, 2)]
        while not all(trainer.progress.finished for trainer in pair):
            for trainer in pair:
                with contextlib.suppress(Turn):
                    trainer.fit()
        for trainer, seed in zip(pair, (1, 2), strict=True):
            alone = make_trainer(seed)
            alone.fit()
            assert outcome(trainer) == outcome(alone)

    def test_after_a_run_of_another_precision_are_as_if_alone(self, tiny, tmp_path):
        alone = make_trainer()
        alone.fit()
        trainer = make_trainer()
        run(load_config(tiny, overrides=(TEACHER, *SHORT, "trainer.precision=bf16")), tmp_path / "run")
        trainer.fit()
        assert trainer.accelerator.mixed_precision == "no"
        assert outcome(trainer) == outcome(alone)

    @pytest.mark.parametrize("moment", ["after an epoch", "within one"])
    def test_a_keyboard_interrupt_ends_the_loader_processes_and_training_can_go_on(self, moment):
        alone = make_trainer(workers=2)
        alone.fit()
        alone.close()

        class Impatient(Screen):
            def save(self, progress):
                if moment == "after an epoch" and progress.epoch == 1:
                    raise KeyboardInterrupt

            def step_done(self, progress, steps, rows):
                if moment == "within one" and (progress.epoch, progress.step) == (1, 2):
                    raise KeyboardInterrupt

        before = set(psutil.Process().children())
        trainer = make_trainer(workers=2, observer=Impatient())
        with pytest.raises(KeyboardInterrupt):
            trainer.fit()
        assert set(psutil.Process().children()) <= before
        trainer.fit()
        trainer.close()
        assert outcome(trainer) == outcome(alone)


DRAWN = '''
from typing import ClassVar

import attrs
import torch
from torch import nn

from mtl_toolkit import Loss, hookimpl


class Live(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.rand(()))

    def forward(self, output, target, mask):
        return self.factor * (output.values.logsumexp(1) * mask).sum() / mask.sum().clamp(min=1)


@attrs.frozen(kw_only=True)
class Drawn(Loss):
    """A loss whose parameter begins at random."""

    name: ClassVar[str] = "drawn"

    def build(self, head):
        return Live()


@hookimpl
def mtl_losses():
    return [Drawn]
'''


class TestRuns:
    def test_draw_what_losses_begin_with_from_their_seed_only(self, tiny, tmp_path, packages):
        packages.add("drawn", {"drawn": DRAWN})
        loaded = load_config(tiny, overrides=(TEACHER, *SHORT, "tasks.expr.losses=['drawn']"))
        reports, states = [], []
        for seed in (1, 2):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            reports.append(report_without_times(run(loaded, tmp_path / str(seed))))
            states.append((tmp_path / str(seed) / "teacher/last/objective.safetensors").read_bytes())
            assert torch.equal(torch.get_rng_state(), before)
        assert reports[0] == reports[1]
        assert states[0] == states[1]
        assert b"stateful.0.factor" in states[0]

    def test_of_different_precision_one_after_the_other_or_nested_are_as_if_alone(self, tiny, tmp_path):
        one, other = (
            load_config(tiny, overrides=(TEACHER, *SHORT, f"trainer.precision={precision}"))
            for precision in ("fp32", "bf16")
        )
        alone = [
            report_without_times(run(loaded, tmp_path / f"alone{number}"))
            for number, loaded in enumerate((one, other))
        ]
        assert alone[0] != alone[1]
        nested = []

        class Nesting:
            @hookimpl
            def mtl_epoch_finished(self, event):
                nested.append(report_without_times(run(other, tmp_path / "inner")))

        outer = report_without_times(run(one, tmp_path / "outer", listeners=[Nesting()]))
        assert [outer, nested[0]] == alone

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_keyboard_interrupt_leaves_a_directory_that_goes_on_from_the_last_epoch(
        self, tiny, tmp_path, workers
    ):
        class Impatient(Screen):
            def step_done(self, progress, steps, rows):
                if (progress.epoch, progress.step) == (1, 3):
                    raise KeyboardInterrupt

        class Heading(Screen):
            at = None

            def stage_started(self, stage, progress):
                self.at = progress.epoch, progress.step

        loaded = load_config(tiny, overrides=(TEACHER, f"trainer.workers={workers}"))
        alone = run(loaded, tmp_path / "alone")
        before = set(psutil.Process().children())
        with pytest.raises(KeyboardInterrupt):
            run(loaded, tmp_path / "run", screen=Impatient())
        assert set(psutil.Process().children()) <= before
        screen = Heading()
        report = run(loaded, tmp_path / "run", screen=screen)
        assert screen.at == (1, 0)
        assert report_without_times(report) == report_without_times(alone)


class TestProgressScreen:
    def console(self, *, terminal):
        return Console(file=io.StringIO(), force_terminal=terminal, width=120, legacy_windows=False)

    def test_shows_the_epochs_of_a_trainer(self):
        console = self.console(terminal=False)
        with ProgressScreen(console, epochs=3, select=["held-out/side/macro_f1"]) as screen:
            make_trainer(observer=screen).fit()
        lines = console.file.getvalue().splitlines()
        assert [line.split("  ")[1] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
        assert all("held-out/side/macro_f1 0." in line and " left" in line for line in lines)
        assert "ccc" not in lines[0]

    def test_needs_to_know_nothing_of_a_trainer(self):
        console = self.console(terminal=True)
        with ProgressScreen(console) as screen:
            make_trainer(observer=screen).fit()
            assert screen._bar.tasks == []  # one bar an epoch, gone at its end
        lines = [line for line in console.file.getvalue().splitlines() if "loss" in line]
        assert len(lines) == 3
        assert all("held-out/distance/ccc" in line and "left" not in line for line in lines)

    def test_shows_the_stages_of_a_run(self, tiny, tmp_path):
        console = self.console(terminal=False)
        with ProgressScreen(console) as screen:
            run(load_config(tiny, overrides=SHORT), tmp_path / "run", screen=screen)
        lines = console.file.getvalue().splitlines()
        assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == ["teacher", "student"]

    def test_without_a_with_statement_has_lines_only(self):
        console = self.console(terminal=True)
        make_trainer(observer=ProgressScreen(console)).fit()
        assert len(console.file.getvalue().splitlines()) == 3


def test_a_report_is_what_the_directory_has(trained):
    directory, loaded = trained
    again = run(loaded, directory)  # finished: nothing is trained
    assert again == json.loads((directory / "report.json").read_text())


class TestTheNotebook:
    def test_is_kept_without_its_outputs(self):
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.outputs for cell in code if cell.outputs or cell.execution_count] == []

    @pytest.mark.slow  # starts a kernel, which loads torch
    def test_runs_and_shows_progress_scores_and_a_plot(self, tmp_path):
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=300, resources=resources).execute()
        shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        texts = [one.get("text") or one.get("data", {}).get("text/plain", "") for one in shown]
        assert sum("epoch " in text and "loss " in text for text in texts) == 12
        (scores,) = [text for text in texts if text.startswith("arm ")]
        found = {tuple(line.split()[:2]): float(line.split()[2]) for line in scores.splitlines() if line}
        assert found["arm", "macro_f1"] > 0.95
        assert found["height", "ccc"] > 0.9
        assert [one for one in shown if "image/png" in one.get("data", {})]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"epochs": 0}, r"epochs must be at least 1 \(got 0\)"),
        (
            {"select": {"held-out/side/macrof1": 1.0}},
            "select: there is no metric 'held-out/side/macrof1'; did you mean 'held-out/side/macro_f1'",
        ),
        ({"feeds": ()}, "select: there is no metric 'held-out/side/macro_f1'; there are none"),
    ],
)
def test_a_trainer_that_could_not_finish_is_refused_before_it_trains(change, problem):
    trainer = make_trainer()
    with pytest.raises(ValueError, match=problem):
        attrs.evolve(trainer, **change)


def test_a_metric_that_reports_another_name_than_it_said_is_told_after_the_first_epoch():
    trainer = make_trainer()
    trainer.feeds[0].metrics.compute = lambda: {"held-out/side/f1": 0.5}
    with pytest.raises(ValueError, match="select: there is no metric 'held-out/side/macro_f1'; did you mean"):
        trainer.fit()
