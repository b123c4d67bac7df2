# SPDX-License-Identifier: LGPL-2.1-or-later
"""One reply of an NBD server as its chunks come in, each judged by the
specification and by the request."""

import struct

from snaplib import nbd_wire as wire
from snaplib.nbd_wire import expect

# Bits that mean something; the rest must be 0.
CONTEXT_BITS = {"base:allocation": 3}


class Reply:
    def __init__(self, kind, offset, length, flags, contexts, size, style):
        self.kind, self.offset, self.length, self.flags = kind, offset, length, flags
        self.contexts, self.size, self.style = contexts, size, style
        self.error, self.text, self.is_done = 0, "", False
        self.extents = {}       # context: [(length, flags)]
        self.chunks = []        # kinds, as they came
        self.data = bytearray(length if kind == wire.READ and length <= 1 << 30 else 0)
        self.covered = []       # (offset, end) of content

    # ---- before the payload of a chunk is read ----

    def check_length(self, kind, length):
        """A length is right by itself before anything is taken."""
        if kind == wire.CHUNK_NONE:
            expect(length == 0, "NONE of", length)
        elif kind == wire.CHUNK_DATA:
            expect(8 < length <= 8 + wire.MAX_PAYLOAD, "data of", length)
        elif kind == wire.CHUNK_HOLE:
            expect(length == 12, "a hole of", length)
        elif kind == wire.CHUNK_STATUS:
            expect(self.style == wire.STRUCTURED, "a short status in a long header")
            expect(12 <= length <= 4 + 8 * wire.MAX_EXTENTS and length % 8 == 4,
                   "a status of", length)
        elif kind == wire.CHUNK_STATUS_EXT:
            expect(self.style == wire.EXTENDED, "a long status in a short header")
            expect(24 <= length <= 8 + 16 * wire.MAX_EXTENTS and length % 16 == 8,
                   "a long status of", length)
        elif kind in (wire.CHUNK_ERROR, wire.CHUNK_ERROR_OFFSET):
            least = 6 if kind == wire.CHUNK_ERROR else 14
            expect(least <= length <= least + wire.MAX_STRING, "an error of", length)
        else:
            expect(False, f"chunk type {kind:#x}")

    # ---- chunks ----

    def add(self, flags, kind, data):
        expect(flags in (0, wire.DONE), f"chunk flags {flags:#x}")
        self.chunks.append(kind)
        if kind == wire.CHUNK_NONE:
            expect(flags == wire.DONE, "NONE before the end")
        elif kind == wire.CHUNK_DATA:
            at = struct.unpack(">Q", data[:8])[0]
            self.cover(at, len(data) - 8)
            at -= self.offset
            self.data[at:at + len(data) - 8] = data[8:]
        elif kind == wire.CHUNK_HOLE:
            self.cover(*struct.unpack(">QI", data))
        elif kind in (wire.CHUNK_STATUS, wire.CHUNK_STATUS_EXT):
            self.add_status(data)
        else:
            self.add_error(kind, data)
        if flags == wire.DONE:
            self.finish()

    def cover(self, at, length):
        expect(self.kind == wire.READ, "content for command", self.kind)
        expect(length > 0, "a chunk of nothing")
        expect(at >= self.offset and at + length <= self.offset + self.length,
               "content outside of the request:", at, length)
        expect(all(at >= end or at + length <= start for start, end in self.covered),
               "content twice:", at, length)
        expect(not self.flags & wire.DF or not self.covered, "several chunks in spite of DF")
        self.covered.append((at, at + length))

    def add_status(self, data):
        expect(self.kind == wire.BLOCK_STATUS, "a status for command", self.kind)
        number = struct.unpack(">I", data[:4])[0]
        expect(number in self.contexts, "a context that was not asked for:", number)
        name = self.contexts[number]
        expect(name not in self.extents, "a context twice:", name)
        if self.style == wire.EXTENDED:
            expect(struct.unpack(">I", data[4:8])[0] == (len(data) - 8) // 16,
                   "another count of extents than there are")
            found = list(struct.iter_unpack(">QQ", data[8:]))
        else:
            found = list(struct.iter_unpack(">II", data[4:]))
        self.check_extents(name, found)
        self.extents[name] = found

    def check_extents(self, name, found):
        allowed = CONTEXT_BITS.get(name, 1)
        for length, flags in found:
            expect(length > 0, "an extent of nothing in", name)
            expect(not flags & ~allowed, f"flags {flags:#x} in {name}")
        total = sum(length for length, _ in found)
        expect(self.offset + total <= self.size, name, "goes past the end of the export")
        expect(total - found[-1][0] < self.length, name, "goes on after the request")
        if self.flags & wire.REQ_ONE:
            expect(len(found) == 1 and total <= self.length, "not one extent:", found)

    def add_error(self, kind, data):
        self.error, length = struct.unpack(">IH", data[:6])
        expect(self.error in wire.ERRORS, "error", self.error)
        expect(self.error != wire.EOVERFLOW or self.flags & wire.DF, "EOVERFLOW without DF")
        at_end = 8 if kind == wire.CHUNK_ERROR_OFFSET else 0
        expect(length == len(data) - 6 - at_end, "an error's text of", length)
        self.text = wire.text_of(data[6:6 + length])
        if at_end:
            at = struct.unpack(">Q", data[-8:])[0]
            expect(self.offset <= at < self.offset + self.length, "an error elsewhere:", at)

    # ---- the end ----

    def finish(self):
        self.is_done = True
        if self.error:
            return
        if self.kind == wire.READ:
            expect(sum(end - start for start, end in self.covered) == self.length,
                   "not all that was asked for:", self.covered)
        if self.kind == wire.BLOCK_STATUS:
            expect(set(self.extents) == set(self.contexts.values()) and self.extents,
                   "not all contexts:", list(self.extents))

    # ---- what this server promises beyond the specification ----

    def check_coverage(self):
        """All contexts cover the same; neighbours differ."""
        expect(len({sum(length for length, _ in found)
                    for found in self.extents.values()}) == 1, "unequal coverage")
        for found in self.extents.values():
            expect(all(a[1] != b[1] for a, b in zip(found, found[1:])), "equal neighbours")
