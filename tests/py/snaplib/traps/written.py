# SPDX-License-Identifier: LGPL-2.1-or-later
"""Data written anew, in every way and at every moment; and what is written
beside the disk file."""

import os

from snaplib import files, tools
from snaplib.qcow2_history import KIB, MIB
from snaplib.trap_disk import BLOCK, BTRFS, LARGE_PAGE, WITH_LIVE, trap


@trap()
def nothing_at_all(disk):
    yield
    yield


@trap()
def a_few_bytes_written(disk):
    yield
    disk.write(MIB + 5000, b"a few bytes")
    disk.write(MIB + 12 * KIB - 1, b"on a border")
    yield


@trap()
def an_extent_replaced_by_one_of_its_size(disk):
    disk.noise(MIB, 4 * BLOCK)
    disk.sync()
    yield
    disk.noise(MIB, 4 * BLOCK)
    yield


@trap(more=16)
def written_again_with_the_same_bytes(disk):
    yield
    disk.again(MIB, 16 * BLOCK)
    yield


@trap()
def zeroes_written_as_data(disk):
    yield
    disk.write(MIB, bytes(16 * BLOCK))
    yield


@trap(more=16)
def zeroes_written_to_a_hole(disk):
    disk.punch(MIB, MIB)
    yield
    disk.write(MIB, bytes(16 * BLOCK))
    yield


@trap()
def not_yet_written_out(disk):
    """Delayed allocation: neither side is on the disk when it is cut."""
    disk.sync()
    disk.noise(0, 64 * KIB)
    yield
    disk.noise(32 * KIB, 64 * KIB)
    yield


@trap(on=WITH_LIVE)
def not_yet_written_out_and_compared_live(disk):
    yield
    yield
    disk.noise(32 * KIB, 64 * KIB)


@trap(more={"XFS": LARGE_PAGE}, size=8 * MIB)
def written_through_a_map(disk):
    """A page of XFS may be larger than a block, and is written as a whole."""
    files.write_mapped(disk.path, MIB, disk.data(BLOCK))
    yield
    files.write_mapped(disk.path, MIB + 100, b"a few bytes")
    files.write_mapped(disk.path, 0, disk.data(3 * BLOCK))
    yield


@trap()
def written_past_the_page_cache(disk):
    disk.noise(MIB, 8 * BLOCK)
    yield
    files.write_direct(disk.path, MIB + BLOCK, disk.data(2 * BLOCK))
    yield
    files.write_direct(disk.path, MIB + 2 * BLOCK, disk.data(2 * BLOCK))
    yield


@trap()
def written_right_after_the_cut(disk):
    """In what may be the transaction of the cut, or the one after it."""
    for i in range(4):
        yield
        disk.noise(i * 64 * KIB)
        if i == 2:
            disk.sync()
    yield


@trap()
def rewritten_in_place(disk):
    """Without copy-on-write only the first write after a cut goes elsewhere."""
    yield
    disk.noise(MIB, 4 * BLOCK)
    disk.sync()
    disk.noise(MIB, 4 * BLOCK)
    disk.sync()
    yield
    disk.noise(MIB, 2 * BLOCK)
    disk.sync()
    disk.noise(MIB + BLOCK, 2 * BLOCK)
    yield


@trap()
def blocks_freed_and_used_again(disk):
    """What a deleted snapshot had is given to other data."""
    yield
    disk.noise(MIB, 64 * BLOCK)
    disk.snapshot("gone")
    disk.noise(MIB, 64 * BLOCK)
    disk.delete("gone")
    del disk.truth["gone"]
    disk.sync()
    disk.noise(0, 64 * BLOCK)
    yield


@trap()
def another_file_changed(disk):
    yield
    disk.other.write_bytes(disk.data(MIB))
    for i in range(200):
        (disk.folder / f"new-{i}").write_bytes(b"x" * 100)
    yield


@trap(on=BTRFS)
def a_nested_subvolume_changed(disk):
    """It is not in the snapshot; a directory is."""
    tools.run(["btrfs", "subvolume", "create", disk.folder / "nested"])
    (disk.folder / "nested" / "disk.raw").write_bytes(b"x" * MIB)
    yield
    (disk.folder / "nested" / "disk.raw").write_bytes(b"y" * MIB)
    disk.noise(MIB)
    yield
    top = disk.snapshot_path("s2").parent
    assert os.listdir(top / "nested") == []


@trap(on=("XFS",))
def dirty_pages_that_a_map_does_not_show(disk):
    """Unless it is asked to write them first."""
    yield
    before = files.fiemap(disk.path, 0)
    disk.noise(MIB, 4 * BLOCK)
    assert files.fiemap(disk.path, 0) == before
    yield
    assert files.fiemap(disk.path) != before
