# SPDX-License-Identifier: LGPL-2.1-or-later
"""`nbdsnap serve` as a process: how it begins and ends, whom it lets in and
whom it sends away, and what it takes from a service manager."""

import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from snaplib import nbd, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.serve import GREETING, OPTION, Peer, Serving, not_sanitized
from snaplib.serve import refused as refused_by_server

MIB = 1 << 20
BIG, MANY = 256 * 1024, 160

# Becomes the program in its arguments, with LISTEN_PID being its own.
ACTIVATE = """
import os, sys
fd = int(sys.argv[1])
if fd != 3:
    os.dup2(fd, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid() + int(sys.argv[2])), LISTEN_FDS="1")
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdinfo", "nbdcopy", "qemu-img", "qemu-io")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    disk = Disk(tmp_path_factory.mktemp("serve") / "vm.qcow2", 8 * MIB)
    disk.write(0, 8 * MIB, 1)
    disk.snapshot("old")
    disk.write(CLUSTER, CLUSTER, 2)
    disk.snapshot("new")
    return disk


def eventually(condition):
    end = time.monotonic() + nbd.DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# ---- the end ----

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_was_asked_before_the_signal_is_answered(disk, number):
    server = Serving(f"{disk.path}@new")
    peer, idle, half = Peer(server).go(), Peer(server).go(), Peer(server)
    # More than the server takes in at a time; the rest waits in the socket.
    peer.socket.sendall(b"".join(peer.request(cookie, cookie % 4 * BIG, BIG)
                                 for cookie in range(MANY)))
    assert peer.reply(BIG)[:2] == (0, 0)     # the others are on their way
    server.process.send_signal(number)
    eventually(lambda: not server.socket.exists())
    for cookie in range(1, MANY):
        at = cookie % 4 * BIG
        assert peer.reply(BIG) == (cookie, 0, disk.truth["new"][at:at + BIG])
    assert peer.ended() and idle.ended() and half.take(GREETING) and half.ended()
    assert server.process.wait(nbd.DEADLINE) == 0
    server.process.stdout.close()


def test_a_peer_that_takes_nothing_is_cut_off_at_the_end(disk):
    server = Serving(f"{disk.path}@new")
    peer = Peer(server).go()
    for cookie in range(64):
        peer.ask(cookie, 0, 8 * MIB)
    assert peer.reply(8 * MIB)[1] == 0
    assert "cut off" in server.stop()        # within the deadline


def test_a_server_ends_with_its_parent(disk):
    """The parent here is a shell that is killed."""
    script = '"$@" & echo $! >&2; wait'
    for option in ("--exit-with-parent", "--quiet"):
        server = Serving(option, f"{disk.path}@new", prefix=["sh", "-c", script, "sh"])
        pid = int(server.messages().split()[0])
        server.process.kill()
        server.process.wait()
        if option == "--quiet":
            nbd.client("nbdinfo", server.uri())     # it outlives it
            os.kill(pid, signal.SIGTERM)
        eventually(lambda p=pid: not os.path.exists(f"/proc/{p}"))
        assert not server.socket.exists()
        server.process.stdout.close()


# ---- whom it lets in ----

def test_clients_beyond_the_limit_are_turned_away_and_room_is_used_again(disk):
    with Serving("--max-connections=2", f"{disk.path}@new") as server:
        first, second = Peer(server).go(), Peer(server).go()
        assert Peer(server).ended()
        first.socket.close()

        def there_is_room():
            try:
                Peer(server).go()
                return True
            except (EOFError, ConnectionError):
                return False

        eventually(there_is_room)
        second.ask(1, 0, 512)
        assert second.reply(512)[:2] == (1, 0)


def test_peers_that_do_nothing_are_sent_away_and_only_they(disk):
    with Serving("--timeout=1", f"{disk.path}@new") as server:
        mute, idle, busy = Peer(server), Peer(server).go(), Peer(server).go()
        mute.take(GREETING)
        begin = time.monotonic()
        while time.monotonic() < begin + 2.5:
            busy.ask(1, 0, 512)
            assert busy.reply(512)[1] == 0
            time.sleep(0.05)
        assert mute.ended() and idle.ended()


def test_a_handshake_that_trickles_in_does_not_last(disk):
    """Each byte comes in time; all of them would not."""
    with Serving("--timeout=1", f"{disk.path}@new") as server:
        slow = Peer(server)
        slow.take(GREETING)
        sent = 0
        with pytest.raises(OSError):
            for byte in (struct.pack(">I", 3) + OPTION
                         + struct.pack(">II", 99, 60000) + bytes(200)):
                slow.socket.sendall(bytes([byte]))
                sent += 1
                time.sleep(0.1)
        assert sent < 100


def test_many_idle_clients_cost_little(disk):
    not_sanitized()
    with Serving(f"{disk.path}@new") as server:
        def resident():
            status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
            return int(status.split("VmRSS:")[1].split()[0])

        Peer(server).go()
        before = resident()
        peers = [Peer(server).go() for _ in range(300)]
        assert (resident() - before) / len(peers) < 50      # KiB each
        for peer in peers:
            peer.socket.close()


# ---- a service manager ----

def listening(path):
    ours = socket.socket(socket.AF_UNIX)
    ours.bind(str(path))
    ours.listen()
    return ours


def activated(ours, *arguments, pid_offset=0, **options):
    return Serving(*arguments, socket=False, pass_fds=[ours.fileno()], prefix=[
        sys.executable, "-c", ACTIVATE, ours.fileno(), pid_offset], **options)


def test_a_socket_of_the_manager_is_served_and_stays(disk, tmp_path):
    path = tmp_path / "given"
    with listening(path) as ours:
        waiting = socket.socket(socket.AF_UNIX)      # before there is a server
        waiting.connect(str(path))
        with activated(ours, f"{disk.path}@new") as server:
            assert server.first == nbd.uri(path, "new")
            assert waiting.recv(8) == b"NBDMAGIC"
            assert nbd.full_copy(server.first, tmp_path) == disk.truth["new"]
        assert path.exists()


def test_sockets_meant_for_another_process_are_not_touched(disk, tmp_path):
    with listening(tmp_path / "given") as ours:
        with pytest.raises(RuntimeError, match="nowhere to listen"):
            activated(ours, f"{disk.path}@new", pid_offset=1)


def test_what_is_no_socket_is_refused(disk, tmp_path):
    with open(tmp_path / "file", "w") as ours:
        with pytest.raises(RuntimeError, match="no socket that listens"):
            activated(ours, f"{disk.path}@new")


def test_no_child_inherits_sockets_of_the_manager(disk, tmp_path):
    """Compressed images are read by a child of ours."""
    tools.run(["qemu-img", "convert", "-c", "-O", "qcow2", "-l", "new", disk.path,
               tmp_path / "packed.qcow2"])
    tools.run(["qemu-img", "snapshot", "-c", "a", tmp_path / "packed.qcow2"])
    path = tmp_path / "given"
    with listening(path) as ours:
        inode = os.stat(ours.fileno()).st_ino
        with activated(ours, f"{tmp_path / 'packed.qcow2'}@a") as server:
            handle = nbd.libnbd.NBD()
            handle.connect_unix(str(path))
            handle.pread(512, 0)
            children = [int(stat.parent.name)
                        for stat in pathlib.Path("/proc").glob("[0-9]*/stat")
                        if re.search(rf"\) [RSD] {server.process.pid} ", read(stat))]
            for child in children:
                held = [read_link(fd) for fd in
                        pathlib.Path(f"/proc/{child}/fd").glob("*")]
                assert f"socket:[{inode}]" not in held
                # It gets one of its own the same way.
                given = pathlib.Path(f"/proc/{child}/environ").read_text(errors="replace")
                assert f"LISTEN_PID={server.process.pid}\0" not in given
            assert children, "nothing was looked at"
            handle.shutdown()


def read(path):
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def read_link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told_when_clients_can_connect_and_when_it_ends(
        disk, tmp_path, abstract):
    name = f"@nbdsnap-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(nbd.DEADLINE)
        manager.bind(name.replace("@", "\0", 1))
        with Serving(f"{disk.path}@new", env=dict(os.environ, NOTIFY_SOCKET=name)) as server:
            assert manager.recv(100) == b"READY=1"
            Peer(server).go()
        assert manager.recv(100) == b"STOPPING=1"


def test_a_manager_that_cannot_be_told_stops_nothing(disk, tmp_path):
    for name in ("", "nowhere", str(tmp_path / "gone"), "/" + "x" * 200):
        with Serving(f"{disk.path}@new", env=dict(os.environ, NOTIFY_SOCKET=name)) as server:
            Peer(server).go()


def test_a_malformed_number_of_sockets_is_refused(disk):
    for number in ("x", "-1", "100000"):
        env = dict(os.environ, LISTEN_FDS=number)
        assert "LISTEN_FDS" in refused_by_server(f"{disk.path}@new", env=env)


def test_standard_output_that_nobody_takes_ends_it_without_a_socket(disk, tmp_path):
    path = tmp_path / "socket"
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [tools.nbdsnap(), f"--state-dir={tmp_path / 'state'}", "serve",
             f"--socket={path}", f"{disk.path}@new"], stdout=full, timeout=60,
            stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1 and "output" in result.stderr
    assert not path.exists()
