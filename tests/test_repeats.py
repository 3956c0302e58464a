"""A repeated stage in a run: its repeats are stages of their own, and the report sums them up."""

from __future__ import annotations

import json
import shutil
import tomllib

import numpy as np
import pytest

from mtl_toolkit import ConfigError, DataError, Interrupted, config_from, hookimpl, load_stage, run
from mtl_toolkit.config import expand, plain
from mtl_toolkit.data import find_overlap
from mtl_toolkit.hookspecs import StageStarted
from mtl_toolkit.pipeline import DataSource, survey
from mtl_toolkit.pipeline.entries import deviation, mean, repeated_entry
from mtl_toolkit.pipeline.folds import trained_on
from mtl_toolkit.pipeline.trackers import settings_of
from mtl_toolkit.rundir import RunDirectory
from tests.stopping import stop_after

JOB = """
name = "job"
seed = 3
[trainer]
device = "cpu"
threads = 1
log_every = 2
[tasks.expr]
head = { type = "expression", hidden = 8 }
[tasks.va]
head = { type = "valence-arousal", hidden = 8, bins = 5 }
[datasets.a]
type = "synthetic-faces"
samples = 60
seed = 1
cache = true
[datasets.b]
type = "synthetic-faces"
samples = 60
seed = 2
[datasets.other]
type = "synthetic-faces"
samples = 10
seed = 3
[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }
[defaults]
epochs = 1
epoch_length = 2
streams = [
    { dataset = "a", task = "expr", batch_size = 8 },
    { dataset = "b", task = "va", batch_size = 8 },
]
validation = [
    { dataset = "a", task = "expr", batch_size = 32 },
    { dataset = "b", task = "va", batch_size = 32 },
    { dataset = "other", task = "expr", batch_size = 32 },
]
[[stages]]
name = "single"
folds = 2
"""
TIMES = {"seconds", "samples_per_second", "peak_memory_bytes"}
WEIGHTS = "best/model.safetensors"


@pytest.fixture
def raw():
    return tomllib.loads(JOB)


@pytest.fixture
def loaded(raw, tmp_path):
    return config_from(raw, base=tmp_path)


@pytest.fixture
def seeds(raw, tmp_path):
    """Two seeds of a stage, on whole datasets, validated on another; and a stage that starts from one."""
    raw["defaults"]["validation"] = raw["defaults"]["validation"][2:]
    raw["stages"] = [{"name": "single", "seeds": 2}, {"name": "next", "start_from": "single/seed-2"}]

    def load(**changes):
        stage, following = raw["stages"]
        return config_from({**raw, "stages": [stage | changes, following]}, base=tmp_path)

    return load


def read(directory):
    return json.loads((directory / "report.json").read_text())["stages"]


def weights(directory, name):
    return (directory / name / WEIGHTS).read_bytes()


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


class TestFolds:
    def test_of_a_dataset_are_held_out_in_turn_and_other_data_is_whole(self, loaded):
        source = DataSource(loaded.config)
        repeats = expand(loaded.config).trainings
        ids = {"a": [], "b": []}
        for stage in repeats:
            a, b, other = (source.samples(stage, feed, validation=True) for feed in stage.validation)
            assert len(other) == 10
            for name, held_out, stream in zip("ab", (a, b), stage.streams, strict=True):
                trained = source.samples(stage, stream, validation=False)
                assert len(trained) + len(held_out) == 60
                assert {trained.id(i) for i in range(len(trained))}.isdisjoint(
                    held_out.id(i) for i in range(len(held_out))
                )
                assert find_overlap([("train", trained)], [("held out", held_out)]) == []
                ids[name] += [held_out.id(i) for i in range(len(held_out))]
        for name, seen in ids.items():
            whole = source.dataset(name, validation=False)
            assert sorted(seen) == sorted(whole.id(i) for i in range(60))

    def test_are_the_same_for_all_seeds_and_others_for_another_stage_or_seed(self, raw, tmp_path):
        raw["stages"] = [{"name": "one", "folds": 2, "seeds": 2}, {"name": "two", "folds": 2}]
        config = config_from(raw, base=tmp_path).config
        source = DataSource(config)
        digests = [source.folds(stage).digest() for stage in expand(config).trainings]
        assert len(set(digests[:4])) == 1
        assert digests[4] != digests[0]
        other = config_from(raw | {"seed": 4}, base=tmp_path).config
        assert DataSource(other).folds(expand(other).trainings[0]).digest() != digests[0]

    def test_have_their_share_of_each_dataset_and_class(self, loaded):
        source = DataSource(loaded.config)
        stage = expand(loaded.config).trainings[0]
        folds = source.folds(stage)
        assert trained_on(stage) == ["a", "b"]
        classes = source.dataset("a", validation=False).labels()["expr"].values
        for fold in (1, 2):
            assert np.bincount(folds.numbers["a"] == fold)[1] == pytest.approx(30, abs=6)
            assert np.bincount(folds.numbers["b"] == fold)[1] == pytest.approx(30, abs=6)
            mine = np.bincount(classes[folds.numbers["a"] == fold], minlength=7)
            assert mine == pytest.approx(np.bincount(classes, minlength=7) / 2, abs=3)
        assert sum(folds.sizes()) == 120

    def test_keep_a_person_of_two_datasets_together(self, raw, tmp_path):
        raw["datasets"]["b"] = raw["datasets"]["a"] | {"samples": 40}
        config = config_from(raw, base=tmp_path).config
        numbers = DataSource(config).folds(expand(config).trainings[0]).numbers
        assert np.array_equal(numbers["a"][:40], numbers["b"])

    def test_of_windows_are_whole_videos(self, raw, tmp_path):
        raw["datasets"]["a"] = {"type": "synthetic-videos", "videos": 9, "frames": 12, "seed": 1}
        feeds = [{"dataset": "a", "task": "va", "batch_size": 2}]
        raw["stages"] = [
            {"name": "single", "folds": 3, "temporal": {"type": "gru", "hidden": 4}, "windows": {"length": 4}}
            | {"streams": feeds, "validation": feeds}
        ]
        config = config_from(raw, base=tmp_path).config
        source = DataSource(config)
        whole = source.dataset("a", validation=False).column("video")
        seen = []
        for stage in expand(config).trainings:
            held_out, windows = source.items(stage, stage.validation[0], validation=True)
            rows = windows.rows(np.arange(len(windows)))
            assert sorted(rows.tolist()) == list(range(len(held_out)))
            trained, table = source.items(stage, stage.streams[0], validation=False)
            assert set(held_out.column("video")).isdisjoint(trained.column("video"))
            assert len(table) > 0
            seen += held_out.column("video").tolist()
        assert sorted(seen) == sorted(whole.tolist())

    def test_read_a_cached_dataset_once(self, loaded, monkeypatch):
        source = DataSource(loaded.config)
        whole = source.dataset("a", validation=False)
        reads = []
        inner = type(whole.source).read

        def counted(samples, indices):
            reads.extend(int(index) for index in indices)
            return inner(samples, indices)

        monkeypatch.setattr(type(whole.source), "read", counted)
        for stage in expand(loaded.config).trainings:
            part = source.samples(stage, stage.streams[0], validation=False)
            part.read(np.arange(len(part)))
        assert max(np.bincount(reads)) <= 2  # the first is read once more, for its shape

    def test_of_heads_without_strata_are_cut_all_the_same(self, loaded, monkeypatch):
        def none(self, labels):
            raise ConfigError("no strata")

        for name in ("expr", "va"):
            monkeypatch.setattr(type(loaded.config.tasks[name].head), "strata", none)
        source = DataSource(loaded.config)
        sizes = source.folds(expand(loaded.config).trainings[0]).sizes()
        assert sum(sizes) == 120
        assert sizes[0] == pytest.approx(60, abs=10)


class TestProblems:
    def problems(self, raw, tmp_path):
        config = config_from(raw, base=tmp_path).config
        return survey(config, DataSource(config))[1]

    def test_too_few_groups_are_told_once(self, raw, tmp_path):
        for name in "ab":
            raw["datasets"][name] |= {"samples": 8, "faces_per_identity": 4}
        raw["stages"][0]["folds"] = 5
        assert self.problems(raw, tmp_path)[0] == (
            "stages.single: folds = 5: there are only 4 groups of samples that stay together"
        )

    def test_too_few_of_a_class_are_told_by_its_name(self, raw, tmp_path):
        raw["stages"][0]["folds"] = 9
        problems = self.problems(raw, tmp_path)
        assert problems
        for problem in problems:
            assert problem.startswith("stages.single: folds = 9: class '")
            assert "of task 'expr' is in only " in problem

    def test_other_samples_in_validation_than_in_training_are_refused(self, loaded, monkeypatch):
        kind = type(loaded.config.datasets["b"])
        build = kind.build

        def other(self, facts):
            samples = build(self, facts)
            if facts.validation:
                monkeypatch.setattr(samples, "labels", dict)
            return samples

        monkeypatch.setattr(kind, "build", other)
        source = DataSource(loaded.config)
        stage = expand(loaded.config).trainings[0]
        with pytest.raises(
            DataError, match=r"stages\.single: folds: dataset 'b' has other samples or labels"
        ):
            source.samples(stage, stage.validation[1], validation=True)

    def test_what_training_and_other_validation_share_is_told_once(self, raw, tmp_path):
        raw["datasets"]["other"] = raw["datasets"]["a"] | {"samples": 30}
        raw["datasets"]["other"].pop("cache")
        found = [problem for problem in self.problems(raw, tmp_path) if "share" in problem]
        assert found
        assert len(found) == len(set(found))
        assert all(problem.startswith("stages.single: training stream") for problem in found)


def test_a_repeat_is_logged_with_the_settings_of_its_stage(loaded):
    event = StageStarted(
        run="job", stage="single/fold-2", directory="", epochs=1, first_epoch=1, config=plain(loaded.config)
    )
    settings = settings_of(event)
    assert (settings["stage.name"], settings["stage.folds"]) == ("single", 2)


class TestEntry:
    def entry(self, name, score, metrics, **more):
        facts = {"seconds": 2.0, "samples_per_second": 30.0, "peak_memory_bytes": 5, "skipped_samples": 1}
        return {"name": name, "score": score, "metrics": metrics, "select": {"x": 1.0}} | facts | more

    def test_has_means_and_sample_deviations(self):
        random = np.random.default_rng(0)
        values = random.normal(size=(4, 2))
        repeats = [
            self.entry(f"s/{i}", float(a), {"x": float(a), "y": float(b)}, best_epoch=i, epochs=9, data={})
            for i, (a, b) in enumerate(values)
        ]
        found = repeated_entry("s", repeats)
        assert list(found["metrics"].values()) == pytest.approx(values.mean(0))
        assert list(found["std"].values()) == pytest.approx(values.std(0, ddof=1))
        assert (found["score"], found["score_std"]) == (found["metrics"]["x"], found["std"]["x"])
        assert found["best_epoch"] == int(values[:, 0].argmax())
        assert found["best_repeat"] == f"s/{values[:, 0].argmax()}"
        assert found["repeats"] == repeats

    def test_adds_up_times_and_weighs_rates_by_them(self):
        one = self.entry("s/1", None, {}, best_epoch=1, epochs=1, data={})
        other = one | {"name": "s/2", "seconds": 6.0, "samples_per_second": 10.0, "peak_memory_bytes": 7}
        found = repeated_entry("s", [one, other])
        assert (found["seconds"], found["samples_per_second"]) == (8.0, 15.0)
        assert (found["peak_memory_bytes"], found["skipped_samples"]) == (7, 2)
        assert (found["score"], found["score_std"], found["best_repeat"]) == (None, None, "s/1")

    def test_of_a_value_that_one_repeat_lacks_takes_the_others(self):
        assert mean([1.0, None, 3.0]) == 2.0
        assert deviation([1.0, None]) is None
        assert mean([None]) is None


class TestSeeds:
    def test_give_other_networks_and_the_same_again(self, seeds, tmp_path):
        report = run(seeds(), tmp_path / "run")
        one, two = report["stages"][0]["repeats"]
        assert weights(tmp_path / "run", "single/seed-1") != weights(tmp_path / "run", "single/seed-2")
        assert one["metrics"] != two["metrics"]
        logs = [(tmp_path / "run" / name / "log.jsonl").read_text() for name in (one["name"], two["name"])]
        assert json.loads(logs[0].splitlines()[0]) != json.loads(logs[1].splitlines()[0])
        again = run(seeds(), tmp_path / "again")
        assert without_times(again) == without_times(report)
        for name in ("single/seed-1", "single/seed-2", "next"):
            assert weights(tmp_path / "again", name) == weights(tmp_path / "run", name)

    def test_one_more_leaves_those_that_are_there(self, seeds, tmp_path):
        run(seeds(), tmp_path / "run")
        before = {name: weights(tmp_path / "run", name) for name in ("single/seed-1", "single/seed-2")}
        stamps = [(tmp_path / "run" / name / WEIGHTS).stat().st_mtime_ns for name in before]
        report = run(seeds(seeds=3), tmp_path / "run")
        assert [one["name"] for one in report["stages"][0]["repeats"]] == [*before, "single/seed-3"]
        assert [(tmp_path / "run" / name / WEIGHTS).stat().st_mtime_ns for name in before] == stamps

    def test_another_recipe_is_refused_by_repeat(self, seeds, tmp_path):
        run(seeds(), tmp_path / "run")
        with pytest.raises(ConfigError) as refused:
            run(seeds(clip_norm=1.0), tmp_path / "run")
        assert [problem.split(": ")[0] for problem in refused.value.problems] == [
            str(tmp_path / "run" / name) for name in ("single/seed-1", "single/seed-2", "next")
        ]
        assert "redo it with --fresh single/seed-1" in refused.value.problems[0]

    @pytest.mark.slow
    def test_of_a_stage_that_was_trained_once_are_refused_and_the_reverse(self, seeds, tmp_path):
        run(seeds(), tmp_path / "run")
        config = seeds()
        once = config_from(
            {**tomllib.loads(config.to_toml()), "stages": [{"name": "single", **self.table(config)}]},
            base=tmp_path,
        )
        with pytest.raises(ConfigError, match=r"single: was made otherwise \(repeats: 2 -> nothing\)"):
            run(once, tmp_path / "run")
        run(once, tmp_path / "run", fresh=["single"])
        assert not (tmp_path / "run" / "single" / "seed-1").exists()
        with pytest.raises(ConfigError, match=r"single: was made otherwise \(repeats: nothing -> 2\)"):
            run(seeds(), tmp_path / "run", fresh=["single/seed-1"])

    def table(self, loaded):
        table = tomllib.loads(loaded.to_toml())["stages"][0]
        return {key: table[key] for key in ("epochs", "epoch_length", "streams", "validation")}


class TestFresh:
    @pytest.mark.slow
    def test_redoes_a_repeat_and_what_is_made_from_it(self, seeds, tmp_path):
        run(seeds(), tmp_path / "run")
        places = ["single/seed-1", "single/seed-2", "next"]
        stamps = self.stamps(tmp_path / "run", places)
        run(seeds(), tmp_path / "run", fresh=["single/seed-2"])
        again = self.stamps(tmp_path / "run", places)
        assert [one == other for one, other in zip(stamps, again, strict=True)] == [True, False, False]
        (tmp_path / "run" / "single" / "seed-7").mkdir()
        run(seeds(), tmp_path / "run", fresh=["single"])
        assert not any(map(np.equal, again, self.stamps(tmp_path / "run", places)))
        assert not (tmp_path / "run" / "single" / "seed-7").exists()

    def stamps(self, directory, names):
        return [(directory / name / WEIGHTS).stat().st_mtime_ns for name in names]

    def test_of_no_such_repeat_suggests_one(self, seeds, tmp_path):
        with pytest.raises(
            ConfigError, match=r"--fresh single/seed-3: no such stage; did you mean 'single/seed-"
        ):
            run(seeds(), tmp_path / "run", fresh=["single/seed-3"])


class Heard:
    """Listens to a run."""

    def __init__(self):
        self.events = []

    @hookimpl
    def mtl_stage_started(self, event):
        self.events.append(("started", event.stage, event.config["stages"][0]["name"]))

    @hookimpl
    def mtl_epoch_finished(self, event):
        self.events.append(("epoch", event.stage, event.epoch))

    @hookimpl
    def mtl_stage_finished(self, event):
        self.events.append(("finished", event.stage, event.directory))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with two folds of two seeds: its report, folder and what a listener heard."""
    folder = tmp_path_factory.mktemp("finished")
    raw = tomllib.loads(JOB)
    raw["stages"][0]["seeds"] = 2
    raw["trainer"]["trackers"] = ["tensorboard"]
    heard = Heard()
    return run(config_from(raw, base=folder), folder / "run", listeners=[heard]), folder / "run", heard


class TestRun:
    NAMES = tuple(f"single/fold-{fold}-seed-{seed}" for fold in (1, 2) for seed in (1, 2))

    def test_leaves_a_folder_for_each_repeat(self, finished):
        _, directory, _ = finished
        for name in self.NAMES:
            assert (directory / name / "stage.json").is_file()
            assert load_stage(directory / name).description["stage"] == name
        assert sorted(path.name for path in (directory / "single").iterdir()) == [
            name.removeprefix("single/") for name in self.NAMES
        ]

    def test_reports_means_and_deviations_of_its_repeats(self, finished):
        report, directory, _ = finished
        assert read(directory) == report["stages"]
        (stage,) = report["stages"]
        assert [one["name"] for one in stage["repeats"]] == list(self.NAMES)
        for name, value in stage["metrics"].items():
            values = [one["metrics"][name] for one in stage["repeats"]]
            assert value == pytest.approx(np.mean(values))
            assert stage["std"][name] == pytest.approx(np.std(values, ddof=1))
        assert {name.partition("/")[0] for name in stage["metrics"]} == {"a", "b", "other"}
        scores = [
            sum(weight * one["metrics"][name] for name, weight in one["select"].items())
            for one in stage["repeats"]
        ]
        assert [one["score"] for one in stage["repeats"]] == pytest.approx(scores)
        assert stage["score"] == pytest.approx(np.mean(scores))

    def test_tells_listeners_of_each_repeat(self, finished):
        _, directory, heard = finished
        assert heard.events == [
            event
            for name in self.NAMES
            for event in (
                ("started", name, "single"),
                ("epoch", name, 1),
                ("finished", name, str(directory / name)),
            )
        ]

    def test_gives_each_repeat_its_own_curves_in_tensorboard(self, finished):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        _, directory, _ = finished
        for name in self.NAMES:
            found = EventAccumulator(str(directory / name)).Reload()
            assert "metrics/a/expr/accuracy" in found.Tags()["scalars"]

    def test_writes_a_page_with_repeats_and_curves(self, finished):
        _, directory, _ = finished
        page = (directory / "report.html").read_text()
        assert "single (mean of 4)" in page
        assert "4 repeats" in page
        for name in self.NAMES:
            assert f"<td>{name}</td>" in page
        assert page.count("data:image/png") == 1

    def test_keeps_the_configuration_as_it_was_written(self, finished):
        _, directory, _ = finished
        (stage,) = tomllib.loads((directory / "config.toml").read_text())["stages"]
        assert (stage["name"], stage["folds"], stage["seeds"]) == ("single", 2, 2)

    def test_skips_what_is_finished(self, finished, tmp_path):
        report, directory, _ = finished
        shutil.copytree(directory, tmp_path / "run")
        again = run(
            config_from(tomllib.loads((directory / "config.toml").read_text()), base=tmp_path),
            tmp_path / "run",
        )
        assert again["stages"] == report["stages"]

    def test_remembers_its_folds(self, finished):
        _, directory, _ = finished
        digests = {RunDirectory(directory).stage(name).record()["folds"] for name in self.NAMES}
        assert len(digests) == 1


def test_a_run_stopped_in_its_second_repeat_goes_on_as_if_it_had_not_been(loaded, tmp_path):
    whole = run(loaded, tmp_path / "whole")
    with pytest.raises(Interrupted):
        # Two steps and three validation batches a repeat, each asked for once.
        run(loaded, tmp_path / "run", stop=stop_after(7))
    assert (tmp_path / "run" / "single" / "fold-1" / "best").is_dir()
    assert "result" not in RunDirectory(tmp_path / "run").stage("single/fold-2").record()
    resumed = run(loaded, tmp_path / "run")
    assert without_times(resumed) == without_times(whole)
    for name in ("single/fold-1", "single/fold-2"):
        assert weights(tmp_path / "run", name) == weights(tmp_path / "whole", name)


@pytest.mark.slow
def test_a_teacher_and_features_may_be_of_a_repeat(raw, tmp_path):
    raw["stages"] = [
        {"name": "single", "seeds": 2},
        {"name": "student", "teacher": "single/seed-2", "losses": [{"type": "distillation", "weight": 0.5}]},
        {"name": "features", "kind": "extract", "network": "single/seed-1", "datasets": ["a", "b"]},
        {"name": "folds", "folds": 2, "features": "features", "validation": []},
    ]
    raw["defaults"]["validation"] = []
    raw["datasets"] |= {
        name: {"type": "synthetic-videos", "videos": 4, "frames": 8, "seed": seed}
        for seed, name in enumerate("ab")
    }
    raw["stages"][3] |= {"temporal": {"type": "gru", "hidden": 4}, "windows": {"length": 4, "stride": 4}}
    raw["stages"][3]["streams"] = [{"dataset": "b", "task": "va", "batch_size": 2}]
    raw["stages"][3]["validation"] = [{"dataset": "b", "task": "va"}]
    report = run(config_from(raw, base=tmp_path), tmp_path / "run")
    assert [stage["name"] for stage in report["stages"]] == ["single", "student", "features", "folds"]
    assert len(report["stages"][3]["repeats"]) == 2
    record = RunDirectory(tmp_path / "run").stage("student").record()
    assert list(record["made_from"]) == ["single/seed-2"]
