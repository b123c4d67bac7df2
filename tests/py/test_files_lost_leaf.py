# SPDX-License-Identifier: LGPL-2.1-or-later
"""A range of a btrfs file that goes with a whole leaf of the tree, so that no
leaf that was written since tells of it."""

import fcntl
import json
import re
import struct

import pytest

from snaplib import file_disk, mutants, tools

BLOCK = 4096
N_BLOCKS = 3000
EXTENT_DATA = 108
TREE_SEARCH_V2 = 0xc0709411
KEY = "=7Q4I4Q"
HEADER = "=3Q2I"
EVERYTHING = 2**64 - 1


def extents_since(path, inode, generation):
    """The offsets of the extents in leaves written since."""
    room = 1 << 20
    key = struct.pack(KEY, 0, inode, inode, 0, EVERYTHING, generation, EVERYTHING,
                      EXTENT_DATA, EXTENT_DATA, 2**32 - 1, 0, 0, 0, 0, 0)
    buffer = bytearray(key + struct.pack("=Q", room) + bytes(room))
    with open(path, "rb") as file:
        fcntl.ioctl(file, TREE_SEARCH_V2, buffer)
    at, offsets = len(key) + 8, []
    for _ in range(struct.unpack_from(KEY, buffer)[9]):
        _, _, offset, _, length = struct.unpack_from(HEADER, buffer, at)
        at += struct.calcsize(HEADER) + length
        offsets.append(offset)
    return offsets


def run_around(offset, offsets):
    """First and end of the run of blocks that one of them is in."""
    first = end = offset
    while first - BLOCK in offsets:
        first -= BLOCK
    while end in offsets:
        end += BLOCK
    return first, end


def generation_of(path):
    shown = tools.run(["btrfs", "subvolume", "show", path])
    return int(re.search(r"Gen at creation:\s+(\d+)", shown).group(1))


def snapshot_folder(disk, name):
    return next(path for path in (disk.folder / ".nbdsnap").iterdir()
                if path.is_dir() and path.name.startswith(f"{name}."))


@pytest.fixture(scope="module")
def disk():
    """Many extents; between "before" and "after" one leaf went, and nothing
    else was written."""
    tools.require_root()
    tools.require("btrfs", "mkfs.btrfs")
    disk = file_disk.on_btrfs("512M", size=N_BLOCKS * BLOCK)
    for odd in (0, 1):
        for block in range(odd, N_BLOCKS, 2):
            disk.write(block * BLOCK, bytes([1 + block % 255]) * BLOCK)
        tools.run(["sync", "--file-system", disk.path])
    disk.snapshot("first")
    disk.write(N_BLOCKS // 2 * BLOCK, b"z" * BLOCK)
    disk.snapshot("before")
    written = extents_since(snapshot_folder(disk, "before") / disk.path.name,
                            disk.path.stat().st_ino,
                            generation_of(snapshot_folder(disk, "first")) + 1)
    first, end = run_around(N_BLOCKS // 2 * BLOCK, set(written))
    disk.lost = (first, end - first)
    disk.punch(*disk.lost)
    disk.snapshot("after")
    yield disk
    disk.filesystem.unmount()


def diff(disk, program, a, b):
    return json.loads(tools.run([program, "--state-dir", disk.state, "-q", "diff", "--json",
                                 f"{disk.reference()}@{a}..{b}"]))


@pytest.mark.parametrize("a,b,zero", [("before", "after", True), ("after", "before", False)])
def test_a_leaf_that_went_without_a_trace_is_found(disk, a, b, zero):
    answer = diff(disk, tools.nbdsnap(), a, b)
    offset, length = disk.lost
    assert answer["extents"] == [{"offset": offset, "length": length, "zero": zero}]
    # Only then was it the case that this is about.
    assert answer["source"] == "btrfs-tree"


def test_a_diff_that_does_not_add_up_the_bytes_misses_it(disk, tmp_path):
    tools.require("gcc", "pkg-config")
    broken = mutants.build(tmp_path, "does-not-add-up-the-bytes",
                           "snapshot-core/format/btrfs-diff.c",
                           "return !self->saw_inline\n", "return TRUE || !self->saw_inline\n")
    assert diff(disk, broken, "before", "after")["dirty_bytes"] < disk.lost[1]
