# SPDX-License-Identifier: LGPL-2.1-or-later
"""LUKS images: compared without the key, read and changed only with it."""

import json
import os
import subprocess

import pytest

from snaplib import file_sets, nbd, tools

SECRET = "secret,id=k,file=key"


def make_image():
    """qemu-img measures how much time hashing takes, and gives up on a busy
    machine whose clock says none at all."""
    command = ["qemu-img", "create", "-q", "--object", SECRET, "-f", "qcow2", "-o",
               "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10",
               "disk.qcow2", "2M"]
    for _ in range(20):
        made = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if "accurate CPU usage" not in made.stderr:
            break
    assert made.returncode == 0, made.stderr


@pytest.fixture(autouse=True)
def image(tmp_path, monkeypatch):
    tools.require("qemu-img", "qemu-io", "nbdkit")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("correct horse")
    (tmp_path / "wrong").write_text("battery staple")
    make_image()
    write(3, 0, "1M")
    tools.run([*nbdsnap_command(), "create", "--secret=key", "-n", "one", "disk.qcow2"])
    write(4, "512k", "64k")
    tools.run([*nbdsnap_command(), "create", "--secret=key", "-n", "two", "disk.qcow2"])


def nbdsnap_command():
    return [tools.nbdsnap(), "--state-dir", "state"]


def nbdsnap(*arguments):
    return subprocess.run([str(a) for a in (*nbdsnap_command(), *arguments)],
                          capture_output=True, text=True, timeout=60)


def write(pattern, offset, length):
    tools.run(["qemu-io", "--object", SECRET, "-c",
               f"write -q -P {pattern} {offset} {length}", "--image-opts",
               "driver=qcow2,encrypt.key-secret=k,file.filename=disk.qcow2"])


def test_a_diff_needs_no_key():
    result = nbdsnap("diff", "--json", "disk.qcow2@one..two")
    assert json.loads(result.stdout)["extents"] == [
        {"offset": 512 * 1024, "length": 64 * 1024, "zero": False}]


def test_reads_with_the_key_are_right_at_any_offset():
    want = bytearray(b"\3" * (1 << 20) + bytes(1 << 20))
    want[512 * 1024:576 * 1024] = b"\4" * (64 * 1024)
    with nbd.Server("disk.qcow2@two", "secret=key") as server:
        with server.connect() as handle:
            assert handle.pread(2 << 20, 0) == want
            for offset, length in ((1, 1), (511, 2), (524287, 3), ((1 << 20) - 1, 513)):
                assert handle.pread(length, offset) == want[offset:offset + length]


@pytest.mark.parametrize("argument, word", [
    (None, "no secret file"), ("secret=wrong", "password")])
def test_reads_without_the_right_key_fail_and_say_so(argument, word):
    arguments = [argument] if argument else []
    with nbd.Server("disk.qcow2@two", *arguments) as server:
        with server.connect() as handle:
            with pytest.raises(nbd.libnbd.Error):
                handle.pread(512, 0)
        assert word in server.messages().lower()


def test_creating_and_deleting_need_the_key_and_change_nothing_without():
    for arguments in (["create", "-n", "x", "disk.qcow2"], ["delete", "disk.qcow2@one"]):
        result = nbdsnap(*arguments)
        assert result.returncode == 1 and "secret" in result.stderr, result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert nbdsnap("delete", "--secret=key", "disk.qcow2@one").returncode == 0
    names = [s["name"] for s in json.loads(
        nbdsnap("list", "--json", "disk.qcow2").stdout)["volumes"][0]["snapshots"]]
    assert names == ["two"]


def natives():
    """The snapshots that the image really has."""
    listed = json.loads(tools.run(["qemu-img", "info", "-U", "--output=json", "disk.qcow2"]))
    return [entry["name"].split(".")[0] for entry in listed.get("snapshots", [])]


def test_a_deletion_that_is_killed_is_finished_by_who_is_not_told_the_key(tmp_path):
    """Whoever finishes it works in another directory, and knows of no key.  The
    process itself is killed at each step, and so is a qemu-img of it."""
    if not file_sets.SHIM.exists():
        tools.missing(f"{file_sets.SHIM} is not built")
    preload = ":".join([*nbd.sanitizer_libraries(), str(file_sets.SHIM.resolve())])
    (tmp_path / "elsewhere").mkdir()
    decided = 0
    for n in range(1, file_sets.LIMIT):
        result = subprocess.run(
            [*map(str, nbdsnap_command()), "delete", "--secret=key", "disk.qcow2@one"],
            env=dict(os.environ, LD_PRELOAD=preload, FAULT_AT=str(n)), capture_output=True,
            text=True, timeout=60)
        if result.returncode == 0:
            break
        hidden = '"one"' not in nbdsnap("list", "--json", "disk.qcow2").stdout
        decided += hidden and "one" in natives()
        doctor = subprocess.run([str(tools.nbdsnap()), "--state-dir", "../state", "doctor"],
                                capture_output=True, text=True, timeout=60,
                                cwd=tmp_path / "elsewhere")
        assert doctor.returncode == 0, doctor.stderr
        assert ("one" in natives()) == (not hidden)
        if hidden:
            tools.run([*nbdsnap_command(), "create", "--secret=key", "-n", "one", "disk.qcow2"])
    assert result.returncode == 0, result.stderr
    assert decided > 0
