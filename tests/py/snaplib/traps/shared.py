# SPDX-License-Identifier: LGPL-2.1-or-later
"""Blocks that are older than the older snapshot, and still news to the file."""

from snaplib import files
from snaplib.qcow2_history import KIB, MIB
from snaplib.trap_disk import BLOCK, trap

ENCODED, SHARED = 8, 0x2000  # FIEMAP's flags
REFLINK = ("btrfs", "compressed", "nodatacow", "XFS")  # on which this is done


@trap()
def old_blocks_of_another_file_shared_into_this_one(disk):
    """They are older than the older snapshot."""
    disk.sync()
    yield
    disk.clone(MIB, disk.other, 256 * KIB, 16 * BLOCK)
    yield
    assert disk.flags("s2") & SHARED


@trap(on=REFLINK)
def blocks_shared_from_elsewhere_in_the_file(disk):
    yield
    disk.clone(MIB, disk.path, 0, 16 * BLOCK)
    yield
    disk.clone(0, disk.path, 8 * BLOCK, 4 * BLOCK)
    yield


@trap(on=REFLINK)
def a_hole_shared_into_the_file(disk):
    with open(disk.other, "r+b") as other:
        files.fallocate(other.fileno(), files.PUNCH_HOLE | files.KEEP_SIZE, 0, MIB // 2)
    yield
    disk.clone(MIB, disk.other, 0, 64 * BLOCK)
    yield


@trap(on=REFLINK)
def written_and_shared_back_from_the_snapshot(disk):
    """The same place again: nothing has changed."""
    yield
    disk.noise(MIB, 16 * BLOCK)
    disk.sync()
    disk.clone(MIB, disk.snapshot_path("s1"), MIB, 16 * BLOCK)
    yield


@trap(on=REFLINK)
def another_part_of_one_extent(disk):
    """Where it is compressed both parts have one place on the disk."""
    disk.other.write_bytes(disk.data(MIB))
    disk.sync()
    disk.clone(MIB, disk.other, 0, 8 * BLOCK)
    yield
    disk.clone(MIB, disk.other, 4 * BLOCK, 8 * BLOCK)
    yield
    if disk.setup.name == "compressed":
        assert disk.flags("s1") & ENCODED


@trap(on=REFLINK)
def one_extent_at_another_offset(disk):
    """It begins at one place on the disk, but elsewhere in the file."""
    disk.other.write_bytes(disk.data(MIB))
    disk.sync()
    disk.clone(MIB, disk.other, 0, 8 * BLOCK)
    yield
    disk.clone(MIB + 4 * BLOCK, disk.other, 0, 8 * BLOCK)
    yield


@trap(more=16, on=REFLINK)
def deduplicated(disk):
    """One of two equal ranges is at another place afterwards."""
    disk.noise(MIB, 16 * BLOCK)
    disk.write(0, disk.content()[MIB:MIB + 16 * BLOCK])
    disk.sync()
    yield
    with open(disk.path, "r+b") as file:
        assert files.dedupe(file.fileno(), MIB, 16 * BLOCK, file.fileno(), 0)
    yield
