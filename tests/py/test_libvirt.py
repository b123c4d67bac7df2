# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets of a domain of libvirt's: cut while libvirt keeps it quiet; and whoever is
killed meanwhile, it runs and is thawed in the end."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest

from snaplib import cli, file_sets, guest_sets, libvirt, nbd, tools
from snaplib.cli import nbdsnap, refused

PATIENCE = 120

# What all that this test starts have in their environment.
MARK = f"NBDSNAP_TEST_MARK={os.getpid()}-{time.monotonic_ns()}"
os.environ.update([MARK.split("=")])


@pytest.fixture(scope="module")
def libvirtd():
    libvirt.require()
    folder = tempfile.mkdtemp(prefix="libvirt-", dir="/tmp")
    daemon = libvirt.Libvirtd(folder)
    yield daemon
    daemon.stop()
    subprocess.run(["rm", "-rf", folder], check=False)


@pytest.fixture(scope="module")
def sets(libvirtd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guest")
    disks = guest_sets.disks_on(folder, "btrfs", "xfs")
    with libvirt.DomainGuest(libvirtd, disks) as domain:
        yield libvirt.DomainSets(domain, folder)


def assert_at_rest(sets):
    """Nothing of ours is left that has to do with the guest, which runs."""
    sets.guest.assert_runs_and_thawed()
    end = time.monotonic() + PATIENCE
    while ours():
        assert time.monotonic() < end, ours()
        time.sleep(0.1)
    assert sets.unfinished() == []


def ours(*names):
    """Pids of processes of those names that this test has started."""
    wanted = names or ("nbdsnap-relay", "nbdsnap-guard")
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "comm").read_text().strip()
            if name in wanted and MARK.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


# ---- sets ----

@pytest.mark.parametrize("quiesce", ["agent", "pause"])
def test_sets_are_of_one_instant(sets, quiesce):
    for number in range(3):
        before, since = sets.guest.records(), len(sets.guest.log())
        made = sets.create(f"{quiesce}{number}", quiesce=quiesce)
        assert (made["consistency"], made["quiesce"]) == ("atomic", quiesce)
        assert [r.split(":")[0] for r in sets.references(made)] == ["btrfs", "reflink"]
        assert made["stopped_us"] > 0 and (made["frozen_us"] > 0) == (quiesce == "agent")
        assert_at_rest(sets)
        if quiesce == "agent":
            sets.guest.wait_serial("HOOK thaw", since)
        sets.check(made, at_least=before)
        sets.delete(made)


def test_a_domain_that_was_paused_stays_so(sets):
    sets.guest.libvirtd.virsh("suspend", sets.guest.name)
    made = sets.create("paused", quiesce="pause")
    assert sets.guest.status() == "paused" and made["stopped_us"] == 0
    sets.guest.libvirtd.virsh("resume", sets.guest.name)
    sets.delete(made)
    assert_at_rest(sets)


def test_what_libvirt_does_not_know_is_refused(sets, libvirtd):
    refused(nbdsnap("create", "--domain", "nobody", "--connect", libvirtd.uri), 1,
            "nobody: no such domain")
    refused(nbdsnap("create", "--domain", "x", "--connect", "qemu:///system?socket=/none"), 1,
            "/none")
    refused(nbdsnap("create", "--domain", "x", "--qmp", "y"), 2, "--domain")


def test_no_libvirt_is_said_so(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    relay = tmp_path / "relay"
    relay.write_text(f"#!/bin/sh\nexec unshare -m sh -c '"
                     f"mount --bind /dev/null $(ls -L /usr/lib/*/libvirt.so.0); "
                     f'exec {tools.BUILD.resolve()}/nbdsnap-relay "$@"\' sh "$@"\n')
    relay.chmod(0o755)
    refused(nbdsnap("create", "--domain", "x", env=dict(os.environ, NBDSNAP_RELAY=str(relay))),
            1, "libvirt.so.0")
    refused(nbdsnap("create", "--domain", "x", env=dict(os.environ, NBDSNAP_RELAY="/none")),
            1, "/none")


# ---- whoever is killed ----

def is_stopped(process):
    stat = pathlib.Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rsplit(")", 1)[1].split()[0] == "T"


def stopped_at(sets, quiesce, n):
    """nbdsnap, which stands still at its call of that number."""
    preload = ":".join([*nbd.sanitizer_libraries(), str(file_sets.SHIM)])
    process = subprocess.Popen(
        cli.command(*sets.create_command("k", quiesce=quiesce), state=sets.state),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ, LD_PRELOAD=preload, FAULT_AT=str(n), FAULT_IN="nbdsnap",
                 FAULT_CALL="ioctl", FAULT_DO="stop"))
    end = time.monotonic() + PATIENCE
    while not is_stopped(process):
        assert process.poll() is None and time.monotonic() < end, process.stderr.read()
        time.sleep(0.02)
    return process


# Of the calls of a creation, the first one that is made while the guest stands
# still.
first_call = [1]


def stopped_in_its_cut(sets, quiesce):
    for first_call[0] in range(first_call[0], 10):
        process = stopped_at(sets, quiesce, first_call[0])
        if sets.guest.status() == "paused":
            return process
        process.kill()
        process.communicate()
        recover(sets)
    raise AssertionError("no call is made while the guest stands still")


def recover(sets):
    """As a user may; whoever of ours is still at work is waited for."""
    end = time.monotonic() + PATIENCE
    while (result := sets.run("doctor")).returncode or sets.unfinished():
        assert time.monotonic() < end, result.stderr
        time.sleep(0.2)


def kill(*names):
    for pid in ours(*names):
        os.kill(pid, signal.SIGKILL)


def await_run(sets):
    end = time.monotonic() + PATIENCE
    while sets.guest.status() != "running":
        if time.monotonic() > end:
            sets.guest.fail("the guest stands still")
        time.sleep(0.05)


@pytest.fixture(params=["agent", "pause"])
def stopped(request, sets):
    file_sets.require()
    process = stopped_in_its_cut(sets, request.param)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()
    recover(sets)


def end_of(process):
    process.send_signal(signal.SIGCONT)
    return process.wait(PATIENCE), process.stderr.read()


def test_the_owner_is_killed(sets, stopped):
    stopped.kill()
    await_run(sets)
    recover(sets)
    assert_at_rest(sets)


def test_the_guard_is_killed(sets, stopped):
    kill("nbdsnap-guard")
    code, text = end_of(stopped)
    assert code == 1 and "all runs as before" in text, (code, text)
    assert_at_rest(sets)


def test_the_relay_is_killed(sets, stopped):
    """The guard gets no answer, and the owner tries anew."""
    kill("nbdsnap-relay")
    code, text = end_of(stopped)
    assert code == 1 and "all runs as before" in text, (code, text)
    assert_at_rest(sets)


def test_all_but_the_relay_are_killed(sets, stopped):
    kill("nbdsnap-guard")
    stopped.kill()
    await_run(sets)
    recover(sets)
    assert_at_rest(sets)


def test_all_are_killed_and_it_is_thawed_by_hand(sets, stopped):
    stopped.kill()
    kill("nbdsnap-relay", "nbdsnap-guard")
    assert sets.guest.status() == "paused"
    result = sets.run("thaw")
    assert result.returncode == 0, result.stderr
    recover(sets)
    assert_at_rest(sets)


def test_libvirtd_is_killed_and_started_anew(sets, stopped, libvirtd):
    libvirtd.kill()
    libvirtd.start()
    sets.guest.process = libvirtd.process
    code, text = end_of(stopped)
    assert code in (0, 1), (code, text)
    assert_at_rest(sets)
    if code == 0:
        cli.done("delete", "-q", *text_references(sets), state=sets.state)


def text_references(sets):
    return [f"{kind}:{disk.path}@k" for kind, disk in zip(("btrfs", "reflink"), sets.guest.disks)]
