# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes that the metadata of btrfs or XFS may hide, one function each; see
trap_disk for how they are read.

"more" is how many blocks are reported that did not change: 0 unless the
storage cannot know better.
"""

import os

from snaplib import files, tools
from snaplib.qcow2_history import KIB, MIB
from snaplib.trap_disk import ANY_NUMBER, BLOCK, BTRFS, EVERYWHERE, trap

ENCODED, INLINE, UNWRITTEN, SHARED, DELALLOC = 8, 0x200, 0x800, 0x2000, 4
REFLINK = ("btrfs", "compressed", "nodatacow", "XFS")


# ---- writing ----

@trap(on=EVERYWHERE)
def nothing_at_all(disk):
    yield
    yield


@trap()
def a_few_bytes_written(disk):
    yield
    disk.write(MIB + 5000, b"a few bytes")
    disk.write(MIB + 12 * KIB - 1, b"on a border")
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


@trap(more=ANY_NUMBER)
def written_through_a_map(disk):
    """A page may be larger than a block."""
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
    for i in range(6):
        yield
        disk.noise(i * 64 * KIB)
        if i % 2:
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


# ---- holes ----

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


@trap(on=("small leaves",), size=64 * MIB)
def a_hole_of_most_of_the_file(disk):
    disk.shred()
    yield
    disk.punch(BLOCK, 60 * MIB)
    yield


# ---- sizes ----

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


# ---- preallocated ----

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
    assert disk.flags("s1") & UNWRITTEN


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


# ---- shared ----

@trap(on=EVERYWHERE)
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


# ---- in the tree itself, and encoded ----

@trap(on=BTRFS, size=0, more=1)
def inline_data(disk):
    """What lies in the tree has no place that could be compared."""
    disk.write(0, b"short" * 100)
    yield
    disk.write(7, b"S")
    yield
    disk.other.write_bytes(b"not this one")
    yield
    if not disk.setup.nodatacow:
        assert disk.flags("s1") & INLINE


@trap(on=BTRFS, size=0, more=1)
def inline_data_that_outgrows_the_tree(disk):
    disk.write(0, b"short" * 100)
    yield
    disk.noise(500, 3 * BLOCK)
    yield
    disk.resize(500)
    yield


@trap(on=("compressed",))
def part_of_a_compressed_extent(disk):
    yield
    disk.noise(MIB + 4 * BLOCK, BLOCK)
    disk.punch(MIB + 8 * BLOCK, 4 * BLOCK)
    yield
    disk.noise(MIB + 5 * BLOCK, 3 * BLOCK)
    yield
    assert disk.flags("s1") & ENCODED


# ---- moved ----

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


@trap(on=("btrfs", "small leaves", "nodatacow"), more=ANY_NUMBER)
def defragmented(disk):
    """All of it may be at another place."""
    disk.shred()
    yield
    tools.run(["btrfs", "filesystem", "defragment", "-f", disk.path])
    yield


@trap(on=("btrfs",))
def compressed_when_it_was_plain(disk):
    yield
    tools.run(["btrfs", "property", "set", disk.path, "compression", "zstd"])
    disk.noise(MIB, 128 * KIB)
    yield
    assert disk.flags("s2") & ENCODED and not disk.flags("s1") & ENCODED


# ---- beside it ----

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


# ---- XFS ----

@trap(on=("XFS",), more=ANY_NUMBER)
def a_range_inserted_and_one_collapsed(disk):
    """Every block behind it is another one; one that is reported may be the
    same only by chance."""
    yield
    disk.fallocate(files.INSERT_RANGE, MIB, 16 * BLOCK)
    yield
    disk.fallocate(files.COLLAPSE_RANGE, MIB // 2, 8 * BLOCK)
    yield


@trap(on=("XFS",))
def unwritten_extents(disk):
    """Written in part, in the middle and at both ends."""
    disk.punch(0, MIB)
    disk.preallocate(0, MIB)
    yield
    for offset in (0, 512 * KIB, MIB - BLOCK):
        disk.noise(offset)
    yield
    assert disk.flags("s1") & UNWRITTEN and disk.flags("s2") & UNWRITTEN


@trap(on=("XFS",))
def extents_of_a_size_that_was_asked_for(disk):
    """The file system makes more of its own than was written."""
    tools.require("xfs_io")
    for hint in ("extsize", "cowextsize"):
        tools.run(["xfs_io", "-c", f"{hint} 256k", disk.other])
    disk.path.unlink()
    os.link(disk.other, disk.path)
    disk.resize(0)
    for hint in ("extsize", "cowextsize"):
        tools.run(["xfs_io", "-c", f"{hint} 256k", disk.path])
    disk.resize(2 * MIB)
    disk.noise(MIB)
    yield
    disk.noise(MIB + 64 * KIB)
    yield
    disk.noise(MIB)
    yield


@trap(on=("XFS", "btrfs"), size=80 * MIB)
def more_extents_than_are_told_at_once(disk):
    for block in range(0, disk.size // BLOCK, 2):
        disk.clone(block * BLOCK, disk.other, block % 256 * BLOCK, BLOCK)
    yield
    for block in range(0, disk.size // BLOCK, 2000):
        disk.noise(block * BLOCK)
    disk.punch(disk.size - 10 * BLOCK, BLOCK)
    yield
