# SPDX-License-Identifier: LGPL-2.1-or-later
"""Data that has no place, part of one, or another one than before."""

from snaplib import tools
from snaplib.qcow2_history import KIB, MIB
from snaplib.trap_disk import BLOCK, BTRFS, trap

ENCODED, INLINE = 8, 0x200  # FIEMAP's flags


@trap(on=BTRFS, size=0, more=1)
def inline_data(disk):
    """What lies in the tree has no place that could be compared."""
    disk.write(0, b"short" * 300)
    yield
    disk.write(7, b"S")
    yield
    disk.other.write_bytes(b"not this one")
    yield
    assert disk.setup.nodatacow or disk.flags("s1") & INLINE


@trap(on=BTRFS, size=0, more=1)
def inline_data_that_outgrows_the_tree(disk):
    disk.write(0, b"short" * 100)
    yield
    disk.noise(500, 3 * BLOCK)
    yield
    disk.resize(500)
    yield


@trap(on=("compressed",), size=0, more=1)
def inline_data_of_a_whole_block(disk):
    """Compressed, it fits."""
    disk.noise(0)
    yield
    disk.noise(0)
    yield
    assert disk.flags("s1") & INLINE


@trap(on=("compressed",))
def part_of_a_compressed_extent(disk):
    yield
    disk.noise(MIB + 4 * BLOCK, BLOCK)
    disk.punch(MIB + 8 * BLOCK, 4 * BLOCK)
    yield
    disk.noise(MIB + 5 * BLOCK, 3 * BLOCK)
    yield
    assert disk.flags("s1") & ENCODED


@trap(on=BTRFS)
def moved_by_a_balance(disk):
    """Other places, the same for all snapshots."""
    yield
    tools.run(["btrfs", "balance", "start", "--full-balance", disk.folder])
    yield


@trap(on=BTRFS)
def changed_before_and_after_a_balance(disk):
    yield
    disk.noise(MIB, 4 * BLOCK)
    tools.run(["btrfs", "balance", "start", "--full-balance", disk.folder])
    disk.punch(MIB // 2, 4 * BLOCK)
    yield
    disk.noise(MIB, 2 * BLOCK)
    yield


@trap(on=("btrfs", "small leaves"), more=2 * MIB // BLOCK)
def defragmented(disk):
    """All of it may be at another place."""
    disk.shred()
    yield
    tools.run(["btrfs", "filesystem", "defragment", "-f", disk.path])
    yield


@trap(on=("btrfs",))
def compressed_where_it_was_plain(disk):
    disk.noise(MIB, 128 * KIB)
    yield
    tools.run(["btrfs", "property", "set", disk.path, "compression", "zstd"])
    disk.noise(MIB, 128 * KIB)
    yield
    assert disk.flags("s2") & ENCODED and not disk.flags("s1") & ENCODED
