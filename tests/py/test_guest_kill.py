# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL of nbdsnap at every call that changes something while it cuts a
running guest's disks: the guest runs and is thawed, and after the next recovery
the set is complete or absent, with nothing left in QEMU or on the storage."""

import collections
import os
import re
import time

import pytest

from snaplib import file_sets, guest_sets

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


def killed_at(sets, n, *arguments):
    """The call that was hit, if one was."""
    result = sets.run(*arguments, env=guest_sets.fault(FAULT_AT=n))
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


@pytest.mark.parametrize("quiesce", ["pause", "agent"])
def test_killed_at_every_call_the_guest_runs_and_the_set_is_whole(sets, quiesce):
    guest, outcomes, calls = sets.guest, collections.Counter(), collections.Counter()
    step = 1 if quiesce == "pause" or "NBDSNAP_LONG" in os.environ else 7
    made = sets.create("known", quiesce="pause")
    volumes = sets.volumes(made)
    sets.delete(made)
    for n in range(1, LIMIT, step):
        call = killed_at(sets, n, *sets.create_command("s", quiesce=quiesce))
        if call is None:
            break
        calls[call] += 1
        assert let_go(sets), f"killed at {call}, number {n}, and the guest is {guest.status()}"
        sets.recover()
        if quiesce == "agent":
            guest.assert_runs_and_thawed()
        found = sets.names(volumes)
        assert found in ([[], []], [["s"], ["s"]]), found
        outcomes[bool(found[0])] += 1
        if found[0]:
            sets.delete({"snapshots": [{"reference": f"{v}@s"} for v in volumes]})
        assert sets.traces() == [] and sets.unfinished() == []
    else:
        pytest.fail("never survived")
    sets.delete({"snapshots": [{"reference": f"{v}@s"} for v in volumes]})
    guest.assert_runs_and_thawed()
    print(f"TABLE a set of a running guest ({quiesce}) killed at {sum(calls.values())} calls: "
          f"{outcomes[False]} times absent, {outcomes[True]} times complete")
