"""Whether what a stage refers to is there: an earlier stage of the right kind, a repeat of one, or a path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import suggestion
from .paths import expand_path
from .problems import Found, Key, Problems
from .repeats import names_to_refer_to, repeat_names
from .stages import AnyStage

TRAINED = ("train", "ensemble")  # kinds of stages that leave a checkpoint to predict with


def reference_problems(
    path: tuple[Key, ...],
    reference: str,
    earlier: Sequence[AnyStage],
    base: Path,
    kinds: Sequence[str] = ("train",),
    *,
    repeated: bool = False,
) -> Iterator[Found]:
    """What is wrong with a reference.

    Args:
        path: where it stands in the stage's table.
        reference: a name or a path.
        earlier: the stages before this one.
        base: where relative paths start.
        kinds: of the stages that it may name.
        repeated: whether a repeated stage may be named for all of its repeats.
    """
    repeats = {other.name: repeat_names(other) for other in earlier}
    if "train" in kinds and (names := repeats.get(reference)):
        if not repeated:
            message = f"must name a repeat, such as {names[0]!r}, or a stage that combines them"
            yield path, f"{message} (got {reference!r}, which is repeated)"
        return
    there = {name: other.kind for other in earlier for name in names_to_refer_to([other])}
    fitting = [name for name in there if there[name] in kinds]
    if reference in there:
        if reference not in fitting:
            wanted = " or ".join(map(repr, kinds))
            message = f"must name a stage of kind {wanted} (got {reference!r}, which is of kind "
            yield path, f"{message}{there[reference]!r}){suggestion(reference, fitting)}"
        return
    try:
        found = expand_path(reference, base)
    except Problems as problems:
        yield path, problems.found[0][1]
        return
    if not found.exists():
        what = "checkpoint" if "train" in kinds else "folder of features"
        yield path, f"no earlier stage or {what} {reference!r}{suggestion(reference, fitting)}"
