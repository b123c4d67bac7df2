# SPDX-License-Identifier: LGPL-2.1-or-later
"""`nbdsnap serve` under clients that come, ask for all kinds of things and go,
politely or not, for a while; afterwards nothing of it is left.

Also for programs that are built with sanitizers: what they find ends the server
with a status of its own.  NBDSNAP_SOAK_SECONDS says how long."""

import contextlib
import os
import pathlib
import random
import socket
import ssl
import struct
import threading
import time

import pytest

from snaplib import nbd, nbd_wire as wire, pki, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd_client import Client, Refused
from snaplib.serve import Serving, sanitizer

MIB = 1 << 20
SIZE = 8 * MIB
N_CLIENTS = 64
STORM = 100
SECONDS = float(os.environ.get("NBDSNAP_SOAK_SECONDS",
                               300 if os.environ.get("NBDSNAP_LONG") else 10))
SEED = int(os.environ.get("NBDSNAP_SEED", time.time()))
ALL = ["base:allocation", "qemu:dirty-bitmap:old", "nbdsnap:clean:old"]
STYLES = ["simple", "structured", "extended"]

# What an allocator keeps of what was used at times, bytes.
SLACK = 6 * MIB


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("qemu-img", "qemu-io", "certtool")
    disk = Disk(tmp_path_factory.mktemp("serve") / "vm.qcow2", SIZE)
    for at in range(0, SIZE // 2, CLUSTER):
        disk.write(at, CLUSTER, 1 + at // CLUSTER)
    disk.snapshot("old")
    for at in range(0, SIZE, 3 * CLUSTER):
        disk.write(at, CLUSTER, 200 - at // CLUSTER)
    disk.snapshot("new")
    return disk


def blocks_of(extents):
    return b"".join(bytes([flags]) * (length // 512) for length, flags in extents)


class Soak:
    """What all clients know, and what they did."""

    def __init__(self, server, disk):
        self.server, self.truth = server, disk.truth["new"]
        self.is_over = threading.Event()
        self.wrong = []
        self.n_done = {}
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        with self.connect(random.Random(SEED), "structured", ALL) as client:
            self.flags = {name: blocks_of(found)
                          for name, found in client.status(0, SIZE).items()}

    def note(self, what):
        self.n_done[what] = self.n_done.get(what, 0) + 1

    def connect(self, numbers, style, contexts):
        client = Client.unix(self.server.socket).greet()
        if numbers.random() < 0.2:
            client.option(wire.OPT_STARTTLS)
            client.socket = self.tls.wrap_socket(client.socket)
            self.note("tls")
        if style != "simple":
            getattr(client, style)()
            client.set_contexts("new", *contexts)
        return client.go("new")

    # ---- what a client does ----

    def read(self, client, numbers):
        cookies = []
        for _ in range(numbers.randrange(1, 6)):
            length = numbers.choice([1, 512, 4096, 65536, 200000])
            at = numbers.randrange(SIZE - length)
            cookies.append((at, length, client.ask(wire.READ, at, length)))
        for at, length, cookie in cookies:
            assert client.wait(cookie).data == self.truth[at:at + length]

    def status(self, client, numbers):
        if not client.contexts:
            return
        at = numbers.randrange(SIZE // 512) * 512
        flag = numbers.choice([0, 0, wire.REQ_ONE])
        ids = None
        if client.style == wire.EXTENDED and numbers.random() < 0.5:
            ids = numbers.sample(sorted(client.contexts), 1)
        reply = client.call(wire.BLOCK_STATUS, at, SIZE - at, flag, ids)
        reply.check_coverage()
        for name, found in reply.extents.items():
            if len(client.contexts) == len(ALL):       # others say "hole" too
                said = blocks_of(found)
                assert said == self.flags[name][at // 512:at // 512 + len(said)], name

    def others(self, client, numbers):
        assert client.call(wire.CACHE, numbers.randrange(SIZE), 0).error == 0
        assert client.call(wire.TRIM, 0, 512).error == wire.EPERM
        assert client.call(wire.READ, SIZE, 512).error == wire.EINVAL

    def leave(self, client, numbers):
        way = numbers.choice(["politely", "amid a reply", "amid a request"])
        self.note(way)
        if way == "politely":
            client.disconnect()
        elif way == "amid a reply":
            client.send(wire.request(client.style, wire.READ, 1, 0, SIZE) * 3)
            client.take(20)
        else:
            client.send(wire.request(client.style, wire.READ, 1)[:numbers.randrange(28)])

    def visit(self, numbers):
        style = numbers.choice(STYLES)
        contexts = numbers.sample(ALL, numbers.randrange(4))
        with self.connect(numbers, style, contexts) as client:
            for _ in range(numbers.randrange(12)):
                action = numbers.choice([self.read, self.read, self.status, self.others])
                action(client, numbers)
                self.note(action.__name__)
            self.leave(client, numbers)

    def storm(self, numbers):
        """Many that come at once and go in the midst of the handshake."""
        whole = struct.pack(">I", 3) + wire.option(wire.OPT_LIST) \
            + wire.option(wire.OPT_GO, wire.info_data("new"))
        with contextlib.ExitStack() as stack:
            for _ in range(STORM):
                peer = stack.enter_context(socket.socket(socket.AF_UNIX))
                peer.connect(str(self.server.socket))
                peer.send(whole[:numbers.randrange(len(whole) + 1)])
        self.note("storm")
        self.is_over.wait(0.2)

    def go_on(self, number, action):
        numbers = random.Random(f"{SEED} {number}")
        try:
            while not self.is_over.is_set():
                action(numbers)
        except Exception as error:  # pylint: disable=broad-except
            self.wrong.append((number, repr(error)))
            self.is_over.set()

    def run(self, seconds):
        self.is_over.clear()
        threads = [threading.Thread(target=self.go_on, args=(n, self.visit))
                   for n in range(N_CLIENTS)]
        threads.append(threading.Thread(target=self.go_on, args=("storm", self.storm)))
        for thread in threads:
            thread.start()
        self.is_over.wait(seconds)
        self.is_over.set()
        for thread in threads:
            thread.join()
        assert not self.wrong, (SEED, self.wrong)


def resident(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def settle(server, descriptors, threads):
    """Connections are seen off after their clients have gone."""
    end = time.monotonic() + nbd.DEADLINE
    while server.descriptors() > descriptors or server.threads() > threads:
        assert time.monotonic() < end, (server.descriptors(), descriptors, server.threads(),
                                        threads)
        time.sleep(0.02)


def test_nothing_is_left_of_many_clients_and_storms_of_connections(disk, tmp_path):
    certificates = pki.make_certificates(tmp_path / "pki")
    with Serving("--tls=on", f"--tls-certificates={certificates}", "--quiet",
                 disk.path) as server:
        n_threads = server.threads()
        soak = Soak(server, disk)
        settle(server, 1 << 30, n_threads)
        before = server.descriptors(), n_threads
        soak.run(SECONDS / 4)                       # an allocator keeps what was needed once
        settle(server, *before)
        memory = resident(server)
        soak.run(SECONDS * 3 / 4)
        settle(server, *before)
        grown = resident(server) - memory
        with soak.connect(random.Random(SEED), "structured", ALL) as client:
            assert client.read(0, SIZE) == disk.truth["new"]
        print(f"TABLE soak, seed {SEED}, built with {sanitizer() or 'no'} sanitizer: "
              f"{soak.n_done}, {grown >> 10} KiB more")
        assert soak.n_done["read"] > 10 and soak.n_done["storm"] > 1
        assert sanitizer() or grown < SLACK
