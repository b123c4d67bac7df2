# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `nbdsnap serve` has queued for a client is the image file's own pages:
nobody may rewrite them before the client has taken the last one."""

import signal
import socket
import subprocess

import pytest

from snaplib import nbd, nbd_wire as wire, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd_client import Client
from snaplib.serve import Serving

MIB = 1 << 20
QUEUED = MIB // 2           # as much as a socket takes in without being read


@pytest.fixture
def disk(tmp_path):
    tools.require("qemu-img", "qemu-io")
    disk = Disk(tmp_path / "vm.qcow2", 4 * MIB)
    for at in range(0, 4 * MIB, CLUSTER):
        disk.write(at, CLUSTER, 1 + at // CLUSTER)
    disk.snapshot("a")
    return disk


def rewrite(disk):
    """Delete the snapshot and write to its clusters; whether anything let us."""
    for command in (["qemu-img", "snapshot", "-d", "a", disk.path],
                    ["qemu-io", "-f", "qcow2", "-c", "write -P 255 0 4M", disk.path]):
        result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if result.returncode != 0:
            assert "lock" in result.stderr, result.stderr
            return False
    return True


def connect(server, kind):
    if kind == "unix":
        return Client.unix(server.socket)
    host, port = server.first.split("/")[2].rsplit(":", 1)
    return Client(socket.create_connection((host, int(port))))


def serving(disk, kind):
    return Serving(disk.path) if kind == "unix" \
        else Serving("--listen=tcp:127.0.0.1:0", disk.path, socket=False)


def has_ended(server):
    try:
        server.process.wait(0.3)
        return True
    except subprocess.TimeoutExpired:
        return False


each_kind = pytest.mark.parametrize("kind", ["unix", "tcp"])


def leave(client, way):
    if way == "the client says that it leaves":
        client.send(wire.request(client.style, wire.DISC, 0))
    # Over TCP, nothing tells a client that has ended from one that still reads.
    if way == "the client will say no more" and client.socket.family == socket.AF_UNIX:
        client.socket.shutdown(socket.SHUT_WR)


@each_kind
@pytest.mark.parametrize("way", ["the server is told to end", "the client says that it leaves",
                                 "the client will say no more"])
def test_nothing_is_rewritten_before_the_client_has_taken_it(disk, kind, way):
    with serving(disk, kind) as server, connect(server, kind) as client:
        client.greet().structured().go()
        cookie = client.ask(wire.READ, 0, QUEUED)
        leave(client, way)
        client.socket.recv(1, socket.MSG_PEEK)      # it is on its way
        server.process.send_signal(signal.SIGTERM)
        assert not has_ended(server) and not rewrite(disk)
        assert client.wait(cookie).data == disk.truth["a"][:QUEUED]
        assert client.has_ended()
        client.socket.close()
        assert server.process.wait(nbd.DEADLINE) == 0
        server.process.stdout.close()
        assert rewrite(disk)                        # nothing else was in the way


@each_kind
def test_a_client_that_has_taken_everything_keeps_nothing(disk, kind):
    """Nor does one that never took anything."""
    with serving(disk, kind) as server, connect(server, kind) as client, \
            connect(server, kind) as mute:
        mute.greet().structured().go()
        client.greet().structured().go()
        assert client.read(0, QUEUED) == disk.truth["a"][:QUEUED]
        server.process.send_signal(signal.SIGTERM)
        assert client.has_ended() and mute.has_ended()
        client.socket.close()
        assert server.process.wait(nbd.DEADLINE) == 0
        server.process.stdout.close()
        assert rewrite(disk)


def test_a_client_that_is_killed_keeps_nothing(disk):
    with serving(disk, "unix") as server:
        for _ in range(5):
            with connect(server, "unix") as client:
                client.greet().structured().go()
                client.ask(wire.READ, 0, QUEUED)
                client.socket.recv(1, socket.MSG_PEEK)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(nbd.DEADLINE) == 0
        server.process.stdout.close()
        assert rewrite(disk)
