# SPDX-License-Identifier: LGPL-2.1-or-later
"""The qemu driver on a real QEMU, op by op: every diff is judged by comparing the
bytes, and after every end nothing of ours is left in QEMU."""

import contextlib
import os
import subprocess
import time

import pytest

from snaplib import qemu_bed as bed, tools
from snaplib.qemu_bed import GRANULE, Drive, Driver, Failed, Qemu

MECHANISMS = {"fleece": {"mechanism": "fleece"},
              "cbw": {"mechanism": "cbw", "quiesce": "pause"}}


@pytest.fixture(params=MECHANISMS)
def keys(request):
    return MECHANISMS[request.param]


@contextlib.contextmanager
def machine(folder, *drives, **more):
    with Qemu(folder / "qemu", drives or (Drive("a"),), **more) as qemu:
        yield qemu, Driver(qemu, ",".join(d.name for d in qemu.drives))


@contextlib.contextmanager
def refused(code, words=""):
    with pytest.raises(Failed) as failure:
        yield
    assert failure.value.code == code, failure.value
    assert words in failure.value.text


def step(qemu, driver, name, byte, **keys):
    """Write a little to every disk, cut, write over it; what was cut."""
    for drive in qemu.drives:
        qemu.write(drive.name, byte * GRANULE, GRANULE, byte)
        qemu.write(drive.name, 2 * byte * GRANULE + 512, 512, byte + 1)
    driver.create(name, **keys)
    images = {d.name: qemu.contents(d.name) for d in qemu.drives}
    for drive in qemu.drives:
        qemu.write(drive.name, 40 * GRANULE, 3 * GRANULE, byte + 2)
        qemu.io(drive.name, f"write -z {50 * GRANULE} {GRANULE}")
    return images


def check(driver, images, old, new, devices):
    for device in devices:
        faults = bed.judge(driver.diff(old, new, device=device), images[old][device],
                           images[new][device])
        assert not faults, (old, new, device, faults)


def test_disks_of_every_kind_are_cut_read_and_compared(tmp_path, keys):
    drives = (Drive("a"), Drive("b", "raw", "virtio-scsi"), Drive("c", "qcow2", "ide", True))
    with machine(tmp_path, *drives) as (qemu, driver):
        names = [f"s{k}" for k in range(3)]
        images = {name: step(qemu, driver, name, k + 1, **keys)
                  for k, name in enumerate(names)}
        for device in "abc":
            assert [p.name for p in driver.list(device)] == names
            for k, name in enumerate(names):
                assert driver.read(name, device) == images[name][device]
                for old in names[:k]:
                    check(driver, images, old, name, [device])
        for name in names:
            driver.delete(name)
        assert qemu.traces() == []
        assert [qemu.top(d) for d in "ab"] == ["fmt-a", "fmt-b"]


def test_points_end_in_any_order_and_the_others_stay(tmp_path):
    """Filters lie on each other; one in the middle cannot be taken out at once."""
    with machine(tmp_path) as (qemu, driver):
        order = ["cbw", "fleece", "cbw", "fleece", "cbw"]
        images = {f"s{k}": step(qemu, driver, f"s{k}", k + 1, **MECHANISMS[m])
                  for k, m in enumerate(order)}
        left = list(images)
        for gone in ("s2", "s1", "s4", "s0", "s3"):
            driver.delete(gone)
            left.remove(gone)
            qemu.write("a", 0, 60 * GRANULE, 200)
            for name in left:
                assert driver.read(name) == images[name]["a"], (gone, name)
            for old, new in zip(left, left[1:]):
                check(driver, images, old, new, "a")
        assert qemu.traces() == []
        assert qemu.top("a") == "fmt-a"


@pytest.mark.parametrize("until", ["plan", "prepare", "cut"])
def test_a_creation_that_was_killed_is_undone(tmp_path, keys, until):
    with machine(tmp_path, Drive("a"), Drive("b", "raw")) as (qemu, driver):
        records = driver.create("s", until=until, **keys)
        assert len(records) == 2
        for _ in range(2):
            driver.recover(records)
            assert qemu.traces() == []
        assert qemu.top("a") == "fmt-a"


def test_a_creation_that_was_killed_is_finished(tmp_path, keys):
    with machine(tmp_path) as (qemu, driver):
        qemu.write("a", 0, GRANULE, 1)
        records = driver.create("s", until="cut", **keys)
        before = qemu.contents("a")
        qemu.write("a", 0, GRANULE, 2)
        for _ in range(2):
            driver.recover(records, "commit")
        assert driver.read("s") == before
        driver.delete("s")
        assert qemu.traces() == []


def test_an_acknowledged_point_is_a_base_without_data(tmp_path, keys):
    with machine(tmp_path) as (qemu, driver):
        images = {"s1": step(qemu, driver, "s1", 1, **keys)}
        driver.ack("s1")
        driver.ack("s1")
        assert [(p.name, p.kind) for p in driver.list()] == [("s1", "checkpoint")]
        assert not [n for n in qemu.nodes() if n.startswith("ns-")]
        assert not (qemu.folder / "qmp.nbdsnap").exists()
        with refused(bed.UNSUPPORTED):
            driver.read("s1")
        images["s2"] = step(qemu, driver, "s2", 2, **keys)
        check(driver, images, "s1", "s2", "a")
        driver.ack("s2")
        assert [p.name for p in driver.list()] == ["s2"]
        driver.delete("s2")
        assert qemu.traces() == []


def test_a_failed_copy_leaves_the_older_base_as_it_was(tmp_path, keys):
    with machine(tmp_path) as (qemu, driver):
        images = {"s1": step(qemu, driver, "s1", 1, **keys)}
        driver.ack("s1")
        step(qemu, driver, "s2", 2, **keys)
        driver.ack("s2", failed=True)
        assert [p.name for p in driver.list()] == ["s1"]
        images["s3"] = step(qemu, driver, "s3", 3, **keys)
        check(driver, images, "s1", "s3", "a")


def test_a_consumer_ends_its_own_bases_only(tmp_path):
    with machine(tmp_path) as (qemu, driver):
        images = {}
        for k, (name, who) in enumerate((("a1", "one"), ("b1", "two"), ("n1", None),
                                         ("a2", "one"))):
            more = {"consumer": who} if who else {}
            images[name] = step(qemu, driver, name, k + 1, mechanism="fleece", **more)
            driver.ack(name)
        assert [p.name for p in driver.list()] == ["b1", "n1", "a2"]
        images["b2"] = step(qemu, driver, "b2", 7, mechanism="fleece", consumer="two")
        for base in ("b1", "n1", "a2"):
            check(driver, images, base, "b2", "a")
        with refused(bed.USAGE):
            driver.create("x", consumer="a/b")


def test_names_may_be_as_long_as_they_can_be(tmp_path):
    with machine(tmp_path) as (qemu, driver):
        name, consumer = "N" * 64, "c" * 64
        images = {name: step(qemu, driver, name, 1, mechanism="fleece", consumer=consumer)}
        driver.ack(name)
        qemu.restart()
        images["s2"] = step(qemu, driver, "s2", 2, mechanism="fleece")
        check(driver, images, name, "s2", "a")


def test_a_base_outlives_qemu_that_ends_as_it_should(tmp_path, keys):
    with machine(tmp_path, Drive("a"), Drive("b", "raw")) as (qemu, driver):
        images = {"s1": step(qemu, driver, "s1", 1, **keys)}
        qemu.restart()
        assert [(p.name, p.kind) for p in driver.list("a")] == [("s1", "checkpoint")]
        assert driver.list("b") == []  # a raw disk has no place for it
        qemu.write("a", 7 * GRANULE, 100 * 512, 9)
        images["s2"] = step(qemu, driver, "s2", 2, **keys)
        check(driver, images, "s1", "s2", "a")
        driver.delete("s2")
        driver.run("delete", "s1", devices="a")
        assert qemu.traces() == []


def test_a_base_that_was_not_stored_is_none_and_spoils_no_other(tmp_path, keys):
    with machine(tmp_path, Drive("a"), Drive("b")) as (qemu, driver):
        step(qemu, driver, "s1", 1, **keys)
        driver.ack("s1")
        qemu.restart()  # from here on a kill leaves it in use
        qemu.kill()
        qemu.start()
        assert qemu.bitmaps("a")
        images = {"s2": step(qemu, driver, "s2", 2, **keys),
                  "s3": step(qemu, driver, "s3", 3, **keys)}
        for new in ("s2", "s3"):
            with refused(bed.NOT_COMPARABLE, "not stored"):
                driver.diff("s1", new)
        check(driver, images, "s2", "s3", "ab")
        driver.ack("s2")
        assert [p.name for p in driver.list()] == ["s2", "s3"]  # its end took s1 along
        for name in ("s3", "s2"):
            driver.delete(name)
        assert qemu.traces() == []


def test_only_the_disk_whose_base_is_broken_needs_a_full_copy(tmp_path):
    with machine(tmp_path, Drive("a"), Drive("b")) as (qemu, driver):
        images = {"s1": step(qemu, driver, "s1", 1, mechanism="fleece")}
        driver.ack("s1")
        broken = next(b for b in qemu.bitmaps("a") if b.startswith("s1."))
        qemu.ask("block-dirty-bitmap-disable", node="fmt-a", name=broken)
        images["s2"] = step(qemu, driver, "s2", 2, mechanism="fleece")
        with refused(bed.NOT_COMPARABLE, "disabled"):
            driver.diff("s1", "s2", device="a")
        check(driver, images, "s1", "s2", "b")
        # Enabled again, what was written meanwhile is missing in it; but the point
        # was cut without it.
        qemu.ask("block-dirty-bitmap-enable", node="fmt-a", name=broken)
        with refused(bed.NOT_COMPARABLE, "when the snapshot was made"):
            driver.diff("s1", "s2", device="a")


def test_a_disk_that_grew_is_dirty_from_its_old_end_on(tmp_path, keys):
    with machine(tmp_path, size=(4 << 20) - 512) as (qemu, driver):
        images = {"s1": step(qemu, driver, "s1", 1, **keys)}
        driver.ack("s1")
        qemu.ask("block_resize", **{"node-name": "fmt-a", "size": 6 << 20})
        images["s2"] = step(qemu, driver, "s2", 2, **keys)
        assert len(images["s2"]["a"]) == 6 << 20
        assert driver.read("s2") == images["s2"]["a"]
        check(driver, images, "s1", "s2", "a")


@pytest.mark.parametrize("form,least", [("qcow2", 2 << 20), ("raw", (4 << 20) - 4096)])
def test_a_disk_that_was_smaller_in_between_is_not_compared_wrongly(
        tmp_path, keys, form, least):
    """QEMU forgets what a bitmap marks behind the end, and marks nothing there
    when the disk grows again."""
    with machine(tmp_path, Drive("a", form)) as (qemu, driver):
        qemu.write("a", 0, 4 << 20, 7)
        images = {"s1": step(qemu, driver, "s1", 1, **keys)}
        driver.ack("s1")
        for size in (least, 4 << 20):
            qemu.ask("block_resize", **{"node-name": "fmt-a", "size": size})
        images["s2"] = step(qemu, driver, "s2", 2, **keys)
        assert bed.changed_granules(images["s1"]["a"], images["s2"]["a"]) >= {63}
        if least % GRANULE:
            check(driver, images, "s1", "s2", "a")
        else:
            with refused(bed.NOT_COMPARABLE, "smaller"):
                driver.diff("s1", "s2")


def overlay(qemu, node="fmt-a", name="ov"):
    path = qemu.folder / f"{name}.qcow2"
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", qemu.path("a"),
               "-F", "qcow2", path, 4 << 20])
    qemu.ask("blockdev-add", driver="qcow2", backing=None,
             file={"driver": "file", "filename": str(path)}, **{"node-name": name})
    qemu.ask("blockdev-snapshot", node=node, overlay=name)


def commit(qemu, name="ov"):
    qemu.ask("block-commit", device=name, **{"job-id": "cj", "auto-dismiss": False})
    for wanted, act in (("ready", "job-complete"), ("concluded", "job-dismiss")):
        deadline = time.monotonic() + 60
        while [j["status"] for j in qemu.ask("query-jobs") if j["id"] == "cj"] != [wanted]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        qemu.ask(act, id="cj")
    qemu.ask("blockdev-del", **{"node-name": name})


@pytest.mark.parametrize("restart", [False, True])
def test_an_overlay_of_somebody_else_is_never_missed(tmp_path, keys, restart):
    """Under an overlay the base's bitmaps say that they record, and get nothing to
    record; committed back, they get all of it."""
    with machine(tmp_path) as (qemu, driver):
        images = {"s1": step(qemu, driver, "s1", 1, **keys)}
        driver.ack("s1")
        if restart:
            qemu.restart()
        overlay(qemu)
        for byte in range(10):
            qemu.write("a", (20 + byte) * GRANULE, GRANULE, byte + 100)
        assert driver.list() == []
        driver.create("over", **keys)
        with refused(bed.NOT_FOUND):
            driver.diff("s1", "over")
        driver.delete("over")
        commit(qemu)
        assert [p.name for p in driver.list()] == ["s1"]
        images["s2"] = step(qemu, driver, "s2", 2, **keys)
        check(driver, images, "s1", "s2", "a")


# ---- scratch ----


@pytest.fixture
def small_scratch(tmp_path):
    tools.require_root()
    place = tmp_path / "scratch"
    place.mkdir()
    tools.run(["mount", "-t", "tmpfs", "-o", "size=1536k", "scratch", place])
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_scratch_ends_a_filter_s_snapshot_and_not_the_guest(tmp_path, small_scratch):
    with machine(tmp_path) as (qemu, driver):
        qemu.write("a", 0, 4 << 20, 7)
        driver.create("s1", mechanism="fleece")
        driver.ack("s1")
        with refused(bed.NO_SPACE):
            driver.create("s2", scratch=small_scratch, **MECHANISMS["cbw"])
        tools.run(["mount", "-o", "remount,size=80m", small_scratch])
        driver.create("s2", scratch=small_scratch, **MECHANISMS["cbw"])
        tools.run(["mount", "-o", "remount,size=1m", small_scratch])
        qemu.write("a", 0, 4 << 20, 8)
        assert qemu.ask("query-status")["status"] == "running"
        with refused(bed.IO):
            driver.read("s2")
        with refused(bed.IO):
            driver.diff("s1", "s2")
        driver.ack("s2", failed=True)
        assert [p.name for p in driver.list()] == ["s1"]
        assert qemu.contents("a") == bytes([8]) * (4 << 20)
        driver.delete("s1")
        assert qemu.traces() == []


def test_a_full_scratch_of_fleecing_keeps_the_guest_from_writing_until_it_is_deleted(
        tmp_path, small_scratch):
    """A device stops its guest then, and tries again when that is continued."""
    with machine(tmp_path) as (qemu, driver):
        qemu.write("a", 0, 4 << 20, 7)
        with refused(bed.NO_SPACE):
            driver.create("s", mechanism="fleece", scratch=small_scratch)
        assert qemu.traces() == []
        tools.run(["mount", "-o", "remount,size=80m", small_scratch])
        driver.create("s", mechanism="fleece", scratch=small_scratch)
        tools.run(["mount", "-o", "remount,size=1m", small_scratch])
        qemu.write("a", 0, 4 << 20, 8)  # fails
        assert qemu.contents("a") != bytes([8]) * (4 << 20)
        assert driver.read("s") == bytes([7]) * (4 << 20)
        driver.delete("s")
        qemu.write("a", 0, 4 << 20, 8)
        assert qemu.contents("a") == bytes([8]) * (4 << 20)
        assert qemu.traces() == []


# ---- somebody else ----


def test_another_nbd_server_is_left_alone(tmp_path, keys):
    with machine(tmp_path) as (qemu, driver):
        other = str(qemu.folder / "other")
        qemu.ask("nbd-server-start", addr={"type": "unix", "data": {"path": other}})
        with refused(bed.BUSY, "NBD server"):
            driver.create("s", **keys)
        assert qemu.traces() == []
        assert os.path.exists(other)
        qemu.ask("nbd-server-stop")
        driver.create("s", **keys)


def test_a_monitor_that_somebody_else_has_is_busy(tmp_path):
    with machine(tmp_path) as (qemu, driver):
        with bed.peer_socket(qemu.socket):
            with refused(bed.BUSY):
                driver.list()
        driver.list()


def test_a_qemu_that_is_gone_may_come_back(tmp_path, keys):
    with machine(tmp_path) as (qemu, driver):
        records = driver.create("s", until="cut", **keys)
        qemu.kill()
        with refused(bed.NOT_FOUND):
            driver.recover(records)
        qemu.start()
        driver.recover(records)
        assert qemu.traces() == []


def test_a_job_of_somebody_else_is_waited_for(tmp_path, keys):
    with machine(tmp_path) as (qemu, driver):
        qemu.ask("blockdev-add", driver="null-co", size=4 << 20, **{"node-name": "target"})
        qemu.ask("blockdev-mirror", device="fmt-a", target="target", sync="none",
                 **{"job-id": "theirs"})
        with refused(bed.BUSY, "theirs"):
            driver.create("s", **keys)
        assert not [t for t in qemu.traces() if t != "theirs"]


def test_data_that_somebody_ended_is_not_acknowledged(tmp_path):
    with machine(tmp_path) as (qemu, driver):
        driver.create("s", mechanism="fleece")
        job = qemu.ask("query-jobs")[0]["id"]
        qemu.ask("job-cancel", id=job)
        while qemu.ask("query-jobs")[0]["status"] != "concluded":
            time.sleep(0.02)
        with refused(bed.FAILED, "lost"):
            driver.ack("s")
        driver.ack("s", failed=True)
        assert qemu.traces() == []


def test_a_disk_in_an_iothread_is_refused_where_readers_end_qemu(tmp_path, keys):
    with machine(tmp_path, Drive("a"), Drive("b", device="virtio-scsi"), more=[
            "-object", "iothread,id=t0"], scsi="iothread=t0") as (qemu, driver):
        version = qemu.monitor.version["major"]
        if version >= 9:
            driver.run("create", "s", "0" * 15 + "1", devices="b", **keys)
            return
        with refused(bed.UNSUPPORTED, "iothread"):
            driver.run("create", "s", "0" * 15 + "1", devices="b", **keys)
        driver.run("create", "s", "0" * 15 + "1", devices="a", **keys)


def test_what_an_unplugged_disk_has_left_can_be_deleted(tmp_path, keys):
    with machine(tmp_path, Drive("a", device="virtio-scsi"), Drive("b")) as (qemu, driver):
        driver.run("create", "s", "0" * 15 + "1", devices="a", **keys)
        qemu.ask("device_del", id="a")
        deadline = time.monotonic() + 30
        while any("a" == b.get("qdev") for b in qemu.ask("query-block")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (point,) = driver.list("a")
        assert point.kind == "checkpoint"
        driver.run("delete", point.name, devices="a")
        assert not [n for n in qemu.nodes() if n.startswith("ns-")]
        with refused(bed.NOT_FOUND):
            driver.list("a")


def test_a_disk_must_be_named_where_there_are_several(tmp_path):
    with machine(tmp_path, Drive("a"), Drive("b")) as (qemu, driver):
        with refused(bed.USAGE, "#a, #b"):
            driver.run("list", devices=",")
        with refused(bed.NOT_FOUND, "no such disk"):
            driver.list("c")


# ---- the order of a cut ----


def test_what_is_written_in_the_middle_of_a_cut_is_in_every_base(tmp_path):
    """Without a pause the guest writes between the commands of a filter's cut."""
    with machine(tmp_path) as (qemu, driver):
        images = {"s1": step(qemu, driver, "s1", 1, mechanism="fleece")}
        driver.ack("s1")
        between = ('qemu-io -d /machine/peripheral/a/virtio-backend '
                   f'"write -P 99 {30 * GRANULE} {GRANULE}"')
        for k in (2, 3):
            name = f"s{k}"
            driver.create(name, mechanism="cbw", quiesce="none",
                          between=between.replace("99", str(90 + k)))
            images[name] = {"a": driver.read(name)}
            check(driver, images, f"s{k - 1}", name, "a")
            driver.ack(name)
