# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever is killed or stopped inside the window, the volumes run again: the
guard alone, with faults at every one of its requests to device mapper, and the
guard of a create."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time

import pytest

from snaplib import cli, devmapper, guard, lvm, lvm_kill

MIB = 1 << 20
SIZE = 4 * MIB
# Two volumes: suspend each, delete and create each snapshot, resume each.
REQUESTS = 8
PR_SET_CHILD_SUBREAPER = 36


class Bed:
    """Two thin volumes with a placeholder each."""

    def __init__(self, group):
        self.group = group
        self.pool = group.pool(size=32 * MIB)
        self.origins = [self.pool.volume(name, SIZE) for name in ("a-1", "b")]
        self.kept = [origin.snapshot(f"{origin.name}-kept", "-pr")
                     for origin in self.origins]
        rows = group.lvs("lv_name,thin_id")
        messages = []
        for origin, kept in zip(self.origins, self.kept):
            number = rows[kept.name]["thin_id"]
            messages += [(self.pool.dm, f"delete {number}"),
                         (self.pool.dm, f"create_snap {number} {rows[origin.name]['thin_id']}")]
        self.messages = messages
        self.window = guard.window([origin.dm for origin in self.origins], messages)

    def suspended(self):
        return [origin.name for origin in self.origins if devmapper.suspended(origin.dm)]

    def make_whole(self):
        """Both snapshots there, for the next one."""
        for device, text in self.messages:
            with contextlib.suppress(OSError):
                devmapper.message(device, text)


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    if not guard.SHIM.exists():
        lvm.tools.missing(f"{guard.SHIM} is not built")
    with lvm.Group(tmp_path_factory.mktemp("guard"), size=64 * MIB, name="gu-ard") as group:
        yield Bed(group)


def faults(bed, what, **options):
    """(N, the guard's last word, how it ended) with the fault at every one of
    the requests."""
    for n in range(1, REQUESTS + 1):
        started = guard.Guard(bed.window, at=n, what=what, **options)
        answer = started.run()
        assert started.wait(), f"nothing happened at request {n}"
        yield n, answer
        bed.make_whole()


def test_a_window_suspends_sends_and_resumes(bed):
    made = guard.Guard(bed.window)
    assert made.run().startswith("done ")
    made.wait()
    assert made.process.returncode == 0 and not bed.suspended()


def test_the_half_that_suspends_is_killed_anywhere_and_all_run(bed):
    answers = list(faults(bed, "kill"))
    assert not bed.suspended()
    for n, answer in answers:
        assert answer.startswith("failed "), (n, answer)
        assert "all devices run again" in answer
    print(f"TABLE the guard's worker killed at {len(answers)} requests: all volumes ran")


def test_the_half_that_watches_is_killed_anywhere_and_all_run(bed):
    for n, answer in faults(bed, "kill-parent"):
        assert answer == "", (n, answer)
        assert bed.suspended() == [], n
    print(f"TABLE the guard's watcher killed at {REQUESTS} requests: all volumes ran")


def test_the_owner_is_killed_anywhere_and_all_run(bed):
    for n, _ in faults(bed, "kill-owner", owned=True):
        assert bed.suspended() == [], n
    print(f"TABLE the guard's owner killed at {REQUESTS} requests: all volumes ran")


def test_an_owner_that_is_stopped_changes_nothing(bed):
    for n, _ in faults(bed, "stop-owner", owned=True):
        assert bed.suspended() == [], n
    print(f"TABLE the guard's owner stopped at {REQUESTS} requests: all volumes ran")


def test_a_worker_that_is_stopped_is_ended_at_the_deadline(bed):
    for n, answer in faults(bed, "stop", deadline_ms=1000):
        assert answer.startswith("failed ") and "deadline" in answer, (n, answer)
        assert bed.suspended() == [], n
    print(f"TABLE the guard's worker stopped at {REQUESTS} requests: all volumes ran")


def test_a_volume_that_somebody_else_suspended_is_left_to_them(bed):
    bed.origins[1].suspend()
    try:
        made = guard.Guard(bed.window)
        answer = made.run()
        made.wait()
        assert answer.startswith("failed ") and "somebody else" in answer
        assert bed.suspended() == ["b"]
    finally:
        bed.origins[1].resume()


def test_an_owner_that_goes_before_it_says_go_has_changed_nothing(bed):
    before = bed.pool.status()
    made = guard.Guard(bed.window)
    assert made.line() == "ready"
    made.end.close()
    made.process.wait(30)
    assert bed.suspended() == [] and bed.pool.status() == before


def test_a_window_that_fails_half_way_leaves_all_running(bed):
    wrong = bed.window.replace("create_snap", "create_snop", 1)
    made = guard.Guard(wrong)
    answer = made.run()
    made.wait()
    assert answer.startswith("failed "), answer
    assert bed.suspended() == []
    bed.make_whole()


def test_killed_as_a_whole_it_leaves_what_its_owner_resumes(bed):
    """Nobody else is left; the owner sees the end of the conversation."""
    left = 0
    for n, answer in faults(bed, "kill-group"):
        assert answer == "", (n, answer)
        left += len(bed.suspended()) > 0
        for origin in bed.origins:
            origin.resume()
    print(f"TABLE the whole guard killed at {REQUESTS} requests: {left} times a volume "
          "was left to its owner")
    assert 0 < left < REQUESTS


def test_nothing_is_opened_while_a_volume_is_suspended(bed, tmp_path):
    """Between the first suspend and the last resume, whatever would page in,
    log or execute could wait for the volume itself."""
    lvm.tools.require("strace")
    log = tmp_path / "calls"
    os.environ["NBDSNAP_GUARD"], real = str(tmp_path / "guard"), guard.program()
    try:
        (tmp_path / "guard").write_text(
            f'#!/bin/sh\nexec strace -f -o "{log}" "{real}" "$@"\n')
        (tmp_path / "guard").chmod(0o755)
        made = guard.Guard(bed.window)
        assert made.run().startswith("done ")
        made.wait()
    finally:
        os.environ["NBDSNAP_GUARD"] = real
    lines = log.read_text().splitlines()
    suspends = [i for i, line in enumerate(lines) if "DM_DEV_SUSPEND" in line]
    inside = lines[suspends[0] + 1:suspends[-1]]
    bad = [line for line in inside if any(
        f" {call}(" in line for call in ("open", "openat", "execve", "write", "fork",
                                         "clone", "read", "connect", "sendto"))]
    assert bad == []
    # Locked before: in the half that watches, and again after the fork.
    locks = [i for i, line in enumerate(lines) if "mlockall(" in line]
    assert len(locks) == 2 and locks[1] < suspends[0]


# ---- of a create ----

@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    lvm.require()
    with lvm_kill.Bed(tmp_path_factory.mktemp("sets"), "thin") as made:
        yield made


@contextlib.contextmanager
def creating(bed, at, what):
    """A create whose guard does that at its at'th request; the shell is there
    to know the pid."""
    command = cli.command("create", "-n", bed.new_name(), *bed.references(),
                          state=str(bed.state))
    environment = dict(bed.environment(), **guard.faults(at, what))
    process = subprocess.Popen(
        ["sh", "-c", 'export FAULT_OWNER=$$; exec "$@"', "sh", *command], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def guards():
    return [pid for pid, name in lvm_kill.processes() if name == "nbdsnap-guard"]


def journal(bed):
    return [name for name in os.listdir(bed.state / "journal") if name.endswith(".json")]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_create_killed_inside_its_window_leaves_all_running(sets):
    """The guard is what resumes them, not the next command."""
    for request in (2, 3, 6, 8):
        with creating(sets, request, "kill-owner") as process:
            assert process.wait(60) == -signal.SIGKILL
            wait_for(lambda: not guards())
            assert sets.suspended() == []
            assert len(journal(sets)) == 1
        sets.nbdsnap("doctor")
        assert sets.check() == 0


def test_a_create_stopped_inside_its_window_goes_on_where_it_was(sets):
    with creating(sets, 4, "stop-owner") as process:
        wait_for(lambda: state_of(process.pid) == "T" and not guards())
        assert sets.suspended() == []
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0, process.stderr.read()
    assert sets.check() == 1
    sets.nbdsnap("delete", *sets.references(f"s{sets.n_sets}"))


def state_of(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0]


def test_a_create_whose_guard_is_killed_resumes_by_itself(sets):
    for request in (2, 5, 8):
        with creating(sets, request, "kill-group") as process:
            assert process.wait(60) == 1
            assert "all devices run again" in process.stderr.read()
        # Nothing was left for anybody else.
        assert sets.check() == 0


@pytest.mark.parametrize("how", ["doctor", "create", "delete"])
def test_what_the_death_of_all_leaves_suspended_is_resumed_by_the_next_command(sets, how):
    """Nobody is left who could keep the promise; the journal says what to do."""
    sets.nbdsnap("create", "-n", "old", *sets.references())
    with creating(sets, 5, "kill-parent,kill-owner,kill-group") as process:
        assert process.wait(60) == -signal.SIGKILL
        sets.wait_for_all()
    assert len(sets.suspended()) == 2 and len(journal(sets)) == 1
    if how == "doctor":
        sets.nbdsnap("doctor")
    elif how == "create":
        sets.nbdsnap("create", "-n", "new", *sets.references())
        sets.nbdsnap("delete", *sets.references("new"))
    sets.nbdsnap("delete", *sets.references("old"))
    assert sets.check() == 0


@contextlib.contextmanager
def orphans_are_ours():
    """The kernel continues what is stopped in a group of processes that loses
    its last tie to its session.  We keep one."""
    library = ctypes.CDLL(None)
    library.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        library.prctl(PR_SET_CHILD_SUBREAPER, 0)


def test_nobody_touches_a_set_whose_guard_lives(sets):
    """Stopped, with its owner dead, it may go on at any time."""
    with orphans_are_ours(), creating(sets, 3, "stop-parent,kill-owner,stop") as process:
        assert process.wait(60) == -signal.SIGKILL
        group = os.getpgid(guards()[0])
        try:
            suspended = sets.suspended()
            assert len(suspended) == 2
            assert "nothing is unfinished" in sets.nbdsnap("doctor").stdout
            cli.refused(sets.run("create", "-n", "other", *sets.references()), 3,
                        "somebody is creating or deleting")
            assert sets.suspended() == suspended and len(journal(sets)) == 1
        finally:
            os.killpg(group, signal.SIGCONT)
        wait_for(lambda: not guards())
    assert sets.suspended() == []
    sets.nbdsnap("doctor")
    assert sets.check() == 0


# It takes all of the guard's patience.
if lvm_kill.LONG:
    def test_a_guard_that_is_stopped_is_ended_before_its_set_is_undone(sets):
        """It must not go on later, with messages that mean something else by then."""
        with creating(sets, 3, "stop-group") as process:
            assert process.wait(120) == 1
            assert "all devices run again" in process.stderr.read()
            assert guards() == []
        assert sets.check() == 0
