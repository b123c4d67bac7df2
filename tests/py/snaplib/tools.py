# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finding and running programs; stepping aside when one is missing."""

import os
import pathlib
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("NBDSNAP_BUILDDIR", TOP / "build"))

# Those that belong to the programs under test, not installed ones.
os.environ.setdefault("NBDSNAP_GUARD", str(BUILD / "nbdsnap-guard"))
os.environ.setdefault("NBDSNAP_RELAY", str(BUILD / "nbdsnap-relay"))


def nbdsnap():
    return BUILD / "nbdsnap"


def plugin():
    return BUILD / ".libs" / "nbdkit-snapshot-plugin.so"


def missing(reason):
    """Skip, or fail where CI=true lets nothing step aside."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, and {reason}")
    pytest.skip(reason)


def which(program):
    found = shutil.which(program)
    if found is None:
        missing(f"{program} is not installed")
    return found


def require(*programs):
    for program in programs:
        which(program)


def require_root():
    if os.geteuid() != 0:
        missing("this needs root")


def run(command, **options):
    """Run to success and return what was printed; fail with the stderr."""
    result = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True,
        errors="surrogateescape", timeout=300, **options)
    assert result.returncode == 0, (
        f"{' '.join(map(str, command))}: {result.returncode}: {result.stderr}")
    return result.stdout
