"""Action units: twelve muscle movements, each there or not."""

from __future__ import annotations

from typing import ClassVar

import attrs
from mtl_std.multi_label import MultiLabel

from mtl_toolkit import Head, hookimpl
from mtl_toolkit.validators import not_empty, unique

ACTION_UNITS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26")


@attrs.frozen(kw_only=True)
class ActionUnits(MultiLabel):
    """The twelve action units of ABAW; each may be missing in a row where others are labelled.

    Their numbers are those of the Facial Action Coding System (Ekman and Friesen, 1978).
    """

    name: ClassVar[str] = "action-units"
    names: tuple[str, ...] = attrs.field(
        default=ACTION_UNITS,
        validator=[not_empty(), unique()],
        metadata={"doc": "names of the units, in order"},
    )
    label: str = attrs.field(default="action-units", metadata={"doc": "the name datasets give to this label"})


@hookimpl
def mtl_heads() -> list[type[Head]]:
    """The action-unit head."""
    return [ActionUnits]
