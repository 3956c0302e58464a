"""`mtl plugin new` writes packages that work as they are, and overwrites nothing."""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from mtl_toolkit import Registry
from mtl_toolkit.cli.scaffold import folder as folder_module
from mtl_toolkit.cli.scaffold.names import LONGEST, LONGEST_PACKAGE, Names, module_problem
from mtl_toolkit.cli.scaffold.templates import KINDS, words
from tests.environments import Environment, succeed

ROOT = Path(__file__).parents[1]

COMMON = {
    ".github/workflows/tests.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "example.toml",
    "mtl_mine/__init__.py",
    "mtl_mine/py.typed",
    "pyproject.toml",
    "tests/test_mtl_mine.py",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def new(mtl, here):
    """Run the command where it must succeed; return what it printed."""

    def make(*arguments: str) -> str:
        code, out, err = mtl("plugin", "new", *arguments)
        assert (code, err) == (0, "")
        return out

    return make


@pytest.fixture
def refused(mtl, here):
    """Run the command where it must refuse: exit code 2 and one line, which is returned; nothing is left."""

    def make(*arguments: str) -> str:
        before = sorted(here.rglob("*"))
        code, out, err = mtl("plugin", "new", *arguments)
        assert (code, out) == (2, "")
        assert sorted(here.rglob("*")) == before
        (line,) = err.splitlines()
        return line

    return make


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def project_in(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def write_metadata(folder: Path) -> None:
    """What an installer would write of the package in a folder: enough for its entry points to be found."""
    project = project_in(folder)
    (points,) = project["entry-points"].values()
    info = folder / f"{folder.name.replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {module}\n" for name, module in points.items()]
    (info / "entry_points.txt").write_text("[mtl_toolkit]\n" + "".join(lines))


@pytest.fixture
def import_fresh(monkeypatch) -> Iterator:
    """Import modules of packages in a folder; they are forgotten afterwards."""
    before = set(sys.modules)

    def fetch(folder: Path, name: str):
        monkeypatch.syspath_prepend(folder)
        return importlib.import_module(name)

    yield fetch
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("mtl_mine", "mtl_other", "test_mtl_mine"):
            del sys.modules[name]


class TestThePackage:
    @pytest.mark.parametrize("kind", KINDS)
    def test_has_code_tests_documentation_and_an_example(self, new, here, kind):
        new("mtl-mine", "--kind", kind)
        found = files_in(here / "mtl-mine")
        assert found >= COMMON | {f"mtl_mine/{kind}.py"}
        assert project_in(here / "mtl-mine")["entry-points"]["mtl_toolkit"] == {"mine": f"mtl_mine.{kind}"}

    @pytest.mark.parametrize("kind", KINDS)
    def test_leaves_no_placeholder(self, new, here, kind):
        """Nor a name of another kind's example: what is left in a README is found by the reader."""
        new("mtl-mine", "--kind", kind)
        for name in files_in(here / "mtl-mine") - {".github/workflows/tests.yml"}:
            text = (here / "mtl-mine" / name).read_text(encoding="utf-8")
            assert "$" not in text, name
            assert "MODULE" not in text, name

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hooks"])
    def test_passes_the_conformance_kit(self, new, here, import_fresh, kind):
        """The checks that its test file lists, called one by one."""
        new("mtl-mine", "--kind", kind)
        import_fresh(here / "mtl-mine", f"mtl_mine.{kind}")
        tests = vars(import_fresh(here / "mtl-mine" / "tests", "test_mtl_mine"))
        conformance = [test for name, test in tests.items() if name.startswith("test_conformance")]
        checks = [check for test in conformance for mark in test.pytestmark for check in mark.args[1]]
        assert len(checks) > 5
        for check in checks:
            check()

    def test_is_clean_for_ruff(self, new, here):
        """Whatever the length of the names: how lines are broken does not depend on them."""
        for kind in KINDS:
            for package, plugin in itertools.product((24, 34, LONGEST_PACKAGE), (1, 12, LONGEST)):
                name = f"mtl-{kind}-{plugin}-".ljust(package, "x")
                new(name, "--kind", kind, "--plugin-name", "a" * plugin)
        succeed(sys.executable, "-m", "ruff", "check", "--no-cache", ".", folder=here)
        succeed(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", folder=here)

    @pytest.mark.parametrize("kind", KINDS)
    def test_claims_the_conformance_kit_only_where_its_tests_use_it(self, new, here, kind):
        new("mtl-mine", "--kind", kind)
        tests = (here / "mtl-mine" / "tests" / "test_mtl_mine.py").read_text()
        readme = (here / "mtl-mine" / "README.md").read_text()
        assert ("with the conformance kit of mtl-toolkit" in readme) == ("mtl_toolkit.testing" in tests)

    def test_of_hooks_passes_its_tests_beside_another_of_hooks(self, new, here, import_fresh, capsys):
        """Both print into the same output: each looks at its own lines."""
        for name in ("mtl-other", "mtl-mine"):
            new(name, "--kind", "hooks")
            write_metadata(here / name)
            import_fresh(here / name, f"{name.replace('-', '_')}.hooks")
        tests = import_fresh(here / "mtl-mine" / "tests", "test_mtl_mine")
        tests.test_all_three_are_found_by_their_entry_point()
        tests.test_they_run_where_a_stage_is_trained(here, capsys)

    def test_of_hooks_that_does_not_load_says_why_in_its_tests(self, new, here, import_fresh):
        new("mtl-mine", "--kind", "hooks")
        write_metadata(here / "mtl-mine")
        code = here / "mtl-mine" / "mtl_mine" / "hooks.py"
        code.write_text(code.read_text().replace("mtl_epoch_finished(event", "mtl_epoch_finished(epoch"))
        import_fresh(here / "mtl-mine", "mtl_mine.hooks")
        tests = import_fresh(here / "mtl-mine" / "tests", "test_mtl_mine")
        with pytest.raises(AssertionError, match=r"failed to load: .*mtl_epoch_finished"):
            tests.test_all_three_are_found_by_their_entry_point()

    def test_is_told_with_the_commands_to_type_next(self, new):
        assert new("mtl-mine", "--kind", "loss").splitlines() == [
            "mtl-mine: a focal loss for heads with classes, in mtl-mine/mtl_mine/loss.py",
            "next:",
            "  pip install -e './mtl-mine[test]'",
            "  pytest mtl-mine",
            "  mtl plugins loss/mine",
            "  mtl run mtl-mine/example.toml",
        ]


class TestNames:
    def test_the_plugin_is_called_as_the_package_without_mtl(self):
        assert Names.derive("mtl-Ordinal.Heads") == Names(
            distribution="mtl-Ordinal.Heads", module="mtl_ordinal_heads", plugin="ordinal-heads"
        )
        assert Names.derive("acme_faces").plugin == "acme-faces"

    def test_the_plugin_name_is_used_in_code_and_configuration(self, new, here):
        new("acme-losses", "--kind", "loss", "--plugin-name", "mild_focus")
        folder = here / "acme-losses"
        assert "class MildFocus(Loss):" in (folder / "acme_losses" / "loss.py").read_text()
        assert '{ type = "mild_focus", gamma = 1.5 }' in (folder / "example.toml").read_text()

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_class_never_takes_a_name_that_the_module_has(self, kind):
        assert {"annotations", "hookimpl"} <= words(kind)
        for taken in ("Loss", "Head", "None", "Tensor", "True"):
            name = Names.derive(taken.lower()).class_name(words(kind))
            assert name == (f"My{taken}" if taken in words(kind) or taken in ("None", "True") else taken)

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("-x", "must be letters, digits, '-', '_' and '.', the ends letters or digits (got '-x')"),
            ("a b", "must be letters, digits, '-', '_' and '.', the ends letters or digits (got 'a b')"),
            ("../up", "must be letters, digits, '-', '_' and '.', the ends letters or digits (got '../up')"),
            ("3d-faces", "must give the name of a module: no digit first (got '3d_faces')"),
            ("class", "must not give the name of a Python keyword to a module (got 'class')"),
            ("json", "must not be that of a module of Python (got 'json')"),
            ("tests", "must not be that of a folder with another use in the package (got 'tests')"),
            ("Example", "must not be that of a folder with another use in the package (got 'example')"),
            ("a" * 49, f"must be at most 48 characters (got '{'a' * 49}', 49)"),
        ],
    )
    def test_one_that_cannot_be_a_package_is_refused(self, refused, name, problem):
        assert refused("--kind", "loss", "--plugin-name", "mine", "--", name) == f"error: NAME: {problem}"

    @pytest.mark.parametrize("kind", KINDS)
    def test_no_folder_of_a_package_but_its_module_can_be_that_of_a_module(self, new, here, kind):
        """Nor one that its .gitignore hides: git and the wheel would leave the code out."""
        new("mtl-mine", "--kind", kind)
        folders = {name.partition("/")[0] for name in files_in(here / "mtl-mine") if "/" in name}
        ignored = (here / "mtl-mine" / ".gitignore").read_text().splitlines()
        names = {name.rstrip("/") for name in [*folders, *ignored]} - {"mtl_mine", "__pycache__"}
        assert {"tests", "runs"} <= names
        for name in filter(str.isidentifier, names):
            assert "a folder with another use" in (module_problem(name) or ""), name

    def test_one_of_an_installed_package_is_refused(self, refused):
        line = refused("MTL.std", "--kind", "loss")
        assert line.startswith("error: NAME: must not be that of an installed package (got 'MTL.std', 0.")

    def test_one_of_a_module_that_can_be_imported_is_refused(self, refused, here, monkeypatch):
        (here / "elsewhere").mkdir()
        (here / "elsewhere" / "mine_already.py").touch()
        monkeypatch.syspath_prepend(here / "elsewhere")
        line = refused("mine-already", "--kind", "loss")
        assert "must not be that of a module that can be imported already (got 'mine_already'" in line

    @pytest.mark.parametrize("name", ["Mine", "my name", "-x", "a--b", "x/y", "9", "", "a" * 33])
    def test_a_plugin_name_that_cannot_be_a_key_and_a_class_is_refused(self, refused, name):
        line = refused("mtl-mine", "--kind", "loss", f"--plugin-name={name}")
        assert line.startswith("error: --plugin-name: must be small letters and digits")
        assert line.endswith(f"(got {name!r})")

    @pytest.mark.parametrize(("name", "plugin"), [("mtl-3d", "3d"), ("mtl-" + "a" * 33, "a" * 33)])
    def test_a_plugin_name_that_was_not_given_is_told_as_one_of_the_package(self, refused, name, plugin):
        line = refused(name, "--kind", "loss")
        assert line.startswith(
            "error: NAME: the plugin's name that it gives must be small letters and digits"
        )
        assert line.endswith(f"(got {plugin!r}); --plugin-name sets another")

    def test_one_not_given_that_an_installed_plugin_has_is_told_as_one_of_the_package(self, refused):
        taken = next(p for p in Registry.load().plugins if p.kind == "loss")
        line = refused(f"mtl-{taken.name}", "--kind", "loss")
        rule = "the plugin's name that it gives must not be that of a loss which is there already"
        assert line == (
            f"error: NAME: {rule} (got {taken.name!r}, of {taken.source}); --plugin-name sets another"
        )

    def test_one_that_an_installed_plugin_of_the_kind_has_is_refused(self, refused):
        """The same name is free for another kind."""
        taken = next(p for p in Registry.load().plugins if p.kind == "loss")
        line = refused("mtl-mine", "--kind", "loss", "--plugin-name", taken.name)
        rule = "must not be that of a loss which is there already"
        assert line == f"error: --plugin-name: {rule} (got {taken.name!r}, of {taken.source})"

    def test_all_problems_are_told_at_once(self, mtl, here):
        code, _, err = mtl("plugin", "new", "json", "--kind", "hed", "--license", "MTI", "--email", "me")
        assert code == 2
        assert err.splitlines() == [
            "error: NAME: must not be that of a module of Python (got 'json')",
            "error: --kind: must be a kind that there is an example of (got 'hed'); did you mean 'head'?",
            "error: --license: must be an SPDX licence expression (got 'MTI'); did you mean 'MIT'?",
            "error: --email: must be an address, as name@example.org (got 'me')",
        ]


class TestMetadata:
    def test_author_licence_and_description_are_written_as_they_are(self, new, here):
        new(
            *("mtl-mine", "--kind", "loss", "--license", "isc", "--author", 'Ann "A" Lee \\ Söhne'),
            *("--email", "ann@example.org", "--description", 'Says "$5" \\ more'),
        )
        project = project_in(here / "mtl-mine")
        assert project["authors"] == [{"name": 'Ann "A" Lee \\ Söhne', "email": "ann@example.org"}]
        assert project["license"] == "ISC"
        assert project["description"] == 'Says "$5" \\ more'
        text = (here / "mtl-mine" / "LICENSE").read_text(encoding="utf-8")
        assert text.startswith("ISC License\n\nCopyright (c) 20")
        assert 'Ann "A" Lee \\ Söhne' in text

    def test_a_licence_without_a_text_says_that_it_must_be_added(self, new, here):
        out = new("mtl-mine", "--kind", "loss", "--license", "mit or apache-2.0")
        assert "mtl-mine/LICENSE is missing: add the text of MIT OR Apache-2.0" in out
        project = project_in(here / "mtl-mine")
        assert (project["license"], project["license-files"]) == ("MIT OR Apache-2.0", [])
        assert not (here / "mtl-mine" / "LICENSE").exists()

    @pytest.mark.parametrize("option", ["--author", "--description"])
    def test_a_text_of_several_lines_is_refused(self, refused, option):
        line = refused("mtl-mine", "--kind", "loss", option, "one\ntwo")
        assert line == f"error: {option}: must be one line of text (got 'one\\ntwo')"


class TestTheFolder:
    def test_may_be_another_one(self, new, here):
        (here / "sub").mkdir()
        assert "  pytest 'sub/my plugin'" in new("mtl-mine", "--kind", "loss", "--directory", "sub/my plugin")
        assert files_in(here / "sub" / "my plugin") >= COMMON

    def test_has_the_usual_permissions(self, new, here):
        (here / "usual").mkdir()
        new("mtl-mine", "--kind", "loss")
        assert (here / "mtl-mine").stat().st_mode == (here / "usual").stat().st_mode

    def test_is_not_made_where_something_is(self, refused, here):
        (here / "mtl-mine").mkdir()
        line = refused("mtl-mine", "--kind", "loss")
        assert line == "error: mtl-mine: must not exist yet (got a folder)"
        (here / "mtl-mine").rmdir()
        (here / "mtl-mine").symlink_to("nowhere")
        line = refused("mtl-mine", "--kind", "loss")
        assert line == "error: mtl-mine: must not exist yet (got a link)"
        (here / "mtl-mine").unlink()
        (here / "mtl-mine").write_text("mine")
        line = refused("mtl-mine", "--kind", "loss")
        assert line == "error: mtl-mine: must not exist yet (got a file)"
        assert (here / "mtl-mine").read_text() == "mine"

    def test_is_not_made_in_a_folder_that_is_not_there(self, refused):
        line = refused("mtl-mine", "--kind", "loss", "--directory", "no/where")
        assert line == "error: no/where: the folder that it is made in must exist (got 'no')"

    @pytest.mark.parametrize(
        ("error", "code", "message"),
        [
            (KeyboardInterrupt(), 130, "interrupted"),
            (
                OSError(errno.ENOSPC, "No space left on device"),
                1,
                "error: mtl-mine: cannot be written: No space left on device",
            ),
        ],
        ids=["ctrl-c", "full disk"],
    )
    def test_is_whole_or_not_there(self, mtl, here, monkeypatch, error, code, message):
        """Stopped after the third file."""
        written = []

        def sync(path: Path) -> None:
            written.append(path)
            if len(written) == 3:
                raise error

        monkeypatch.setattr(folder_module, "sync_file", sync)
        left, out, err = mtl("plugin", "new", "mtl-mine", "--kind", "loss")
        assert (left, out, err.strip()) == (code, "", message)
        assert len(written) == 3
        assert list(here.iterdir()) == []

    def test_that_comes_up_meanwhile_is_left_alone(self, mtl, here, monkeypatch):
        monkeypatch.setattr(folder_module, "sync_file", lambda _: (here / "mtl-mine").mkdir(exist_ok=True))
        code, _, err = mtl("plugin", "new", "mtl-mine", "--kind", "loss")
        assert (code, err) == (2, "error: mtl-mine: must not exist yet (got a folder)\n")
        assert list(here.rglob("*")) == [here / "mtl-mine"]


def test_the_wheel_has_the_templates():
    """A packaging rule that leaves them out would only show where the program is installed from a wheel."""
    templates = ROOT / "mtl_toolkit" / "cli" / "scaffold" / "templates"
    wanted = {path.relative_to(ROOT).as_posix() for path in templates.rglob("*") if path.is_file()}
    packed = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert wanted
    assert wanted <= packed


@pytest.mark.slow
class TestInstalled:
    @pytest.mark.parametrize("kind", KINDS)
    def test_its_tests_pass_it_is_listed_and_its_example_runs(self, new, here, kind):
        """In a fresh environment, by the commands that `mtl plugin new` prints."""
        new("mtl-mine", "--kind", kind)
        environment = Environment(here / "environment")
        environment.install("-e", "./mtl-mine")
        tests = environment.run(here, "pytest", "-q", "-p", "no:cacheprovider", "mtl-mine")
        assert tests.returncode == 0, tests.stdout + tests.stderr
        listed = environment.mtl(here, "plugins", "--json")
        own = [row for row in json.loads(listed.stdout) if row["distribution"] == "mtl-mine"]
        assert (kind, "mine") in {(row["kind"], row["name"]) for row in own}
        assert not any("error" in row for row in own)
        ran = environment.mtl(here, "run", "mtl-mine/example.toml")
        assert ran.returncode == 0, ran.stderr
        (stage,) = json.loads((here / "runs" / "mtl-mine" / "report.json").read_text())["stages"]
        assert stage["metrics"]

    def test_all_are_clean_for_mypy(self, new, here):
        environment = Environment(here / "environment")
        for kind in KINDS:
            new(f"mtl-mine-{kind}", "--kind", kind)
            environment.install("-e", f"./mtl-mine-{kind}")
        for kind in KINDS:
            options = ("--cache-dir", str(here / "cache"), "--python-executable", str(environment.python))
            succeed(sys.executable, "-m", "mypy", *options, folder=here / f"mtl-mine-{kind}")
