# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write qcow2 images with internal snapshots, table by table.

A million changed clusters through qemu-io would take hours; this takes
seconds, and `qemu-img check` finds nothing wrong with the result.

A point is {guest cluster: number}; equal numbers are one host cluster.  The
live image is the last point.
"""

import array
import os
import random
import struct
import sys

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
ENTRIES = CLUSTER // 8           # of an L1 or L2 table in one cluster
REFCOUNTS = CLUSTER // 2         # in one refcount block


def clusters(length):
    return (length + CLUSTER - 1) // CLUSTER


def big_endian(values, kind):
    """Table entries as they stand in the file, filled up to whole clusters."""
    table = array.array(kind, values)
    if sys.byteorder == "little":
        table.byteswap()
    raw = table.tobytes()
    return raw + bytes(clusters(len(raw)) * CLUSTER - len(raw))


def split(point):
    """{index of the L2 table: sorted tuple of (slot, number)} of a point."""
    tables = {}
    for guest in sorted(point):
        tables.setdefault(guest // ENTRIES, []).append((guest % ENTRIES, point[guest]))
    return {index: tuple(slots) for index, slots in tables.items()}


def snapshot_table(names, l1_offsets, l1_size, size):
    table = b""
    for number, (name, offset) in enumerate(zip(names, l1_offsets), 1):
        ident, name = str(number).encode(), name.encode()
        table += struct.pack(">QIHHIIQII", offset, l1_size, len(ident), len(name),
                             1700000000 + number, number, 0, 0, 16)
        table += struct.pack(">QQ", 0, size) + ident + name
        table += bytes(-len(table) % 8)
    return table


class Layout:
    """Which host cluster holds what, and how often each is referred to."""

    def __init__(self, points, size, names):
        self.l1_size = clusters(clusters(size) * 8)
        l1_clusters = clusters(self.l1_size * 8)
        n_tables = len(points) + 1
        self.split = [split(point) for point in points]
        users = self.split + [self.split[-1]]
        self.tables = {}
        for user in users:
            for key in user.items():
                self.tables[key] = self.tables.get(key, 0) + 1
        numbers = sorted({n for point in points for n in point.values()})
        names_length = len(snapshot_table(names, [0] * len(points), 0, 0))

        fixed = 2 + n_tables * l1_clusters + clusters(names_length) + len(self.tables)
        self.n_blocks = 1
        while self.n_blocks * REFCOUNTS < fixed + self.n_blocks + len(numbers):
            self.n_blocks += 1
        at = 2 + self.n_blocks
        self.l1 = [at + i * l1_clusters for i in range(n_tables)]
        self.snapshots = at + n_tables * l1_clusters
        at = self.snapshots + clusters(names_length)
        self.l2 = {key: at + i for i, key in enumerate(self.tables)}
        at += len(self.tables)
        self.data = {number: at + i for i, number in enumerate(numbers)}
        self.total = at + len(numbers)

    def l1_table(self, tables):
        entries = [0] * self.l1_size
        for key in tables.items():
            entries[key[0]] = self.l2[key] * CLUSTER
        return big_endian(entries, "Q")

    def l2_table(self, slots):
        entries = [0] * ENTRIES
        for slot, number in slots:
            entries[slot] = self.data[number] * CLUSTER
        return big_endian(entries, "Q")

    def refcounts(self):
        counts = array.array("H", [1]) * (self.total - len(self.data))
        counts.extend(array.array("H", [0]) * len(self.data))
        for key, users in self.tables.items():
            counts[self.l2[key]] = users
            for _, number in key[1]:
                counts[self.data[number]] += users
        return big_endian(counts, "H")


def write(path, size, points, names, content=None):
    """@content(number) gives a cluster's bytes; without it they are a hole."""
    layout = Layout(points, size, names)
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, 0, 0, CLUSTER_BITS, size, 0,
                         layout.l1_size, layout.l1[-1] * CLUSTER, CLUSTER, 1,
                         len(points), layout.snapshots * CLUSTER)
    header += struct.pack(">QQQII", 0, 0, 0, 4, 104) + bytes(8)
    blocks = [(2 + i) * CLUSTER for i in range(layout.n_blocks)]
    offsets = [at * CLUSTER for at in layout.l1[:-1]]

    with open(path, "wb") as file:
        def put(cluster, data):
            file.seek(cluster * CLUSTER)
            file.write(data)

        put(0, header)
        put(1, big_endian(blocks, "Q"))
        put(2, layout.refcounts())
        for at, tables in zip(layout.l1, layout.split + [layout.split[-1]]):
            put(at, layout.l1_table(tables))
        put(layout.snapshots, snapshot_table(names, offsets, layout.l1_size, size))
        for key, at in layout.l2.items():
            put(at, layout.l2_table(key[1]))
        if content is not None:
            for number, at in layout.data.items():
                put(at, content(number))
        file.truncate(layout.total * CLUSTER)


# ---- shapes ----

def alternating(path, n_extents):
    """A diff of @n_extents extents, clean and dirty in turn; no data."""
    size = n_extents * CLUSTER
    changed = {guest: guest for guest in range(1, n_extents, 2)}
    write(path, size, [{}, changed], ["a", "b"])
    return size


def files(random_numbers, n_virtual, n_allocated):
    """Guest clusters as a used file system has them: runs of very different
    lengths, scattered over the disk."""
    taken = set()
    while len(taken) < n_allocated:
        start = random_numbers.randrange(n_virtual)
        length = min(int(random_numbers.lognormvariate(2.5, 1.8)) + 1, 4096)
        taken.update(range(start, min(start + length, n_virtual)))
    return taken


def used_disk(path, size, allocated, n_changed, seed=1):
    """A disk in use and a day's changes: overwritten, new and discarded
    clusters.  Returns the changed guest clusters, sorted."""
    numbers = random.Random(seed)
    n_virtual = size // CLUSTER
    taken = sorted(files(numbers, n_virtual, allocated // CLUSTER))
    old = {guest: number for number, guest in enumerate(taken)}
    new = dict(old)
    unused = len(taken)
    changed = set()
    while len(changed) < n_changed:
        spot = numbers.randrange(len(taken))
        for guest in taken[spot:spot + numbers.randrange(1, 12)]:
            if len(changed) < n_changed and guest not in changed:
                changed.add(guest)
                new[guest], unused = unused, unused + 1
        guest = numbers.randrange(n_virtual)
        if guest not in old and len(changed) < n_changed:
            changed.add(guest)
            new[guest], unused = unused, unused + 1
    for guest in sorted(changed & set(old))[::20]:
        del new[guest]
    noise = os.urandom(CLUSTER)

    def content(number):
        return struct.pack(">Q", number) + noise[8:]

    write(path, size, [old, new], ["a", "b"], content)
    return sorted(changed)
