# SPDX-License-Identifier: LGPL-2.1-or-later
"""Persistent dirty bitmaps are listed as checkpoints and are no base of a diff.

Each history here leaves a bitmap that QEMU takes for sound and that misses a
change: that is shown first, by what QEMU itself gives for it.
"""

import json
import pathlib
import subprocess

import pytest

from snaplib import nbd, tools
from snaplib.cli import answer, done, nbdsnap, refused

GRANULE = 65536
DISK = "disk.qcow2"


@pytest.fixture(autouse=True)
def image(tmp_path, monkeypatch):
    tools.require("qemu-img", "qemu-io", "qemu-nbd", "nbdinfo")
    monkeypatch.chdir(tmp_path)
    qemu_img("create", "-q", "-f", "qcow2", DISK, "1M")
    write(1, 0, "1M")


def qemu_img(*arguments):
    return tools.run(["qemu-img", *arguments])


def write(pattern, offset, length):
    tools.run(["qemu-io", "-f", "qcow2", "-c",
               f"write -q -P {pattern} {offset} {length}", DISK])


def bitmap(action, name="since"):
    qemu_img("bitmap", f"--{action}", "-f", "qcow2", DISK, name)


def resize(size, *options):
    qemu_img("resize", "-q", "-f", "qcow2", *options, DISK, size)


def content():
    qemu_img("convert", "-f", "qcow2", "-O", "raw", DISK, "content.raw")
    return pathlib.Path("content.raw").read_bytes()


def marked():
    """Granules that the bitmap holds, as qemu-nbd gives them."""
    extents = json.loads(tools.run(
        ["nbdinfo", "--json", "--map=qemu:dirty-bitmap:since", "--",
         "[", "qemu-nbd", "-r", "-f", "qcow2", "-B", "since", DISK, "]"]))
    return {granule for extent in extents if extent["type"] == 1
            for granule in range(extent["offset"] // GRANULE,
                                 (extent["offset"] + extent["length"]) // GRANULE)}


def differing(before, after):
    return {at // GRANULE for at in range(0, len(after), GRANULE)
            if before[at:at + GRANULE] != after[at:at + GRANULE]}


def disabled_for_a_while():
    bitmap("disable")
    write(2, 0, "64k")
    bitmap("enable")


def cleared():
    write(2, 0, "64k")
    bitmap("clear")


def made_anew():
    write(2, 0, "64k")
    bitmap("remove")
    bitmap("add")


def shrunk_and_grown():
    resize("512k", "--shrink")
    resize("1M")


def grown_into_allocated_clusters():
    """Unlike the above, nothing shows there that it only reads as zeroes."""
    resize("512k", "--shrink")
    resize("1M", "--preallocation=falloc")


def restored_from_a_copy():
    copy = pathlib.Path(DISK).read_bytes()
    write(2, 0, "64k")
    yield
    pathlib.Path(DISK).write_bytes(copy)


@pytest.mark.parametrize("history", [
    disabled_for_a_while, cleared, made_anew, shrunk_and_grown,
    grown_into_allocated_clusters, restored_from_a_copy])
def test_what_a_bitmap_misses_is_not_reported_clean(history):
    bitmap("add")
    before = content()
    for _ in history() or ():
        before = content()
    missed = differing(before, content()) - marked()
    assert missed, "QEMU marks this: the reason to refuse is gone"
    refused(nbdsnap("diff", "--json", f"{DISK}@since..live"), 5,
            f"{DISK}@since", "cleared, disabled or made anew")


def test_a_bitmap_is_no_base_whatever_it_is_compared_with():
    bitmap("add")
    qemu_img("snapshot", "-c", "mon", DISK)
    refused(nbdsnap("diff", f"{DISK}@since..mon"), 5, "no base")
    refused(nbdsnap("diff", f"{DISK}@mon..since"), 2, "has no data")


def test_a_bitmap_that_is_known_to_miss_writes_says_why():
    bitmap("add")
    bitmap("disable")
    refused(nbdsnap("diff", f"{DISK}@since..live"), 5, "is disabled")
    bitmap("enable")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -q 0 64k", "-c", "abort", DISK],
                   capture_output=True)
    refused(nbdsnap("diff", f"{DISK}@since..live"), 5, "not stored")


def forget_the_bitmaps():
    """As a program does that does not know them: the autoclear bit goes."""
    image = pathlib.Path(DISK)
    data = bytearray(image.read_bytes())
    assert data[95] == 1
    data[95] = 0
    image.write_bytes(data)


def test_bitmaps_that_nobody_vouches_for_are_not_there():
    bitmap("add")
    qemu_img("snapshot", "-c", "mon", DISK)
    forget_the_bitmaps()
    (volume,) = answer("list", DISK)["volumes"]
    assert volume["checkpoints"] == []
    refused(nbdsnap("diff", f"{DISK}@since..live"), 5, "no such snapshot")
    assert answer("diff", f"{DISK}@mon..live")["dirty_bytes"] == 0


def test_checkpoints_are_listed_apart_from_snapshots():
    bitmap("add")
    qemu_img("snapshot", "-c", "mon", DISK)
    (volume,) = answer("list", DISK)["volumes"]
    assert [point["name"] for point in volume["snapshots"]] == ["mon"]
    (checkpoint,) = volume["checkpoints"]
    assert checkpoint["name"] == "since" and checkpoint["id"] == "bitmap:since"
    assert checkpoint["time"] is None and not checkpoint["ours"]
    assert done("list", "-q", DISK) == f"qcow2:{DISK}@mon\n"
    assert "since (checkpoint)" in done("list", DISK)
    shown = answer("show", checkpoint["reference"])
    assert shown["kind"] == "checkpoint" and shown["size"] == 1 << 20
    assert "checkpoint" in done("show", checkpoint["reference"])
    assert answer("show", f"{DISK}@mon")["comparable"] == []


def test_a_bitmap_never_hides_a_snapshot_of_its_name():
    qemu_img("snapshot", "-c", "since", DISK)
    bitmap("add")
    assert done("list", "-q", DISK) == f"qcow2:{DISK}@since\n"
    assert answer("show", f"{DISK}@since")["kind"] == "snapshot"
    assert answer("show", f"{DISK}@newest")["kind"] == "snapshot"
    assert answer("show", f"{DISK}@bitmap:since")["kind"] == "checkpoint"
    assert answer("diff", f"{DISK}@since..live")["dirty_bytes"] == 0


def test_bitmaps_are_neither_deleted_nor_served():
    bitmap("add")
    refused(nbdsnap("show", f"{DISK}@newest"), 1, "has no snapshot")
    refused(nbdsnap("delete", f"{DISK}@since"), 2, "is no snapshot")
    refused(nbdsnap("serve", "--socket", "socket", f"{DISK}@since"), 2, "no data")
    done("create", "-n", "mon", DISK)
    done("create", "-n", "tue", DISK)
    with nbd.Server(DISK) as server:
        assert sorted(nbd.exports(server)) == ["mon", "mon..tue", "tue"]
