# SPDX-License-Identifier: LGPL-2.1-or-later
"""The judge of histories on LVM: bytes first, and then what other programs say
of the same metadata."""

import json
import re
import subprocess

from snaplib import lvm, oracle, tools

SECTOR = oracle.BLOCK


# ---- the truth ----

def settle(bed):
    """What the snapshots hold, against what was seen at their cuts; faults."""
    points = [p for disk in bed.disks for p in disk.points + disk.orphans]
    names = bed.names(points)
    thin = bed.setup.kind == "thin"
    if thin and names:
        bed.lvm("lvchange", "-ay", "-K", *names)
    faults = []
    for point in points:
        held = lvm.content(f"/dev/{bed.group.name}/{point.volume}")
        faults += compare_with_cut(point, held)
        point.content = held
    if thin and names:
        bed.lvm("lvchange", "-an", *names)
    return faults


def compare_with_cut(point, held):
    seen, own = point.content, 0
    if point.moments:
        writer, earliest, latest = point.moments
        own = writer.n_blocks * lvm.BLOCK
        # One write may be done and not counted yet.
        if not writer.is_of_one_moment(held, earliest) or writer.newest(held) > latest + 1:
            return [f"{point.name}: what was written meanwhile was at no moment so"]
    if held[own:] != seen[own:]:
        return [f"{point.name}: holds something else than at its cut"]
    return []


# ---- many questions ----

class Asker:
    """`nbdsnap diff` in one process for all questions about a bed."""

    def __init__(self, bed):
        self.process = subprocess.Popen(
            [tools.BUILD / "tests" / "fakes" / "many-diffs", bed.folder / "state"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(60) == 0

    def ask(self, *arguments):
        """A finished process, as if there had been one."""
        print(*arguments, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if answer.endswith('"complete":true}\n'):
            return subprocess.CompletedProcess(arguments, 0, answer, "")
        code, _, reason = self.process.stdout.readline().partition(" ")
        return subprocess.CompletedProcess(arguments, int(code), answer, reason)


# ---- by the metadata alone ----

def dump(pool):
    """{thin id: {chunk: (data block, time)}} of the metadata snapshot."""
    text = lvm.command("thin_dump", "--metadata-snap", pool.tmeta)
    devices = {}
    for line in text.splitlines():
        number = {key: int(value) for key, value in re.findall(r'(\w+)="(\d+)"', line)}
        if "<device" in line:
            mappings = devices[number["dev_id"]] = {}
        elif "<single_mapping" in line:
            mappings[number["origin_block"]] = (number["data_block"], number["time"])
        elif "<range_mapping" in line:
            for i in range(number["length"]):
                mappings[number["origin_begin"] + i] = (number["data_begin"] + i, number["time"])
    return devices


def thin_delta(pool, a, b):
    """{chunk: whether only the older one maps it}."""
    return {at: kind == "left_only"
            for kind, begin, length in pool.thin_delta(a, b) if kind != "same"
            for at in range(begin, begin + length)}


def by_dump(old, new):
    """The same from what thin_dump tells of both."""
    return {at: at not in new for at in old.keys() | new.keys()
            if old.get(at, "none")[0] != new.get(at, "none")[0]}


def by_metadata(bed, asker, a, b):
    """The same by our own walk of it."""
    result = asker.ask(f"thin-meta:{bed.pool.tmeta}@{a.thin_id}..{b.thin_id}")
    assert result.returncode == 0, result.stderr
    chunk = bed.setup.chunk
    return {at: extent["zero"] for extent in json.loads(result.stdout)["extents"]
            for at in range(extent["offset"] // chunk,
                            (extent["offset"] + extent["length"]) // chunk)}


def judge_chunks(bed, found, before, after, verdict):
    """What the metadata says against the bytes, as far as both reach."""
    chunk, size = bed.setup.chunk, min(before.size, after.size)
    changed = {block * SECTOR // chunk for block in oracle.differing_blocks(before, after)
               if block * SECTOR < size}
    verdict.pairs += 1
    verdict.missed += len(changed - found.keys())
    for at in found.keys() - changed:
        if at * chunk < size and before.versions[at] == after.versions[at]:
            verdict.unexplained += 1
    for at, zero in found.items():
        part = after.content[at * chunk:(at + 1) * chunk]
        if zero and any(part) and not bed.setup.external:
            verdict.faults.append(f"chunk {at} is not zero")


def compare(found, told, who, before, after, verdict):
    if found != told:
        verdict.faults.append(f"{before.name}..{after.name}: {who} says otherwise: "
                              f"{sorted(set(found.items()) ^ set(told.items()))[:5]}")


def judge_metadata(bed, asker, pairs, deltas):
    """Every pair, with one metadata snapshot held, `deltas` of them by
    thin_delta as well; and what was seen."""
    verdict, seen = oracle.Verdict(), {}
    bed.pool.reserve()
    try:
        devices = dump(bed.pool)
        for number, (before, after) in enumerate(pairs):
            found = by_metadata(bed, asker, before, after)
            compare(found, by_dump(devices[before.thin_id], devices[after.thin_id]),
                    "thin_dump", before, after, verdict)
            if number * deltas // len(pairs) != (number + 1) * deltas // len(pairs):
                compare(found, thin_delta(bed.pool, before.thin_id, after.thin_id),
                        "thin_delta", before, after, verdict)
            judge_chunks(bed, found, before, after, verdict)
            look(devices, bed.setup.chunk, before, after, seen)
    finally:
        bed.pool.release()
    return verdict, seen


# ---- by the driver ----

def diff(bed, before, after, program=None, asker=None):
    """Points with the disk they are of, by a program of its own or not."""
    (one, older), (other, newer) = before, after
    left, right = one.reference(older), other.reference(newer)
    refs = [left, right]
    if left.partition("@")[0] == right.partition("@")[0]:
        refs = [f"{left}..{newer.name}"]
    if asker:
        return asker.ask(*refs)
    return subprocess.run(
        [str(program or tools.nbdsnap()), "--state-dir", str(bed.folder / "state"), "-q",
         "diff", "--json", *refs], capture_output=True, text=True, timeout=120)


def judge_pair(bed, before, after, program=None, asker=None):
    """By the bytes; before and after are (disk, point)."""
    result = diff(bed, before, after, program, asker)
    name = f"{before[1].name}..{after[1].name} of {after[0].name}"
    if result.returncode != 0:
        verdict = oracle.Verdict()
        verdict.pairs = 1
        if not is_over_another_base(before[0], before[1], after[0], after[1]) \
                or result.returncode != 5:
            verdict.faults.append(f"{name}: {result.returncode}: {result.stderr}")
        return verdict, None
    answer = json.loads(result.stdout)
    verdict = oracle.judge(result.stdout, before[1], after[1], bed.setup.chunk)
    verdict.faults = [f"{name}: {fault}" for fault in verdict.faults]
    if verdict.missed:
        verdict.faults.append(f"{name}: missed {verdict.missed} blocks")
    # The versions are of chunks of the disk's own size.
    if verdict.unexplained and answer["proof"] == "exact" \
            and answer["granularity"] == bed.setup.chunk:
        verdict.faults.append(f"{name}: {verdict.unexplained} chunks unexplained")
    return verdict, answer


def is_over_another_base(one, older, other, newer):
    """Every disk over a base has one of its own, also the successor of one
    whose snapshots outlived it."""
    return one.setup.external and (
        one is not other or (older in one.orphans) != (newer in other.orphans))


# ---- what occurred ----

THIN_ROWS = (
    "chunk: unmapped on both sides", "chunk: mapped alike",
    "chunk: mapped alike, at another time", "chunk: mapped elsewhere",
    "chunk: mapped by the older only", "chunk: mapped by the newer only",
    "pair: all alike", "pair: all else", "tree: one leaf", "tree: several leaves",
    "tree: empty", "size: mapped past the end", "size: grown", "size: shrunk",
    "size: not a multiple of the chunk", "id used again", "name used again",
)


def look(devices, chunk, before, after, seen):
    def note(row, n=1):
        seen[row] = seen.get(row, 0) + n
    one, other = devices[before.thin_id], devices[after.thin_id]
    for at in range(-(-min(before.size, after.size) // chunk)):
        note("chunk: " + kind_of_pair(one.get(at), other.get(at)))
    note("pair: all alike", one == other)
    note("pair: all else", not set(one.items()) & set(other.items()))
    for mappings, point in ((one, before), (other, after)):
        note("tree: empty", not mappings)
        note("tree: one leaf", 0 < len(mappings) <= 126)
        note("tree: several leaves", len(mappings) > 252)
        note("size: mapped past the end", any(at * chunk >= point.size for at in mappings))
        note("size: not a multiple of the chunk", point.size % chunk != 0)
    note("size: grown", after.size > before.size)
    note("size: shrunk", after.size < before.size)


def kind_of_pair(old, new):
    if old is None or new is None:
        return ("unmapped on both sides" if old is new else
                "mapped by the newer only" if old is None else "mapped by the older only")
    if old[0] != new[0]:
        return "mapped elsewhere"
    return "mapped alike" if old == new else "mapped alike, at another time"


def table(rows, seen):
    width = max(map(len, rows))
    yield f"{'what occurred':<{width}}  times"
    for row in rows:
        yield f"{row:<{width}}  {seen.get(row, 0)}"
