# SPDX-License-Identifier: LGPL-2.1-or-later
"""./demo shows what it says, on both of its storages, and leaves nothing."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import pytest

from snaplib import tools

# What started us may ignore it, and so would all that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)

DEMO = tools.TOP / "demo"
DEADLINE = 120  # seconds


@pytest.fixture(params=["qcow2", "btrfs"])
def options(request):
    tools.require("nbdkit", "nbdcopy", "qemu-img", "qemu-io")
    if request.param == "btrfs":
        tools.require_root()
        tools.require("mkfs.btrfs", "mount", "unshare")
        return ["--btrfs"]
    return []


def environment(folder, **changes):
    return dict(os.environ, NBDSNAP_BUILDDIR=str(tools.BUILD.resolve()), TMPDIR=str(folder),
                LC_ALL="C.UTF-8", **changes)


def demo(folder, *options, **changes):
    return subprocess.run([DEMO, *options], env=environment(folder, **changes),
                          capture_output=True, text=True, timeout=DEADLINE)


def mounts_below(folder):
    return [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()
            if str(folder) in line]


def loops_below(folder):
    if os.geteuid() != 0:
        return []
    return [line for line in tools.run(["losetup", "--list", "--output", "BACK-FILE"]).splitlines()
            if str(folder) in line]


def assert_nothing_left(folder):
    assert list(folder.iterdir()) == []
    assert mounts_below(folder) == [] and loops_below(folder) == []


def test_every_restored_point_is_equal_and_nothing_is_left(tmp_path, options):
    result = demo(tmp_path, *options)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    table = re.findall(r"^  (full of mon|mon\.\.tue|tue\.\.wed) .* (\w+)$",
                       result.stdout, re.M)
    assert table == [("full of mon", "equal"), ("mon..tue", "equal"), ("tue..wed", "equal")]
    assert len(re.findall("^│.*▁.*│$", result.stdout, re.M)) == 2, "two dirty maps"
    assert len(re.findall("^  .*disk[.].*@(mon|tue|wed)$", result.stdout, re.M)) == 3
    assert_nothing_left(tmp_path)


def test_a_restored_point_that_differs_is_seen(tmp_path, options):
    """A client that loses a block of every increment."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "qemu-img"
    program.write_text(
        "#!/bin/sh\n"
        f"{tools.which('qemu-img')} \"$@\" || exit\n"
        "case \"$*\" in *' -B '*) for result; do :; done\n"
        f"    {tools.which('qemu-io')} -c 'write -q -P 0x5a 32M 512' \"$result\" ;;\n"
        "esac\n")
    program.chmod(0o755)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    result = demo(scratch, *options, PATH=f"{programs}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert "a restored point differs" in result.stderr
    assert result.stdout.count("DIFFERENT") == 2
    assert_nothing_left(scratch)


def test_an_interrupted_demo_leaves_nothing(tmp_path, options):
    process = subprocess.Popen([DEMO, *options], env=environment(tmp_path), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
    for line in process.stdout:
        if "@tue" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    end = time.monotonic() + DEADLINE
    while loops_below(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)  # the kernel lets go of a loop device a little later
    assert_nothing_left(tmp_path)


def test_a_running_guest_is_cut_and_restored():
    tools.require_root()
    tools.require("qemu-system-x86_64", "mkfs.btrfs", "mkfs.ext4", "nbdkit", "qemu-img")
    with tempfile.TemporaryDirectory(prefix="d-", dir="/var/tmp") as short:  # for sockets
        check_demo_of_guest(pathlib.Path(short))


def check_demo_of_guest(folder):
    result = subprocess.run([DEMO, "--guest"], env=environment(folder), text=True,
                            capture_output=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("one instant") == 3
    assert len(re.findall(r"ms   equal$", result.stdout, re.M)) == 6
    assert "DIFFERENT" not in result.stdout
    assert_nothing_left(folder)


def test_what_it_cannot_do_is_said(tmp_path):
    result = demo(tmp_path, "--zfs")
    assert result.returncode == 2 and "--zfs" in result.stderr
    assert "--btrfs" in demo(tmp_path, "--help").stdout
    if os.geteuid() == 0:
        tools.require("setpriv")
        result = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-s", "--",
             "--btrfs"], input=DEMO.read_text(), capture_output=True, text=True, cwd="/",
            timeout=DEADLINE)
    else:
        result = demo(tmp_path, "--btrfs")
    assert result.returncode == 1
    assert result.stderr == "demo: --btrfs mounts a file system: run it as root\n"
    assert_nothing_left(tmp_path)
