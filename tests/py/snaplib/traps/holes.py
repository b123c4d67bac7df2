# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ranges that read as zeroes: holes, and what is allocated but unwritten."""

from snaplib import tools
from snaplib.qcow2_history import KIB, MIB
from snaplib.trap_disk import BLOCK, trap

UNWRITTEN = 0x800  # FIEMAP's flag


@trap()
def a_punched_hole(disk):
    yield
    disk.punch(MIB, 64 * BLOCK)
    yield


@trap()
def a_hole_punched_off_the_borders_of_blocks(disk):
    yield
    disk.punch(MIB + 100, 3 * BLOCK)
    disk.punch(MIB // 2 + 100, 1000)
    yield


@trap()
def a_hole_punched_at_each_end(disk):
    yield
    disk.punch(0, 16 * BLOCK)
    disk.punch(disk.size - 16 * BLOCK, 16 * BLOCK)
    yield


@trap()
def a_hole_punched_where_one_was(disk):
    disk.punch(MIB, 64 * BLOCK)
    yield
    disk.punch(MIB - BLOCK, 66 * BLOCK)
    disk.punch(MIB + 8 * BLOCK, BLOCK)
    yield


@trap()
def a_hole_filled(disk):
    disk.punch(MIB, 64 * BLOCK)
    yield
    disk.noise(MIB + 8 * BLOCK, 8 * BLOCK)
    yield


@trap()
def all_of_it_punched(disk):
    yield
    disk.punch(0, disk.size)
    yield


@trap()
def preallocated_where_a_hole_was(disk):
    disk.punch(MIB, 64 * BLOCK)
    yield
    disk.preallocate(MIB, 64 * BLOCK)
    yield


@trap()
def preallocated_then_written(disk):
    disk.punch(0, MIB)
    disk.preallocate(0, MIB)
    disk.sync()
    yield
    disk.noise(256 * KIB, BLOCK)
    yield
    disk.noise(128 * KIB, 2 * BLOCK)
    yield
    assert disk.flags() & UNWRITTEN


@trap()
def preallocated_and_written_past_the_end(disk):
    disk.preallocate(disk.size, MIB)
    yield
    disk.noise(disk.size + 64 * KIB, BLOCK)
    yield
    disk.resize(disk.size + MIB)
    yield


@trap()
def data_made_unwritten(disk):
    yield
    disk.zero_range(MIB, 64 * BLOCK)
    yield
    disk.noise(MIB + 8 * BLOCK, 8 * BLOCK)
    yield


@trap(on=("XFS",))
def unwritten_extents(disk):
    """Written in part, in the middle and at both ends."""
    disk.punch(0, MIB)
    disk.preallocate(0, MIB)
    assert disk.flags() & UNWRITTEN
    yield
    for offset in (0, 512 * KIB, MIB - BLOCK):
        disk.noise(offset)
    yield
    assert disk.flags() & UNWRITTEN


@trap(on=("XFS",), size=0)
def more_allocated_than_was_written(disk):
    """As large at a time as was asked for."""
    tools.require("xfs_io")
    tools.run(["xfs_io", "-c", "extsize 256k", "-c", "cowextsize 256k", disk.path])
    disk.resize(2 * MIB)
    disk.noise(MIB)
    assert disk.flags() & UNWRITTEN
    yield
    disk.noise(MIB + 64 * KIB)
    disk.noise(64 * KIB)
    yield
    disk.noise(MIB)
    yield
