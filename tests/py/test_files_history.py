# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories on btrfs and XFS: every diff of every pair of points against
the bytes.

NBDSNAP_HISTORIES, NBDSNAP_STEPS and NBDSNAP_SEED say how many, how long, and
from which seed on; the kind of file system follows from the seed.
"""

import collections
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import tempfile

from snaplib import filesystem_history, filesystems, oracle, tools
from snaplib.filesystem_history import SETUPS, History

HISTORIES = int(os.environ.get("NBDSNAP_FILE_HISTORIES",
                               os.environ.get("NBDSNAP_HISTORIES", 48)))
STEPS = int(os.environ.get("NBDSNAP_STEPS", 14))
SEED = int(os.environ.get("NBDSNAP_SEED", 1))


def judge_pair(history, points, a, b, program):
    result = subprocess.run(
        [str(program), "--state-dir", str(history.state), "-q", "diff", "--json",
         f"{history.reference()}@{a}..{b}"], capture_output=True, text=True, timeout=60)
    verdict = oracle.Verdict()
    if result.returncode != 0:
        verdict.faults.append(f"{a}..{b}: {result.returncode}: {result.stderr}")
        return verdict
    verdict = oracle.judge(result.stdout, points[a], points[b], filesystem_history.BLOCK)
    if verdict.missed:
        verdict.faults.append(f"missed {verdict.missed} blocks")
    if verdict.unexplained > history.setup.allowed(points[a], points[b]):
        verdict.faults.append(f"{verdict.unexplained} blocks unexplained")
    verdict.faults = [f"{a}..{b}: {fault}" for fault in verdict.faults]
    history.note("diff by " + json.loads(result.stdout)["source"])
    return verdict


def judge_all(history, points, program, stop=False):
    total = oracle.Verdict()
    for a in points:
        for b in points:
            if stop and total.faults:
                return total
            if a != b and b != "empty":
                total.add(judge_pair(history, points, a, b, program))
    return total


def check_snapshots(history):
    """What a snapshot holds is what was there at its cut."""
    return [f"{point.name}: holds something else" for point in history.points
            if history.snapshot_path(point.name).read_bytes() != point.content]


def clean_up(history):
    """Everything of ours goes when it is deleted, and only that."""
    for point in list(history.points):
        history.nbdsnap("delete", f"{history.reference()}@{point.name}")
    left = filesystems.leftovers(history.folder)
    return [f"left behind: {left}"] if left else []


def run_one(seed, setup, filesystem, state):
    folder = filesystem_history.make_folder(setup, filesystem, f"history-{seed}")
    history = History(seed, setup, folder, STEPS, state).run()
    points = history.all_points()
    faults = check_snapshots(history)
    verdict = judge_all(history, points, tools.nbdsnap())
    faults += verdict.faults + clean_up(history)
    verdict.faults = [f"seed {seed} ({setup}): {fault}" for fault in faults]
    if setup.kind == "btrfs":
        tools.run(["btrfs", "subvolume", "delete", folder])
    else:
        shutil.rmtree(folder)
    return {"setup": setup.name, "verdict": vars(verdict), "events": history.events,
            "refused": history.refused}


def run_setup(number):
    """All seeds of one kind of file system, in a process of its own."""
    setup = SETUPS[number]
    seeds = [s for s in range(SEED, SEED + HISTORIES) if s % len(SETUPS) == number]
    if not seeds:
        return []
    with tempfile.TemporaryDirectory(prefix="history-", ignore_cleanup_errors=True) as folder:
        filesystem = filesystem_history.make_filesystem(setup, folder)
        try:
            return [run_one(seed, setup, filesystem, pathlib.Path(folder) / "state")
                    for seed in seeds]
        finally:
            filesystem.unmount()


def run_all():
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        return [result for results in pool.map(run_setup, range(len(SETUPS)))
                for result in results]


def print_tables(results):
    by_setup = collections.defaultdict(collections.Counter)
    events, refused = collections.Counter(), collections.Counter()
    for result in results:
        counts = {k: v for k, v in result["verdict"].items() if k != "faults"}
        by_setup[result["setup"]].update(counts, histories=1)
        events.update(result["events"])
        refused.update(result["refused"])
    print(f"TABLE {HISTORIES} histories of {STEPS} steps, seeds {SEED} to {SEED + HISTORIES - 1}")
    print(f"TABLE {'':24} histories  pairs  changed  missed  rewritten  more")
    for name, c in sorted(by_setup.items()):
        print(f"TABLE {name:24} {c['histories']:9}  {c['pairs']:5}  {c['changed']:7}  "
              f"{c['missed']:6}  {c['rewritten']:9}  {c['unexplained']:4}")
    print("TABLE (changed, missed: blocks of 512 bytes; rewritten: blocks of 4096 with the "
          "same bytes; more: reported though untouched)")
    print("TABLE did: " + ", ".join(f"{k} {v}" for k, v in sorted(events.items())))
    print("TABLE refused: " + ", ".join(f"{k} {v}" for k, v in sorted(refused.items())))
    return events


def test_no_history_has_a_change_that_is_missed():
    tools.require_root()
    tools.require("btrfs", "mkfs.btrfs", "mkfs.xfs")
    results = run_all()
    events = print_tables(results)
    faults = [fault for result in results for fault in result["verdict"]["faults"]]
    assert not faults, "\n".join(faults[:30])
    if HISTORIES >= 48:
        wanted = set(filesystem_history.OPERATIONS) | {
            "balance", "defragment", "dedupe", "dedupe snapshot", "write mapped",
            "punch much", "clone much", "insert", "collapse", "snapshot", "delete", "diff by btrfs-leaves", "diff by btrfs-tree", "diff by fiemap",
            "grow", "shrink"}
        assert wanted <= set(events), wanted - set(events)
