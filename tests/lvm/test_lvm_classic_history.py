# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories of plain volumes with classic snapshots: every pair of
points, both ways and against the live disk, against the bytes.

NBDSNAP_LVM_HISTORIES, NBDSNAP_STEPS and NBDSNAP_SEED as in test_lvm_history.
"""

import collections
import os
import shutil

import pytest

from snaplib import lvm_history, oracle
from snaplib import lvm_judge as judge
from snaplib.lvm_history import CLASSIC_SETUPS

HISTORIES = int(os.environ.get("NBDSNAP_LVM_HISTORIES", 4))
STEPS = int(os.environ.get("NBDSNAP_STEPS", 8))
SEED = int(os.environ.get("NBDSNAP_SEED", 1))
SETUP = CLASSIC_SETUPS[0]
SEEDS = range(SEED, SEED + -(-HISTORIES // SETUP.disks))

ROWS = ("exact: with the live disk", "exact: by a mark, forward", "exact: by a mark, backward",
        "superset: forward", "superset: backward", "cut while written to", "rollback",
        "name used again", "snapshot by other", "delete", "scatter much",
        "chunk size of other: 64k")
# What only many histories come by.
SELDOM = {"name used again", "chunk size of other: 64k"}


@pytest.fixture(scope="module")
def totals():
    kept = {"counts": collections.Counter(), "seen": collections.Counter(),
            "did": collections.Counter()}
    yield kept
    counts = kept["counts"]
    print(f"\nTABLE {counts['histories']} histories of classic snapshots, {STEPS} steps, from "
          f"seed {SEED}: {counts['pairs']} pairs, {counts['changed']} changed blocks of 512 "
          f"bytes, missed {counts['missed']}; chunks rewritten with the same bytes "
          f"{counts['rewritten']}; reported though untouched, all in supersets, "
          f"{counts['unexplained']}")
    print("TABLE did: " + ", ".join(f"{k} {v}" for k, v in sorted(kept["did"].items())))
    for line in judge.table(ROWS, {**kept["did"], **kept["seen"]}):
        print("TABLE " + line)


def kind(answer, points, before, after):
    if "live" in (before.name, after.name):
        return f"{answer['proof']}: with the live disk"
    way = "forward" if points.index(before) < points.index(after) else "backward"
    return answer["proof"] + (": by a mark, " if answer["proof"] == "exact" else ": ") + way


def judge_disk(bed, asker, disk, verdict, seen):
    points = [*disk.points, disk.live()]
    for before in points:
        for after in points:
            if before is after:
                continue
            found, answer = judge.judge_pair(bed, (disk, before), (disk, after), asker=asker)
            verdict.add(found)
            if answer:
                seen[kind(answer, points, before, after)] += 1


@pytest.mark.parametrize("seed", SEEDS)
def test_no_history_has_a_change_that_is_missed(seed, tmp_path, totals):
    with lvm_history.ClassicBed(seed, SETUP, tmp_path, STEPS) as bed:
        bed.run()
        verdict = oracle.Verdict()
        verdict.faults = judge.settle(bed)
        with judge.Asker(bed) as asker:
            for disk in bed.disks:
                judge_disk(bed, asker, disk, verdict, totals["seen"])
    shutil.rmtree(tmp_path)
    counts = {k: v for k, v in vars(verdict).items() if k != "faults"}
    totals["counts"].update(counts, histories=SETUP.disks)
    totals["did"].update(bed.events)
    assert not verdict.faults, "\n".join([f"seed {seed}", *verdict.faults[:20]])
    assert verdict.missed == 0


def test_everything_occurred(totals):
    if HISTORIES < 4:
        pytest.skip("too few histories to say")
    occurred = totals["did"] + totals["seen"]
    wanted = set(ROWS) - (set() if os.environ.get("NBDSNAP_LONG") else SELDOM)
    absent = sorted(row for row in wanted if not occurred[row])
    assert not absent, f"never occurred: {absent}"
    assert not totals["seen"]["superset: with the live disk"]
