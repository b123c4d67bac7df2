# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which pages of a file are in the page cache."""

import contextlib
import ctypes
import mmap
import os

PAGE = mmap.PAGESIZE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
                       ctypes.c_int, ctypes.c_long]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


@contextlib.contextmanager
def _opened(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def cached(path):
    """The numbers of the pages that are cached."""
    with _opened(path) as fd:
        size = os.fstat(fd).st_size
        room = ctypes.create_string_buffer(-(-size // PAGE))
        # PROT_NONE: nothing here is to bring a page in.
        at = _libc.mmap(None, size, 0, mmap.MAP_SHARED, fd, 0)
        assert at != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
        try:
            assert _libc.mincore(at, size, room) == 0, os.strerror(ctypes.get_errno())
        finally:
            _libc.munmap(at, size)
    return {page for page, resident in enumerate(room.raw) if resident & 1}


def drop(path):
    with _opened(path) as fd:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def read(path, first, n):
    """Bring in exactly these pages, without reading ahead."""
    with _opened(path) as fd:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(fd, n * PAGE, first * PAGE)
