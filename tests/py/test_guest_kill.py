# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL of nbdsnap at every call that changes something while it cuts a
running guest's disks: the guest runs and is thawed, and after the next recovery
the set is complete or absent, with nothing left in QEMU or on the storage."""

import collections
import os
import re
import subprocess
import time

import pytest

from snaplib import cli, file_sets, guest_sets, nbd

# The guard's deadline, and what a busy machine adds to it.
PATIENCE = 60
LIMIT = 1000


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    file_sets.require()
    with guest_sets.running(tmp_path_factory.mktemp("guest"), "btrfs", "qcow2") as made:
        # Made beforehand, so that only the operation itself is enumerated.
        made.delete(made.create("first", quiesce="pause"))
        yield made


def traces(guest):
    """What is in QEMU that has a name of ours."""
    nodes = [node.get("node-name", "") for node in guest.qmp("query-named-block-nodes")]
    bitmaps = [bitmap.get("name", "") for node in guest.qmp("query-named-block-nodes")
               for bitmap in node.get("dirty-bitmaps", [])]
    jobs = [job["id"] for job in guest.qmp("query-jobs")]
    exports = [export["id"] for export in guest.qmp("query-block-exports")]
    return ([name for name in nodes + jobs + exports if name.startswith("ns-")]
            + [name for name in bitmaps if "nbdsnap" in name])


def killed_at(sets, n, *arguments):
    """The call that was hit, if one was."""
    preload = ":".join([*nbd.sanitizer_libraries(), str(file_sets.SHIM)])
    result = subprocess.run(
        cli.command(*arguments, state=sets.state), capture_output=True, text=True, timeout=120,
        env=dict(os.environ, LD_PRELOAD=preload, FAULT_AT=str(n), FAULT_IN="nbdsnap"))
    hit = re.search("^fault at (.*)$", result.stdout, re.MULTILINE)
    if hit is None:
        assert result.returncode in (0, 4), result.stderr
    return hit and hit[1]


def let_go(sets):
    """Wait until the guest runs: by whoever of ours is left, or by thaw."""
    end = time.monotonic() + PATIENCE
    while sets.guest.status() != "running":
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def names(sets, volumes):
    listed = cli.answer("list", *volumes, state=sets.state)["volumes"]
    return [[point["name"] for point in volume["snapshots"] + volume["checkpoints"]]
            for volume in listed]


def recover(sets):
    """As a user may; a monitor that a dying process still has is busy a moment."""
    for _ in range(50):
        result = sets.run("doctor")
        if result.returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError(result.stderr)


@pytest.mark.parametrize("quiesce", ["pause", "agent"])
def test_killed_at_every_call_the_guest_runs_and_the_set_is_whole(sets, quiesce):
    guest, outcomes, calls = sets.guest, collections.Counter(), collections.Counter()
    step = 1 if quiesce == "pause" or "NBDSNAP_LONG" in os.environ else 7
    made = sets.create("known", quiesce="pause")
    volumes = [reference.rsplit("@", 1)[0] for reference in sets.references(made)]
    sets.delete(made)
    for n in range(1, LIMIT, step):
        call = killed_at(sets, n, *sets.create_command("s", quiesce=quiesce))
        if call is None:
            break
        calls[call] += 1
        assert let_go(sets), f"killed at {call}, number {n}, and the guest is {guest.status()}"
        recover(sets)
        if quiesce == "agent":
            guest.assert_runs_and_thawed()
        found = names(sets, volumes)
        assert found in ([[], []], [["s"], ["s"]]), found
        outcomes[bool(found[0])] += 1
        if found[0]:
            sets.delete({"snapshots": [{"reference": f"{v}@s"} for v in volumes]})
        assert traces(guest) == [] and sets.unfinished() == []
    else:
        pytest.fail("never survived")
    sets.delete({"snapshots": [{"reference": f"{v}@s"} for v in volumes]})
    guest.assert_runs_and_thawed()
    print(f"TABLE a set of a running guest ({quiesce}) killed at {sum(calls.values())} calls: "
          f"{outcomes[False]} times absent, {outcomes[True]} times complete")
