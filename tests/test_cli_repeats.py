"""Repeated stages on the command line: what is checked, shown, found and judged."""

from __future__ import annotations

import json
import shutil

import pytest

from mtl_toolkit import UserError, load_config, load_stage, run
from mtl_toolkit.cli.table import report_table
from mtl_toolkit.cli.trained import find_stage, trained_stages
from mtl_toolkit.report_html import mean_curve, value_text

JOB = """
name = "job"
[trainer]
device = "cpu"
threads = 1
[tasks.expr]
head = { type = "expression", hidden = 8 }
[datasets.a]
type = "synthetic-faces"
samples = 60
[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }
[defaults]
epochs = 1
epoch_length = 2
streams = [{ dataset = "a", task = "expr", batch_size = 8 }]
[[stages]]
name = "single"
folds = 2
validation = [{ dataset = "a", task = "expr" }]
[[stages]]
name = "last"
seeds = 2
"""
REPEATS = ["single/fold-1", "single/fold-2", "last/seed-1", "last/seed-2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    (folder / "job.toml").write_text(JOB)
    report = run(load_config(folder / "job.toml"), folder / "run")
    return report, folder / "run"


class TestCheck:
    def test_shows_a_repeated_stage_once_with_the_sizes_of_its_folds(self, mtl, tmp_path):
        path = tmp_path / "job.toml"
        path.write_text(JOB.replace("seeds = 2", "seeds = 2\nfolds = 3"))
        code, out, _ = mtl("check", str(path))
        assert code == 0
        assert [line for line in out.splitlines() if "an epoch" in line] == [
            "single (2 folds): 2 steps an epoch",
            "last (3 folds x 2 seeds): 2 steps an epoch",
        ]
        sizes = [line.partition("each: ")[2] for line in out.splitlines() if "samples of each" in line]
        assert [sum(map(int, line.split(", "))) for line in sizes] == [60, 60]
        assert [len(line.split(", ")) for line in sizes] == [2, 3]
        assert "job.toml: 2 stages, ready to run" in out

    def test_shows_stages_alike_together(self, mtl, tmp_path):
        path = tmp_path / "job.toml"
        path.write_text(JOB.replace("folds = 2\nvalid", "seeds = 3\n#"))
        _, out, _ = mtl("check", str(path))
        assert "single (3 seeds), last (2 seeds): 2 steps an epoch" in out


class TestFinding:
    def test_a_repeat_is_named_by_stage_and_repeat(self, finished):
        _, directory = finished
        for name in REPEATS:
            found = find_stage(str(directory / name))
            assert (found.run, found.name) == (directory, name)
            assert find_stage(str(directory / name / "last")).name == name

    def test_they_are_among_the_trained_stages_and_the_last_stands_for_the_run(self, finished):
        _, directory = finished
        assert trained_stages(directory) == REPEATS
        assert find_stage(str(directory)).name == "last/seed-2"

    def test_the_stage_alone_is_refused_with_the_names_of_its_repeats(self, finished):
        _, directory = finished
        with pytest.raises(
            UserError, match=r"stage 'single' is repeated; name one of single/fold-1, single/fold-2"
        ):
            find_stage(str(directory / "single"))
        with pytest.raises(UserError, match="name a stage of this run: fold-1, fold-2"):
            load_stage(directory / "single")

    def test_one_that_is_not_there_suggests_another(self, finished):
        _, directory = finished
        with pytest.raises(UserError, match=r"no trained stage 'single/fold-3'; did you mean 'single/fold-"):
            find_stage(str(directory / "single" / "fold-3"))

    def test_a_copied_repeat_lies_in_no_run(self, finished, tmp_path):
        _, directory = finished
        shutil.copytree(directory / "single" / "fold-1", tmp_path / "copy" / "mine")
        found = find_stage(str(tmp_path / "copy" / "mine"))
        assert (found.run, found.name) == (None, "mine")


class TestEvaluate:
    @pytest.mark.parametrize("fold", [1, 2])
    def test_judges_a_fold_on_what_it_has_not_seen(self, finished, mtl, tmp_path, fold):
        report, directory = finished
        code, _, err = mtl(
            "evaluate", str(directory / f"single/fold-{fold}"), "-o", str(tmp_path / "found.json")
        )
        assert code == 0, err
        found = json.loads((tmp_path / "found.json").read_text())["datasets"]["a"]
        entry = report["stages"][0]["repeats"][fold - 1]
        for name, one in found["tasks"]["expr"]["metrics"].items():
            assert one["value"] == pytest.approx(entry["metrics"][f"a/expr/{name}"], abs=1e-6)
        other = report["stages"][0]["repeats"][2 - fold]
        assert found["rows"] < 60
        assert entry["data"] == other["data"]

    def test_judges_a_seed_on_the_whole_of_a_dataset(self, finished, mtl, tmp_path):
        _, directory = finished
        out = str(tmp_path / "found.json")
        code, _, err = mtl("evaluate", str(directory / "last/seed-1"), "--dataset", "a", "-o", out)
        assert code == 0, err
        assert json.loads((tmp_path / "found.json").read_text())["datasets"]["a"]["rows"] == 60

    def test_of_data_that_has_changed_is_refused(self, finished, mtl, tmp_path):
        _, directory = finished
        shutil.copytree(directory, tmp_path / "run")
        config = tmp_path / "run" / "config.toml"
        config.write_text(config.read_text().replace("samples = 60", "samples = 64"))
        code, _, err = mtl("evaluate", str(tmp_path / "run" / "single" / "fold-1"))
        assert code == 2
        assert "datasets.a: has changed since 'single/fold-1' was trained, so its folds are others" in err


class TestTable:
    FACTS = (("best_epoch", 2), ("epochs", 3), ("seconds", 61), ("samples_per_second", 10.0))

    def stage(self, name, metrics, **more):
        return {"name": name, "metrics": metrics} | dict(self.FACTS) | more

    def test_has_means_with_deviations_and_no_epoch_of_a_repeated_stage(self):
        repeats = [self.stage("one/seed-1", {}), self.stage("one/seed-2", {})]
        stage = self.stage("one", {"val/va/ccc": 0.5}, std={"val/va/ccc": 0.0626}, repeats=repeats)
        table = report_table({"name": "job", "stages": [stage]})
        cells = [list(column.cells) for column in table.columns]
        assert cells[:3] == [["one (mean of 2)"], ["0.500 ± 0.063"], [""]]

    def test_has_a_column_of_scores_where_several_metrics_choose_the_epoch(self):
        metrics = {"val/va/ccc": 0.5, "val/expr/f1": 0.25}
        stages = [
            self.stage("one", metrics, score=0.75, select={"val/va/ccc": 1.0, "val/expr/f1": 1.0}),
            self.stage("two", metrics, score=0.25, select={"val/expr/f1": 1.0}),
        ]
        table = report_table({"name": "job", "stages": stages})
        assert table.columns[1].header == "score"
        assert list(table.columns[1].cells) == ["0.750", "0.250"]
        table = report_table({"name": "job", "stages": stages[1:]})
        assert "score" not in [column.header for column in table.columns]

    def test_a_value_without_deviation_stands_alone(self):
        stage = self.stage("one", {"x": 0.5, "y": None}, std={"x": None, "y": None}, score=None, repeats=[])
        assert value_text(stage, "x") == "0.500"
        assert value_text(stage, "y") == ""
        assert value_text(stage, "score") == ""


def test_the_mean_of_curves_is_over_the_epochs_that_all_have():
    assert mean_curve([{1: 1.0, 2: 2.0, 3: 9.0}, {1: 3.0, 2: 4.0}]) == {1: 2.0, 2: 3.0}
    assert mean_curve([{1: 1.0}]) == {1: 1.0}
