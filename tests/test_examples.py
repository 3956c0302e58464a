"""The examples can be read, and the one for licensed databases fits the layout that it describes."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

from mtl_toolkit.config import load_config

EXAMPLES = Path(__file__).parents[1] / "examples"
AFFWILD2 = EXAMPLES / "abaw-affwild2.toml"

Row = dict[str, object]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_an_example_is_valid_and_its_resolved_form_says_the_same(example, tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_DATA", str(tmp_path))
    loaded = load_config(example)
    resolved = tmp_path / "config.toml"
    resolved.write_text(loaded.to_toml(), encoding="utf-8")
    again = load_config(resolved)
    assert again.config == loaded.config
    assert again.to_toml() == loaded.to_toml()


class Databases:
    """A few tiny pictures in the layout that abaw-affwild2.toml describes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        faces = list(itertools.product("ab", range(7)))
        frames = [
            {"file": f"{video}/{frame:05}.jpg", "video": f"aff-wild2/{video}", "split": split}
            for split, video in (("train", "one"), ("train", "two"), ("validation", "three"))
            for frame in range(7)
        ]
        labels = [{"expression": place % 7, "valence": 0.1, "arousal": -0.2} for place in range(len(frames))]
        labels[3] |= {"valence": -5, "arousal": -5}
        self.expr = [frame | label for frame, label in zip(frames, labels, strict=True)]
        labels[4] |= {"expression": -1}
        self.va = [frame | label for frame, label in zip(frames, labels, strict=True)]
        self.write("aff-wild2/expr.csv", "cropped_aligned", self.expr)
        self.write("aff-wild2/va.csv", "cropped_aligned", self.va)
        self.write(
            "expw/labels.csv",
            "faces",
            [{"file": f"{a}{b}.jpg", "picture": f"expw/{a}.jpg", "expression": b} for a, b in faces],
        )
        self.write(
            "afew-va/labels.csv",
            "faces",
            [
                {"file": f"{a}/{b}.jpg", "video": f"afew-va/{a}", "valence": -10, "arousal": b}
                for a, b in faces
            ],
        )
        self.write(
            "affectnet/labels.csv",
            "faces",
            [
                {"file": f"{place}.jpg", "expression": place % 8, "valence": 0.5, "arousal": -0.5}
                for place in range(16)
            ],
        )

    def write(self, table: str, pictures: str, rows: Iterable[Row]) -> None:
        """Write a table, and a picture for each of its rows."""
        rows = list(rows)
        path = self.folder / table
        path.parent.mkdir(exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        for row in rows:
            picture = path.parent / pictures / str(row["file"])
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (200, 150, 120)).save(picture)


@pytest.fixture
def databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Databases:
    monkeypatch.setenv("MTL_DATA", str(tmp_path))
    return Databases(tmp_path)


@pytest.fixture
def check(mtl: Callable[..., tuple[int, str, str]]) -> Callable[[], tuple[int, str, str]]:
    """Run `mtl check` on the example: (exit code, standard output, standard error)."""
    return lambda: mtl("check", str(AFFWILD2))


class TestAffWild2:
    @pytest.mark.usefixtures("databases")
    def test_shows_streams_with_counts_coverage_classes_and_ranges(self, check):
        code, text, errors = check()
        assert (code, errors) == (0, "")
        assert text.endswith("abaw-affwild2.toml: 2 stages, ready to run\n")
        lines = [" ".join(line.split()) for line in text.splitlines()]
        assert "teacher, student: 1 step an epoch" in lines
        # 14 training frames of Aff-Wild2 and 14 faces of ExpW, which has no valence and arousal.
        assert "train mixed_expr expr 28 64 expr 28 = 100%" in lines
        assert "neutral 4, anger 4, disgust 4, fear 4" in lines
        assert "va 13 = 46%" in lines
        # One frame lacks its values, another its class.
        assert "train mixed_va va 28 64 expr 13 = 46%" in lines
        assert "valence -1.00 .. 0.10 (mean -0.47), arousal -0.20 .. 0.60 (mean 0.06)" in lines
        # Two of AffectNet's sixteen are contempt.
        assert "train expr_va expr_va 14 64 expr 14 = 100%" in lines
        assert "validate validation_expr expr 7 expr 7 = 100%" in lines
        assert "validate validation_va va 7 va 7 = 100%" in lines

    def test_refuses_a_video_in_training_and_validation(self, check, databases):
        databases.expr[0] |= {"split": "validation"}
        databases.write("aff-wild2/expr.csv", "cropped_aligned", databases.expr)
        code, _, errors = check()
        assert code == 2
        lines = errors.splitlines()
        assert all(line.startswith("error: stages.") for line in lines)
        shared = "training stream 'mixed_expr' and validation 'validation_expr' share 1 group "
        shared += f"({databases.folder / 'aff-wild2' / 'cropped_aligned'}: aff-wild2/one)"
        assert f"error: stages.teacher: {shared}; set allow_overlap = true to train all the same" in lines

    def test_refuses_a_missing_picture(self, check, databases):
        (databases.folder / "afew-va" / "faces" / "b" / "3.jpg").unlink()
        code, _, errors = check()
        assert code == 2
        folder = databases.folder / "afew-va" / "faces"
        assert errors == (
            f"error: mixed_va: afew-va/labels.csv line 12: there is no picture b/3.jpg in {folder}\n"
        )

    def test_refuses_a_missing_table(self, check, databases):
        (databases.folder / "expw" / "labels.csv").unlink()
        code, _, errors = check()
        assert code == 2
        path = databases.folder / "expw" / "labels.csv"
        assert errors == f"error: datasets.expw: {path}: No such file or directory\n"

    def test_asks_for_the_folder_of_the_databases(self, check, monkeypatch):
        monkeypatch.delenv("MTL_DATA", raising=False)
        code, _, errors = check()
        assert code == 2
        first = errors.splitlines()[0]
        assert first == (
            "error: abaw-affwild2.toml: datasets.affwild2_expr.csv: "
            "the environment variable MTL_DATA is not set (got '${MTL_DATA}/aff-wild2/expr.csv')"
        )
