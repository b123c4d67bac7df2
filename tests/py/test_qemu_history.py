# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories of a guest's disk: no change is missed, from any base.

NBDSNAP_HISTORIES, NBDSNAP_STEPS and NBDSNAP_SEED say how many, how long, and from
which seed on."""

import collections
import os
import pathlib
import tempfile

from snaplib import tools
from snaplib.qemu_history import ROWS, History

HISTORIES = int(os.environ.get("NBDSNAP_HISTORIES", 24))
STEPS = int(os.environ.get("NBDSNAP_STEPS", 14))
SEED = int(os.environ.get("NBDSNAP_SEED", 1))


def test_no_history_of_a_guest_s_disk_has_a_change_that_is_missed():
    tools.require("qemu-system-x86_64", "qemu-img")
    seen, pairs, faults = collections.Counter(), 0, []
    for seed in range(SEED, SEED + HISTORIES):
        with tempfile.TemporaryDirectory(prefix="history-") as folder:
            history = History(seed, pathlib.Path(folder)).run(STEPS)
        seen.update(history.seen)
        pairs += history.pairs
        faults += [f"seed {seed}: {fault}" for fault in history.faults]
    print(f"TABLE {HISTORIES} histories of {STEPS} steps, seeds {SEED} to "
          f"{SEED + HISTORIES - 1}: {pairs} diffs, missed {len(faults)}")
    for row in ROWS:
        print(f"TABLE {row:<36} {seen[row]}")
    assert not faults, "\n".join(faults[:20])
    if HISTORIES >= 24:
        absent = [row for row in ROWS if not seen[row]]
        assert not absent, f"never occurred: {absent}"
