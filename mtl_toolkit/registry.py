"""Find plugins by entry point, one by one, so that a broken one is reported and the rest work."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any, TypeVar

import attrs
import pluggy

from . import hookspecs
from .errors import PluginError, suggestion
from .plugin import KINDS, Recipe

R = TypeVar("R", bound=Recipe)
PROVIDERS = {
    "mtl_architectures": "architecture",
    "mtl_backbones": "backbone",
    "mtl_balancers": "balancer",
    "mtl_datasets": "dataset",
    "mtl_heads": "head",
    "mtl_losses": "loss",
    "mtl_metrics": "metric",
    "mtl_samplers": "sampler",
}


@attrs.frozen
class Source:
    """Where a plugin comes from."""

    distribution: str
    version: str
    entry_point: str

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
class Registry:
    """All plugins found, those that failed, and the lifecycle listeners."""

    plugins: tuple[Plugin, ...]
    failures: tuple[Failure, ...]
    listeners: tuple[tuple[Source, pluggy.HookImpl], ...] = ()
    disabled: tuple[Source, ...] = ()

    @classmethod
    def load(
        cls,
        disable: Sequence[str] = (),
        entry_points: Iterable[metadata.EntryPoint] | None = None,
    ) -> Registry:
        """Load every entry point of the group, except the disabled ones ("distribution:entry-point").

        Raises:
            PluginError: if `disable` names an entry point that is not installed.
        """
        if entry_points is None:
            entry_points = metadata.entry_points(group=hookspecs.GROUP)
        found = sorted(((_source(point), point) for point in entry_points), key=lambda pair: str(pair[0]))
        unique = list({str(source): (source, point) for source, point in found}.values())
        _check_disabled(disable, [str(source) for source, _ in unique])
        loader = _Loader()
        for source, point in unique:
            if str(source) not in disable:
                loader.load(source, point)
        disabled = tuple(source for source, _ in unique if str(source) in disable)
        return cls(tuple(loader.plugins), tuple(loader.failures), tuple(loader.listeners), disabled)

    def of_kind(self, kind: str) -> list[Plugin]:
        """The plugins of a kind, by name."""
        return sorted((p for p in self.plugins if p.kind == kind), key=lambda p: p.name)

    def plugin(self, kind: str, name: str) -> Plugin:
        """Find a plugin.

        Raises:
            PluginError: if it is unknown, failed to load, or is brought by two distributions.
        """
        matches = [p for p in self.plugins if p.kind == kind and p.name == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            sources = [str(p.source) for p in matches]
            raise PluginError(
                f"{kind} {name!r} is brought by {' and '.join(sources)}; switch one off with "
                f"[plugins] disable = [{sources[-1]!r}] or --disable-plugin {sources[-1]}"
            )
        raise PluginError(self._unknown(kind, name))

    def recipe(self, kind: str, name: str, base: type[R]) -> type[R]:
        """Find a recipe class and say its type."""
        found = self.plugin(kind, name).recipe
        assert issubclass(found, base)
        return found

    def source_of(self, recipe: type[Recipe]) -> Source | None:
        """Where a recipe class comes from; None for one that no entry point brought."""
        return next((p.source for p in self.plugins if p.recipe is recipe), None)

    def conflicts(self) -> list[tuple[Plugin, ...]]:
        """Plugins that share kind and name."""
        names: dict[tuple[str, str], list[Plugin]] = {}
        for plugin in self.plugins:
            names.setdefault((plugin.kind, plugin.name), []).append(plugin)
        return [tuple(group) for group in names.values() if len(group) > 1]

    def notify(self, hook: str, event: Any) -> list[str]:
        """Tell the listeners of a lifecycle hook; return a line for each that failed."""
        problems = []
        for source, impl in self.listeners:
            if impl.function.__name__ == hook:
                try:
                    impl.function(*(event for _ in impl.argnames))
                except Exception as error:
                    problems.append(f"plugin {source} failed in {hook}: {_reason(error)}")
        return problems

    def _unknown(self, kind: str, name: str) -> str:
        known = [p.name for p in self.of_kind(kind)]
        message = f"unknown {kind} {name!r}{suggestion(name, known)}"
        related = [f for f in self.failures if f.name == name or (f.name is None and f.source.entry_point == name)]
        for failure in related:
            message += f" ({failure.source} {failure.source.version} failed to load: {failure.error})"
        off = [str(source) for source in self.disabled if source.entry_point == name]
        if off:
            message += f" ({', '.join(off)} is disabled)"
        if self.failures and not related:
            message += f" ({len(self.failures)} plugins failed to load: see mtl plugins)"
        return message


class _Loader:
    """Collects what the entry points bring."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.failures: list[Failure] = []
        self.listeners: list[tuple[Source, pluggy.HookImpl]] = []

    def load(self, source: Source, point: metadata.EntryPoint) -> None:
        manager = pluggy.PluginManager(hookspecs.GROUP)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(point.load(), name=str(source))
            manager.check_pending()
        except (Exception, SystemExit) as error:
            self.failures.append(Failure(source, _reason(error)))
            return
        for caller in _callers(manager):
            for impl in caller.get_hookimpls():
                self._take(source, caller.name, impl)

    def _take(self, source: Source, hook: str, impl: pluggy.HookImpl) -> None:
        kind = PROVIDERS.get(hook)
        if kind is None:
            self.listeners.append((source, impl))
            return
        try:
            recipes = list(impl.function())
        except Exception as error:
            self.failures.append(Failure(source, f"{hook}() failed: {_reason(error)}", kind))
            return
        for recipe in recipes:
            problem = _recipe_problem(recipe, kind)
            if problem:
                name = getattr(recipe, "name", None)
                self.failures.append(
                    Failure(source, f"{hook}(): {problem}", kind, name if isinstance(name, str) else None)
                )
            else:
                self.plugins.append(Plugin(recipe, source))


def _callers(manager: pluggy.PluginManager) -> Iterator[pluggy.HookCaller]:
    for plugin in manager.get_plugins():
        yield from manager.get_hookcallers(plugin) or ()


def _recipe_problem(recipe: Any, kind: str) -> str | None:
    base = KINDS[kind]
    if not (inspect.isclass(recipe) and issubclass(recipe, base)):
        return f"must return subclasses of {base.__name__} (got {recipe!r})"
    if not isinstance(getattr(recipe, "name", None), str):
        return f"{recipe.__name__} needs a class attribute name: ClassVar[str]"
    missing = sorted(getattr(recipe, "__abstractmethods__", ()))
    if missing:
        return f"{recipe.__name__} must define {', '.join(missing)}"
    if "__attrs_attrs__" not in vars(recipe):
        return f"{recipe.__name__} must be decorated with @attrs.frozen(kw_only=True)"
    return None


def _source(point: metadata.EntryPoint) -> Source:
    distribution = point.dist
    if distribution is None:
        return Source("unknown", "unknown", point.name)
    return Source(distribution.name, distribution.version, point.name)


def _check_disabled(disable: Sequence[str], known: Sequence[str]) -> None:
    problems = [
        f"plugins.disable: no installed plugin {name!r} (written as distribution:entry-point)"
        f"{suggestion(name, known)}"
        for name in disable
        if name not in known
    ]
    if problems:
        raise PluginError(*problems)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def versions(sources: Iterable[Source]) -> dict[str, str]:
    """The versions of Python, the core, its main libraries and the given plugins' distributions."""
    names = ("mtl-toolkit", "torch", "timm", "torchmetrics", "accelerate")
    result = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in names:
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result | {source.distribution: source.version for source in sources}
