"""Checks the command lines of the documentation, without running them."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from mtl_toolkit import ConfigError, Registry, UserError
from mtl_toolkit.cli import main
from mtl_toolkit.cli.trained import parse_plugin
from mtl_toolkit.config.load import apply_override, read_toml
from mtl_toolkit.plugin import KINDS, Detector, PostProcessor, Recipe, Writer
from tests.doc_pages import ROOT

# Commands that are not ours, in the forms that the pages use.
FORMS = {
    "pip": r"pip install( (-e \S+|-r \S+|[\w./\[\]-]+))+",
    "pytest": r"pytest( -\S+| [\w=\"-]+| [\w./-]+(::\w+)*)*",
    "ruff": r"ruff (format|check) \.",
    "mypy": r"mypy",
    "python": r"python (-m venv \.venv|[\w/]+\.py.*)",
    "source": r"source \.venv/bin/activate",
    "export": r"export \w+=\S+",
    "cd": r"cd \S+",
    "sphinx-build": r"sphinx-build( -[Wn])* docs docs/_build",
    "tensorboard": r"tensorboard --logdir[ =]\S+",
    "mlflow": r"mlflow ui( --\S+( \S+)?)*",
}
PLUGIN_OPTIONS: dict[str, type[Recipe]] = {
    "--format": Writer,
    "--detector": Detector,
    "--postprocess": PostProcessor,
}
# torchrun's options that the pages use, and whether a value follows.
TORCHRUN = {
    "--nproc-per-node": r"\d+|gpu",
    "--nnodes": r"\d+",
    "--node-rank": r"\d+",
    "--rdzv-id": r"\w+",
    "--rdzv-backend": r"c10d",
    "--rdzv-endpoint": r"[\w.]+:\d+",
    "--master-addr": r"[\w.]+",
    "--master-port": r"\d+",
}


def command_lines(text: str, prompt: str = "") -> Iterator[str]:
    """The command lines of a block: of a shell script, or those after a prompt."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith(prompt):
            yield from re.split(r" (?:&&|\|) ", line.removeprefix(prompt))


def problem_of(line: str, own: Iterable[str] = ()) -> str | None:
    """What is wrong with a command line; `own` are plugins that the page itself defines."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]  # a variable of the environment
    if not words:
        return None
    if words[0] == "mtl":
        return mtl_problem(words[1:], set(own))
    if words[0] == "torchrun":
        return torchrun_problem(words[1:], set(own))
    if words[:3] == ["python", "-m", "mtl_toolkit"]:
        return mtl_problem(words[3:], set(own))
    form = FORMS.get(words[0])
    if form is None:
        return f"unknown command {words[0]!r}"
    plain = shlex.join(words).replace("'", "")
    return None if re.fullmatch(form, plain) else f"{plain!r} has not the form {form!r}"


def torchrun_problem(words: list[str], own: set[str]) -> str | None:
    """Options of torchrun that are known here, then `-m mtl_toolkit` and a command of ours."""
    while words and words[0] != "-m":
        option, equals, value = words[0].partition("=")
        words = words[1:]
        if not equals and words:
            value, words = words[0], words[1:]
        if not re.fullmatch(TORCHRUN.get(option, r"(?!)"), value):
            return f"torchrun: {option} {value}"
    if words[:2] != ["-m", "mtl_toolkit"]:
        return "torchrun: must start `-m mtl_toolkit`"
    return mtl_problem(words[2:], own)


def mtl_problem(words: list[str], own: set[str]) -> str | None:
    """Let click parse the words, and read what stands for a plugin or an override."""
    command: click.Command = main
    context = click.Context(main, info_name="mtl", **main.context_settings)
    try:
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            inner = command.get_command(context, words[0])
            if inner is None:
                return f"no command {words[0]!r} of {command.name}"
            command, words = inner, words[1:]
        _ask_for_no_files(command)
        command.make_context(command.name, list(words), parent=context)
        _check_values(words, own)
    except click.exceptions.Exit:  # --help, --version
        return None
    except click.ClickException as error:
        return error.format_message()
    except UserError as error:
        return "; ".join(error.problems)
    return None


def _ask_for_no_files(command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False


def _check_values(words: list[str], own: set[str]) -> None:
    registry = Registry.load()
    for option, value in itertools.pairwise(words):
        base = PLUGIN_OPTIONS.get(option)
        text = value.partition("=")[2] if option == "--postprocess" else value
        if base is not None and text not in own:
            parse_plugin(option, text, base, registry)
        if option == "--set":
            _check_override(value, words)
    named = words[0] if words else ""
    kind, slash, name = named.partition("/")
    if slash and kind in KINDS and name not in own and not Path(named).exists():
        registry.plugin(kind, name)


def _check_override(override: str, words: Iterable[str]) -> None:
    """Apply it to the configuration, if that is one of the repository."""
    path = next((ROOT / word for word in words if word.endswith(".toml")), ROOT)
    if path.is_file():
        apply_override(read_toml(path), override, path.name)
    elif "=" not in override:
        raise ConfigError(f"--set {override}: must be KEY=VALUE")
