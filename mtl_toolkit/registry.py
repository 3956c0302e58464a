"""What plugins there are, by kind and name; which of them cannot be used, and why."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any, TypeVar

import attrs

from .entrypoints import (
    Failure,
    Listener,
    Loader,
    Plugin,
    Source,
    disable_key,
    find,
    listeners_of,
    reason,
    unknown_disabled,
)
from .errors import PluginError, suggestion
from .plugin import KINDS, Recipe

__all__ = ["Failure", "Listener", "Plugin", "Registry", "Source", "versions"]

R = TypeVar("R", bound=Recipe)


@attrs.frozen(eq=False)
class Registry:
    """All plugins found, those that failed, and the lifecycle listeners."""

    plugins: tuple[Plugin, ...]
    failures: tuple[Failure, ...]
    listeners: tuple[Listener, ...] = ()
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
        found = find(entry_points)
        unknown = unknown_disabled(disable, [source for source, _ in found])
        if unknown:
            raise PluginError(*unknown.values())
        off = {disable_key(name) for name in disable}
        loader = Loader()
        for source, point in found:
            if source.key not in off:
                loader.load(source, point)
        disabled = tuple(source for source, _ in found if source.key in off)
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
        raise PluginError(conflict(matches) if matches else self._unknown(kind, name))

    def recipe(self, kind: str, name: str, base: type[R]) -> type[R]:
        """Find a recipe class and say its type.

        Raises:
            PluginError: as `plugin`, or if the plugin is not a `base`.
        """
        found = self.plugin(kind, name).recipe
        if not issubclass(found, base):
            fitting = [p.name for p in self.of_kind(kind) if issubclass(p.recipe, base)]
            raise PluginError(f"{kind} {name!r} is no {base.__name__}{suggestion('', fitting)}")
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

    def with_listeners(self, named: Iterable[tuple[str, object]]) -> Registry:
        """The same plugins, and objects that are told of stages too, after the plugins' own listeners.

        Args:
            named: what messages call each object, and the object: any with `@hookimpl` methods.

        Raises:
            PluginError: if one implements no lifecycle hook, or something that is none.
        """
        added = [listener for name, one in named for listener in listeners_of(one, name)]
        return attrs.evolve(self, listeners=(*self.listeners, *added))

    def notify(self, hook: str, event: Any) -> list[str]:
        """Tell the listeners of a lifecycle hook; return a line for each that failed.

        Each gets a copy of its own: what it does to the tables in it reaches neither the run nor the others.
        """
        problems = []
        for listener in self.listeners:
            if listener.hook == hook:
                try:
                    listener.impl.function(*(copy.deepcopy(event) for _ in listener.impl.argnames))
                except Exception as error:
                    problems.append(f"{listener.title} failed in {hook}: {reason(error)}")
        return problems

    def _unknown(self, kind: str, name: str) -> str:
        if kind not in KINDS:
            return f"unknown kind of plugin {kind!r}{suggestion(kind, KINDS)}"
        broken = [failure for failure in self.failures if _may_be(failure, kind, name)]
        if broken:
            return f"{kind} {name!r} cannot be used: {'; '.join(map(_told, broken))}"
        message = f"unknown {kind} {name!r}{suggestion(name, [p.name for p in self.of_kind(kind)])}"
        off = [str(source) for source in self.disabled if source.entry_point == name]
        if off:
            return f"{message} ({', '.join(off)} is disabled)"
        # What a plugin that failed to import would have brought is not known: it may be the one.
        suspects = [f for f in self.failures if f.name is None and f.kind in (None, kind)]
        if 0 < len(suspects) <= 3:
            return f"{message} (unless it is in what failed to load: {'; '.join(map(_told, suspects))})"
        if suspects:
            return f"{message} ({len(suspects)} plugins failed to load: see mtl plugins)"
        return message


def unloaded(registry: Registry) -> list[str]:
    """A line for each entry point that failed as a whole: what it would have brought is not known.

    If that was lifecycle hooks, no configuration names them, and nobody else would tell.
    """
    return [_told(failure) for failure in registry.failures if failure.kind is None]


def conflict(plugins: Sequence[Plugin]) -> str:
    """Say that several distributions bring the same name, and how to settle it."""
    sources = [f"{p.source} {p.source.version}" for p in plugins]
    last = str(plugins[-1].source)
    return (
        f"{plugins[0].kind} {plugins[0].name!r} is brought by {' and '.join(sources)}; switch one off with "
        f'[plugins] disable = ["{last}"] or --disable-plugin {last}'
    )


def _may_be(failure: Failure, kind: str, name: str) -> bool:
    """Whether a failure is the plugin that is asked for: by its name, or by that of its entry point."""
    known = failure.source.entry_point if failure.name is None else failure.name
    return known == name and failure.kind in (None, kind)


def _told(failure: Failure) -> str:
    return f"{failure.source} {failure.source.version} failed to load: {failure.error}"


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
