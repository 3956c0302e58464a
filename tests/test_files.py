"""Files and folders are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mtl_toolkit import RunError
from mtl_toolkit.files import read_json, recover_folder, replacing_folder, write_json, write_text
from mtl_toolkit.rundir import RunDirectory, StageDirectory, differences


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_text_file_is_replaced(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "one")
    write_text(path, "zwei: äöü")
    assert path.read_text(encoding="utf-8") == "zwei: äöü"
    assert everything(tmp_path) == ["deep", "deep/a.txt"]


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_gives_one_line(tmp_path, monkeypatch, where):
    path = tmp_path / "a.txt"
    write_text(path, "good")
    monkeypatch.setattr(*((os, "fsync") if where == "fsync" else (Path, "replace")), full_disk)
    with pytest.raises(RunError) as caught:
        write_text(path, "new")
    assert caught.value.problems == (
        f"{path}: cannot be saved: No space left on device; the last good state on disk is kept",
    )
    assert path.read_text() == "good"
    assert everything(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_made_gives_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (write_json, lambda path, _: replacing_folder(path).__enter__()):
        with pytest.raises(RunError, match=r"cannot be saved: (Not a directory|File exists)"):
            write(tmp_path / "file" / "a", {})
    with pytest.raises(RunError, match="cannot be saved"):
        StageDirectory(tmp_path / "file" / "stage").log({"epoch": 1})


def test_numbers_read_back_exactly(tmp_path):
    values = {"a": 0.1 + 0.2, "b": -float("inf"), "c": 2**63, "d": 5e-324}
    write_json(tmp_path / "a.json", values)
    assert read_json(tmp_path / "a.json") == values


@pytest.mark.parametrize("text", [None, "", '{"a": 1', "\x00\x01"])
def test_a_missing_or_damaged_json_file_is_named(tmp_path, text):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunError, match=r"a\.json: cannot be read"):
        read_json(path)


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for name in ("one", "two"):
        with replacing_folder(tmp_path / "best") as folder:
            (folder / name).write_text(name)
    assert everything(tmp_path) == ["best", "best/two"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()]
)
def test_the_old_folder_stays_if_filling_the_new_one_fails(tmp_path, error):
    with replacing_folder(tmp_path / "best") as folder:
        (folder / "one").write_text("good")

    def fill():
        with replacing_folder(tmp_path / "best") as folder:
            (folder / "one").write_text("bad")
            raise error

    with pytest.raises(RunError if isinstance(error, OSError) else type(error)):
        fill()
    assert everything(tmp_path) == ["best", "best/one"]
    assert (tmp_path / "best" / "one").read_text() == "good"


@pytest.mark.parametrize("cut", ["first rename", "second rename", "removing"])
def test_a_replacement_cut_short_is_finished_or_undone(tmp_path, monkeypatch, cut):
    class Killed(BaseException):
        """The process ended here."""

    def fill(text):
        with replacing_folder(tmp_path / "best") as folder:
            (folder / "one").write_text(text)

    fill("old")
    renames = 0

    def rename(path, target, original=Path.rename):
        nonlocal renames
        renames += 1
        if cut == ("first rename", "second rename", "")[renames - 1]:
            raise Killed
        return original(path, target)

    def remove(path, ignore_errors, original=shutil.rmtree):
        if cut == "removing" and path.name == ".best.old":
            raise Killed
        original(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        patch.setattr("shutil.rmtree", remove)
        with pytest.raises(Killed):
            fill("new")
    recover_folder(tmp_path / "best")
    assert (tmp_path / "best" / "one").read_text() == ("new" if cut == "removing" else "old")
    fill("newest")
    assert everything(tmp_path) == ["best", "best/one"]


def test_a_real_limit_on_file_sizes_keeps_the_old_file(tmp_path):
    """As a full disk does, it fails in the middle of a write."""
    script = """
        import resource, sys
        from pathlib import Path
        from mtl_toolkit.files import write_text
        from mtl_toolkit import RunError
        path = Path(sys.argv[1])
        write_text(path, "good")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_text(path, "bad" * 10_000)
        except RunError as error:
            print(*error.problems)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "a.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "a.txt: cannot be saved: File too large" in done.stdout
    assert everything(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "good"


def test_a_log_is_read_up_to_a_line_that_was_cut_short(tmp_path):
    stage = StageDirectory(tmp_path / "s")
    assert stage.log_lines() == []
    lines = [{"epoch": 1, "step": 2}, {"epoch": 1, "metrics": {}}, {"epoch": 2, "step": 2}]
    for line in lines:
        stage.log(line)
    with (tmp_path / "s" / "log.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')
    assert stage.log_lines() == lines
    assert stage.epochs() == [lines[1]]


def test_a_log_is_cut_back_to_a_checkpoint(tmp_path):
    stage = StageDirectory(tmp_path)
    for epoch in (1, 2):
        for step in (2, 4):
            stage.log({"epoch": epoch, "step": step})
        stage.log({"epoch": epoch, "metrics": {}})
    stage.rewind_log(2, 3)
    places = [(line["epoch"], line.get("step")) for line in stage.log_lines()]
    assert places == [(1, 2), (1, 4), (1, None), (2, 2)]


def test_a_run_directory_that_cannot_be_written_to_is_told_before_training(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(Exception, match="taken: cannot be written to: File exists"):
        RunDirectory(tmp_path / "taken").check_writable()


def test_differences_are_named_by_their_place():
    old = {"a": {"b": 1, "c": [1, 2]}, "d": "same", "gone": 3}
    new = {"a": {"b": 2, "c": [1, 5]}, "d": "same", "come": {"x": 1}}
    assert differences(old, new) == [
        "a.b: 1 -> 2",
        "a.c[1]: 2 -> 5",
        "gone: 3 -> nothing",
        'come: nothing -> {"x": 1}',
    ]
    assert differences({"a": [1, 2]}, {"a": [1]}) == ["a: [1, 2] -> [1]"]
    assert len(differences({"a": "x" * 500}, {"a": 1})[0]) < 80
