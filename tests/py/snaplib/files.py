# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be done to a file beyond writing: holes, preallocation, clones."""

import ctypes
import fcntl
import mmap
import os
import struct

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE = 1, 2, 8
ZERO_RANGE, INSERT_RANGE = 16, 32
FICLONERANGE = 0x4020940D
FIDEDUPERANGE = 0xC0189436
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_NOCOW_FL = 0x80086601, 0x40086602, 0x00800000
FIEMAP = 0xC020660B

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd, mode, offset, length):
    if _libc.fallocate(fd, mode, offset, length) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def clone_range(to, to_offset, source, offset, length):
    fcntl.ioctl(to, FICLONERANGE, struct.pack("=qQQQ", source, offset, length, to_offset))


def dedupe(source, offset, length, to, to_offset):
    """The number of bytes that were found equal and are shared now."""
    room = bytearray(struct.pack("=QQHHI", offset, length, 1, 0, 0)
                     + struct.pack("=qQQiI", to, to_offset, 0, 0, 0))
    fcntl.ioctl(source, FIDEDUPERANGE, room, True)
    done, status = struct.unpack_from("=Qi", room, 24 + 16)
    return done if status == 0 else 0


def set_nodatacow(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        flags = struct.unpack_from("=I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))[0]
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("=Q", flags | FS_NOCOW_FL))
    finally:
        os.close(fd)


def write_direct(path, offset, data):
    """Through O_DIRECT; offset and length in whole blocks."""
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    room = mmap.mmap(-1, len(data))
    try:
        room.write(data)
        os.pwritev(fd, [room], offset)
    finally:
        os.close(fd)
        room.close()


def write_mapped(path, offset, data):
    with open(path, "r+b") as file:
        with mmap.mmap(file.fileno(), 0) as view:
            view[offset:offset + len(data)] = data


def fiemap(path, flags=1):
    """(logical, physical, length, flags) of every extent."""
    fd = os.open(path, os.O_RDONLY)
    try:
        count, start, extents = 1000, 0, []
        while True:
            room = bytearray(struct.pack("=QQIIII", start, 2**63 - 1 - start, flags, 0, count, 0)
                             + bytes(56 * count))
            fcntl.ioctl(fd, FIEMAP, room, True)
            found = struct.unpack_from("=I", room, 20)[0]
            for i in range(found):
                fields = struct.unpack_from("=QQQQQI", room, 32 + 56 * i)
                extents.append((*fields[:3], fields[5]))
            if found == 0 or extents[-1][3] & 1:
                return extents
            start = extents[-1][0] + extents[-1][2]
    finally:
        os.close(fd)
