"""Settings of all tests: several test processes share the cores, so each gets one thread."""

from __future__ import annotations

import os

from hypothesis import settings

# Read by torch when it is loaded.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# A busy machine must not fail a test for being slow.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
