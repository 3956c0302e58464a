"""The names of a new package, and what is wrong with them."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib import metadata

import attrs
from packaging.utils import InvalidName, canonicalize_name

PLUGIN_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
LONGEST = 32  # characters of a plugin's name: it stands in class names, and lines have an end
LONGEST_PACKAGE = 48  # characters of a package's name: it stands in imports, beside the name of a class
# Folders beside the module's own: of the package, or what .gitignore lists. LICENSE is a file, but file
# systems may not tell cases apart.
TAKEN_FOLDERS = {"build", "dist", "example", "license", "runs", "tests"}


@attrs.frozen
class Names:
    """What a new package and its plugin are called.

    Attributes:
        distribution: the name for pip.
        module: the name for `import`.
        plugin: what the TOML calls it.
    """

    distribution: str
    module: str
    plugin: str

    @classmethod
    def derive(cls, distribution: str, plugin: str | None = None) -> Names:
        """The module's name from the distribution's, and the plugin's too if it is not given."""
        normal = canonicalize_name(distribution)
        called = normal.removeprefix("mtl-") if plugin is None else plugin
        return cls(distribution, normal.replace("-", "_"), called)

    def class_name(self, taken: frozenset[str] = frozenset()) -> str:
        """The plugin's name in CamelCase; with `My` in front where Python or the module has it already."""
        camel = "".join(part.capitalize() for part in re.split("[-_]", self.plugin))
        return f"My{camel}" if camel in taken or keyword.iskeyword(camel) else camel

    def problems(self) -> list[str]:
        """One line for each name that cannot be used."""
        problem = distribution_problem(self.distribution) or module_problem(self.module)
        if problem and self == Names.derive(self.distribution):
            return [problem]  # a plugin's name made from a wrong one is not the user's
        rule = plugin_rule(self.plugin)
        return [one for one in (problem, rule and self.plugin_problem(rule, repr(self.plugin))) if one]

    def plugin_problem(self, rule: str, found: str) -> str:
        """What is wrong with the plugin's name, as a line on the argument that it comes from."""
        if self == Names.derive(self.distribution):
            which = "NAME: the plugin's name that it gives"
            return f"{which} {rule} (got {found}); --plugin-name sets another"
        return f"--plugin-name: {rule} (got {found})"


def distribution_problem(name: str) -> str | None:
    """Say what is wrong with the name of a distribution (PEP 508), or that it is too long or installed."""
    try:
        canonicalize_name(name, validate=True)
    except InvalidName:
        return f"NAME: must be letters, digits, '-', '_' and '.', the ends letters or digits (got {name!r})"
    if len(name) > LONGEST_PACKAGE:
        return f"NAME: must be at most {LONGEST_PACKAGE} characters (got {name!r}, {len(name)})"
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return f"NAME: must not be that of an installed package (got {name!r}, {found.version} is installed)"


def module_problem(name: str) -> str | None:
    """Say why a module cannot have a name."""
    if not name.isidentifier():
        return f"NAME: must give the name of a module: no digit first (got {name!r})"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return f"NAME: must not give the name of a Python keyword to a module (got {name!r})"
    if name in sys.stdlib_module_names:
        return f"NAME: must not be that of a module of Python (got {name!r})"
    if name in TAKEN_FOLDERS:
        return f"NAME: must not be that of a folder with another use in the package (got {name!r})"
    if (place := importable(name)) is not None:
        return f"NAME: must not be that of a module that can be imported already (got {name!r}, {place})"
    return None


def importable(name: str) -> str | None:
    """Where a top-level module lies; None if there is none, or only a folder without code of its own."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that some program has made up
        return "no file"
    return spec.origin if spec is not None else None


def plugin_rule(name: str) -> str | None:
    """The rule for what the TOML is to call a plugin, if a name breaks it."""
    if PLUGIN_NAME.fullmatch(name) and len(name) <= LONGEST:
        return None
    return (
        f"must be small letters and digits with single '-' or '_' inside, at most {LONGEST}, a letter first"
    )
