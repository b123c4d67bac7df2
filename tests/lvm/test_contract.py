# SPDX-License-Identifier: LGPL-2.1-or-later
"""The contract that every driver keeps, on logical volumes."""

import os
import subprocess

import pytest

from snaplib import lvm, lvm2, tools

PROGRAM = tools.BUILD / "tests" / "unit" / "test-contract-lvm"
KIB, MIB = 1 << 10, 1 << 20
EXTENT = 64 * KIB


@pytest.fixture
def group(tmp_path):
    with lvm2.Server(tmp_path), lvm.Group(tmp_path, size=400 * MIB, extent=EXTENT) as made:
        yield made


def run_suite(variable, name):
    if not PROGRAM.exists():
        tools.missing(f"{PROGRAM} is not built")
    result = subprocess.run(
        [str(PROGRAM), "--tap"], env=dict(os.environ, **{variable: name}),
        capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    passed = [line for line in result.stdout.splitlines()
              if line.startswith("ok ") and "SKIP" not in line]
    assert len(passed) > 15, result.stdout
    return len(passed)


def test_thin_snapshots_keep_the_contract(group):
    pool = group.pool(size=128 * MIB, chunk=64 * KIB)
    n = run_suite("NBDSNAP_TEST_THIN", pool.reference)
    print(f"TABLE contract on thin volumes: {n} tests")


def test_classic_snapshots_keep_the_contract(group):
    n = run_suite("NBDSNAP_TEST_CLASSIC", group.name)
    print(f"TABLE contract on classic snapshots: {n} tests")
