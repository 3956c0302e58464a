"""`mtl data pack`: what is written, who writes it, what stops it, and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from mtl_toolkit import ConfigError, Dataset, TensorSamples
from mtl_toolkit.cli.sample_bar import SampleBar

MODEL = '[model]\nimage_size = 10\nbackbone = { type = "timm", name = "resnet10t" }\n'
CONFIG = f"""
name = "packed"
{MODEL}
[tasks.expr]
head = "expression"
[datasets.mine]
type = "image-csv"
csv = "table.csv"
group = "who"
labels = {{ expr = {{ column = "label" }} }}
[[stages]]
name = "one"
streams = [{{ dataset = "mine", task = "expr" }}]
"""
SKIP = ("--set", 'datasets.mine.on_error="skip"')

# A dataset that writes a file of its own kind.
WRITER = '''
from pathlib import Path
from typing import ClassVar

import attrs

from mtl_toolkit import Dataset, hookimpl


@attrs.frozen(kw_only=True)
class Notes(Dataset):
    """Notes."""

    name: ClassVar[str] = "notes"

    def build(self, facts): ...

    @classmethod
    def write(cls, path, samples, heads, **options):
        path.write_text(f"{len(samples)} {options['size']} {options['workers']}")
        return len(samples)


@hookimpl
def mtl_datasets():
    return [Notes]
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A configuration with four pictures, of which the third is torn; the current folder is theirs."""
    monkeypatch.chdir(tmp_path)
    lines = ["file,label,who"]
    for number in range(4):
        Image.new("RGB", (6, 6), (60 * number, 0, 0)).save(f"{number}.png")
        lines.append(f"{number}.png,{'anger' if number % 2 else ''},w{number // 2}")
    Path("2.png").write_bytes(Path("2.png").read_bytes()[:40])
    Path("table.csv").write_text("\n".join(lines))
    Path("mine.toml").write_text(CONFIG)
    return tmp_path


def inspected(mtl, *arguments):
    code, out, _ = mtl("data", "inspect", *arguments, "--json")
    assert code == 0
    (found,) = json.loads(out)["datasets"].values()
    return found


def test_a_plugin_s_samples_are_packed_with_all_their_labels(mtl, tmp_path):
    output = tmp_path / "faces.h5"
    faces = ("synthetic-faces", "--set", "samples=30", "--set", "seed=4")
    code, out, errors = mtl("data", "pack", *faces, "-o", str(output), "--size", "16", "--workers", "0")
    assert (code, errors) == (0, "")
    assert out.startswith(f"{output}: 30 samples, 0.")
    packed = inspected(mtl, "hdf5", "--set", f"path={output}")
    assert packed == inspected(mtl, *faces)


def test_a_dataset_of_a_file_is_packed_as_the_model_reads_it(mtl, mine):
    code, out, _ = mtl("data", "pack", "mine.toml", "-o", "mine.h5", *SKIP, "--workers", "1")
    assert code == 0
    assert out.startswith("mine.h5: 3 samples, 1 that cannot be read left out, 0.")
    import h5py

    with h5py.File("mine.h5") as file:
        made = json.loads(file.attrs["preprocessing"])
        assert file["group"][0].decode() == f"{mine}: w0"
    assert (made["size"], made["quality"], made["origin"]["type"]) == (12, 95, "image-csv")
    assert inspected(mtl, "hdf5", "--set", "path=mine.h5")["coverage"]["expression"]["labelled"] == 2


def test_a_sample_that_cannot_be_read_stops_and_skipping_it_goes_on(mtl, mine):
    code, out, errors = mtl("data", "pack", "mine.toml", "mine", "-o", "mine.h5")
    assert (code, out) == (1, "")
    assert errors.startswith(f"error: {mine / '2.png'}: ")
    assert errors.count("\n") == 1
    assert not Path("mine.h5").exists()
    plan = Path(".mine.h5.parts/plan.json").read_bytes()
    code, _, _ = mtl("data", "pack", "mine.toml", "mine", "-o", "mine.h5", *SKIP)
    assert code == 0
    assert b"on_error" not in plan
    assert not Path(".mine.h5.parts").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("mine.toml nosuch -o x.h5", "error: mine.toml: unknown dataset 'nosuch'; there are: mine"),
        ("nosuch -o x.h5", "error: unknown dataset 'nosuch'; there are: "),
        ("mine.toml -o x.h5 --format image-csv", "error: --format: dataset 'image-csv' writes no files; "),
        ("mine.toml -o x.h5 --format hdf", "error: unknown dataset 'hdf'; did you mean 'hdf5'?"),
        ("mine.toml -o x.h5 --quality 0", "Error: Invalid value for '--quality': 0 is not in the range"),
        ("mine.toml", "Error: Missing option '-o' / '--output'."),
        ("mine.toml -o .", "Error: Invalid value for '-o' / '--output': File '.' is a directory."),
    ],
)
def test_wrong_usage_is_told_in_a_line(mtl, mine, arguments, line):
    code, out, errors = mtl("data", "pack", *arguments.split())
    assert (code, out) == (2, "")
    assert errors.splitlines()[-1].startswith(line)
    assert not list(mine.glob("*.h5"))


def test_one_of_several_datasets_must_be_named(mtl, mine):
    Path("mine.toml").write_text(CONFIG + '[datasets.more]\ntype = "synthetic-faces"\n')
    code, _, errors = mtl("data", "pack", "mine.toml", "-o", "x.h5")
    assert code == 2
    assert errors == "error: mine.toml: name the DATASET to pack; there are: mine, more\n"


def test_of_several_plugins_that_write_one_must_be_named(mtl, mine, packages):
    packages.add("notes", {"notes": WRITER})
    command = ("data", "pack", "synthetic-faces", "--set", "samples=3", "-o", "x")
    code, _, errors = mtl(*command)
    assert (code, errors) == (
        2,
        "error: --format must name the dataset plugin that is to write; there are: hdf5, notes\n",
    )
    code, _, _ = mtl(*command, "--format", "notes", "--workers", "3", "--size", "20")
    assert (code, Path("x").read_text()) == (0, "3 20 3")
    code, _, _ = mtl(*command, "--disable-plugin", "mtl-std:hdf5")
    assert code == 0


def test_without_a_plugin_that_writes_there_is_none(mtl, mine):
    command = ("data", "pack", "synthetic-faces", "-o", "x", "--disable-plugin", "mtl-std:hdf5")
    code, _, errors = mtl(*command)
    assert (code, errors) == (
        2,
        "error: --format must name the dataset plugin that is to write; there are: none\n",
    )


def test_a_dataset_writes_no_files_unless_it_says_how():
    class Mine(Dataset):
        name = "mine"

        def build(self, facts): ...

    with pytest.raises(ConfigError, match=r"^dataset 'mine' writes no files$"):
        Mine.write(Path("x"), TensorSamples(torch.zeros(0), {}), {}, size=8)


def test_lines_tell_how_far_it_is_where_there_is_no_bar(capsys, monkeypatch):
    now = iter(range(0, 1000, 40))
    monkeypatch.setattr("mtl_toolkit.cli.sample_bar.time.monotonic", lambda: next(now))
    with SampleBar(9000, Console(stderr=True, force_terminal=False)) as bar:
        for done in (1000, 3000, 5000):
            bar(done)
    assert capsys.readouterr().err.splitlines() == [
        "going on at 1,000 of 9,000 samples",
        "3,000 of 9,000 samples, 17 a second",
    ]


@pytest.mark.slow  # each starts the command line twice
@pytest.mark.parametrize(("number", "code", "workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 0)])
def test_a_signal_keeps_what_is_done_and_the_same_command_goes_on(tmp_path, number, code, workers):
    output = tmp_path / "faces.h5"
    arguments = ["synthetic-faces", "--set", "samples=9000", "--size", "16", "--workers", str(workers)]
    command = [sys.executable, "-m", "mtl_toolkit", "data", "pack", *arguments, "-o", str(output)]

    def start():
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )

    def rest_of(process):
        with process:
            return process.wait(timeout=120), process.stderr.read()

    process = start()
    while not (tmp_path / ".faces.h5.parts" / "000000.part").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, number)
    found, errors = rest_of(process)
    assert found == code
    assert "of 9,000 samples; the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert not output.exists()
    found, errors = rest_of(start())
    assert found == 0
    assert errors.startswith("going on at ")
    assert [path.name for path in tmp_path.iterdir()] == ["faces.h5"]
