"""`mtl evaluate`: the same numbers as training saw, from a stage or a file, and what is said of them."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mtl_std.smoothing import Gaussian
from PIL import Image

from mtl_toolkit import DataFacts, Labels, load_config, run
from mtl_toolkit.cli.evaluate import without_nan

SIDE = 16
CONFIG = """
name = "small"
[trainer]
device = "cpu"
threads = 1
[tasks.expr]
head = { type = "expression", hidden = 8 }
[tasks.va]
head = { type = "valence-arousal", hidden = 8, bins = 5 }
[tasks.au]
head = { type = "action-units", hidden = 8 }
[datasets.faces]
type = "synthetic-faces"
samples = 32
[datasets.videos]
type = "synthetic-videos"
videos = 3
frames = 16
seed = 1
[datasets.held_out]
type = "synthetic-videos"
videos = 4
frames = 20
missing = 0.2
seed = 2
[datasets.others]
type = "synthetic-videos"
videos = 4
frames = 60
seed = 3
[datasets.single]
type = "synthetic-videos"
videos = 1
frames = 20
seed = 4
[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }
[defaults]
epochs = 2
validation = [{ dataset = "held_out", task = "expr" }, { dataset = "held_out", task = "va" }]
optimizer = { type = "AdamW", lr = 1e-2 }
[[stages]]
name = "cnn"
streams = [
    { dataset = "faces", task = "expr", batch_size = 16 },
    { dataset = "faces", name = "more", task = "va", batch_size = 16 },
    { dataset = "faces", name = "units", task = "au", batch_size = 16 },
]
[[stages]]
name = "features"
kind = "extract"
network = "cnn"
datasets = ["videos", "held_out"]
[[stages]]
name = "gru"
features = "features"
temporal = { type = "gru", hidden = 8 }
windows = { length = 8, stride = 4, gaps = "cut" }
streams = [
    { dataset = "videos", name = "e", task = "expr", batch_size = 2 },
    { dataset = "videos", name = "v", task = "va", batch_size = 2 },
]
"""
CPU = ("--device", "cpu")
QUICK = (*CPU, "--draws", "20")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run with a CNN for three tasks, and a GRU for two on its features."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.toml").write_text(CONFIG)
    run(load_config(folder / "small.toml"), folder / "run")
    return folder / "run"


@pytest.fixture
def here(tmp_path, monkeypatch, trained) -> Path:
    """An empty current folder, with the run beside it as `run`, and its configuration."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("run").symlink_to(trained)
    Path("small.toml").write_text(CONFIG)
    return tmp_path / "here"


@pytest.fixture
def judged(mtl, here) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Run the command; the text on standard output, and the JSON file."""

    def evaluate(*arguments: str) -> tuple[str, dict[str, Any]]:
        code, output, errors = mtl("evaluate", *arguments, *QUICK, "-o", "found.json")
        assert (code, errors) == (0, "")
        text = Path("found.json").read_text()
        return output, json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    return evaluate


def values(found: Mapping[str, Any], dataset: str) -> dict[str, float]:
    """The metrics of a dataset by task and name."""
    return {
        f"{task}/{name}": metric["value"]
        for task, one in found["datasets"][dataset]["tasks"].items()
        for name, metric in one["metrics"].items()
    }


def reported(trained: Path, stage: str) -> dict[str, float]:
    """The metrics of a stage's best epoch, as the run's report has them."""
    report = json.loads((trained / "report.json").read_text())
    (metrics,) = [one["metrics"] for one in report["stages"] if one["name"] == stage]
    return {name.removeprefix("held_out/"): value for name, value in metrics.items()}


def labels_of(dataset: str) -> tuple[Any, Mapping[str, Labels]]:
    """The samples of a dataset, and their labels."""
    config = load_config("small.toml").config
    heads = {name: task.head for name, task in config.tasks.items()}
    samples = config.datasets[dataset].build(DataFacts(heads, SIDE, validation=True))
    return samples, samples.labels()


def ccc(one: np.ndarray, other: np.ndarray) -> float:
    """Lin's concordance, with population moments."""
    spread = one.var() + other.var() + (one.mean() - other.mean()) ** 2
    return float(2 * ((one - one.mean()) * (other - other.mean())).mean() / spread)


def f1(predicted: np.ndarray, true: np.ndarray) -> float:
    hits = (predicted & true).sum()
    wrong = (predicted ^ true).sum()
    return float(2 * hits / (2 * hits + wrong)) if hits else 0.0


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows: Sequence[Mapping[str, str]], *names: str) -> np.ndarray:
    return np.array([[float(row[name]) for name in names] for row in rows]).squeeze()


class TestStages:
    @pytest.mark.parametrize("stage", ["cnn", "gru"])
    def test_the_numbers_are_those_of_the_best_epoch(self, judged, trained, stage):
        _, found = judged(f"run/{stage}")
        expected = reported(trained, stage)
        assert len(expected) == 6
        found = values(found, "held_out")
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-3)
        assert {name.partition("/")[0] for name in found} == (
            {"expr", "va", "au"} if stage == "cnn" else {"expr", "va"}
        )

    def test_without_the_file_of_features_they_are_made_of_the_pictures(self, judged, trained, monkeypatch):
        Path("run").unlink()
        shutil.copytree(trained, "run")
        Path("run/features/held_out.h5").unlink()
        from mtl_toolkit.data import FeatureSamples

        monkeypatch.setattr(FeatureSamples, "read", None)
        _, found = judged("run/gru")
        found = values(found, "held_out")
        for name, value in reported(trained, "gru").items():
            assert found[name] == pytest.approx(value, rel=1e-2)

    def test_features_that_are_there_are_read_instead_of_pictures(self, judged, monkeypatch):
        from mtl_affect.synthetic_videos import VideoSamples

        monkeypatch.setattr(VideoSamples, "read", None)
        judged("run/gru")

    def test_other_datasets_are_judged_in_the_order_given(self, judged):
        output, found = judged("run", "--dataset", "single", "--dataset", "held_out", "--dataset", "single")
        assert list(found["datasets"]) == ["single", "held_out"]
        headings = [line for line in output.splitlines() if " on " in line]
        rows = [found["datasets"][name]["rows"] for name in ("single", "held_out")]
        assert headings == [f"gru on single: {rows[0]} rows", f"gru on held_out: {rows[1]} rows"]
        assert rows == [len(labels_of(name)[0]) for name in ("single", "held_out")]

    def test_the_last_checkpoint_gives_the_numbers_of_the_last_epoch(self, judged):
        output, found = judged("run/cnn/last")
        assert output.startswith("\ncnn on held_out: ")
        assert found["stage"] == "cnn"
        expected = json.loads(Path("run/cnn/log.jsonl").read_text().splitlines()[-1])["metrics"]
        found = values(found, "held_out")
        for name, value in expected.items():
            assert found[name.removeprefix("held_out/")] == pytest.approx(value, rel=1e-3)

    def test_pictures_that_the_dataset_lets_pass_are_left_out_and_counted(self, mtl, judged, trained):
        Path("run").unlink()
        shutil.copytree(trained, "run")
        lines = ["file,label"]
        for number in range(4):
            Image.new("RGB", (20, 20), (60 * number, 0, 0)).save(f"{number}.png")
            lines.append(f"{number}.png,anger")
        Path("2.png").write_bytes(Path("2.png").read_bytes()[:40])
        Path("table.csv").write_text("\n".join(lines))
        config = Path("run/config.toml").read_text()
        mine = f'[datasets.mine]\ntype = "image-csv"\ncsv = "{Path("table.csv").absolute()}"\n'
        mine += 'labels = { expr = { column = "label" } }\n'
        Path("run/config.toml").write_text(config + mine)
        code, _, errors = mtl("evaluate", "run/cnn", "--dataset", "mine", *QUICK)
        assert code == 1
        assert re.fullmatch(r"error: .*2\.png: [^\n]+\n", errors)
        _, found = judged("run/cnn", "--dataset", "mine", "--on-error", "skip")
        assert found["datasets"]["mine"]["tasks"]["expr"]["rows"] == 3
        Path("run/config.toml").write_text(config + mine + 'on_error = "skip"\n')
        output, found = judged("run/cnn", "--dataset", "mine")
        assert found["datasets"]["mine"]["tasks"]["expr"]["unpredicted"] == 1
        assert "expr: 3 labelled rows, 1 without a prediction left out\n" in output
        assert "95 % over pictures" in output


class TestPredictionFiles:
    @pytest.mark.parametrize("judge", ["run/gru", "small.toml"])
    def test_a_file_of_mtl_predict_gives_the_same_numbers(self, mtl, judged, judge):
        assert mtl("predict", "run/gru", "held_out", "-o", "out.csv", *CPU)[0] == 0
        _, stage = judged("run/gru")
        output, file = judged(judge, "--predictions", "out.csv", "--dataset", "held_out")
        assert output.startswith("\nout.csv on held_out: ")
        assert (file["stage"], file["predictions"]) == (None, "out.csv")
        expected = values(stage, "held_out")
        found = values(file, "held_out")
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-4)
        for task in ("expr", "va"):
            one, other = (report["datasets"]["held_out"]["tasks"][task] for report in (stage, file))
            assert one["confusion"] == other["confusion"]
            assert list(one["videos"]) == list(other["videos"])

    def test_rows_may_come_in_any_order_and_be_more_than_are_judged(self, mtl, judged):
        assert mtl("predict", "run/gru", "held_out", "-o", "out.csv", *CPU)[0] == 0
        header, *lines = Path("out.csv").read_text().splitlines()
        more = lines[0].replace("seed 2 video", "seed 9 video")
        Path("mixed.csv").write_text("\n".join([header, more, *reversed(lines)]))
        found = [
            judged("small.toml", "--predictions", f"{name}.csv", "--dataset", "held_out")[1]
            for name in ("out", "mixed")
        ]
        assert values(found[0], "held_out") == pytest.approx(values(found[1], "held_out"))

    def test_labelled_rows_that_the_file_lacks_are_told_or_left_out(self, mtl, judged):
        assert mtl("predict", "run/gru", "held_out", "-o", "out.csv", *CPU)[0] == 0
        header, first, *lines = Path("out.csv").read_text().splitlines()
        Path("less.csv").write_text("\n".join([header, *lines]))
        arguments = ("small.toml", "--predictions", "less.csv", "--dataset", "held_out")
        code, output, errors = mtl("evaluate", *arguments)
        name = first.split(",")[0]
        rule = f"each of the {len(lines) + 1} labelled rows must have a prediction"
        assert (code, output) == (2, "")
        assert errors.splitlines() == [
            f"error: task {task!r}: {rule} (got none for 1, such as {name!r})" for task in ("expr", "va")
        ]
        output, found = judged(*arguments, "--on-error", "skip")
        assert found["datasets"]["held_out"]["tasks"]["va"]["rows"] == len(lines)
        assert f"va: {len(lines)} labelled rows, 1 without a prediction left out" in output

    def test_a_submission_is_judged_by_its_own_format(self, mtl, judged):
        form = '{type="abaw5", task="va"}'
        assert mtl("predict", "run/gru", "held_out", "-o", "out.txt", "--format", form, *CPU)[0] == 0
        _, file = judged("small.toml", "--predictions", "out.txt", "--format", form, "--dataset", "held_out")
        _, stage = judged("run/gru", "--format", form)
        expected = values(stage, "held_out")
        found = values(file, "held_out")
        assert set(found) == {"va/ccc_valence", "va/ccc_arousal", "va/score"}
        for name, value in found.items():
            assert value == pytest.approx(expected[name], abs=1e-4)


class TestFormats:
    def test_abaw5_judges_by_macro_f1_mean_ccc_and_mean_f1(self, mtl, judged):
        assert mtl("predict", "run/cnn", "held_out", "-o", "out.csv", *CPU)[0] == 0
        rows = rows_of("out.csv")
        _, labels = labels_of("held_out")
        output, found = judged("run/cnn", "--format", "abaw5")
        assert output.startswith(f"\ncnn on held_out, judged as abaw5: {len(rows)} rows\n")
        found = values(found, "held_out")
        classes = load_config("small.toml").config.tasks["expr"].head.meaning()["classes"]
        decided = np.array([classes.index(row["expr"]) for row in rows])
        true = labels["expr"].values
        macro = np.mean([f1(decided == one, true == one) for one in range(len(classes))])
        assert found["expr/macro_f1"] == pytest.approx(macro, abs=1e-6)
        va = column(rows, "va.valence", "va.arousal")
        parts = [ccc(va[:, axis], labels["va"].values[:, axis].astype(float)) for axis in (0, 1)]
        assert found["va/score"] == pytest.approx(np.mean(parts), abs=1e-4)
        names = [name for name in rows[0] if name.startswith("au.")]
        units = column(rows, *names) > 0.5
        mean = np.mean([f1(units[:, unit], labels["au"].values[:, unit] == 1) for unit in range(12)])
        assert found["au/mean_f1"] == pytest.approx(mean, abs=1e-6)

    def test_the_multi_task_challenge_adds_its_three_metrics_up(self, judged):
        output, found = judged("run/cnn", "--format", "mtl")
        parts = values(found, "held_out")
        expected = parts["va/score"] + parts["expr/macro_f1"] + parts["au/mean_f1"]
        assert found["datasets"]["held_out"]["scores"] == {"P": pytest.approx(expected)}
        assert output.splitlines()[-1] == f"P {expected:.3f}"

    def test_a_stage_that_lacks_a_task_has_no_joint_score(self, judged):
        _, found = judged("run/gru", "--format", "mtl")
        assert found["datasets"]["held_out"]["scores"] == {}


def noisy(dataset: str, path: str, seed: int) -> None:
    """Write valence and arousal as labelled, with noise on every frame."""
    samples, labels = labels_of(dataset)
    random = np.random.default_rng(seed)
    with Path(path).open("a", newline="") as file:
        writer = csv.writer(file)
        if not file.tell():
            writer.writerow(["name", "video", "frame", "face", "va.valence", "va.arousal"])
        for place in range(len(samples)):
            video, frame = samples.column("video")[place].decode(), samples.column("frame")[place]
            values = labels["va"].values[place] + random.normal(0, 0.4, 2)
            writer.writerow([samples.id(place), video, frame, 1, *values])


def smooth(values: np.ndarray, videos: np.ndarray, frames: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian mean over the frames within four sigmas, frame by frame."""
    result = np.empty_like(values)
    for row in range(len(values)):
        distance = abs(frames - frames[row])
        near = (videos == videos[row]) & (distance <= 4 * sigma)
        weights = np.exp(-0.5 * (distance[near] / sigma) ** 2)
        result[row] = (weights[:, None] * values[near]).sum(0) / weights.sum()
    return result


class TestTuning:
    @pytest.fixture
    def files(self, here) -> list[dict[str, str]]:
        """The rows of a file with noisy predictions of two datasets."""
        noisy("others", "noisy.csv", 0)
        noisy("held_out", "noisy.csv", 1)
        return rows_of("noisy.csv")

    def score(self, rows: Sequence[Mapping[str, str]], dataset: str, sigma: float) -> float:
        """The sum of the axes' CCC of smoothed predictions."""
        samples, labels = labels_of(dataset)
        own = {name.decode() for name in samples.column("video")}
        rows = [row for row in rows if row["video"] in own]
        videos = np.array([row["video"] for row in rows])
        found = smooth(column(rows, "va.valence", "va.arousal"), videos, column(rows, "frame"), sigma)
        return sum(ccc(found[:, axis], labels["va"].values[:, axis].astype(float)) for axis in (0, 1))

    ARGUMENTS = ("small.toml", "--predictions", "noisy.csv", "--postprocess", "va=gaussian")

    def test_the_option_is_the_best_of_a_grid_on_the_other_dataset(self, judged, files):
        output, found = judged(*self.ARGUMENTS, "--tune-on", "others", "--dataset", "held_out")
        sigmas = [one.sigma for one in Gaussian().variants()]
        scores = [self.score(files, "others", sigma) for sigma in sigmas]
        best = sigmas[int(np.argmax(scores))]
        assert best not in (sigmas[0], min(sigmas), max(sigmas))
        one = found["datasets"]["held_out"]
        assert one["postprocess"] == {"va": [{"type": "gaussian", "sigma": best}]}
        assert one["tuned_on"] == "others"
        metrics = values(found, "held_out")
        expected = self.score(files, "held_out", best)
        assert metrics["va/ccc_valence"] + metrics["va/ccc_arousal"] == pytest.approx(expected, abs=1e-4)
        assert f"va post-processed by gaussian (sigma {best}); tuned on others\n" in output

    def test_scores_of_the_dataset_that_was_tuned_on_are_said_to_flatter(self, judged, files):
        output, _ = judged(
            *self.ARGUMENTS, "--tune-on", "others", "--dataset", "held_out", "--dataset", "others"
        )
        notes = [line.partition("; ")[2] for line in output.splitlines() if "post-processed by" in line]
        assert notes == ["tuned on others", "tuned on others, which is reported here: its scores flatter"]

    def test_untuned_options_are_used_as_they_are_given(self, judged, files):
        options = ("--postprocess", 'va={type="gaussian", sigma=7.5}', "--dataset", "held_out")
        output, found = judged(*self.ARGUMENTS[:-2], *options)
        expected = self.score(files, "held_out", 7.5)
        metrics = values(found, "held_out")
        assert metrics["va/ccc_valence"] + metrics["va/ccc_arousal"] == pytest.approx(expected, abs=1e-4)
        assert "va post-processed by gaussian (sigma 7.5)\n" in output
        assert found["datasets"]["held_out"]["tuned_on"] is None

    def test_a_chain_is_tuned_one_after_the_other(self, judged, files):
        options = ("--postprocess", "va=median", "--tune-on", "others", "--dataset", "held_out")
        output, found = judged(*self.ARGUMENTS, *options)
        first, second = found["datasets"]["held_out"]["postprocess"]["va"]
        assert (first["type"], second["type"]) == ("gaussian", "median")
        assert re.search(r"va post-processed by gaussian \(.*\), then median \(.*\); tuned on", output)


class TestGroups:
    def test_rows_keep_their_group_in_whatever_order_they_are_predicted(self, mtl, judged, trained):
        """A stage predicts by video and frame; the table has its rows in another order."""
        Path("run").unlink()
        shutil.copytree(trained, "run")
        random = np.random.default_rng(0)
        places = random.permutation(24)
        videos, frames = [f"v{place // 8}" for place in places], [1 + place % 8 for place in places]
        genders, classes = random.choice(["f", "m", ""], 24), random.choice(["neutral", "fear"], 24)
        lines = ["file,video,frame,gender,label"]
        for row in range(24):
            Image.new("RGB", (20, 20), tuple(random.integers(0, 255, 3))).save(f"{row}.png")
            lines.append(f"{row}.png,{videos[row]},{frames[row]},{genders[row]},{classes[row]}")
        Path("table.csv").write_text("\n".join(lines))
        with Path("run/config.toml").open("a") as file:
            file.write(f'[datasets.mine]\ntype = "image-csv"\ncsv = "{Path("table.csv").absolute()}"\n')
            file.write('video = "video"\nframe = "frame"\nlabels = { expr = { column = "label" } }\n')
        assert mtl("predict", "run/cnn", "mine", "-o", "out.csv", *CPU)[0] == 0
        decided = {row["name"]: row["expr"] for row in rows_of("out.csv")}
        right = np.array([decided[f"{row}.png"] == classes[row] for row in range(24)])
        _, found = judged("run/cnn", "--dataset", "mine", "--by", "gender", "--min-rows", "1")
        groups = found["datasets"]["mine"]["by"]["gender"]["tasks"]["expr"]["groups"]
        for name, gender in {"f": "f", "m": "m", "(none)": ""}.items():
            assert groups[name]["rows"] == (genders == gender).sum()
            accuracy = groups[name]["metrics"]["accuracy"]["value"]
            assert accuracy == pytest.approx(right[genders == gender].mean())

    def test_groups_are_judged_as_all_rows_are(self, judged):
        """After post-processing, and by the format's metrics; here in one group."""
        options = ("--format", "abaw5", "--postprocess", "va={type='gaussian', sigma=3.0}")
        _, found = judged("run/gru", *options, "--by", "skin_tone=9")
        one = found["datasets"]["held_out"]
        of_group = one["by"]["skin_tone=9"]["tasks"]["va"]["groups"]["< 9"]
        assert set(of_group["metrics"]) == {"ccc_valence", "ccc_arousal", "score"}
        for name, metric in one["tasks"]["va"]["metrics"].items():
            assert of_group["metrics"][name]["value"] == pytest.approx(metric["value"])
            assert of_group["metrics"][name]["interval"] == pytest.approx(metric["interval"])
        assert (of_group["rows"], of_group["videos"]) == (one["tasks"]["va"]["rows"], 4)

    def test_a_column_that_is_not_there_is_told_before_anything_is_predicted(self, mtl, here, monkeypatch):
        monkeypatch.setattr("mtl_toolkit.prediction.predict", None)
        code, output, errors = mtl("evaluate", "run/gru", "--by", "skintone", *QUICK)
        assert (code, output) == (2, "")
        assert errors == (
            "error: --by skintone: dataset 'held_out' has no column 'skintone'; did you mean 'skin_tone'?\n"
        )


class TestReport:
    def test_the_file_has_all_that_is_known(self, judged):
        _, found = judged("run/cnn", "--dataset", "held_out")
        assert {key: value for key, value in found.items() if key != "datasets"} == {
            "evaluated": "run/cnn",
            "stage": "cnn",
            "predictions": None,
            "format": None,
        }
        one = found["datasets"]["held_out"]
        assert set(one) == {
            "rows", "draws", "tasks", "warnings", "scores", "postprocess", "tuned_on", "by",
        }  # fmt: skip
        assert one["draws"] == 20
        samples, labels = labels_of("held_out")
        videos = [name.decode() for name in dict.fromkeys(samples.column("video").tolist())]
        assert len(videos) == 4
        for judgement in one["tasks"].values():
            assert judgement["rows"] == len(samples)
            assert list(judgement["videos"]) == videos
            assert sum(video["rows"] for video in judgement["videos"].values()) == len(samples)
            for metric in judgement["metrics"].values():
                low, high = metric["interval"]
                assert low <= high
        counts = np.array(one["tasks"]["expr"]["confusion"]["counts"])
        np.testing.assert_array_equal(counts.sum(1), np.bincount(labels["expr"].values, minlength=7))
        assert one["tasks"]["va"]["confusion"] is None
        assert set(one["tasks"]["au"]["confusion"]["units"]) == set(
            load_config("small.toml").config.tasks["au"].head.units
        )

    def test_the_tables_show_metrics_intervals_and_confusion(self, judged):
        output, found = judged("run/cnn", "--videos")
        one = found["datasets"]["held_out"]["tasks"]["expr"]
        lines = [line.split() for line in output.splitlines()]
        low, high = one["metrics"]["score"]["interval"]
        assert [
            "score",
            f"{one['metrics']['score']['value']:.3f}",
            f"{low:.3f}",
            "..",
            f"{high:.3f}",
        ] in lines
        assert ["unit", "hits", "false", "alarms", "misses", "right", "rejections"] in lines
        assert ["true", "\\", "predicted,", "%", *one["confusion"]["classes"], "rows"] in lines
        for name, counts in zip(one["confusion"]["classes"], one["confusion"]["counts"], strict=True):
            total = sum(counts)
            shares = [f"{100 * count / total:.0f}" for count in counts] if total else []
            assert [name, *shares, f"{total}"] in lines
        for video, scores in one["videos"].items():
            shown = [f"{value:.3f}" for value in scores["metrics"].values()]
            assert [*video.split(), str(scores["rows"]), *shown] in lines
        assert "-0.000" not in output

    def test_one_video_has_no_intervals(self, judged):
        output, found = judged("run/gru", "--dataset", "single")
        assert "95 %" not in output
        assert output.count("no intervals: they need two videos") == 2
        for task in found["datasets"]["single"]["tasks"].values():
            assert {metric["interval"] for metric in task["metrics"].values()} == {None}

    def test_a_number_that_json_has_no_word_for_is_null(self):
        found = without_nan({"a": [1.5, math.nan, (math.inf, 2)], "b": {"c": -math.inf, "d": "nan"}})
        assert found == {"a": [1.5, None, [None, 2]], "b": {"c": None, "d": "nan"}}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run/gur", "error: run: there is no trained stage 'gur'; did you mean 'gru'?"),
        ("run --dataset heldout", "error: --dataset heldout: unknown dataset; did you mean 'held_out'?"),
        (
            "run --tune-on other --postprocess va=mean",
            "error: --tune-on other: unknown dataset; did you mean 'others'?",
        ),
        (
            "run --tune-on others",
            "error: --tune-on chooses the options of --postprocess, but there is none",
        ),
        ("run --postprocess au=mean", "error: --postprocess au=mean: unknown task; there are: expr, va"),
        ("run --format abaw55", "error: --format abaw55: unknown writer 'abaw55'; did you mean 'abaw5'?"),
        (
            "small.toml",
            "error: small.toml: a configuration alone has nothing to judge; name a RUN, or --predictions",
        ),
        ("nosuch.toml --predictions va.csv", "error: nosuch.toml: no such file"),
        (
            "small.toml --predictions va.csv",
            "error: --dataset must name what to judge on; there are: faces, videos, held_out, others, single",
        ),
        (
            "small.toml --predictions va.csv --dataset held_out --postprocess expr=mean",
            "error: --postprocess expr: the file has no such predictions (only of va)",
        ),
        (
            "small.toml --predictions va.csv --dataset held_out --postprocess expr=mean --tune-on others",
            "error: --postprocess expr: the file has no such predictions (only of va)",
        ),
        (
            "small.toml --predictions bad.csv --dataset held_out",
            "error: bad.csv line 2: column 'va.valence': must be a finite number, or empty (got 'high')",
        ),
        (
            "small.toml --predictions va.csv --dataset held_out --format abaw5",
            "error: va.csv line 1: the header must be ",
        ),
        (
            "small.toml --predictions va.csv --dataset held_out",
            "error: task 'va': each of the ",
        ),
        (
            "small.toml --predictions nosuch.csv",
            "Error: Invalid value for '--predictions': Path 'nosuch.csv'",
        ),
        ("alone", "error: alone: lies in no run, so no configuration names datasets"),
        ("run --draws -1", "Error: Invalid value for '--draws': -1 is not in the range"),
        ("run -o .", "Error: Invalid value for '-o' / '--output': File '.' is a directory."),
    ],
)
def test_wrong_usage_is_told_in_a_line(mtl, here, arguments, line):
    header = "name,video,frame,face,va.valence,va.arousal"
    Path("va.csv").write_text(f"{header}\nv/1,v,1,1,0.5,0.5\n")
    Path("bad.csv").write_text(f"{header}\nv/1,v,1,1,high,0.5\n")
    shutil.copytree("run/gru/best", "alone")
    code, output, errors = mtl("evaluate", *arguments.split(" "))
    assert (code, output) == (2, "")
    lines = errors.splitlines()
    assert lines[-1].startswith(line)
    assert lines[0] == lines[-1] or lines[0].startswith("Usage: ")
