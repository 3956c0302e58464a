"""The templates of new packages: files that lie beside this module, filled in by `string.Template`.

`templates/common` is for every kind, `templates/<kind>` for one. In a file's path `MODULE` stands for the
package's module and `dot-` for a leading dot; files without the suffix `.tmpl` are copied as they are.
`kind.toml` has what the kind says to the common files; that of `common` says what most kinds would.
"""

from __future__ import annotations

import io
import re
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from string import Template
from typing import Any

KINDS = ("head", "loss", "dataset", "backbone", "architecture", "balancer", "metric", "hooks")
LICENSES = ("BSD-3-Clause", "ISC", "MIT")
SUFFIX = ".tmpl"
ABOUT = PurePosixPath("kind.toml")


def about(kind: str) -> dict[str, Any]:
    """What a kind says: `what`, `description`, `dependencies`, `test`, `tested`, `usage`, `look`."""
    files = (_root(folder).joinpath(str(ABOUT)) for folder in ("common", kind))
    common, own = (tomllib.loads(file.read_text(encoding="utf-8")) for file in files)
    return common | own


def words(kind: str) -> frozenset[str]:
    """All the names in the code of a kind, which the class of the plugin must not take."""
    texts = (text for path, text in _files(kind) if path.name.endswith(f".py{SUFFIX}"))
    codes = (fill(text, defaultdict(lambda: "x")) for text in texts)
    tokens = (token for code in codes for token in tokenize.generate_tokens(io.StringIO(code).readline))
    return frozenset(token.string for token in tokens if token.type == tokenize.NAME)


def render(kind: str, values: Mapping[str, str]) -> dict[PurePosixPath, str]:
    """The files of a package: text by path.

    Raises:
        KeyError: if a template has a placeholder that `values` lacks.
    """
    found = {}
    for folder in ("common", kind):
        for path, text in _files(folder):
            if path != ABOUT:
                filled = fill(text, values) if path.suffix == SUFFIX else text
                found[_target(path, values["module"])] = filled
    return found


def license_text(expression: str, values: Mapping[str, str]) -> str | None:
    """The text of one of `LICENSES`; None of another."""
    if expression not in LICENSES:
        return None
    text = _root("licenses").joinpath(expression + SUFFIX).read_text(encoding="utf-8")
    return fill(text, values)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of placeholders."""
    return Template(text).substitute(values)


def _target(path: PurePosixPath, module: str) -> PurePosixPath:
    parts = [re.sub("^dot-", ".", part.replace("MODULE", module)) for part in path.parts]
    parts[-1] = parts[-1].removesuffix(SUFFIX)
    return PurePosixPath(*parts)


def _files(folder: str) -> Iterator[tuple[PurePosixPath, str]]:
    yield from _below(_root(folder), PurePosixPath())


def _below(folder: Traversable, inside: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _below(one, inside / one.name)
        else:
            yield inside / one.name, one.read_text(encoding="utf-8")


def _root(folder: str) -> Traversable:
    return resources.files(__package__).joinpath("templates", folder)
