"""What a check is: a rule for authors, a function that tries it, and how a failure reads."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor

from ..plugin import Recipe

PAGE = "reference/conformance"  # of the documentation: has a section for every check
GPU = "on-a-gpu"  # the name of the rules that need one
T = TypeVar("T")
Rule = Callable[[T], None]


class ConformanceError(AssertionError):
    """A plugin breaks a rule of its kind; the message says the rule, what was found, and where to read on."""


class Broken(Exception):  # noqa: N818 - becomes a ConformanceError, with the rule in front
    """What was found where a rule does not hold."""


@attrs.frozen(eq=False)
class Check:
    """One property that a plugin must have. Call it to try it.

    Attributes:
        kind: of the plugin: head, loss, dataset ...
        plugin: its name.
        name: of the check, the same in every release.
        topic: the part of the documentation's page that it is in: the kind, or "recipe" or "network".
        rule: what is expected of the plugin's author, in a sentence.
        advice: how to keep it, and why it is there; '' where the rule says enough.
    """

    kind: str
    plugin: str
    name: str
    topic: str
    rule: str
    advice: str
    _attempt: Callable[[], None] = attrs.field(repr=False)

    @property
    def __name__(self) -> str:
        """What pytest shows of it among the parameters of a test."""
        return self.name

    @property
    def page(self) -> str:
        """Where the documentation explains it."""
        return page_of(self.topic, self.name)

    def __call__(self) -> None:
        """Try it.

        Raises:
            ConformanceError: if the plugin breaks the rule.
        """
        __tracebackhide__ = True  # pytest shows the message, or the plugin's own lines
        subject = f"{self.kind} {self.plugin!r}: {self.rule}"
        more = f"{self.advice}\nsee {self.page}".lstrip()
        try:
            self._attempt()
        except Broken as found:
            raise ConformanceError(f"{subject} ({found})\n{more}") from None
        except Exception as error:
            error.add_note(f"while checking {subject}\n{more}")
            raise


def page_of(topic: str, name: str) -> str:
    """The address of a check's section, or the file's place in the sources if no site is known."""
    for entry in metadata.metadata("mtl-toolkit").get_all("Project-URL") or ():
        label, _, address = entry.partition(", ")
        if label.casefold() == "documentation":
            return f"{address.rstrip('/')}/{PAGE}.html#{topic}-{name}"
    return f"docs/{PAGE}.md#{topic}-{name} in the sources of mtl-toolkit"


def checks_of(recipe: Recipe, subject: T, rules: Iterable[Rule[T]], topic: str = "") -> list[Check]:
    """The checks of a plugin, one for each rule."""
    plugin = getattr(recipe, "name", type(recipe).__name__)
    return [
        Check(
            recipe.kind,
            plugin,
            name_of(rule),
            topic or recipe.kind,
            *text_of(rule),
            functools.partial(rule, subject),
        )
        for rule in runnable(rules)
    ]


def runnable(rules: Iterable[Rule[T]]) -> Iterator[Rule[T]]:
    """The rules that can be tried on this machine."""
    return (rule for rule in rules if name_of(rule) != GPU or torch.cuda.is_available())


def name_of(rule: Rule[Any]) -> str:
    """A check's name: that of its function, with hyphens."""
    return rule.__name__.replace("_", "-")  # type: ignore[attr-defined] # rules are functions


def text_of(rule: Rule[Any]) -> tuple[str, str]:
    """What is expected, and advice: the first line of its function's docstring, and the rest on one line."""
    first, _, rest = (inspect.getdoc(rule) or "").partition("\n")
    return first.rstrip("."), " ".join(rest.split())


def expect(holds: object, found: str) -> None:
    """Go on only if a rule holds; `found` says what was there instead."""
    if not holds:
        raise Broken(found)


def expect_equal(one: Tensor, other: Tensor, what: str, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Two tensors of one shape must be equal, but for rounding; NaN equals nothing."""
    expect(one.shape == other.shape, f"{what}: shapes {tuple(one.shape)} and {tuple(other.shape)}")
    one, other = one.detach().double().cpu(), other.detach().double().cpu()
    wrong = ~torch.isclose(one, other, rtol=rtol, atol=atol)
    if wrong.any():
        place = tuple(wrong.nonzero()[0].tolist())
        at = f" at {list(place)}" if place else ""
        raise Broken(f"{what}: {one[place].item():g} and {other[place].item():g}{at}")


def expect_finite(tensors: Sequence[Tensor], what: str) -> None:
    """No tensor may hold NaN or an infinity."""
    for tensor in tensors:
        if not torch.isfinite(tensor).all():
            raise Broken(f"{what}: {tensor.detach().reshape(-1)[~torch.isfinite(tensor).reshape(-1)][0]}")
