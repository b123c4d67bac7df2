# SPDX-License-Identifier: LGPL-2.1-or-later
"""The contract that every driver keeps, on real file systems."""

import os
import subprocess

import pytest

from snaplib import filesystems, tools

PROGRAM = tools.BUILD / "tests" / "unit" / "test-contract-files"


def run_suite(variable, path):
    if not PROGRAM.exists():
        tools.missing(f"{PROGRAM} is not built")
    result = subprocess.run(
        [str(PROGRAM), "--tap"], env=dict(os.environ, **{variable: str(path)}),
        capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    passed = [line for line in result.stdout.splitlines()
              if line.startswith("ok ") and "SKIP" not in line]
    assert len(passed) > 15, result.stdout
    return len(passed)


@pytest.mark.parametrize("name, mkfs, options", [
    ("defaults", (), ()),
    ("compressed", (), ("compress-force=zstd",)),
    ("without NO_HOLES", ("-O", "^no-holes"), ()),
    ("nodatacow", (), ("nodatacow",)),
])
def test_btrfs_keeps_the_contract(name, mkfs, options):
    filesystem = filesystems.btrfs(mkfs=mkfs, options=options)
    n = run_suite("NBDSNAP_TEST_BTRFS", filesystem.path)
    print(f"TABLE contract on btrfs, {name}: {n} tests")


def test_reflink_on_xfs_keeps_the_contract():
    n = run_suite("NBDSNAP_TEST_REFLINK", filesystems.xfs().path)
    print(f"TABLE contract on XFS: {n} tests")


def test_reflink_on_btrfs_keeps_the_contract():
    """Asked for by name it works there, too."""
    n = run_suite("NBDSNAP_TEST_REFLINK", filesystems.btrfs().path)
    print(f"TABLE contract of the reflink driver on btrfs: {n} tests")
