# SPDX-License-Identifier: LGPL-2.1-or-later
"""`contexts=SOCKET`: the real metadata contexts out of an nbdkit process, beside
what nbdkit itself serves."""

import json
import os
import pathlib
import signal
import stat
import time

import pytest

from snaplib import nbd, tools
from snaplib.disk import CLUSTER, Disk

MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdkit", "nbdinfo", "nbdcopy", "qemu-img", "qemu-io")


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "vm.qcow2", 2 * MIB)
    disk.write(0, MIB, 1)
    disk.snapshot("mon")
    disk.write(3 * CLUSTER, CLUSTER, 2)
    disk.snapshot("tue")
    disk.write(9 * CLUSTER, 2 * CLUSTER, 3)
    disk.snapshot("wed")
    return disk


@pytest.fixture
def socket(tmp_path):
    return tmp_path / "contexts"


def contexts(socket, export):
    [shown] = json.loads(nbd.client("nbdinfo", "--json", nbd.uri(socket, export)))["exports"]
    return shown["contexts"]


def dirty(socket, export, base):
    """Offsets of the clusters that a context of the second socket calls dirty."""
    lines = json.loads(nbd.client("nbdinfo", "--json", f"--map=qemu:dirty-bitmap:{base}",
                                  nbd.uri(socket, export)))
    return [at for line in lines if line["type"] == 1
            for at in range(line["offset"], line["offset"] + line["length"], CLUSTER)]


def test_each_older_snapshot_is_a_context_there(disk, socket):
    with nbd.Server(disk.path, f"contexts={socket}"):
        assert contexts(socket, "wed") == [
            "base:allocation", "qemu:dirty-bitmap:tue", "qemu:dirty-bitmap:mon",
            "nbdsnap:clean:tue", "nbdsnap:clean:mon"]
        for base, name in (("mon", "tue"), ("mon", "wed"), ("tue", "wed")):
            assert dirty(socket, name, base) == disk.changed(base, name)


def test_both_sockets_serve_the_same_bytes_at_once(disk, socket, tmp_path):
    with nbd.Server(disk.path, f"contexts={socket}") as server:
        with server.connect("wed") as ours:
            for name in ("mon", "tue", "wed"):
                assert nbd.full_copy(nbd.uri(socket, name), tmp_path) == disk.truth[name]
            assert ours.pread(2 * MIB, 0) == disk.truth["wed"]


def test_the_socket_is_for_its_owner_and_goes_with_the_server(disk, socket):
    with nbd.Server(disk.path, f"contexts={socket}"):
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert not socket.exists()


def test_the_server_ends_though_a_client_of_that_socket_stays(disk, socket):
    server = nbd.Server(disk.path, f"contexts={socket}")
    handle = nbd.libnbd.NBD()
    handle.set_export_name("wed")
    handle.connect_unix(str(socket))
    assert handle.pread(512, 0) == disk.truth["wed"][:512]
    server.stop()


def test_it_serves_in_the_background_by_a_relative_path(disk, tmp_path):
    pid = tmp_path / "pid"
    tools.run(["nbdkit", "-U", tmp_path / "nbdkit", "-P", pid, tools.plugin().resolve(),
               f"state-dir={tmp_path / 'state'}", disk.path, "contexts=here"],
              cwd=tmp_path, env=nbd.environment())
    try:
        assert dirty(tmp_path / "here", "wed", "tue") == disk.changed("tue", "wed")
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)
    end = time.monotonic() + nbd.DEADLINE
    while (tmp_path / "here").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not (tmp_path / "here").exists()


def test_a_command_that_nbdkit_runs_can_use_it(disk, socket, tmp_path):
    out = tools.run(["nbdkit", "-U", "-", tools.plugin().resolve(),
                     f"state-dir={tmp_path / 'state'}", disk.path, f"contexts={socket}", "--run",
                     f"nbdinfo --map=qemu:dirty-bitmap:tue '{nbd.uri(socket, 'wed')}'"],
                    env=nbd.environment())
    assert [line.split()[2] for line in out.splitlines()] == ["0", "1", "0"]


def test_a_base_is_not_deleted_while_it_can_be_asked_for(disk, socket, tmp_path):
    state = tmp_path / "state"
    made = nbd.client(tools.nbdsnap(), f"--state-dir={state}", "create", "-n", "ours",
                      disk.path, check=False)
    assert made.returncode in (0, 4), made.stderr
    disk.truth["ours"] = bytes(disk.model)
    disk.write(0, CLUSTER, 7)
    disk.snapshot("last")
    delete = [tools.nbdsnap(), f"--state-dir={state}", "delete", f"{disk.path}@ours"]
    with nbd.Server(f"{disk.path}@last", f"contexts={socket}", f"state-dir={state}",
                    state=False):
        assert nbd.client(*delete, check=False).returncode == 3
        assert dirty(socket, "last", "ours") == [0]
    assert nbd.client(*delete, check=False).returncode == 0


def test_what_is_compared_needs_no_privileges_of_the_user_that_nbdkit_becomes(disk, socket, tmp_path):
    tools.require_root()
    disk.path.chmod(0o600)
    out = tools.run(["nbdkit", "-U", "-", "-u", "nobody", tools.plugin().resolve(),
                     f"state-dir={tmp_path / 'state'}", disk.path, f"contexts={socket}", "--run",
                     f"nbdinfo --map=qemu:dirty-bitmap:tue --json '{nbd.uri(socket, 'wed')}'"],
                    env=nbd.environment())
    assert [(line["offset"], line["length"]) for line in json.loads(out) if line["type"]] == [
        (9 * CLUSTER, 2 * CLUSTER)]


@pytest.mark.parametrize("arguments, words", [
    (["contexts="], ["contexts", "empty"]),
    (["contexts=a", "contexts=b"], ["contexts", "twice"]),
    (["contexts=/nowhere/socket"], ["/nowhere/socket"]),
    ([f"contexts=/{'x' * 200}"], ["too long"]),
])
def test_a_socket_that_cannot_be_is_refused_at_the_start(disk, arguments, words):
    message = nbd.refused(disk.path, *arguments)
    for word in words:
        assert word in message


def test_a_socket_in_use_is_refused_and_left_alone(disk, socket):
    with nbd.Server(disk.path, f"contexts={socket}"):
        assert "there already" in nbd.refused(disk.path, f"contexts={socket}")
        assert contexts(socket, "wed")


def test_nothing_listens_where_nobody_asked(disk):
    with nbd.Server(disk.path) as server:
        inodes = [os.readlink(link) for link in
                  pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()]
        listening = [line.split() for line in
                     pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]]
        assert [row[7] for row in listening if f"socket:[{row[6]}]" in inodes] == [
            str(server.socket)]
