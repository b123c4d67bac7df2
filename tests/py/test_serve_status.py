# SPDX-License-Identifier: LGPL-2.1-or-later
"""How `nbdsnap serve` tells what it does: a line for whoever sends SIGUSR1, and
a file of counters for a monitoring system."""

import re
import signal
import stat
import time

import pytest

from snaplib import nbd, nbd_wire as wire, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd_client import Client
from snaplib.serve import Peer, Serving, refused

MIB = 1 << 20
SAMPLE = re.compile(r'(nbdsnap_[a-z_]+(?:\{command="[a-z_]+"\})?) (\d+)')


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("qemu-img", "qemu-io")
    disk = Disk(tmp_path_factory.mktemp("serve") / "vm.qcow2", 2 * MIB)
    disk.write(0, MIB, 1)
    disk.snapshot("old")
    disk.write(CLUSTER, CLUSTER, 2)
    disk.snapshot("new")
    return disk


def eventually(condition):
    end = time.monotonic() + nbd.DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def work(server):
    """Two reads, a status, a prefetch, two failures; 1536 bytes of data."""
    with Client.unix(server.socket).greet().structured() as client:
        client.set_contexts("new", "qemu:dirty-bitmap:old")
        client.go("new")
        assert client.call(wire.READ, 0, 512).error == 0
        assert client.call(wire.READ, MIB // 2, 1024).error == 0
        assert client.call(wire.BLOCK_STATUS, 0, 2 * MIB).error == 0
        assert client.call(wire.CACHE, 0, 4096).error == 0
        assert client.call(wire.READ, 4 * MIB, 512).error == wire.EINVAL
        assert client.call(wire.TRIM, 0, 512).error == wire.EPERM
        client.disconnect()


def ask(server):
    """The line of an answer to a signal."""
    before = server.messages()
    server.process.send_signal(signal.SIGUSR1)
    eventually(lambda: server.messages()[len(before):].endswith("\n"))
    return server.messages()[len(before):].rstrip("\n")


def settled(server):
    """An answer in which nobody is connected any more."""
    lines = []
    eventually(lambda: lines.append(ask(server)) or ": 0 connected" in lines[-1])
    return lines[-1]


def samples(path):
    """{name: value}, with every line being what the format has."""
    found, types = {}, {}
    for line in path.read_text().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = kind
        elif not line.startswith("# HELP "):
            name, value = SAMPLE.fullmatch(line).groups()
            assert types[name.split("{")[0]] == (
                "gauge" if name == "nbdsnap_connections" else "counter")
            found[name] = int(value)
    return found


def test_a_signal_is_answered_with_a_line_and_ends_nothing(disk):
    with Serving(disk.path) as server:
        assert ask(server) == (
            "nbdsnap: 0 connected now; 0 let in, 0 by TLS, 0 turned away; 0 reads, 0 of "
            "status, 0 to cache, 0 failed; 0 B sent")
        work(server)
        assert settled(server) == (
            "nbdsnap: 0 connected now; 1 let in, 0 by TLS, 0 turned away; 2 reads, 1 of "
            "status, 1 to cache, 2 failed; 1.5 KiB sent")
        handle = server.connect("new")
        assert handle.pread(512, 0) == disk.truth["new"][:512]
        assert ": 1 connected now; 2 let in" in ask(server)


def test_whoever_was_turned_away_is_counted(disk):
    with Serving(disk.path, "--max-connections=1") as server:
        first = Peer(server).go()
        assert Peer(server).ended()
        eventually(lambda: "1 let in, 0 by TLS, 1 turned away" in ask(server))
        first.socket.close()


def test_a_client_with_tls_is_counted(disk):
    tools.require("nbdinfo")
    with Serving(disk.path, "--tls-psk=auto") as server:
        nbd.client("nbdinfo", "--size", server.first)
        assert "1 let in, 1 by TLS" in settled(server)


def test_counters_are_in_the_file_from_the_start_to_the_end(disk, tmp_path):
    path = tmp_path / "nbdsnap.prom"
    server = Serving(disk.path, f"--metrics={path}")
    first = samples(path)
    assert len(first) == 9 and set(first.values()) == {0}
    work(server)
    server.stop()
    assert samples(path) == {
        "nbdsnap_connections": 0,
        "nbdsnap_connections_total": 1,
        "nbdsnap_connections_tls_total": 0,
        "nbdsnap_connections_refused_total": 0,
        'nbdsnap_requests_total{command="read"}': 2,
        'nbdsnap_requests_total{command="block_status"}': 1,
        'nbdsnap_requests_total{command="cache"}': 1,
        "nbdsnap_request_errors_total": 2,
        "nbdsnap_sent_bytes_total": 1536,
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_made_anew_while_it_serves(disk, tmp_path):
    path = tmp_path / "nbdsnap.prom"
    with Serving(disk.path, f"--metrics={path}") as server:
        old = path.stat().st_ino
        work(server)
        eventually(lambda: path.stat().st_ino != old
                   and samples(path)["nbdsnap_connections_total"] == 1)


def test_a_file_that_cannot_be_is_refused_at_the_start_and_later_only_told(disk, tmp_path):
    assert str(tmp_path / "none" / "x") in refused(disk.path, f"--metrics={tmp_path}/none/x")
    folder = tmp_path / "some"
    folder.mkdir()
    with Serving(disk.path, f"--metrics={folder}/x") as server:
        (folder / "x").unlink()
        folder.rmdir()
        assert "connected now" in ask(server)
        eventually(lambda: f"{folder}/x: No such file" in server.messages())
        work(server)
