"""Plugins with one mistake each, and how the conformance kit must catch them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs
import pytest

from mtl_toolkit.testing import Check, ConformanceError


@attrs.frozen
class Mutant:
    """A plugin with one mistake.

    Attributes:
        mistake: what is wrong with it.
        checks: makes its checks.
        caught_by: the name of the check that must fail.
    """

    mistake: str
    checks: Callable[[], list[Check]]
    caught_by: str

    @property
    def __name__(self) -> str:
        """For pytest."""
        return f"{self.caught_by}: {self.mistake}"

    def check(self) -> Check:
        """The check that must fail."""
        (found,) = [check for check in self.checks() if check.name == self.caught_by]
        return found


def assert_caught(mutant: Mutant) -> None:
    """The check fails, says the rule and where to read; a plugin's own error says where it came up."""
    check = mutant.check()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a plugin may raise anything
        check()
    error = caught.value
    told = str(error) if isinstance(error, ConformanceError) else "\n".join(getattr(error, "__notes__", ()))
    assert check.rule in told
    assert check.page in told


def uncaught(mutants: Iterable[Mutant], checks: Sequence[Check]) -> set[str]:
    """The checks that no mutant shows to be able to fail, but for those that need a GPU."""
    return {check.name for check in checks} - {mutant.caught_by for mutant in mutants} - {"on-a-gpu"}
