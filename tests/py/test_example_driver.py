# SPDX-License-Identifier: LGPL-2.1-or-later
"""The example of an out-of-tree driver: it builds with its own Makefile, outside
the tree, and what it is asked for is right."""

import os
import random
import shutil

import pytest

from snaplib import nbd, tools
from snaplib.cli import answer, done, nbdsnap, refused

BLOCK = 4096
MODULE = "nbdsnap-copies-driver.so"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where it was built."""
    tools.require("make", "cc", "pkg-config")
    folder = tmp_path_factory.mktemp("example") / "copies"
    shutil.copytree(tools.TOP / "examples" / "copies-driver", folder)
    tools.run(["make", "-C", folder, f"NBDSNAP={tools.TOP}", f"BUILD={tools.BUILD.resolve()}",
               "CFLAGS=-O1 -g -Wall -Wextra -Werror"])
    return folder


@pytest.fixture(autouse=True)
def driver(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NBDSNAP_DRIVER_PATH", str(folder))
    monkeypatch.chdir(tmp_path)


def change(content, rng):
    """Some blocks rewritten, one of them in part, one to zeroes."""
    changed = bytearray(content)
    for i in rng.sample(range(len(content) // BLOCK), 5):
        changed[i * BLOCK:(i + 1) * BLOCK] = rng.randbytes(BLOCK)
    changed[i * BLOCK:(i + 1) * BLOCK] = bytes(BLOCK)
    changed[3 * BLOCK + 7] ^= 1
    return bytes(changed)


@pytest.fixture
def copies(tmp_path):
    """{name: content}, of growing age and odd sizes, as files in backups/."""
    rng = random.Random(7)
    first = rng.randbytes(3 << 20)
    second = change(first, rng)
    third = change(second, rng)[:2 << 20] + b"odd"
    fourth = change(third[:2 << 20], rng) + rng.randbytes(700_001)
    found = {"2026-11-20": first, "2026-11-21": second, "a shrunk one": third,
             "z": fourth}
    os.mkdir("backups")
    for n, (name, content) in enumerate(found.items()):
        path = tmp_path / "backups" / f"{name}.raw"
        path.write_bytes(content)
        os.utime(path, (1e9 + n, 1e9 + n))
    (tmp_path / "backups" / "notes.txt").write_text("not a copy")
    (tmp_path / "backups" / "folder.raw").mkdir()
    return found


def reference(point=None):
    return "copies:backups" if point is None else f"copies:backups@{point}"


def ids():
    listed = answer("list", reference())["volumes"][0]["snapshots"]
    return {entry["name"]: entry for entry in listed}


# ---- the module ----

def test_it_is_a_driver_like_any_other(folder):
    found = {d["name"]: d for d in answer("drivers")["drivers"]}
    assert found["copies"]["capabilities"] == ["diff", "read"]
    assert answer("drivers")["left_out"] == []
    symbols = tools.run(["nm", "-D", "--defined-only", folder / MODULE])
    assert [line.split()[-1] for line in symbols.splitlines()] == ["snap_driver_entry"]


def test_without_it_there_is_no_such_driver(monkeypatch, copies):
    monkeypatch.setenv("NBDSNAP_DRIVER_PATH", "/nonexistent")
    assert "copies" not in [d["name"] for d in answer("drivers")["drivers"]]
    refused(nbdsnap("list", reference()), 1)


# ---- what it says ----

def test_copies_are_listed_oldest_first(copies):
    assert list(ids()) == list(copies)
    assert [entry["size"] for entry in ids().values()] == [len(c) for c in copies.values()]
    assert not any(entry["ours"] for entry in ids().values())
    assert done("list", "-q", "backups") == done("list", "-q", reference())


def changed(old, new):
    """Offsets of the blocks that differ, and of those that are zero now."""
    starts = [at for at in range(0, len(new), BLOCK)
              if old[at:at + BLOCK][:len(new) - at] != new[at:at + BLOCK]]
    return starts, [at for at in starts if at + BLOCK <= len(old)
                    and not any(new[at:at + BLOCK])]


def test_what_is_said_to_have_changed_is_what_has(copies):
    entries = ids()
    for before, old in copies.items():
        for after, new in copies.items():
            diff = answer("diff", reference(f"{entries[before]['id']}..{entries[after]['id']}"))
            starts = [at for e in diff["extents"]
                      for at in range(e["offset"], e["offset"] + e["length"], BLOCK)]
            zeroes = [at for e in diff["extents"] if e["zero"]
                      for at in range(e["offset"], e["offset"] + e["length"], BLOCK)]
            assert (starts, zeroes) == changed(old, new), (before, after)
            assert diff["source"] == "bytes" and diff["proof"] == "exact"


def test_a_copy_that_was_written_to_is_another_point(copies, tmp_path):
    before = ids()["z"]["id"]
    with open(tmp_path / "backups" / "z.raw", "ab") as file:
        file.write(b"more")
    assert ids()["z"]["id"] != before
    refused(nbdsnap("diff", f"copies:backups@{before}..z"), 5)


def test_what_it_cannot_do_is_refused(copies, tmp_path):
    names = sorted(os.listdir("backups"))
    refused(nbdsnap("create", reference()), 1, "cannot be made")
    refused(nbdsnap("delete", reference("z")), 1)
    refused(nbdsnap("diff", reference("z..live")), 1)
    refused(nbdsnap("list", "copies:backups#1"), 2, "no parts")
    assert sorted(os.listdir("backups")) == names


# ---- and serves ----

def test_two_full_copies_become_a_full_one_and_an_increment(copies, tmp_path):
    tools.require("nbdkit", "nbdcopy", "qemu-img")
    before, after = "2026-11-20", "2026-11-21"
    with nbd.Server(reference(f"{before}..{after}")) as server:
        nbd.client("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-B",
                   tmp_path / "backups" / f"{before}.raw", "-F", "raw",
                   server.uri(f"{before}..{after}"), "increment.qcow2")
    nbd.client("qemu-img", "compare", "increment.qcow2", f"backups/{after}.raw")
    assert os.stat("increment.qcow2").st_blocks * 512 < len(copies[before]) // 3
    with nbd.Server(reference("z")) as server:
        content = nbd.full_copy(server.uri("z"), tmp_path)
        assert content == copies["z"] + bytes(-len(copies["z"]) % 512)
