"""Ensemble stages: what they write and report equals their members combined by hand."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from mtl_toolkit import Interrupted, RunError, Screen, load_config, load_stage, run
from mtl_toolkit.checkpoint import ENSEMBLE_FORMAT
from mtl_toolkit.cli import main
from mtl_toolkit.evaluation import read_predictions, score
from mtl_toolkit.pipeline import DataSource
from mtl_toolkit.plugin import Predictions

CONFIG = """
name = "tiny"
[trainer]
device = "cpu"
threads = 1
[tasks.expr]
head = { type = "expression", hidden = 6 }
[tasks.va]
head = { type = "valence-arousal", hidden = 6, bins = 4 }
[tasks.au]
head = { type = "action-units", hidden = 6 }
[tasks.all]
head = { type = "combined", tasks = ["expr", "va", "au"] }
[datasets.a]
type = "synthetic-faces"
samples = 32
seed = 1
labels = ["expression", "valence-arousal", "action-units"]
[datasets.tuning]
type = "synthetic-faces"
samples = 30
seed = 2
labels = ["expression", "action-units"]
[datasets.val]
type = "synthetic-faces"
samples = 30
seed = 3
labels = ["expression", "valence-arousal", "action-units"]
[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }
[defaults]
epochs = 1
optimizer = { type = "AdamW", lr = 1e-2 }
[[stages]]
name = "one"
streams = [
    { dataset = "a", task = "expr", batch_size = 16 },
    { dataset = "a", name = "b", task = "au", batch_size = 16 },
]
validation = [{ dataset = "val", task = "expr" }, { dataset = "val", task = "au" }]
[[stages]]
name = "two"
streams = [{ dataset = "a", task = "all", batch_size = 16 }]
seeds = 2
validation = [{ dataset = "val", task = "all" }]
"""

MEAN = """
[[stages]]
name = "mean"
kind = "ensemble"
members = ["one", "two"]
weights = { one = 2.0 }
combine = { expr = "majority" }
validation = [{ dataset = "val", task = "all" }]
"""

FITTED = """
[[stages]]
name = "fitted"
kind = "ensemble"
members = ["one", "two/seed-2"]
combine = { expr = "weighted", au = "weighted" }
fit_on = [{ dataset = "tuning", task = "expr" }, { dataset = "tuning", task = "au" }]
tune = true
validation = [{ dataset = "val", task = "all" }]
"""

TUNED = """
[[stages]]
name = "tuned"
kind = "ensemble"
members = ["one"]
fit_on = [{ dataset = "tuning", task = "au" }]
tune = true
validation = [{ dataset = "val", task = "expr" }, { dataset = "val", task = "au" }]
"""

STUDENT = """
[[stages]]
name = "student"
teacher = "mean"
streams = [{ dataset = "a", task = "expr", batch_size = 16 }]
losses = [{ type = "distillation", weight = 0.4 }]
"""


def write(folder, text):
    path = folder / "job.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with members, ensembles and a student; nothing may be written into it."""
    folder = tmp_path_factory.mktemp("ensembles")
    loaded = load_config(write(folder, CONFIG + MEAN + FITTED + TUNED + STUDENT))
    return loaded, folder / "run", run(loaded, folder / "run")


def entry(report, name):
    return next(one for one in report["stages"] if one["name"] == name)


def read(config, dataset):
    """Pictures and labels of a dataset, as validation reads them."""
    samples = DataSource(config).dataset(dataset, validation=True)
    return samples.read(np.arange(len(samples))), samples.labels()


def predicted(folder, pictures):
    """Predictions by task of a trained stage, one by one in numpy."""
    stage = load_stage(folder)
    outputs = stage.outputs(pictures)
    return {task: stage.heads[task].predictions(out.values).numpy() for task, out in outputs.items()}


def metrics_of(config, heads, values, labels):
    """By "val/<task>/<metric>", computed from predictions."""
    rows = len(next(iter(values.values())))
    names = np.array([f"{row}" for row in range(rows)], np.str_)
    empty = np.full(rows, "", np.str_)
    given = Predictions(heads, values, names, empty, np.zeros(rows, np.int64), np.ones(rows, np.bool_))
    found = score(given, labels, {task: config.tasks[task].metrics for task in values})
    return {f"val/{task}/{name}": value for task, one in found.items() for name, value in one.items()}


def test_the_report_has_the_metrics_of_the_members_combined_by_hand(trained):
    loaded, folder, report = trained
    pictures, labels = read(loaded.config, "val")
    members = [predicted(folder / name, pictures) for name in ("one", "two/seed-1", "two/seed-2")]
    weights = np.array([2.0, 1.0, 1.0])
    au = np.einsum("m,mrc->rc", weights / 4, np.stack([one["au"] for one in members]))
    va = np.mean([one["va"] for one in members[1:]], 0)
    votes = np.stack([np.eye(7)[one["expr"].argmax(1)] for one in members])
    shares = np.einsum("m,mrc->rc", weights / 4, votes)
    # A tie of 2 against 1 + 1 goes by the mean probability.
    probable = np.einsum("m,mrc->rc", weights / 4, np.stack([one["expr"] for one in members]))
    leads = np.isclose(shares, shares.max(1, keepdims=True))
    winner = np.where(leads, probable, -1).argmax(1)
    found = {"expr": np.eye(7)[winner], "va": va, "au": au}
    heads = {task: loaded.config.tasks[task].head for task in found}
    values = {task: one.astype(np.float32) for task, one in found.items()}
    mean = entry(report, "mean")
    assert mean["metrics"] == pytest.approx(metrics_of(loaded.config, heads, values, labels), abs=1e-5)
    assert mean["kind"] == "ensemble"
    assert mean["members"] == ["one", "two/seed-1", "two/seed-2"]
    assert mean["tasks"]["va"]["weights"] == {"two/seed-1": 0.5, "two/seed-2": 0.5}
    assert mean["tasks"]["expr"] == {
        "combine": "majority",
        "weights": {"one": 0.5, "two/seed-1": 0.25, "two/seed-2": 0.25},
        "tuned": {},
        "fitted_on": [],
    }
    select = {
        "val/expr/score": 1.0,
        "val/va/ccc_valence": 1.0,
        "val/va/ccc_arousal": 1.0,
        "val/au/mean_f1": 1.0,
    }
    assert mean["select"] == select
    assert mean["score"] == pytest.approx(sum(mean["metrics"][name] for name in select))


def test_one_member_with_tune_differs_from_it_only_in_its_thresholds(trained):
    loaded, folder, report = trained
    pictures, labels = read(loaded.config, "tuning")
    au = predicted(folder / "one", pictures)["au"]
    head = loaded.config.tasks["au"].head.tuned(au, labels["au"])
    tuned = load_stage(folder / "tuned")
    assert tuned.heads["au"] == head
    assert head.threshold != 0.5
    assert entry(report, "tuned")["tasks"]["au"]["tuned"] == {"threshold": list(head.threshold)}
    pictures, labels = read(loaded.config, "val")
    values = predicted(folder / "one", pictures)
    expected = metrics_of(loaded.config, {**load_stage(folder / "one").heads, "au": head}, values, labels)
    found, member = entry(report, "tuned")["metrics"], entry(report, "one")["metrics"]
    assert found == pytest.approx(expected, abs=1e-5)
    assert list(found) == list(member)
    same = [name for name in found if name.startswith("val/expr/")]
    assert {name: found[name] for name in same} == pytest.approx({name: member[name] for name in same})
    assert torch.equal(tuned.predict(pictures)["au"], head.estimate(tuned.outputs(pictures)["au"].values))


def test_fitted_weights_are_multiples_that_add_up_to_one_and_beat_each_member_on_what_they_were_fitted(
    trained,
):
    loaded, folder, report = trained
    pictures, labels = read(loaded.config, "tuning")
    names = ("one", "two/seed-2")
    members = [predicted(folder / name, pictures) for name in names]
    for task, metric in (("expr", "score"), ("au", "mean_f1")):
        head = loaded.config.tasks[task].head
        told = entry(report, "fitted")["tasks"][task]
        assert told["fitted_on"] == ["tuning"]
        weights = [told["weights"].get(name, 0.0) for name in names]
        assert sum(weights) == pytest.approx(1, abs=1e-5)
        mean = np.einsum("m,mrc->rc", weights, np.stack([one[task] for one in members])).astype(np.float32)

        def scored(values, task=task, head=head, metric=metric):
            return metrics_of(loaded.config, {task: head}, {task: values}, {task: labels[task]})[
                f"val/{task}/{metric}"
            ]

        assert scored(mean) >= max(scored(one[task]) for one in members) - 1e-6


def test_tasks_that_a_member_lacks_are_those_of_the_others_and_nothing_is_nan(trained):
    _, _, report = trained
    for name in ("mean", "fitted"):
        assert all(np.isfinite(value) for value in entry(report, name)["metrics"].values())
    assert entry(report, "fitted")["tasks"]["va"]["weights"] == {"two/seed-2": 1.0}


def test_a_student_learns_from_the_mean_of_its_teachers(trained):
    """Its log has the loss against the ensemble, which is a number."""
    _, folder, _ = trained
    lines = [json.loads(line) for line in (folder / "student" / "log.jsonl").read_text().splitlines()]
    losses = lines[-1]["losses"]
    distilled = [name for name in losses if "distillation" in name]
    assert distilled
    assert all(np.isfinite(losses[name]) and losses[name] > 0 for name in distilled)


def test_the_checkpoint_stands_alone(trained, tmp_path):
    """Its members' folders may go; weights are shared on disk as long as they are there."""
    loaded, folder, report = trained
    shutil.copytree(folder, tmp_path / "run")
    for name in ("one", "two"):
        shutil.rmtree(tmp_path / "run" / name)
    pictures, _ = read(loaded.config, "val")
    alone, with_members = load_stage(tmp_path / "run" / "fitted"), load_stage(folder / "fitted")
    for task, output in alone.outputs(pictures).items():
        assert torch.equal(output.values, with_members.outputs(pictures)[task].values)
    out = tmp_path / "found.json"
    arguments = ["evaluate", str(tmp_path / "run" / "fitted"), "-o", str(out), "--device", "cpu"]
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 0, found.output
    judged = json.loads(out.read_text())
    metrics = entry(report, "fitted")["metrics"]
    for task, one in judged["datasets"]["val"]["tasks"].items():
        for name, value in one["metrics"].items():
            assert value["value"] == pytest.approx(metrics[f"val/{task}/{name}"], abs=1e-5)
    description = json.loads((folder / "fitted" / "best" / "checkpoint.json").read_text())
    assert description["format"] == ENSEMBLE_FORMAT
    assert [one["folder"] for one in description["members"]] == ["member-1", "member-2"]
    kept, source = folder / "fitted" / "best" / "member-1", folder / "one" / "best"
    assert (kept / "model.safetensors").samefile(source / "model.safetensors")
    assert load_file(kept / "model.safetensors").keys() == load_file(source / "model.safetensors").keys()


def test_predict_writes_what_the_tuned_heads_decide_alike(trained, tmp_path):
    """And the probabilities of its member."""
    loaded, folder, _ = trained
    out = tmp_path / "found.csv"
    arguments = ["predict", str(folder / "tuned"), "val", "-o", str(out), "--device", "cpu"]
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 0, found.output
    stage = load_stage(folder / "tuned")
    written = read_predictions(out, stage.heads)
    pictures, _ = read(loaded.config, "val")
    member = predicted(folder / "one", pictures)["au"]
    np.testing.assert_allclose(written.values["au"], member, atol=1e-5)
    wanted = stage.heads["au"].estimate(stage.outputs(pictures)["au"].values).numpy()
    assert (stage.heads["au"].decide(written.values["au"]) == wanted).all()


def test_a_finished_ensemble_is_skipped_and_redone_with_its_members(trained, tmp_path):
    loaded, folder, report = trained
    shutil.copytree(folder, tmp_path / "run")
    skipped, combined = [], []

    class Told(Screen):
        def stage_skipped(self, stage):
            skipped.append(stage.name)

        def combining(self, stage, members):
            combined.append((stage.name, list(members)))

    assert run(loaded, tmp_path / "run", screen=Told()) == report
    assert {"mean", "fitted", "tuned"} <= set(skipped)
    assert combined == []
    run(loaded, tmp_path / "run", fresh=["two/seed-1"], screen=Told())
    assert combined == [("mean", ["one", "two/seed-1", "two/seed-2"])]


def test_an_ensemble_that_was_stopped_is_made_the_next_time(trained, tmp_path):
    loaded, folder, report = trained
    shutil.copytree(folder, tmp_path / "run")
    calls = []

    def stop():
        calls.append(1)
        return 2 if len(calls) > 1 else 0

    shutil.rmtree(tmp_path / "run" / "fitted")
    with pytest.raises(Interrupted):
        run(loaded, tmp_path / "run", stop=stop)
    assert not (tmp_path / "run" / "fitted" / "best").exists()
    again = run(loaded, tmp_path / "run")
    assert entry(again, "fitted")["metrics"] == entry(report, "fitted")["metrics"]


def test_a_path_can_be_a_member_and_an_ensemble_can_be_one_too(trained, tmp_path):
    _, folder, report = trained
    base = CONFIG[: CONFIG.index("[[stages]]")]
    paths = [str(folder / name) for name in ("one", "tuned")]
    text = f"""{base}
[[stages]]
name = "both"
kind = "ensemble"
members = {json.dumps(paths)}
weights = {{ {json.dumps(paths[0])} = 0.0 }}
validation = [{{ dataset = "val", task = "au" }}]
"""
    found = run(load_config(write(tmp_path, text)), tmp_path / "run")
    member = entry(report, "one")["metrics"]
    names = [name for name in member if name.startswith("val/au/")]
    # The head is the first member's, the predictions are all the other's: the same network's.
    assert entry(found, "both")["metrics"] == pytest.approx({name: member[name] for name in names})


def test_an_older_version_would_refuse_it_and_a_damaged_one_is_told(trained, tmp_path):
    _, folder, _ = trained
    shutil.copytree(folder / "mean" / "best", tmp_path / "best")
    shutil.rmtree(tmp_path / "best" / "member-2")
    with pytest.raises(RunError, match="member-2"):
        load_stage(tmp_path / "best")
