"""Plugins are found one by one; a broken one is reported and the rest work."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from mtl_toolkit.errors import PluginError
from mtl_toolkit.hookspecs import EpochFinished
from mtl_toolkit.plugin import Loss, TeacherLoss
from mtl_toolkit.registry import Registry, versions

BROKEN = {
    "import of a missing module": ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
    "exit while importing": ("raise SystemExit(3)", "SystemExit: 3"),
    "syntax error": ("def broken(:", "SyntaxError"),
    "error while importing": ("1 / 0", "ZeroDivisionError: division by zero"),
    "argument that the hook lacks": (
        "from mtl_toolkit.hookspecs import hookimpl\n@hookimpl\ndef mtl_heads(config): return []",
        "Argument(s) {'config'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "misspelt hook": (
        "from mtl_toolkit.hookspecs import hookimpl\n@hookimpl\ndef mtl_head(): return []",
        "unknown hook 'mtl_head'; did you mean 'mtl_heads'?",
    ),
    "no hook at all": ("def mtl_heads(): return []", "implements no hook"),
    "hook wrapper": (
        "from mtl_toolkit.hookspecs import hookimpl\n@hookimpl(wrapper=True)\ndef mtl_heads(): yield",
        "mtl_heads() must not be a hook wrapper",
    ),
}


def load(packages, disable=()):
    return Registry.load(disable, entry_points=packages.entry_points())


def error_of(packages, source):
    """The one failure of a plugin next to which a sound one still works."""
    packages.add("Other_Dist", {"bad": source}, "2.5")
    registry = load(packages)
    assert registry.plugin("loss", "focal").source.distribution == "kit"
    (failure,) = registry.failures
    assert (failure.source.distribution, failure.source.version) == ("Other_Dist", "2.5")
    return failure


@pytest.mark.parametrize("case", BROKEN)
def test_broken_entry_point_is_reported_and_the_rest_work(kit, case):
    source, reason = BROKEN[case]
    failure = error_of(kit, source)
    assert reason in failure.error
    assert "\n" not in failure.error


RECIPES = {
    "a function": ("def f(): ...", "f", "must return subclasses of Loss (got <function f"),
    "an instance": ("x = 5", "x", "must return subclasses of Loss (got 5)"),
    "an unhashable thing": ("x = {}", "x", "must return subclasses of Loss (got {})"),
    "a class of another kind": (
        "@attrs.frozen\nclass M(Metric):\n    name: ClassVar[str] = 'm'\n    def build(self, head): ...",
        "M",
        "must return subclasses of Loss",
    ),
    "no name": (
        "@attrs.frozen\nclass M(Loss):\n    def build(self, head): ...",
        "M",
        "M needs a class attribute",
    ),
    "a name that is a field": (
        "@attrs.frozen\nclass M(Loss):\n    name: str = 'm'\n    def build(self, head): ...",
        "M",
        'M needs a class attribute, as in name: ClassVar[str] = "my-loss"',
    ),
    "a name with a slash": (
        "@attrs.frozen\nclass M(Loss):\n    name: ClassVar[str] = 'a/b'\n    def build(self, head): ...",
        "M",
        "M.name must not be empty, nor have spaces or slashes (got 'a/b')",
    ),
    "a name with a space": (
        "@attrs.frozen\nclass M(Loss):\n    name: ClassVar[str] = 'my loss'\n    def build(self, head): ...",
        "M",
        "M.name must not be empty, nor have spaces or slashes (got 'my loss')",
    ),
    "an empty name": (
        "@attrs.frozen\nclass M(Loss):\n    name: ClassVar[str] = ''\n    def build(self, head): ...",
        "M",
        "M.name must not be empty, nor have spaces or slashes (got '')",
    ),
    "not decorated": (
        "class M(Loss):\n    name = 'm'\n    def build(self, head): ...",
        "M",
        "M must be decorated with @attrs.frozen(kw_only=True)",
    ),
    "abstract": ("@attrs.frozen\nclass M(Loss):\n    name: ClassVar[str] = 'm'", "M", "M must define build"),
    "a field called type": (
        "@attrs.frozen\nclass M(Loss):\n    name: ClassVar[str] = 'm'\n    type: str = 'x'\n"
        "    def build(self, head): ...",
        "M",
        'M must not have a field "type"',
    ),
    "a field called kind": (
        "@attrs.frozen\nclass M(Loss):\n    name: ClassVar[str] = 'm'\n    kind: str = 'x'\n"
        "    def build(self, head): ...",
        "M",
        'M must not have a field "kind"',
    ),
    "another kind": (
        "@attrs.frozen\nclass M(Loss):\n    name: ClassVar[str] = 'm'\n    kind: ClassVar[str] = 'x'\n"
        "    def build(self, head): ...",
        "M",
        "M.kind must stay 'loss' (got 'x')",
    ),
    "a type that exists only for the type checker": (
        "if TYPE_CHECKING:\n    from numpy import ndarray\n"
        "@attrs.frozen\nclass M(Loss):\n    name: ClassVar[str] = 'm'\n    x: 'ndarray | None' = None\n"
        "    def build(self, head): ...",
        "M",
        "M.x: its type 'ndarray | None' cannot be resolved (name 'ndarray' is not defined); "
        "field types are read at run time: import them outside `if TYPE_CHECKING:`",
    ),
}
HEADER = """
from typing import *
import attrs
from mtl_toolkit.hookspecs import hookimpl
from mtl_toolkit.plugin import *
"""


@pytest.mark.parametrize("key", ["kind", "name"])
def test_field_with_the_alias_kind_or_name_is_fine(packages, key):
    """The file may say so; only the class's own attribute is taken."""
    packages.add(
        "kit",
        {
            "k": f"{HEADER}\n@attrs.frozen\nclass M(Loss):\n    name: ClassVar[str] = 'm'\n"
            f"    which: str = attrs.field(default='x', alias='{key}')\n    def build(self, head): ...\n"
            "@hookimpl\ndef mtl_losses(): return [M]"
        },
    )
    registry = load(packages)
    assert not registry.failures
    assert getattr(registry.plugin("loss", "m").recipe, key) == {"kind": "loss", "name": "m"}[key]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("renamed_since.loss", "No module named 'renamed_since'"),
        ("json:no_such_thing", "has no attribute 'no_such_thing'"),
    ],
)
def test_entry_point_that_leads_nowhere_is_told_with_its_value(value, told):
    registry = Registry.load(entry_points=[metadata.EntryPoint("old", value, "mtl_toolkit")])
    (failure,) = registry.failures
    assert told in failure.error
    assert f"(the entry point says {value!r}: install the package again after changing it)" in failure.error


@pytest.mark.parametrize("case", RECIPES)
def test_hook_that_returns_no_usable_recipe_is_reported(kit, case):
    definition, item, reason = RECIPES[case]
    failure = error_of(kit, f"{HEADER}\n{definition}\n@hookimpl\ndef mtl_losses(): return [{item}]")
    assert failure.error.startswith("mtl_losses(): ")
    assert reason in failure.error
    assert failure.kind == "loss"


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("None", "mtl_losses() failed: TypeError: must return a list of Loss classes (got None)"),
        ("Loss", "must return a list of Loss classes (got <class 'mtl_toolkit.plugin.task.Loss'>)"),
        ("'abc'", "must return a list of Loss classes (got 'abc')"),
        ("1 / 0", "mtl_losses() failed: ZeroDivisionError: division by zero"),
        ("exit(4)", "mtl_losses() failed: SystemExit: 4"),
    ],
)
def test_hook_that_returns_no_list_is_reported(kit, returned, reason):
    failure = error_of(kit, f"{HEADER}\n@hookimpl\ndef mtl_losses(): return {returned}")
    assert reason in failure.error


def test_other_recipes_of_an_entry_point_with_one_bad_recipe_work(packages, loss_source):
    packages.add("dist", {"point": loss_source("").replace("[Mine]", "[5, Mine]")})
    registry = load(packages)
    assert registry.plugin("loss", "mine").source.entry_point == "point"
    assert len(registry.failures) == 1


def test_annotation_that_is_no_field_need_not_resolve(packages, loss_source):
    """Only fields are read from the file; a class variable may name what the type checker alone knows."""
    packages.add("dist", {"point": loss_source("helper: 'ClassVar[Nowhere]' = None\nx: 'int' = 3")})
    assert load(packages).plugin("loss", "mine").name == "mine"


def test_doc_is_the_first_line_and_source_names_distribution_and_version(kit):
    plugin = load(kit).plugin("loss", "focal")
    assert plugin.doc == "Focal cross-entropy (Lin et al., 2017)."
    assert (str(plugin.source), plugin.source.version) == ("kit:kit", "1.0")


def test_unknown_plugin_suggests_the_nearest(kit):
    with pytest.raises(PluginError) as error:
        load(kit).plugin("loss", "Focl")
    assert str(error.value) == "unknown loss 'Focl'; did you mean 'focal'?"


def test_unknown_kind_suggests_the_nearest(kit):
    with pytest.raises(PluginError) as error:
        load(kit).plugin("los", "focal")
    assert str(error.value) == "unknown kind of plugin 'los'; did you mean 'loss'?"


def test_needed_plugin_that_failed_is_told_with_the_reason(kit):
    """Whether it is known by its class or only by its entry point."""
    kit.add("broken", {"dice": "import no_such_module_at_all"}, "3.1")
    kit.add(
        "half",
        {"x": f"{HEADER}\nclass D(Loss):\n    name = 'tversky'\n@hookimpl\ndef mtl_losses(): return [D]"},
    )
    registry = load(kit)
    with pytest.raises(
        PluginError, match=r"loss 'dice' cannot be used: broken:dice 3\.1 failed to load: .*no_such"
    ):
        registry.plugin("loss", "dice")
    with pytest.raises(PluginError, match=r"loss 'tversky' cannot be used: half:x 1\.0 .* must define build"):
        registry.plugin("loss", "tversky")


def test_failure_of_another_kind_is_not_blamed(kit):
    kit.add(
        "half", {"x": f"{HEADER}\nclass D(Loss):\n    name = 'dice'\n@hookimpl\ndef mtl_losses(): return [D]"}
    )
    with pytest.raises(PluginError) as error:
        load(kit).plugin("metric", "dice")
    assert "half" not in str(error.value)


def test_unknown_name_mentions_what_failed_since_it_may_be_there(kit):
    kit.add("broken", {"entry": "import no_such_module_at_all"}, "3.1")
    with pytest.raises(
        PluginError, match=r"unknown loss 'dice'.*unless it is in .*broken:entry 3\.1 .*no_such"
    ):
        load(kit).plugin("loss", "dice")


def test_recipe_of_the_wrong_base_is_refused_and_the_fitting_ones_named(kit):
    with pytest.raises(PluginError) as error:
        load(kit).recipe("loss", "focal", TeacherLoss)
    assert str(error.value) == "loss 'focal' is no TeacherLoss; there are: imitate"
    assert load(kit).recipe("loss", "focal", Loss).name == "focal"


class TestSameName:
    @pytest.fixture
    def two(self, packages):
        packages.add_loss("b-dist", "two", "", "2.0")
        packages.add_loss("A.Dist", "one", "", "1.5")
        return packages

    def test_is_an_error_that_names_both_and_how_to_settle_it(self, two):
        with pytest.raises(PluginError) as error:
            load(two).plugin("loss", "mine")
        assert str(error.value) == (
            "loss 'mine' is brought by A.Dist:one 1.5 and b-dist:two 2.0; switch one off with "
            '[plugins] disable = ["b-dist:two"] or --disable-plugin b-dist:two'
        )

    def test_is_listed_as_a_conflict(self, two):
        (group,) = load(two).conflicts()
        assert [str(plugin.source) for plugin in group] == ["A.Dist:one", "b-dist:two"]

    @pytest.mark.parametrize("name", ["A.Dist:one", "a-dist:one", "a_DIST:one"])
    def test_is_settled_by_switching_one_off(self, two, name):
        """Names of distributions are compared in their normal form."""
        registry = load(two, [name])
        assert registry.plugin("loss", "mine").source.distribution == "b-dist"
        assert [str(source) for source in registry.disabled] == ["A.Dist:one"]
        assert registry.conflicts() == []

    def test_within_one_entry_point_is_a_failure_of_the_second(self, packages, loss_source):
        source = loss_source("").replace("[Mine]", "[Mine, attrs.frozen(type('Twin', (Mine,), {}))]")
        packages.add("dist", {"point": source})
        registry = load(packages)
        assert registry.plugin("loss", "mine").recipe.__name__ == "Mine"
        assert [failure.error for failure in registry.failures] == [
            "mtl_losses(): Twin has the name 'mine' of Mine"
        ]

    def test_the_same_class_listed_twice_counts_once(self, packages, loss_source):
        packages.add("dist", {"point": loss_source("").replace("[Mine]", "[Mine, Mine]")})
        registry = load(packages)
        assert (len(registry.plugins), registry.failures) == (1, ())


class TestDisable:
    def test_plugin_is_not_even_imported(self, packages):
        packages.add("dist", {"point": "import no_such_module_at_all"})
        assert load(packages, ["dist:point"]).failures == ()

    def test_unknown_name_suggests_the_nearest(self, kit):
        with pytest.raises(PluginError) as error:
            load(kit, ["kitt:kit", "nonsense"])
        assert error.value.problems == (
            "no installed plugin 'kitt:kit' (written as distribution:entry-point); did you mean 'kit:kit'?",
            "no installed plugin 'nonsense' (written as distribution:entry-point); there are: kit:kit",
        )

    def test_name_that_is_needed_says_that_it_is_switched_off(self, packages):
        packages.add_loss("dist", "mine", "")
        with pytest.raises(
            PluginError, match=r"unknown loss 'mine'; there are none \(dist:mine is disabled\)"
        ):
            load(packages, ["dist:mine"]).plugin("loss", "mine")


EVENT = EpochFinished(run="r", stage="s", epoch=1, losses={}, metrics={}, seconds=0.5)
LISTENER = """
from mtl_toolkit.hookspecs import hookimpl
heard = []

@hookimpl
def mtl_epoch_finished(event):
    heard.append(event)

@hookimpl(specname="mtl_epoch_finished")
def under_another_name():
    heard.append("again")

@hookimpl
def mtl_stage_finished(event):
    raise ValueError("full")
"""


class TestListeners:
    def test_hear_their_event_under_whatever_function_name(self, packages):
        packages.add("dist", {"log": LISTENER})
        registry = load(packages)
        assert registry.notify("mtl_epoch_finished", EVENT) == []
        heard = registry.listeners[0].impl.plugin.heard
        assert sorted(heard, key=str) == sorted([EVENT, "again"], key=str)

    def test_failing_is_reported_and_does_not_stop_the_others(self, packages):
        packages.add("a", {"log": LISTENER})
        packages.add("b", {"log": LISTENER})
        problems = load(packages).notify("mtl_stage_finished", EVENT)
        assert problems == [
            f"plugin {dist}:log failed in mtl_stage_finished: ValueError: full" for dist in ("a", "b")
        ]

    def test_optional_hook_that_we_lack_is_ignored(self, packages, loss_source):
        source = loss_source("") + "\n@hookimpl(optionalhook=True)\ndef mtl_from_the_future(): ...\n"
        packages.add("dist", {"point": source})
        registry = load(packages)
        assert (len(registry.plugins), registry.listeners, registry.failures) == (1, (), ())


def test_hundreds_of_entry_points_are_all_found(packages, loss_source):
    for number in range(30):
        points = {f"p{i}": loss_source("", name=f"loss-{number}-{i}") for i in range(10)}
        packages.add(f"dist-{number}", points)
    registry = load(packages)
    assert {plugin.name for plugin in registry.of_kind("loss")} == {
        f"loss-{number}-{i}" for number in range(30) for i in range(10)
    }
    assert registry.failures == ()


def test_distribution_found_twice_on_the_path_counts_once(kit):
    registry = Registry.load(entry_points=kit.entry_points() * 2)
    assert registry.conflicts() == []
    assert registry.plugin("loss", "focal").name == "focal"


def test_entry_point_without_a_distribution_can_be_loaded(packages, loss_source):
    (packages.folder / "scratch_plugin_loose.py").write_text(loss_source(""), encoding="utf-8")
    point = metadata.EntryPoint("loose", "scratch_plugin_loose", "mtl_toolkit")
    assert str(Registry.load(entry_points=[point]).plugin("loss", "mine").source) == "unknown:loose"


def test_versions_name_python_the_core_and_the_plugins_used(kit):
    found = versions([load(kit).plugin("loss", "focal").source])
    assert found["kit"] == "1.0"
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["mtl-toolkit"] == metadata.version("mtl-toolkit")


def test_registry_and_configuration_import_no_torch():
    code = (
        "import sys, mtl_toolkit.registry, mtl_toolkit.config, mtl_toolkit.cli.plugins;"
        "print([name for name in ('torch', 'rich') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
