"""`mtl submission check`: takes what `mtl predict` writes for a test list, and names lines that are wrong."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mtl_toolkit import load_config, run

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
frames = 20
frames_spread = 0
missing = 0.3
seed = 2
[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }
[[stages]]
name = "cnn"
epochs = 1
streams = [
    { dataset = "faces", task = "expr", batch_size = 16 },
    { dataset = "faces", name = "more", task = "va", batch_size = 16 },
    { dataset = "faces", name = "units", task = "au", batch_size = 16 },
]
"""
VIDEOS = [f"seed 2 video {number:04}" for number in (2, 0)]
LIST = "".join(f"{video},21\n" for video in VIDEOS)  # a frame more than there are, as in Aff-Wild2
PICTURES = "".join(f"{video}/{frame:05}.jpg\n" for frame in (3, 1, 2) for video in VIDEOS)

FORMATS = {
    "expr": '{type="abaw5", task="expr"}',
    "va": '{type="abaw5", task="va"}',
    "au": '{type="abaw5", task="au"}',
    "mtl": "mtl",
    "abaw2": "abaw2",
    "abaw2-va": '{type="abaw2", tasks=["va"]}',
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A folder with a trained run, and test lists."""
    folder = tmp_path_factory.mktemp("written")
    (folder / "small.toml").write_text(CONFIG)
    run(load_config(folder / "small.toml"), folder / "run")
    (folder / "list.txt").write_text(LIST)
    (folder / "pictures.txt").write_text(PICTURES)
    return folder


@pytest.fixture
def here(written, tmp_path, monkeypatch) -> Path:
    """A current folder with the run and the lists."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "run").symlink_to(written / "run")
    for name in ("list.txt", "pictures.txt"):
        shutil.copy(written / name, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def submit(mtl, here) -> Callable[..., Path]:
    """Predict in a format, for a list."""

    def predict(name: str, listing: str = "list.txt") -> Path:
        arguments = ("run", "videos", "-o", "out", "--list", listing, "--format", FORMATS[name])
        code, output, errors = mtl("predict", *arguments, "--device", "cpu")
        assert (code, errors) == (0, "")
        rows = 42 if listing == "list.txt" else 6
        assert output.splitlines()[-1].startswith(f"out: {rows} rows")
        return Path("out")

    return predict


@pytest.fixture
def check(mtl) -> Callable[..., tuple[int, list[str]]]:
    """The exit code of a check, and the lines on standard error."""

    def checked(name: str, listing: str = "list.txt") -> tuple[int, list[str]]:
        code, output, errors = mtl("submission", "check", "out", "--list", listing, "--format", FORMATS[name])
        assert bool(output) == (code == 0)
        return code, errors.splitlines()

    return checked


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_for_a_list_of_videos_is_accepted(mtl, submit, name):
    submit(name)
    command = ("submission", "check", "out", "--list", "list.txt", "--format", FORMATS[name])
    assert mtl(*command) == (0, "out: complete, 2 videos of the list\n", "")


@pytest.mark.parametrize("name", ["expr", "va", "au", "mtl"])
def test_what_is_written_for_a_list_of_pictures_is_accepted(mtl, submit, name):
    submit(name, "pictures.txt")
    command = ("submission", "check", "out", "--list", "pictures.txt", "--format", FORMATS[name])
    assert mtl(*command) == (0, "out: complete, 6 pictures of the list\n", "")
    names = [line.split(",")[0] for line in Path("out").read_text().splitlines()[1:]]
    assert names == PICTURES.splitlines()


def test_listed_names_without_a_suffix_stay_as_they_are(submit, check):
    names = [name.removesuffix(".jpg") for name in PICTURES.splitlines()]
    Path("bare.txt").write_text("\n".join(["image_location", *names]))
    out = submit("va", "bare.txt")
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == names
    assert check("va", "bare.txt") == (0, [])


def test_every_listed_frame_has_its_own_prediction_or_the_nearest_earlier_one(mtl, submit):
    submit("va")
    assert mtl("predict", "run", "videos", "-o", "own.csv", "--device", "cpu")[0] == 0
    own = {}
    for line in Path("own.csv").read_text().splitlines()[1:]:
        fields = line.split(",")
        own[fields[1], int(fields[2])] = [float(field) for field in fields[-14:-12]]
    lines = Path("out").read_text().splitlines()[1:]
    assert len(lines) == 42
    for line in lines:
        name, *values = line.split(",")
        video, frame = name[:-10], int(name[-9:-4])
        there = sorted(number for other, number in own if other == video)
        nearest = max([number for number in there if number <= frame], default=there[0])
        assert [float(value) for value in values] == pytest.approx(own[video, nearest], abs=1e-5)


def test_each_line_that_is_wrong_is_named(submit, check):
    out = submit("va")
    header, *lines = out.read_text().splitlines()
    lines[0] = f"{lines[0].split(',')[0]},0.5,1.5"
    lines[1] = f"{lines[1].split(',')[0]},0.5"
    lines[2] = f"{lines[2].split(',')[0]},high,0.5"
    lines[3] = lines[4]
    lines[5] = "nobody/00001.jpg,0.5,0.5"
    del lines[-1]
    out.write_text("\n".join([header, *lines]))
    first, last = VIDEOS
    code, told = check("va")
    assert code == 1
    assert told == [
        f"error: out: video {first!r} must have a row for each frame from 1 to 21 (got 19, without frame 4)",
        f"error: out: video {last!r} must have a row for each frame from 1 to 21 (got 20, without frame 21)",
        "error: out line 2: arousal must be from -1 to 1 (got 1.5)",
        "error: out line 3: must have 3 fields (got 2)",
        "error: out line 4: must be numbers (got 'high')",
        f"error: out line 6: '{first}/00005.jpg' is there twice",
        "error: out line 7: video 'nobody' is not on the list",
    ]


@pytest.mark.parametrize(
    ("name", "place", "text", "problem"),
    [
        ("expr", 1, "{name},8", "line 2: expression must be a class from 0 to 7 (got 8)"),
        ("expr", 1, "{name},0.5", "line 2: expression must be a class from 0 to 7 (got 0.5)"),
        ("au", 3, "{name}" + ",0.5" * 12, "line 4: AU1 must be 0 or 1 (got 0.5)"),
        ("au", 3, "{name}" + ",1" * 11, "line 4: must have 13 fields (got 12)"),
        ("mtl", 6, "{name},0,0,1" + ",0" * 11 + ",2", "line 7: AU26 must be 0 or 1 (got 2)"),
        (
            "mtl",
            0,
            "image,valence,arousal",
            "line 1: the header must be 'image,valence,arousal,expression,aus'",
        ),
        ("va", 0, "image,valence,arousal", "line 1: the header must be 'image_location,"),
    ],
)
def test_a_line_of_another_format_is_named(submit, check, name, place, text, problem):
    out = submit(name, "pictures.txt")
    lines = out.read_text().splitlines()
    lines[place] = text.format(name=lines[place].split(",")[0])
    out.write_text("\n".join(lines))
    code, told = check(name, "pictures.txt")
    assert code == 1
    assert told[0].startswith(f"error: out {problem}")


def test_the_line_and_file_of_a_folder_are_named(submit, check):
    out = submit("abaw2")
    first, last = VIDEOS
    assert sorted(path.name for path in out.iterdir()) == ["AU_Set", "EXPR_Set", "VA_Set"]
    (out / "VA_Set" / f"{first}.txt").unlink()
    file = out / "EXPR_Set" / f"{last}.txt"
    header, *lines = file.read_text().splitlines()
    file.write_text("\n".join([header, "7", *lines[2:]]))
    code, told = check("abaw2")
    assert code == 1
    assert told == [
        f"error: {file}: must have 21 rows, one per frame (got 20)",
        f"error: {file} line 2: expression must be a class from 0 to 6 (got 7)",
        f"error: out/VA_Set: there is no {first}.txt, though the video is on the list",
    ]


def test_a_list_that_asks_for_more_is_not_met(submit, check):
    submit("va")
    Path("more.txt").write_text(f"{LIST}third,3\n")
    code, told = check("va", "more.txt")
    assert (code, told) == (1, ["error: out: there is no row for video 'third', which is on the list"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("out --list list.txt", "Error: Missing option '--format'."),
        ("out --format mtl", "Error: Missing option '--list'."),
        (
            "nosuch --list list.txt --format mtl",
            "Error: Invalid value for 'FILE': Path 'nosuch' does not exist.",
        ),
        (
            "out --list nosuch --format mtl",
            "Error: Invalid value for '--list': File 'nosuch' does not exist.",
        ),
        (
            "out --list list.txt --format mlt",
            "error: --format mlt: unknown writer 'mlt'; did you mean 'mtl'?",
        ),
        (
            """out --list list.txt --format '{type = "abaw5", tsk = "va"}'""",
            """error: --format {type = "abaw5", tsk = "va"}: tsk: unknown key; did you mean 'task'?""",
        ),
        (
            "out --list wrong.txt --format mtl",
            "error: wrong.txt line 2: must be a picture, as the lines before ",
        ),
        ("chekc", "Error: No such command 'chekc'."),
    ],
)
def test_wrong_usage_is_told_in_a_line(mtl, here, arguments, line):
    Path("out").write_text("image,valence,arousal,expression,aus\n")
    Path("wrong.txt").write_text("a.jpg\nvideo\n")
    command = [] if arguments == "chekc" else ["check"]
    code, output, errors = mtl("submission", *command, *shlex.split(arguments))
    assert (code, output) == (2, "")
    assert errors.splitlines()[-1].startswith(line)
