# SPDX-License-Identifier: LGPL-2.1-or-later
"""The judge of every diff: a byte compare of what was there at each cut.

`missed` must be 0, always.  `unexplained` counts granules that were reported
although nothing touched them: 0 where the proof is "exact".
"""

import json

BLOCK = 512


class Verdict:
    def __init__(self):
        self.pairs = self.missed = self.unexplained = self.rewritten = 0
        self.dirty = self.changed = 0
        self.faults = []

    def add(self, other):
        for key in ("pairs", "missed", "unexplained", "rewritten", "dirty", "changed"):
            setattr(self, key, getattr(self, key) + getattr(other, key))
        self.faults += other.faults


def check_shape(diff, before, after):
    """What every diff promises, whatever it says."""
    faults = []
    if diff.get("complete") is not True:
        faults.append("not complete")
    if (diff["from_size"], diff["size"]) != (before.size, after.size):
        faults.append(f"sizes {diff['from_size']}, {diff['size']}")
    end, zero = -1, None
    for extent in diff["extents"]:
        if extent["length"] <= 0 or extent["offset"] < end:
            faults.append(f"not ascending at {extent['offset']}")
        if extent["offset"] == end and extent["zero"] == zero:
            faults.append(f"not coalesced at {end}")
        end, zero = extent["offset"] + extent["length"], extent["zero"]
    if end > after.size:
        faults.append(f"ends at {end} of {after.size}")
    if diff["dirty_bytes"] != sum(e["length"] for e in diff["extents"]):
        faults.append("dirty_bytes is not their sum")
    return faults


def dirty_map(diff, size):
    """A byte for every block, 1 where it is reported."""
    dirty = bytearray(-(-size // BLOCK))
    for extent in diff["extents"]:
        first = extent["offset"] // BLOCK
        last = -(-(extent["offset"] + extent["length"]) // BLOCK)
        dirty[first:last] = b"\1" * (last - first)
    return dirty


def differing_blocks(before, after):
    """Numbers of the blocks of `after` that are not the same in `before`."""
    old, new = before.content, after.content
    step = 256 * BLOCK
    for start in range(0, len(new), step):
        if old[start:start + step] == new[start:start + step]:
            continue
        for at in range(start, min(start + step, len(new)), BLOCK):
            block = new[at:at + BLOCK]  # the last one may be cut short
            if old[at:at + len(block)] != block:
                yield at // BLOCK


def false_zeroes(diff, after):
    return [extent for extent in diff["extents"] if extent["zero"] and any(
        after.content[extent["offset"]:extent["offset"] + extent["length"]])]


def judge(text, before, after, cluster):
    """Judge the output of `nbdsnap diff --json`; points as in a history."""
    diff = json.loads(text)
    verdict = Verdict()
    verdict.pairs = 1
    verdict.faults = check_shape(diff, before, after)
    dirty = dirty_map(diff, after.size)
    changed = set(differing_blocks(before, after))
    verdict.missed = sum(1 for block in changed if not dirty[block])
    verdict.dirty, verdict.changed = sum(dirty), len(changed)
    verdict.faults += [f"{e} is not zero" for e in false_zeroes(diff, after)]

    # Past the end of the older point all is new, touched or not, and so is the
    # cluster that this end cuts.
    per_cluster = cluster // BLOCK
    changed_clusters = {block // per_cluster for block in changed}
    both = (before.size // cluster if before.size < after.size
            else -(-after.size // cluster))
    for index in range(both):
        if index in changed_clusters:
            continue
        start = index * per_cluster
        stop = min(start + per_cluster, min(before.size, after.size) // BLOCK)
        if not any(dirty[start:stop]):
            continue
        if before.versions[index] == after.versions[index]:
            verdict.unexplained += 1
        else:
            verdict.rewritten += 1
    return verdict
