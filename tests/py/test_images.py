# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disk images of QEMU's other formats: read as QEMU reads them, or refused."""

import errno
import fcntl
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time

import nbd as libnbd
import pytest

from snaplib import nbd, tools
from snaplib.cli import answer, done, nbdsnap, refused
from snaplib.serve import Serving

KIB, MIB = 1 << 10, 1 << 20
SIZE = 3 * MIB
PASSWORD = "a secret"

# Name of a file, and how `qemu-img convert` makes it.
MADE = {
    "disk.qed": ["-O", "qed"],
    "disk.vdi": ["-O", "vdi"],
    "static.vdi": ["-O", "vdi", "-o", "static=on"],
    "disk.vhdx": ["-O", "vhdx"],
    "disk.vmdk": ["-O", "vmdk"],
    "stream.vmdk": ["-O", "vmdk", "-o", "subformat=streamOptimized"],
    "disk.vhd": ["-O", "vpc", "-o", "force_size=on"],
    "fixed.vhd": ["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
    "disk.hds": ["-O", "parallels"],
    "disk.luks": ["--object", f"secret,id=s,data={PASSWORD}", "-O", "luks",
                  "-o", "key-secret=s,iter-time=10"],
    "disk.raw": ["-O", "raw"],
}
# What is not told by how a file begins has to be named.
NAMED = {"fixed.vhd": "#vpc", "disk.raw": "#raw"}


def contents():
    """Data at both ends, zeroes that were written and such that were not."""
    data = bytearray(SIZE)
    data[:100 * KIB] = bytes(i * 7 % 251 for i in range(100 * KIB))
    data[2 * MIB + 512:2 * MIB + 70 * KIB] = b"\5" * (70 * KIB - 512)
    data[-512:] = b"end " * 128
    return bytes(data)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    tools.require("qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon", "nbdcopy",
                  "nbdkit")
    folder = tmp_path_factory.mktemp("images")
    (folder / "truth").write_bytes(contents())
    for name, how in MADE.items():
        tools.run(["qemu-img", "convert", "-f", "raw", *how, folder / "truth",
                   folder / name])
    (folder / "key").write_text(PASSWORD)
    return folder


@pytest.fixture(autouse=True)
def here(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def copy(images, name):
    path = pathlib.Path(name)
    path.write_bytes((images / name).read_bytes())
    return path


def create(form, name, size, *options):
    tools.run(["qemu-img", "create", "-q", "-f", form, *options, name, size])


def io(form, name, *commands):
    words = [word for command in commands for word in ("-c", command)]
    tools.run(["qemu-io", "-f", form, *words, name])


def read_by_qemu(form, name):
    tools.run(["qemu-img", "convert", "-f", form, "-O", "raw", name, "raw"])
    return pathlib.Path("raw").read_bytes()


# ---- reading ----

def test_every_format_is_served_as_it_was_written(images):
    labels = {name: name.replace(".", "-") for name in MADE if name != "disk.luks"}
    volumes = [f"{label}=image:{images / name}{NAMED.get(name, '')}@live"
               for name, label in labels.items()]
    with Serving(*volumes) as server:
        for label in labels.values():
            handle = server.connect(f"{label}@live", [libnbd.CONTEXT_BASE_ALLOCATION])
            assert handle.get_size() == SIZE, label
            assert handle.pread(SIZE, 0) == contents(), label
            assert handle.pread(3, 1023) == contents()[1023:1026], label
            for offset, length, flags in nbd.block_status(handle, SIZE, 0):
                if flags & nbd.ZERO:
                    piece = contents()[offset:offset + length]
                    assert not any(piece), (label, offset, length)
            handle.shutdown()


def test_nbdcopy_makes_the_image(images, tmp_path):
    with nbd.Server(f"image:{images / 'disk.vmdk'}@live") as server:
        assert nbd.full_copy(server.uri(), tmp_path) == contents()
        assert any(flags & nbd.ZERO for _, _, flags in nbd.block_map(server.uri()))


def test_an_encrypted_image_is_read_with_its_key(images):
    location = f"image:{images / 'disk.luks'}"
    with nbd.Server(f"{location}@live", f"secret={images / 'key'}") as server, \
            server.connect() as handle:
        assert handle.pread(SIZE, 0) == contents()
    refused(nbdsnap("show", f"{location}@live"), 1, "disk.luks", "no secret file")


def test_what_is_not_zero_is_in_the_diff_from_empty(images):
    extents = answer("diff", f"image:{images / 'disk.vdi'}@empty..live")["extents"]
    assert [extents[0]["offset"], sum(e["length"] for e in extents)] == [0, SIZE]
    for extent in extents:
        piece = contents()[extent["offset"]:extent["offset"] + extent["length"]]
        assert not (extent["zero"] and any(piece))


def test_list_and_show():
    create("vmdk", "disk.vmdk", "1M")
    assert answer("list", "image:disk.vmdk")["volumes"][0]["snapshots"] == []
    shown = answer("show", "image:disk.vmdk@live")
    assert (shown["kind"], shown["size"]) == ("live", MIB)


def test_names_that_qemu_would_take_for_something_else():
    name = "a,b=json:{\"c\"} é%23#@.vmdk"
    create("vmdk", "disk.vmdk", "1M")
    os.rename("disk.vmdk", name)
    words = name.replace("%", "%25").replace("#", "%23").replace("@", "%40")
    output = done("diff", f"image:{words}@empty..live", "--format=totals", "--quiet")
    assert "1.0 MiB" in output


# ---- backing files ----

def dirty(reference):
    extents = answer("diff", reference, "--quiet")["extents"]
    return [(e["offset"], e["length"]) for e in extents]


@pytest.mark.parametrize("form, grain", [("qed", 64 * KIB), ("vmdk", 64 * KIB)])
def test_what_an_overlay_holds_is_what_differs_from_its_backing_file(form, grain):
    base, top = f"base.{form}", f"top.{form}"
    create(form, base, "1M")
    io(form, base, "write -q -P 1 0 300k", "write -q -P 2 900k 124k")
    options = ["-b", base, "-F", form]
    create(form, top, "2M" if form == "qed" else "1M", *options)
    io(form, top, "write -q -P 3 100k 4k", "write -q -P 4 512k 64k")
    size = 2 * MIB if form == "qed" else MIB
    old = read_by_qemu(form, base).ljust(size, b"\0")
    new = read_by_qemu(form, top)
    found = dirty(f"image:{top}@backing..live")
    for at in range(0, size, 512):
        if old[at:at + 512] != new[at:at + 512]:
            assert any(o <= at < o + length for o, length in found), at
    inside = [(o, length) for o, length in found if o < MIB]
    assert inside == [(grain, grain), (512 * KIB, grain)]
    assert size == MIB or found[-1] == (MIB, MIB)
    with nbd.Server(f"image:{top}@live") as server, server.connect() as handle:
        assert handle.pread(size, 0) == new
    refused(nbdsnap("diff", f"image:{base}@backing..live"), 5, "no backing file")


def test_a_raw_backing_file_stays_raw():
    """Its guest has made it look like an image that shows a file of the host."""
    create("raw", "base", "1M")
    with open("base", "r+b") as file:
        file.write(b"# Disk DescriptorFile\nversion=1\n")
    create("qed", "top.qed", "1M", "-b", "base", "-F", "raw")
    with nbd.Server("image:top.qed@live") as server, server.connect() as handle:
        assert handle.pread(21, 0) == b"# Disk DescriptorFile"


# ---- images that are in use ----

def locked_by_writer(path):
    """What QEMU holds that writes: byte 101 is locked."""
    file = open(path, "r+b")
    lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 101, 1, 0)
    fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK
    return file


def test_an_image_that_is_written_to_is_busy(images):
    copy(images, "disk.qed")
    create("vmdk", "base.vmdk", "1M")
    create("vmdk", "top.vmdk", "1M", "-b", "base.vmdk", "-F", "vmdk")
    with locked_by_writer("disk.qed"), locked_by_writer("base.vmdk"):
        refused(nbdsnap("list", "image:disk.qed"), 3, "disk.qed", "in use")
        refused(nbdsnap("list", "image:top.vmdk"), 3, "base.vmdk", "in use")


def test_an_image_that_is_served_cannot_be_written_to(images):
    copy(images, "disk.vdi")
    write = ["qemu-io", "-f", "vdi", "-c", "write -q 0 512", "disk.vdi"]
    with nbd.Server("image:disk.vdi@live") as server, server.connect() as handle:
        for _ in "before the daemon was started", "and after":
            result = subprocess.run(write, capture_output=True, text=True)
            assert 'Failed to get "write" lock' in result.stderr
            handle.pread(512, 0)


# ---- the daemon ----

def test_a_daemon_that_dies_is_an_error_that_names_it(images):
    with nbd.Server(f"image:{images / 'disk.vmdk'}@live") as server, \
            server.connect() as handle:
        assert server.children() == []
        handle.pread(512, 0)
        (pid,) = server.children()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(libnbd.Error) as caught:
            handle.pread(512, 0)
        assert caught.value.errnum == errno.EIO
        assert "disk.vmdk: qemu-storage-daemon ended" in server.messages()
        assert "signal 9" in server.messages()


def test_no_daemon_outlives_a_server_that_is_killed(images):
    with nbd.Server(f"image:{images / 'disk.vmdk'}@live") as server:
        with server.connect() as handle:
            handle.pread(512, 0)
            (pid,) = server.children()
            server.process.kill()
            server.process.wait()
        end = time.monotonic() + nbd.DEADLINE
        while os.path.exists(f"/proc/{pid}"):
            assert time.monotonic() < end
            time.sleep(0.01)
        server.process.returncode = 0


def test_no_daemon_is_an_error_that_says_so(images, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    refused(nbdsnap("list", f"image:{images / 'disk.vmdk'}"), 1, "disk.vmdk",
            "qemu-storage-daemon", "no such program")


def test_another_user_reads_what_it_may_read(images):
    tools.require_root()
    path = copy(images, "disk.vmdk").resolve()
    env = dict(os.environ, TMPDIR="/tmp")  # where that user may make a socket
    for mode in 0o644, 0o600:
        path.chmod(mode)
        with Serving("--user=nobody", f"image:{path}@live", env=env) as server:
            handle = server.connect("live")
            if mode == 0o644:
                assert handle.pread(SIZE, 0) == contents()
            else:
                with pytest.raises(libnbd.Error):
                    handle.pread(512, 0)
                assert "disk.vmdk: Permission denied" in server.messages()
            handle.shutdown()


# ---- images that are broken, or something else ----

@pytest.mark.parametrize("name", ["disk.qed", "disk.vdi", "disk.vmdk", "disk.hds"])
def test_a_file_that_was_cut_off_is_not_read_as_zeroes(images, name):
    path = copy(images, name)
    os.truncate(path, path.stat().st_size - 1)
    refused(nbdsnap("diff", f"image:{name}@empty..live", "--quiet"), 1, name, "cut off")


def test_files_that_qemu_finds_cut_off_are_its_errors(images):
    path = copy(images, "disk.vhdx")
    os.truncate(path, path.stat().st_size // 2 + MIB)  # what is cut off first is room
    refused(nbdsnap("list", "image:disk.vhdx"), 1, "disk.vhdx", "truncated")
    path = copy(images, "fixed.vhd")
    os.truncate(path, path.stat().st_size - 1)
    refused(nbdsnap("list", "image:fixed.vhd#vpc"), 1, "fixed.vhd", "cut off")


def test_what_is_no_image_is_not_taken_for_one(images):
    pathlib.Path("noise").write_bytes(os.urandom(4096))
    pathlib.Path("empty").write_bytes(b"")
    pathlib.Path("disk.qcow2").write_bytes(b"QFI\xfb" + bytes(508))
    os.mkfifo("pipe")
    for name, words in {"noise": "begins like none", "empty": "begins like none",
                        "disk.qcow2": "qcow2 driver", "pipe": "not a file",
                        "gone": "No such file"}.items():
        refused(nbdsnap("list", f"image:{name}"), 1, name, words)
    refused(nbdsnap("list", f"image:{images / 'disk.vdi'}#bogus"), 2, "no such format")
    refused(nbdsnap("list", f"image:{images / 'disk.vdi'}#vmdk"), 1, "no vmdk image")


def test_no_image_shows_another_file_of_the_host():
    pathlib.Path("secret").write_bytes(b"secret" * 1000)
    secret = os.path.abspath("secret")
    descriptor = (f"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
                  f'createType="monolithicFlat"\nRW 8 FLAT "{secret}" 0\n').encode()
    pathlib.Path("text.vmdk").write_bytes(descriptor)
    header = b"KDMV" + struct.pack("<IIQQQQIQQQ", 1, 3, 0, 128, 1, 20, 512, 0, 21, 128)
    pathlib.Path("magic.vmdk").write_bytes(header.ljust(512, b"\0") + descriptor.ljust(10240, b"\0"))
    for name in "text.vmdk", "magic.vmdk":
        refused(nbdsnap("list", f"image:{name}"), 1, name, "other files")
    create("qed", "remote.qed", "1M")
    with open("remote.qed", "r+b") as file:
        file.seek(16)
        file.write(struct.pack("<Q", 1))
        file.seek(56)
        file.write(struct.pack("<II", 64, 18) + b"nbd:localhost:1000")
    refused(nbdsnap("list", "image:remote.qed"), 1, "nbd:localhost:1000", "not a plain file")


def test_a_file_is_probed_by_its_name_as_well_as_its_bytes(images):
    """On a file system of no driver: what a guest writes into a raw disk does
    not make it an image."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        vmdk, raw = (pathlib.Path(folder) / f"disk.{end}" for end in ("vmdk", "raw"))
        for path in vmdk, raw:
            path.write_bytes((images / "disk.vmdk").read_bytes())
        assert answer("list", vmdk)["volumes"][0]["volume"] == f"image:{vmdk}"
        refused(nbdsnap("list", raw), 1, "no driver knows")
        vmdk.write_bytes((images / "disk.qed").read_bytes())
        refused(nbdsnap("list", vmdk), 1, "no driver knows")


# ---- what cannot be done ----

def test_snapshots_cannot_be_made_or_deleted(images):
    copy(images, "disk.vdi")
    refused(nbdsnap("create", "image:disk.vdi"), 1, "snapshots of image volumes cannot be made")
    refused(nbdsnap("delete", "image:disk.vdi@live"), 2, "live")
    refused(nbdsnap("diff", "image:disk.vdi@live..live"), 5, "backing..live")
