# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many extents: those that fill leaves of a tree, leaves that go without a
trace, and more than the kernel tells in one answer."""

from snaplib import btrfs_tree, files
from snaplib.qcow2_history import KIB, MIB
from snaplib.trap_disk import BLOCK, trap

# Inside of what is compared at once, if several threads do it.
AMID = 6 * MIB + 512 * KIB


@trap(size=4 * MIB)
def written_everywhere(disk):
    yield
    disk.shred(odd_first=True)
    yield


@trap(on=("btrfs", "hole items", "small leaves", "XFS"), size=4 * MIB)
def extents_split_and_merged_again(disk):
    yield
    for block in range(1, 200, 2):
        disk.noise(MIB + block * BLOCK)
    disk.sync()
    yield
    disk.noise(MIB, 200 * BLOCK)
    disk.sync()
    yield
    disk.noise(MIB + 100 * BLOCK, BLOCK)
    yield


@trap(on=("btrfs", "small leaves", "hole items", "XFS"), size=16 * MIB)
def holes_in_many_leaves(disk):
    disk.shred()
    yield
    for block in range(0, disk.size // BLOCK, 37):
        disk.punch(block * BLOCK, BLOCK)
    yield
    disk.punch(5 * MIB + BLOCK, 3 * MIB)
    disk.noise(12 * MIB)
    yield


@trap(on=("small leaves",), size=32 * MIB)
def a_hole_of_most_of_the_file(disk):
    disk.shred()
    yield
    disk.punch(BLOCK, 30 * MIB)
    yield


@trap(on=("btrfs", "small leaves"), size=12 * MIB)
def a_leaf_lost_without_a_trace(disk):
    """No leaf that was written since tells of it."""
    disk.shred()
    lost = btrfs_tree.leaf_around(disk, AMID)
    yield
    disk.punch(*lost)
    yield
    assert not btrfs_tree.tells_of(disk, "s1", "s2", *lost), "no longer a trap"


@trap(on=("btrfs", "small leaves"), size=12 * MIB)
def a_leaf_lost_and_as_much_gained(disk):
    """The numbers of allocated bytes are equal."""
    disk.shred()
    lost = btrfs_tree.leaf_around(disk, AMID)
    disk.punch(MIB, lost[1])
    disk.sync()
    yield
    disk.punch(*lost)
    disk.noise(MIB, lost[1])
    yield
    assert not btrfs_tree.tells_of(disk, "s1", "s2", *lost), "no longer a trap"


@trap(on=("btrfs", "small leaves"), size=12 * MIB)
def a_leaf_lost_and_as_much_preallocated(disk):
    """The numbers of allocated bytes are equal, and nothing else changed."""
    disk.shred()
    lost = btrfs_tree.leaf_around(disk, AMID)
    disk.sync()
    yield
    disk.punch(*lost)
    disk.preallocate(disk.size, lost[1])
    yield
    assert not btrfs_tree.tells_of(disk, "s1", "s2", *lost), "no longer a trap"


def crowd(disk, size):
    """Blocks that are shared with another file, in an order of their own."""
    with open(disk.other, "rb") as giver, open(disk.path, "r+b") as taker:
        for block in range(size // BLOCK):
            files.clone_range(taker.fileno(), block * BLOCK, giver.fileno(),
                              block * 7 % 256 * BLOCK, BLOCK)


def change_here_and_there(disk, size):
    for block in range(0, size // BLOCK, 97):
        disk.noise(block * BLOCK)
    disk.punch(size - 10 * BLOCK, BLOCK)


@trap(on=("XFS", "btrfs"), size=40 * MIB)
def more_extents_than_a_map_tells_at_once(disk):
    crowd(disk, disk.size)
    yield
    change_here_and_there(disk, disk.size)
    yield


@trap(on=("btrfs",), size=0)
def more_extents_than_one_search_finds(disk):
    """All of them in what a single thread looks at."""
    disk.resize(192 * MIB)
    crowd(disk, 6 * MIB)
    yield
    change_here_and_there(disk, 6 * MIB)
    yield
