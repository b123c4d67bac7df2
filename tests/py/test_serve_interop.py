# SPDX-License-Identifier: LGPL-2.1-or-later
"""`nbdsnap serve` with the clients that people have: whatever way the bytes take,
they arrive, and every tool reads the contexts as what they say.

test_serve.py has copies by nbdcopy and qemu-img and increments, test_serve_tls.py
what is done over TLS."""

import contextlib
import json
import os
import subprocess
import time

import pytest

from snaplib import nbd, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.serve import Serving

MIB = 1 << 20
SIZE = 6 * MIB
ALLOCATION, DIRTY, CLEAN = "base:allocation", "qemu:dirty-bitmap:old", "nbdsnap:clean:old"


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon")
    disk = Disk(tmp_path_factory.mktemp("serve") / "vm.qcow2", SIZE)
    for at in range(0, 3 * MIB, CLUSTER):
        disk.write(at, CLUSTER, 1 + at // CLUSTER)
    disk.snapshot("old")
    disk.write(2 * CLUSTER, CLUSTER, 71)
    disk.write(5 * CLUSTER + 512, 1024, 72)
    disk.write(7 * CLUSTER, CLUSTER, 0)
    disk.discard(9 * CLUSTER, 2 * CLUSTER)
    disk.write(SIZE - 512, 512, 73)
    disk.snapshot("new")
    return disk


@pytest.fixture(scope="module")
def server(disk):
    with Serving(f"{disk.path}@new") as server:
        yield server


@pytest.fixture
def changed(disk):
    return disk.changed("old", "new")


@contextlib.contextmanager
def running(*command):
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(nbd.DEADLINE)


def wait_for(process, path):
    end = time.monotonic() + nbd.DEADLINE
    while not path.exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.005)


def merged(entries):
    """[(offset, length, what)] with equal neighbours as one."""
    found = []
    for at, length, what in entries:
        if found and found[-1][2] == what and found[-1][0] + found[-1][1] == at:
            found[-1] = (found[-1][0], found[-1][1] + length, what)
        else:
            found.append((at, length, what))
    return found


def expected(changed, dirty, clean):
    return merged((at, CLUSTER, dirty if at in changed else clean)
                  for at in range(0, SIZE, CLUSTER))


# ---- nbdinfo ----

@pytest.mark.parametrize("context, names", [(DIRTY, ["clean", "dirty"]), (CLEAN, None)])
def test_nbdinfo_adds_up_what_changed(server, changed, context, names):
    totals = json.loads(nbd.client("nbdinfo", f"--map={context}", "--totals", "--json",
                                   server.uri()))
    found = {e["type"]: e["size"] for e in totals}
    dirty = len(changed) * CLUSTER
    assert found == ({0: SIZE - dirty, 1: dirty} if context == DIRTY
                     else {0: dirty, 1: SIZE - dirty})
    if names:
        printed = nbd.client("nbdinfo", f"--map={context}", "--totals", server.uri())
        assert all(name in printed for name in names)


def test_nbdinfo_adds_up_what_is_allocated(server, disk):
    totals = json.loads(nbd.client("nbdinfo", "--map", "--totals", "--json", server.uri()))
    found = {e["type"]: e["size"] for e in totals}
    assert sum(found.values()) == SIZE and set(found) == {0, 3}
    assert found[3] <= sum(not any(disk.truth["new"][at:at + CLUSTER])
                           for at in range(0, SIZE, CLUSTER)) * CLUSTER


def test_nbdinfo_tells_all_that_is_known(server, disk):
    [info] = json.loads(nbd.client("nbdinfo", "--json", server.uri("new")))["exports"]
    assert info["export-name"] == "new" and info["export-size"] == SIZE
    assert info["contexts"] == [ALLOCATION, DIRTY, CLEAN]
    assert f"{disk.path.name}@new" in info["description"]
    assert (info["block_size_minimum"], info["block_size_preferred"], info["block_size_maximum"]) \
        == (1, 256 << 10, 32 << 20)
    assert info["can_multi_conn"] and info["can_cache"] and info["is_read_only"]


# ---- qemu-img ----

def options(server, context=None):
    more = f",x-dirty-bitmap={context}" if context else ""
    return f"driver=nbd,server.type=unix,server.path={server.socket},export=new{more}"


def qemu_map(*arguments):
    return json.loads(tools.run(["qemu-img", "map", "--output=json", *arguments]))


def test_qemu_img_maps_what_changed_by_either_context(server, changed):
    """It takes bit 0 of any context for a hole."""
    for context, dirty_is_data in ((CLEAN, True), (DIRTY, False)):
        entries = qemu_map("--image-opts", options(server, context))
        found = merged((e["start"], e["length"], e["data"]) for e in entries)
        assert found == expected(changed, dirty_is_data, not dirty_is_data)


def test_qemu_img_maps_zeroes_and_data(server, disk):
    for e in qemu_map("-f", "raw", server.uri("new")):
        if e["zero"]:
            assert not any(disk.truth["new"][e["start"]:e["start"] + e["length"]])
        else:
            assert e["data"]


def test_qemu_img_compares_as_equal(server, disk, tmp_path):
    (tmp_path / "new.raw").write_bytes(disk.truth["new"])
    tools.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri("new"),
               tmp_path / "new.raw"])


# ---- other servers, being clients of this one ----

def test_qemu_nbd_serves_it_again(server, disk, tmp_path):
    again = tmp_path / "again"
    with running("qemu-nbd", "-r", "-t", "-e", "8", "-f", "raw", "-k", again,
                 server.uri("new")) as process:
        wait_for(process, again)
        nbd.client("nbdcopy", nbd.uri(again), tmp_path / "copy.raw")
        assert (tmp_path / "copy.raw").read_bytes() == disk.truth["new"]


def test_the_storage_daemon_serves_it_again(server, disk, tmp_path):
    again, pid = tmp_path / "again", tmp_path / "pid"
    with running("qemu-storage-daemon", "--pidfile", pid,
                 "--blockdev", f"{options(server)},node-name=n0,read-only=on",
                 "--nbd-server", f"addr.type=unix,addr.path={again},max-connections=0",
                 "--export", "type=nbd,id=e0,node-name=n0,name=new,writable=off") as process:
        wait_for(process, pid)
        nbd.client("nbdcopy", nbd.uri(again, "new"), tmp_path / "copy.raw")
        assert (tmp_path / "copy.raw").read_bytes() == disk.truth["new"]


def test_a_backup_job_of_the_storage_daemon_is_equal(server, disk, tmp_path):
    target = tmp_path / "copy.raw"
    target.write_bytes(b"\xee" * SIZE)
    commands = [
        {"execute": "qmp_capabilities"},
        {"execute": "blockdev-backup", "arguments": {
            "job-id": "j", "device": "n0", "target": "t", "sync": "full", "auto-dismiss": False}}]
    with subprocess.Popen(
            ["qemu-storage-daemon", "--blockdev", f"{options(server)},node-name=n0,read-only=on",
             "--blockdev", f"driver=file,node-name=t,filename={target}",
             "--chardev", "stdio,id=c", "--monitor", "chardev=c"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as daemon:
        for command in commands:
            print(json.dumps(command), file=daemon.stdin, flush=True)
        for line in daemon.stdout:
            answer = json.loads(line)
            assert "error" not in answer, answer
            if answer.get("data", {}).get("status") == "concluded":
                break
        print('{"execute":"quit"}', file=daemon.stdin, flush=True)
        daemon.wait(nbd.DEADLINE)
    assert target.read_bytes() == disk.truth["new"]


# ---- a file system ----

def test_nbdfuse_shows_it_as_a_file(server, disk, tmp_path):
    tools.require("nbdfuse", "umount")
    tools.require_root()
    if not os.path.exists("/dev/fuse"):
        tools.missing("there is no FUSE here")
    folder, pid = tmp_path / "mounted", tmp_path / "pid"
    folder.mkdir()
    with running("nbdfuse", "-r", "-P", pid, folder, server.uri("new")) as process:
        wait_for(process, pid)
        try:
            [shown] = folder.iterdir()
            assert shown.stat().st_size == SIZE
            assert shown.read_bytes() == disk.truth["new"]
            with pytest.raises(OSError):
                shown.write_bytes(b"x")
        finally:
            tools.run(["umount", folder])
        assert process.wait(nbd.DEADLINE) == 0


# ---- backup programs: libnbd, two contexts ----

def dirty_ranges(handle, step):
    """[(offset, length)] to copy, as programs find them that walk by the dirty
    context and take the allocation to go along."""
    found, at = [], 0
    while at < SIZE:
        contexts = {}
        handle.block_status(min(step, SIZE - at), at,
                            lambda name, _at, entries, _error:
                            contexts.setdefault(name, list(zip(entries[::2], entries[1::2]))) and 0)
        assert set(contexts) == {ALLOCATION, DIRTY}
        allocated = [flags for length, flags in contexts[ALLOCATION]
                     for _ in range(length // 512)]
        start = at
        for length, flags in contexts[DIRTY]:
            kinds = set(allocated[(at - start) // 512:(at - start + length) // 512])
            if flags:
                assert kinds <= {0, 2}, "would be left out"
                found.append((at, length))
            at += length
    return found


@pytest.mark.parametrize("step", [SIZE, MIB, 3 * CLUSTER + 512])
def test_an_increment_by_two_contexts_is_equal_and_reads_what_changed(
        server, disk, changed, step):
    handle = server.connect("new", [ALLOCATION, DIRTY])
    copy, n_read = bytearray(disk.truth["old"]), 0
    for at, length in dirty_ranges(handle, step):
        copy[at:at + length] = handle.pread(length, at)
        n_read += length
    handle.shutdown()
    assert copy == disk.truth["new"] and n_read == len(changed) * CLUSTER


def test_asynchronous_requests_on_many_connections_are_equal(server, disk):
    handles = [server.connect("new") for _ in range(4)]
    buffers = []
    for n, at in enumerate(range(0, SIZE, CLUSTER)):
        buffer = nbd.libnbd.Buffer(CLUSTER)
        handles[n % 4].aio_pread(buffer, at)
        buffers.append(buffer)
    for handle in handles:
        while handle.aio_in_flight() > 0:
            handle.poll(-1)
    assert b"".join(bytes(b.to_bytearray()) for b in buffers) == disk.truth["new"]
    for handle in handles:
        handle.shutdown()
