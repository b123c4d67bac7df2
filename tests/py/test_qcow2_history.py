# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories: every diff of every pair of points against the bytes.

NBDSNAP_HISTORIES, NBDSNAP_STEPS and NBDSNAP_SEED say how many, how long, and
from which seed on.  One seed again: NBDSNAP_SEED=N NBDSNAP_HISTORIES=1.
"""

import collections
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile

from snaplib import coverage, oracle, serving, tools
from snaplib.qcow2_history import History, Spoiled

HISTORIES = int(os.environ.get("NBDSNAP_HISTORIES", 60))
STEPS = int(os.environ.get("NBDSNAP_STEPS", 14))
SEED = int(os.environ.get("NBDSNAP_SEED", 1))


def judge_all(history, points, program, stop=False):
    """Every ordered pair of points, or with `stop` up to the first fault;
    `program` is the nbdsnap to judge."""
    total = oracle.Verdict()
    for a, before in points.items():
        for b, after in points.items():
            if stop and total.faults:
                return total
            if a == b or b == "empty" or (b == "backing" and a == "empty"):
                continue
            result = subprocess.run(
                [str(program), "--state-dir", str(history.folder / "state"), "-q",
                 "diff", "--json", f"{history.reference()}@{a}..{b}"],
                capture_output=True, text=True, timeout=60)
            if result.returncode != 0:
                total.faults.append(f"{a}..{b}: {result.returncode}: {result.stderr}")
                continue
            verdict = oracle.judge(result.stdout, before, after, history.setup.cluster)
            verdict.faults = [f"{a}..{b}: {fault}" for fault in verdict.faults]
            if verdict.missed or verdict.unexplained:
                verdict.faults.append(f"{a}..{b}: missed {verdict.missed} blocks, "
                                      f"{verdict.unexplained} clusters unexplained")
            total.add(verdict)
    return total


def run_one(seed):
    try:
        return run_sound(seed)
    except Spoiled:
        return {"seed": seed, "setup": "", "served": 0, "refused_reads": 0,
                "verdict": {"faults": []}, "events": {"spoiled by QEMU": 1},
                "refused": {}, "seen": {}}


def run_sound(seed):
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        history = History(seed, pathlib.Path(folder), STEPS).run()
        points = history.all_points()
        seen = coverage.of_history(history, points)
        verdict = judge_all(history, points, tools.nbdsnap())
        served = serving.check(history, points)
        verdict.faults += served.faults
        return {
            "seed": seed, "setup": str(history.setup), "served": served.bytes,
            "refused_reads": served.refused, "verdict": vars(verdict),
            "events": history.events, "refused": history.refused, "seen": seen}


def run_all():
    seeds = range(SEED, SEED + HISTORIES)
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        return list(pool.map(run_one, seeds))


def test_no_history_has_a_change_that_is_missed():
    tools.require("qemu-img", "qemu-io", "nbdkit")
    results = run_all()
    totals, events, seen, refused = (collections.Counter() for _ in range(4))
    faults = []
    for result in results:
        verdict = result["verdict"]
        faults += [f"seed {result['seed']} ({result['setup']}): {fault}"
                   for fault in verdict.pop("faults")]
        totals.update(verdict)
        totals.update(served=result["served"], refused_reads=result["refused_reads"])
        events.update(result["events"])
        seen.update(result["seen"])
        refused.update(list(result["refused"]))
    print(f"TABLE {HISTORIES} histories of {STEPS} steps, seeds {SEED} to "
          f"{SEED + HISTORIES - 1}: {totals['pairs']} diffs, "
          f"{totals['changed']} changed blocks of 512 bytes, missed {totals['missed']}; "
          f"clusters reported though untouched {totals['unexplained']}, rewritten with "
          f"the same bytes {totals['rewritten']}; {totals['served'] >> 20} MiB served "
          f"and compared, {totals['refused_reads']} reads of a shrunk tail refused")
    print("TABLE did: " + ", ".join(f"{k} {v}" for k, v in sorted(events.items())))
    print("TABLE refused by QEMU: " + "; ".join(sorted(refused)))
    for line in coverage.table(seen):
        print("TABLE " + line)
    assert not faults, "\n".join(faults[:20])
    assert totals["missed"] == totals["unexplained"] == 0
    assert events["spoiled by QEMU"] <= HISTORIES // 20
    if HISTORIES >= 60:
        absent = [row for row in coverage.ROWS if not seen[row]]
        assert not absent, f"never occurred: {absent}"


if __name__ == "__main__":
    json.dump(run_one(int(sys.argv[1])), sys.stdout, indent=1)
