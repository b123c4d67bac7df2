# SPDX-License-Identifier: LGPL-2.1-or-later
"""The client of QEMU's monitor, on a real QEMU whose guest does nothing."""

import os
import subprocess
import tempfile
import time

import pytest

from snaplib import tools

PROGRAM = tools.BUILD / "tests" / "unit" / "test-qmp-qemu"
START_SECONDS = 120


def make_images(folder):
    for words in (["-f", "qcow2", "base.qcow2", "16M"],
                  ["-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "a.qcow2"],
                  ["-f", "raw", "b.raw", "8M"], ["-f", "raw", "c.raw", "4M"],
                  ["-f", "qcow2", "d.qcow2", "4M"], ["-f", "qcow2", "t.qcow2", "16M"]):
        tools.run(["qemu-img", "create", "-q", *words], cwd=folder)


def command(folder):
    """Disks with and without a name, on formats and on none; an empty drive."""
    return [
        "qemu-system-x86_64", "-S", "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "q35", "-accel", "tcg", "-m", "16",
        "-chardev", f"socket,id=q,path={folder}/qmp,server=on,wait=off",
        "-mon", "chardev=q,mode=control",
        "-blockdev", f"driver=qcow2,node-name=fmt-a,file.driver=file,file.filename={folder}/a.qcow2",
        "-device", "virtio-blk-pci,drive=fmt-a,id=va",
        "-blockdev", f"driver=raw,node-name=fmt-b,file.driver=file,file.filename={folder}/b.raw",
        "-device", "virtio-blk-pci,drive=fmt-b",
        "-blockdev", f"driver=file,node-name=prot-c,filename={folder}/c.raw",
        "-device", "virtio-blk-pci,drive=prot-c,id=vc",
        "-drive", f"if=virtio,id=dd,file={folder}/d.qcow2,format=qcow2",
        "-drive", "if=ide,media=cdrom,id=cd0"]


@pytest.fixture
def monitor():
    """The path of the monitor of a QEMU that ends with the test."""
    tools.require("qemu-system-x86_64", "qemu-img")
    with tempfile.TemporaryDirectory(prefix="qmp-", dir="/tmp") as folder:
        make_images(folder)
        with open(f"{folder}/log", "w") as log:
            qemu = subprocess.Popen(command(folder), cwd=folder, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not os.path.exists(f"{folder}/qmp"):
                assert qemu.poll() is None, open(f"{folder}/log").read()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield f"{folder}/qmp"
        finally:
            qemu.kill()
            qemu.wait()


def test_the_client_works_on_a_real_qemu(monitor):
    if not PROGRAM.exists():
        tools.missing(f"{PROGRAM} is not built")
    result = subprocess.run(
        [str(PROGRAM), "--tap"], env=dict(os.environ, NBDSNAP_TEST_QMP=monitor),
        capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert result.stdout.count("\nok ") == 9, result.stdout
