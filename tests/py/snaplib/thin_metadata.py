# SPDX-License-Identifier: LGPL-2.1-or-later
"""Metadata of thin pools as the kernel lays it out, written block by block:
devices that share subtrees, which thin_restore does not make.

Nodes hold few entries, so that small maps have deep trees.
"""

import struct

BLOCK = 4096
MAGIC = 27022010
SUPERBLOCK_SALT, NODE_SALT = 160774, 121107
INTERNAL, LEAF = 1, 2


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _crc_table()


def seal(block, salt):
    """The checksum over all but itself goes in front."""
    crc = 0xFFFFFFFF
    for byte in block[4:]:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    block[:4] = struct.pack("<I", crc ^ salt)
    return block


class Metadata:
    def __init__(self, chunk_sectors=128):
        self.chunk_sectors = chunk_sectors
        self.blocks = [None]  # the superblock comes last
        self.roots, self.mappings = {}, {}
        self.written = {}

    def node(self, flags, keys, values, room):
        """One with this content that is there already is shared."""
        content = (flags, tuple(keys), tuple(values), room)
        if content in self.written:
            return self.written[content]
        size = len(values[0]) if values else 8
        block = bytearray(BLOCK)
        struct.pack_into("<IQIII", block, 4, flags, len(self.blocks), len(keys), room, size)
        block[32:32 + 8 * len(keys)] = struct.pack(f"<{len(keys)}Q", *keys)
        at = 32 + 8 * room
        block[at:at + size * len(values)] = b"".join(values)
        self.blocks.append(seal(block, NODE_SALT))
        self.written[content] = len(self.blocks) - 1
        return len(self.blocks) - 1

    def tree(self, entries, room=6, fill=5, first=0, value_size=8):
        """`entries` is {key: value}; the first leaf takes `first` of them."""
        keys = sorted(entries)
        if not keys:
            return self.node(LEAF, [], [], room if value_size == 8 else 3)
        cuts = [0, *range(first or fill, len(keys), fill), len(keys)]
        level = [(keys[a], self.node(LEAF, keys[a:b], [entries[k] for k in keys[a:b]], room))
                 for a, b in zip(cuts, cuts[1:])]
        while len(level) > 1:
            level = [(part[0][0], self.node(INTERNAL, [k for k, _ in part],
                                            [struct.pack("<Q", child) for _, child in part], room))
                     for part in (level[i:i + fill] for i in range(0, len(level), fill))]
        return level[0][1]

    def device(self, number, mappings, **shape):
        """`mappings` is {chunk: (data block, time)}."""
        self.mappings[number] = mappings
        self.roots[number] = self.tree({at: struct.pack("<Q", block << 24 | time)
                                        for at, (block, time) in mappings.items()}, **shape)

    def write(self, path):
        tops = self.tree({n: struct.pack("<Q", root) for n, root in self.roots.items()})
        details = self.tree({n: struct.pack("<QQII", len(m), 1, 1, 2)
                             for n, m in self.mappings.items()})
        block = bytearray(BLOCK)
        struct.pack_into("<QIIQQ", block, 32, MAGIC, 2, 9, 3, 0)
        struct.pack_into("<QQIIQ", block, 320, tops, details, self.chunk_sectors, 8,
                         len(self.blocks))
        self.blocks[0] = seal(block, SUPERBLOCK_SALT)
        path.write_bytes(b"".join(self.blocks))

    def expected(self, a, b):
        """{chunk: whether it is unmapped now} of what differs."""
        one, other = self.mappings[a], self.mappings[b]
        return {at: at not in other for at in one.keys() | other.keys()
                if one.get(at, (None,))[0] != other.get(at, (None,))[0]}

    def pairs(self):
        return [(a, b) for a in self.roots for b in self.roots if a != b]


def pool():
    """One with a device for every kind of pair."""
    made = Metadata()
    base = {at: (1000 + at * 256, 1) for at in range(200)}
    made.device(1, base)
    made.device(2, {**base, 3: (9000000, 2)})
    made.device(3, {})
    made.device(4, {at: base[at] for at in (0, 1, 2)})  # not as high
    made.device(5, {at: (block, 7) for at, (block, _) in base.items()})
    made.device(6, {**base, 150: (9000001, 3)}, first=2)  # split elsewhere
    made.device(7, {at: m for at, m in base.items() if at not in (50, 51, 199)})
    made.device(8, {**base, **{at: (9000100 + at, 4) for at in range(200, 260)}})
    made.device(9, {at: m for at, m in base.items() if at >= 20})  # another start
    made.device(10, {**base, **{at: (9001001 + at * 256, 4) for at in range(60, 90, 2)}})
    made.device(11, {**base, 100: (base[100][0] + 1, 1), 101: (base[101][0] + (1 << 32), 1)})
    made.device(13, {at + 1: base[at] for at in range(4)})  # what device 4 has elsewhere
    made.device(12, {at * 7: (9100000 + at, 1) for at in range(40)}, fill=3)
    return made
