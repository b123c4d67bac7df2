# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the plugin offers: names, labels, sizes, and what it refuses."""

import json
import os
import re
import subprocess
import sys

import nbd as libnbd
import pytest

from snaplib import nbd, tools
from snaplib.disk import Disk


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdkit", "nbdinfo", "nbdcopy", "qemu-img", "qemu-io")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """Three snapshots: mon, tue (grown), wed."""
    disk = Disk(tmp_path_factory.mktemp("disk") / "vm.qcow2", 1 << 20)
    disk.write(0, 256 << 10, 1)
    disk.snapshot("mon")
    disk.resize(2 << 20)
    disk.write(64 << 10, 4096, 2)
    disk.snapshot("tue")
    disk.write(1 << 20, 4096, 3)
    disk.snapshot("wed")
    return disk


def test_a_volume_lists_snapshots_and_pairs(disk):
    with nbd.Server(disk.path) as server:
        names = nbd.exports(server)
    assert list(names) == ["wed", "tue", "mon", "tue..wed", "mon..wed", "mon..tue"]
    assert "vm.qcow2@tue" in names["tue"]
    assert "mon..tue" in names["mon..tue"]


def test_every_listed_export_opens_with_its_own_size(disk):
    with nbd.Server(disk.path) as server:
        for name in nbd.exports(server):
            with server.connect(name) as handle:
                assert handle.get_size() == len(disk.truth[name.split("..")[-1]])
                assert handle.is_read_only() and handle.can_multi_conn()
                assert handle.can_cache() and not handle.is_rotational()
                assert handle.get_block_size(libnbd.SIZE_MINIMUM) == 512


def test_the_default_export_is_the_newest_at_start(disk, tmp_path):
    with nbd.Server(disk.path) as server:
        assert nbd.full_copy(server.uri(), tmp_path) == disk.truth["wed"]
        described = json.loads(nbd.client("nbdinfo", "--json", server.uri()))
        assert "vm.qcow2@wed" in described["exports"][0]["description"]
        with server.connect() as handle:
            assert handle.get_canonical_export_name() == "wed"


def test_reversed_and_special_pairs_can_be_asked_for(disk, tmp_path):
    with nbd.Server(disk.path) as server:
        for name in ("wed..mon", "empty..tue"):
            copy = nbd.full_copy(server.uri(name), tmp_path)
            assert copy == disk.truth[name.split("..")[1]]


@pytest.mark.parametrize("name", [
    "none", "mon..none", "none..mon", "..", "mon..", "..mon", "mon..tue..wed",
    "live", "empty", "%", "vm.qcow2@mon", "mon@tue", "a/b", "x" * 4000,
    "'; touch pwned; '"])
def test_a_name_that_does_not_exist_is_refused(disk, name):
    with nbd.Server(disk.path) as server:
        with pytest.raises(libnbd.Error):
            with server.connect(name):
                pass
        assert ": error: " in server.messages()
        # The server is none the worse.
        with server.connect("mon") as handle:
            assert handle.pread(512, 0) == disk.truth["mon"][:512]


def test_one_range_is_all_there_is_if_only_it_is_named(disk, tmp_path):
    with nbd.Server(f"{disk.path}@mon..tue") as server:
        assert list(nbd.exports(server)) == ["mon..tue"]
        assert nbd.full_copy(server.uri(), tmp_path) == disk.truth["tue"]
        with pytest.raises(libnbd.Error):
            with server.connect("wed"):
                pass


def test_two_volumes_stand_under_their_names_or_labels(disk, tmp_path):
    other = Disk(tmp_path / "other.qcow2", 1 << 20)
    other.write(0, 4096, 7)
    other.snapshot("mon")
    with nbd.Server(disk.path, other.path) as server:
        assert {"vm.qcow2@mon", "vm.qcow2@mon..wed", "other.qcow2@mon"} \
            <= set(nbd.exports(server))
    with nbd.Server(f"vda={disk.path}", f"vdb={other.path}") as server:
        names = list(nbd.exports(server))
        assert {"vda@mon", "vda@mon..tue", "vdb@mon"} <= set(names)
        assert not any("qcow2@" in name for name in names)
        assert nbd.full_copy(server.uri("vda@mon"), tmp_path) == disk.truth["mon"]
        assert nbd.full_copy(server.uri("vdb@mon"), tmp_path) == other.truth["mon"]


def test_two_volumes_of_one_name_need_labels(disk, tmp_path):
    twin = Disk(tmp_path / "vm.qcow2", 1 << 20)
    twin.snapshot("mon")
    message = nbd.refused(disk.path, twin.path)
    assert "vm.qcow2" in message and "LABEL=" in message
    with nbd.Server(disk.path, f"twin={twin.path}") as server:
        assert "twin@mon" in nbd.exports(server)


def test_odd_snapshot_names_travel(tmp_path):
    disk = Disk(tmp_path / "vm.qcow2", 1 << 20)
    odd = "a b%c@d..e/ü\n;$(touch pwned)'\""
    disk.write(0, 4096, 5)
    disk.snapshot(odd)
    disk.snapshot("plain")
    with nbd.Server(disk.path) as server:
        names = [n for n in nbd.exports(server) if n.startswith("a") and ".." not in n]
        assert len(names) == 1
        assert nbd.full_copy(server.uri(names[0]), tmp_path) == disk.truth[odd]
    assert not os.path.exists("pwned")


def test_a_name_too_long_for_the_protocol_does_not_hide_the_others(tmp_path):
    sys.path.append(str(tools.TOP / "tests" / "bench"))
    import make_qcow2

    path = tmp_path / "vm.qcow2"
    make_qcow2.write(path, 1 << 20, [{0: 0}, {0: 1}, {0: 2}],
                     ["old", "n" * 5000, "new"],
                     lambda number: bytes([number + 1]) * make_qcow2.CLUSTER)
    with nbd.Server(path) as server:
        assert list(nbd.exports(server)) == ["new", "old", "old..new"]
        assert nbd.full_copy(server.uri("old"), tmp_path)[:512] == b"\1" * 512


def test_a_relative_path_works_in_the_background(disk, tmp_path):
    """nbdkit leaves the directory it was started in."""
    socket, pid = tmp_path / "socket", tmp_path / "pid"
    subprocess.run(["nbdkit", "-U", socket, "-P", pid, tools.plugin().resolve(),
                    "state-dir=state", disk.path.name],
                   cwd=disk.path.parent, env=nbd.environment(), check=True, timeout=30,
                   stderr=subprocess.DEVNULL)
    try:
        copy = nbd.full_copy(nbd.uri(socket, "mon..wed"), tmp_path)
        assert copy == disk.truth["wed"]
        assert nbd.block_map(nbd.uri(socket, "mon..wed"))[0] == (0, 65536, nbd.HOLE)
    finally:
        os.kill(int(pid.read_text()), 15)


@pytest.mark.parametrize("arguments, words", [
    ([], ["volume"]),
    (["volume="], ["volume"]),
    (["none.qcow2"], ["none.qcow2"]),
    (["vda=none.qcow2"], ["none.qcow2"]),
    (["VM@none"], ["none"]),
    (["VM@none..mon"], ["none"]),
    (["VM@empty"], ["no data"]),
    (["state-dir=a", "state-dir=b", "VM"], ["state-dir", "twice"]),
])
def test_what_cannot_be_served_is_refused_at_the_start(disk, arguments, words):
    message = nbd.refused(*[a.replace("VM", str(disk.path)) for a in arguments])
    for word in words:
        assert word in message


def test_nbdkit_can_describe_the_plugin():
    shown = nbd.client("nbdkit", tools.plugin().resolve(), "--dump-plugin", env=nbd.environment())
    assert "thread_model=parallel\n" in shown
    assert "snapshot_driver_qcow2=" in shown
    assert "has_pwrite=1" not in shown
    # Completion reads the keys from here.
    shown = nbd.client("nbdkit", tools.plugin().resolve(), "--help", env=nbd.environment())
    keys = [line.split("=")[0] for line in shown.splitlines()
            if re.match("[-a-z0-9]+=", line)]
    assert keys == ["volume", "state-dir", "secret", "snapshot-dir", "contexts"]
