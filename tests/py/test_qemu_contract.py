# SPDX-License-Identifier: LGPL-2.1-or-later
"""The contract that every driver keeps, on disks of a running QEMU."""

import os
import subprocess

from snaplib import tools
from snaplib.qemu_bed import Qemu

PROGRAM = tools.BUILD / "tests" / "unit" / "test-contract-qemu"


def test_qemu_keeps_the_contract(tmp_path):
    if not PROGRAM.exists():
        tools.missing(f"{PROGRAM} is not built")
    with Qemu(tmp_path / "qemu", ()) as qemu:
        qemu.monitor.close()
        result = subprocess.run(
            [str(PROGRAM), "--tap"], env=dict(os.environ, NBDSNAP_TEST_QEMU=str(qemu.folder)),
            capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    passed = [line for line in result.stdout.splitlines()
              if line.startswith("ok ") and "SKIP" not in line]
    assert len(passed) > 30, result.stdout
    print(f"TABLE contract on QEMU, by fleecing and by a filter: {len(passed)} tests")
