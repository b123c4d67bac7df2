# SPDX-License-Identifier: LGPL-2.1-or-later
"""How `nbdsnap serve` waits for its clients: asleep, whatever they do that makes
nothing possible."""

import ctypes
import os
import pathlib
import socket
import struct
import time

import pytest

from snaplib import tools
from snaplib.disk import Disk
from snaplib.serve import Peer, Serving, not_sanitized

MIB = 1 << 20
REQUESTS = 50
TCP_CONGESTION = 13
PIDFD_GETFD = 438          # of any processor


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("qemu-img", "qemu-io")
    disk = Disk(tmp_path_factory.mktemp("serve") / "vm.qcow2", 8 * MIB)
    disk.write(0, 8 * MIB, 1)
    disk.snapshot("a")
    return disk


def switches(server):
    """How often its threads went to sleep."""
    text = "".join(path.read_text() for path in
                   pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/status"))
    return sum(int(line.split()[1]) for line in text.splitlines()
               if line.startswith("voluntary_ctxt_switches"))


def rests(server):
    """Until nothing in it runs any more; how often they slept then."""
    before = -1
    while before != switches(server):
        before = switches(server)
        time.sleep(0.1)
    return before


def test_requests_do_not_wake_who_waits_for_room(disk):
    not_sanitized()
    with Serving(f"{disk.path}@a") as server:
        peer = Peer(server).go()
        for cookie in range(2):
            peer.ask(cookie, 0, 8 * MIB)            # more than the socket takes in
        before = rests(server)
        for cookie in range(REQUESTS):
            peer.ask(cookie, 0, 512)
            time.sleep(0.002)
        assert rests(server) - before < REQUESTS // 4
        peer.socket.close()


def test_what_a_client_takes_does_not_wake_who_waits_for_requests(disk):
    not_sanitized()
    with Serving(f"{disk.path}@a") as server:
        peer = Peer(server).go()
        for cookie in range(REQUESTS):
            peer.ask(cookie, 0, 512)
        before = rests(server)
        for cookie in range(REQUESTS):
            assert peer.reply(512)[:2] == (cookie, 0)
            time.sleep(0.002)
        assert rests(server) - before < REQUESTS // 4
        peer.socket.close()


def tcp_sockets(server):
    """Copies of its TCP sockets."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    pidfd = os.pidfd_open(server.process.pid)
    for name in os.listdir(f"/proc/{server.process.pid}/fd"):
        fd = call(PIDFD_GETFD, pidfd, int(name), 0)
        if fd < 0:
            tools.missing("no right to look at another process's sockets")
        try:
            found = socket.socket(fileno=fd)
        except OSError:                             # no socket
            os.close(fd)
            continue
        if found.family in (socket.AF_INET, socket.AF_INET6):
            yield found
        else:
            found.close()
    os.close(pidfd)


@pytest.mark.parametrize("host, ours", [("127.0.0.1", True), ("[::1]", True), ("0.0.0.0", False)])
def test_there_is_no_pacing_within_the_machine(disk, host, ours):
    usual = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    with Serving(f"--listen=tcp:{host}:0", f"{disk.path}@a", socket=False) as server:
        port = int(server.first.split("/")[2].rsplit(":", 1)[1])
        where = "127.0.0.1" if host == "0.0.0.0" else host.strip("[]")
        with socket.create_connection((where, port)) as client:
            client.recv(18, socket.MSG_WAITALL)
            client.sendall(struct.pack(">I", 3))
            found = {one.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16).rstrip(b"\0").decode()
                     for one in tcp_sockets(server)}
    assert found == {"reno" if ours else usual}
