"""examples/lsd-release.toml on a small tree, up to the submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.challenge_trees import LSD_FOLDERS, REAL, SYNTHETIC, write_lsd

EXAMPLES = Path(__file__).parents[1] / "examples"
LSD = EXAMPLES / "lsd-release.toml"

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
