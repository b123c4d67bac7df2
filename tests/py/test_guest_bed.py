# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bed for tests on running guests, itself: if one of these fails, what the
others say means nothing."""

import os
import pathlib
import re
import subprocess

import pytest

from snaplib import guest_check, guest_disks, qmp
from snaplib.guest import Guest

FREEZE, THAW, STATUS = (f"guest-fsfreeze-{verb}" for verb in ("freeze", "thaw", "status"))
SHORT = 1


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disks")
    disks = [guest_disks.raw(folder / "a", 0), guest_disks.raw(folder / "b", 1),
             guest_disks.qcow2(folder / "c", 2, device="virtio-scsi"),
             guest_disks.raw(folder / "d", 3, device="drive")]
    with Guest(disks) as booted:
        yield booted


def copies(guest, folder):
    """Raw copies of its disks, the last one first, which is the wrong order for
    a writer that goes on meanwhile."""
    folder.mkdir(exist_ok=True)
    for disk in reversed(guest.disks):
        subprocess.run(["qemu-img", "convert", "-U", "-f", disk.format, "-O", "raw", disk.path,
                        folder / os.path.basename(disk.path)], check=True)
    return [folder / os.path.basename(disk.path) for disk in guest.disks]


def failure(call, *words):
    with pytest.raises(AssertionError) as failed:
        call(*words)
    return str(failed.value)


# ---- the guest ----

def test_it_boots_and_its_writer_gets_on(guest):
    guest.assert_runs_and_thawed()
    assert "WRITER ERR" not in guest.log()


def test_each_kind_of_disk_is_mounted_and_known_to_qemu(guest):
    status, mounts = guest.shell("mount | sort -k 3")
    assert status == 0
    found = re.findall(r"/dev/([sv]d)[a-d] on /disks/(\d) type ext4", mounts)
    assert found == [("vd", "0"), ("vd", "1"), ("sd", "2"), ("vd", "3")]
    blocks = {entry["qdev"]: (entry["device"], entry["inserted"]["node-name"])
              for entry in guest.qmp("query-block") if "inserted" in entry}
    assert blocks["/machine/peripheral/va/virtio-backend"] == ("", "fmt-a")
    assert blocks["vc"] == ("", "fmt-c")
    assert [device for device, _ in blocks.values() if device] == ["vd"]


def test_both_monitors_serve_a_client(guest):
    """The one that is for the programs under test, too, while we use ours."""
    client = qmp.Monitor(guest.qmp_path)
    assert client.execute("query-status")["running"]
    assert guest.status() == "running"
    client.close()


def test_a_stop_and_a_cont_are_seen(guest):
    seen = len(guest.monitor.events)
    guest.qmp("stop")
    guest.monitor.wait_event("STOP", seen)
    assert guest.status() == "paused" and "paused" in failure(guest.assert_runs)
    assert "no record" in failure(guest.wait_for_records, 1, SHORT)
    guest.qmp("cont")
    guest.monitor.wait_event("RESUME", seen)
    guest.assert_runs()


def test_a_freeze_and_a_thaw_are_seen_from_within(guest):
    since = len(guest.log())
    with qmp.Agent(guest.agent_path) as agent:
        assert agent.execute(FREEZE) == len(guest.disks)
        guest.wait_serial("HOOK freeze", since)
    assert not guest.is_thawed() and "HOOK thaw" not in guest.log()[since:]
    frozen_at = guest.records()
    assert "no record" in failure(guest.wait_for_records, 1, SHORT)
    assert guest.agent(THAW) == len(guest.disks)
    guest.wait_serial("HOOK thaw", since)
    guest.assert_runs_and_thawed()
    assert guest.records() > frozen_at


def test_a_freeze_that_the_guest_makes_slow(guest):
    guest.shell("echo 'sleep 3' >/run/hook-freeze")
    with qmp.Agent(guest.agent_path) as agent:
        with pytest.raises(TimeoutError):
            agent.execute(FREEZE, SHORT)
        agent.sync()
        assert agent.execute(STATUS) == "frozen"
        agent.execute(THAW)
    guest.shell("rm /run/hook-freeze")
    guest.assert_runs_and_thawed()


def test_an_agent_hangs_and_comes_back(guest):
    guest.stop_agent()
    with pytest.raises(TimeoutError):
        qmp.Agent(guest.agent_path, SHORT)
    guest.continue_agent()
    guest.assert_runs_and_thawed()


def test_an_agent_dies_and_is_started_again(guest):
    guest.kill_agent()
    with pytest.raises(TimeoutError):
        qmp.Agent(guest.agent_path, SHORT)
    guest.start_agent()
    guest.assert_runs_and_thawed()


def test_a_qemu_that_hangs_comes_back(guest):
    guest.pause_process()
    with pytest.raises(TimeoutError):
        guest.monitor.execute("query-status", SHORT)
    guest.continue_process()
    guest.assert_runs_and_thawed()


def test_copies_of_a_paused_guest_are_of_one_instant(guest, tmp_path):
    known = guest.records()
    guest.qmp("stop")
    try:
        images = copies(guest, tmp_path / "paused")
        newest = guest_check.check(images, at_least=known)
        assert newest[0] - newest[-1] in (0, 1)
        assert newest[-1] >= known
    finally:
        guest.qmp("cont")


def test_copies_of_a_running_guest_are_torn(guest, tmp_path):
    """One disk before the writer went on, the other disks after it."""
    first = copies(guest, tmp_path / "first")
    guest.wait_for_records(10)
    later = copies(guest, tmp_path / "later")
    with pytest.raises(guest_check.Torn):
        guest_check.check([first[0], *later[1:]])
    with pytest.raises(guest_check.Torn):
        guest_check.check([later[0], *first[1:]])


def test_a_failed_wait_shows_what_the_guest_and_qemu_said(guest):
    text = failure(guest.wait_serial, "never said", 0, SHORT)
    assert "BOOTED" in text and "QEMU's stderr" in text and "'never said'" in text


# The last ones of this guest: they boot it again.

def test_a_reset_leads_to_a_guest_that_goes_on(guest):
    before = guest.records()
    guest.reset()
    guest.assert_runs_and_thawed()
    assert guest.records() > before


def test_a_guest_that_is_powered_down_leaves_clean_disks(guest, tmp_path):
    guest.power_down()
    assert guest.process.returncode == 0
    newest = guest_check.check(copies(guest, tmp_path), at_least=guest.records())
    assert newest[0] - newest[-1] in (0, 1)


def test_an_end_that_was_not_asked_for_is_told_at_once(tmp_path):
    disk = guest_disks.Disk(str(tmp_path / "none"), "raw")
    guest = Guest([disk])
    text = failure(guest.__enter__)
    assert "QEMU ended" in text and "No such file" in text
    assert not guest.folder.exists()


# ---- the judge ----

def make(folder, *logs):
    images = [folder / str(number) for number in range(len(logs))]
    for number, (image, log) in enumerate(zip(images, logs)):
        guest_disks.format_disk(image, number, log=log)
    return images


def newest_of(folder, *numbers):
    return guest_check.check(make(folder, *map(guest_disks.log_at, numbers)))


def test_the_judge_agrees_with_what_one_instant_can_look_like(tmp_path):
    assert newest_of(tmp_path, 5001, 5001, 5000) == [5001, 5001, 5000]


def test_the_judge_leaves_the_images_alone(tmp_path):
    (image,) = make(tmp_path, guest_disks.log_at(2047))
    before = image.read_bytes()
    guest_check.check([image])
    assert image.read_bytes() == before


@pytest.mark.parametrize("numbers", [(5000, 5001), (5001, 5000, 5001), (5002, 5000), (5002, 5001, 5000),
                                     (2047, 2048)])
def test_the_judge_finds_disks_that_are_not_of_one_instant(numbers):
    with pytest.raises(guest_check.Torn):
        guest_check.check_order(list(numbers))


def test_the_judge_finds_a_torn_pair_on_real_disks(tmp_path):
    with pytest.raises(guest_check.Torn, match=r"not of one instant.*\[5000, 5001\]"):
        newest_of(tmp_path, 5000, 5001)


def test_the_judge_finds_what_is_older_than_it_may_be(tmp_path):
    (image,) = make(tmp_path, guest_disks.log_at(5000))
    assert guest_check.check([image], at_least=5000) == [5000]
    with pytest.raises(guest_check.Torn, match="record 5001 was written before"):
        guest_check.check([image], at_least=5001)


def without_a_record(log):
    at = 4000 % guest_disks.N_SLOTS * guest_disks.RECORD_SIZE
    old = guest_disks.record(4000 - guest_disks.N_SLOTS)
    return log[:at] + old + log[at + len(old):]


@pytest.mark.parametrize("damage, words", [
    (without_a_record, "holds record 1952, not 4000"),
    (lambda log: log[:4096 * 7 + 4095] + b"!" + log[4096 * 8:], "in slot 7 is damaged"),
    (lambda log: log[:4096 * 9] + bytes(4096) + log[4096 * 10:], "slot 9 holds record 0"),
    (lambda log: log[4096:] + log[:4096], "slot 0 holds"),
], ids=["missing", "one-byte", "zeroes", "shifted"])
def test_the_judge_finds_a_file_that_was_never_like_this(damage, words):
    assert guest_check.newest_in(guest_disks.log_at(5000)) == 5000
    with pytest.raises(guest_check.Torn, match=words):
        guest_check.newest_in(damage(guest_disks.log_at(5000)))


def test_the_judge_finds_a_disk_that_is_no_file_system(tmp_path):
    image = pathlib.Path(tmp_path / "zeroes")
    image.write_bytes(bytes(guest_disks.MIB))
    with pytest.raises(guest_check.Torn, match="e2fsck"):
        guest_check.check([image])
