# SPDX-License-Identifier: LGPL-2.1-or-later
"""Diffs from the metadata of a real pool that is in use, whose devices share
subtrees as the kernel makes them: against thin_delta, and against the bytes."""

import os
import random

import pytest

from snaplib import lvm
from snaplib.cli import answer, nbdsnap, refused

MIB = 1 << 20
SIZE = 64 * MIB
CHUNK = 64 << 10
SEEDS = range(int(os.environ.get("NBDSNAP_LVM_HISTORIES", "4")))


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lvm.Group(tmp_path, size=400 * MIB) as group:
        yield group.pool(size=256 * MIB, chunk=CHUNK)


def diff(pool, a, b):
    return answer("diff", f"thin-meta:{pool.tmeta}@{a}..{b}")


def reported(extents, size):
    """A flag for each chunk: 0 clean, 1 dirty, 2 dirty and zero."""
    chunks = bytearray(size // CHUNK)
    for extent in extents:
        first, end = extent["offset"] // CHUNK, -(-(extent["offset"] + extent["length"]) // CHUNK)
        chunks[first:end] = bytes([2 if extent["zero"] else 1]) * (end - first)
    return chunks


def by_thin_delta(pool, a, b, size):
    chunks = bytearray(size // CHUNK)
    for kind, begin, length in pool.thin_delta(a, b):
        if kind != "same":
            chunks[begin:begin + length] = bytes([2 if kind == "left_only" else 1]) * length
    return chunks


def judge(pool, one, other, ids):
    """By thin_delta, and by the bytes of both; the number of changed chunks."""
    found = reported(diff(pool, ids[one.name], ids[other.name])["extents"], SIZE)
    assert found == by_thin_delta(pool, ids[one.name], ids[other.name], SIZE)
    for at in range(SIZE // CHUNK):
        old, new = (side.model[at * CHUNK:(at + 1) * CHUNK] for side in (one, other))
        assert found[at] or old == new, f"missed: chunk {at} of {one.name}..{other.name}"
        assert found[at] != 2 or not any(new)
    return sum(map(bool, found))


def play(pool, rng):
    """A volume that is written, discarded and cut; all its points."""
    volume = pool.volume("disk", SIZE)
    points = []
    for _ in range(rng.randrange(300, 900)):
        volume.fill(rng.randrange(SIZE // 512) * 512, 512, rng.randrange(1, 256))
    for number in range(4):
        points.append(volume.snapshot(f"s{number}"))
        for _ in range(rng.choice((1, 10, 100))):
            at = rng.randrange(SIZE // CHUNK) * CHUNK
            if rng.random() < 0.2:
                volume.discard(at, CHUNK)
            else:
                volume.fill(at + rng.randrange(CHUNK // 512) * 512, 512, rng.randrange(256))
    return [*points, volume]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_pair_of_a_pool_in_use_equals_thin_delta_and_misses_no_byte(pool, seed):
    points = play(pool, random.Random(seed))
    ids = {name: int(row["thin_id"]) for name, row in pool.group.lvs().items()
           if row["thin_id"]}
    changed = 0
    assert pool.reserve() > 0
    try:
        for one in points:
            for other in points:
                if one is not other:
                    changed += judge(pool, one, other, ids)
    finally:
        pool.release()
    assert changed > 0
    print(f"TABLE pool in use, seed {seed}: {len(points) * (len(points) - 1)} pairs, "
          f"{changed} changed chunks, missed 0")


def test_a_pool_in_use_without_a_metadata_snapshot_is_refused(pool):
    """Its metadata would change while it is read."""
    pool.volume("disk", SIZE).fill(0, 512, 1)
    refused(nbdsnap("list", f"thin-meta:{pool.tmeta}"), 3, "metadata snapshot")
