# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the images of random histories held: proof that every kind of entry and
every trap occurred.  Reads the images with a few lines of its own.
"""

import collections
import struct

COPIED = 1 << 63
COMPRESSED = 1 << 62
OFFSET = 0x00fffffffffffe00

ROWS = (
    "cluster: unallocated", "cluster: data", "cluster: zero, plain",
    "cluster: zero, allocated", "cluster: compressed", "cluster: subclusters mixed",
    "L1: absent", "L1: shared by two points", "L1: each its own",
    "L1: absent on one side only", "pair: COPIED differs on one place",
    "pair: same cluster, other subclusters", "pair: zero against unallocated",
    "pair: data against zero", "pair: compressed against data",
    "size: point larger than the image", "size: point smaller than the image",
    "size: not a multiple of the cluster", "backing: shorter than the image",
    "backing: longer than the image", "backing: not a multiple of the cluster",
    "name: given twice", "id: used again", "version 2", "version 3",
    "extended L2", "zstd", "lazy refcounts", *(
        f"cluster size {size}" for size in
        (512, 1024, 4096, 16384, 65536, 262144, 2097152)),
)


class Image:
    """Just enough of a qcow2 image to walk its tables."""

    def __init__(self, path):
        self.data = path.read_bytes()
        fields = struct.unpack(">4sIQIIQIIQQIIQ", self.data[:72])
        self.version, self.bits, self.l1_size, self.l1_offset = (
            fields[1], fields[4], fields[7], fields[8])
        self.extended = False
        if self.version == 3:
            self.extended = bool(struct.unpack(">Q", self.data[72:80])[0] & 16)
        self.layers = {"live": self.l1(self.l1_offset, self.l1_size)}
        at = fields[12]
        for _ in range(fields[11]):
            offset, size, id_size, name_size = struct.unpack(">QIHH", self.data[at:at + 16])
            extra = struct.unpack(">I", self.data[at + 36:at + 40])[0]
            start = at + 40 + extra
            name = self.data[start:start + id_size].decode()
            self.layers[name] = self.l1(offset, size)
            at = (start + id_size + name_size + 7) & ~7

    def l1(self, offset, size):
        return struct.unpack(f">{size}Q", self.data[offset:offset + size * 8])

    def l2(self, entry):
        """Pairs (descriptor, subclusters)."""
        offset = entry & OFFSET
        if not offset:
            return None
        words = struct.unpack(f">{(1 << self.bits) // 8}Q",
                              self.data[offset:offset + (1 << self.bits)])
        if self.extended:
            return list(zip(words[::2], words[1::2]))
        return [(word, 0) for word in words]


def kind(descriptor, subclusters, extended):
    if descriptor & COMPRESSED:
        return "compressed"
    if extended:
        allocated, zero = subclusters & 0xffffffff, subclusters >> 32
        if allocated not in (0, 0xffffffff) or (zero and zero != 0xffffffff):
            return "subclusters mixed"
        if zero:
            return "zero, allocated" if descriptor & OFFSET else "zero, plain"
        return "data" if allocated else "unallocated"
    if descriptor & 1:
        return "zero, allocated" if descriptor & OFFSET else "zero, plain"
    return "data" if descriptor & OFFSET else "unallocated"


def of_pair(image, one, other, seen):
    for a, b in zip(image.layers[one], image.layers[other]):
        if a & OFFSET == b & OFFSET:
            seen["L1: shared by two points" if a & OFFSET else "L1: absent"] += 1
            seen["pair: COPIED differs on one place"] += a != b
            continue
        seen["L1: each its own"] += 1
        left, right = image.l2(a), image.l2(b)
        if left is None or right is None:
            seen["L1: absent on one side only"] += 1
            continue
        for (d, s), (e, t) in zip(left, right):
            of_entries(image, (d, s), (e, t), seen)


def of_entries(image, one, other, seen):
    if one == other:
        return
    kinds = {kind(*one, image.extended), kind(*other, image.extended)}
    zero = any(k.startswith("zero") for k in kinds)
    same_place = one[0] & ~COPIED == other[0] & ~COPIED
    if same_place and one[1] == other[1]:
        seen["pair: COPIED differs on one place"] += 1
    if same_place and one[1] != other[1] and one[0] & OFFSET:
        seen["pair: same cluster, other subclusters"] += 1
    if zero and "unallocated" in kinds:
        seen["pair: zero against unallocated"] += 1
    if zero and "data" in kinds:
        seen["pair: data against zero"] += 1
    if kinds == {"compressed", "data"}:
        seen["pair: compressed against data"] += 1


def of_setup(history, seen):
    setup = history.setup
    seen[f"version {setup.version}"] += 1
    seen[f"cluster size {setup.cluster}"] += 1
    seen["extended L2"] += setup.extended
    seen["zstd"] += setup.zstd
    seen["lazy refcounts"] += setup.lazy
    seen["name: given twice"] += "same name twice" in history.events
    if setup.backing:
        size = len(history.backing_content)
        seen["backing: shorter than the image"] += size < history.size
        seen["backing: longer than the image"] += size > history.size
        seen["backing: not a multiple of the cluster"] += size % setup.cluster != 0


def of_history(history, points):
    seen = collections.Counter()
    image = Image(history.image)
    of_setup(history, seen)
    seen["id: used again"] += history.ids_used_again
    for layer in image.layers.values():
        for entry in layer:
            for descriptor, subclusters in image.l2(entry) or ():
                seen["cluster: " + kind(descriptor, subclusters, image.extended)] += 1
    names = list(image.layers)
    for i, one in enumerate(names):
        for other in names[:i]:
            of_pair(image, one, other, seen)
    for point in points.values():
        if point.name in ("empty", "backing"):
            continue
        seen["size: point larger than the image"] += point.size > history.size
        seen["size: point smaller than the image"] += point.size < history.size
        seen["size: not a multiple of the cluster"] += point.size % history.setup.cluster != 0
    return dict(seen)


def table(seen):
    width = max(map(len, ROWS))
    yield f"{'what occurred':<{width}}  times"
    for row in ROWS:
        yield f"{row:<{width}}  {seen[row]}"
