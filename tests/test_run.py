"""Whole runs in this process: what is skipped, refused, saved and told."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch

import mtl_toolkit.checkpoint
from mtl_toolkit import ConfigError, DataError, RunError, load_config, load_stage, run

SHORT = ("defaults.epochs=1", "defaults.epoch_length=2", "datasets.val.samples=8")
TEACHER = ("stages=[{ name = 'teacher', sharing = false }]",)

# Datasets with one thing wrong each, a loss that turns to NaN, and a listener.
ODD = '''
import json
import os
from typing import ClassVar

import attrs
import numpy as np
import torch

from mtl_toolkit import DataError, Dataset, Labels, Loss, Sampler, Samples, UnreadableSampleError, hookimpl


class OddSamples(Samples):
    def __init__(self, recipe, facts):
        self.recipe, self.size = recipe, facts.image_size
        self.on_error = recipe.on_error

    def __len__(self):
        return self.recipe.samples

    def labels(self):
        n, what = len(self), self.recipe.what
        expr = (np.arange(n) % 7).astype(np.int32 if what == "dtype" else np.int64)
        va = np.zeros((n, 2), np.float32)
        va[:, 0] = np.linspace(-1, 1, n) if n else 0
        if what == "nan":
            va[3, 1] = np.nan
        if what == "range":
            va[3, 1] = 1.5
        if what == "class":
            expr[4] = 7
        if what == "shape":
            va = va[:, :1]
        if what == "length":
            expr = expr[1:]
        valid = np.full(expr.shape, what != "unlabelled")
        return {"expr": Labels(expr, valid), "va": Labels(va, np.full(va.shape, what != "unlabelled"))}

    def read(self, indices):
        for index in indices:
            if index in self.recipe.unreadable:
                raise UnreadableSampleError(f"odd-{index}.jpg: the picture is empty (0 bytes)")
        channels = 1 if self.recipe.what == "grey" else 3
        dtype = torch.int64 if self.recipe.what == "int64" else torch.uint8
        return torch.zeros(len(indices), channels, self.size, self.size, dtype=dtype)

    def column(self, name):
        return np.arange(len(self)) if name == "group" and self.recipe.what == "groups" else None

    def problems(self):
        return ["there is no picture odd-5.jpg"] if self.recipe.what == "missing" else []


@attrs.frozen(kw_only=True)
class Odd(Dataset):
    """Samples with something wrong."""

    name: ClassVar[str] = "odd"
    what: str = "nothing"
    samples: int = 20
    unreadable: tuple[int, ...] = ()
    on_error: str = "stop"

    def build(self, facts):
        if self.what == "bug":
            raise KeyError("index")
        return OddSamples(self, facts)


@attrs.frozen(kw_only=True)
class Turning(Loss):
    """Not a number from a step on."""

    name: ClassVar[str] = "turning"
    after: int = 3

    def build(self, head):
        calls = []

        def loss(output, target, mask):
            calls.append(None)
            return output.values[mask].sum() * (float("nan") if len(calls) > self.after else 1.0)

        return loss


def note(event):
    with open(os.environ["HEARD"], "a") as file:
        file.write(json.dumps({"event": type(event).__name__, **attrs.asdict(event)}) + "\\n")


@hookimpl
def mtl_datasets():
    return [Odd]


@attrs.frozen(kw_only=True)
class Picky(Sampler):
    """Refuses every dataset."""

    name: ClassVar[str] = "picky"

    def build(self, length, labels, heads):
        raise DataError(f"sampler 'picky': {sorted(labels)} of {length} samples will not do")


@hookimpl
def mtl_losses():
    return [Turning]


@hookimpl
def mtl_samplers():
    return [Picky]
'''

LISTENER = (
    ODD.split("@attrs.frozen", maxsplit=1)[0].split("class OddSamples", maxsplit=1)[0]
    + ODD[ODD.index("def note") : ODD.index("@hookimpl")]
    + """
@hookimpl
def mtl_stage_started(event):
    note(event)


@hookimpl
def mtl_epoch_finished(event):
    note(event)
    raise KeyError("nobody there")


@hookimpl
def mtl_stage_finished(event):
    note(event)
"""
)


@pytest.fixture
def odd(packages):
    packages.add("odd-kit", {"odd": ODD})


def sets(*overrides):
    return [part for override in overrides for part in ("--set", override)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_text):
    """A short run of both stages, and its configuration."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(tiny_text)
    run(load_config(folder / "tiny.toml", overrides=SHORT), folder / "run")
    return folder


@pytest.fixture
def done(finished, tmp_path):
    """A copy of the finished run, to work on: (configuration, run directory)."""
    shutil.copytree(finished, tmp_path / "done")
    return tmp_path / "done" / "tiny.toml", tmp_path / "done" / "run"


def written(directory):
    """When each stage's weights were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in directory.glob("*/last")}


# Running again


def test_finished_stages_are_skipped_and_the_report_is_the_same(done, mtl):
    config, directory = done
    before, report = written(directory), (directory / "report.json").read_text()
    code, out, err = mtl("run", str(config), "-o", str(directory), *sets(*SHORT))
    assert code == 0
    assert err.splitlines() == [f"{stage}: already finished, skipped" for stage in ("teacher", "student")]
    assert "run directory:" in out
    assert written(directory) == before
    assert (directory / "report.json").read_text() == report


def test_what_has_no_influence_on_the_result_may_change(done, mtl):
    config, directory = done
    free = sets(
        *SHORT, "trainer.workers=1", "trainer.log_every=7", "trainer.save_every=3", "trainer.threads=2"
    )
    code, _, err = mtl("run", str(config), "-o", str(directory), *free)
    assert (code, err.count("already finished")) == (0, 2)


def test_a_changed_recipe_is_refused_saying_what_differs(done, mtl):
    config, directory = done
    before = written(directory)
    changes = sets(*SHORT, "seed=4", "defaults.optimizer.lr=0.5", "datasets.a.samples=41")
    code, out, err = mtl("run", str(config), "-o", str(directory), *changes)
    assert (code, out) == (2, "")
    teacher, student = err.splitlines()
    for line, stage in ((teacher, "teacher"), (student, "student")):
        assert line.startswith(f"error: {directory / stage}: was made otherwise (seed: 3 -> 4; ")
        assert "stage.optimizer.lr: 0.01 -> 0.5" in line
        assert "datasets.a.samples: 40 -> 41" in line
        assert line.endswith(f"redo it with --fresh {stage}, or choose another --output")
    assert written(directory) == before


def test_a_change_of_one_stage_is_refused_for_it_and_for_what_is_made_from_it(done):
    config, directory = done
    with pytest.raises(ConfigError) as refused:
        run(load_config(config, overrides=(*SHORT, "stages.teacher.clip_norm=1.0")), directory)
    teacher, student = refused.value.problems
    assert "teacher: was made otherwise (stage.clip_norm: nothing -> 1.0)" in teacher
    assert "student: was made otherwise (made_from.teacher: " in student
    with pytest.raises(ConfigError) as refused:
        run(load_config(config, overrides=(*SHORT, "stages.student.clip_norm=1.0")), directory)
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(("fresh", "redone"), [("teacher", {"teacher", "student"}), ("student", {"student"})])
def test_fresh_redoes_a_stage_and_what_depends_on_it(done, fresh, redone):
    config, directory = done
    before = written(directory)
    run(load_config(config, overrides=SHORT), directory, fresh=[fresh])
    after = written(directory)
    assert {stage for stage in before if after[stage] != before[stage]} == redone


def test_fresh_names_a_stage(done):
    config, directory = done
    with pytest.raises(ConfigError, match="--fresh teecher: no such stage; did you mean 'teacher'"):
        run(load_config(config, overrides=SHORT), directory, fresh=["teecher"])
    assert set(written(directory)) == {"teacher", "student"}


# The report


def test_the_report_holds_what_is_promised(finished):
    report = json.loads((finished / "run" / "report.json").read_text())
    assert set(report) == {"name", "versions", "plugins", "stages"}
    assert {"python", "torch", "mtl-toolkit", "mtl-affect"} <= set(report["versions"])
    assert {"distribution": "mtl-affect", "entry_point": "expression"}.items() <= next(
        plugin for plugin in report["plugins"] if plugin["entry_point"] == "expression"
    ).items()
    assert [stage["name"] for stage in report["stages"]] == ["teacher", "student"]
    for stage in report["stages"]:
        assert {
            "best_epoch",
            "epochs",
            "metrics",
            "seconds",
            "samples_per_second",
            "peak_memory_bytes",
        } < set(stage)
        assert (stage["best_epoch"], stage["epochs"]) == (1, 1)
        assert {name.rpartition("/")[0] for name in stage["metrics"]} == {"val/expr", "val/va"}
        assert set(stage["data"]) == {"a", "b", "val"}
        assert stage["samples_per_second"] >= 0.9 * 32 / stage["seconds"]  # of training, without validation
        assert stage["peak_memory_bytes"] > 2**20


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for key, value in attributes if key in ("src", "href", "srcset", "action")]


def test_the_page_shows_plots_and_refers_to_nothing_outside(finished):
    page = (finished / "run" / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert len(links.found) == 2  # a plot for each stage
    assert all(link.startswith("data:image/png;base64,") for link in links.found)
    assert not re.search(r"url\(|@import|<script", page)


def test_the_log_names_every_term(finished):
    lines = [
        json.loads(line) for line in (finished / "run" / "student" / "log.jsonl").read_text().splitlines()
    ]
    assert {"epoch", "step", "losses", "rates"} == set(lines[0])
    assert "a/expr/ground-truth" in lines[0]["losses"]
    assert "b/expr/distillation-unlabelled" in lines[0]["losses"]
    assert "total" in lines[0]["losses"]


# The best epoch


def test_the_best_epoch_is_the_first_with_the_highest_score(tiny, tmp_path):
    overrides = (
        *TEACHER,
        "defaults.epochs=5",
        "defaults.epoch_length=2",
        "defaults.select={ 'va/ccc_valence' = 1 }",
    )
    report = run(load_config(tiny, overrides=overrides), tmp_path / "run")
    (stage,) = report["stages"]
    epochs = [json.loads(line) for line in (tmp_path / "run/teacher/log.jsonl").read_text().splitlines()]
    scores = [line["metrics"]["val/va/ccc_valence"] for line in epochs if "metrics" in line]
    assert stage["best_epoch"] == 1 + scores.index(max(scores))
    assert stage["metrics"]["val/va/ccc_valence"] == max(scores)
    best = load_stage(tmp_path / "run" / "teacher")
    assert best.path.name == "best"
    assert best.description["epoch"] == stage["best_epoch"]


def test_a_trained_stage_takes_pictures_only_at_the_side_it_reads_them_in_training(done):
    stage = load_stage(done[1] / "teacher")
    assert (stage.preprocessing.image_size, stage.preprocessing.read_size) == (16, 19)
    assert stage.predict(torch.zeros(2, 3, 19, 19, dtype=torch.uint8))["expr"].shape == (2,)
    with pytest.raises(ValueError, match=r"pictures must be 19 x 19 \(got \(16, 16\)\)"):
        stage.predict(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"pictures must be uint8, or floats in \[0, 1\] \(got int64\)"):
        stage.predict(torch.zeros(2, 3, 19, 19, dtype=torch.int64))


def test_patience_ends_a_stage_that_gets_no_better(tiny, tmp_path):
    still = (
        *TEACHER,
        *SHORT,
        "defaults.epochs=9",
        "defaults.patience=2",
        "defaults.optimizer={type='SGD',lr=1e-30}",
    )
    still += ("defaults.scheduler={}", "model.backbone.freeze='batch-norm'", "tasks.expr.head.hidden=0")
    still += ("tasks.va.head.hidden=0", "tasks.expr.head.dropout=0", "tasks.va.head.dropout=0")
    (stage,) = run(load_config(tiny, overrides=still), tmp_path / "run")["stages"]
    assert (stage["best_epoch"], stage["epochs"]) == (1, 3)


def test_a_metric_to_select_by_must_be_there(tiny, mtl):
    code, _, err = mtl("check", str(tiny), "--set", "defaults.select={ 'expr/scor' = 1 }")
    assert code == 2
    assert "is no metric of this stage; did you mean" in err


# Teachers and other checkpoints


def pupil(teacher):
    return f"stages=[{{ name = 'pupil', teacher = {teacher}, losses = [{{ type = 'distillation' }}] }}]"


def other_job(done, *overrides):
    """A student of the finished run's teacher, in a directory of its own."""
    config, directory = done
    stage = pupil(f"'{directory / 'teacher'}'")
    return load_config(config, overrides=(*SHORT, stage, "defaults.ground_truth_weight=1.0", *overrides))


def test_a_checkpoint_of_another_run_can_teach(done, tmp_path):
    report = run(other_job(done), tmp_path / "other")
    assert [stage["name"] for stage in report["stages"]] == ["pupil"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tasks.va.head.bins=6", r"task 'va' has bins 5, the stage 6"),
        (
            "tasks.expr.head.classes=['sadness', 'happiness']",
            r"task 'expr' has classes \['neutral', .*\], the stage \['sadness', 'happiness'\]",
        ),
        ("model.image_size=24", "preprocessing image_size is 16, the stage's 24"),
        ("model.crop=1.5", "preprocessing read_size is 19, the stage's 24"),
    ],
)
def test_a_teacher_that_differs_is_refused_naming_both(done, tmp_path, override, message):
    with pytest.raises(ConfigError) as refused:
        run(other_job(done, override), tmp_path / "other")
    assert re.search(f"stages.pupil: teacher .*teacher/best: {message}", str(refused.value))


def test_so_is_a_start_from_weights_with_other_classes(done, tmp_path):
    config, directory = done
    stage = f"stages=[{{ name = 'next', start_from = '{directory / 'teacher'}' }}]"
    order = "['surprise', 'neutral', 'anger', 'disgust', 'fear', 'happiness', 'sadness']"
    with pytest.raises(ConfigError, match=r"start_from .*teacher/best: task 'expr' has classes \['neutral'"):
        run(
            load_config(config, overrides=(*SHORT, stage, f"tasks.expr.head.classes={order}")), tmp_path / "x"
        )


def test_a_stage_whose_teacher_was_trained_again_is_not_taken_for_finished(done, tmp_path):
    run(other_job(done), tmp_path / "other")
    weights = done[1] / "teacher" / "best" / "model.safetensors"
    weights.write_bytes((done[1] / "teacher" / "last" / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(ConfigError, match=r"other/pupil: was made otherwise \(files\."):
        run(other_job(done), tmp_path / "other")


def test_a_checkpoint_normalises_as_it_was_trained_whatever_the_backbone_says_now(done):
    folder = done[1] / "teacher" / "best"
    described = json.loads((folder / "checkpoint.json").read_text())
    described["preprocessing"]["mean"] = [0.25, 0.5, 0.75]
    (folder / "checkpoint.json").write_text(json.dumps(described))
    mean = next(value for name, value in load_stage(folder).model.named_buffers() if name.endswith("mean"))
    assert mean.flatten().tolist() == [0.25, 0.5, 0.75]


def test_the_last_checkpoint_tells_of_its_own_epoch_and_the_best_of_its(tiny, tmp_path):
    run(load_config(tiny, overrides=TEACHER), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/teacher/log.jsonl").read_text().splitlines()]
    metrics = {line["epoch"]: line["metrics"] for line in lines if "metrics" in line}
    for name in ("best", "last"):
        described = json.loads((tmp_path / "run/teacher" / name / "checkpoint.json").read_text())
        assert described["metrics"] == metrics[described["epoch"]]
    assert described["epoch"] == 3


def test_each_task_may_have_a_teacher_of_its_own(done, tmp_path):
    config, directory = done
    teachers = f"{{ expr = '{directory / 'teacher'}', va = '{directory / 'student'}' }}"
    overrides = (*SHORT, pupil(teachers), "defaults.ground_truth_weight=1.0")
    assert run(load_config(config, overrides=overrides), tmp_path / "other")["stages"]


def test_a_stage_may_start_from_the_weights_of_another(done, tmp_path):
    config, directory = done
    still = ("defaults.optimizer={ type = 'SGD', lr = 1e-30 }", "defaults.scheduler={}")
    stage = f"stages=[{{ name = 'next', start_from = '{directory / 'teacher'}' }}]"
    run(load_config(config, overrides=(*SHORT, *still, stage)), tmp_path / "other")
    before, after = (
        dict(load_stage(path).model.named_parameters())
        for path in (directory / "teacher", tmp_path / "other" / "next")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# Bad data


def train_on(tiny, **fields):
    """The tiny job's teacher with an odd dataset in the place of `a`."""
    table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in fields.items())
    return load_config(tiny, overrides=(*TEACHER, *SHORT, f"datasets.a={{ type = 'odd', {table} }}"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "datasets.a: task 'va': .*nan"),
        ("range", r"datasets.a: task 'va': .*1\.5"),
        ("class", "datasets.a: task 'expr': .*7"),
        ("shape", r"datasets.a: labels of task 'va' must have shape \(20, 2\) \(got \(20, 1\)\)"),
        ("length", r"datasets.a: labels of task 'expr' must have shape \(20,\) \(got \(19,\)\)"),
        ("dtype", r"datasets.a: labels of task 'expr' must be int64 \(got int32\)"),
        ("unlabelled", "stages.teacher: stream 'a' has no label of task 'expr'"),
        ("missing", "a: there is no picture odd-5.jpg"),
        ("grey", r"'a': pictures must be uint8 of shape \(3, 19, 19\) \(got \(1, 19, 19\)\)"),
        ("int64", r"'a': pictures must be uint8, or floats in \[0, 1\] \(got int64\)"),
    ],
)
def test_bad_data_is_refused_before_training(odd, tiny, tmp_path, what, message):
    with pytest.raises((ConfigError, DataError)) as refused:
        run(train_on(tiny, what=what), tmp_path / "run")
    (problem,) = refused.value.problems
    assert re.search(message, problem)
    assert not (tmp_path / "run" / "teacher" / "last").exists()


def test_an_empty_stream_is_refused(odd, tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"datasets\.a: has no samples"):
        run(train_on(tiny, samples=0), tmp_path / "run")


def test_a_sampler_that_refuses_a_later_stage_is_told_before_the_first_one_trains(odd, tiny, tmp_path):
    late = "stages.student.streams=[{ dataset = 'a', task = 'expr_va', batch_size = 8, sampler = 'picky' }]"
    with pytest.raises(ConfigError) as refused:
        run(load_config(tiny, overrides=(*SHORT, late)), tmp_path / "run")
    where = "stages.student: stream 'a': "
    assert refused.value.problems == (f"{where}sampler 'picky': ['expr', 'va'] of 40 samples will not do",)


def test_overlap_is_refused_unless_it_is_allowed(odd, tiny, tmp_path):
    both = ("datasets.a={ type = 'odd', what = 'groups' }", "datasets.val={ type = 'odd', what = 'groups' }")
    with pytest.raises(ConfigError, match=r"stages\.teacher: .*share 20 groups .*set allow_overlap = true"):
        run(load_config(tiny, overrides=(*SHORT[:2], *TEACHER, *both)), tmp_path / "run")
    allowed = (*SHORT[:2], *TEACHER, *both, "stages.teacher.allow_overlap=true")
    assert run(load_config(tiny, overrides=allowed), tmp_path / "run")["stages"]


def test_an_unreadable_picture_stops_the_run_and_is_named(odd, tiny, tmp_path):
    with pytest.raises(RunError) as stopped:
        run(train_on(tiny, unreadable=list(range(1, 20))), tmp_path / "run")
    assert re.fullmatch(r"odd-\d+\.jpg: the picture is empty \(0 bytes\)", stopped.value.problems[0])


def test_skipped_pictures_are_counted_in_training_and_validation(odd, tiny, tmp_path):
    skip = "{ type = 'odd', on_error = 'skip', unreadable = [0, 3], samples = 16 }"
    streams = "defaults.streams=[{ dataset = 'a', task = 'expr', batch_size = 8 }]"
    overrides = ("defaults.epochs=2", *TEACHER, streams, f"datasets.a={skip}", f"datasets.val={skip}")
    (stage,) = run(load_config(tiny, overrides=overrides), tmp_path / "run")["stages"]
    assert stage["skipped_samples"] == 2 * (2 + 2)
    assert "8 unreadable samples skipped" in (tmp_path / "run" / "report.html").read_text()


def test_a_validation_batch_of_which_nothing_can_be_read_is_passed_over(odd, tiny, tmp_path):
    val = "datasets.val={ type = 'odd', on_error = 'skip', unreadable = [8], samples = 9 }"
    (stage,) = run(load_config(tiny, overrides=(*TEACHER, *SHORT[:2], val)), tmp_path / "run")["stages"]
    assert stage["skipped_samples"] == 1


def test_a_step_of_which_nothing_can_be_read_stops_the_run(odd, tiny, tmp_path):
    overrides = (*TEACHER, *SHORT, "defaults.streams=[{ dataset = 'a', task = 'expr', batch_size = 4 }]")
    bad = "datasets.a={ type = 'odd', on_error = 'skip', unreadable = [0, 1, 2, 3, 4, 5, 6, 7], samples = 8 }"
    with pytest.raises(RunError, match="none of the 4 samples of a step can be read"):
        run(load_config(tiny, overrides=(*overrides, bad)), tmp_path / "run")


def test_a_batch_without_a_label_for_any_task_trains_on(odd, tiny, tmp_path):
    """One sample in forty is labelled, so most steps have nothing to learn from."""
    rare = "datasets.a={ type = 'synthetic-faces', samples = 40, labels = [], extra_labels = ['expression'], "
    streams = "defaults.streams=[{ dataset = 'a', task = 'expr', batch_size = 2 }]"
    overrides = (*TEACHER, "defaults.epochs=1", streams, rare + "extra_share = 0.05, seed = 4 }")
    run(load_config(tiny, overrides=overrides), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/teacher/log.jsonl").read_text().splitlines()]
    assert 0 < len(lines) - 1 < 10  # of ten pairs of steps, some had no loss to log
    assert lines[-1]["losses"]["total"] > 0


# Failures while running


def test_a_loss_that_is_not_finite_stops_naming_stream_and_samples(odd, tiny, tmp_path, mtl):
    turning = ("tasks.va.losses=[{ type = 'turning', after = 7 }]", "defaults.epoch_length=5")
    code, _, err = mtl("run", str(tiny), "-o", str(tmp_path / "run"), *sets(*TEACHER, *turning))
    assert code == 1
    line = err.splitlines()[-1]
    assert line.startswith("error: the loss is not finite: b/va/ground-truth = nan; samples of the step: b:")
    assert len(re.findall(r"\bb:\d+", line)) == 8
    assert "a:" not in line
    # The first epoch's checkpoint is still there, and good.
    last = json.loads((tmp_path / "run" / "teacher" / "last" / "training.json").read_text())
    assert (last["progress"]["epoch"], last["progress"]["step"]) == (1, 0)
    assert all(
        torch.isfinite(p).all() for p in load_stage(tmp_path / "run" / "teacher" / "last").model.parameters()
    )


def test_a_full_disk_stops_with_one_line_and_the_last_good_checkpoint(tiny, tmp_path, monkeypatch, mtl):
    saves = 0

    def save(tensors, path, original=mtl_toolkit.checkpoint.save_file):
        nonlocal saves
        saves += path.parent.name == ".last.tmp" and path.name == "model.safetensors"
        if saves == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(tensors, path)

    arguments = ("run", str(tiny), "-o", str(tmp_path / "run"), *sets(*TEACHER, "defaults.epoch_length=2"))
    with monkeypatch.context() as patch:
        patch.setattr(mtl_toolkit.checkpoint, "save_file", save)
        code, _, err = mtl(*arguments)
    assert code == 1
    assert err.splitlines()[-1] == (
        f"error: {tmp_path / 'run/teacher/last'}: cannot be saved: No space left on device; "
        "the last good state on disk is kept"
    )
    code, _, err = mtl(*arguments)
    assert code == 0
    assert "going on at epoch 2 step 0" in err


# Lifecycle hooks


def test_listeners_hear_of_stages_and_epochs_and_a_failing_one_only_warns(
    packages, tiny, tmp_path, monkeypatch, mtl
):
    packages.add("ears", {"ears": LISTENER})
    monkeypatch.setenv("HEARD", str(tmp_path / "heard"))
    code, _, err = mtl(
        "run", str(tiny), "-o", str(tmp_path / "run"), *sets(*TEACHER, *SHORT, "defaults.epochs=2")
    )
    assert code == 0
    assert err.count("plugin ears:ears failed in mtl_epoch_finished: ") == 2
    heard = [json.loads(line) for line in (tmp_path / "heard").read_text().splitlines()]
    assert [(one["event"], one["stage"]) for one in heard] == [
        ("StageStarted", "teacher"),
        ("EpochFinished", "teacher"),
        ("EpochFinished", "teacher"),
        ("StageFinished", "teacher"),
    ]
    assert (heard[0]["epochs"], heard[0]["first_epoch"], heard[0]["run"]) == (2, 1, "tiny")
    assert [one["epoch"] for one in heard[1:3]] == [1, 2]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert heard[3]["metrics"] == report["stages"][0]["metrics"]


def test_a_bug_of_a_dataset_plugin_tells_which_dataset_it_was(odd, tiny, tmp_path):
    with pytest.raises(KeyError, match="index") as bug:
        run(train_on(tiny, what="bug"), tmp_path / "run")
    (note,) = bug.value.__notes__
    assert re.fullmatch(r"while opening datasets\.a \(type 'odd', of scratch_plugin_\d+\)", note)


def test_a_run_in_the_place_of_a_stage_is_refused_with_the_names_of_its_stages(done):
    with pytest.raises(RunError, match=r"no checkpoint there .*; name a stage of this run: student, teacher"):
        load_stage(done[1])


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_plugin_that_does_not_load_is_a_warning(packages, tiny, tmp_path, monkeypatch, mtl, command):
    """It may have been lifecycle hooks, which no configuration names."""
    monkeypatch.chdir(tmp_path)
    packages.add("diary", {"notes": "import no_such_module_at_all"}, "0.3")
    code, _, err = mtl(command, str(tiny), *sets(*TEACHER, *SHORT))
    assert code == 0
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert told[0] == (
        "warning: diary:notes 0.3 failed to load: "
        "ModuleNotFoundError: No module named 'no_such_module_at_all'"
    )


VECTORS = """
from typing import ClassVar

import attrs
import numpy as np
import torch
from torch import nn

from mtl_toolkit import Backbone, Dataset, Labels, TensorSamples, hookimpl


@attrs.frozen(kw_only=True)
class Vectors(Dataset):
    name: ClassVar[str] = "vectors"
    shape: tuple[int, ...]

    def build(self, facts):
        inputs = torch.randn(48, *self.shape, generator=torch.Generator().manual_seed(0))
        return TensorSamples(inputs, {"sign": (inputs.flatten(1).sum(1) > 0).long()})


class Layer(nn.Module):
    num_features = 4

    def __init__(self, inputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 4), nn.ReLU())

    def forward(self, inputs):
        assert inputs.min() < 0, "vectors must reach the backbone as they are"
        return self.layers(inputs)


@attrs.frozen(kw_only=True)
class Mlp(Backbone):
    name: ClassVar[str] = "mlp"
    inputs: int

    def statistics(self):
        return (0.5,) * 3, (0.25,) * 3

    def build(self, image_size, *, weights=True):
        return Layer(self.inputs)


@hookimpl
def mtl_datasets():
    return [Vectors]


@hookimpl
def mtl_backbones():
    return [Mlp]
"""


@pytest.mark.parametrize("shape", [(12,), (3, 12)])
def test_vectors_are_trained_on_and_predicted_from_as_they_are(tmp_path, packages, shape):
    packages.add("vectors", {"vectors": VECTORS})
    path = tmp_path / "job.toml"
    path.write_text(f"""
        name = "vectors"
        [trainer]
        device = "cpu"
        [tasks.sign]
        head = {{ type = "classification", classes = ["below", "above"], hidden = 0 }}
        [datasets.train]
        type = "vectors"
        shape = {list(shape)}
        [model]
        backbone = {{ type = "mlp", inputs = {math.prod(shape)} }}
        [[stages]]
        name = "only"
        epochs = 20
        streams = [{{ dataset = "train", task = "sign", batch_size = 16 }}]
        validation = [{{ dataset = "train", task = "sign" }}]
        allow_overlap = true
        optimizer = {{ type = "AdamW", lr = 0.05 }}
    """)
    report = run(load_config(path), tmp_path / "run")
    stage = load_stage(tmp_path / "run" / "only")
    inputs = torch.randn(48, *shape, generator=torch.Generator().manual_seed(0))
    right = stage.predict(inputs)["sign"] == (inputs.flatten(1).sum(1) > 0)
    assert right.float().mean() > 0.9
    assert report["stages"][0]["metrics"]["train/sign/accuracy"] == pytest.approx(right.float().mean().item())
