# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file that becomes shorter or longer, at its end or inside."""

from snaplib import files
from snaplib.qcow2_history import MIB
from snaplib.trap_disk import BLOCK, trap


@trap()
def cut_and_grown_again(disk):
    yield
    disk.resize(MIB)
    disk.resize(disk.size)
    yield


@trap()
def cut_inside_a_block_and_grown_again(disk):
    yield
    disk.resize(MIB + 1234)
    disk.resize(disk.size)
    yield


@trap()
def shrunk(disk):
    yield
    disk.noise(BLOCK)
    disk.resize(MIB)
    yield


@trap()
def grown_by_a_hole(disk):
    yield
    disk.resize(disk.size + MIB)
    yield


@trap()
def grown_by_data_behind_a_hole(disk):
    yield
    disk.noise(disk.size + MIB, BLOCK)
    yield


@trap(more=1)
def grown_from_an_odd_size(disk):
    """The block that the older end cuts is not told apart."""
    disk.resize(MIB + 1234)
    yield
    disk.resize(MIB + 1235)
    yield
    disk.resize(2 * MIB)
    yield


@trap()
def as_much_written_as_was_cut_off(disk):
    """The numbers of allocated bytes are equal."""
    disk.punch(0, MIB)
    yield
    disk.resize(MIB)
    disk.noise(0, MIB)
    yield


@trap(on=("XFS",))
def a_range_inserted_and_one_collapsed(disk):
    """Every block behind it is another one."""
    yield
    disk.fallocate(files.INSERT_RANGE, MIB, 16 * BLOCK)
    yield
    disk.fallocate(files.COLLAPSE_RANGE, MIB // 2, 8 * BLOCK)
    yield
