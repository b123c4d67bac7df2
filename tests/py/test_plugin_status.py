# SPDX-License-Identifier: LGPL-2.1-or-later
"""Block status: what clients see as data, holes, zeroes and changes."""

import errno
import json
import struct

import nbd as libnbd
import pytest

from snaplib import nbd, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd import DATA, HOLE, ZERO

MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdkit", "nbdinfo", "nbdcopy", "qemu-img", "qemu-io")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    disk = Disk(tmp_path_factory.mktemp("status") / "vm.qcow2", 2 * MIB)
    disk.write(0, 8 * CLUSTER, 1)
    disk.snapshot("a")
    disk.write(CLUSTER, 512, 2)
    disk.zero(3 * CLUSTER, CLUSTER)
    disk.write(20 * CLUSTER, 2 * CLUSTER, 3)
    disk.snapshot("b")
    return disk


@pytest.fixture(scope="module")
def server(disk):
    with nbd.Server(disk.path) as server:
        yield server


ALLOCATION = [
    (0, 3 * CLUSTER, DATA), (3 * CLUSTER, CLUSTER, HOLE | ZERO),
    (4 * CLUSTER, 4 * CLUSTER, DATA), (8 * CLUSTER, 12 * CLUSTER, HOLE | ZERO),
    (20 * CLUSTER, 2 * CLUSTER, DATA), (22 * CLUSTER, 10 * CLUSTER, HOLE | ZERO)]
CHANGES = [
    (0, CLUSTER, HOLE), (CLUSTER, CLUSTER, DATA), (2 * CLUSTER, CLUSTER, HOLE),
    (3 * CLUSTER, CLUSTER, ZERO), (4 * CLUSTER, 16 * CLUSTER, HOLE),
    (20 * CLUSTER, 2 * CLUSTER, DATA), (22 * CLUSTER, 10 * CLUSTER, HOLE)]


def test_a_snapshot_shows_its_allocation(server):
    assert nbd.block_map(server.uri("b")) == ALLOCATION


def test_a_range_shows_clean_dirty_and_zeroed(server):
    assert nbd.block_map(server.uri("a..b")) == CHANGES


def test_totals_add_up(server):
    totals = json.loads(nbd.client("nbdinfo", "--map", "--totals", "--json",
                                   server.uri("a..b")))
    assert {e["type"]: e["size"] for e in totals} == {
        DATA: 3 * CLUSTER, HOLE: 28 * CLUSTER, ZERO: CLUSTER}


def test_qemu_img_map_lists_the_dirty_ranges(server):
    entries = json.loads(nbd.client("qemu-img", "map", "--output=json", "-f", "raw",
                                    server.uri("a..b")))
    dirty = [(e["start"], e["length"]) for e in entries if e["data"] or e["zero"]]
    assert dirty == [(at, length) for at, length, kind in CHANGES if kind != HOLE]
    # No clean range may look like zeroes.
    assert not any(e["zero"] for e in entries if not e["present"])
    listed = nbd.client("qemu-img", "map", "-f", "raw", server.uri("a..b"))
    assert "0x10000" in listed.split() and "0x140000" in listed.split()


def test_qemu_img_map_lists_the_allocation(server):
    entries = json.loads(nbd.client("qemu-img", "map", "--output=json", "-f", "raw",
                                    server.uri("b")))
    assert [(e["start"], e["length"]) for e in entries if e["data"]] \
        == [(at, length) for at, length, kind in ALLOCATION if kind == DATA]


def test_the_command_line_says_the_same(server, disk, tmp_path):
    shown = json.loads(nbd.client(
        tools.nbdsnap(), f"--state-dir={tmp_path}", "diff", "--json",
        f"{disk.path}@a..b"))
    assert [(e["offset"], e["length"], ZERO if e["zero"] else DATA)
            for e in shown["extents"]] == [e for e in CHANGES if e[2] != HOLE]


@pytest.mark.parametrize("export", ["b", "a..b"])
def test_every_change_is_reported_for_any_request(server, disk, export):
    """Requests of any offset and length agree with the whole map and never
    leave what was asked for."""
    whole = {"b": ALLOCATION, "a..b": CHANGES}[export]
    size = len(disk.truth["b"])

    def truth(at):
        return next(kind for start, length, kind in whole
                    if start <= at < start + length)

    with server.connect(export) as handle:
        for offset in range(0, size, 512 * 77):
            for length in (512, CLUSTER - 512, CLUSTER, 5 * CLUSTER + 512, size):
                length = min(length, size - offset)
                at = offset
                for start, extent, kind in nbd.block_status(handle, length, offset):
                    assert start == at and kind == truth(at)
                    assert kind == truth(at + extent - 1)
                    at += extent
                assert at == offset + length


@pytest.mark.parametrize("export", ["b", "a..b"])
def test_one_extent_is_one_and_as_long_as_can_be(server, disk, export):
    whole = {"b": ALLOCATION, "a..b": CHANGES}[export]
    with server.connect(export) as handle:
        for start, length, kind in whole:
            for skip in (0, 512, length - 512):
                offset = start + skip
                found = nbd.block_status(handle, len(disk.truth["b"]) - offset, offset,
                                         libnbd.CMD_FLAG_REQ_ONE)
                assert found == [(offset, length - skip, kind)]
            # Not longer than the request.
            assert nbd.block_status(handle, 512, start, libnbd.CMD_FLAG_REQ_ONE) \
                == [(start, 512, kind)]


@pytest.mark.parametrize("export", ["b", "a..b"])
def test_requests_inside_a_block_are_answered(server, export):
    with server.connect(export) as handle:
        edge = CLUSTER if export == "a..b" else 8 * CLUSTER
        before, after = nbd.block_status(handle, 20, edge - 10)
        assert before[:2] == (edge - 10, 10) and after[:2] == (edge, 10)
        assert before[2] != after[2]


def test_more_than_four_gib_in_one_extent_is_cut_to_the_request(tmp_path):
    """An extent longer than the request would abort nbdkit."""
    path = tmp_path / "huge.qcow2"
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "20G"])
    tools.run(["qemu-img", "snapshot", "-c", "a", path])
    tools.run(["qemu-io", "-f", "qcow2", "-c", "write -q 19G 64k", path])
    tools.run(["qemu-img", "snapshot", "-c", "b", path])
    with nbd.Server(path) as server:
        for export, kind in (("a", HOLE | ZERO), ("b", HOLE | ZERO), ("a..b", HOLE),
                             ("empty..b", ZERO)):
            with server.connect(export) as handle:
                for flags in (0, libnbd.CMD_FLAG_REQ_ONE):
                    found = nbd.block_status(handle, 0xffffffff, 0, flags)
                    assert found == [(0, 0xffffffff, kind)]
                end = nbd.block_status(handle, GIB, 19 * GIB)
                assert sum(length for _, length, _ in end) == GIB
            assert server.process.poll() is None
        assert nbd.block_map(server.uri("a..b"))[1] == (19 * GIB, CLUSTER, DATA)


# ---- sizes that are no multiple of 512 ----

def set_disk_sizes(path, sizes):
    """Give the snapshots of an image other sizes; the last is the disk's too."""
    with open(path, "r+b") as file:
        header = file.read(72)
        count, offset = struct.unpack(">IQ", header[60:72])
        assert count == len(sizes)
        for size in sizes:
            file.seek(offset)
            entry = file.read(40)
            id_length, name_length = struct.unpack(">HH", entry[12:16])
            extra = struct.unpack(">I", entry[36:40])[0]
            assert extra >= 16
            file.seek(offset + 48)
            file.write(struct.pack(">Q", size))
            offset += (40 + extra + id_length + name_length + 7) // 8 * 8
        file.seek(24)
        file.write(struct.pack(">Q", sizes[-1]))


def padded(size):
    return (size + 511) // 512 * 512


@pytest.fixture
def odd(tmp_path):
    """Sizes a > b in one block, then c in another; the disk is full of data."""
    def make(*sizes):
        disk = Disk(tmp_path / "odd.qcow2", MIB)
        disk.write(0, MIB, 9)
        for name in "abc"[:len(sizes)]:
            disk.snapshot(name)
        set_disk_sizes(disk.path, sizes)
        return disk
    return make


def test_an_odd_size_is_padded_with_zeroes(odd, tmp_path):
    size = 1000100
    disk = odd(size)
    with nbd.Server(disk.path) as server:
        copy = nbd.full_copy(server.uri("a"), tmp_path)
        assert copy == b"\x09" * size + bytes(padded(size) - size)
        with server.connect("a") as handle:
            # A read and a block that have both data and padding in them.
            assert handle.pread(512, padded(size) - 512) == copy[-512:]
            assert handle.pread(3, size - 1) == b"\x09\x00\x00"
        assert nbd.block_map(server.uri("a")) == [(0, padded(size), DATA)]


def test_padding_where_the_base_had_data_is_copied(odd, tmp_path):
    """b ends in the middle of a block in which a has more data: a client that
    took that block as clean would keep a's bytes."""
    disk = odd(1000100, 1000000)
    with nbd.Server(disk.path) as server:
        assert padded(1000000) == padded(1000100)
        assert nbd.block_map(server.uri("a..b")) == [
            (0, padded(1000000) - 512, HOLE), (padded(1000000) - 512, 512, DATA)]
        prev, top = tmp_path / "prev.qcow2", tmp_path / "inc.qcow2"
        tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2",
                   server.uri("a"), prev])
        tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-B", prev,
                   "-F", "qcow2", server.uri("a..b"), top])
        full = nbd.full_copy(server.uri("b"), tmp_path)
    tools.run(["qemu-img", "convert", "-O", "raw", top, tmp_path / "inc.raw"])
    assert (tmp_path / "inc.raw").read_bytes() == full
    assert full[999990:1000010] == b"\x09" * 10 + bytes(10)


def test_what_an_odd_size_grew_by_is_dirty(odd):
    disk = odd(500100, 1000000)
    with nbd.Server(disk.path) as server:
        found = nbd.block_map(server.uri("a..b"))
    assert found[0][2] == HOLE and found[0][1] <= 500100
    assert all(kind != HOLE for _, _, kind in found[1:])
    assert found[-1][0] + found[-1][1] == padded(1000000)


# ---- a diff that cannot be made ----

@pytest.fixture
def broken(tmp_path):
    """The first snapshot's L2 table lies past the end of the file."""
    disk = Disk(tmp_path / "broken.qcow2", MIB)
    disk.write(0, CLUSTER, 1)
    disk.snapshot("a")
    disk.write(0, CLUSTER, 2)
    disk.snapshot("b")
    with open(disk.path, "r+b") as file:
        table, = struct.unpack(">Q", file.read(72)[64:72])
        file.seek(table)
        l1, = struct.unpack(">Q", file.read(8))
        file.seek(l1)
        file.write(struct.pack(">Q", 1 << 40))
    return disk


def test_a_failed_diff_fails_the_request_and_is_never_empty(broken, tmp_path):
    with nbd.Server(broken.path) as server:
        with server.connect("a..b") as handle:
            for _ in range(2):
                with pytest.raises(libnbd.Error) as caught:
                    nbd.block_status(handle, MIB, 0)
                assert caught.value.errnum == errno.EIO
            # The data is there all the same.
            assert handle.pread(MIB, 0) == broken.truth["b"]
        assert f"error: {broken.path}" in server.messages()
        made = nbd.client("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-B",
                          broken.path, "-F", "qcow2", server.uri("a..b"),
                          tmp_path / "inc.qcow2", check=False)
        assert made.returncode != 0
