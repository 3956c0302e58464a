"""examples/lsd-release.toml and mtl-challenge-s-aff-wild2.toml on small trees, up to accepted submissions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtl_toolkit import load_stage
from tests.challenge_trees import LSD_FOLDERS, MTL_HEADER, REAL, SYNTHETIC, write_lsd, write_s_aff_wild2

EXAMPLES = Path(__file__).parents[1] / "examples"
LSD, MTL = EXAMPLES / "lsd-release.toml", EXAMPLES / "mtl-challenge-s-aff-wild2.toml"

SMALL = ("trainer.device=cpu", "trainer.threads=1", "model.image_size=32", "model.backbone.name=resnet10t")
WIDTH = "model.backbone.options={ channels = [8, 8, 16, 16], stem_width = 8 }"


def sets(*overrides: str) -> list[str]:
    return [part for override in (*SMALL, WIDTH, *overrides) for part in ("--set", override)]


def ran(mtl: Any, example: Path, folder: Path, *overrides: str) -> tuple[Path, dict[str, Any]]:
    """Run an example; its directory, and the report's stages by name."""
    run = folder / "run"
    code, _, errors = mtl("run", str(example), "-o", str(run), *sets(*overrides))
    assert code == 0, errors
    report = json.loads((run / "report.json").read_text())
    return run, {stage["name"]: stage for stage in report["stages"]}


class TestLsd:
    @pytest.fixture(autouse=True)
    def root(self, tmp_path, monkeypatch):
        write_lsd(tmp_path / "lsd")
        monkeypatch.setenv("LSD_ROOT", str(tmp_path / "lsd"))
        return tmp_path / "lsd"

    def test_check_counts_the_pictures_of_each_class_folder(self, mtl, root):
        code, text, errors = mtl("check", str(LSD))
        assert (code, errors) == (0, "")
        lines = [" ".join(line.split()) for line in text.splitlines()]
        assert "train synthetic expr_look 48 256 expr 48 = 100%" in lines
        assert "validate real expr 24 expr 24 = 100%" in lines
        for part, names in ((SYNTHETIC, LSD_FOLDERS[:3]), (REAL, LSD_FOLDERS[:3])):
            counts = [len(list((root / part / name).iterdir())) for name in names]
            classes = zip(("anger", "disgust", "fear"), counts, strict=True)
            assert any(", ".join(f"{name} {count}" for name, count in classes) in line for line in lines)

    def test_an_ensemble_of_two_branches_predicts_the_test_set(self, mtl, root, tmp_path):
        """From the release to the file of the challenge."""
        run, stages = ran(
            mtl,
            LSD,
            tmp_path,
            "stages.two-branch.epochs=1",
            "stages.two-branch.seeds=2",
            "stages.two-branch.optimizer.lr=0.01",  # two steps at 0.1 would not train but blow up
            "stages.two-branch.streams.synthetic.batch_size=24",
        )
        assert {"real/expr/macro_f1", "real/expr/accuracy"} <= set(stages["ensemble"]["metrics"])
        assert (run / "two-branch" / "seed-2" / "best").is_dir()
        output = tmp_path / "predictions.txt"
        command = ("predict", f"{run}/ensemble", str(root / "test_set"), "--format", "lsd", "-o", str(output))
        code, _, errors = mtl(*command)
        assert (code, errors) == (0, "")
        header, *rows = output.read_text().splitlines()
        assert header == "image,expression"
        names = sorted(path.name for path in (root / "test_set").iterdir())
        assert [row.rpartition(",")[0] for row in rows] == names
        assert all(0 <= int(row.rpartition(",")[2]) < 6 for row in rows)


class TestMultiTask:
    @pytest.fixture(autouse=True)
    def root(self, tmp_path, monkeypatch):
        write_s_aff_wild2(tmp_path / "s-aff-wild2")
        monkeypatch.setenv("S_AFF_WILD2", str(tmp_path / "s-aff-wild2"))
        return tmp_path / "s-aff-wild2"

    def test_check_shows_three_tasks_of_the_same_frames(self, mtl, root):
        code, text, errors = mtl("check", str(MTL))
        assert (code, errors) == (0, "")
        lines = [" ".join(line.split()) for line in text.splitlines()]
        # Of the eight frames of each of four videos one lacks each kind of label.
        assert any(line.startswith("validate validation mtl 32 expr 28 = 88%") for line in lines)
        assert any(line.startswith("va 28 = 88%") for line in lines)
        assert any(line.startswith("aus 24 = 75% (+4 in part)") for line in lines)

    def test_tuned_thresholds_are_in_the_file_of_the_challenge(self, mtl, root, tmp_path):
        """From the annotations to P."""
        run, stages = ran(
            mtl,
            MTL,
            tmp_path,
            "stages.network.epochs=1",
            "stages.network.streams.train.batch_size=32",
        )
        wanted = {"expr/macro_f1", "va/score", "aus/mean_f1"}
        for name in ("network", "tuned"):
            assert {f"validation/{metric}" for metric in wanted} <= set(stages[name]["metrics"])
        terms = json.loads((run / "network" / "log.jsonl").read_text().splitlines()[0])["losses"]
        assert terms["mtl/distribution-matching"] > 0
        tuned = load_stage(run / "tuned")
        assert len(set(tuned.heads["aus"].thresholds)) > 1

        faces = root / "cropped_aligned"
        frames = sorted(path.relative_to(faces) for path in faces.glob("1[7-9]*/*"))
        listing, output = tmp_path / "list.txt", tmp_path / "mtl.txt"
        listing.write_text("".join(f"{frame}\n" for frame in frames))
        wanted_by = ("--format", "mtl", "--list", str(listing))
        code, _, errors = mtl("predict", f"{run}/tuned", str(faces), "-o", str(output), *wanted_by)
        assert (code, errors) == (0, "")
        header, *rows = output.read_text().splitlines()
        assert header == MTL_HEADER
        assert [row.partition(",")[0] for row in rows] == [str(frame) for frame in frames]
        assert {len(row.split(",")) for row in rows} == {16}
        code, _, errors = mtl("submission", "check", str(output), *wanted_by)
        assert (code, errors) == (0, "")
        code, text, errors = mtl("evaluate", f"{run}/tuned", "--format", "mtl", "--draws", "20")
        assert code == 0, errors
        assert "P" in text
