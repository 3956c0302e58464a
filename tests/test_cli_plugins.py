"""`mtl plugins` shows what is installed, what failed and why, and the fields of one plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
from click.testing import CliRunner

from mtl_toolkit.cli.plugins import plugins
from mtl_toolkit.errors import PluginError

LONG = "a reason that goes on and on [with brackets] " * 12
LISTENER = """
'''Writes a diary.

At length.
'''
from mtl_toolkit.hookspecs import hookimpl

@hookimpl
def mtl_stage_finished(event): ...

@hookimpl
def mtl_epoch_finished(event): ...
"""


@pytest.fixture
def mtl(kit):
    """Run `mtl plugins` with the scratch distributions alone."""
    kit.hide_others()

    def run(*arguments):
        result = CliRunner().invoke(plugins, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return run


@pytest.fixture
def mixed(kit, loss_source):
    """A failure, a conflict and a listener beside the kit."""
    kit.add("bad", {"broken": f"raise ValueError({LONG!r})"}, "0.9")
    kit.add("Rival", {"losses": loss_source("", name="focal")}, "2.0")
    kit.add("notes", {"diary": LISTENER}, "1.1")


def line_with(text, *parts):
    """The one line that has all parts."""
    found = [line for line in text.splitlines() if all(part in line for part in parts)]
    assert len(found) == 1, text
    return found[0]


class TestListing:
    def test_shows_name_doc_version_and_entry_point_under_the_kind(self, mtl):
        text = mtl()
        line = line_with(text, "binned")
        assert line.split("  ")[1:3] == ["binned", "Values as a distribution over bins."]
        assert "1.0" in line
        assert line.rstrip().endswith("kit:kit")
        shown = text.splitlines()
        assert shown.index("head") < shown.index(line) < shown.index("loss")

    @pytest.mark.usefixtures("mixed")
    def test_shows_failures_with_the_whole_reason_distribution_and_version(self, mtl):
        line = line_with(mtl(), "bad:broken 0.9")
        assert line.endswith(f"ValueError: {LONG.strip()}")

    @pytest.mark.usefixtures("mixed")
    def test_shows_conflicts_apart_with_both_sources(self, mtl):
        text = mtl()
        lines = [line for line in text.splitlines() if "focal" in line]
        assert len(lines) == 2
        for line, source in zip(lines, ("kit:kit 1.0", "Rival:losses 2.0"), strict=True):
            assert line.startswith(
                f"  loss/focal: {source}: loss 'focal' is brought by kit:kit 1.0 and Rival:losses"
            )
            assert "--disable-plugin Rival:losses" in line

    @pytest.mark.usefixtures("mixed")
    def test_shows_listeners_by_their_entry_point(self, mtl):
        line = line_with(mtl(), "notes:diary")
        assert "diary  Writes a diary. (mtl_epoch_finished, mtl_stage_finished)  1.1" in line

    @pytest.mark.usefixtures("mixed")
    def test_shows_what_is_switched_off(self, mtl):
        text = mtl("--disable-plugin", "rival:losses", "--disable-plugin", "bad:broken")
        assert "switched off: bad:broken, Rival:losses" in text
        assert "cannot be used" not in text
        assert line_with(text, "focal").rstrip().endswith("kit:kit")

    def test_says_that_there_are_none(self, packages):
        packages.hide_others()
        assert CliRunner().invoke(plugins, []).output == "no plugins are installed\n"

    def test_text_in_brackets_is_no_markup(self, mtl, kit, loss_source):
        kit.add("odd", {"odd": loss_source("").replace("My loss.", "In [red] or [/bold].")})
        assert "In [red] or [/bold]." in line_with(mtl(), "odd:odd")


class TestJson:
    def test_has_the_promised_keys_sorted_by_kind_and_name(self, mtl):
        rows = json.loads(mtl("--json"))
        assert [(row["kind"], row["name"]) for row in rows] == [
            ("architecture", "shared"),
            ("backbone", "net"),
            ("balancer", "sum"),
            ("dataset", "folder"),
            ("head", "binned"),
            ("head", "both"),
            ("loss", "focal"),
            ("loss", "imitate"),
            ("loss", "plain"),
            ("metric", "score"),
            ("sampler", "balanced"),
            ("sampler", "shuffle"),
        ]
        assert rows[6] == {
            "kind": "loss",
            "name": "focal",
            "distribution": "kit",
            "version": "1.0",
            "entry_point": "kit",
            "doc": "Focal cross-entropy (Lin et al., 2017).",
        }

    @pytest.mark.usefixtures("mixed")
    def test_has_failures_conflicts_and_listeners(self, mtl):
        rows = json.loads(mtl("--json"))
        assert rows[-1] == {
            "kind": None,
            "name": None,
            "distribution": "bad",
            "version": "0.9",
            "entry_point": "broken",
            "doc": "",
            "error": f"ValueError: {LONG.strip()}",
        }
        focal = [row for row in rows if row["name"] == "focal"]
        assert [row["distribution"] for row in focal] == ["kit", "Rival"]
        assert all("kit:kit 1.0 and Rival:losses 2.0" in row["error"] for row in focal)
        (hooks,) = [row for row in rows if row["kind"] == "hooks"]
        assert (hooks["name"], hooks["distribution"], hooks["version"]) == ("diary", "notes", "1.1")
        assert sum("error" in row for row in rows) == 3

    @pytest.mark.usefixtures("mixed")
    def test_is_the_same_each_time(self, mtl):
        assert mtl("--json") == mtl("--json")


BINNED = [
    {
        "name": "bins",
        "type": "whole number",
        "required": False,
        "default": "20",
        "rule": "must be at least 2",
        "doc": "bins per axis",
    },
    {
        "name": "axes",
        "type": "list of text",
        "required": False,
        "default": '["x", "y"]',
        "rule": "must not be empty; must not name anything twice",
        "doc": "names of the axes",
    },
    {
        "name": "range",
        "type": "list of 2: number, number",
        "required": False,
        "default": "[-1.0, 1.0]",
        "rule": "",
        "doc": "",
    },
    {
        "name": "loss",
        "type": "loss (a plugin)",
        "required": False,
        "default": '{ type = "plain", weight = 1.0 }',
        "rule": "",
        "doc": "",
    },
]


class TestOnePlugin:
    def test_as_json_has_its_fields(self, mtl):
        about = json.loads(mtl("--json", "head/binned"))
        assert about.pop("fields") == BINNED
        assert about == {
            "kind": "head",
            "name": "binned",
            "distribution": "kit",
            "version": "1.0",
            "entry_point": "kit",
            "doc": "Values as a distribution over bins.",
        }

    def test_as_text_has_doc_source_and_a_line_per_field(self, mtl):
        text = mtl("loss/focal")
        assert text.startswith(
            "loss/focal\nfrom kit 1.0, entry point kit\n\nFocal cross-entropy (Lin et al., 2017).\n"
        )
        assert "Weighs down what is easy." in text
        cells = line_with(text, "gamma").split("  ")
        assert [cell.strip() for cell in cells if cell] == [
            "gamma",
            "number",
            "2.0",
            "must be at least 0",
            "focusing",
        ]

    def test_names_fields_as_the_file_does_and_says_which_are_required(self, mtl):
        fields = {field["name"]: field for field in json.loads(mtl("--json", "dataset/folder"))["fields"]}
        assert fields["path"]["required"]
        assert fields["path"]["default"] is None
        assert (fields["labels"]["type"], fields["labels"]["default"]) == ("table of text", "{}")
        assert "required" in line_with(mtl("dataset/folder"), "path")
        assert json.loads(mtl("--json", "backbone/net"))["fields"][0]["name"] == "name"

    def test_rules_of_attrs_are_told(self, mtl, kit, loss_source):
        body = """
            a: int = attrs.field(default=1, validator=attrs.validators.ge(0))
            b: 'str | None' = attrs.field(
                default=None, validator=attrs.validators.optional(attrs.validators.in_(["x", "y"]))
            )
            c: int = attrs.field(default=1, validator=lambda *_: None)
        """
        kit.add("odd", {"odd": loss_source(body)})
        fields = json.loads(mtl("--json", "loss/mine"))["fields"]
        rules = {field["name"]: field["rule"] for field in fields}
        assert rules == {
            "weight": "must be at least 0",
            "a": "must be >= 0",
            "b": "must be one of 'x', 'y'",
            "c": "",
        }

    def test_default_that_toml_lacks_is_shown_as_python_has_it(self, mtl, kit, loss_source):
        kit.add("odd", {"odd": loss_source("z: complex = 1j\nn: 'int | None' = None")})
        fields = {field["name"]: field for field in json.loads(mtl("--json", "loss/mine"))["fields"]}
        assert (fields["z"]["type"], fields["z"]["default"]) == ("complex", "1j")
        assert (fields["n"]["default"], fields["n"]["required"]) == (None, False)

    def test_long_default_stands_below_the_table_as_a_file_would_give_it(self, mtl, kit, loss_source):
        names = ", ".join(f'"unit {number}"' for number in range(10))
        kit.add("odd", {"odd": loss_source(f"n: 'tuple[str, ...]' = ({names})\nm: int = 3")})
        text = mtl("loss/mine")
        assert line_with(text, "see below").startswith("n ")
        assert line_with(text, "whole number").split() == ["m", "whole", "number", "3"]
        assert text.splitlines()[-1] == f"n = [{names}]"

    @pytest.mark.usefixtures("mixed")
    def test_with_lifecycle_hooks_says_which(self, mtl):
        about = json.loads(mtl("--json", "hooks/diary"))
        assert sorted(about["hooks"]) == ["mtl_epoch_finished", "mtl_stage_finished"]
        text = mtl("hooks/diary")
        assert "from notes 1.1, entry point diary" in text
        assert "At length." in text
        assert "listens to " in text

    @pytest.mark.parametrize(
        ("reference", "message"),
        [
            ("head/bined", "unknown head 'bined'; did you mean 'binned'?"),
            ("haed/binned", "unknown kind of plugin 'haed'; did you mean 'head'?"),
            ("hooks/dairy", "no plugin with lifecycle hooks is called 'dairy'; did you mean 'diary'?"),
            ("binned", "'binned' must be KIND/NAME, as `mtl plugins` lists them"),
            ("head/", "'head/' must be KIND/NAME"),
            (
                "loss/focal",
                "loss 'focal' is brought by kit:kit 1.0 and Rival:losses 2.0; switch one off with",
            ),
            (
                "loss/broken",
                "loss 'broken' cannot be used: bad:broken 0.9 failed to load: ValueError: a reason",
            ),
        ],
    )
    @pytest.mark.usefixtures("mixed")
    def test_that_cannot_be_shown_says_why(self, mtl, reference, message):
        with pytest.raises(PluginError) as error:
            mtl(reference)
        assert str(error.value).startswith(message)
        assert error.value.exit_code == 2


def test_switching_off_an_unknown_plugin_suggests_the_nearest(mtl):
    with pytest.raises(PluginError, match=r"no installed plugin 'kit:kat' .*; did you mean 'kit:kit'\?"):
        mtl("--disable-plugin", "kit:kat")


def test_installed_distribution_is_found_through_its_metadata(packages, loss_source):
    """The whole way, in a process of its own: metadata on the path, import, listing, no terminal."""
    packages.add("stranger", {"theirs": loss_source("", name="strange")}, "4.2")
    packages.add("stranger-two", {"broken": "raise SystemExit(0)"})
    others = {f"{one.dist.name}:{one.name}" for one in metadata.entry_points(group="mtl_toolkit") if one.dist}
    off = [f"--disable-plugin={name}" for name in others if not name.startswith("stranger")]
    code = f"from mtl_toolkit.cli.plugins import plugins; plugins(['--json', *{off}])"
    path = os.pathsep.join([str(packages.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {row["distribution"]: row for row in json.loads(result.stdout)}
    assert (rows["stranger"]["name"], rows["stranger"]["version"]) == ("strange", "4.2")
    assert rows["stranger-two"]["error"] == "SystemExit: 0"
