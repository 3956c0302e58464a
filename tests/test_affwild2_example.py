"""examples/abaw-affwild2.toml on small trees: what it reads, refuses, and trains."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mtl_affect.faces import EXPRESSIONS, take

from mtl_toolkit import DataFacts, load_config
from tests.affect_trees import EXPR_HEADER, Trees, cast, rendered, video, write_trees

EXAMPLE = Path(__file__).parents[1] / "examples" / "abaw-affwild2.toml"

# Two steps an epoch of 32x32 faces through a small network.
TINY = (
    "trainer.device=cpu",
    "trainer.threads=1",
    "model.image_size=32",
    "model.backbone.name=resnet10t",
    "model.backbone.options={ channels = [8, 8, 16, 16], stem_width = 8 }",
    "defaults.epochs=1",
    "defaults.epoch_length=2",
    "defaults.streams.mixed_expr.batch_size=16",
    "defaults.streams.mixed_va.batch_size=16",
    "defaults.streams.expr_va.batch_size=16",
)
LEAK = "301-25-1280x720"  # for training in the EXPR set, for validation in the VA set

Mtl = Callable[..., tuple[int, str, str]]
Frame = tuple[str, int]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    return write_trees(tmp_path_factory.mktemp("databases"))


@pytest.fixture
def trees(written: Trees, monkeypatch: pytest.MonkeyPatch) -> Trees:
    monkeypatch.setenv("MTL_DATA", str(written.root))
    return written


@pytest.fixture
def copy(written: Trees, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the databases, to damage."""
    root = tmp_path / "databases"
    shutil.copytree(written.root, root)
    monkeypatch.setenv("MTL_DATA", str(root))
    return root


def sets(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def annotated(root: Path, folder: str) -> dict[Frame, str]:
    """The annotated frames of a folder of Aff-Wild2 that have a picture, videos by name."""
    found = {}
    for path in sorted((root / "Aff-Wild2" / folder).glob("*.txt")):
        _, *rows = path.read_text().splitlines()
        for number, row in enumerate(rows, 1):
            picture = root / "Aff-Wild2" / "cropped_aligned" / path.stem / f"{number:05d}.jpg"
            if picture.exists() and row not in {"-1", "-5,-5"}:
                found[path.stem, number] = row
    return found


def in_training(root: Path, folder: str) -> dict[Frame, str]:
    """Those of the videos that no set has for validation."""
    return {frame: row for frame, row in annotated(root, folder).items() if frame[0] != LEAK}


def thinned_expressions(root: Path) -> dict[Frame, str]:
    """Of neutral (0) 1 in 10, of happiness (4) and sadness (5) 1 in 2."""
    kept, seen, every = {}, Counter[str](), {"0": 10, "4": 2, "5": 2}
    for frame, row in in_training(root, "EXPR_Set/Train_Set").items():
        if seen[row] % every.get(row, 1) == 0:
            kept[frame] = row
        seen[row] += 1
    return kept


def faces_with_a_label(root: Path) -> Counter[str]:
    """AffectNet's training faces, and those that have which label of the tasks; contempt is 7."""
    counts: Counter[str] = Counter()
    with (root / "AffectNet" / "training.csv").open() as file:
        for row in csv.DictReader(file):
            labels = {"expr": int(row["expression"]) < 7, "va": float(row["valence"]) != -2}
            counts.update(task for task, has in labels.items() if has)
            counts["samples"] += any(labels.values())
    return counts


# The databases as the example reads them


def test_check_shows_the_streams_with_what_is_in_the_files(trees, mtl):
    code, text, errors = mtl("check", str(EXAMPLE))
    assert (code, errors) == (0, "")
    assert text.endswith("abaw-affwild2.toml: 2 stages, ready to run\n")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    root = trees.root
    expressions = len(thinned_expressions(root)) + 28
    affect = len(list(in_training(root, "VA_Set/Train_Set"))[::5]) + len(list(root.glob("AFEW-VA/*/*/*.png")))
    faces = faces_with_a_label(root)
    validation = [len(annotated(root, f"{name}/Validation_Set")) for name in ("EXPR_Set", "VA_Set")]
    assert f"train mixed_expr expr {expressions} 64 expr {expressions} = 100%" in lines
    assert any(line.startswith(f"train mixed_va va {affect} 64 expr ") for line in lines)
    assert f"va {affect} = 100%" in lines
    assert any(line.startswith(f"train expr_va expr_va {faces['samples']} 64 expr ") for line in lines)
    assert any(line.startswith(f"va {faces['va']} = ") for line in lines)
    assert f"validate validation_expr expr {validation[0]} expr {validation[0]} = 100%" in lines
    assert f"validate validation_va va {validation[1]} va {validation[1]} = 100%" in lines


@pytest.mark.parametrize("name", ["affwild2_expr", "affwild2_va"])
def test_a_thinned_frame_has_its_own_label_and_that_of_the_other_set(trees, name):
    config = load_config(EXAMPLE).config
    heads = {task: config.tasks[task].head for task in ("expr", "va")}
    samples = config.datasets[name].build(DataFacts(heads, 32))
    expressions = annotated(trees.root, "EXPR_Set/Train_Set")
    affect = annotated(trees.root, "VA_Set/Train_Set")
    frames = {
        "affwild2_expr": list(thinned_expressions(trees.root)),
        "affwild2_va": list(in_training(trees.root, "VA_Set/Train_Set"))[::5],
    }[name]
    assert [samples.id(row) for row in range(len(samples))] == [f"{v}/{n:05d}.jpg" for v, n in frames]
    labels = samples.labels()
    names = EXPR_HEADER.lower().split(",")
    order = [heads["expr"].meaning()["classes"].index(found) for found in names]
    for row, frame in enumerate(frames):
        assert labels["expr"].valid[row] == (frame in expressions)
        assert labels["va"].valid[row].tolist() == [frame in affect] * 2
        if frame in expressions:
            assert labels["expr"].values[row] == order[int(expressions[frame])]
        if frame in affect:
            expected = [float(value) for value in affect[frame].split(",")]
            assert labels["va"].values[row].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("part", ["EXPR", "VA"])
def test_datasets_for_windows_have_every_annotated_frame(trees, part):
    config = load_config(EXAMPLE).config
    recipe = config.datasets[f"affwild2_{part.lower()}_frames"]
    heads = {task: config.tasks[task].head for task in ("expr", "va")}
    samples = recipe.build(DataFacts(heads, 32))
    found = zip(samples.column("video").tolist(), samples.column("frame").tolist(), strict=True)
    expected = in_training(trees.root, f"{part}_Set/Train_Set")
    assert [(video.decode(), number) for video, number in found] == list(expected)


def test_a_picture_shows_what_its_frame_is_labelled_with(trees):
    """Drawn anew from the labels' own parameters; JPEG and noise change little."""
    config = load_config(EXAMPLE).config
    samples = config.datasets["affwild2_expr"].build(DataFacts({"expr": config.tasks["expr"].head}, 96))
    names, labels = list(cast(1)), samples.labels()["expr"].values
    for row in range(0, len(samples), 5):
        name, _, file = samples.id(row).partition("/")
        frame = int(Path(file).stem) - 1
        drawn = video(0, names.index(name), 24)
        assert EXPRESSIONS[drawn.labels.expression[frame]] == config.tasks["expr"].head.classes[labels[row]]
        expected = rendered(take(drawn, np.array([frame])), 96)[0]
        found = samples.read([row])[0].permute(1, 2, 0).numpy()
        assert np.abs(found.astype(float) - expected).mean() < 5


def test_test_videos_have_faces_and_no_annotations(trees):
    """The first frame of each is among those without a face."""
    root = trees.root / "Aff-Wild2"
    names = {name for name, folders in cast(1).items() if not folders}
    assert set(trees.test_clips) == names
    assert not names & {path.stem for path in root.glob("*_Set/*_Set/*.txt")}
    for name, clip in trees.test_clips.items():
        pictures = sorted(int(path.stem) for path in (root / "cropped_aligned" / name).iterdir())
        assert pictures == [number for number in range(1, 25) if clip.present[number - 1]]
        assert not {1, 5, 6} & set(pictures)


# What is refused


def test_a_video_in_both_halves_is_refused_unless_it_is_left_out(trees, mtl):
    code, _, errors = mtl("check", str(EXAMPLE), *sets("datasets.affwild2_expr.cross_split=keep"))
    assert code == 2
    shared = f"training stream 'mixed_expr' and validation 'validation_va' share 1 group (aff-wild2: {LEAK})"
    assert f"error: stages.teacher: {shared}; set allow_overlap = true to train all the same" in errors


def test_a_missing_picture_is_named(copy, mtl):
    (copy / "AFEW-VA/01/001/00003.png").unlink()
    code, _, errors = mtl("check", str(EXAMPLE))
    assert code == 2
    assert (
        errors
        == f"error: mixed_va: afew-va AFEW-VA: there is no picture 01/001/00003.png in {copy}/AFEW-VA\n"
    )


def test_a_missing_table_is_named(copy, mtl):
    (copy / "AffectNet/training.csv").rename(copy / "AffectNet/trainning.csv")
    code, _, errors = mtl("check", str(EXAMPLE))
    assert code == 2
    assert errors == (
        f"error: datasets.affectnet: affectnet: there is no table {copy}/AffectNet/training.csv; "
        "did you mean 'trainning.csv'?\n"
    )


def test_the_folder_of_the_databases_is_asked_for(mtl, monkeypatch):
    monkeypatch.delenv("MTL_DATA", raising=False)
    code, _, errors = mtl("check", str(EXAMPLE))
    assert code == 2
    assert errors.splitlines()[0] == (
        "error: abaw-affwild2.toml: datasets.affwild2_expr.root: "
        "the environment variable MTL_DATA is not set (got '${MTL_DATA}/Aff-Wild2')"
    )


# Training


@pytest.mark.usefixtures("trees")
def test_teacher_and_student_train_and_report_their_metrics(mtl, tmp_path):
    code, _, errors = mtl("run", str(EXAMPLE), "-o", str(tmp_path / "run"), *sets(*TINY))
    assert code == 0, errors
    stages = json.loads((tmp_path / "run" / "report.json").read_text())["stages"]
    assert [stage["name"] for stage in stages][:2] == ["teacher", "student"]
    wanted = {"validation_expr/expr/score", "validation_va/va/ccc_valence", "validation_va/va/ccc_arousal"}
    for stage in stages[:2]:
        assert wanted <= stage["metrics"].keys()
        assert all(-1 <= stage["metrics"][name] <= 1 for name in wanted)
        assert stage["best_epoch"] == 1
