# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the plugin serves of a history, against the truth."""

import json
import subprocess

from snaplib import nbd, tools

CHUNK = 1 << 20
HOLE, ZERO = 1, 2


class Served:
    def __init__(self):
        self.bytes = self.refused = 0
        self.faults = []


def extents_of(handle, size):
    found = []

    def collect(context, offset, entries, error):
        at = offset
        for length, flags in zip(entries[::2], entries[1::2]):
            found.append((at, length, flags))
            at += length
        return 0

    at = 0
    while at < size:
        handle.block_status(min(size - at, 1 << 30), at, collect)
        at = found[-1][0] + found[-1][1]
    return found


def compare_content(handle, point, history, served, title):
    """Equal everywhere; only the tail past a shrunk image may be refused."""
    padded = point.content + bytes(-len(point.content) % 512)
    if handle.get_size() != len(padded):
        served.faults.append(f"{title}: size {handle.get_size()} of {len(padded)}")
        return
    step = CHUNK if point.size <= history.size else 4096
    for at in range(0, len(padded), step):
        length = min(step, len(padded) - at)
        try:
            data = handle.pread(length, at)
        except nbd.libnbd.Error as error:
            if at + length <= history.size or error.errno != "EIO":
                served.faults.append(f"{title}: read at {at}: {error.string}")
            served.refused += 1
            continue
        served.bytes += length
        if data != padded[at:at + length]:
            served.faults.append(f"{title}: other bytes in {length} at {at}")


def check_snapshot(history, point, served):
    title = f"export {point.id}"
    with nbd.Server(f"volume={history.reference()}@{point.id}") as server:
        with server.connect() as handle:
            compare_content(handle, point, history, served, title)
            for at, length, flags in extents_of(handle, handle.get_size()):
                if flags not in (0, HOLE | ZERO):
                    served.faults.append(f"{title}: type {flags} at {at}")
                if flags & ZERO and any(point.content[at:at + length]):
                    served.faults.append(f"{title}: not zero at {at}")


def expected_map(history, before, after):
    """What the diff says, as the types of the incremental export."""
    result = subprocess.run(
        [str(tools.nbdsnap()), "--state-dir", str(history.folder / "state"), "-q",
         "diff", "--json", f"{history.reference()}@{before}..{after}"],
        capture_output=True, text=True, timeout=60)
    diff = json.loads(result.stdout)
    at, wanted = 0, []
    for extent in diff["extents"]:
        if extent["offset"] > at:
            wanted.append((at, extent["offset"] - at, HOLE))
        wanted.append((extent["offset"], extent["length"], ZERO if extent["zero"] else 0))
        at = extent["offset"] + extent["length"]
    if at < diff["size"]:
        wanted.append((at, diff["size"] - at, HOLE))
    return wanted


def check_range(history, before, after, served):
    title = f"export {before}..{after.id}"
    wanted = expected_map(history, before, after.id)
    with nbd.Server(f"volume={history.reference()}@{before}..{after.id}") as server:
        with server.connect() as handle:
            compare_content(handle, after, history, served, title)
            if extents_of(handle, handle.get_size()) != wanted:
                served.faults.append(f"{title}: the map is not the diff's")


def check(history, points):
    """One snapshot and one range of each history, chosen by its seed."""
    served = Served()
    snapshots = [p for p in points.values() if p.name not in ("empty", "backing")]
    after = history.rng.choice(snapshots)
    before = history.rng.choice([name for name in points if name != after.id])
    check_snapshot(history, history.rng.choice(snapshots), served)
    check_range(history, before, after, served)
    return served
