# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images whose metadata can no longer prove anything are refused, not guessed:
each of these gave a diff that missed changes before it was refused."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

from snaplib import tools


@pytest.fixture(autouse=True)
def needs(tmp_path, monkeypatch):
    tools.require("qemu-img", "qemu-io")
    monkeypatch.chdir(tmp_path)


def nbdsnap(*arguments):
    return subprocess.run(
        [str(tools.nbdsnap()), "--state-dir", "state", *map(str, arguments)],
        capture_output=True, text=True, timeout=60)


def write(pattern, offset, length, image="disk.qcow2"):
    tools.run(["qemu-io", "-f", "qcow2", "-c",
               f"write -q -P {pattern} {offset} {length}", image])


def snapshot(name):
    tools.run(["qemu-img", "snapshot", "-c", name, "disk.qcow2"])


def content(name):
    tools.run(["qemu-img", "convert", "-O", "raw", "disk.qcow2", name])
    return pathlib.Path(name).read_bytes()


def refused(result, code, word):
    assert result.returncode == code, (result.returncode, result.stderr)
    assert len(result.stderr.splitlines()) == 1 and word in result.stderr
    assert '"complete":true' not in result.stdout


def missed(before, after, result):
    """Bytes that differ and that a diff does not report."""
    dirty = bytearray(len(after))
    for extent in json.loads(result.stdout)["extents"]:
        end = extent["offset"] + extent["length"]
        dirty[extent["offset"]:end] = b"\1" * extent["length"]
    return sum(a != b and not d for a, b, d in zip(before, after, dirty))


def test_a_revert_that_was_killed_is_never_believed():
    """`qemu-img snapshot -a` killed half-way lets later writes go through to
    the snapshot.  At every point: refused, or nothing missed."""
    shim = tools.BUILD / ".libs" / "kill-at-write.so"
    outcomes = {"refused": 0, "right": 0}
    for at in range(1, 100):
        for name in pathlib.Path(".").glob("*"):
            if name.is_file():
                name.unlink()
        tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "1M"])
        write(1, 0, "300k")
        snapshot("one")
        before = content("before.raw")
        write(2, 0, "400k")
        killed = subprocess.run(
            ["qemu-img", "snapshot", "-a", "one", "disk.qcow2"],
            env=dict(os.environ, LD_PRELOAD=str(shim), KILL_AT=str(at)),
            capture_output=True).returncode != 0
        write(99, "128k", "64k")
        after = content("after.raw")
        result = nbdsnap("diff", "--json", "disk.qcow2@one..live")
        if result.returncode == 0:
            assert missed(before, after, result) == 0
            outcomes["right"] += 1
        else:
            refused(result, 5, "qemu-img check")
            refused(nbdsnap("create", "disk.qcow2"), 5, "qemu-img check")
            outcomes["refused"] += 1
        if not killed:
            break
    assert not killed
    assert outcomes["refused"] > 3 and outcomes["right"] > 1
    print(f"TABLE a revert killed at {at - 1} changes: {outcomes}")


@pytest.fixture
def overlay():
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "1M"])
    write(1, 0, "1M", "base.qcow2")
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2",
               "-F", "qcow2", "disk.qcow2"])
    write(2, 0, "64k")


def test_a_backing_file_that_was_committed_to_makes_older_snapshots_no_base(overlay):
    snapshot("one")
    write(3, "512k", "64k")
    tools.run(["qemu-img", "commit", "-q", "disk.qcow2"])
    snapshot("two")
    refused(nbdsnap("diff", "--json", "disk.qcow2@one..two"), 5, "base.qcow2")
    assert nbdsnap("diff", "--json", "disk.qcow2@two..live").returncode == 0


def test_another_backing_file_put_in_place_makes_older_snapshots_no_base(overlay):
    snapshot("one")
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "other.qcow2", "1M"])
    write(9, "256k", "64k", "other.qcow2")
    tools.run(["qemu-img", "rebase", "-u", "-b", "other.qcow2", "-F", "qcow2",
               "disk.qcow2"])
    snapshot("two")
    refused(nbdsnap("diff", "--json", "disk.qcow2@one..two"), 5, "other.qcow2")


def make_old_other(name):
    """A backing file with other content and an old mtime."""
    shutil.copy2("base.qcow2", name)
    write(9, "256k", "64k", name)
    os.utime(name, (1, 1))


def test_a_backing_file_moved_in_place_makes_older_snapshots_no_base(overlay):
    """Its mtime is as old as that of the one it replaces."""
    make_old_other("other.qcow2")
    snapshot("one")
    time.sleep(0.02)
    os.rename("other.qcow2", "base.qcow2")
    snapshot("two")
    refused(nbdsnap("diff", "--json", "disk.qcow2@one..two"), 5, "base.qcow2")


@pytest.mark.parametrize("backing", ["other.qcow2", ""])
def test_a_snapshot_of_ours_knows_over_which_files_it_was_made(overlay, backing):
    """Nothing in the image tells of `rebase -u`, and an old file's times
    neither."""
    make_old_other("other.qcow2")
    time.sleep(0.02)
    assert nbdsnap("create", "-n", "one", "disk.qcow2").returncode == 0
    tools.run(["qemu-img", "rebase", "-u", "-b", backing,
               *(["-F", "qcow2"] if backing else []), "disk.qcow2"])
    assert nbdsnap("create", "-n", "two", "disk.qcow2").returncode == 0
    refused(nbdsnap("diff", "--json", "disk.qcow2@one..two"), 5,
            "other backing files")
    tools.run(["qemu-img", "rebase", "-u", "-b", "base.qcow2", "-F", "qcow2",
               "disk.qcow2"])
    refused(nbdsnap("diff", "--json", "disk.qcow2@one..two"), 5,
            "other backing files")


def test_a_backing_file_of_unnamed_format_is_not_guessed_to_be_raw():
    """Old tools named none; QEMU would find out that it is VMDK."""
    tools.run(["qemu-img", "create", "-q", "-f", "vmdk", "base.vmdk", "1M"])
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.vmdk",
               "-F", "vmdk", "disk.qcow2"])
    image = pathlib.Path("disk.qcow2")
    forget_backing_format(image)
    refused(nbdsnap("list", "disk.qcow2"), 1, "format")


def forget_backing_format(image):
    name = bytes.fromhex("e2792aca")
    data = image.read_bytes()
    assert data.count(name) == 1
    image.write_bytes(data.replace(name, b"\x12\x34\x56\x78"))


def test_a_link_before_dots_leads_where_the_kernel_goes():
    """Taking "link/.." out of a path names another file."""
    os.makedirs("b/c")
    os.makedirs("a")
    os.symlink("../b/c", "a/link")
    for folder, size in ("a", "1M"), ("b", "2M"):
        tools.run(["qemu-img", "create", "-q", "-f", "qcow2",
                   f"{folder}/disk.qcow2", size])
    assert nbdsnap("create", "-n", "x", "a/link/../disk.qcow2").returncode == 0
    native = {folder: json.loads(tools.run(
        ["qemu-img", "info", "--output=json", f"{folder}/disk.qcow2"])).get("snapshots", [])
        for folder in "ab"}
    assert len(native["b"]) == 1 and not native["a"]

    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "../disk.qcow2",
               "-F", "qcow2", "b/c/top.qcow2"])
    result = nbdsnap("diff", "--json", "a/link/top.qcow2@backing..live")
    assert json.loads(result.stdout)["from_size"] == 2 << 20


def test_a_clock_that_was_set_back_does_not_make_the_older_one_the_newest():
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "1M"])
    snapshot("older")
    snapshot("newer")
    image = pathlib.Path("disk.qcow2")
    data = bytearray(image.read_bytes())
    table = int.from_bytes(data[64:72], "big")
    data[table + 16:table + 20] = (2 ** 32 - 1).to_bytes(4, "big")
    image.write_bytes(data)
    listed = json.loads(nbdsnap("list", "--json", "disk.qcow2").stdout)
    assert [point["name"] for point in listed["volumes"][0]["snapshots"]] == ["older", "newer"]
    shown = json.loads(nbdsnap("show", "--json", "disk.qcow2@newest").stdout)
    assert "newer" in json.dumps(shown)


def save_with_memory(name):
    """A snapshot as QEMU makes it of a guest with its memory; of the smallest
    machine there is."""
    tools.require("qemu-system-x86_64")
    subprocess.run(
        ["qemu-system-x86_64", "-machine", "none", "-accel", "tcg", "-nodefaults", "-S",
         "-display", "none", "-monitor", "stdio", "-drive",
         "if=none,file=disk.qcow2,format=qcow2"],
        input=f"savevm {name}\nquit\n", text=True, check=True, timeout=120,
        stdout=subprocess.DEVNULL)


def test_the_memory_of_a_guest_is_no_part_of_its_disk():
    """The snapshot's table goes on behind the end of the disk, where a disk that
    grew has data of its own."""
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512",
               "disk.qcow2", "64k"])
    write(1, 0, "64k")
    save_with_memory("one")
    truth = {"empty": b"", "one": content("one.raw")}
    write(2, "32k", 512)
    tools.run(["qemu-img", "resize", "-q", "-f", "qcow2", "disk.qcow2", "160k"])
    write(3, "150k", 512)
    save_with_memory("two")
    truth["two"] = truth["live"] = content("two.raw")
    listed = tools.run(["qemu-img", "snapshot", "-l", "disk.qcow2"])
    assert " 0 B" not in listed, "without memory"
    expected = {("empty", "one"): 65536, ("empty", "two"): 160 * 1024, ("one", "two"): 96.5 * 1024,
                ("two", "one"): 512, ("one", "live"): 96.5 * 1024, ("two", "live"): 0}
    for (a, b), dirty in expected.items():
        result = nbdsnap("diff", "--json", f"disk.qcow2@{a}..{b}")
        assert missed(truth[a].ljust(len(truth[b]), b"\xff"), truth[b], result) == 0
        assert json.loads(result.stdout)["dirty_bytes"] == dirty, (a, b)
        assert json.loads(result.stdout)["size"] == len(truth[b])


def test_an_unchanged_backing_file_stays_comparable(overlay):
    snapshot("one")
    write(3, "512k", "64k")
    snapshot("two")
    result = nbdsnap("diff", "--json", "disk.qcow2@one..two")
    assert json.loads(result.stdout)["dirty_bytes"] == 65536
