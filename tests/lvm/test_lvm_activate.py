# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices of snapshots: there while they are wanted, and not longer."""

import pathlib

import pytest

from snaplib import lvm, nbd, tools
from snaplib.cli import answer, done, nbdsnap, refused

MIB = 1 << 20
SIZE = 16 * MIB
RUNTIME = pathlib.Path("/run/nbdsnap")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tools.require("nbdkit", "nbdcopy")
    folder = tmp_path_factory.mktemp("activate")
    with lvm.Group(folder, size=400 * MIB) as group:
        pool = group.pool(size=256 * MIB, chunk=65536)
        disk = pool.volume("disk-a", SIZE)
        disk.pool = pool
        disk.folder = folder
        disk.fill(0, MIB, 1)
        done("create", "-n", "mon", disk.reference, state=folder / "state")
        disk.mon = bytes(disk.model)
        disk.fill(0, MIB, 2)
        yield disk


@pytest.fixture
def disk(made, monkeypatch):
    """One for all: every test leaves it as it was."""
    monkeypatch.chdir(made.folder)
    return made


def mon(disk):
    return f"{disk.reference}@mon"


def notes():
    return sorted(path.name for path in RUNTIME.glob("*"))


def devices(disk):
    return {name for name in disk.group.devices() if "nbdsnap" in name}


def test_an_activated_snapshot_is_a_device_with_its_bytes_until_it_is_deactivated(disk):
    path = done("activate", mon(disk)).rstrip("\n")
    assert pathlib.Path(path).read_bytes() == disk.mon
    with open(path, "r+b", buffering=0) as device, pytest.raises(PermissionError):
        device.write(bytes(4096))
    assert answer("activate", mon(disk))["path"] == path
    assert answer("show", mon(disk))["path"] == path
    assert done("deactivate", mon(disk)) == ""
    assert "path" not in answer("deactivate", mon(disk))
    assert not devices(disk) and notes() == []
    assert answer("show", mon(disk))["path"] is None


def test_serving_does_not_take_away_what_the_user_has_activated(disk):
    with nbd.Server(disk.reference) as server:
        nbd.client("nbdcopy", server.uri("mon"), "first")
        path = done("activate", mon(disk)).rstrip("\n")
        nbd.client("nbdcopy", server.uri("mon"), "second")
    assert pathlib.Path(path).read_bytes() == disk.mon
    done("deactivate", mon(disk))


def test_a_device_is_not_taken_away_from_a_reader(disk):
    with nbd.Server(disk.reference) as server:
        with server.connect("mon") as handle:
            handle.pread(4096, 0)
            refused(nbdsnap("deactivate", mon(disk)), 3, "is being read")
            assert handle.pread(SIZE, 0) == disk.mon
    path = done("activate", mon(disk)).rstrip("\n")
    with open(path, "rb"):
        refused(nbdsnap("deactivate", mon(disk)), 3, "in use")
    done("deactivate", mon(disk))


def test_what_a_killed_server_has_activated_is_undone_by_doctor(disk):
    server = nbd.Server(disk.reference)
    try:
        with server.connect("mon") as handle:
            handle.pread(4096, 0)
            assert len(devices(disk)) == 1
            assert answer("doctor")["finished"] == 0, "undone while it is read"
            server.process.kill()
    finally:
        server.process.kill()
        server.process.wait()
        server.folder.cleanup()
    assert len(devices(disk)) == 1
    assert answer("doctor")["finished"] == 1
    assert not devices(disk) and notes() == []


def test_a_metadata_snapshot_of_somebody_else_stays(disk):
    pool = disk.pool
    root = pool.reserve()
    refused(nbdsnap("diff", f"{disk.reference}@mon..live"), 3, "held by somebody else")
    assert answer("doctor")["finished"] == 0
    assert pool.status().held_root == root
    pool.release()
    assert answer("diff", f"{disk.reference}@mon..live")["dirty_bytes"] == MIB
    assert pool.status().held_root == 0 and notes() == []
