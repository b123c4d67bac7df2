# SPDX-License-Identifier: LGPL-2.1-or-later
"""The judge can fail: each of these breaks one rule of the diffs of files, and
each is caught by the byte compare of random histories."""

import pathlib
import tempfile

import pytest

from snaplib import filesystem_history, mutants, tools
from snaplib.filesystem_history import SETUPS, History
from test_files_history import judge_all

PART = "snapshot-core/format/btrfs-part.c"
MAP = "snapshot-core/format/btrfs-map.c"
ITEM = "snapshot-core/format/btrfs-item.c"
TREE = "snapshot-core/drivers/btrfs/compare.c"
FIEMAP = "snapshot-core/format/fiemap.c"
CLONES = "snapshot-core/drivers/reflink/compare.c"

MUTANTS = {
    "filters-by-a-later-generation": (
        TREE, "diff->since = from->created + 1;", "diff->since = from->created + 3;"),
    "takes-all-data-as-equal": (
        PART, "return snap_btrfs_extent_shares (from, to);",
        "return snap_btrfs_extent_shares (from, to) || from->kind == to->kind;"),
    "takes-any-two-zeroes-and-data-as-equal": (
        PART, "return reads_as_zeroes (from) && reads_as_zeroes (to);", "return TRUE;"),
    "ignores-the-shift": (
        ITEM, "&& a->shift == b->shift", ""),
    "ignores-the-place": (
        ITEM, "&& a->disk_start == b->disk_start", ""),
    "prealloc-is-data": (
        ITEM, "else if (type == BTRFS_FILE_EXTENT_REG)",
        "else if (type == BTRFS_FILE_EXTENT_REG || type == BTRFS_FILE_EXTENT_PREALLOC)"),
    "skips-an-extent-now-and-then": (
        MAP, "<= offset)\n      self->index++;",
        "<= offset)\n      self->index += 1 + (self->index % 64 == 5);"),
    "takes-the-older-side-for-the-newer": (
        TREE, "diff->from_is_newer = descends (to, from);", "diff->from_is_newer = FALSE;"),
    "says-zero-of-data": (
        PART, "if (reads_as_zeroes (to))\n    flags", "if (reads_as_zeroes (from))\n    flags"),
    "compares-one-side-with-itself": (
        TREE, "open_map (self->from.fd, &diff.from, error)",
        "open_map (self->to.fd, &diff.from, error)"),
    "clones-holes-are-like-anything": (
        FIEMAP, "if (kind == DOUBTFUL || side_kind (from, offset) != kind)",
        "if (kind == ZEROES || side_kind (from, offset) == ZEROES)\n    return TRUE;\n"
        "  if (kind == DOUBTFUL || side_kind (from, offset) != kind)"),
    "clones-ignore-the-offset": (
        FIEMAP, "side->extent.physical + (offset - side->extent.logical)",
        "side->extent.physical"),
    "clones-end-too-early": (
        FIEMAP, "guint64 end = offset + length;", "guint64 end = offset + length / 2;"),
    "clones-live-is-the-snapshot": (
        CLONES, "? open_side (volume, request->to, error)",
        "? open_side (volume, request->from, error)"),
}


@pytest.fixture(scope="module")
def histories():
    tools.require_root()
    tools.require("btrfs", "mkfs.btrfs", "mkfs.xfs", "gcc", "pkg-config")
    wanted = ("btrfs", "btrfs, compressed", "btrfs, many extents", "XFS")
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        made, mounted = [], []
        for setup in SETUPS:
            if setup.name not in wanted:
                continue
            filesystem = filesystem_history.make_filesystem(setup, folder)
            mounted.append(filesystem)
            for seed in range(1, 9):
                place = filesystem_history.make_folder(setup, filesystem, f"history-{seed}")
                history = History(seed, setup, place, 12, pathlib.Path(folder) / "state").run()
                made.append((history, history.all_points()))
        yield made
        for filesystem in mounted:
            filesystem.unmount()


@pytest.fixture(scope="module")
def caught():
    names = []
    yield names
    print(f"\nTABLE broken on purpose and caught: {len(names)} of {len(MUTANTS)}: "
          + ", ".join(names))


def is_about(name, history):
    return name.startswith("clones") == (history.setup.kind == "xfs")


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_diff_is_caught(name, histories, caught, tmp_path):
    program = mutants.build(tmp_path, name, *MUTANTS[name])
    for history, points in histories:
        if not is_about(name, history):
            continue
        verdict = judge_all(history, points, program, stop=True)
        if verdict.faults:
            caught.append(name)
            return
    pytest.fail("survived")


def test_the_right_diff_passes_on_the_same_histories(histories):
    for history, points in histories:
        verdict = judge_all(history, points, tools.nbdsnap())
        assert not verdict.faults, verdict.faults
