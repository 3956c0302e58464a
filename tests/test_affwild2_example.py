"""examples/abaw-affwild2.toml on small trees: from raw annotations to submissions that are accepted."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from mtl_affect.faces import EXPRESSIONS, take

from mtl_toolkit import DataFacts, load_config
from mtl_toolkit.cli import entry
from tests.affect_trees import (
    EXPR_HEADER,
    NO_FACE,
    VA_HEADER,
    Trees,
    cast,
    rendered,
    video,
    write_lines,
    write_trees,
)

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
    "defaults.optimizer.lr=1e-2",  # so that predictions differ after so few steps
    "defaults.streams.mixed_expr.batch_size=16",
    "defaults.streams.mixed_va.batch_size=16",
    "defaults.streams.expr_va.batch_size=16",
)
FRAMES = 44  # the last 35 of a video have all there is, and fill a window of 32
LEAK = "301-25-1280x720"  # for training in the EXPR set, for validation in the VA set

Mtl = Callable[..., tuple[int, str, str]]
Frame = tuple[str, int]
Row = dict[str, str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    return write_trees(tmp_path_factory.mktemp("databases"), frames=FRAMES)


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


def faces_with_both_labels(root: Path) -> int:
    """AffectNet's training faces of the seven classes with valence and arousal; contempt is 7."""
    with (root / "AffectNet" / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    return sum(int(row["expression"]) < 7 and float(row["valence"]) != -2 for row in rows)


# The databases as the example reads them


def test_check_shows_the_streams_with_what_is_in_the_files(trees, mtl):
    code, text, errors = mtl("check", str(EXAMPLE))
    assert (code, errors) == (0, "")
    assert text.endswith("abaw-affwild2.toml: 5 stages, ready to run\n")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    root = trees.root
    expressions = len(thinned_expressions(root)) + 28
    affect = len(list(in_training(root, "VA_Set/Train_Set"))[::5]) + len(list(root.glob("AFEW-VA/*/*/*.png")))
    faces = faces_with_both_labels(root)
    validation = [len(annotated(root, f"{name}/Validation_Set")) for name in ("EXPR_Set", "VA_Set")]
    assert f"train mixed_expr expr {expressions} 64 expr {expressions} = 100%" in lines
    assert any(line.startswith(f"train mixed_va va {affect} 64 expr ") for line in lines)
    assert f"va {affect} = 100%" in lines
    assert f"train expr_va expr_va {faces} 64 expr {faces} = 100%" in lines
    assert f"va {faces} = 100%" in lines
    assert f"validate validation_expr expr {validation[0]} expr {validation[0]} = 100%" in lines
    assert f"validate validation_va va {validation[1]} va {validation[1]} = 100%" in lines
    for stream, task, part in (("expr_windows", "expr", "EXPR_Set"), ("va_windows", "va", "VA_Set")):
        frames = len(in_training(root, f"{part}/Train_Set"))
        assert any(line.startswith(f"train {stream} {task} {frames} 16 x 32 expr ") for line in lines)


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
        drawn = video(0, names.index(name), FRAMES)
        assert EXPRESSIONS[drawn.labels.expression[frame]] == config.tasks["expr"].head.classes[labels[row]]
        expected = rendered(take(drawn, np.array([frame])), 96)[0]
        found = samples.read([row])[0].permute(1, 2, 0).numpy()
        assert np.abs(found.astype(float) - expected).mean() < 5


def test_test_videos_have_faces_and_no_annotations(trees):
    """The first and last frame of each are among those without a face."""
    root = trees.root / "Aff-Wild2"
    names = {name for name, folders in cast(1).items() if not folders}
    assert set(trees.test_clips) == names
    assert not names & {path.stem for path in root.glob("*_Set/*_Set/*.txt")}
    for name, clip in trees.test_clips.items():
        pictures = sorted(int(path.stem) for path in (root / "cropped_aligned" / name).iterdir())
        assert pictures == [number for number in range(1, FRAMES + 1) if clip.present[number - 1]]
        assert not {1, 5, 6, FRAMES} & set(pictures)


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


# From training to submissions


def finish(*arguments: str, **environment: str) -> None:
    """Run the command line in this process; it must do what it is asked to."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["mtl", *arguments])
        with pytest.raises(SystemExit) as stopped:
            entry()
    assert stopped.value.code == 0


@pytest.fixture(scope="module")
def run(written: Trees, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of the example, all of its stages."""
    path = tmp_path_factory.mktemp("runs") / "run"
    finish("run", str(EXAMPLE), "-o", str(path), *sets(*TINY), MTL_DATA=str(written.root))
    return path


@pytest.fixture(scope="module")
def faces(written: Trees, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test videos' folders of faces, alone in a folder."""
    folder = tmp_path_factory.mktemp("faces")
    for name in written.test_clips:
        (folder / name).symlink_to(written.root / "Aff-Wild2" / "cropped_aligned" / name)
    return folder


@pytest.fixture(scope="module")
def predicted(run: Path, faces: Path) -> dict[Frame, Row]:
    """What the last stage makes of each face of the test videos."""
    table = faces.parent / "predicted.csv"
    finish("predict", f"{run}/gru-student", str(faces), "-o", str(table))
    with table.open(newline="") as file:
        return {(row["video"], int(row["frame"])): row for row in csv.DictReader(file)}


def test_every_stage_trains_and_reports_its_metrics(run):
    stages = {stage["name"]: stage for stage in json.loads((run / "report.json").read_text())["stages"]}
    assert list(stages) == ["teacher", "student", "features", "gru-teacher", "gru-student"]
    wanted = {"validation_expr/expr/score", "validation_va/va/ccc_valence", "validation_va/va/ccc_arousal"}
    for name in ("teacher", "student", "gru-teacher", "gru-student"):
        assert wanted <= stages[name]["metrics"].keys()
        assert all(-1 <= stages[name]["metrics"][metric] <= 1 for metric in wanted)
        assert stages[name]["best_epoch"] == 1


@pytest.mark.parametrize("part", ["EXPR", "VA"])
def test_features_are_kept_of_every_annotated_frame(run, written, part):
    """For each task what its head's last layer reads: 128 numbers."""
    expected = {
        f"affwild2_{part.lower()}_frames": in_training(written.root, f"{part}_Set/Train_Set"),
        f"validation_{part.lower()}": annotated(written.root, f"{part}_Set/Validation_Set"),
    }
    for name, frames in expected.items():
        with h5py.File(run / "features" / f"{name}.h5") as file:
            found = [text.decode() for text in file["id"][()]]
            assert found == [picture(*frame) for frame in frames]
            for task in ("expr", "va"):
                assert file["features"][task].shape == (len(frames), 128)
                assert np.isfinite(file["features"][task][()]).all()


def test_predictions_are_there_for_every_face_and_differ(predicted, written):
    frames = [
        (name, number)
        for name, clip in sorted(written.test_clips.items())
        for number in range(1, FRAMES + 1)
        if clip.present[number - 1]
    ]
    assert list(predicted) == frames
    assert len({row["va.valence"] for row in predicted.values()}) > len(frames) / 2


def filled(predicted: dict[Frame, Row], trees: Trees) -> Iterator[tuple[Frame, Row]]:
    """A row for every frame of the test videos: its own, else that before it, else the video's first."""
    for name, clip in trees.test_clips.items():
        latest = predicted[name, 1 + clip.present.tolist().index(True)]
        for number in range(1, FRAMES + 1):
            latest = predicted.get((name, number), latest)
            yield (name, number), latest


def fields(row: Row, task: str) -> list[float]:
    """What a submission should say, in the order of the annotations' header."""
    if task == "va":
        return [float(row[f"va.{axis}"]) for axis in VA_HEADER.split(",")]
    scores = [float(row[f"expr.{name}"]) for name in EXPR_HEADER.lower().split(",")]
    return [scores.index(max(scores))]


def picture(video: str, number: int) -> str:
    return f"{video}/{number:05d}.jpg"


def write_list(path: Path, trees: Trees, edition: str) -> Path:
    """A test list with all frames: pictures for ABAW5, videos with their lengths for ABAW2."""
    if edition == "abaw5":
        frames = itertools.product(trees.test_clips, range(1, FRAMES + 1))
        write_lines(path, ["image_location", *(picture(*frame) for frame in frames)])
    else:
        write_lines(path, [f"{name} {FRAMES}" for name in trees.test_clips])
    return path


def submitted(path: Path, trees: Trees, header: str) -> dict[Frame, list[float]]:
    """The rows of a submission, of one file or of one per video."""
    found = {}
    if path.is_file():
        first, *lines = path.read_text().splitlines()
        assert first.startswith(f"image_location,{header}")
        for line in lines:
            name, *values = line.split(",")
            found[name[:-10], int(name[-9:-4])] = [float(value) for value in values]
        return found
    assert sorted(file.stem for file in path.iterdir()) == sorted(trees.test_clips)
    for name in trees.test_clips:
        first, *lines = (path / f"{name}.txt").read_text().splitlines()
        assert first == header
        for number, line in enumerate(lines, 1):
            found[name, number] = [float(value) for value in line.split(",")]
    return found


def spoil(path: Path, video: str, task: str) -> tuple[Path, dict[str, list[str]]]:
    """The file with a video's rows, and what could be in it instead, by what is wrong with that."""
    one, file = path.is_file(), path if path.is_file() else path / f"{video}.txt"
    lines = file.read_text().splitlines()
    lacking = NO_FACE[0]
    less = f"no row for '{picture(video, lacking)}'" if one else f"must have {FRAMES} rows"
    rule = {"expr": "must be a class from 0 to", "va": "must be from -1 to 1"}[task]
    start, comma, _ = lines[-1].rpartition(",")
    return file, {
        less: lines[:lacking] + lines[lacking + 1 :],
        rule: [*lines[:-1], f"{start}{comma}9"],
        "the header must be": [f"{lines[0]},more", *lines[1:]],
    }


@pytest.mark.parametrize(("edition", "option"), [("abaw5", "task = '{}'"), ("abaw2", "tasks = ['{}']")])
@pytest.mark.parametrize(("task", "header"), [("expr", EXPR_HEADER), ("va", VA_HEADER)])
def test_a_submission_covers_the_test_list_and_is_accepted_until_it_is_spoilt(
    run, faces, predicted, written, mtl, tmp_path, edition, option, task, header
):
    """Frames without a face are filled; faces that are not on the list are left out."""
    given = written.root / "Aff-Wild2" / "cropped_aligned" if edition == "abaw5" else faces
    listing = write_list(tmp_path / "list.txt", written, edition)
    output = tmp_path / "submission"
    form = f"{{ type = '{edition}', {option.format(task)} }}"
    wanted = ("--format", form, "--list", str(listing))
    code, _, errors = mtl("predict", f"{run}/gru-student", str(given), "-o", str(output), *wanted)
    assert (code, errors) == (0, "")

    found = submitted(output, written, header)
    expected = {frame: fields(row, task) for frame, row in filled(predicted, written)}
    assert list(found) == list(expected)
    for frame, values in expected.items():
        assert found[frame] == pytest.approx(values, abs=2e-6)

    for names in (listing, written.test_lists["EXPR_Set"]):
        check = ("submission", "check", str(output), "--format", edition, "--list")
        code, _, errors = mtl(*check, str(names))
        assert (code, errors) == (0, "")
    file, spoilt = spoil(output, next(iter(written.test_clips)), task)
    for problem, lines in spoilt.items():
        write_lines(file, lines)
        code, _, errors = mtl(*check, str(listing))
        assert code == 1
        assert errors.startswith(f"error: {file}")
        assert problem in errors
