"""Which tasks of a stage go into a submission."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_toolkit import Head, suggestion

from .parts import Part


def fitting(
    heads: Mapping[str, Head], parts: Sequence[Part], named: Sequence[str] = ()
) -> tuple[dict[str, Part], list[str]]:
    """Find the tasks whose label is that of a part.

    Args:
        heads: the tasks, by name.
        parts: what could be written.
        named: the tasks that are meant; none: all.

    Returns:
        The part of each task, in the order of the parts; and what keeps them from being written.
    """
    by_label = {part.label: part for part in parts}
    problems = [f"there is no task {task!r}{suggestion(task, heads)}" for task in named if task not in heads]
    meant = {task: head for task, head in heads.items() if not named or task in named}
    found = {task: by_label[head.label] for task, head in meant.items() if head.label in by_label}
    if named:
        problems += [
            f"task {task!r} must have the label {or_list(by_label)} (got {head.label!r})"
            for task, head in meant.items()
            if task not in found
        ]
    for task, part in found.items():
        problems += [f"task {task!r} {problem}" for problem in part.misfits(heads[task])]
    return dict(sorted(found.items(), key=lambda item: list(by_label).index(item[1].label))), problems


def rivals(found: Mapping[str, Part], option: str) -> list[str]:
    """Tell which tasks are for the same part, where `option` should name one of them."""
    tasks: dict[str, list[str]] = {}
    for task, part in found.items():
        tasks.setdefault(part.label, []).append(task)
    return [
        f"{option} must name one of the tasks with the label {label!r} (there are {', '.join(same)})"
        for label, same in tasks.items()
        if len(same) > 1
    ]


def or_list(names: Sequence[str] | Mapping[str, object]) -> str:
    """Names in quotes, with `or` between."""
    return " or ".join(repr(name) for name in names)
