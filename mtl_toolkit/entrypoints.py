"""Load entry points one by one, so that a broken one is reported and the rest work."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any

import attrs
import pluggy
from packaging.utils import canonicalize_name

from . import hookspecs
from .errors import PluginError, suggestion
from .fields import fields_of
from .plugin import KINDS, Recipe

PROVIDERS = {
    "mtl_architectures": "architecture",
    "mtl_backbones": "backbone",
    "mtl_balancers": "balancer",
    "mtl_datasets": "dataset",
    "mtl_detectors": "detector",
    "mtl_heads": "head",
    "mtl_losses": "loss",
    "mtl_metrics": "metric",
    "mtl_postprocessors": "postprocessor",
    "mtl_samplers": "sampler",
    "mtl_temporals": "temporal",
    "mtl_writers": "writer",
}
NAME = re.compile(r"[^\s/]+")


@attrs.frozen
class Source:
    """Where a plugin comes from."""

    distribution: str
    version: str
    entry_point: str

    @property
    def key(self) -> str:
        """What tells sources apart: `My_Plugins` and `my-plugins` are one distribution."""
        return f"{canonicalize_name(self.distribution)}:{self.entry_point}"

    def __str__(self) -> str:
        return f"{self.distribution}:{self.entry_point}"


@attrs.frozen
class Plugin:
    """A recipe class that a distribution brings."""

    recipe: type[Recipe]
    source: Source

    @property
    def kind(self) -> str:
        """What it is: head, loss, dataset ..."""
        return self.recipe.kind

    @property
    def name(self) -> str:
        """What the TOML calls it."""
        return self.recipe.name

    @property
    def doc(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.recipe) or "").partition("\n")[0]


@attrs.frozen
class Failure:
    """An entry point, or one hook or recipe of it, that cannot be used, and why."""

    source: Source
    error: str
    kind: str | None = None
    name: str | None = None


@attrs.frozen(eq=False)
class Listener:
    """A lifecycle hook that a distribution implements, or an object that a program hands to `run`.

    Attributes:
        source: where it comes from; an object has no distribution, only a name.
        hook: the name of the hook.
        impl: the function or method.
    """

    source: Source
    hook: str
    impl: pluggy.HookImpl

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"plugin {self.source}" if self.source.distribution else self.source.entry_point

    @property
    def doc(self) -> str:
        """The first line of the plugin's docstring."""
        return (inspect.getdoc(self.impl.plugin) or "").partition("\n")[0]


def find(
    entry_points: Iterable[metadata.EntryPoint] | None = None,
) -> list[tuple[Source, metadata.EntryPoint]]:
    """All entry points of the group, sorted; of one that is found twice, the first."""
    if entry_points is None:
        entry_points = metadata.entry_points(group=hookspecs.GROUP)
    found: dict[str, tuple[Source, metadata.EntryPoint]] = {}
    for point in entry_points:
        source = _source(point)
        found.setdefault(source.key, (source, point))
    return [found[key] for key in sorted(found)]


def disable_key(name: str) -> str:
    """Turn "distribution:entry-point", as a person writes it, into a `Source.key`."""
    distribution, _, entry_point = name.partition(":")
    return f"{canonicalize_name(distribution.strip())}:{entry_point.strip()}"


def unknown_disabled(disable: Sequence[str], sources: Iterable[Source]) -> dict[str, str]:
    """Say for each name to switch off what is wrong with it, if something is."""
    known = {source.key: str(source) for source in sources}
    return {
        name: f"no installed plugin {name!r} (written as distribution:entry-point)"
        f"{suggestion(name, known.values())}"
        for name in disable
        if disable_key(name) not in known
    }


def listeners_of(listener: object, name: str) -> list[Listener]:
    """The lifecycle hooks of an object with `@hookimpl` methods (or of a module).

    Args:
        listener: the object.
        name: what messages call it.

    Raises:
        PluginError: if it implements no lifecycle hook, or something that is none.
    """
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(listener, name=name)
    implementations = list(_implementations(manager))
    problem = _hook_problem(manager, implementations)
    providers = [hook for hook, _ in implementations if hook in PROVIDERS]
    if providers:
        problem = f"a listener hears of stages and brings no plugins: leave out {providers[0]}()"
    if problem:
        raise PluginError(f"{name}: {problem}")
    source = Source("", "", name)
    return [Listener(source, hook, impl) for hook, impl in implementations if hasattr(hookspecs, hook)]


class Loader:
    """Collects what the entry points bring."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.failures: list[Failure] = []
        self.listeners: list[Listener] = []

    def load(self, source: Source, point: metadata.EntryPoint) -> None:
        """Import one entry point and ask its hooks."""
        manager = pluggy.PluginManager(hookspecs.GROUP)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(point.load(), name=str(source))
        except (Exception, SystemExit) as error:
            self.failures.append(Failure(source, f"{reason(error)}{_where_it_points(point, error)}"))
            return
        implementations = list(_implementations(manager))
        problem = _hook_problem(manager, implementations)
        if problem:
            self.failures.append(Failure(source, problem))
            return
        for hook, impl in implementations:
            if hook in PROVIDERS:
                self._take(source, hook, impl)
            elif hasattr(hookspecs, hook):
                self.listeners.append(Listener(source, hook, impl))

    def _take(self, source: Source, hook: str, impl: pluggy.HookImpl) -> None:
        kind = PROVIDERS[hook]
        try:
            recipes = _recipes(impl, kind)
        except (Exception, SystemExit) as error:
            self.failures.append(Failure(source, f"{hook}() failed: {reason(error)}", kind))
            return
        for recipe in recipes:
            problem = recipe_problem(recipe, kind) or self._taken(recipe, source)
            if problem:
                name = getattr(recipe, "name", None)
                self.failures.append(
                    Failure(source, f"{hook}(): {problem}", kind, name if isinstance(name, str) else None)
                )
            else:
                self.plugins.append(Plugin(recipe, source))

    def _taken(self, recipe: type[Recipe], source: Source) -> str | None:
        """Within one entry point there is nothing to switch off: its author must choose."""
        for other in self.plugins:
            if other.source == source and (other.kind, other.name) == (recipe.kind, recipe.name):
                return f"{recipe.__name__} has the name {recipe.name!r} of {other.recipe.__name__}"
        return None


def reason(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _where_it_points(point: metadata.EntryPoint, error: BaseException) -> str:
    """Say so where an entry point names what is not there, as after a module was renamed."""
    missing = getattr(error, "name", None) or ""
    if isinstance(error, ModuleNotFoundError):
        leads_nowhere = f"{point.module}.".startswith(f"{missing}.")
    else:
        leads_nowhere = isinstance(error, AttributeError) and missing in point.attr.split(".")
    if not (missing and leads_nowhere):
        return ""
    return f" (the entry point says {point.value!r}: install the package again after changing it)"


def _implementations(manager: pluggy.PluginManager) -> Iterator[tuple[str, pluggy.HookImpl]]:
    for plugin in manager.get_plugins():
        for caller in manager.get_hookcallers(plugin) or ():
            for impl in caller.get_hookimpls():
                yield caller.name, impl


def _hook_problem(
    manager: pluggy.PluginManager, implementations: Sequence[tuple[str, pluggy.HookImpl]]
) -> str | None:
    if not implementations:
        return "implements no hook: mark its functions with @mtl_toolkit.hookimpl"
    known = [name for name in vars(hookspecs) if name.startswith("mtl_")]
    for hook, impl in implementations:
        if impl.wrapper or impl.hookwrapper:
            return f"{hook}() must not be a hook wrapper"
        if not (getattr(manager.hook, hook).has_spec() or impl.optionalhook):
            return f"unknown hook {hook!r}{suggestion(hook, known)}"
    return None


def _recipes(impl: pluggy.HookImpl, kind: str) -> list[Any]:
    """Call one hook implementation; what it returns must be a list; what it lists twice counts once."""
    result = impl.function()
    if isinstance(result, str | type) or not isinstance(result, Iterable):
        raise TypeError(f"must return a list of {KINDS[kind].__name__} classes (got {result!r})")
    return list({id(recipe): recipe for recipe in result}.values())


def recipe_problem(recipe: Any, kind: str) -> str | None:
    """What is wrong with a class that a hook returns for a kind of plugin, or None."""
    base = KINDS[kind]
    if not (inspect.isclass(recipe) and issubclass(recipe, base)):
        return f"must return subclasses of {base.__name__} (got {recipe!r})"
    name = getattr(recipe, "name", None)
    if not isinstance(name, str):
        return f'{recipe.__name__} needs a class attribute, as in name: ClassVar[str] = "my-{kind}"'
    if not NAME.fullmatch(name):
        return f"{recipe.__name__}.name must not be empty, nor have spaces or slashes (got {name!r})"
    missing = sorted(getattr(recipe, "__abstractmethods__", ()))
    if missing:
        return f"{recipe.__name__} must define {', '.join(missing)}"
    if "__attrs_attrs__" not in vars(recipe):
        return f"{recipe.__name__} must be decorated with @attrs.frozen(kw_only=True)"
    return _field_problem(recipe, kind)


def _field_problem(recipe: type[Recipe], kind: str) -> str | None:
    try:
        fields = fields_of(recipe)
    except PluginError as error:
        return str(error)
    if "type" in fields:
        return f'{recipe.__name__} must not have a field "type": that key names the plugin'
    # A field `name` has been refused by now: it is no class attribute.
    if any(field.name == "kind" for field in fields.values()):
        return (
            f'{recipe.__name__} must not have a field "kind": that attribute says what the plugin is; '
            'call it otherwise, with attrs.field(alias="kind") if the file shall say kind'
        )
    if recipe.kind != kind:
        return f"{recipe.__name__}.kind must stay {kind!r} (got {recipe.kind!r})"
    return None


def _source(point: metadata.EntryPoint) -> Source:
    distribution = point.dist
    if distribution is None:
        return Source("unknown", "unknown", point.name)
    return Source(distribution.name or "unknown", distribution.version or "unknown", point.name)
