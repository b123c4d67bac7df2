# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the LVM driver builds on, shown on real LVM: if one of these fails, the
ground has moved and the driver's own tests mean nothing."""

import errno
import json
import os
import struct
import subprocess

import pytest

from snaplib import devmapper, lvm, nbd, tools
from snaplib.lvm_sets import Stamper, stamp, torn

MIB = 1 << 20
SIZE = 8 * MIB
CHUNK = 64 << 10
SUPERBLOCK_MAGIC = 27022010
COW_MAGIC = 0x70416E53


@pytest.fixture
def group(tmp_path):
    with lvm.Group(tmp_path, size=256 * MIB) as made:
        yield made


@pytest.fixture
def pool(group):
    return group.pool(size=64 * MIB, chunk=CHUNK)


def refusal(pool, message):
    """The errno with which the kernel refuses it."""
    with pytest.raises(OSError) as refused:
        pool.message(message)
    return refused.value.errno


# ---- the helpers themselves ----

def test_a_group_leaves_nothing_behind(tmp_path):
    """Not even when a volume in it was left suspended."""
    with lvm.Group(tmp_path, name="left-over") as group:
        volume = group.pool(size=32 * MIB).volume("thin-1", SIZE)
        volume.suspend()
        assert devmapper.suspended(volume.dm)
    assert group.devices() == []
    assert "left-over" not in lvm.command("vgs")
    assert str(tmp_path) not in lvm.command("losetup", "--list")


if os.environ["NBDSNAP_LVM_BED"] != "native":
    def test_the_host_cannot_be_written_to():
        for folder in (tools.TOP, tools.BUILD, "/etc", "/usr"):
            with pytest.raises(OSError) as refused:
                open(os.path.join(folder, "written-by-a-test"), "w")
            assert refused.value.errno == errno.EROFS


# ---- thin ----

def test_a_thin_snapshot_keeps_the_bytes_of_its_cut(pool):
    volume = pool.volume("data", SIZE)
    volume.fill(0, 3 * CHUNK, 1)
    snapshot = volume.snapshot("cut", "-pr", "--addtag", "nbdsnap.set=a-b.c")
    volume.fill(CHUNK, 4096, 2)
    volume.discard(2 * CHUNK, CHUNK)
    snapshot.activate()
    assert snapshot.content() == snapshot.model
    assert volume.content() == volume.model != snapshot.model
    assert snapshot.row()["lv_tags"] == "nbdsnap.set=a-b.c"
    assert snapshot.row()["lv_permissions"] == "read-only"
    with pytest.raises(OSError):
        lvm.write_direct(snapshot.path, 0, bytes(4096))


def superblock(block):
    magic, = struct.unpack_from("<Q", block, 32)
    location, = struct.unpack_from("<Q", block, 8)
    held, = struct.unpack_from("<Q", block, 56)
    roots = struct.unpack_from("<QQ", block, 320)
    return magic, location, held, roots


def test_a_metadata_snapshot_is_seen_on_the_disk_and_held_once(pool):
    volume = pool.volume("data", SIZE)
    for round in range(3):
        volume.fill(round * CHUNK, CHUNK, round + 1)
        assert pool.status().held_root == 0
        held = pool.reserve()
        live = superblock(lvm.read_direct(pool.tmeta, 0, 4096))
        kept = superblock(lvm.read_direct(pool.tmeta, held * 4096, 4096))
        assert live == (SUPERBLOCK_MAGIC, 0, held, kept[3])
        assert kept[:3] == (SUPERBLOCK_MAGIC, held, 0)
        assert refusal(pool, "reserve_metadata_snap") == errno.EBUSY
        pool.release()
        assert refusal(pool, "release_metadata_snap") == errno.EINVAL


def test_thin_delta_sees_what_was_written_and_what_was_discarded(pool):
    volume = pool.volume("data", SIZE)
    volume.fill(0, 8 * CHUNK, 1)
    first = volume.snapshot("first", "-pr").row()["thin_id"]
    volume.fill(2 * CHUNK, 4096, 2)
    volume.discard(4 * CHUNK, CHUNK)
    volume.fill(20 * CHUNK, 4096, 3)
    second = volume.snapshot("second", "-pr").row()["thin_id"]
    pool.reserve()
    try:
        assert [found for found in pool.thin_delta(first, second)
                if found[0] != "same"] == [
            ("different", 2, 1), ("left_only", 4, 1), ("right_only", 20, 1)]
    finally:
        pool.release()


def test_an_external_origin_shows_where_nothing_is_mapped(group, pool):
    base = group.volume("base", SIZE)
    base.fill(0, MIB, 5)
    volume = pool.over(base, "above")
    volume.fill(CHUNK, 4096, 6)
    assert volume.content() == volume.model
    volume.discard(CHUNK, CHUNK)
    assert volume.read(CHUNK, 512) == bytes([5]) * 512


# ---- sets over several volumes ----

class Set:
    """Placeholders that LVM made and knows, cut again in place."""

    def __init__(self, *members):
        self.members = members  # (pool, volume) each
        self.kept = [volume.snapshot(f"{volume.name}-kept", "-pr", "--addtag", "ours")
                     for _, volume in members]
        rows = members[0][1].group.lvs()
        self.ids = [(rows[kept.name]["thin_id"], rows[volume.name]["thin_id"])
                    for (_, volume), kept in zip(members, self.kept)]

    def cut(self, suspend=True):
        volumes = [volume for _, volume in self.members] if suspend else []
        try:
            for volume in volumes:
                volume.suspend()
            for (pool, _), (kept, origin) in zip(self.members, self.ids):
                pool.message(f"delete {kept}")
                pool.message(f"create_snap {kept} {origin}")
        finally:
            for volume in volumes:
                volume.resume()

    def read(self, take):
        """take(path) of each, activated for that only."""
        names = [kept.reference for kept in self.kept]
        lvm.command("lvchange", "-q", "-q", "-ay", "-K", *names)
        try:
            return [take(kept.path) for kept in self.kept]
        finally:
            lvm.command("lvchange", "-q", "-q", "-an", *names)


def test_placeholders_of_two_pools_are_cut_again_in_place(group, pool):
    other = group.pool("pool-2", size=64 * MIB, chunk=256 << 10)
    first, second = pool.volume("first", SIZE), other.volume("second-1", SIZE)
    first.fill(0, CHUNK, 1)
    placed = Set((pool, first), (other, second))
    before = [p.status().transaction_id for p in (pool, other)]
    rows = [group.lvs()[kept.name] for kept in placed.kept]
    first.fill(0, CHUNK, 2)
    second.fill(CHUNK, CHUNK, 3)
    placed.cut()
    truth = [bytes(first.model), bytes(second.model)]
    first.fill(0, CHUNK, 4)
    second.fill(CHUNK, CHUNK, 5)
    assert placed.read(lvm.content) == truth
    assert [p.status().transaction_id for p in (pool, other)] == before
    assert [group.lvs()[kept.name] for kept in placed.kept] == rows
    first.snapshot("later", "-pr")
    second.snapshot("later-2", "-pr")


def test_a_set_is_torn_without_the_suspend_and_never_with_it(pool):
    volumes = [pool.volume("first", SIZE), pool.volume("second", SIZE)]
    placed = Set(*((pool, volume) for volume in volumes))
    with Stamper(volumes):
        whole = []
        for _ in range(8):
            placed.cut()
            whole.append(placed.read(stamp))
        broken = []
        while not broken or not torn(broken[-1]):
            placed.cut(suspend=False)
            broken.append(placed.read(stamp))
            assert len(broken) < 20, broken
    assert not any(map(torn, whole)), whole
    assert whole == sorted(whole) and whole[0] != whole[-1], whole
    print(f"TABLE sets cut again in place: {len(whole)} whole of {len(whole)}; "
          f"without the suspend {len(broken)} until one was torn")


def test_what_a_crash_between_the_two_messages_leaves_can_be_removed(pool):
    volume = pool.volume("data", SIZE)
    kept = volume.snapshot("kept", "-pr")
    pool.message(f"delete {kept.row()['thin_id']}")
    activated = lvm.attempt("lvchange", "-ay", "-K", kept.reference)
    assert activated.returncode != 0 and "No data available" in activated.stderr
    kept.remove()
    volume.snapshot("next", "-pr")


def test_others_work_on_the_pool_while_a_volume_is_suspended(group, pool):
    volume, other = pool.volume("data", SIZE), pool.volume("other", SIZE)
    placeholder = volume.snapshot("kept", "-pr")
    volume.suspend()
    try:
        other.snapshot("theirs", "-pr")
        assert group.lvs()["data"]["lv_attr"][4] == "s"
        placeholder.activate()
        assert refusal(pool, f"delete {placeholder.row()['thin_id']}") == errno.EBUSY
    finally:
        volume.resume()
    other.snapshot("theirs-2", "-pr")


# ---- classic ----

def exceptions(snapshot, chunk):
    """The old chunks in the first area of a snapshot's exception store."""
    store = f"/dev/mapper/{lvm.dm_name(snapshot.group.name, snapshot.name, 'cow')}"
    header = lvm.read_direct(store, 0, 4096)
    magic, valid, version, sectors = struct.unpack_from("<IIII", header)
    assert (magic, valid, version, sectors * 512) == (COW_MAGIC, 1, 1, chunk)
    entries = struct.iter_unpack("<QQ", lvm.read_direct(store, chunk, chunk))
    return [old for old, new in entries if new != 0]


def count(snapshot):
    used, _total = devmapper.status(snapshot.dm)[3].split("/")
    metadata, sectors = devmapper.status(snapshot.dm)[4], devmapper.table(snapshot.dm)[6]
    return (int(used) - int(metadata)) // int(sectors)


def test_a_classic_snapshot_lists_the_chunks_written_since(group):
    chunk = 8192
    origin = group.volume("or-ig", SIZE)
    older = origin.snapshot("older", "-pr", "-L", "4M", "-c", "8k")
    for number in (10, 11, 12):
        origin.fill(number * chunk, 4096, number)
    newer = origin.snapshot("newer", "-pr", "-L", "4M", "-c", "8k")
    watermark = count(older)
    for number in (10, 100):
        origin.fill(number * chunk, 4096, number + 1)
    assert (exceptions(older, chunk), watermark) == ([10, 11, 12, 100], 3)
    assert exceptions(newer, chunk) == [10, 100]
    for snapshot in (older, newer):
        assert snapshot.content() == snapshot.model


def test_an_overflowed_classic_snapshot_reads_as_an_error(group):
    origin = group.volume("origin", SIZE)
    snapshot = origin.snapshot("small", "-pr", "-L", "4M", "-c", "4k")
    origin.fill(0, SIZE, 1)
    assert devmapper.status(snapshot.dm)[3] == "Invalid"
    assert snapshot.row()["lv_snapshot_invalid"] == "snapshot invalid"
    with pytest.raises(OSError) as refused:
        snapshot.read(0, 4096)
    assert refused.value.errno == errno.EIO


# ---- our own programs ----

def test_the_built_plugin_serves_here(tmp_path):
    tools.require("qemu-img", "qemu-io", "nbdkit", "nbdcopy", "nbdinfo")
    image = tmp_path / "disk.qcow2"
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", image, SIZE])
    tools.run(["qemu-io", "-f", "qcow2", "-c", f"write -q -P 7 0 {CHUNK}", image])
    tools.run(["qemu-img", "snapshot", "-c", "a", image])
    with nbd.Server(f"volume={image}@a") as server:
        data = nbd.full_copy(server.uri(), tmp_path)
        assert data == bytes([7]) * CHUNK + bytes(SIZE - CHUNK)
        seen = json.loads(tools.run(["qemu-img", "map", "--output=json", server.uri()]))
        assert [entry["zero"] for entry in seen] == [False, True]


def test_the_contract_suite_runs_here():
    program = tools.BUILD / "tests" / "unit" / "test-contract-memory"
    if not program.exists():
        tools.missing(f"{program} is not built")
    result = subprocess.run([str(program), "--tap"], capture_output=True, text=True,
                            timeout=300)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
