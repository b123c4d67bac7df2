# SPDX-License-Identifier: LGPL-2.1-or-later
"""The strict client itself: it takes what is right, and notices whatever a
server must not do."""

import socket
import struct

import pytest

from snaplib import nbd_wire as wire
from snaplib.nbd_client import Client
from snaplib.nbd_wire import Broken

SIZE = 8192
CONTEXTS = {1: "base:allocation", 2: "qemu:dirty-bitmap:a"}


def chunk(kind, data=b"", flags=wire.DONE, cookie=None, style=wire.STRUCTURED, offset=4096,
          magic=None):
    if style == wire.EXTENDED:
        return struct.pack(">IHHQQQ", magic or wire.EXTENDED_REPLY, flags, kind,
                           cookie or 1, offset, len(data)) + data
    return struct.pack(">IHHQI", magic or wire.STRUCTURED_REPLY, flags, kind, cookie or 1,
                       len(data)) + data


def data(at, length):
    return struct.pack(">Q", at) + bytes(length)


def hole(at, length):
    return struct.pack(">QI", at, length)


def status(number, *extents):
    return struct.pack(f">I{2 * len(extents)}I", number, *(word for e in extents for word in e))


def long_status(number, *extents, count=None):
    return struct.pack(f">II{2 * len(extents)}Q", number, len(extents) if count is None else count,
                       *(word for e in extents for word in e))


def error(code, text=b"", length=None):
    return struct.pack(">IH", code, len(text) if length is None else length) + text


def answered(style, request, *chunks):
    """What the client makes of the chunks for a request."""
    ours, theirs = socket.socketpair()
    with Client(ours) as client, theirs:
        client.style, client.size, client.contexts, client.next_cookie = style, SIZE, CONTEXTS, 1
        cookie = client.ask(*request)
        theirs.sendall(b"".join(chunks))
        theirs.shutdown(socket.SHUT_WR)
        return client.wait(cookie)


READ = (wire.READ, 4096, 1024)
STATUS = (wire.BLOCK_STATUS, 4096, 1024)
NOT_LAST = {"flags": 0}
BOTH = [chunk(wire.CHUNK_STATUS, status(1, (1024, 0)), 0),
        chunk(wire.CHUNK_STATUS, status(2, (512, 1), (512, 0)))]

RIGHT = {
    "one piece": (READ, chunk(wire.CHUNK_DATA, data(4096, 1024))),
    "backwards": (READ, chunk(wire.CHUNK_DATA, data(4608, 512), 0),
                  chunk(wire.CHUNK_HOLE, hole(4096, 512))),
    "a last word": (READ, chunk(wire.CHUNK_HOLE, hole(4096, 1024), 0), chunk(wire.CHUNK_NONE)),
    "half and an error": (READ, chunk(wire.CHUNK_DATA, data(4096, 512), 0),
                          chunk(wire.CHUNK_ERROR, error(wire.EIO, b"no"))),
    "two contexts": (STATUS, *BOTH),
    "an error elsewhere": (READ, chunk(wire.CHUNK_ERROR_OFFSET, error(wire.EIO)
                                       + struct.pack(">Q", 4097))),
    "beyond the request": ((wire.BLOCK_STATUS, 4096, 512), *BOTH[:1],
                           chunk(wire.CHUNK_STATUS, status(2, (513, 1)))),
}

WRONG = {
    "another cookie": (READ, chunk(wire.CHUNK_DATA, data(4096, 1024), cookie=2)),
    "a simple reply": (READ, struct.pack(">IIQ", wire.SIMPLE_REPLY, 0, 1) + bytes(1024)),
    "a magic of extended headers": (READ, chunk(wire.CHUNK_NONE, magic=wire.EXTENDED_REPLY)),
    "too little": (READ, chunk(wire.CHUNK_DATA, data(4096, 1023))),
    "nothing": (READ, chunk(wire.CHUNK_NONE)),
    "too much": (READ, chunk(wire.CHUNK_DATA, data(4096, 1025))),
    "before": (READ, chunk(wire.CHUNK_DATA, data(4095, 1024))),
    "a hole past the end": (READ, chunk(wire.CHUNK_HOLE, hole(4096, 1025))),
    "a hole of nothing": (READ, chunk(wire.CHUNK_HOLE, hole(4096, 0), 0)),
    "twice": (READ, chunk(wire.CHUNK_DATA, data(4096, 600), 0),
              chunk(wire.CHUNK_DATA, data(4695, 425))),
    "data of nothing": (READ, chunk(wire.CHUNK_DATA, data(4096, 0), 0)),
    "unknown chunk flags": (READ, chunk(wire.CHUNK_DATA, data(4096, 1024), 3)),
    "an unknown chunk": (READ, chunk(3, data(4096, 1024))),
    "an unknown error chunk": (READ, chunk(0x8003, error(5))),
    "NONE that is not the last": (READ, chunk(wire.CHUNK_NONE, flags=0)),
    "NONE with data": (READ, chunk(wire.CHUNK_NONE, b"x")),
    "two in spite of DF": ((*READ, wire.DF), chunk(wire.CHUNK_DATA, data(4096, 512), 0),
                           chunk(wire.CHUNK_DATA, data(4608, 512))),
    "a status of a read": (READ, BOTH[0]),
    "data of a status": (STATUS, chunk(wire.CHUNK_DATA, data(4096, 1024))),
    "an error of 0": (READ, chunk(wire.CHUNK_ERROR, error(0))),
    "an error of another system": (READ, chunk(wire.CHUNK_ERROR, error(2))),
    "an overflow without DF": (READ, chunk(wire.CHUNK_ERROR, error(wire.EOVERFLOW))),
    "a long text": (READ, chunk(wire.CHUNK_ERROR, error(5, b"abc", 4))),
    "a short text": (READ, chunk(wire.CHUNK_ERROR, error(5, b"abc", 2))),
    "a text that is none": (READ, chunk(wire.CHUNK_ERROR, error(5, b"\xff"))),
    "an error outside": (READ, chunk(wire.CHUNK_ERROR_OFFSET, error(5)
                                     + struct.pack(">Q", 5120))),
    "one context of two": (STATUS, chunk(wire.CHUNK_STATUS, status(1, (1024, 0)))),
    "a context twice": (STATUS, BOTH[0], BOTH[0]),
    "an unknown context": (STATUS, chunk(wire.CHUNK_STATUS, status(3, (1024, 0)))),
    "an extent of nothing": (STATUS, BOTH[0],
                             chunk(wire.CHUNK_STATUS, status(2, (0, 1), (1024, 0)))),
    "no extent": (STATUS, BOTH[0], chunk(wire.CHUNK_STATUS, status(2))),
    "past the end": (STATUS, BOTH[0], chunk(wire.CHUNK_STATUS, status(2, (4097, 0)))),
    "an extent after the request": (STATUS, BOTH[0],
                                    chunk(wire.CHUNK_STATUS, status(2, (1024, 0), (1, 1)))),
    "unknown flags": (STATUS, BOTH[0], chunk(wire.CHUNK_STATUS, status(2, (1024, 2)))),
    "more than REQ_ONE": ((*STATUS, wire.REQ_ONE), *BOTH),
    "beyond the request with REQ_ONE": (
        (*STATUS, wire.REQ_ONE), BOTH[0], chunk(wire.CHUNK_STATUS, status(2, (1025, 0)))),
    "half an extent": (STATUS, BOTH[0], chunk(wire.CHUNK_STATUS, status(2, (1024, 0)) + bytes(4))),
    "a long status": (STATUS, chunk(wire.CHUNK_STATUS_EXT, long_status(1, (1024, 0)))),
}


def extended(kind, payload, flags=wire.DONE, **options):
    return chunk(kind, payload, flags, style=wire.EXTENDED, **options)


RIGHT_EXTENDED = {
    "a status": (STATUS, extended(wire.CHUNK_STATUS_EXT, long_status(1, (1024, 0)), 0),
                 extended(wire.CHUNK_STATUS_EXT, long_status(2, (1024, 1)))),
    "a read": (READ, extended(wire.CHUNK_DATA, data(4096, 1024))),
}
WRONG_EXTENDED = {
    "another offset": (READ, extended(wire.CHUNK_DATA, data(4096, 1024), offset=0)),
    "a short header": (READ, chunk(wire.CHUNK_DATA, data(4096, 1024)) + bytes(12)),
    "a short status": (STATUS, extended(wire.CHUNK_STATUS, status(1, (1024, 0)))),
    "another count": (STATUS, extended(wire.CHUNK_STATUS_EXT,
                                       long_status(1, (1024, 0), count=2))),
    "flags of 64 bits": (STATUS, extended(wire.CHUNK_STATUS_EXT,
                                          long_status(1, (1024, 1 << 32)))),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_taken(case):
    assert answered(wire.STRUCTURED, *RIGHT[case]).is_done


@pytest.mark.parametrize("case", RIGHT_EXTENDED)
def test_what_is_right_with_extended_headers_is_taken(case):
    assert answered(wire.EXTENDED, *RIGHT_EXTENDED[case]).is_done


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_noticed(case):
    with pytest.raises(Broken):
        answered(wire.STRUCTURED, *WRONG[case])


@pytest.mark.parametrize("case", WRONG_EXTENDED)
def test_what_is_wrong_with_extended_headers_is_noticed(case):
    with pytest.raises(Broken):
        answered(wire.EXTENDED, *WRONG_EXTENDED[case])


@pytest.mark.parametrize("reply", [
    struct.pack(">IIQ", wire.STRUCTURED_REPLY, 0, 1), struct.pack(">IIQ", wire.SIMPLE_REPLY, 0, 2),
    struct.pack(">IIQ", wire.SIMPLE_REPLY, 2, 1)])
def test_a_wrong_simple_reply_is_noticed(reply):
    with pytest.raises(Broken):
        answered(wire.SIMPLE, READ, reply + bytes(1024))


def negotiated(option, *replies):
    ours, theirs = socket.socketpair()
    with Client(ours) as client, theirs:
        theirs.sendall(b"".join(replies))
        client.socket.settimeout(1)
        return option(client)


def reply(code, kind, payload=b"", magic=wire.OPTION_REPLY):
    return struct.pack(">QIII", magic, code, kind, len(payload)) + payload


ACK_GO = reply(wire.OPT_GO, wire.REP_ACK)
EXPORT = struct.pack(">HQH", wire.INFO_EXPORT, SIZE, 3)
ACK_SET = reply(wire.OPT_SET_META, wire.REP_ACK)


@pytest.mark.parametrize("option, replies", [
    (Client.list, [reply(wire.OPT_LIST, wire.REP_ACK, magic=wire.IHAVEOPT)]),
    (Client.list, [reply(wire.OPT_GO, wire.REP_ACK)]),
    (Client.list, [reply(wire.OPT_LIST, wire.REP_ACK, b"x")]),
    (Client.list, [reply(wire.OPT_LIST, wire.REP_INFO, EXPORT)]),
    (Client.list, [reply(wire.OPT_LIST, wire.REP_ERROR + 99)]),
    (Client.list, [reply(wire.OPT_LIST, wire.REP_SERVER, struct.pack(">I", 5) + b"name"),
                   reply(wire.OPT_LIST, wire.REP_ACK)]),
    (Client.list, [reply(wire.OPT_LIST, wire.REP_SERVER, wire.string(b"\xff")),
                   reply(wire.OPT_LIST, wire.REP_ACK)]),
    (Client.structured, [reply(wire.OPT_STRUCTURED_REPLY, wire.REP_SERVER, wire.string("a"))]),
    (Client.go, [ACK_GO]),
    (Client.go, [reply(wire.OPT_GO, wire.REP_INFO, EXPORT)] * 2 + [ACK_GO]),
    (Client.go, [reply(wire.OPT_GO, wire.REP_INFO, EXPORT + b"x"), ACK_GO]),
    (Client.go, [reply(wire.OPT_GO, wire.REP_INFO, EXPORT[:-2] + struct.pack(">H", 0x83)),
                 ACK_GO]),
    (Client.go, [reply(wire.OPT_GO, wire.REP_INFO, EXPORT),
                 reply(wire.OPT_GO, wire.REP_INFO, struct.pack(">HIII", 3, 3, 512, 1024)),
                 ACK_GO]),
    (lambda client: client.set_contexts("", "a:b"),
     [reply(wire.OPT_SET_META, wire.REP_META, struct.pack(">I", 1) + b"a:c"), ACK_SET]),
    (lambda client: client.set_contexts("", "a:b", "a:c"),
     [reply(wire.OPT_SET_META, wire.REP_META, struct.pack(">I", 1) + b"a:b"),
      reply(wire.OPT_SET_META, wire.REP_META, struct.pack(">I", 1) + b"a:c"), ACK_SET]),
    (Client.greet, [struct.pack(">QQH", wire.GREETING, wire.IHAVEOPT, 2)]),
    (Client.greet, [struct.pack(">QQH", wire.GREETING, wire.GREETING, 3)]),
])
def test_a_wrong_handshake_is_noticed(option, replies):
    with pytest.raises(Broken):
        negotiated(option, *replies)
