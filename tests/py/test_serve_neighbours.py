# SPDX-License-Identifier: LGPL-2.1-or-later
"""Peers of `nbdsnap serve` that misbehave are their own problem: beside them, a
well-behaved one gets what it asks for, as fast as alone."""

import contextlib
import os
import random
import socket
import statistics
import threading
import time

import pytest

from snaplib import nbd_wire as wire, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd_client import Client
from snaplib.serve import Serving, not_sanitized

MIB = 1 << 20
SIZE = 16 * MIB
CONTEXT = "qemu:dirty-bitmap:old"
PER_KIND = 8
SLICE = 0.1                 # seconds, of which one is measured
PAIRS = 9
WANTED = 0.8


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("qemu-img", "qemu-io")
    disk = Disk(tmp_path_factory.mktemp("serve") / "vm.qcow2", SIZE)
    for at in range(0, SIZE, MIB):
        disk.write(at, MIB, 1 + at // MIB)
    disk.snapshot("old")
    disk.write(CLUSTER, CLUSTER, 200)
    disk.snapshot("new")
    return disk


@pytest.fixture(scope="module")
def server(disk):
    with Serving(disk.path) as server:
        yield server


def connect(server, style="structured"):
    client = Client.unix(server.socket).greet()
    getattr(client, style)()
    return client.set_contexts("new", CONTEXT).go("new")


# ---- those that misbehave: each returns what keeps it connected ----

def fill(client, kind, length):
    """Ask until nobody takes the requests any more."""
    client.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.send(wire.request(client.style, kind, 1, 0, length))
    return client


def takes_nothing(server):
    return fill(connect(server), wire.READ, 8 * MIB)


def takes_no_status(server):
    return fill(connect(server, "extended"), wire.BLOCK_STATUS, SIZE)


def says_half_a_request(server):
    client = connect(server)
    client.send(wire.request(client.style, wire.READ, 1, 0, 512)[:random.randrange(1, 28)])
    return client


def says_half_of_its_data(server):
    client = connect(server)
    client.send(wire.request(client.style, wire.WRITE, 1, 0, 32 * MIB) + bytes(100000))
    return client


def says_half_an_option(server):
    client = Client.unix(server.socket).greet()
    client.send(wire.option(wire.OPT_GO, bytes(60000))[:random.randrange(1, 60000)])
    return client


def says_nothing(server):
    return Client.unix(server.socket)


def lists_and_does_not_listen(server):
    client = Client.unix(server.socket).greet()
    client.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        for _ in range(1000):
            client.send(wire.option(wire.OPT_LIST))
    return client


def says_nonsense(server):
    client = connect(server)
    with contextlib.suppress(OSError):
        client.send(os.urandom(65536))
    return client


def vanishes(server):
    client = connect(server)
    client.send(wire.request(client.style, wire.READ, 1, 0, 8 * MIB) * 20)
    client.socket.close()
    return client


KINDS = [takes_nothing, takes_no_status, says_half_a_request, says_half_of_its_data,
         says_half_an_option, says_nothing, lists_and_does_not_listen, says_nonsense, vanishes]


class Crowd:
    """Some of each, and now and then a new one in place of another."""

    def __init__(self, server):
        self.server, self.kinds = server, KINDS * PER_KIND
        self.members = [kind(server) for kind in self.kinds]
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.go_on)
        self.thread.start()

    def go_on(self):
        n = 0
        while not self.is_over.wait(0.02):
            self.members[n].socket.close()
            self.members[n] = self.kinds[n](self.server)
            n = (n + 1) % len(self.members)

    def leave(self):
        self.is_over.set()
        self.thread.join()
        for member in self.members:
            member.socket.close()


@contextlib.contextmanager
def crowd(server):
    gathered = Crowd(server)
    try:
        yield gathered
    finally:
        gathered.leave()


# ---- the one that behaves ----

def moved(client, seconds):
    """Bytes in that time, several requests in flight."""
    end, n, at = time.monotonic() + seconds, 0, 0
    cookies = []
    while time.monotonic() < end:
        while len(cookies) < 4:
            cookies.append(client.ask(wire.READ, at, MIB))
            at = (at + MIB) % SIZE
        n += len(client.wait(cookies.pop(0)).data)
    for cookie in cookies:
        client.wait(cookie)
    return n


def ratio_of_pairs(server, client):
    ratios = []
    for n in range(PAIRS):
        if n % 2:
            alone = moved(client, SLICE)
        with crowd(server):
            beside = moved(client, SLICE)
        if not n % 2:
            alone = moved(client, SLICE)
        ratios.append(beside / alone)
    return statistics.median(ratios)


def test_a_peer_beside_many_that_misbehave_is_as_fast_as_alone(server):
    """Its neighbours also take processor time, here and in the server, which is
    little; and other programs on this machine take some: the best of three."""
    not_sanitized()
    best = 0
    with connect(server) as client:
        for _ in range(3):
            best = max(best, ratio_of_pairs(server, client))
            if best >= WANTED:
                break
    print(f"TABLE beside {len(KINDS) * PER_KIND} peers that misbehave: {best:.2f} of alone")
    assert best >= WANTED


@pytest.mark.parametrize("kind", KINDS)
def test_beside_each_kind_everything_is_right(server, disk, kind):
    others = [kind(server) for _ in range(20)]
    with connect(server) as client:
        assert client.read(0, SIZE) == disk.truth["new"]
        assert client.status(0, 2 * CLUSTER) == {CONTEXT: [(CLUSTER, 0), (CLUSTER, 1)]}
        client.disconnect()
    for other in others:
        other.socket.close()


@pytest.mark.parametrize("style", ["structured", "extended"])
def test_a_slow_reader_gets_the_right_bytes(server, disk, style):
    slow = Client.unix(server.socket)
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    take_all = slow.take
    slow.take = lambda length: b"".join(
        take_all(min(4000, length - at)) for at in range(0, length, 4000))
    with slow:
        getattr(slow.greet(), style)().set_contexts("new", CONTEXT).go("new")
        cookies = [slow.ask(wire.READ, at, MIB) for at in range(0, 4 * MIB, MIB)]
        status = slow.ask(wire.BLOCK_STATUS, 0, SIZE)
        with connect(server) as other:
            assert other.read(0, MIB) == disk.truth["new"][:MIB]
        assert b"".join(slow.wait(cookie).data for cookie in cookies) \
            == disk.truth["new"][:4 * MIB]
        assert slow.wait(status).extents[CONTEXT]
