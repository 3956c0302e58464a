"""`mtl data`: look at datasets."""

from __future__ import annotations

import click

from .data_inspect import inspect
from .data_preview import preview


@click.group()
def data() -> None:
    """Look at datasets."""


data.add_command(inspect)
data.add_command(preview)
