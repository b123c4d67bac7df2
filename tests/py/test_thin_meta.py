# SPDX-License-Identifier: LGPL-2.1-or-later
"""Diffs from a thin pool's metadata, on metadata that thin_restore made,
against thin_delta and against the mappings themselves."""

import os
import pathlib
import random
import re

import pytest

from snaplib import tools
from snaplib.cli import answer, done, nbdsnap, refused

BLOCK = 4096


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    tools.require("thin_restore", "thin_delta")
    monkeypatch.chdir(tmp_path)


def restore(devices, chunk=128, path="meta", room=8 << 20):
    """A metadata file; `devices` maps an id to {chunk: (data block, time)}."""
    top = 1 + max((b for m in devices.values() for b, _ in m.values()), default=0)
    rows = [f'<superblock uuid="" time="9" transaction="3" data_block_size="{chunk}" '
            f'nr_data_blocks="{top}">']
    for number, mappings in sorted(devices.items()):
        rows.append(f'<device dev_id="{number}" mapped_blocks="{len(mappings)}" '
                    f'transaction="{number % 3}" creation_time="1" snap_time="2">')
        rows += [f'<single_mapping origin_block="{at}" data_block="{block}" time="{time}"/>'
                 for at, (block, time) in sorted(mappings.items())]
        rows.append("</device>")
    pathlib.Path("pool.xml").write_text("\n".join([*rows, "</superblock>"]))
    with open(path, "wb") as file:
        file.truncate(room)
    tools.run(["thin_restore", "-i", "pool.xml", "-o", path])


def random_pool(rng):
    """Devices that share some of their mappings, in runs and scattered."""
    reach = rng.choice((1, 30, 2000, 40000))
    first = {at: (at * 2, rng.randrange(3))
             for at in range(reach) if rng.random() < rng.choice((0.2, 0.9))}
    devices, fresh = {1: first}, reach * 2 + 1
    for number in range(2, rng.randrange(3, 6)):
        mappings = dict(devices[rng.randrange(1, number)])
        for _ in range(rng.choice((0, 1, 5, 200))):
            at = rng.randrange(reach + 10)
            for chunk in range(at, at + rng.choice((1, 1, 40))):
                kind = rng.random()
                if kind < 0.3:
                    mappings.pop(chunk, None)
                elif kind < 0.4 and chunk in mappings:
                    mappings[chunk] = (mappings[chunk][0], 7)
                else:
                    fresh += 1
                    mappings[chunk] = (fresh, 5)
        devices[number] = mappings
    return devices


def expected(devices, a, b):
    """{chunk: whether it is zero}, from the mappings themselves."""
    one, other = devices[a], devices[b]
    return {at: at not in other for at in one.keys() | other.keys()
            if one.get(at, (None,))[0] != other.get(at, (None,))[0]}


def chunks_of(diff, size):
    return {at: extent["zero"] for extent in diff["extents"]
            for at in range(extent["offset"] // size,
                            (extent["offset"] + extent["length"]) // size)}


def delta(a, b):
    """What thin_delta says: {chunk: whether only the older one maps it}."""
    text = tools.run(["thin_delta", "--snap1", str(a), "--snap2", str(b), "meta"])
    return {at: kind == "left_only"
            for kind, begin, length in re.findall(
                r'<(left_only|right_only|different) begin="(\d+)" length="(\d+)"', text)
            for at in range(int(begin), int(begin) + int(length))}


@pytest.mark.parametrize("seed", range(60))
def test_every_pair_equals_thin_delta_and_the_mappings(seed):
    rng = random.Random(seed)
    devices, chunk = random_pool(rng), rng.choice((128, 256, 2048))
    restore(devices, chunk)
    pairs = [(a, b) for a in devices for b in devices if a != b]
    for a, b in rng.sample(pairs, min(6, len(pairs))):
        diff = answer("diff", f"thin-meta:meta@{a}..{b}")
        truth = expected(devices, a, b)
        assert diff["proof"] == "exact" and diff["source"] == "thin-metadata"
        assert diff["granularity"] == chunk * 512
        assert chunks_of(diff, chunk * 512) == truth, (seed, a, b)
        assert delta(a, b) == truth


def test_the_devices_are_listed_with_their_identities():
    restore({1: {0: (0, 1)}, 7: {}, 15728641: {5: (1, 1)}})
    listed = answer("list", "thin-meta:meta")["volumes"][0]["snapshots"]
    assert [point["name"] for point in listed] == ["1", "7", "15728641"]
    assert listed[0]["id"] == "1/1.1" and not listed[0]["ours"]
    assert {point["size"] for point in listed} == {6 * 65536}


def test_a_device_that_is_not_there_is_refused():
    restore({1: {}})
    refused(nbdsnap("diff", "thin-meta:meta@1..2"), 1, "@2")
    refused(nbdsnap("create", "thin-meta:meta"), 1, "cannot be made")


def block_of(data, n):
    return data[n * BLOCK:(n + 1) * BLOCK]


def test_every_flipped_byte_of_a_block_in_use_is_noticed_or_changes_nothing():
    rng = random.Random(5)
    devices = {1: {at: (at, 1) for at in range(3000)}}
    devices[2] = {**devices[1], **{at: (5000 + at, 2) for at in range(0, 3000, 7)}}
    restore(devices, room=2 << 20)
    good = pathlib.Path("meta").read_bytes()
    before = done("diff", "--json", "thin-meta:meta@1..2")
    used = [n for n in range(len(good) // BLOCK) if any(block_of(good, n))]
    noticed = 0
    for n in used:
        data = bytearray(good)
        data[n * BLOCK + rng.randrange(BLOCK)] ^= 1 << rng.randrange(8)
        pathlib.Path("meta").write_bytes(data)
        result = nbdsnap("diff", "--json", "thin-meta:meta@1..2")
        if result.returncode == 0:
            assert result.stdout == before
        else:
            assert result.returncode == 1 and "checksum" in result.stderr
            assert len(result.stderr.splitlines()) == 1
            noticed += 1
    assert noticed > 20
    print(f"TABLE thin metadata: {noticed} of {len(used)} flipped blocks noticed, "
          "the others are not on the way")


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 8192, 100 * 4096])
def test_metadata_that_is_cut_short_is_refused(length):
    restore({1: {at: (at, 1) for at in range(40000)}, 2: {}})
    os.truncate("meta", length)
    refused(nbdsnap("diff", "thin-meta:meta@1..2"), 1, "meta")


@pytest.mark.parametrize("name", ["directory", "fifo", "missing", "zeroes"])
def test_what_is_no_metadata_is_refused(name):
    os.mkdir("directory")
    os.mkfifo("fifo")
    pathlib.Path("zeroes").write_bytes(bytes(1 << 20))
    refused(nbdsnap("list", f"thin-meta:{name}"), 1, name)
