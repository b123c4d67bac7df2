# SPDX-License-Identifier: LGPL-2.1-or-later
"""`nbdsnap serve` leaves the page cache as it found it, and reads what was asked
for at once.  Seen with mincore and strace."""

import os
import re
import signal

import pytest

from snaplib import nbd, pages, tools
from snaplib.disk import Disk
from snaplib.serve import Peer, Serving, not_sanitized

MIB = 1 << 20
SIZE = 24 * MIB

# The kernel may take pages for itself at any time: one in so many.
RECLAIMED = 100

WAYS = {
    "large requests": (),
    "small requests": ("--request-size=65536",),
    "one at a time": ("--synchronous",),
    "many at once": ("--connections=4", "--requests=64", "--request-size=65536"),
}


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdcopy", "qemu-img", "qemu-io")


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "vm.qcow2", SIZE)
    for at in range(0, SIZE, MIB):
        disk.write(at, MIB, 1 + at // MIB)
    disk.snapshot("a")
    pages.drop(disk.path)
    if len(pages.cached(disk.path)) > SIZE // pages.PAGE // 2:
        tools.missing("this file system keeps its pages")
    return disk


def copy(server, tmp_path, options):
    nbd.client("nbdcopy", *options, server.uri(), tmp_path / "copy.raw")
    return (tmp_path / "copy.raw").read_bytes()


@pytest.mark.parametrize("way", WAYS)
def test_pages_that_were_not_cached_are_dropped_again(disk, tmp_path, way):
    with Serving(f"{disk.path}@a") as server:
        before = pages.cached(disk.path)
        assert copy(server, tmp_path, WAYS[way]) == disk.truth["a"]
    left = pages.cached(disk.path) - before
    assert len(left) <= SIZE // pages.PAGE // 20, (len(left), SIZE // pages.PAGE)


def test_pages_that_were_cached_stay(disk, tmp_path):
    for at in range(0, SIZE // pages.PAGE, 512):
        pages.read(disk.path, at, 128)
    before = pages.cached(disk.path)
    assert len(before) > SIZE // pages.PAGE // 5
    with Serving(f"{disk.path}@a") as server:
        assert copy(server, tmp_path, ()) == disk.truth["a"]
    after = pages.cached(disk.path)
    assert len(before - after) <= len(before) // RECLAIMED, "was cached and is not"
    assert len(after - before) <= SIZE // pages.PAGE // 20, "was not cached and is"


def test_everything_stays_if_it_is_wanted(disk, tmp_path):
    with Serving("--keep-cache", f"{disk.path}@a") as server:
        assert copy(server, tmp_path, ()) == disk.truth["a"]
    assert len(pages.cached(disk.path)) >= SIZE // pages.PAGE * (RECLAIMED - 1) // RECLAIMED


def test_requests_that_wait_are_read_before_the_first_is_answered(disk, tmp_path):
    tools.require("strace")
    not_sanitized()
    trace = tmp_path / "trace"
    with Serving(f"{disk.path}@a", prefix=["strace", "-f", "-o", trace, "-e",
                                           "trace=fadvise64,sendfile"]) as server:
        peer = Peer(server).go()
        peer.socket.sendall(b"".join(peer.request(cookie, cookie * MIB, 65536)
                                     for cookie in range(16)))
        for cookie in range(16):
            assert peer.reply(65536)[:2] == (cookie, 0)
        os.kill(server.program(), signal.SIGTERM)
        assert server.process.wait(nbd.DEADLINE) == 0
        server.process.stdout.close()
    calls = re.findall(r"(fadvise64|sendfile)\(.*", trace.read_text())
    ahead = most = 0
    for call in calls:
        ahead += 1 if call == "fadvise64" else -1
        most = max(most, ahead)
    assert calls.count("sendfile") == 16 and most > 1, calls
