# SPDX-License-Identifier: LGPL-2.1-or-later
"""`nbdsnap serve` without the privileges that it does not need: as another user,
confined by the kernel, with comparisons made by a process of its own."""

import os
import pathlib
import re
import signal
import time

import pytest

from snaplib import file_disk, nbd, nbd_wire as wire, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd_client import Client
from snaplib.serve import Serving, refused

MIB = 1 << 20
NOBODY = 65534
WAYS = {"another user": ["--user=nobody"], "confined": ["--confine"]}


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require_root()
    tools.require("nbdinfo", "nbdcopy", "qemu-img", "qemu-io")


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


@pytest.fixture
def disk(tmp_path):
    """For its owner only; the first MiB is compressed."""
    source = Disk(tmp_path / "source.qcow2", 4 * MIB)
    source.write(0, MIB, 1)
    source.flush()
    packed = tmp_path / "vm.qcow2"
    tools.run(["qemu-img", "convert", "-c", "-O", "qcow2", source.path, packed])
    source.path = packed
    source.write(MIB, MIB, 2)
    source.snapshot("old")
    source.write(MIB + CLUSTER, 2 * CLUSTER, 3)
    source.snapshot("new")
    packed.chmod(0o600)
    return source


def eventually(condition):
    end = time.monotonic() + nbd.DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def status_of(pid):
    """/proc/PID/status as {field: words}."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, rest in (line.split(":", 1) for line in lines)}


def twin(server):
    """The process that compares; there is one or None."""
    path = pathlib.Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    found = [int(pid) for pid in path.read_text().split()
             if status_of(pid)["Name"] == ["nbdsnap-compare"]]
    assert len(found) <= 1
    return found[0] if found else None


def is_over(pid):
    try:
        return status_of(pid)["State"][0] == "Z"
    except OSError:
        return True


def dirty(server, base, name, size):
    """Offsets of the clusters that a context calls dirty."""
    with Client.unix(server.socket).greet().structured() as client:
        client.set_contexts(name, f"qemu:dirty-bitmap:{base}")
        client.go(name)
        reply = client.call(wire.BLOCK_STATUS, 0, size)
        client.disconnect()
    assert reply.error == 0
    at, found = 0, []
    for length, flags in reply.extents[f"qemu:dirty-bitmap:{base}"]:
        found += range(at, at + length, CLUSTER) if flags else []
        at += length
    return found


def content(server, offset, length):
    handle = server.connect("new")
    return handle.pread(length, offset)


# ---- another user ----

def test_it_is_that_user_in_every_respect(disk):
    with Serving(disk.path, "--user=nobody") as server:
        status = status_of(server.process.pid)
        assert status["Uid"] == status["Gid"] == [str(NOBODY)] * 4
        assert set(status["Groups"]) <= {str(NOBODY)}
        for field in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            assert int(status[field][0], 16) == 0
        assert status["NoNewPrivs"] == ["1"]
        assert status_of(twin(server))["Uid"] == ["0"] * 4


def test_what_only_root_may_open_is_served_and_compared(disk, way):
    with Serving(disk.path, *way) as server:
        assert content(server, MIB, 3 * MIB) == disk.truth["new"][MIB:]
        assert dirty(server, "old", "new", 4 * MIB) == disk.changed("old", "new")


def test_what_needs_another_program_is_read_where_the_user_may(disk, way, tmp_path):
    if "--user=nobody" in way:
        with Serving(disk.path, *way) as server:
            with pytest.raises(nbd.libnbd.Error, match="Input/output|EIO"):
                content(server, 0, CLUSTER)
            assert "Permission denied" in server.messages()
        for folder in tmp_path.parents:
            if not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o011)
        tmp_path.chmod(0o711)
        disk.path.chmod(0o644)
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    scratch.chmod(0o1777)
    with Serving(disk.path, *way, env=dict(os.environ, TMPDIR=str(scratch))) as server:
        assert content(server, 0, 4 * MIB) == disk.truth["new"]


@pytest.mark.parametrize("user", ["no-such-user", "4294967295", "-1", ""])
def test_a_user_that_is_none_is_refused(disk, user):
    assert "no such user" in refused(disk.path, f"--user={user}")


def test_a_number_is_a_user_too(disk):
    with Serving(disk.path, f"--user={NOBODY}") as server:
        assert status_of(server.process.pid)["Uid"] == [str(NOBODY)] * 4


def test_only_root_can_become_another_user(tmp_path):
    tools.require("setpriv")
    for path in (tmp_path, tools.nbdsnap().resolve()):
        for folder in path.parents:
            if not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    open_disk = Disk(tmp_path / "open.qcow2", MIB)
    open_disk.snapshot("new")
    open_disk.path.chmod(0o666)
    message = refused(open_disk.path, "--user=daemon", f"--socket={tmp_path}/socket",
                      socket=False, state=tmp_path / "state",
                      prefix=["setpriv", "--reuid=65534", "--clear-groups"])
    assert "only root can become another user" in message


# ---- the end ----

def test_nothing_is_left_though_the_user_could_not_remove_it(disk, way, tmp_path):
    """Serving.stop() sees to the socket."""
    state = tmp_path / "state"
    server = Serving(disk.path, *way, "--tls-psk=auto", state=state)
    pid = twin(server)
    key = re.search(r"tls-psk-file=(\S+)", server.first).group(1)
    assert list((state / "holds").iterdir()) and os.path.exists(key)
    server.stop()
    assert not list((state / "holds").iterdir()) and not os.path.exists(key)
    assert not os.path.exists(f"/proc/{pid}")


def test_nothing_is_left_of_one_that_was_killed(disk, way, tmp_path):
    state = tmp_path / "state"
    server = Serving(disk.path, *way, state=state)
    pid = twin(server)
    server.process.kill()
    server.process.wait()
    eventually(lambda: not server.socket.exists())
    eventually(lambda: not list((state / "holds").iterdir()))
    eventually(lambda: is_over(pid))
    server.process.stdout.close()


def test_a_manager_that_signals_all_processes_ends_it_in_order(disk, way):
    server = Serving(disk.path, *way)
    client = Client.unix(server.socket).greet().structured()
    client.set_contexts("new", "qemu:dirty-bitmap:old")
    client.go("new")
    os.kill(twin(server), signal.SIGTERM)
    assert client.call(wire.BLOCK_STATUS, 0, 4 * MIB).error == 0
    client.socket.close()
    server.stop()


# ---- the other process ----

def test_there_is_no_other_process_where_nobody_asked(disk):
    with Serving(disk.path) as server:
        assert twin(server) is None
        assert dirty(server, "old", "new", 4 * MIB) == disk.changed("old", "new")
        assert status_of(server.process.pid)["NoNewPrivs"] == ["0"]


def test_without_it_there_are_errors_and_never_extents(disk, way):
    with Serving(disk.path, *way) as server:
        with Client.unix(server.socket).greet().structured() as client:
            client.set_contexts("new", "qemu:dirty-bitmap:old", "base:allocation")
            client.go("new")
            os.kill(twin(server), signal.SIGKILL)
            reply = client.call(wire.BLOCK_STATUS, 0, 4 * MIB)
            assert reply.error == wire.EIO and not reply.extents
            data = client.call(wire.READ, MIB, MIB)
            assert data.data == disk.truth["new"][MIB:2 * MIB]
            client.disconnect()
        assert "has ended" in server.messages()
        # Nobody is there who could.
        server.socket.unlink()


def test_what_was_compared_is_kept_by_the_server(disk, way):
    with Serving(disk.path, *way) as server:
        assert dirty(server, "old", "new", 4 * MIB) == disk.changed("old", "new")
        with Client.unix(server.socket).greet().structured() as client:
            client.set_contexts("new", "qemu:dirty-bitmap:old")
            client.go("new")
            assert client.call(wire.BLOCK_STATUS, 0, 4 * MIB).error == 0
            os.kill(twin(server), signal.SIGKILL)
            assert client.call(wire.BLOCK_STATUS, 0, 4 * MIB).error == 0
            client.disconnect()
        server.socket.unlink()


def test_a_comparison_that_takes_privileges_has_them(way):
    """Of what btrfs has compressed, nothing can be told apart without."""
    disk = file_disk.on_btrfs("256M", options=("compress-force=zstd",), size=4 * MIB)
    try:
        disk.write(0, bytes(range(256)) * (4 * MIB // 256))
        os.sync()
        disk.snapshot("old")
        disk.write(2 * MIB, b"x" * 4096)
        os.sync()
        disk.snapshot("new")
        with Serving(disk.reference(), *way) as server:
            assert dirty(server, "old", "new", 4 * MIB) == [2 * MIB]
            assert content(server, 0, 4 * MIB) == disk.truth["new"]
    finally:
        disk.filesystem.unmount()


# ---- what is refused by the kernel ----

def test_nothing_can_be_written_but_where_the_counters_go(disk, way, tmp_path):
    folder, elsewhere = tmp_path / "metrics", tmp_path / "elsewhere"
    for path in (folder, elsewhere):
        path.mkdir(mode=0o777)
        path.chmod(0o777)
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    file = folder / "x.prom"
    with Serving(disk.path, *way, f"--metrics={file}") as server:
        before = file.stat().st_ino
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: file.exists() and file.stat().st_ino != before)
        assert "denied" not in server.messages()
        folder.rename(tmp_path / "away")
        elsewhere.rename(folder)
        server.process.send_signal(signal.SIGUSR1)
        eventually(lambda: f"{file}: Permission denied" in server.messages())
        assert not file.exists()
