# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can befall a real guest before, between and in the middle of sets: each has
its exit code, and afterwards the guest runs and is thawed, with nothing of ours
left in QEMU or unfinished."""

import contextlib
import pathlib
import signal
import subprocess
import time

import pytest

from snaplib import cli, file_sets, guest_sets, tools
from snaplib.qemu_bed import peer_socket

PATIENCE = 120


@pytest.fixture(scope="module")
def booted(tmp_path_factory):
    file_sets.require()
    with guest_sets.running(tmp_path_factory.mktemp("guest"), "btrfs", "qcow2") as made:
        # Made beforehand, so that what is enumerated is the operation itself.
        made.delete(made.create("first", quiesce="pause"))
        yield made


@pytest.fixture
def sets(booted):
    yield booted
    booted.assert_clean()


def wait_for(what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def refused(sets, code, *words, options=(), quiesce="agent", name="s"):
    cli.refused(sets.run(*sets.create_command(name, *options, quiesce=quiesce)), code, *words)


def start(sets, *arguments, **options):
    return subprocess.Popen(cli.command(*arguments, state=sets.state), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def finish(process):
    """(exit code, what it said on standard error)"""
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


# ---- in the middle ----

@contextlib.contextmanager
def before_the_window(sets, *, options=(), quiesce="agent"):
    """A set that is prepared and waits for us; `end()` lets it go on."""
    begun, go = sets.folder / "begun", sets.folder / "go"
    wait = f"touch {begun}; until [ -e {go} ]; do sleep 0.05; done"
    process = start(sets, *sets.create_command("s", "--pre-cut", wait, *options,
                                               quiesce=quiesce))
    try:
        wait_for(begun.exists)
        yield lambda: (go.touch(), finish(process))[1]
    finally:
        process.kill()
        process.communicate()
        begun.unlink(missing_ok=True)
        go.unlink(missing_ok=True)


def is_stopped(process):
    state = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]
    return state in "TZ"


# At which of its calls nbdsnap cuts; found by the first that needs it.
CUT = []


@contextlib.contextmanager
def in_the_window(sets, quiesce="agent"):
    """A set that is being cut: its guest stands still, and nbdsnap too, until
    `end()`."""
    for number in CUT or range(1, 30):
        environment = guest_sets.fault(FAULT_AT=number, FAULT_CALL="ioctl", FAULT_DO="stop")
        process = start(sets, *sets.create_command("s", quiesce=quiesce), env=environment)
        wait_for(lambda: is_stopped(process))
        if sets.guest.status() != "running":
            break
        process.send_signal(signal.SIGCONT)
        assert finish(process)[0] == 0
        sets.delete({"snapshots": [{"reference": r} for r in everything(sets)]})
    CUT[:] = [number]
    try:
        yield lambda: (process.send_signal(signal.SIGCONT), finish(process))[1]
    finally:
        process.kill()
        process.communicate()


def volumes_of(sets):
    return [f"btrfs:{sets.guest.disks[0].path}", f"qemu:{sets.guest.qmp_path}#vb"]


def everything(sets):
    """References to all that there is."""
    volumes = volumes_of(sets)
    return [f"{volume}@{name}" for volume, names in zip(volumes, sets.names(volumes))
            for name in names]


def delete_everything(sets):
    for reference in everything(sets):
        cli.done("delete", "-q", reference, state=sets.state)


# ---- QEMU and the guest end ----

def test_qemu_that_is_killed_in_the_window_leaves_no_set(sets):
    """What was begun in QEMU is undone when there is one again."""
    with in_the_window(sets) as end:
        sets.guest.kill()
        code, errors = end()
    assert code == 9, (code, errors)
    assert len(sets.unfinished()) == 1
    sets.guest.start()
    sets.recover()
    assert everything(sets) == []


def test_qemu_that_is_killed_after_the_cut_takes_its_part_of_the_set_along(sets):
    kill = f"kill -9 {sets.guest.process.pid}"
    result = sets.run(*sets.create_command("s", "--post-cut", kill))
    assert result.returncode == 9, result.stderr
    sets.guest.kill()
    sets.guest.start()
    sets.recover()
    assert sets.names(volumes_of(sets)) == [["s"], []]
    delete_everything(sets)


def test_a_guest_that_is_shut_down_is_not_cut_meanwhile_and_keeps_its_bases(sets):
    guest, before = sets.guest, sets.create("s1")
    guest.qmp("set-action", shutdown="pause")
    with before_the_window(sets) as end:
        guest._say("umount -a -r; poweroff -f")
        wait_for(lambda: guest.status() == "shutdown")
        code, errors = end()
    assert code == 3 and "stopped by somebody else" in errors, (code, errors)
    still = sets.create("s2", code=4)
    assert guest.status() == "shutdown" and still["stopped_us"] == 0

    since = len(guest.log())
    guest.qmp("set-action", shutdown="poweroff")
    guest.qmp("system_reset")
    guest.qmp("cont")
    guest.wait_until_booted(since)
    after = sets.create("s3")
    for volume in sets.volumes(after):
        for old in ("s1", "s2"):
            found = cli.answer("diff", f"{volume}@{old}..s3", state=sets.state)
            assert found["dirty_bytes"] > 0 and found["complete"] is True
    for made in (before, still, after):
        sets.check(made)
        sets.delete(made)


# ---- the guest boots anew ----

def test_a_guest_that_is_reset_in_the_window_is_cut_and_boots(sets):
    """Frozen until then, it is not called so; its agent is not waited for."""
    since = len(sets.guest.log())
    with in_the_window(sets) as end:
        sets.guest.qmp("system_reset")
        wait_for(lambda: sets.guest.status() == "prelaunch")
        code, errors = end()
    assert (code, errors) == (4, ""), (code, errors)
    assert sets.guest.status() == "running"
    sets.guest.wait_until_booted(since)
    made = {"snapshots": [{"reference": r} for r in everything(sets)]}
    assert len(made["snapshots"]) == 2
    sets.check(made)
    sets.delete(made)


# ---- its agent ----

def test_an_agent_that_hangs_or_is_absent_changes_nothing(sets):
    guest = sets.guest
    guest.stop_agent()
    try:
        refused(sets, 1, "guest agent")
        guest.assert_runs()
    finally:
        guest.continue_agent()
    sets.assert_clean()
    guest.kill_agent()
    refused(sets, 1, "guest agent")
    guest.assert_runs()
    guest.start_agent()


@pytest.mark.parametrize("seconds,code", [(2, 0), (12, 1)])
def test_an_agent_that_freezes_late_is_waited_for_and_thawed(sets, seconds, code):
    guest = sets.guest
    guest.shell(f"echo sleep {seconds} >/run/hook-freeze")
    since = len(guest.log())
    try:
        result = sets.run(*sets.create_command("s"))
        assert result.returncode == code, result.stderr
        guest.assert_runs_and_thawed()
        said = guest.log()[since:]
        assert said.index("HOOK freeze") < said.index("HOOK thaw")
    finally:
        guest.shell("rm /run/hook-freeze")
    assert len(everything(sets)) == (2 if code == 0 else 0)
    delete_everything(sets)


# ---- others are there ----

def test_a_monitor_that_somebody_else_has_is_busy(sets):
    with contextlib.closing(peer_socket(sets.guest.qmp_path)):
        refused(sets, 3, "monitor")
    wait_for(lambda: sets.run("list", volumes_of(sets)[1]).returncode == 0)


def test_of_two_at_once_one_is_busy(sets):
    with before_the_window(sets) as end:
        refused(sets, 3)
        refused(sets, 3, name="other", quiesce="pause")
        assert end() == (0, "")
    delete_everything(sets)


def test_another_nbd_server_in_qemu_is_left_alone(sets):
    other = str(sets.guest.folder / "other.nbd")
    sets.guest.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": other}})
    try:
        refused(sets, 3, "NBD server")
        assert sets.traces() == []
    finally:
        sets.guest.qmp("nbd-server-stop")


# ---- disks change ----

def test_a_disk_that_is_resized_in_the_middle_is_not_cut(sets):
    with before_the_window(sets) as end:
        sets.guest.qmp("block_resize", node_name="fmt-b", size=65 << 20)
        code, errors = end()
    assert code == 3 and "size" in errors, (code, errors)


def test_a_disk_that_is_resized_between_sets_is_dirty_where_it_grew(sets):
    """QEMU does so when the data of the older point has been let go."""
    sets.create("s1")
    cli.done("ack", "-q", "s1", state=sets.state)
    sets.guest.qmp("block_resize", node_name="fmt-b", size=66 << 20)
    after = sets.create("s2")
    found = cli.answer("diff", f"{volumes_of(sets)[1]}@s1..s2", state=sets.state)
    assert (found["from_size"], found["size"]) == (65 << 20, 66 << 20)
    last = found["extents"][-1]
    assert last["offset"] <= 65 << 20 and last["offset"] + last["length"] == 66 << 20
    sets.check(after)
    delete_everything(sets)


def test_a_disk_that_is_added_between_sets_is_in_the_next(sets):
    guest, path = sets.guest, sets.folder / "added.qcow2"
    before = sets.create("s1")
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"])
    guest.qmp("blockdev-add", driver="qcow2", node_name="added",
              file={"driver": "file", "filename": str(path)})
    guest.qmp("device_add", driver="scsi-hd", id="vx", drive="added")
    try:
        after = sets.create("s2")
        assert len(before["snapshots"]) == 2 and len(after["snapshots"]) == 3
        old, new = sets.volumes(after)[:2], sets.volumes(after)[2]
        assert new.endswith("#vx")
        for volume in old:
            cli.done("diff", f"{volume}@s1..s2", state=sets.state)
        cli.refused(sets.run("diff", f"{new}@s1..s2"), 5, "full copy")
        sets.delete(after)
        sets.delete(before)
    finally:
        since = len(guest.monitor.events)
        guest.qmp("device_del", id="vx")
        guest.monitor.wait_event("DEVICE_DELETED", since)
        guest.qmp("blockdev-del", node_name="added")


# ---- no room ----

@pytest.fixture
def small(booted):
    place = booted.folder / "scratch"
    place.mkdir()
    tools.run(["mount", "-t", "tmpfs", "-o", "size=1536k", "scratch", place])
    yield place
    subprocess.run(["umount", place], check=True)
    place.rmdir()


def resize(place, size):
    tools.run(["mount", "-o", f"remount,size={size}", place])


def test_where_there_is_no_room_nothing_is_begun(sets, small):
    refused(sets, 7, options=["--scratch", small])


def test_a_full_scratch_of_a_filter_ends_the_snapshot_and_not_the_guest(sets, small):
    resize(small, "80m")
    made = sets.create("s", "--scratch", small, "--mechanism=cbw", quiesce="pause")
    resize(small, "512k")
    sets.guest.wait_for_records(600)
    sets.guest.assert_runs()
    wait_for(lambda: sets.run("diff", f"{sets.references(made)[1]}..live").returncode != 0)
    with pytest.raises(AssertionError):
        sets.copy(sets.references(made)[1], sets.folder / "broken")
    sets.delete(made)


def test_a_full_scratch_of_a_fleecing_job_stops_the_guest_until_it_is_deleted(sets, small):
    resize(small, "80m")
    made = sets.create("s", "--scratch", small, "--mechanism=fleece", quiesce="pause")
    resize(small, "512k")
    wait_for(lambda: sets.guest.status() == "io-error")
    sets.delete(made)
    sets.guest.assert_runs_and_thawed()
