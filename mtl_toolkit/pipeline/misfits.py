"""Whether the networks that a stage builds on mean the same as the stage: tasks, classes, preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checkpoint import DESCRIPTION, read_description
from ..config import AnyStage, Config, EnsembleStage, ExtractStage, Stage, expand, stage_model
from ..errors import RunError, UserError, suggestion
from ..model import describe
from .data import stage_heads
from .keep import NETWORK, has_features
from .load import find_checkpoint
from .members import INPUTS, common_description, features_of, names_of, unfit_tasks, unlike_members
from .network import placing_problems
from .starting_weights import other_network
from .trial import TrialNetworks


def misfit_networks(config: Config, stage: AnyStage, networks: TrialNetworks | None = None) -> Iterator[str]:
    """Teachers, starting weights and networks of features that do not fit a stage, one line each.

    Args:
        config: the configuration.
        stage: one of its stages.
        networks: those of its stages, where some have been built already.
    """
    networks = networks or TrialNetworks(config)
    if isinstance(stage, ExtractStage):
        yield from _unfit_network(config, stage)
        return
    if isinstance(stage, EnsembleStage):
        yield from _misfit_members(config, stage)
        return
    try:
        ours = description(config, stage)
    except UserError as error:
        # What is wrong with the network of an extract stage here is told of that stage.
        if stage.features not in [one.name for one in config.stages]:
            where = "" if stage.features is None else f"stages.{stage.name}.features: "
            yield from (f"{where}{problem}" for problem in error.problems)
        return
    tasks = list(ours["tasks"])
    if stage.features is not None:
        yield from _unfit_features(config, stage, tasks)
    for task, reference in stage.trained_teachers.items():
        yield from _misfit("teacher", networks, stage, reference, ours, [task] if task else tasks)
    if stage.start_from is not None:
        yield from _misfit("start_from", networks, stage, stage.start_from, ours, tasks)


def description(config: Config, stage: Stage | EnsembleStage) -> dict[str, Any]:
    """What a stage's checkpoint will say of its network, as far as it is known before training."""
    if isinstance(stage, EnsembleStage):
        return common_description({name: described(config, name) for name in names_of(config, stage)})
    theirs = None
    if stage.features is not None:
        theirs = _network_of_features(config, stage.features)
    model, heads = stage_model(config, stage), stage_heads(config, stage)
    with placing_problems(stage):
        found = describe(model, heads, temporal=stage.temporal, windows=stage.windows)
    inputs = "pictures" if stage.features is None else "features"
    return found | {"inputs": inputs} | ({} if theirs is None else {"preprocessing": theirs["preprocessing"]})


def _by_name(config: Config) -> dict[str, AnyStage]:
    """What a reference may name, repeats of stages too."""
    return {one.name: one for one in expand(config).stages}


def _network_of_features(config: Config, reference: str) -> dict[str, Any]:
    """The description of the network that makes features: of a stage here, or in another run's folder."""
    stages = _by_name(config)
    extract = stages.get(reference)
    if not isinstance(extract, ExtractStage):
        if not has_features(reference):
            raise RunError(f"{reference}: no features there ({NETWORK}/{DESCRIPTION} is missing)")
        return read_description(Path(reference) / NETWORK)
    return described(config, extract.network)


def described(config: Config, reference: str) -> dict[str, Any]:
    """The description of a network: of a stage here, or of a checkpoint.

    Raises:
        UserError: if there is none.
    """
    stage = _by_name(config).get(reference)
    if isinstance(stage, Stage | EnsembleStage):
        return description(config, stage)
    return read_description(find_checkpoint(Path(reference)))


def _unfit_features(config: Config, stage: Stage, tasks: Sequence[str]) -> Iterator[str]:
    theirs = _network_of_features(config, str(stage.features))
    for task in tasks:
        if task not in theirs["tasks"]:
            near = suggestion(task, theirs["tasks"])
            yield f"stages.{stage.name}.features: the network has no task {task!r}{near}"


def _unfit_network(config: Config, stage: ExtractStage) -> Iterator[str]:
    """Features are made of single pictures."""
    try:
        theirs = described(config, stage.network)
    except UserError as error:
        yield from (f"stages.{stage.name}.network: {problem}" for problem in error.problems)
        return
    if theirs.get("inputs", "pictures") != "pictures" or theirs.get("temporal"):
        yield f"stages.{stage.name}.network: must work on single pictures (got {stage.network!r})"


def _misfit(
    key: str,
    networks: TrialNetworks,
    stage: Stage,
    reference: str,
    ours: Mapping[str, Any],
    tasks: Sequence[str],
) -> list[str]:
    config = networks.config
    earlier = {name: one for name, one in _by_name(config).items() if isinstance(one, Stage | EnsembleStage)}
    try:
        theirs = described(config, reference)
        own = reference in earlier
        who = f"{key} {reference!r}" if own else f"{key} {find_checkpoint(Path(reference))}"
    except UserError as error:
        told = reference in earlier
        return [] if told else [f"stages.{stage.name}.{key}: {problem}" for problem in error.problems]
    alike = INPUTS if key == "teacher" else tuple(ours["preprocessing"])
    lines = list(misfits(who, theirs, ours, tasks, alike))
    if key == "start_from":
        lines += _unfit_start(who, theirs, ours)
        if not lines:
            trained = earlier.get(reference)
            assert not isinstance(trained, EnsembleStage)  # such a name is refused with the tables
            lines += other_network(who, networks, stage, trained, theirs=theirs, ours=ours)
    elif reference in earlier:
        lines += _other_features(config, who, earlier[reference], stage)
    return [f"stages.{stage.name}: {line}" for line in lines]


def _unfit_start(who: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    """A temporal network starts from one of its own type, or from the trunk under it."""
    if theirs.get("kind") == "ensemble":
        yield f"{who}: is an ensemble, from whose weights no network can start"
    known, wanted = theirs.get("temporal"), ours["temporal"]
    if known and wanted and known["type"] != wanted["type"]:
        yield f"{who}: its temporal network is {known['type']!r}, the stage's {wanted['type']!r}"
    if wanted and not known and ours["inputs"] == "features":
        yield f"{who}: has no temporal network to start from"


def _other_features(
    config: Config, who: str, teacher: Stage | EnsembleStage, stage: Stage | EnsembleStage
) -> Iterator[str]:
    """Both read the same rows, which mean what the network that made them means."""
    extracts = {one.name: one for one in config.stages if isinstance(one, ExtractStage)}
    theirs, ours = (extracts.get(features_of(config, one) or "") for one in (teacher, stage))
    if theirs and ours and (theirs.network, theirs.part) != (ours.network, ours.part):
        named = [f"{one.network!r} ({one.part})" for one in (theirs, ours)]
        yield f"{who}: reads features of {named[0]}, the stage of {named[1]}"


def _misfit_members(config: Config, stage: EnsembleStage) -> Iterator[str]:
    """Members that are not there, differ in what they read or mean, or do not have the tasks."""
    members: dict[str, dict[str, Any]] = {}
    stages = {one.name: one for one in expand(config).stages}
    problems: list[str] = []
    for name in names_of(config, stage):
        try:
            members[name] = described(config, name)
        except UserError as error:
            problems += [] if name in stages else [f"members: {problem}" for problem in error.problems]
    if members and not problems:
        problems += [f"members: {line}" for line in unlike_members(members)]
        for name in members:
            member = stages.get(name)
            if isinstance(member, Stage | EnsembleStage):
                problems += _other_features(config, f"member {name!r}", member, stage)
        problems += unfit_tasks(config, stage, members)
    yield from (f"stages.{stage.name}: {problem}" for problem in problems)


def misfits(
    who: str,
    theirs: Mapping[str, Any],
    ours: Mapping[str, Any],
    tasks: Sequence[str],
    alike: Sequence[str] = INPUTS,
) -> Iterator[str]:
    """In what a network that teaches or starts a stage means something else: tasks, classes, preprocessing.

    Args:
        who: what messages call it.
        theirs: what its checkpoint says of it, as `model.describe` has it.
        ours: the same of the stage.
        tasks: those that it must have.
        alike: what of their preprocessing must be the same.
    """
    for task in tasks:
        if task not in ours["tasks"]:
            yield f"{who}: the stage does not train task {task!r}"
        elif task not in theirs["tasks"]:
            yield f"{who}: has no task {task!r}{suggestion(task, theirs['tasks'])}"
        else:
            known, wanted = (side["tasks"][task]["meaning"] for side in (theirs, ours))
            yield from (
                f"{who}: task {task!r} has {key} {known.get(key)!r}, the stage {wanted.get(key)!r}"
                for key in dict.fromkeys([*known, *wanted])
                if known.get(key) != wanted.get(key)
            )
    if theirs.get("inputs", "pictures") != ours["inputs"]:
        yield f"{who}: takes {theirs.get('inputs', 'pictures')}, the stage {ours['inputs']}"
    if theirs.get("temporal") and not ours["temporal"]:
        yield f"{who}: looks at windows of frames, the stage at single {ours['inputs']}"
    known, wanted = theirs["preprocessing"], ours["preprocessing"]
    yield from (
        f"{who}: preprocessing {key} is {known.get(key)!r}, the stage's {wanted[key]!r}"
        for key in alike
        if known.get(key) != wanted[key]
    )
