# SPDX-License-Identifier: LGPL-2.1-or-later
"""Things that go wrong around a running server: other programs at the image,
the image gone, our qemu-nbd killed, clients that try to write."""

import errno
import hashlib
import os
import signal
import subprocess
import threading
import time

import nbd as libnbd
import pytest

from snaplib import nbd, tools
from snaplib.disk import CLUSTER, Disk

MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdkit", "nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "qemu-nbd")


@pytest.fixture
def disk(tmp_path):
    """The first MiB is compressed, the second plain."""
    source = Disk(tmp_path / "source.qcow2", 2 * MIB)
    source.write(0, MIB, 1)
    source.flush()
    packed = tmp_path / "vm.qcow2"
    tools.run(["qemu-img", "convert", "-c", "-O", "qcow2", source.path, packed])
    source.path = packed
    source.write(MIB, MIB, 2)
    source.snapshot("a")
    source.write(MIB, 4096, 3)
    source.snapshot("b")
    return source


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- others at the image ----

@pytest.mark.parametrize("command", [
    ["qemu-io", "-f", "qcow2", "-c", "write 0 512"],
    ["qemu-img", "snapshot", "-c", "c"],
    ["qemu-img", "snapshot", "-d", "a"],
    ["qemu-img", "resize", "-f", "qcow2", "--shrink"],
])
def test_qemu_is_refused_to_write_while_the_image_is_served(disk, command):
    before = digest(disk.path)
    tail = ["1M"] if "resize" in command else []
    with nbd.Server(disk.path):
        result = nbd.client(*command, disk.path, *tail, check=False)
        assert result.returncode != 0
        assert 'Failed to get "write" lock' in result.stderr
        # Reading is open to everybody.
        nbd.client("qemu-img", "info", disk.path)
    assert digest(disk.path) == before
    nbd.client(*command, disk.path, *tail)


def test_a_snapshot_that_is_served_is_not_deleted(disk, tmp_path):
    state = tmp_path / "state"
    made = nbd.client(tools.nbdsnap(), f"--state-dir={state}", "create", "-n", "ours",
                      disk.path, check=False)
    assert made.returncode in (0, 4)
    with nbd.Server(f"{disk.path}@ours"):
        deleted = nbd.client(tools.nbdsnap(), f"--state-dir={state}", "delete",
                             f"{disk.path}@ours", check=False)
        assert deleted.returncode == 3, deleted.stderr


def test_an_image_that_is_being_written_is_not_served(disk):
    writer = subprocess.Popen(["qemu-io", "-f", "qcow2", disk.path], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        writer.stdin.write("write 0 512\n")
        writer.stdin.flush()
        writer.stdout.readline()
        message = nbd.refused(disk.path)
        assert "write" in message and "lock" in message
    finally:
        writer.communicate("quit\n", timeout=30)


# ---- the image is gone ----

def test_an_image_removed_under_the_server_is_served_on(disk, tmp_path):
    """Also what only the child, not yet started then, can read."""
    with nbd.Server(disk.path) as server:
        with server.connect("b") as handle:
            half = handle.pread(MIB, MIB)
            disk.path.unlink()
            assert server.children() == []
            assert handle.pread(MIB, 0) + half == disk.truth["b"]
            assert len(server.children()) == 1
        assert nbd.full_copy(server.uri("a"), tmp_path) == disk.truth["a"]
        assert nbd.block_map(server.uri("a..b"))[1] == (MIB, CLUSTER, nbd.DATA)


def test_an_image_replaced_under_the_server_is_not_looked_at(disk, tmp_path):
    other = Disk(tmp_path / "other.qcow2", 2 * MIB)
    other.write(0, 2 * MIB, 99)
    other.snapshot("a")
    other.snapshot("b")
    with nbd.Server(disk.path) as server:
        os.rename(other.path, disk.path)
        for name in ("a", "b", "a..b"):
            assert nbd.full_copy(server.uri(name), tmp_path) == disk.truth[name[-1]]


# ---- the child dies ----

def test_a_killed_child_is_an_error_that_names_it(disk):
    with nbd.Server(disk.path) as server:
        with server.connect("a") as handle:
            assert handle.pread(512, 0) == disk.truth["a"][:512]
            child, = server.children()
            os.kill(child, signal.SIGKILL)
            with pytest.raises(libnbd.Error) as caught:
                for at in range(0, MIB, CLUSTER):
                    handle.pread(512, at)
            assert caught.value.errnum == errno.EIO
            # Plain clusters need no child.
            assert handle.pread(CLUSTER, MIB) == disk.truth["a"][MIB:MIB + CLUSTER]
        assert "qemu-nbd" in server.messages()


def test_a_child_killed_in_the_middle_of_a_read_hangs_nobody(disk):
    outcome = []

    def read(handle):
        try:
            outcome.append(handle.pread(CLUSTER, 8 * CLUSTER))
        except libnbd.Error as error:
            outcome.append(error.errnum)

    with nbd.Server(disk.path) as server:
        with server.connect("a") as handle:
            handle.pread(512, 0)
            child, = server.children()
            os.kill(child, signal.SIGSTOP)
            reader = threading.Thread(target=read, args=(handle,))
            reader.start()
            time.sleep(0.2)
            assert not outcome, "the read did not need the child"
            os.kill(child, signal.SIGKILL)
            reader.join(20)
            assert outcome == [errno.EIO]


def test_the_server_ends_while_its_child_hangs(disk):
    with nbd.Server(disk.path) as server:
        with server.connect("a") as handle:
            handle.pread(512, 0)
            child, = server.children()
            os.kill(child, signal.SIGSTOP)
        started = time.monotonic()
    assert time.monotonic() - started < 30


def test_a_server_that_is_killed_leaves_no_child(disk):
    server = nbd.Server(disk.path)
    with server.connect("a") as handle:
        handle.pread(512, 0)
        child, = server.children()
        server.process.kill()
        server.process.wait()
        end = time.monotonic() + 20
        while os.path.exists(f"/proc/{child}") and time.monotonic() < end:
            time.sleep(0.02)
        assert not os.path.exists(f"/proc/{child}")
        server.folder.cleanup()
    # Nor a lock on the image.
    nbd.client("qemu-io", "-f", "qcow2", "-c", "write -q 0 512", disk.path)


def test_the_child_ends_with_the_last_connection_that_needs_it(disk):
    with nbd.Server(disk.path) as server:
        with server.connect("a") as first:
            with server.connect("a") as second:
                second.pread(512, 0)
                child, = server.children()
            assert first.pread(512, CLUSTER) == disk.truth["a"][:512]
            assert server.children() == [child]
        end = time.monotonic() + 20
        while server.children() and time.monotonic() < end:
            time.sleep(0.02)
        assert server.children() == []
        # And comes back when it is needed again.
        with server.connect("a") as handle:
            assert handle.pread(512, 0) == disk.truth["a"][:512]


def test_a_missing_qemu_nbd_fails_only_what_needs_it(disk, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    os.symlink(tools.which("nbdkit"), folder / "nbdkit")
    with nbd.Server(disk.path, env={"PATH": str(folder)}) as server:
        with server.connect("a") as handle:
            assert handle.pread(512, MIB) == disk.truth["a"][MIB:MIB + 512]
            with pytest.raises(libnbd.Error):
                handle.pread(512, 0)
        assert "qemu-nbd" in server.messages()


# ---- writes ----

def test_nothing_can_be_written(disk):
    before = digest(disk.path)
    with nbd.Server(disk.path) as server:
        for name in ("a", "a..b"):
            with server.connect(name) as handle:
                assert handle.is_read_only()
                for attempt in (lambda: handle.pwrite(b"x" * 512, 0),
                                lambda: handle.zero(512, 0),
                                lambda: handle.trim(512, 0)):
                    with pytest.raises(libnbd.Error) as caught:
                        attempt()
                    assert caught.value.errnum in (errno.EPERM, errno.EROFS,
                                                   errno.EINVAL, errno.ENOTSUP)
                assert handle.pread(512, 0) == disk.truth["a"][:512]
        result = nbd.client("qemu-io", "-f", "raw", "-c", "write 0 512",
                            server.uri("a"), check=False)
        assert result.returncode != 0
        result = nbd.client("nbdcopy", disk.path, server.uri("a"), check=False)
        assert result.returncode != 0
    assert digest(disk.path) == before


def test_serving_leaves_the_image_as_it_was(disk, tmp_path):
    before = digest(disk.path)
    with nbd.Server(disk.path) as server:
        for name in nbd.exports(server):
            nbd.full_copy(server.uri(name), tmp_path)
            nbd.block_map(server.uri(name))
    assert digest(disk.path) == before
    nbd.client("qemu-img", "check", "-q", disk.path)


# ---- many at once ----

def test_many_connections_read_the_same(disk):
    """Compressed and plain clusters, two exports, and block status between."""
    failures = []

    def work(server, name, seed):
        with server.connect(name) as handle:
            for step in range(40):
                at = (seed * 7919 + step * 104729) % (2 * MIB - 8192) // 512 * 512
                if handle.pread(8192, at) != disk.truth[name[-1]][at:at + 8192]:
                    failures.append((name, at))
                nbd.block_status(handle, 2 * MIB, 0)

    with nbd.Server(disk.path) as server:
        threads = [threading.Thread(target=work, args=(server, name, seed))
                   for seed, name in enumerate(["a", "b", "a..b", "b..a"] * 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failures
