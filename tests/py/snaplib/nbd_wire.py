# SPDX-License-Identifier: LGPL-2.1-or-later
"""The NBD protocol as numbers and bytes, from the client's side: after
doc/proto.md of the NetworkBlockDevice project, and its branch
extension-ext-header for extended headers."""

import struct

GREETING, IHAVEOPT, OPTION_REPLY = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
REQUEST, EXTENDED_REQUEST = 0x25609513, 0x21E41C71
SIMPLE_REPLY, STRUCTURED_REPLY, EXTENDED_REPLY = 0x67446698, 0x668E33EF, 0x6E8A278C

FIXED_NEWSTYLE, NO_ZEROES = 1, 2

(OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_PEEK, OPT_STARTTLS, OPT_INFO, OPT_GO,
 OPT_STRUCTURED_REPLY, OPT_LIST_META, OPT_SET_META, OPT_EXTENDED_HEADERS) = range(1, 12)

REP_ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
REP_ERROR = 1 << 31
(ERR_UNSUP, ERR_POLICY, ERR_INVALID, ERR_PLATFORM, ERR_TLS_REQD, ERR_UNKNOWN, ERR_SHUTDOWN,
 ERR_BLOCK_SIZE_REQD, ERR_TOO_BIG, ERR_EXT_HEADER_REQD) = range(REP_ERROR + 1, REP_ERROR + 11)

INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = range(4)

FLAG_HAS_FLAGS, FLAG_READ_ONLY, FLAG_SEND_DF, FLAG_MULTI_CONN, FLAG_CACHE = (
    1, 1 << 1, 1 << 7, 1 << 8, 1 << 10)
FLAG_STATUS_PAYLOAD = 1 << 12

(READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS) = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << bit for bit in range(6))

(CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE) = range(3)
CHUNK_STATUS, CHUNK_STATUS_EXT = 5, 6
CHUNK_ERROR, CHUNK_ERROR_OFFSET = 0x8001, 0x8002
DONE = 1

EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = (
    1, 5, 12, 22, 28, 75, 95, 108)
ERRORS = {EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN}

MAX_STRING = 4096
MAX_PAYLOAD = 32 << 20
MAX_EXTENTS = 1 << 20

SIMPLE, STRUCTURED, EXTENDED = range(3)

# Which replies an option may get before its last one.
REPLIES_OF = {OPT_LIST: {REP_SERVER}, OPT_INFO: {REP_INFO}, OPT_GO: {REP_INFO},
              OPT_LIST_META: {REP_META}, OPT_SET_META: {REP_META}}


class Broken(Exception):
    """The server did what the specification does not allow."""


def expect(condition, *words):
    if not condition:
        raise Broken(" ".join(map(str, words)))


# ---- to the server ----

def option(code, data=b""):
    return struct.pack(">QII", IHAVEOPT, code, len(data)) + data


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">I", len(data)) + data


def info_data(name, infos=()):
    return string(name) + struct.pack(f">H{len(infos)}H", len(infos), *infos)


def queries_data(name, queries):
    return string(name) + struct.pack(">I", len(queries)) + b"".join(map(string, queries))


def request(style, kind, cookie, offset=0, length=0, flags=0):
    if style == EXTENDED:
        return struct.pack(">IHHQQQ", EXTENDED_REQUEST, flags, kind, cookie, offset, length)
    return struct.pack(">IHHQQI", REQUEST, flags, kind, cookie, offset, length)


def status_payload(length, ids):
    return struct.pack(f">Q{len(ids)}I", length, *ids)


# ---- from the server ----

def text_of(data):
    expect(len(data) <= MAX_STRING, "a string of", len(data))
    expect(b"\0" not in data, "a NUL in a string")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Broken("a string that is no UTF-8") from error


def server_of(data):
    """(name, description) of a reply to LIST."""
    expect(len(data) >= 4, "REP_SERVER without a name")
    length = struct.unpack(">I", data[:4])[0]
    expect(length <= len(data) - 4, "a name longer than its reply")
    return text_of(data[4:4 + length]), text_of(data[4 + length:])


def context_of(data):
    """(id, name)"""
    expect(len(data) > 4, "REP_META_CONTEXT without a name")
    name = text_of(data[4:])
    expect(":" in name, "a context without a namespace:", name)
    return struct.unpack(">I", data[:4])[0], name


def check_export_flags(flags, style):
    expect(flags & FLAG_HAS_FLAGS, "no HAS_FLAGS")
    expect(style != SIMPLE or not flags & FLAG_SEND_DF, "DF without structured replies")
    expect(style == EXTENDED or not flags & FLAG_STATUS_PAYLOAD,
           "payloads without extended headers")
    expect(not flags >> 13, f"unknown flags {flags:#x}")


def is_power(number):
    return number > 0 and number & (number - 1) == 0


def block_sizes_of(data):
    expect(len(data) == 12, "block sizes in", len(data))
    minimum, preferred, maximum = struct.unpack(">III", data)
    expect(is_power(minimum) and minimum <= 65536, "minimum", minimum)
    expect(is_power(preferred) and preferred >= max(512, minimum), "preferred", preferred)
    expect(maximum == 0xFFFFFFFF or (maximum >= preferred and maximum % minimum == 0),
           "maximum", maximum)
    return minimum, preferred, maximum


def infos_of(replies, asked, style):
    """{info: value} of the replies to INFO or GO."""
    found = {}
    for data in replies:
        expect(len(data) >= 2, "an information without a type")
        kind, rest = struct.unpack(">H", data[:2])[0], data[2:]
        expect(kind not in found, "information given twice:", kind)
        expect(kind in (INFO_EXPORT, INFO_BLOCK_SIZE) or kind in asked,
               "information nobody asked for:", kind)
        if kind == INFO_EXPORT:
            expect(len(rest) == 10, "size and flags in", len(rest))
            found[kind] = struct.unpack(">QH", rest)
            check_export_flags(found[kind][1], style)
        elif kind == INFO_BLOCK_SIZE:
            found[kind] = block_sizes_of(rest)
        else:
            found[kind] = text_of(rest)
    expect(INFO_EXPORT in found, "no size and flags")
    return found
