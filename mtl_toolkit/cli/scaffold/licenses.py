"""SPDX licence expressions, and the texts that are short enough to write along."""

from __future__ import annotations

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from ...errors import ConfigError, suggestion

COMMON = (
    "0BSD",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "EUPL-1.2",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "ISC",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "LicenseRef-Proprietary",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unlicense",
    "Zlib",
)


def license_expression(text: str) -> str:
    """An SPDX expression in its standard spelling: `mit or apache-2.0` is `MIT OR Apache-2.0`.

    Raises:
        ConfigError: if it is none.
    """
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        near = suggestion(text, COMMON)
        raise ConfigError(f"--license: must be an SPDX licence expression (got {text!r}){near}") from None
