# SPDX-License-Identifier: LGPL-2.1-or-later
"""Storage that fails or is slow under `nbdsnap serve`: an error is told, never a
list that may lack something, and what does not need that storage goes on."""

import contextlib
import os
import signal

import pytest

from snaplib import nbd_wire as wire, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd_client import Client
from snaplib.serve import Serving

MIB = 1 << 20
SIZE = 4 * MIB
DIRTY = "qemu:dirty-bitmap:old"
STYLES = ["structured", "extended"]

# The header of an image, and an entry of its table of snapshots, as QEMU's
# docs/interop/qcow2.txt has them.
SNAPSHOTS_OFFSET = 64


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("qemu-img", "qemu-io", "qemu-nbd")


@pytest.fixture
def disk(tmp_path):
    """The first MiB is compressed: it comes through a qemu-nbd of its own."""
    source = Disk(tmp_path / "source.qcow2", SIZE)
    source.write(0, MIB, 1)
    source.flush()
    packed = tmp_path / "vm.qcow2"
    tools.run(["qemu-img", "convert", "-c", "-O", "qcow2", source.path, packed])
    source.path = packed
    source.write(MIB, MIB, 2)
    source.snapshot("old")
    source.write(2 * MIB, CLUSTER, 3)
    source.snapshot("new")
    return source


def enter(server, style, *contexts):
    client = Client.unix(server.socket).greet()
    getattr(client, style)()
    client.set_contexts("new", *contexts)
    return client.go("new")


def damage_older_snapshot(path):
    """Its only table of the second level is said to lie where none can be."""
    with open(path, "r+b") as image:
        image.seek(SNAPSHOTS_OFFSET)
        first = int.from_bytes(image.read(8), "big")
        image.seek(first)
        l1_offset = int.from_bytes(image.read(8), "big")
        image.seek(l1_offset)
        image.write((1 << 63 | 0x200).to_bytes(8, "big"))


@pytest.mark.parametrize("style", STYLES)
def test_a_comparison_that_fails_is_an_error_for_everybody_and_for_good(disk, style):
    damage_older_snapshot(disk.path)
    with Serving(f"{disk.path}@new", "--keep-cache") as server:
        for _ in range(2):
            with enter(server, style, DIRTY, "base:allocation") as client:
                for _ in range(2):
                    reply = client.call(wire.BLOCK_STATUS, 0, SIZE)
                    assert reply.error == wire.EIO and not reply.extents
                data = client.call(wire.READ, MIB, 3 * MIB)
                assert data.data == disk.truth["new"][MIB:]
                client.disconnect()
        with enter(server, style, "base:allocation") as client:
            assert client.call(wire.BLOCK_STATUS, 0, SIZE).error == 0
            client.disconnect()
        assert "vm.qcow2" in server.messages()


def children(server):
    path = f"/proc/{server.process.pid}/task"
    for task in os.listdir(path):
        with contextlib.suppress(OSError):
            yield from map(int, open(f"{path}/{task}/children").read().split())


@pytest.fixture
def stopped(disk):
    """A server whose qemu-nbd stands still."""
    with Serving(disk.path) as server:
        with enter(server, "structured", DIRTY) as client:
            assert client.call(wire.READ, 0, 512).data == disk.truth["new"][:512]
            [child] = set(children(server))
            os.kill(child, signal.SIGSTOP)
            yield server, client, lambda: os.kill(child, signal.SIGCONT)


def test_requests_overtake_one_that_waits_for_slow_storage(disk, stopped):
    server, client, go_on = stopped
    slow = [client.ask(wire.READ, at * CLUSTER, CLUSTER) for at in range(4, 7)]
    for _ in range(10):
        assert client.call(wire.READ, MIB, CLUSTER).data == disk.truth["new"][MIB:MIB + CLUSTER]
    assert client.call(wire.BLOCK_STATUS, 0, SIZE).error == 0
    go_on()
    for at, cookie in zip(range(4, 7), slow):
        assert client.wait(cookie).data == disk.truth["new"][at * CLUSTER:(at + 1) * CLUSTER]
    client.disconnect()


def test_other_clients_do_not_wait_for_slow_storage(disk, stopped):
    server, client, go_on = stopped
    slow = [client.ask(wire.READ, at * CLUSTER, CLUSTER) for at in range(4, 12)]
    with enter(server, "extended", DIRTY) as other:
        assert other.call(wire.READ, MIB, MIB).data == disk.truth["new"][MIB:2 * MIB]
        assert other.call(wire.BLOCK_STATUS, 0, SIZE).error == 0
        other.disconnect()
    go_on()
    for at, cookie in zip(range(4, 12), slow):
        assert client.wait(cookie).data == disk.truth["new"][at * CLUSTER:(at + 1) * CLUSTER]
    client.disconnect()
