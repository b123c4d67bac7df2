# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process that writes numbered blocks in a known order, and what a snapshot
that is cut meanwhile must look like.

Write number n, from 1 on, goes to one block and fills it with n; some punch it
out instead.  Each ends before the next one begins, and now and then all are
flushed, as by a guest's barrier.
"""

import mmap
import os
import struct
import time
import traceback

from snaplib import files

BLOCK = 4096
STRIDE = 1013  # has no common factor with the number of blocks, a power of two
PUNCH_EVERY = 7
FLUSH_EVERY = 16  # has none with the former


def block_of(n, n_blocks):
    return n * STRIDE % n_blocks


def last_write(block, now, n_blocks):
    """The number of the last write to a block up to `now`; below 1 if none."""
    first = block * pow(STRIDE, -1, n_blocks) % n_blocks
    return now - (now - first) % n_blocks


def last_flushed(n):
    """The last write that a flush covered before write n began."""
    return (n - 1) // FLUSH_EVERY * FLUSH_EVERY


def stamp(n):
    return struct.pack("<Q", n) * (BLOCK // 8)


class Writer:
    """Writes to `n_blocks` blocks from `first` on, `how` is "direct" or
    "buffered"; the latter punches holes, too.  `initial` is the file before,
    and `rest` how many seconds lie between two writes."""

    def __init__(self, how, path, first, n_blocks, counter, initial, rest=0):
        self.how, self.first, self.n_blocks = how, first, n_blocks
        self.initial = self.blocks(initial)
        # How many are done, and whether it is enough.  No pipe: another writer
        # that is forked meanwhile would keep its end open.
        counter.write_bytes(bytes(16))
        with open(counter, "r+b") as file:
            self.counter = mmap.mmap(file.fileno(), 16)
        self.owner = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self.live(path, rest)

    def live(self, path, rest):
        """The life of the process that writes."""
        status = 1
        try:
            self.run(path, rest)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def n_done(self):
        return struct.unpack("<Q", self.counter[:8])[0]

    def wait_for(self, n):
        """Until that many are done."""
        while self.n_done() < n:
            assert os.waitpid(self.pid, os.WNOHANG) == (0, 0), "the writer ended"
            time.sleep(0.01)

    def stop(self):
        self.counter[8] = 1
        assert os.waitpid(self.pid, 0)[1] == 0

    def is_enough(self):
        return self.counter[8] or os.getppid() != self.owner

    def run(self, path, rest):
        fd = os.open(path, os.O_RDWR | (os.O_DIRECT if self.how == "direct" else 0))
        room = mmap.mmap(-1, BLOCK)
        n = 0
        while n % FLUSH_EVERY or not self.is_enough():
            n += 1
            offset = (self.first + block_of(n, self.n_blocks)) * BLOCK
            if self.is_punch(n):
                files.fallocate(fd, files.PUNCH_HOLE | files.KEEP_SIZE, offset, BLOCK)
            else:
                room[:] = stamp(n)
                assert os.pwritev(fd, [room], offset) == BLOCK
            self.counter[:8] = struct.pack("<Q", n)
            if n % FLUSH_EVERY == 0:
                os.fsync(fd)
            if rest:
                time.sleep(rest)

    # ---- what it leaves ----

    def blocks(self, content):
        start = self.first * BLOCK
        return [content[at:at + BLOCK]
                for at in range(start, start + self.n_blocks * BLOCK, BLOCK)]

    def is_punch(self, n):
        return self.how == "buffered" and n % PUNCH_EVERY == 0

    def expected(self, block, now):
        n = last_write(block, now, self.n_blocks)
        if n < 1:
            return self.initial[block]
        return bytes(BLOCK) if self.is_punch(n) else stamp(n)

    def is_as_new(self, block, found, now, latest):
        """Whether a block holds what was written last up to `now`, or by any
        write from then to `latest`."""
        return found == self.expected(block, now) or any(
            found == self.expected(block, n)
            for n in range(last_write(block, latest, self.n_blocks), now, -self.n_blocks))

    def too_old(self, content, now, latest):
        return [self.first + block for block, found in enumerate(self.blocks(content))
                if not self.is_as_new(block, found, now, latest)]

    def newest(self, content):
        """The number of the last write that shows, but for holes; 0 if none."""
        found = [(struct.unpack_from("<Q", block)[0], block) for block in self.blocks(content)]
        return max((n for n, block in found if block == stamp(n)), default=0)

    def out_of_order(self, content, earliest, latest):
        """Blocks that lack what was written before the cut began, or before a
        flush after which another write is there."""
        needed = max(earliest, last_flushed(self.newest(content)))
        return self.too_old(content, needed, latest)

    def is_of_one_moment(self, content, earliest):
        """Whether all of it was there at once, with no write but a whole one."""
        blocks = self.blocks(content)
        seen = max(earliest, self.newest(content))
        # A hole shows no number, and no two are punched in a row.
        return any(all(found == self.expected(block, now) for block, found in enumerate(blocks))
                   for now in (seen, seen + 1))

