# SPDX-License-Identifier: LGPL-2.1-or-later
"""The judge can fail: each of these breaks one rule of the diffs of files, and
is caught by the trap that the rule is there for.

Not here, because the answer stays right without them: what only saves time
(leaving out gaps, candidates); the fields of an extent that cannot differ
where its place is the same (length, encoding); that growth is dirty, which the
service sees to for all drivers; and FIEMAP's flag to write dirty pages first,
which a clone has none of.
"""

import tempfile

import pytest

from snaplib import mutants, tools, trap_disk
from snaplib.trap_disk import BY_MAP, BY_TREE
from snaplib.traps import holes, leaves, places, shared, written

PART = "snapshot-core/format/btrfs-part.c"
DIFF = "snapshot-core/format/btrfs-diff.c"
MAP = "snapshot-core/format/btrfs-map.c"
ITEM = "snapshot-core/format/btrfs-item.c"
TREE_MAP = "snapshot-core/drivers/btrfs/tree-map.c"
TREE = "snapshot-core/drivers/btrfs/compare.c"
FIEMAP = "snapshot-core/format/fiemap.c"
KERNEL_MAP = "snapshot-core/os/fiemap.c"
CLONES = "snapshot-core/drivers/reflink/compare.c"

# name: (trap, place and how to compare, source, old, new); see trap_disk.
MUTANTS = {
    "filters-by-a-later-generation": (
        written.written_right_after_the_cut, "btrfs",
        TREE, "diff->since = from->created + 1;", "diff->since = from->created + 3;"),
    "looks-for-candidates-in-the-older-side": (
        written.not_yet_written_out, "btrfs",
        PART, "return self->diff->from_is_newer ? self->from : self->to;",
        "return self->diff->from_is_newer ? self->to : self->from;"),
    "takes-the-older-side-for-the-newer": (
        written.not_yet_written_out, "btrfs",
        TREE, "diff->from_is_newer = descends (to, from);", "diff->from_is_newer = FALSE;"),
    "does-not-add-up-the-bytes": (
        leaves.a_leaf_lost_without_a_trace, "small leaves",
        DIFF, "return !self->saw_inline\n", "return TRUE || !self->saw_inline\n"),
    "adds-up-the-bytes-of-all-of-the-file": (
        leaves.a_leaf_lost_and_as_much_gained, "small leaves",
        DIFF, "diff->from.allocated - self->from_allocated\n"
        "                == diff->to.allocated - self->to_allocated;",
        "diff->from.allocated == diff->to.allocated;"),
    "counts-what-is-preallocated-as-nothing": (
        leaves.a_leaf_lost_and_as_much_preallocated, "small leaves",
        PART, "return extent != NULL && extent->kind != SNAP_BTRFS_HOLE ? length : 0;",
        "return extent != NULL && extent->kind == SNAP_BTRFS_DATA ? length : 0;"),
    "takes-all-data-as-equal": (
        written.a_few_bytes_written, "btrfs",
        PART, "return snap_btrfs_extent_shares (from, to);",
        "return snap_btrfs_extent_shares (from, to) || from->kind == to->kind;"),
    "takes-inline-data-as-equal": (
        places.inline_data, "btrfs",
        PART, "return snap_btrfs_extent_shares (from, to);",
        "return from->kind == SNAP_BTRFS_INLINE || snap_btrfs_extent_shares (from, to);"),
    "takes-zeroes-and-data-as-equal": (
        holes.a_hole_filled, "hole items",
        PART, "return reads_as_zeroes (from) && reads_as_zeroes (to);", "return TRUE;"),
    "takes-what-is-preallocated-as-data": (
        holes.preallocated_where_a_hole_was, "btrfs",
        ITEM, "else if (type == BTRFS_FILE_EXTENT_REG)",
        "else if (type == BTRFS_FILE_EXTENT_REG || type == BTRFS_FILE_EXTENT_PREALLOC)"),
    "says-zero-of-data": (
        holes.a_hole_filled, "btrfs",
        PART, "if (reads_as_zeroes (to))\n    flags", "if (reads_as_zeroes (from))\n    flags"),
    "ignores-where-in-the-extent": (
        shared.one_extent_at_another_offset, "btrfs",
        ITEM, "&& a->shift == b->shift", ""),
    "ignores-where-on-the-disk": (
        written.an_extent_replaced_by_one_of_its_size, "btrfs",
        ITEM, "&& a->disk_start == b->disk_start", ""),
    "skips-an-extent-now-and-then": (
        leaves.holes_in_many_leaves, "small leaves",
        MAP, "<= offset)\n      self->index++;",
        "<= offset)\n      self->index += 1 + (self->index % 64 == 5);"),
    "stops-after-one-search": (
        leaves.more_extents_than_one_search_finds, "btrfs",
        TREE_MAP, "*more = n == request.n_max || found.left < MAX_NEXT_ITEM;",
        "*more = n == request.n_max;"),
    "compares-one-side-with-itself": (
        written.a_few_bytes_written, "btrfs",
        TREE, "open_map (self->from.fd, &diff.from, error)",
        "open_map (self->to.fd, &diff.from, error)"),
    "takes-a-hole-of-a-map-as-anything": (
        holes.a_punched_hole, "XFS",
        FIEMAP, "if (kind == DOUBTFUL || side_kind (from, offset) != kind)",
        "if (kind == ZEROES || side_kind (from, offset) == ZEROES)\n    return TRUE;\n"
        "  if (kind == DOUBTFUL || side_kind (from, offset) != kind)"),
    "ignores-where-in-an-extent-of-a-map": (
        shared.one_extent_at_another_offset, "XFS",
        FIEMAP, "side->extent.physical + (offset - side->extent.logical)",
        "side->extent.physical"),
    "trusts-the-place-of-what-is-compressed": (
        shared.another_part_of_one_extent, "compressed by map",
        FIEMAP, "| FIEMAP_EXTENT_SHARED)", "| FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_ENCODED)"),
    "trusts-any-place-of-a-map": (
        places.inline_data_of_a_whole_block, "compressed by map",
        FIEMAP, "if ((side->extent.flags & ~HARMLESS_FLAGS) != 0)", "if (FALSE)"),
    "takes-unwritten-as-data": (
        holes.preallocated_where_a_hole_was, "btrfs by map",
        FIEMAP, "return side->extent.flags & FIEMAP_EXTENT_UNWRITTEN ? ZEROES : PLACE;",
        "return PLACE;"),
    "ends-a-map-too-early": (
        holes.a_hole_punched_at_each_end, "XFS",
        FIEMAP, "guint64 end = offset + length;", "guint64 end = offset + length / 2;"),
    "stops-after-one-part-of-a-map": (
        leaves.more_extents_than_a_map_tells_at_once, "XFS",
        KERNEL_MAP, "self->is_complete = (last->fe_flags & FIEMAP_EXTENT_LAST) != 0\n",
        "self->is_complete = TRUE || last->fe_flags != 0\n"),
    "takes-the-snapshot-for-the-live-file": (
        written.a_few_bytes_written, "XFS",
        CLONES, "? open_side (volume, request->to, error)",
        "? open_side (volume, request->from, error)"),
}


@pytest.fixture(scope="module")
def played():
    """The disks; the right diff is right about each of them."""
    tools.require_root()
    tools.require("btrfs", "mkfs.btrfs", "mkfs.xfs", "setpriv", "gcc", "pkg-config")
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        made, disks = trap_disk.Places(folder), {}

        def play(trap, place, how):
            if (trap, place) not in disks:
                disks[trap, place] = made.disk(place, trap.size).play(trap)
            faults = [j.faults for j in disks[trap, place].judge_all(how) if j.faults]
            assert not faults, faults
            return disks[trap, place]
        yield play
        made.unmount()


@pytest.fixture(scope="module")
def caught():
    """How each that was caught gave itself away."""
    found = {}
    yield found
    print(f"\nTABLE broken on purpose and caught: {len(found)} of {len(MUTANTS)}")
    for name, (trap, judged) in found.items():
        what = f"missed {judged.missed}" if judged.missed else judged.faults[0].split(": ", 1)[1]
        print(f"TABLE {name:40} by: {trap.name}: {what}")


def first_wrong(disk, program, how):
    """A diff that is wrong: to fail is not to be wrong."""
    judged = (disk.judge(a, b, program, how) for a, b in disk.pairs(how))
    return next((j for j in judged if j.answer and j.faults), None)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_diff_is_caught(name, played, caught, tmp_path):
    trap, where, *broken = MUTANTS[name]
    how = BY_MAP if where.endswith(BY_MAP) else BY_TREE
    disk = played(trap, where.removesuffix(how), how)
    wrong = first_wrong(disk, mutants.build(tmp_path, name, *broken), how)
    assert wrong, "survived"
    caught[name] = trap, wrong
