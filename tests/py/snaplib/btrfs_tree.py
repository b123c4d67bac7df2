# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which extents of a file lie together in one leaf of its btrfs tree."""

import fcntl
import re
import struct

from snaplib import tools

BLOCK = 4096
EXTENT_DATA = 108
TREE_SEARCH_V2 = 0xC0709411
KEY = "=7Q4I4Q"
HEADER = "=3Q2I"
EVERYTHING = 2**64 - 1


def extents_since(path, generation):
    """Where the extents begin that are in leaves written since."""
    room = 1 << 20
    with open(path, "rb") as file:
        inode = path.stat().st_ino
        key = struct.pack(KEY, 0, inode, inode, 0, EVERYTHING, generation, EVERYTHING,
                          EXTENT_DATA, EXTENT_DATA, 2**32 - 1, 0, 0, 0, 0, 0)
        buffer = bytearray(key + struct.pack("=Q", room) + bytes(room))
        fcntl.ioctl(file, TREE_SEARCH_V2, buffer)
    at, offsets = len(key) + 8, set()
    for _ in range(struct.unpack_from(KEY, buffer)[9]):
        _, _, offset, _, length = struct.unpack_from(HEADER, buffer, at)
        at += struct.calcsize(HEADER) + length
        offsets.add(offset)
    return offsets


def generation(folder):
    shown = tools.run(["btrfs", "subvolume", "show", folder])
    return int(re.search(r"^\s*Generation:\s+(\d+)", shown, re.MULTILINE)[1])


def leaf_around(disk, offset):
    """The range of blocks, each an extent, whose items are in the leaf that
    this one is in; the block is written."""
    disk.sync()
    before = generation(disk.folder)
    disk.noise(offset)
    disk.sync()
    offsets = extents_since(disk.path, before + 1)
    first = end = offset
    while first - BLOCK in offsets:
        first -= BLOCK
    while end in offsets:
        end += BLOCK
    assert end - first > 8 * BLOCK, "each block is to be an extent"
    return first, end - first


def tells_of(disk, older, newer, offset, length):
    """Whether what lies beside a range is in a leaf written in between."""
    since = generation(disk.snapshot_path(older).parent) + 1
    offsets = extents_since(disk.snapshot_path(newer), since)
    return offset - BLOCK in offsets or offset + length in offsets
