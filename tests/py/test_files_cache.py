# SPDX-License-Identifier: LGPL-2.1-or-later
"""A copy leaves the page cache as it found it: pages that were not in memory
before are dropped again, pages that were stay, and those of the live file are
never touched.  Seen with mincore, before and after a copy by nbdcopy."""

import random
import subprocess

import pytest

from snaplib import file_disk, nbd, pages, tools

KIB, MIB = 1 << 10, 1 << 20
SIZE = 16 * MIB + 1000
PAGE = pages.PAGE

KINDS = {
    "btrfs": file_disk.on_btrfs,
    "btrfs, compressed": lambda **more: file_disk.on_btrfs(
        options=("compress-force=zstd",), **more),
    "XFS": file_disk.on_xfs,
}
WAYS = {
    "large requests": (),
    "small requests": ("--request-size=4096",),
    "odd requests": ("--request-size=65536", "--connections=1", "--requests=1"),
    "many at once": ("--connections=4", "--requests=64", "--request-size=32768"),
}

# The kernel may take pages for itself at any time, more of them on a busy
# machine: one in so many.  What reading dropped would be nearly all.
RECLAIMED = 100


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdkit", "nbdcopy")


@pytest.fixture(scope="module", params=KINDS)
def disk(request):
    rng = random.Random(request.param)
    disk = KINDS[request.param](size=SIZE)
    disk.title = request.param
    for at in range(0, SIZE, MIB):
        part = rng.randbytes(MIB // 2) + bytes([at >> 20]) * (MIB // 2)
        disk.write(at, part[:SIZE - at])
    disk.punch(4 * MIB, MIB)
    disk.snapshot("one")
    disk.write(MIB, b"x" * 5000)
    disk.snapshot("two")
    return disk


def is_copy(path, truth):
    """An export ends at a multiple of 512 bytes."""
    return path.read_bytes() == truth + bytes(-len(truth) % 512)


def copy(disk, export, folder, options=()):
    with nbd.Server(disk.reference(export)) as server:
        nbd.client("nbdcopy", *options, server.uri(), folder / "copy.raw")
    assert is_copy(folder / "copy.raw", disk.truth[export.split("..")[-1]])


@pytest.mark.parametrize("way", WAYS)
def test_pages_that_were_not_cached_are_dropped_again(disk, tmp_path, way):
    path = disk.snapshot_path("one")
    pages.drop(path)
    assert pages.cached(path) == set()
    copy(disk, "one", tmp_path, WAYS[way])
    left = pages.cached(path)
    print(f"TABLE {disk.title}, {way}: {len(left)} of {SIZE // PAGE} pages left behind")
    assert not left


@pytest.mark.parametrize("way", WAYS)
def test_pages_that_were_cached_stay(disk, tmp_path, way):
    """Single pages, runs, and the last one; all others go."""
    path = disk.snapshot_path("one")
    pages.drop(path)
    last = SIZE // PAGE
    for page, n in ((0, 1), (3, 2), (100, 40), (1000, 1), (2047, 3), (3000, 512), (last, 1)):
        pages.read(path, page, n)
    before = pages.cached(path)
    assert 500 < len(before) < 1200
    copy(disk, "one", tmp_path, WAYS[way])
    after = pages.cached(path)
    assert len(before - after) <= len(before) // RECLAIMED, "was cached and is not"
    assert not after - before, "was not cached and is"


def test_a_file_that_is_all_cached_stays_so(disk, tmp_path):
    path = disk.snapshot_path("two")
    path.read_bytes()
    before = pages.cached(path)
    assert len(before) > 3000
    copy(disk, "two", tmp_path)
    after = pages.cached(path)
    assert len(before - after) <= len(before) // RECLAIMED and not after - before


def test_the_live_file_keeps_its_pages(disk, tmp_path):
    """Also when the live file itself is what is copied."""
    content = disk.content()
    before = pages.cached(disk.path)
    assert len(before) > 3000
    disk.truth["live"] = content
    for export in ("one", "two", "one..two", "live"):
        copy(disk, export, tmp_path)
    after = pages.cached(disk.path)
    assert len(before - after) <= len(before) // RECLAIMED and not after - before


def test_an_unaligned_read_leaves_no_page(disk):
    path = disk.snapshot_path("one")
    pages.drop(path)
    with nbd.Server(disk.reference("one")) as server, server.connect() as handle:
        for offset, length in ((100, 1), (4095, 2), (70000, 12345), (SIZE - 10, 10)):
            data = handle.pread(length, offset)
            assert bytes(data) == disk.truth["one"][offset:offset + length]
        assert pages.cached(path) == set()


def test_two_copies_at_once_leave_no_page(disk, tmp_path):
    path = disk.snapshot_path("one")
    pages.drop(path)
    with nbd.Server(disk.reference("one")) as server:
        copies = [subprocess.Popen(["nbdcopy", server.uri(), tmp_path / f"{i}.raw"])
                  for i in range(2)]
        assert [process.wait(60) for process in copies] == [0, 0]
    left = pages.cached(path)
    print(f"TABLE {disk.title}, two copies at once: {len(left)} of {SIZE // PAGE} pages left")
    assert not left
    for i in range(2):
        assert is_copy(tmp_path / f"{i}.raw", disk.truth["one"])
