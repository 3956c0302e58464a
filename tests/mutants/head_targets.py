"""Self-supervised heads with one mistake each in the targets that they make."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.mutants import Mutant, broken
from tests.mutants.head_layers import of_head
from tests.thumbnails import Thumbnail


def in_place(self: Any, inputs: Tensor) -> Tensor:
    found = Thumbnail.target_of(self, inputs)
    inputs.zero_()
    return found


def a_list(self: Any, inputs: Tensor) -> Any:
    return Thumbnail.target_of(self, inputs).tolist()


def flat(self: Any, inputs: Tensor) -> Tensor:
    return Thumbnail.target_of(self, inputs).flatten(1)


def doubles(self: Any, inputs: Tensor) -> Tensor:
    return Thumbnail.target_of(self, inputs).double()


def infinite(self: Any, inputs: Tensor) -> Tensor:
    return Thumbnail.target_of(self, inputs) / 0


def relative_to_the_batch(self: Any, inputs: Tensor) -> Tensor:
    found = Thumbnail.target_of(self, inputs)
    return found - found.mean(0)


def bytes_as_they_are(self: Any, inputs: Tensor) -> Tensor:
    return Thumbnail.target_of(self, inputs.float())


def nothing_made(self: Any, inputs: Tensor) -> Tensor:
    raise ZeroDivisionError


def of_targets(mistake: str, target_of: Any, caught_by: str = "makes-targets", **how: Any) -> Mutant:
    return of_head(mistake, broken(Thumbnail, target_of=target_of), caught_by, **how)


TARGETS = [
    of_targets("writes into the inputs", in_place),
    of_targets("a list of targets", a_list),
    of_targets("flat targets", flat),
    of_targets("targets in float64", doubles),
    of_targets("infinite targets", infinite),
    of_targets("target_of fails", nothing_made, raises=ZeroDivisionError),
    of_targets("subtracts the mean of the rows", relative_to_the_batch, "targets-of-rows"),
    of_targets("takes bytes for floats", bytes_as_they_are, "targets-of-rows"),
]
