# SPDX-License-Identifier: LGPL-2.1-or-later
"""The requests that `nbdsnap serve` answers, right and wrong ones, in each
style of reply, with a strict client."""

import struct
import sys

import pytest

from snaplib import nbd_wire as wire, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd_client import Client
from snaplib.serve import Serving

MIB, GIB = 1 << 20, 1 << 30
SIZE = 4 * MIB + 512
ALLOCATION, DIRTY, CLEAN = "base:allocation", "qemu:dirty-bitmap:old", "nbdsnap:clean:old"
ALL = [ALLOCATION, DIRTY, CLEAN]
STYLES = {"simple": wire.SIMPLE, "structured": wire.STRUCTURED, "extended": wire.EXTENDED}
LONG = ["structured", "extended"]
MAX_EXTENTS = (1 << 20) - 1


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("qemu-img", "qemu-io")
    disk = Disk(tmp_path_factory.mktemp("serve") / "vm.qcow2", SIZE)
    for at in range(0, 2 * MIB, CLUSTER):
        disk.write(at, CLUSTER, 1 + at // CLUSTER)
    disk.write(SIZE - 512, 512, 99)
    disk.snapshot("old")
    for at in range(0, 3 * MIB, 3 * CLUSTER):
        disk.write(at, 4096, 101 + at // CLUSTER)
    disk.discard(5 * CLUSTER, CLUSTER)
    disk.snapshot("new")
    return disk


@pytest.fixture(scope="module")
def server(disk):
    with Serving(f"{disk.path}@new") as server:
        yield server


def connect(server, style, contexts=ALL, name=""):
    client = Client.unix(server.socket).greet()
    if style == "structured":
        client.structured()
    if style == "extended":
        client.extended()
    if style != "simple" and contexts:
        client.set_contexts(name, *contexts)
    return client.go(name)


@pytest.fixture
def client(server, style):
    with connect(server, style) as client:
        yield client
        client.disconnect()


each_style = pytest.mark.parametrize("style", STYLES)
each_long_style = pytest.mark.parametrize("style", LONG)


def refused(client, error, *arguments, **options):
    reply = client.call(*arguments, **options)
    assert reply.error == error, (reply.error, reply.text, arguments)
    assert not reply.covered and not reply.extents


# ---- READ ----

RANGES = [(0, SIZE), (0, 1), (SIZE - 1, 1), (1, SIZE - 2), (511, 2), (CLUSTER - 1, 2),
          (5 * CLUSTER - 3, CLUSTER + 6), (2 * MIB - 1, MIB), (3 * MIB, MIB), (SIZE - 600, 600)]


@each_style
@pytest.mark.parametrize("offset, length", RANGES)
def test_a_read_has_every_byte_once(client, disk, offset, length):
    assert client.read(offset, length) == disk.truth["new"][offset:offset + length]


@each_long_style
@pytest.mark.parametrize("offset, length", RANGES)
def test_a_read_that_must_not_be_fragmented_is_not(client, disk, offset, length):
    reply = client.call(wire.READ, offset, length, wire.DF)
    assert reply.data == disk.truth["new"][offset:offset + length] and len(reply.chunks) == 1


@each_long_style
def test_a_hole_comes_as_a_hole(client):
    reply = client.call(wire.READ, 0, SIZE)
    assert wire.CHUNK_HOLE in reply.chunks and wire.CHUNK_DATA in reply.chunks


OUTSIDE = [(SIZE, 1), (SIZE - 1, 2), (0, SIZE + 1), (SIZE + 1, 0), (1 << 63, 512),
           ((1 << 64) - 512, 512), ((1 << 64) - 1, 1), ((1 << 64) - 1, 2), (512, (1 << 32) - 1)]


@each_style
@pytest.mark.parametrize("kind", [wire.READ, wire.CACHE, wire.BLOCK_STATUS])
def test_what_goes_past_the_end_is_refused_whole(client, kind):
    for offset, length in OUTSIDE:
        refused(client, wire.EINVAL, kind, offset, length)
    assert len(client.read(SIZE - 512, 512)) == 512


@pytest.mark.parametrize("style", ["extended"])
@pytest.mark.parametrize("kind", [wire.READ, wire.CACHE, wire.BLOCK_STATUS])
def test_long_lengths_past_the_end_are_refused(client, kind):
    for offset, length in ((0, 1 << 32), (512, 1 << 63), (SIZE, 1), (1, (1 << 64) - 1),
                           ((1 << 64) - 1, (1 << 64) - 1)):
        refused(client, wire.EINVAL, kind, offset, length)
    assert len(client.read(0, 512)) == 512


@each_style
def test_nothing_can_be_read_and_cached_but_has_no_status(client):
    for offset in (0, 1, SIZE):
        for kind in (wire.READ, wire.CACHE):
            assert client.call(kind, offset, 0).error == 0
        refused(client, wire.EINVAL, wire.BLOCK_STATUS, offset, 0)


# ---- commands that are not for here ----

@each_style
def test_commands_that_write_are_not_permitted_and_their_data_is_skipped(client):
    for length in (0, 1, 512, MIB + 3):
        for offset in (0, SIZE, 1 << 63):
            for flags in (0, wire.FUA):
                payload = {"flags": flags | (wire.PAYLOAD_LEN if client.style == wire.EXTENDED
                                             else 0), "payload": bytes(length)}
                refused(client, wire.EPERM, wire.WRITE, offset, length, **payload)
            for kind in (wire.TRIM, wire.WRITE_ZEROES):
                refused(client, wire.EPERM, kind, offset, length)
    for flags in (wire.FUA, wire.NO_HOLE, wire.FAST_ZERO):
        refused(client, wire.EPERM, wire.WRITE_ZEROES, 0, 512, flags)
    assert len(client.read(0, 512)) == 512


@each_style
def test_a_flush_that_was_not_offered_and_unknown_commands_are_refused(client):
    for kind in (wire.FLUSH, 8, 9, 255, 0x7FFF, 0xFFFF):
        refused(client, wire.EINVAL, kind, 0, 0)
        refused(client, wire.EINVAL, kind, 0, 512)


@each_style
def test_flags_that_do_not_belong_are_refused(client):
    df = wire.DF if client.style == wire.SIMPLE else 0
    for kind, flags in ((wire.READ, wire.FUA), (wire.READ, wire.REQ_ONE), (wire.READ, df),
                        (wire.CACHE, wire.DF), (wire.CACHE, 1 << 15),
                        (wire.BLOCK_STATUS, wire.DF), (wire.BLOCK_STATUS, wire.FUA),
                        (wire.READ, 0x8000), (wire.BLOCK_STATUS, 0x40)):
        if flags:
            refused(client, wire.EINVAL, kind, 0, 512, flags)
    assert len(client.read(0, 512)) == 512


# ---- BLOCK_STATUS ----

@each_style
def test_a_status_needs_a_chosen_context(server, style):
    with connect(server, style, contexts=()) as client:
        refused(client, wire.EINVAL, wire.BLOCK_STATUS, 0, 512)
        assert len(client.read(0, 512)) == 512


@each_long_style
@pytest.mark.parametrize("offset, length", RANGES)
def test_a_status_of_any_range_says_the_same(client, offset, length):
    whole = client.status(0, SIZE)
    flags_at = {name: [flag for size, flag in found for _ in range(0, size, 512)]
                for name, found in whole.items()}
    reply = client.call(wire.BLOCK_STATUS, offset, length)
    reply.check_coverage()
    for name, found in reply.extents.items():
        assert sum(size for size, _ in found) == length
        at = offset
        for size, flag in found:
            assert set(flags_at[name][at // 512:(at + size + 511) // 512]) == {flag}, (name, at)
            at += size


@each_long_style
def test_a_status_is_true(client, disk):
    found = client.status(0, SIZE)
    for name, runs in found.items():
        at = 0
        for size, flag in runs:
            old, new = (disk.truth[which][at:at + size] for which in ("old", "new"))
            clean = {ALLOCATION: True, DIRTY: flag == 0, CLEAN: flag == 1}[name]
            assert name == ALLOCATION or not clean or old == new, (name, at)
            if name == ALLOCATION and flag & 2:
                assert not any(new)
            at += size
    assert {flag for _, flag in found[DIRTY]} == {0, 1}


@each_long_style
def test_one_extent_is_one_and_they_lead_to_the_end(client):
    at, found = 0, {name: [] for name in ALL}
    while at < SIZE:
        reply = client.call(wire.BLOCK_STATUS, at, SIZE - at, wire.REQ_ONE)
        reply.check_coverage()
        for name, [extent] in reply.extents.items():
            found[name].append(extent)
        at += found[DIRTY][-1][0]
    whole = client.status(0, SIZE)
    for name, runs in found.items():
        flags = [flag for size, flag in runs for _ in range(0, size, 512)]
        assert flags == [flag for size, flag in whole[name] for _ in range(0, size, 512)]


@pytest.mark.parametrize("style", ["extended"])
def test_a_payload_names_the_contexts(client):
    whole = client.status(0, SIZE)
    ids = {name: client.id_of(name) for name in ALL}
    for wanted in ([DIRTY], [CLEAN, ALLOCATION], ALL, [ALLOCATION]):
        found = client.status(0, SIZE, ids=[ids[name] for name in wanted])
        assert found == {name: whole[name] for name in wanted}
        one = client.status(CLUSTER, SIZE - CLUSTER, wire.REQ_ONE, [ids[n] for n in wanted])
        assert set(one) == set(wanted)


@pytest.mark.parametrize("style", ["extended"])
def test_a_payload_that_is_wrong_is_refused(client):
    right = client.id_of(DIRTY)
    flag = wire.PAYLOAD_LEN
    for payload in (b"", bytes(4), bytes(7), wire.status_payload(512, [right])[:-1],
                    wire.status_payload(512, [right]) + b"\0", wire.status_payload(512, []),
                    wire.status_payload(512, [right, right]), wire.status_payload(512, [0]),
                    wire.status_payload(512, [99]), wire.status_payload(512, [1 << 31 | right]),
                    wire.status_payload(512, [right, 77]), wire.status_payload(0, [right]),
                    wire.status_payload(SIZE + 1, [right]),
                    wire.status_payload((1 << 64) - 1, [right]),
                    wire.status_payload(512, [right] * 65), bytes(MIB)):
        refused(client, wire.EINVAL, wire.BLOCK_STATUS, 0, 0, flag, payload=payload)
        refused(client, wire.EINVAL, wire.BLOCK_STATUS, SIZE, 0, flag, payload=payload)
    for kind in (wire.READ, wire.CACHE, wire.FLUSH, 99):
        refused(client, wire.EINVAL, kind, 0, 512, flag, payload=bytes(512))
    assert client.status(0, 512, ids=[right])


@pytest.mark.parametrize("style", ["extended"])
def test_a_write_without_the_flag_of_its_payload_has_none(client):
    refused(client, wire.EPERM, wire.WRITE, 0, 512)
    assert len(client.read(0, 512)) == 512


def test_a_payload_beyond_the_limit_ends_the_connection(server):
    for style, flags in (("simple", 0), ("structured", 0), ("extended", wire.PAYLOAD_LEN)):
        with connect(server, style) as client:
            client.send(wire.request(client.style, wire.WRITE, 1, 0, (32 << 20) + 1, flags))
            assert client.has_ended()


# ---- the stream ----

@each_style
def test_many_requests_at_once_are_all_answered(client, disk):
    asked = {}
    for n in range(300):
        at, length = n * 7919 % (SIZE - 70000), 1 + n * 331 % 70000
        asked[client.ask(wire.READ, at, length)] = disk.truth["new"][at:at + length]
        if client.style != wire.SIMPLE and n % 5 == 0:
            asked[client.ask(wire.BLOCK_STATUS, at, length)] = None
        if n % 7 == 0:
            asked[client.ask(wire.TRIM, at, length)] = wire.EPERM
        while len(client.waiting) > 60 or n == 299 and client.waiting:
            # The newest of them first: the others come in between.
            cookie = max(client.waiting)
            wanted, reply = asked.pop(cookie), client.wait(cookie)
            if wanted == wire.EPERM:
                assert reply.error == wire.EPERM
            elif wanted is None:
                assert set(reply.extents) == set(ALL)
            else:
                assert reply.error == 0 and reply.data == wanted
    assert not asked


@each_style
def test_what_was_asked_before_a_disconnect_is_answered(server, disk, style):
    with connect(server, style) as client:
        cookies = [client.ask(wire.READ, n * CLUSTER, CLUSTER) for n in range(40)]
        client.send(wire.request(client.style, wire.DISC, 0))
        for n, cookie in enumerate(cookies):
            assert client.wait(cookie).data == disk.truth["new"][n * CLUSTER:(n + 1) * CLUSTER]
        assert client.has_ended()


@each_style
def test_a_request_byte_by_byte_is_the_same(client, disk):
    for n in range(3):
        cookie = client.next_cookie
        sent, client.send = client.send, lambda data: None
        client.ask(wire.READ, n * CLUSTER, 1000)
        client.send = sent
        for byte in wire.request(client.style, wire.READ, cookie, n * CLUSTER, 1000):
            client.send(bytes([byte]))
        assert client.wait(cookie).data == disk.truth["new"][n * CLUSTER:n * CLUSTER + 1000]


@each_style
@pytest.mark.parametrize("magic", [0, wire.REQUEST ^ 1, wire.EXTENDED_REQUEST ^ 1,
                                   wire.SIMPLE_REPLY])
def test_what_is_no_request_ends_the_connection(server, style, magic):
    with connect(server, style) as client:
        client.send(struct.pack(">I", magic) + bytes(28))
        assert client.has_ended()


@pytest.mark.parametrize("style, other", [("simple", wire.EXTENDED), ("structured", wire.EXTENDED),
                                          ("extended", wire.SIMPLE)])
def test_a_request_of_another_style_ends_the_connection(server, style, other):
    with connect(server, style) as client:
        client.send(wire.request(other, wire.READ, 1, 0, 512) + bytes(8))
        assert client.has_ended()


@each_style
def test_an_end_at_any_byte_of_a_request_disturbs_nobody(server, disk, style):
    with connect(server, style) as other:
        for end in range(len(wire.request(STYLES[style], wire.READ, 1)) + 1):
            with connect(server, style) as client:
                client.send(wire.request(client.style, wire.READ, 1, 0, SIZE)
                            + wire.request(client.style, wire.READ, 2, 0, SIZE)[:end])
            assert other.read(SIZE - 512, 512) == disk.truth["new"][-512:]


# ---- large ones ----

@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """More than 32 bits of bytes, almost all of them a hole."""
    path = tmp_path_factory.mktemp("large") / "vm.qcow2"
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", path, 9 * GIB])
    for name, at in (("old", 0), ("new", 6 * GIB)):
        tools.run(["qemu-io", "-f", "qcow2", "-c", f"write -q {at} {CLUSTER}", path])
        tools.run(["qemu-img", "snapshot", "-c", name, path])
    with Serving(f"{path}@new") as server:
        yield server


def test_a_status_of_more_than_32_bits_is_one_reply(large):
    with connect(large, "extended") as client:
        assert client.status(0, 9 * GIB) == {
            ALLOCATION: [(CLUSTER, 0), (6 * GIB - CLUSTER, 2), (CLUSTER, 0),
                         (3 * GIB - CLUSTER, 2)],
            DIRTY: [(6 * GIB, 0), (CLUSTER, 1), (3 * GIB - CLUSTER, 0)],
            CLEAN: [(6 * GIB, 1), (CLUSTER, 0), (3 * GIB - CLUSTER, 1)]}
        one = client.status(CLUSTER, 9 * GIB - CLUSTER, wire.REQ_ONE)
        assert one[ALLOCATION] == [(6 * GIB - CLUSTER, 2)]


def test_a_status_of_32_bits_goes_no_further(large):
    with connect(large, "structured") as client:
        found = client.status(GIB, (1 << 32) - 1)
        assert found[DIRTY] == [((1 << 32) - 1, 0)]
        refused(client, wire.EINVAL, wire.BLOCK_STATUS, 6 * GIB, (1 << 32) - 1)


def test_a_long_read_of_a_hole_is_holes_and_in_one_piece_it_is_too_much(large):
    with connect(large, "extended") as client:
        reply = client.call(wire.READ, GIB, 4 * GIB)
        assert reply.error == 0 and set(reply.chunks) == {wire.CHUNK_HOLE}
        refused(client, wire.EOVERFLOW, wire.READ, GIB, (32 << 20) + 1, wire.DF)
        assert len(client.read(GIB, 32 << 20, wire.DF)) == 32 << 20
        assert client.call(wire.CACHE, 0, 9 * GIB).error == 0
    with connect(large, "simple") as client:
        refused(client, wire.EINVAL, wire.READ, GIB, (32 << 20) + 1)
        assert len(client.read(GIB, 32 << 20)) == 32 << 20


# ---- many extents ----

@pytest.fixture(scope="module")
def striped(tmp_path_factory):
    """A comparison of more extents than a reply may hold."""
    sys.path.insert(0, str(tools.TOP / "tests" / "bench"))
    import make_qcow2
    path = tmp_path_factory.mktemp("striped") / "vm.qcow2"
    make_qcow2.alternating(path, MAX_EXTENTS + 1001)
    with Serving(f"{path}@b") as server:
        yield server


@pytest.mark.parametrize("contexts", [["qemu:dirty-bitmap:a"],
                                      ["qemu:dirty-bitmap:a", "nbdsnap:clean:a"]])
def test_more_extents_than_a_reply_may_hold_come_in_several(striped, contexts):
    with connect(striped, "extended", contexts) as client:
        at, flags, replies = 0, [], 0
        while at < client.size:
            reply = client.call(wire.BLOCK_STATUS, at, client.size - at)
            reply.check_coverage()
            assert sum(map(len, reply.extents.values())) <= MAX_EXTENTS
            found = reply.extents[contexts[0]]
            at += sum(size for size, _ in found)
            flags += [flag for size, flag in found]
            replies += 1
        assert replies == len(contexts) + 1
        assert flags == [n % 2 for n in range(MAX_EXTENTS + 1001)]
