"""Run a page as a reader would: its files, its Python and its commands, in order, in one folder.

`python docs/run_page.py docs/tutorial.md` does so in a new folder, and writes into the page what is printed.

- A TOML block that begins with `# NAME.toml` is written to that file; one with `# NAME.toml, at the end` is
  added to it.
- A text block with lines `$ mtl ...` has commands, each followed by what it prints on standard output.
- Another text block is what the Python block before it prints.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from click.testing import CliRunner

from mtl_toolkit.cli import main

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.toml)(, at the end)?\n")
PROMPT = "$ "


class PageRun:
    """Runs the blocks of a page in the working directory, one after the other.

    Args:
        title: what tracebacks call the page.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.module = ModuleType("docs_page")
        self.printed = ""
        sys.modules[self.module.__name__] = self.module  # attrs and pickle look a class's module up

    def run(self, text: str) -> str:
        """Run a page, and return it with what its blocks print now.

        Raises:
            RuntimeError: if a command fails.
        """

        def block(found: re.Match[str]) -> str:
            line = text.count("\n", 0, found.start()) + 1
            return f"```{found[1]}\n{self._block(found[1], found[2], line)}```"

        return BLOCK.sub(block, text)

    def _block(self, language: str, text: str, line: int) -> str:
        if language == "toml":
            write_file(text)
        elif language == "python":
            self._run_python(text, line)
        elif language == "text":
            commands = [one for one in text.splitlines() if one.startswith(PROMPT)]
            return run_commands(commands) if commands else self.printed
        return text

    def _run_python(self, text: str, line: int) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            # Empty lines in front, so that a traceback shows the page's own line numbers.
            exec(compile("\n" * line + text, self.title, "exec"), vars(self.module))
        self.printed = output.getvalue()


def write_file(text: str) -> None:
    """Write a block to the file that its first line names, or add it there."""
    if found := FILE.match(text):
        with Path(found[1]).open("a" if found[2] else "w", encoding="utf-8") as file:
            file.write(text)


def run_commands(lines: list[str]) -> str:
    """Run command lines; return each with what it prints.

    Raises:
        RuntimeError: if one fails, with all that it printed.
    """
    text = ""
    for line in lines:
        done = CliRunner().invoke(main, shlex.split(line)[2:], prog_name="mtl", catch_exceptions=False)
        if done.exit_code:
            raise RuntimeError(f"{line}\n{done.output}")
        printed = "\n".join(one.rstrip() for one in done.stdout.splitlines()).strip("\n")
        text += f"{line}\n{printed}\n"
    return text


def rewrite(page: Path) -> None:
    """Run a page in a new folder, and write it with what it prints."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        text = PageRun(page.name).run(text)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        rewrite(Path(name).absolute())
