# SPDX-License-Identifier: LGPL-2.1-or-later
"""The handshake of `nbdsnap serve`, in and out of order, with a strict client:
whatever comes back is what the specification allows."""

import contextlib
import struct

import pytest

from snaplib import nbd_wire as wire, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd_client import Client, Refused
from snaplib.serve import Serving

MIB = 1 << 20
ALLOCATION, DIRTY, CLEAN = "base:allocation", "qemu:dirty-bitmap:old", "nbdsnap:clean:old"
ALL = [ALLOCATION, DIRTY, CLEAN]
INFOS = (wire.INFO_NAME, wire.INFO_DESCRIPTION, wire.INFO_BLOCK_SIZE)

# What takes no data.
BARE = {"LIST": wire.OPT_LIST, "STARTTLS": wire.OPT_STARTTLS,
        "STRUCTURED_REPLY": wire.OPT_STRUCTURED_REPLY,
        "EXTENDED_HEADERS": wire.OPT_EXTENDED_HEADERS}
NAMED = {"INFO": wire.OPT_INFO, "GO": wire.OPT_GO}
CONTEXTS = {"LIST_META": wire.OPT_LIST_META, "SET_META": wire.OPT_SET_META}

# Above what is kept of an option, and above what is skipped: limits of ours.
KEPT, SKIPPED = 64 << 10, 16 << 20
MAX_QUERIES, MAX_CONTEXTS, MAX_OPTIONS = 256, 64, 1024


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("qemu-img", "qemu-io")
    disk = Disk(tmp_path_factory.mktemp("serve") / "vm.qcow2", 2 * MIB)
    disk.write(0, MIB, 1)
    disk.snapshot("old")
    disk.write(3 * CLUSTER, CLUSTER, 2)
    disk.snapshot("new")
    return disk


@pytest.fixture(scope="module")
def server(disk):
    with Serving(f"{disk.path}@new", f"{disk.path}@old..new") as server:
        yield server


@pytest.fixture
def client(server):
    with Client.unix(server.socket) as client:
        yield client.greet()


def is_refused(code, action, *arguments):
    with pytest.raises(Refused) as caught:
        action(*arguments)
    assert caught.value.code == code, caught.value
    return caught.value.text


def works(client, disk):
    """It can still go on, and gets what it should."""
    client.go("new")
    assert client.read(3 * CLUSTER, CLUSTER) == disk.truth["new"][3 * CLUSTER:4 * CLUSTER]
    client.disconnect()


# ---- the first bytes ----

@pytest.mark.parametrize("flags", [1, 3])
def test_flags_of_a_client_are_taken(server, disk, flags):
    with Client.unix(server.socket) as client:
        works(client.greet(flags), disk)


@pytest.mark.parametrize("flags", [4, 5, 1 << 16, 1 << 31, 0xFFFFFFFF])
def test_unknown_flags_of_a_client_end_the_connection(server, flags):
    with Client.unix(server.socket) as client:
        assert client.greet(flags).has_ended()


@pytest.mark.parametrize("magic", [0, wire.GREETING, wire.IHAVEOPT ^ 1])
def test_an_option_with_another_magic_ends_the_connection(client, magic):
    client.send(struct.pack(">QII", magic, wire.OPT_LIST, 0))
    assert client.has_ended()


# ---- EXPORT_NAME ----

@pytest.mark.parametrize("flags, zeroes", [(1, 124), (3, 0)])
@pytest.mark.parametrize("name", [b"", b"new", b"old..new"])
def test_export_name_begins_at_once_with_zeroes_or_without(server, disk, flags, zeroes, name):
    with Client.unix(server.socket) as client:
        client.greet(flags).export_name(name)
        assert client.size == 2 * MIB
        assert client.flags == (wire.FLAG_HAS_FLAGS | wire.FLAG_READ_ONLY
                                | wire.FLAG_MULTI_CONN | wire.FLAG_CACHE)
        assert client.read(0, 2 * MIB) == disk.truth["new"]


@pytest.mark.parametrize("name", [b"nope", b"x" * 4096, b"x" * 4097, b"new\0", b"\xff",
                                  b"x" * (KEPT + 1)])
def test_an_unknown_export_name_ends_the_connection(client, name):
    # It may end before the last byte of a long one is sent.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.send(wire.option(wire.OPT_EXPORT_NAME, name))
    assert client.has_ended()


def test_export_name_keeps_structured_replies_and_contexts(client, disk):
    client.structured().set_contexts("new", *ALL).export_name(b"new")
    assert client.flags & wire.FLAG_SEND_DF
    assert client.read(0, MIB) == disk.truth["new"][:MIB]
    assert set(client.status(0, 2 * MIB)) == set(ALL)


def test_export_name_is_no_way_after_extended_headers(client):
    client.extended().send(wire.option(wire.OPT_EXPORT_NAME, b"new"))
    assert client.has_ended()


# ---- options without data ----

@pytest.mark.parametrize("option", BARE)
@pytest.mark.parametrize("length", [1, 4, 4096, KEPT])
def test_data_where_an_option_has_none_is_refused_and_nothing_else(client, disk, option, length):
    is_refused(wire.ERR_INVALID, client.option, BARE[option], bytes(length))
    works(client, disk)                                 # with simple replies


def test_abort_is_acknowledged_and_ends_the_connection(server):
    for data in (b"", b"why not"):
        with Client.unix(server.socket) as client:
            assert client.greet().option(wire.OPT_ABORT, data) == []
            assert client.has_ended()


def test_tls_is_refused_where_there_is_none_and_the_rest_goes_on(client, disk):
    is_refused(wire.ERR_POLICY, client.option, wire.OPT_STARTTLS)
    works(client, disk)


@pytest.mark.parametrize("code", [0, wire.OPT_PEEK, 12, 13, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("length", [0, 1, 5000])
def test_unknown_options_are_refused_with_all_of_their_data(client, disk, code, length):
    is_refused(wire.ERR_UNSUP, client.option, code, b"I" * length)
    works(client, disk)


def test_a_list_has_what_is_served_and_can_be_had_again(client, disk):
    first = client.list()
    assert set(first) == {"new", "old..new"} and client.list() == first
    works(client, disk)


# ---- too long ----

@pytest.mark.parametrize("length", [KEPT + 1, MIB, SKIPPED])
@pytest.mark.parametrize("code", [wire.OPT_LIST, wire.OPT_GO, wire.OPT_SET_META,
                                  wire.OPT_ABORT, 77])
def test_a_long_option_is_refused_and_skipped(client, disk, code, length):
    is_refused(wire.ERR_TOO_BIG, client.option, code, bytes(length))
    works(client, disk)


def test_a_longer_one_ends_the_connection_before_it_is_sent(client):
    client.send(struct.pack(">QII", wire.IHAVEOPT, wire.OPT_LIST, SKIPPED + 1))
    assert client.has_ended()


def test_endless_options_end_the_connection(client):
    with pytest.raises((EOFError, ConnectionError)):
        for n in range(MAX_OPTIONS + 1):
            client.list()
    assert n == MAX_OPTIONS


# ---- INFO and GO ----

def test_information_is_given_as_asked_and_goes_on(client, disk):
    for name, canonical in (("", "new"), ("new", "new"), ("old..new", "old..new")):
        found = client.info(name, *INFOS)
        assert found[wire.INFO_NAME] == canonical
        assert "vm.qcow2@" in found[wire.INFO_DESCRIPTION]
        assert found[wire.INFO_BLOCK_SIZE] == (1, 256 << 10, 32 << 20)
        assert found[wire.INFO_EXPORT][0] == 2 * MIB
        assert client.info(name, 99, 0xFFFF, wire.INFO_EXPORT) \
            == {wire.INFO_EXPORT: found[wire.INFO_EXPORT]}
    works(client, disk)


@pytest.mark.parametrize("option", NAMED)
@pytest.mark.parametrize("name", ["nope", "x" * 4096, "x" * 4097, "x" * 60000, b"new\0",
                                  b"new\0old", b"\xff\xfe", "NEW", "new ", "old", "new..old",
                                  "live", "../vm.qcow2", "%6eew"])
def test_what_is_not_served_is_unknown_and_the_rest_goes_on(client, disk, option, name):
    text = is_refused(wire.ERR_UNKNOWN, client.option, NAMED[option], wire.info_data(name))
    assert text == "no such export"                     # whatever the reason
    works(client, disk)


@pytest.mark.parametrize("option", NAMED)
@pytest.mark.parametrize("data", [
    b"", b"\0", bytes(3), bytes(4), bytes(5), bytes(7), bytes(8),
    struct.pack(">I", 1 << 31) + b"new" + bytes(2),
    struct.pack(">I", 0xFFFFFFFF) + b"new" + bytes(2),
    struct.pack(">I", 4) + b"new" + bytes(2),           # a byte of the count
    wire.string("new"), wire.string("new") + b"\0",
    wire.info_data("new", [3])[:-1], wire.info_data("new", [3]) + b"\0",
    wire.string("new") + struct.pack(">HH", 2, 3), wire.string("new") + struct.pack(">HH", 0, 3),
    wire.string("new") + struct.pack(">H", 0xFFFF)])
def test_malformed_requests_for_information_are_refused(client, disk, option, data):
    is_refused(wire.ERR_INVALID, client.option, NAMED[option], data)
    works(client, disk)


def test_many_information_requests_are_answered_once(client):
    found = client.info("new", *INFOS * 3000)
    assert set(found) == {wire.INFO_EXPORT, *INFOS}


# ---- contexts ----

def test_contexts_come_after_structured_replies(client, disk):
    for option in CONTEXTS.values():
        is_refused(wire.ERR_INVALID, client.option, option, wire.queries_data("new", []))
    works(client, disk)


WILDCARDS = [
    ([], ALL), (ALL, ALL), (["base:"], [ALLOCATION]), (["qemu:"], [DIRTY]),
    (["qemu:dirty-bitmap:"], [DIRTY]), (["nbdsnap:"], [CLEAN]), (["nbdsnap:clean:"], [CLEAN]),
    ([DIRTY, "qemu:"], [DIRTY]), (["base:", "nbdsnap:"], [ALLOCATION, CLEAN]),
    (["base:alloc"], []), (["qemu:dirty-bitmap:o"], []), (["qemu"], []), ([""], []), ([":"], []),
    (["x-unknown:", "x-unknown:thing"], []), (["x-unknown:", "base:"], [ALLOCATION]),
    (["BASE:ALLOCATION", "base:allocation2", "base:allocation "], []), (["x" * 4096], []),
    (["base:allocation"] * MAX_QUERIES, [ALLOCATION]),
]


@pytest.mark.parametrize("queries, wanted", WILDCARDS)
@pytest.mark.parametrize("begin", ["structured", "extended"])
def test_a_list_of_contexts_has_what_matches(client, disk, begin, queries, wanted):
    getattr(client, begin)()
    assert client.list_contexts("new", *queries) == wanted
    works(client, disk)


@pytest.mark.parametrize("queries, wanted", [
    ([], []), (ALL, ALL), ([CLEAN, ALLOCATION], [CLEAN, ALLOCATION]), ([DIRTY, DIRTY], [DIRTY]),
    (["base:", "qemu:", "qemu:dirty-bitmap:", "nbdsnap:clean:"], []),
    (["qemu:dirty-bitmap:new", "qemu:dirty-bitmap:nope", "x-other:y", ALLOCATION], [ALLOCATION]),
    (["qemu:allocation-depth", "base:Allocation"], [])])
def test_a_choice_of_contexts_is_what_was_named(client, queries, wanted):
    client.structured().set_contexts("new", *queries)
    assert list(client.contexts.values()) == wanted
    client.go("new")
    if wanted:
        assert set(client.status(0, MIB)) == set(wanted)
    else:
        assert client.call(wire.BLOCK_STATUS, 0, MIB).error == wire.EINVAL


@pytest.mark.parametrize("option", CONTEXTS)
@pytest.mark.parametrize("data", [
    b"", bytes(3), bytes(7), bytes(9), wire.string("new"), wire.queries_data("new", ["base:"])[:-1],
    wire.queries_data("new", ["base:"]) + b"\0", wire.string("new") + struct.pack(">I", 1),
    wire.string("new") + struct.pack(">I", 0xFFFFFFFF),
    wire.string("new") + struct.pack(">II", 1, 0xFFFFFFFF),
    struct.pack(">I", 0xFFFFFFFF) + b"new" + bytes(4),
    wire.queries_data("new", ["base:allocation", b"a\0b"]),
    wire.queries_data("new", ["x" * 4097])])
def test_malformed_queries_are_refused_and_choose_nothing(client, disk, option, data):
    client.structured().set_contexts("new", ALLOCATION)
    is_refused(wire.ERR_INVALID, client.option, CONTEXTS[option], data)
    client.go("new")
    error = client.call(wire.BLOCK_STATUS, 0, 512).error
    assert error == (wire.EINVAL if option == "SET_META" else 0)


@pytest.mark.parametrize("option", CONTEXTS)
def test_contexts_of_an_unknown_export_are_refused(client, disk, option):
    client.structured()
    for name in ("nope", "x" * 4097, b"new\0"):
        is_refused(wire.ERR_UNKNOWN, client.option, CONTEXTS[option],
                   wire.queries_data(name, [ALLOCATION]))
    works(client, disk)


@pytest.mark.parametrize("option", CONTEXTS)
def test_too_many_queries_are_refused(client, disk, option):
    client.structured()
    is_refused(wire.ERR_TOO_BIG, client.option, CONTEXTS[option],
               wire.queries_data("new", ["a:b"] * (MAX_QUERIES + 1)))
    works(client, disk)


@pytest.mark.parametrize("chosen_for, taken, kept", [
    ("new", "new", True), ("", "new", True), ("new", "", True), ("old..new", "new", False),
    ("new", "old..new", False)])
def test_contexts_count_for_the_export_they_were_chosen_for(client, chosen_for, taken, kept):
    client.structured().set_contexts(chosen_for, *ALL)
    client.info("old..new")                             # changes nothing
    client.go(taken)
    assert (client.call(wire.BLOCK_STATUS, 0, 512).error == 0) == kept


def test_the_last_choice_counts_also_a_failed_or_empty_one(server):
    for last in (lambda c: c.set_contexts("new", CLEAN), lambda c: c.set_contexts("new"),
                 lambda c: is_refused(wire.ERR_UNKNOWN, c.set_contexts, "nope", ALLOCATION),
                 lambda c: c.set_contexts("new", "q:")):
        with Client.unix(server.socket) as client:
            client.greet().structured().set_contexts("new", ALLOCATION, DIRTY)
            last(client)
            chosen = set(client.contexts.values())
            client.go("new")
            reply = client.call(wire.BLOCK_STATUS, 0, 512)
            assert set(reply.extents) == chosen
            assert reply.error == (0 if chosen else wire.EINVAL)


def test_a_list_of_contexts_chooses_nothing_and_keeps_what_was_chosen(client):
    client.structured().set_contexts("new", DIRTY)
    client.list_contexts("new")
    client.list_contexts("old..new", CLEAN)
    assert set(client.go("new").status(0, 512)) == {DIRTY}


# ---- styles ----

def test_structured_replies_can_be_asked_for_again_but_not_after_longer_headers(client, disk):
    client.structured().structured().extended()
    is_refused(wire.ERR_EXT_HEADER_REQD, client.option, wire.OPT_STRUCTURED_REPLY)
    works(client, disk)                                 # with extended headers


def test_contexts_that_were_chosen_before_extended_headers_go_on_with_them(client):
    client.structured().set_contexts("new", *ALL).extended().go("new")
    assert client.flags & wire.FLAG_STATUS_PAYLOAD
    assert set(client.status(0, 2 * MIB)) == set(ALL)


@pytest.mark.parametrize("begin, flag", [("structured", 0), ("extended", wire.FLAG_STATUS_PAYLOAD)])
def test_flags_say_what_was_agreed_on(client, begin, flag):
    assert not client.info("new")[wire.INFO_EXPORT][1] & wire.FLAG_SEND_DF
    getattr(client, begin)()
    assert client.info("new")[wire.INFO_EXPORT][1] & wire.FLAG_SEND_DF
    client.set_contexts("new", ALLOCATION)
    assert client.info("new")[wire.INFO_EXPORT][1] & wire.FLAG_STATUS_PAYLOAD == flag
    assert not client.info("old..new")[wire.INFO_EXPORT][1] & wire.FLAG_STATUS_PAYLOAD


# ---- order ----

def test_options_in_one_go_are_answered_in_order(client, disk):
    client.send(wire.option(wire.OPT_STRUCTURED_REPLY) + wire.option(wire.OPT_LIST)
                + wire.option(99, b"data")
                + wire.option(wire.OPT_SET_META, wire.queries_data("new", [ALLOCATION]))
                + wire.option(wire.OPT_GO, wire.info_data("new"))
                + wire.request(wire.STRUCTURED, wire.READ, 7, 0, 16))
    assert client.replies(wire.OPT_STRUCTURED_REPLY) == []
    assert len(client.replies(wire.OPT_LIST)) == 2
    is_refused(wire.ERR_UNSUP, client.replies, 99)
    assert len(client.replies(wire.OPT_SET_META)) == 1
    assert len(client.replies(wire.OPT_GO)) == 1
    magic, flags, kind, cookie, length, at = client.take_struct(">IHHQIQ")
    assert (magic, flags, kind, cookie, length, at) \
        == (wire.STRUCTURED_REPLY, wire.DONE, wire.CHUNK_DATA, 7, 24, 0)
    assert client.take(16) == disk.truth["new"][:16]


@pytest.mark.parametrize("style", [wire.STRUCTURED, wire.EXTENDED])
def test_an_option_after_go_is_no_request(client, style):
    (client.structured() if style == wire.STRUCTURED else client.extended()).go("new")
    assert len(client.read(0, 512)) == 512
    client.send(wire.option(wire.OPT_LIST) + bytes(64))
    assert client.has_ended()


@pytest.mark.parametrize("code", [wire.OPT_GO, wire.OPT_INFO, wire.OPT_SET_META])
def test_a_refused_choice_leaves_the_handshake_where_it_was(client, disk, code):
    client.structured()
    for _ in range(3):
        is_refused(wire.ERR_UNKNOWN, client.option, code,
                   wire.info_data("nope") if code != wire.OPT_SET_META
                   else wire.queries_data("nope", []))
    works(client, disk)


def test_an_end_at_any_byte_of_the_handshake_disturbs_nobody(server, disk):
    whole = struct.pack(">I", 3) + wire.option(wire.OPT_STRUCTURED_REPLY) \
        + wire.option(wire.OPT_SET_META, wire.queries_data("new", ALL)) \
        + wire.option(wire.OPT_GO, wire.info_data("new", INFOS))
    with Client.unix(server.socket) as other:
        other.greet().structured().go("new")
        for end in range(len(whole)):
            with Client.unix(server.socket) as client:
                client.send(whole[:end])                # and gone, mostly unread
            if end % 16 == 0:
                assert other.read(0, 512) == disk.truth["new"][:512]


def test_a_handshake_byte_by_byte_is_the_same(client, disk):
    for byte in wire.option(wire.OPT_SET_META) + wire.option(wire.OPT_STRUCTURED_REPLY) \
            + wire.option(wire.OPT_LIST_META, wire.queries_data("new", ["qemu:"])):
        client.send(bytes([byte]))
    is_refused(wire.ERR_INVALID, client.replies, wire.OPT_SET_META)
    client.replies(wire.OPT_STRUCTURED_REPLY)
    client.style = wire.STRUCTURED
    assert [wire.context_of(d)[1] for d in client.replies(wire.OPT_LIST_META)] == [DIRTY]
    works(client, disk)
