# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copies through the plugin, full and incremental, are byte-equal to what was
written; and an increment holds the changed clusters and nothing else."""

import json
import subprocess

import pytest

from snaplib import nbd, tools
from snaplib.disk import CLUSTER, Disk

MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdkit", "nbdinfo", "nbdcopy", "qemu-img", "qemu-io")


def traps(disk):
    """Changes that a copy can get wrong."""
    disk.write(1 * CLUSTER, CLUSTER, 21)             # a whole cluster
    disk.write(3 * CLUSTER + 8192, 4096, 22)         # a part of one
    disk.write(5 * CLUSTER, CLUSTER, 0)              # rewritten to zeroes, as data
    disk.zero(6 * CLUSTER, CLUSTER)                  # a zero cluster
    disk.zero(7 * CLUSTER + 4096, 8192)              # zeroes inside a cluster
    disk.discard(9 * CLUSTER, CLUSTER)               # gone
    disk.write(11 * CLUSTER - 4096, 8192, 23)        # across a border
    disk.write(len(disk.model) - 512, 512, 24)       # the last sector


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """old; new (the traps); grown; small (shrunk)."""
    disk = Disk(tmp_path_factory.mktemp("copy") / "vm.qcow2", 2 * MIB)
    for at in range(0, MIB, CLUSTER):
        disk.write(at, CLUSTER, 1 + at // CLUSTER)
    disk.snapshot("old")
    traps(disk)
    disk.snapshot("new")
    disk.resize(3 * MIB + 4096)
    disk.write(2 * MIB + CLUSTER + 100 * 512, 512, 31)
    disk.write(3 * MIB, 4096, 32)
    disk.snapshot("grown")
    disk.resize(MIB + MIB // 2 + 512)
    disk.write(0, 512, 41)
    disk.snapshot("small")
    return disk


@pytest.fixture(scope="module")
def server(disk):
    with nbd.Server(disk.path) as server:
        yield server


def raw(image, folder, name="back.raw"):
    """What an image and what is below it hold, as plain bytes."""
    tools.run(["qemu-img", "convert", "-O", "raw", image, folder / name])
    return (folder / name).read_bytes()


def allocated(image):
    """Offsets of the clusters that the top file itself holds."""
    entries = json.loads(tools.run(["qemu-img", "map", "--output=json", image]))
    return [at for e in entries if e["depth"] == 0 and e["present"]
            for at in range(e["start"], e["start"] + e["length"], CLUSTER)]


def incremental(server, base, name, folder, *options):
    """Copy @base fully, then the changes; the chain's top file."""
    prev, top = folder / "prev.qcow2", folder / "inc.qcow2"
    tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2",
               server.uri(base), prev])
    tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options,
               "-B", prev, "-F", "qcow2", server.uri(f"{base}..{name}"), top])
    return top


NAMES = ["old", "new", "grown", "small"]
PAIRS = [(a, b) for a in NAMES for b in NAMES if a != b]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_copy_is_equal(server, disk, tmp_path, name):
    assert nbd.full_copy(server.uri(name), tmp_path) == disk.truth[name]


@pytest.mark.parametrize("base, name", PAIRS)
def test_a_client_that_ignores_dirtiness_copies_everything(
        server, disk, tmp_path, base, name):
    copy = nbd.full_copy(server.uri(f"{base}..{name}"), tmp_path)
    assert copy == disk.truth[name]


def test_a_copy_over_an_older_copy_is_equal(server, disk, tmp_path):
    """What a client reads is not thrown away for what it finds there."""
    target = tmp_path / "target.raw"
    for options in ([], ["--synchronous"], ["--allocated"], ["--no-extents"],
                    ["--request-size=65536", "--sparse=0"]):
        target.write_bytes(disk.truth["old"])
        nbd.client("nbdcopy", *options, server.uri("old..new"), target)
        assert target.read_bytes() == disk.truth["new"], options


@pytest.mark.parametrize("base, name", PAIRS)
def test_an_increment_is_equal_and_holds_only_what_changed(
        server, disk, tmp_path, base, name):
    top = incremental(server, base, name, tmp_path)
    result = raw(top, tmp_path)
    # QEMU rounds no size here: all are multiples of 512.
    assert result == disk.truth[name]
    holds = allocated(top)
    old_size = len(disk.truth[base])
    for at in disk.changed(base, name):
        # Zeroes past the end of the base need no cluster.
        if at + CLUSTER <= old_size or any(disk.truth[name][at:at + CLUSTER]):
            assert at in holds, hex(at)
    allowed = {at for at, _ in dirty_clusters(server, base, name)}
    assert set(holds) <= allowed
    entire = range(0, len(disk.truth[name]), CLUSTER)
    assert len(allowed) < len(entire), "everything was dirty: nothing was shown"


def dirty_clusters(server, base, name):
    entries = nbd.block_map(server.uri(f"{base}..{name}"))
    return [(at, kind) for start, length, kind in entries if kind != nbd.HOLE
            for at in range(start - start % CLUSTER, start + length, CLUSTER)]


def test_an_exact_increment_holds_exactly_the_changed_clusters(server, disk, tmp_path):
    top = incremental(server, "old", "new", tmp_path)
    assert sorted(allocated(top)) == disk.changed("old", "new")
    # The zeroes are kept as zeroes, not as nothing.
    entries = json.loads(tools.run(["qemu-img", "map", "--output=json", top]))
    zeroed = next(e for e in entries if e["start"] <= 6 * CLUSTER
                  < e["start"] + e["length"])
    assert zeroed["depth"] == 0 and zeroed["zero"]


@pytest.mark.parametrize("options", [
    ["-o", "cluster_size=4k"], ["-o", "cluster_size=2M"], ["-c"], ["-S", "0"],
    ["-W", "-m", "16"], ["-o", "extended_l2=on,cluster_size=128k"]])
def test_increments_of_other_shapes_are_equal(server, disk, tmp_path, options):
    top = incremental(server, "old", "new", tmp_path, *options)
    assert raw(top, tmp_path) == disk.truth["new"]


def test_a_chain_of_increments_is_equal_at_every_link(server, disk, tmp_path):
    links = []
    below = tmp_path / "0.qcow2"
    tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2",
               server.uri("old"), below])
    for number, (base, name) in enumerate(zip(NAMES, NAMES[1:]), 1):
        link = tmp_path / f"{number}.qcow2"
        tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-B", below,
                   "-F", "qcow2", server.uri(f"{base}..{name}"), link])
        links.append((link, name))
        below = link
    for link, name in links:
        assert raw(link, tmp_path) == disk.truth[name]


def test_an_increment_of_nothing_is_empty(tmp_path):
    disk = Disk(tmp_path / "vm.qcow2")
    disk.write(0, MIB, 1)
    disk.snapshot("a")
    disk.snapshot("b")
    with nbd.Server(disk.path) as server:
        top = incremental(server, "a", "b", tmp_path)
        assert nbd.block_map(server.uri("a..b")) == [(0, 2 * MIB, nbd.HOLE)]
    assert allocated(top) == [] and raw(top, tmp_path) == disk.truth["b"]


def test_compressed_clusters_and_a_backing_file_are_copied(tmp_path):
    """They are read by a qemu-nbd of ours."""
    base = Disk(tmp_path / "base.qcow2")
    base.write(0, MIB, 1)
    base.flush()
    tools.run(["qemu-img", "convert", "-c", "-O", "qcow2", base.path,
               tmp_path / "packed.qcow2"])
    disk = Disk(tmp_path / "vm.qcow2", options=[
        "-b", tmp_path / "packed.qcow2", "-F", "qcow2"])
    disk.model[:] = base.model
    disk.snapshot("a")
    disk.write(CLUSTER, 4096, 2)
    disk.zero(2 * CLUSTER, CLUSTER)
    disk.snapshot("b")
    with nbd.Server(disk.path) as server:
        for name in ("a", "b", "a..b"):
            assert nbd.full_copy(server.uri(name), tmp_path) \
                == disk.truth[name[-1]]
        top = incremental(server, "a", "b", tmp_path)
    assert raw(top, tmp_path) == disk.truth["b"]
    assert sorted(allocated(top)) == disk.changed("a", "b")


def test_a_snapshot_attempted_while_a_copy_runs_changes_nothing(disk, tmp_path):
    """Served images are locked: the attempt is refused, the copy goes on."""
    slow = ["--filter=delay"]
    with nbd.Server(disk.path, "rdelay=60ms", options=slow) as server:
        copy = subprocess.Popen(
            ["nbdcopy", "--connections=1", "--requests=1", "--request-size=65536",
             "--no-extents", server.uri("new"), tmp_path / "copy.raw"])
        attempts = 0
        while copy.poll() is None:
            ours = nbd.client(tools.nbdsnap(), f"--state-dir={tmp_path / 'state'}",
                              "create", disk.path, check=False)
            theirs = nbd.client("qemu-img", "snapshot", "-c", "x", disk.path,
                                check=False)
            assert ours.returncode == 3 and "lock" in ours.stderr, ours.stderr
            assert theirs.returncode == 1 and "lock" in theirs.stderr
            attempts += 1
        assert copy.returncode == 0 and attempts > 1
    assert (tmp_path / "copy.raw").read_bytes() == disk.truth["new"]
    info = json.loads(tools.run(["qemu-img", "info", "--output=json", disk.path]))
    assert [s["name"] for s in info["snapshots"]] == NAMES
