"""`mtl data`: look at datasets, and pack them."""

from __future__ import annotations

import click

from .data_inspect import inspect
from .data_pack import pack
from .data_preview import preview


@click.group()
def data() -> None:
    """Look at datasets, and pack them into one file each."""


data.add_command(inspect)
data.add_command(preview)
data.add_command(pack)
