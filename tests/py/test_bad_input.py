# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hostile or broken input: one line on stderr, the right exit code, the image
as it was."""

import hashlib
import json
import os
import resource
import struct
import subprocess
import time

import pytest

from snaplib import tools

INCOMPATIBLE = 72  # offset of the incompatible features in a v3 header


@pytest.fixture(autouse=True)
def needs(tmp_path, monkeypatch):
    tools.require("qemu-img", "qemu-io")
    monkeypatch.chdir(tmp_path)


def nbdsnap(*arguments, state="state"):
    return subprocess.run(
        [str(tools.nbdsnap()), "--state-dir", state, *map(str, arguments)],
        capture_output=True, text=True, timeout=60)


def refused(result, code, *words):
    """One line `nbdsnap: OBJECT: FACT` with these words, and the exit code."""
    assert result.returncode == code, (result.returncode, result.stderr)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("nbdsnap: ") and lines[0].count(": ") >= 2, lines[0]
    for word in words:
        assert word in lines[0], lines[0]
    assert result.stdout == "" or "complete\":true" not in result.stdout


def make_image(path="disk.qcow2", size="1M", options=()):
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, size])
    tools.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 256k", path])
    return path


def snapshot(name, path="disk.qcow2"):
    tools.run(["qemu-img", "snapshot", "-c", name, path])
    tools.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 2 64k 64k", path])


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def patch(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


# ---- names ----

def test_shell_characters_in_a_snapshot_name_are_only_characters():
    make_image()
    evil = "; touch pwned; $(touch pwned) `touch pwned` 'x' \"y\" \\ \n|"
    snapshot(evil)
    snapshot("plain")
    listed = json.loads(nbdsnap("list", "--json", "disk.qcow2").stdout)
    entry = listed["volumes"][0]["snapshots"][0]
    assert entry["name"] == evil and entry["ours"] is False
    from_point = entry["reference"].split("@", 1)[1]
    result = nbdsnap("diff", "--json", f"disk.qcow2@{from_point}..plain")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["dirty_bytes"] == 65536
    refused(nbdsnap("delete", entry["reference"]), 1, "not made by nbdsnap")
    assert "\x1b" not in nbdsnap("list", "disk.qcow2").stdout
    assert not os.path.exists("pwned")


@pytest.mark.parametrize("name", [
    "a/b", "", "-x", ".x", "a..b", "12", "live", "newest", "backing", "empty",
    "x" * 65, "a b", "ü", "a;b", "$(x)", "a\nb"])
def test_a_bad_name_for_a_new_snapshot_is_usage(name):
    make_image()
    before = digest("disk.qcow2")
    result = nbdsnap("create", f"--name={name}", "disk.qcow2")
    refused(result, 2)
    assert digest("disk.qcow2") == before


def test_odd_characters_in_a_path_reach_the_image():
    path = make_image("a b@c#d%e,f=g;h'i\"j$k\\l\nm.qcow2")
    reference = path.replace("%", "%25").replace("@", "%40").replace("#", "%23")
    made = nbdsnap("create", "-n", "one", reference)
    assert made.returncode == 0, made.stderr
    tools.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 9 0 64k",
               os.path.abspath(path)])
    result = nbdsnap("diff", "--json", f"{reference}@one..live")
    assert json.loads(result.stdout)["dirty_bytes"] == 65536
    assert nbdsnap("delete", f"{reference}@one").returncode == 0
    refused(nbdsnap("list", path), 2, "%")


def test_two_snapshots_of_one_name_are_refused_with_their_ids():
    make_image()
    snapshot("twin")
    snapshot("twin")
    refused(nbdsnap("diff", "disk.qcow2@twin..live"), 2, "1", "2")
    assert nbdsnap("diff", "disk.qcow2@1..2").returncode == 0


# ---- broken images ----

@pytest.mark.parametrize("bit, code, word", [
    (0, 3, "dirty"), (1, 1, "corrupt"), (5, 1, "feature"), (63, 1, "feature")])
def test_incompatible_features_are_refused(bit, code, word):
    make_image()
    patch("disk.qcow2", INCOMPATIBLE, struct.pack(">Q", 1 << bit))
    before = digest("disk.qcow2")
    refused(nbdsnap("list", "qcow2:disk.qcow2"), code, word)
    refused(nbdsnap("create", "qcow2:disk.qcow2"), code, word)
    assert digest("disk.qcow2") == before


def test_a_truncated_image_never_gives_a_list():
    make_image()
    snapshot("a")
    snapshot("b")
    with open("disk.qcow2", "rb") as file:
        whole = file.read()
    good = json.loads(nbdsnap("diff", "--json", "disk.qcow2@a..b").stdout)
    outcomes = set()
    for length in [*range(0, 200, 8), *range(512, len(whole), 32768)]:
        with open("short.qcow2", "wb") as file:
            file.write(whole[:length])
        result = nbdsnap("diff", "--json", "qcow2:short.qcow2@a..b")
        outcomes.add(result.returncode)
        if result.returncode == 0:
            assert json.loads(result.stdout)["extents"] == good["extents"]
        else:
            assert result.returncode in (1, 5)
            assert len(result.stderr.splitlines()) == 1
            assert '"complete":true' not in result.stdout
    assert 1 in outcomes


@pytest.mark.parametrize("content", [b"", b"x", b"QFI\xfb", os.urandom(4096)])
def test_a_file_that_is_no_image_is_refused(content):
    with open("file", "wb") as file:
        file.write(content)
    refused(nbdsnap("list", "qcow2:file"), 1)


def test_missing_things_are_named():
    refused(nbdsnap("list", "qcow2:none.qcow2"), 1, "none.qcow2")
    refused(nbdsnap("list", "none.qcow2"), 1, "none.qcow2")
    make_image()
    refused(nbdsnap("show", "disk.qcow2@none"), 1, "none")
    refused(nbdsnap("delete", "disk.qcow2@none"), 1, "none")
    refused(nbdsnap("diff", "disk.qcow2@none..live"), 5, "none")


def test_a_fifo_or_directory_in_place_of_an_image_does_not_hang():
    os.mkfifo("fifo")
    os.mkdir("folder")
    refused(nbdsnap("list", "qcow2:fifo"), 1)
    refused(nbdsnap("list", "qcow2:folder"), 1)


def test_a_backing_file_that_is_no_plain_file_is_refused():
    make_image()
    tools.run(["qemu-img", "rebase", "-u", "-b", "nbd://127.0.0.1:1/x",
               "-F", "raw", "disk.qcow2"])
    refused(nbdsnap("list", "disk.qcow2"), 1, "backing")


def test_a_backing_chain_in_a_circle_is_refused():
    for name in ("a.qcow2", "b.qcow2"):
        make_image(name)
    for name, below in (("a.qcow2", "b.qcow2"), ("b.qcow2", "a.qcow2")):
        tools.run(["qemu-img", "rebase", "-u", "-b", below, "-F", "qcow2", name])
    refused(nbdsnap("list", "a.qcow2"), 1, "chain")


# ---- somebody else at the image ----

@pytest.fixture
def writer():
    make_image()
    process = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", "disk.qcow2"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True)
    process.stdin.write("write 0 512\n")
    process.stdin.flush()
    process.stdout.readline()
    yield process
    process.communicate("quit\n", timeout=30)


@pytest.mark.parametrize("arguments", [
    ["list", "disk.qcow2"], ["create", "disk.qcow2"],
    ["diff", "disk.qcow2@empty..live"]])
def test_an_image_that_is_being_written_is_busy(writer, arguments):
    refused(nbdsnap(*arguments), 3, "write", "lock")


def test_a_snapshot_that_is_being_read_is_not_deleted():
    make_image()
    assert nbdsnap("create", "-n", "one", "disk.qcow2").returncode == 0
    reader = subprocess.Popen(
        ["qemu-io", "-r", "-f", "qcow2", "disk.qcow2"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True)
    reader.stdin.write("read 0 512\n")
    reader.stdin.flush()
    reader.stdout.readline()
    refused(nbdsnap("create", "-n", "two", "disk.qcow2"), 3)
    reader.communicate("quit\n", timeout=30)
    assert nbdsnap("create", "-n", "two", "disk.qcow2").returncode == 0


# ---- no room ----

@pytest.fixture
def small_disk(tmp_path):
    tools.require_root()
    folder = tmp_path / "small"
    folder.mkdir()
    tools.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder])
    yield folder
    tools.run(["umount", folder])


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


def test_create_on_a_full_disk_is_refused_before_it_starts(small_disk):
    image = make_image(str(small_disk / "disk.qcow2"))
    fill(small_disk)
    before = digest(image)
    refused(nbdsnap("create", "-n", "one", image), 7, "free")
    assert digest(image) == before


def test_a_state_directory_without_room_changes_nothing(small_disk):
    image = make_image()
    fill(small_disk)
    before = digest(image)
    result = nbdsnap("create", "-n", "one", image, state=str(small_disk / "state"))
    refused(result, 7)
    assert digest(image) == before


def test_a_file_that_cannot_grow_half_way_leaves_no_half_set():
    """The first volume is cut, the second one's file may not grow: the first
    is undone."""
    first, second = make_image("first.qcow2"), make_image("second.qcow2")
    tools.run(["qemu-io", "-f", "qcow2", "-c", "write -q 0 1M", second])
    limit = os.path.getsize(second)
    assert os.path.getsize(first) + 256 * 1024 < limit
    result = subprocess.run(
        [str(tools.nbdsnap()), "--state-dir", "state", "create", "-n", "one",
         first, second],
        capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (limit, limit)))
    refused(result, 1, "second.qcow2", "qemu-img")
    for image in (first, second):
        info = json.loads(tools.run(["qemu-img", "info", "--output=json", image]))
        assert not info.get("snapshots")
        tools.run(["qemu-img", "check", "-q", image])
    assert not os.listdir("state/journal")


# ---- the journal ----

def test_a_broken_journal_entry_is_named_and_does_not_block_reading():
    make_image()
    os.makedirs("state/journal")
    with open("state/journal/0123456789abcdef.json", "w") as file:
        file.write('{"schema": 1, [')
    assert nbdsnap("list", "disk.qcow2").returncode == 0
    refused(nbdsnap("doctor"), 9, "0123456789abcdef")


def test_an_interrupted_create_cleans_up():
    """SIGINT while qemu-img works: undone, exit 130."""
    make_image()
    os.mkdir("bin")
    with open("bin/qemu-img", "w") as file:
        file.write("#!/bin/sh\nsleep 1\nexec %s \"$@\"\n" % tools.which("qemu-img"))
    os.chmod("bin/qemu-img", 0o755)
    env = dict(os.environ, PATH=f"{os.getcwd()}/bin:{os.environ['PATH']}")
    process = subprocess.Popen(
        [str(tools.nbdsnap()), "--state-dir", "state", "create", "disk.qcow2"],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    process.send_signal(2)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert len(stderr.splitlines()) <= 1
    info = json.loads(tools.run(["qemu-img", "info", "--output=json", "disk.qcow2"]))
    assert not info.get("snapshots")
    assert not os.listdir("state/journal")
