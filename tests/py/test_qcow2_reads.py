# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads of a qcow2 snapshot are its own bytes or an error, never a guess."""

import errno
import os
import pathlib
import subprocess

import nbd as libnbd
import pytest

from snaplib import nbd, tools
from snaplib.cli import nbdsnap

KIB = 1024
DISK = "disk.qcow2"


@pytest.fixture(autouse=True)
def image(tmp_path, monkeypatch):
    tools.require("qemu-img", "qemu-io", "qemu-nbd", "nbdkit")
    monkeypatch.chdir(tmp_path)
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", DISK, "1M"])


def io(*commands):
    words = [word for command in commands for word in ("-c", command)]
    tools.run(["qemu-io", "-d", "unmap", "-f", "qcow2", *words, DISK])


def compressed(pattern, offset):
    """QEMU writes compressed clusters only where there is nothing."""
    io(f"discard -q {offset} 64k", f"write -q -c -P {pattern} {offset} 64k")


def snapshot(name):
    tools.run(["qemu-img", "snapshot", "-c", name, DISK])


def read(server, offset, export=""):
    with server.connect(export) as handle:
        return handle.pread(512, offset)


def fails(server, offset, export=""):
    with pytest.raises(libnbd.Error) as caught:
        read(server, offset, export)
    assert caught.value.errnum == errno.EIO


def test_of_two_snapshots_of_one_name_each_is_read_as_itself():
    """What is compressed comes from qemu-nbd, which looks for names too."""
    for pattern in 1, 2, 3:
        compressed(pattern, 0)
        snapshot("same")
    for number in 1, 2, 3:
        with nbd.Server(f"{DISK}@{number}") as server:
            assert read(server, 0) == bytes([number]) * 512


def test_a_cluster_that_was_cut_off_the_file_is_an_error_and_not_zeroes():
    io("write -q -P 1 0 64k")
    snapshot("mon")
    io("write -q -P 2 512k 64k")
    os.truncate(DISK, os.path.getsize(DISK) - 64 * KIB)
    with nbd.Server(f"{DISK}@live") as server:
        assert read(server, 0) == b"\1" * 512
        fails(server, 512 * KIB)
        assert "past the end of the file" in server.messages()


def test_what_a_shrunk_image_no_longer_gives_is_an_error_and_not_zeroes():
    compressed(1, 768 * KIB)
    compressed(2, 0)
    io("write -q -P 3 832k 64k")
    snapshot("mon")
    tools.run(["qemu-img", "resize", "-q", "-f", "qcow2", "--shrink", DISK, "512k"])
    with nbd.Server(f"{DISK}@mon") as server:
        assert read(server, 0) == b"\2" * 512
        assert read(server, 832 * KIB) == b"\3" * 512
        fails(server, 768 * KIB)
        assert "was shrunk" in server.messages()


# ---- nbdkit --user ----

def other_user(mode):
    """The image, as another user may or may not open it; with one snapshot of
    plain data and one of compressed data too."""
    tools.require_root()
    io("write -q -P 1 0 64k")
    snapshot("plain")
    compressed(2, 128 * KIB)
    snapshot("packed")
    os.chmod(DISK, mode)
    for folder in (pathlib.Path.cwd(), *pathlib.Path.cwd().parents):
        if folder != pathlib.Path("/tmp") and folder.stat().st_mode & 0o5 != 0o5:
            os.chmod(folder, folder.stat().st_mode | 0o5)


def serve_as_nobody(tmp_path, what, command):
    result = subprocess.run(
        ["nbdkit", "-U", "-", "-u", "nobody", "-g", "nogroup",
         tools.plugin().resolve(), f"state-dir={tmp_path / 'state'}", DISK,
         "-e", what, "--run", command],
        capture_output=True, text=True, timeout=60,
        env=nbd.environment(TMPDIR="/tmp"))
    return result


def test_another_user_serves_plain_data_and_changes_of_a_file_it_may_not_open(tmp_path):
    other_user(0o600)
    changes = serve_as_nobody(tmp_path, "plain..packed", 'nbdinfo --map "$uri"')
    assert changes.returncode == 0, changes.stderr
    assert [line.split()[:3] for line in changes.stdout.splitlines()] == [
        ["0", "131072", "1"], ["131072", "65536", "0"], ["196608", "851968", "1"]]
    copied = serve_as_nobody(tmp_path, "plain", 'nbdcopy "$uri" - | wc -c')
    assert copied.stdout.strip() == str(1 << 20), copied.stderr
    packed = serve_as_nobody(tmp_path, "packed", 'nbdcopy "$uri" null:')
    assert packed.returncode != 0 and "Permission denied" in packed.stderr
    assert "json:" not in packed.stderr and "/proc/self" not in packed.stderr


def test_another_user_that_may_open_the_file_serves_all_of_it(tmp_path):
    other_user(0o644)
    packed = serve_as_nobody(tmp_path, "packed", 'nbdcopy "$uri" - | sha256sum')
    tools.run(["qemu-img", "convert", "-l", "packed", "-O", "raw", DISK, "truth.raw"])
    assert packed.stdout.split()[0] == tools.run(["sha256sum", "truth.raw"]).split()[0], \
        packed.stderr


# ---- more snapshots than anybody makes ----

def forge_snapshots(n):
    """All of one name; each takes 64 bytes of the table."""
    cluster = 64 * KIB
    table = bytearray()
    for number in range(n):
        name = str(number).encode()
        entry = (3 * cluster).to_bytes(8, "big") + (1).to_bytes(4, "big")
        entry += len(name).to_bytes(2, "big") + (1).to_bytes(2, "big")
        entry += (1).to_bytes(4, "big") + number.to_bytes(4, "big") + bytes(12)
        entry += (16).to_bytes(4, "big") + bytes(8) + (1 << 20).to_bytes(8, "big")
        entry += name + b"n"
        table += entry.ljust(-(-len(entry) // 8) * 8, b"\0")
    image = pathlib.Path(DISK)
    data = bytearray(image.read_bytes())
    at = -(-len(data) // cluster) * cluster
    data[60:72] = n.to_bytes(4, "big") + at.to_bytes(8, "big")
    image.write_bytes(bytes(data).ljust(at, b"\0") + table)


def test_a_table_full_of_snapshots_is_listed_at_once_and_not_served_whole(tmp_path):
    """It took minutes, the square of their number."""
    forge_snapshots(65536)
    listed = subprocess.run(
        [tools.nbdsnap(), "--state-dir", "state", "list", "-q", DISK],
        capture_output=True, text=True, timeout=60)
    assert listed.stdout.count("\n") == 65536
    refused = subprocess.run(
        ["nbdkit", "-U", "-", tools.plugin().resolve(), f"state-dir={tmp_path / 'state'}",
         DISK, "--run", "true"], capture_output=True, text=True, timeout=60,
        env=nbd.environment())
    assert refused.returncode != 0
    assert "has 65536 snapshots" in refused.stderr and "4096" in refused.stderr
    assert nbdsnap("show", f"{DISK}@newest").returncode == 0
