# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories of thin volumes: every pair of points, both ways and against
the live disk, against the bytes, and against what thin_dump and thin_delta say.

NBDSNAP_LVM_HISTORIES, NBDSNAP_STEPS and NBDSNAP_SEED say how many, how long,
and from which seed on.  All pairs are judged by the walk of the metadata, all
against thin_dump; some of them, many with NBDSNAP_LONG, against thin_delta and
by what a user would say, which asks LVM several times.
"""

import collections
import os
import random
import shutil

import pytest

from snaplib import lvm_judge as judge
from snaplib import lvm_history, oracle
from snaplib.lvm_history import THIN_SETUPS

HISTORIES = int(os.environ.get("NBDSNAP_LVM_HISTORIES", 22))
STEPS = int(os.environ.get("NBDSNAP_STEPS", 6))
SEED = int(os.environ.get("NBDSNAP_SEED", 1))
LONG = bool(os.environ.get("NBDSNAP_LONG"))
ASKED = 36 if LONG else 2
DELTAS = 1000 if LONG else 4

DID = set(lvm_history.ThinBed.operations) | {
    "set cut", "cut while written to", "snapshot by other", "delete", "grow", "shrink",
    "rollback", "origin deleted, name used again", "name used again"}

# What only many histories, or longer ones, come by.
SELDOM = {"chunk: mapped alike, at another time", "tree: empty", "size: mapped past the end",
          "name used again", "origin deleted, name used again"}


def seeds():
    """Enough of them, each with all the disks of its setup."""
    n = 0
    for seed in range(SEED, SEED + HISTORIES):
        if n >= HISTORIES:
            return
        setup = THIN_SETUPS[seed % len(THIN_SETUPS)]
        n += setup.disks
        yield seed, setup


@pytest.fixture(scope="module")
def totals():
    kept = collections.defaultdict(collections.Counter)
    yield kept
    print_tables(kept)


def all_pairs(disk):
    live = disk.live()
    points = [(disk, p) for p in [*disk.orphans, *disk.points, live]]
    return [(a, b) for a in points for b in points if a is not b]


def thin_ids(bed, pairs):
    rows = bed.group.lvs("lv_name,thin_id")
    for pair in pairs:
        for _, point in pair:
            point.thin_id = int(rows[point.volume]["thin_id"])


def judge_bed(bed, rng):
    with judge.Asker(bed) as asker:
        return judge_points(bed, asker, rng)


def judge_points(bed, asker, rng):
    verdict = oracle.Verdict()
    verdict.faults = judge.settle(bed)
    answers = collections.Counter()
    pairs = [pair for disk in bed.disks for pair in all_pairs(disk)]
    thin_ids(bed, pairs)
    comparable = [pair for pair in pairs
                  if not judge.is_over_another_base(*pair[0], *pair[1])]
    deltas = min(DELTAS, len(comparable))
    found, seen = judge.judge_metadata(bed, asker, [(a[1], b[1]) for a, b in comparable], deltas)
    answers["by thin_delta"] += deltas
    verdict.add(found)
    for before, after in rng.sample(pairs, min(ASKED, len(pairs))):
        found, answer = judge.judge_pair(bed, before, after, asker=asker)
        verdict.add(found)
        answers["asked LVM"] += 1
        answers["refused: another base"] += answer is None
    return verdict, seen, answers


@pytest.mark.parametrize("seed, setup", seeds(), ids=str)
def test_no_history_has_a_change_that_is_missed(seed, setup, tmp_path, totals):
    with lvm_history.ThinBed(seed, setup, tmp_path, STEPS) as bed:
        bed.run()
        verdict, seen, answers = judge_bed(bed, random.Random(seed))
    shutil.rmtree(tmp_path)
    counts = {k: v for k, v in vars(verdict).items() if k != "faults"}
    totals[setup.name].update(counts, histories=setup.disks, **answers)
    totals["seen"].update(seen)
    totals["did"].update(bed.events)
    assert not verdict.faults, "\n".join([f"seed {seed}", *verdict.faults[:20]])
    assert verdict.missed == verdict.unexplained == 0


def print_tables(totals):
    seen, did = totals.pop("seen", {}), totals.pop("did", {})
    n = sum(c["histories"] for c in totals.values())
    print(f"\nTABLE {n} histories of thin volumes, {STEPS} steps, from seed {SEED}")
    print(f"TABLE {'':26} histories  pairs  by thin_delta  by LVM  changed  missed  rewritten  more")
    for name, c in sorted(totals.items()):
        print(f"TABLE {name:26} {c['histories']:9}  {c['pairs']:5}  {c['by thin_delta']:13}  {c['asked LVM']:6}  "
              f"{c['changed']:7}  {c['missed']:6}  {c['rewritten']:9}  {c['unexplained']:4}")
    print("TABLE did: " + ", ".join(f"{k} {v}" for k, v in sorted(did.items())))
    for line in judge.table(judge.THIN_ROWS, {**did, **seen}):
        print("TABLE " + line)


def test_everything_occurred(totals):
    if HISTORIES < 20:
        pytest.skip("too few histories to say")
    occurred = totals["did"] + totals["seen"]
    wanted = {*judge.THIN_ROWS, *DID} - (set() if LONG else SELDOM)
    absent = sorted(row for row in wanted if not occurred[row])
    assert not absent, f"never occurred: {absent}"
