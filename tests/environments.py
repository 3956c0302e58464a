"""Virtual environments for tests that install packages for real."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


class Environment:
    """A virtual environment that sees the packages of the one the tests run in, and has its own too."""

    def __init__(self, folder: Path) -> None:
        succeed(sys.executable, "-m", "venv", "--without-pip", str(folder))
        scheme = {"base": str(folder), "platbase": str(folder)}
        self.python = Path(sysconfig.get_path("scripts", "venv", scheme)) / Path(sys.executable).name
        # A folder named in a .pth file is only put on the path; addsitedir also reads the .pth files in it,
        # by which editable packages are found.
        outer = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        lines = [f"import site; site.addsitedir({path!r})" for path in sorted(outer)]
        link = Path(sysconfig.get_path("purelib", "venv", scheme)) / "outer.pth"
        link.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def install(self, *what: str | Path) -> None:
        """Install wheels, or folders with `-e` before them, as they are: nothing is downloaded."""
        options = ("--no-deps", "--no-index", "--no-build-isolation")
        pip("--python", str(self.python), "install", *options, *map(str, what))

    def run(self, folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module in a folder."""
        return run(str(self.python), "-m", module, *arguments, folder=folder)

    def mtl(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a folder."""
        return self.run(folder, "mtl_toolkit", *arguments)


def run(*command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and catch what it prints."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def succeed(*command: str, folder: Path | None = None) -> str:
    """Run a command that must succeed; return what it printed."""
    done = run(*command, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments: str) -> None:
    """Run pip."""
    succeed(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def build_wheels(folder: Path, *packages: Path) -> list[Path]:
    """Build packages into a folder; return all wheels in it."""
    options = ("--no-deps", "--no-build-isolation", "--no-index")
    pip("wheel", *options, "-w", str(folder), *map(str, packages))
    return sorted(folder.glob("*.whl"))
