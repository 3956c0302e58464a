"""The package that is asked for: what is wrong with the wish, and the files that fulfil it."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import attrs

from ...errors import ConfigError, suggestion
from . import templates
from .folder import folder_problem
from .licenses import license_expression
from .names import Names

ONE_LINE = re.compile(r"[^\x00-\x1f\x7f\x85\u2028\u2029]+")
EMAIL = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+")
HOOKS = "hooks"  # the kind that brings no recipe, so that nothing can have its name


@attrs.frozen(kw_only=True)
class Package:
    """A package to be written.

    Attributes:
        names: of the distribution, its module and its plugin.
        kind: of plugin, one of `templates.KINDS`.
        folder: where it goes.
        license: an SPDX expression, in any spelling.
        author: name of the author; None: the package's developers.
        email: address of the author.
        description: what it is, in one line; None: what the kind's example is.
    """

    names: Names
    kind: str
    folder: Path
    license: str
    author: str | None = None
    email: str | None = None
    description: str | None = None

    def problems(self) -> list[str]:
        """One line for each thing that is wrong with it."""
        return [problem for problem in self._problems() if problem]

    def _problems(self) -> Iterator[str | None]:
        yield from self.names.problems()
        if self.kind not in templates.KINDS:
            near = suggestion(self.kind, templates.KINDS)
            yield f"--kind: must be a kind that there is an example of (got {self.kind!r}){near}"
        try:
            license_expression(self.license)
        except ConfigError as error:
            yield from error.problems
        for option, text in (("--author", self.author), ("--description", self.description)):
            if text is not None and not ONE_LINE.fullmatch(text):
                yield f"{option}: must be one line of text (got {text!r})"
        if self.email is not None and not EMAIL.fullmatch(self.email):
            yield f"--email: must be an address, as name@example.org (got {self.email!r})"
        yield folder_problem(self.folder)

    def name_problem(self) -> str | None:
        """Say who has brought a plugin of this kind and name already. Loads all plugins, so it comes last."""
        from ...registry import Registry

        if self.kind == HOOKS:
            return None
        for plugin in Registry.load().of_kind(self.kind):
            if plugin.name == self.names.plugin:
                rule = f"must not be that of a {self.kind} which is there already"
                return self.names.plugin_problem(rule, f"{plugin.name!r}, of {plugin.source}")
        return None

    def license_file(self) -> str | None:
        """The text of the licence, or None where it is not at hand."""
        return templates.license_text(license_expression(self.license), self._values())

    def files(self) -> dict[PurePosixPath, str]:
        """All files, text by path."""
        found = templates.render(self.kind, self._values())
        if (text := self.license_file()) is not None:
            found[PurePosixPath("LICENSE")] = text
        return found

    def _values(self) -> dict[str, str]:
        """What stands for each placeholder of the templates."""
        names, about = self.names, templates.about(self.kind)
        description = self.description or about["description"]
        author = self.author or f"The {names.distribution} developers"
        expression = license_expression(self.license)
        contact = {"name": author} | ({"email": self.email} if self.email else {})
        own = {
            "distribution": names.distribution,
            "module": names.module,
            "plugin": names.plugin,
            "cls": names.class_name(templates.words(self.kind)),
            "kind": self.kind,
        }
        return own | {
            "description": description,
            "quoted_description": quoted(description),
            "author": author,
            "authors": "{ " + ", ".join(f"{key} = {quoted(text)}" for key, text in contact.items()) + " }",
            "license": expression,
            "license_files": '["LICENSE"]' if expression in templates.LICENSES else "[]",
            "year": str(datetime.datetime.now(tz=datetime.UTC).year),
            "dependencies": quoted_lines(about["dependencies"]),
            "test_dependencies": quoted_lines(about["test"]),
            "usage": templates.fill(about["usage"], own).strip(),
            "look": templates.fill(about["look"], own),
            "what": about["what"],
            "tested": about["tested"],
        }


def quoted(text: str) -> str:
    """A TOML string on one line; what JSON escapes, TOML understands."""
    return json.dumps(text, ensure_ascii=False)


def quoted_lines(texts: Sequence[str]) -> str:
    """The items of a TOML list, one a line."""
    return "\n".join(f"    {quoted(text)}," for text in texts)
