# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backups of disk files on btrfs and XFS, made with stock clients through the
plugin: every generation comes back byte for byte, and an increment moves what
changed and nothing else."""

import json
import random

import pytest

from snaplib import file_disk, nbd, tools

KIB, MIB = 1 << 10, 1 << 20
CLUSTER = 64 * KIB

KINDS = {
    "btrfs": file_disk.on_btrfs,
    "btrfs, compressed": lambda **more: file_disk.on_btrfs(
        options=("compress-force=zstd",), **more),
    "XFS": file_disk.on_xfs,
}


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdkit", "nbdcopy", "qemu-img", "qemu-io")


# ---- one disk, five generations ----

def noise(rng, length):
    """Half of it compressible."""
    return rng.randbytes(length // 2) + bytes([rng.randrange(256)]) * (length - length // 2)


def change_places(disk, rng):
    for _ in range(6):
        disk.write(rng.randrange(disk.path.stat().st_size - CLUSTER), noise(rng, 9000))


def change_everything_else(disk, rng):
    disk.punch(2 * MIB, CLUSTER)                    # discarded
    disk.write(2 * MIB + 4 * CLUSTER, bytes(CLUSTER))  # zeroes, as data
    disk.write(MIB - 10, noise(rng, 20))            # across a border
    disk.write(disk.path.stat().st_size - 512, noise(rng, 512))


def grow(disk, rng):
    disk.resize(6 * MIB + 1536)
    disk.write(6 * MIB + 1000, noise(rng, 500))
    disk.write(5 * MIB, noise(rng, 4096))


def shrink(disk, rng):
    disk.resize(3 * MIB + 512)
    change_places(disk, rng)


GENERATIONS = [("g1", change_places), ("g2", change_everything_else), ("g3", grow),
               ("g4", shrink)]
NAMES = ["g0"] + [name for name, _ in GENERATIONS]


@pytest.fixture(scope="module", params=KINDS)
def disk(request):
    rng = random.Random(request.param)
    disk = KINDS[request.param](size=4 * MIB)
    disk.title = request.param
    disk.write(0, noise(rng, 3 * MIB))
    disk.snapshot("g0")
    for name, change in GENERATIONS:
        change(disk, rng)
        disk.snapshot(name)
    yield disk
    disk.delete(*disk.truth)
    assert disk.remains() == []


@pytest.fixture(scope="module")
def server(disk):
    with nbd.Server(disk.reference()) as server:
        yield server


# ---- clients ----

def convert(address, top, below=None):
    chain = [] if below is None else ["-B", below, "-F", "qcow2"]
    tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *chain, address, top])


def restore(image, folder):
    target = folder / "restored.raw"
    tools.run(["qemu-img", "convert", "-O", "raw", image, target])
    return target.read_bytes()


def clusters_of(image):
    """Offsets of the clusters that the top file itself holds."""
    entries = json.loads(tools.run(["qemu-img", "map", "--output=json", image]))
    return [at for e in entries if e["depth"] == 0 and e["present"]
            for at in range(e["start"], e["start"] + e["length"], CLUSTER)]


def dirty_clusters(disk, base, name):
    return sorted({at // CLUSTER * CLUSTER for e in disk.diff(base, name)["extents"]
                   for at in range(e["offset"], e["offset"] + e["length"], 512)})


# ---- full ----

@pytest.mark.parametrize("name", NAMES)
def test_a_full_copy_is_equal(server, disk, tmp_path, name):
    assert nbd.full_copy(server.uri(name), tmp_path) == disk.truth[name]


# ---- incremental ----

def test_a_chain_of_increments_restores_every_generation(server, disk, tmp_path):
    links = {"g0": tmp_path / "g0.qcow2"}
    convert(server.uri("g0"), links["g0"])
    for base, name in zip(NAMES, NAMES[1:]):
        links[name] = tmp_path / f"{name}.qcow2"
        convert(server.uri(f"{base}..{name}"), links[name], links[base])
    for name, link in links.items():
        assert restore(link, tmp_path) == disk.truth[name], name


@pytest.mark.parametrize("base, name", [(b, n) for b in NAMES for n in NAMES if b != n])
def test_an_increment_holds_the_dirty_clusters_and_no_other(
        server, disk, tmp_path, base, name):
    """Between any two generations, in either direction."""
    convert(server.uri(base), tmp_path / "base.qcow2")
    convert(server.uri(f"{base}..{name}"), tmp_path / "top.qcow2", tmp_path / "base.qcow2")
    assert restore(tmp_path / "top.qcow2", tmp_path) == disk.truth[name]
    dirty = dirty_clusters(disk, base, name)
    assert set(clusters_of(tmp_path / "top.qcow2")) <= set(dirty)
    assert set(disk.changed(base, name, CLUSTER)) <= set(dirty)
    assert len(dirty) < len(disk.truth[name]) // CLUSTER, "everything was dirty"


def test_only_dirty_bytes_are_read_for_an_increment(disk, tmp_path):
    """Counted by the server: the client asks for nothing that is clean."""
    counts, base = tmp_path / "counts", tmp_path / "base.qcow2"
    with nbd.Server(disk.reference("g0")) as server:
        convert(server.uri(), base)
    with nbd.Server(disk.reference("g0..g1"), f"statsfile={counts}",
                    options=["--filter=stats"]) as server:
        convert(server.uri("g0..g1"), tmp_path / "top.qcow2", base)
    line = next(line for line in counts.read_text().splitlines() if line.startswith("read:"))
    number, unit = line.split(", ")[2].split()
    read = float(number) * {"bytes": 1, "KiB": KIB, "MiB": MIB}[unit]
    dirty = disk.diff("g0", "g1")["dirty_bytes"]
    print(f"TABLE increment on {disk.title}: {dirty} bytes dirty, {line}")
    assert dirty / 2 < read <= dirty
    assert restore(tmp_path / "top.qcow2", tmp_path) == disk.truth["g1"]


# ---- live ----

def test_the_live_file_is_served_as_it_was_at_the_start(disk, tmp_path):
    before = disk.content()
    with nbd.Server(disk.reference("live")) as server:
        with server.connect("live") as handle:
            assert bytes(handle.pread(512, 0)) == before[:512]
            disk.write(0, b"written while it was served")
            assert nbd.full_copy(server.uri("live"), tmp_path) == before
    disk.write(0, before[:27])


def test_an_increment_to_the_live_file_is_equal(server, disk, tmp_path):
    before = disk.content()
    disk.write(MIB, b"live" * 1000)
    base, top = tmp_path / "base.qcow2", tmp_path / "top.qcow2"
    convert(server.uri("g4"), base)
    with nbd.Server(disk.reference("g4..live")) as live:
        convert(live.uri("g4..live"), top, base)
    # What was written, what the test before has put back, and the last block.
    assert MIB in clusters_of(top) and len(clusters_of(top)) <= 3
    assert restore(top, tmp_path) == disk.content()
    disk.write(0, before)


# ---- an image in a format of its own ----

def test_a_qcow2_file_on_btrfs_can_be_backed_up_as_the_bytes_it_is(tmp_path):
    """Named with the driver, it is a file like any other; the guest's disk
    comes back with it."""
    disk = file_disk.on_btrfs(name="vm.qcow2")
    write = ["qemu-io", "-f", "qcow2", disk.path, "-c"]
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", disk.path, "16M"])
    tools.run([*write, "write -q -P 1 0 8M"])
    disk.snapshot("old")
    tools.run([*write, "write -q -P 2 1M 100k"])
    tools.run([*write, "write -q -P 3 12M 64k"])
    disk.snapshot("new")
    with nbd.Server(disk.reference()) as server:
        convert(server.uri("old"), tmp_path / "old.qcow2")
        convert(server.uri("old..new"), tmp_path / "top.qcow2", tmp_path / "old.qcow2")
    back = tmp_path / "back.qcow2"
    back.write_bytes(restore(tmp_path / "top.qcow2", tmp_path)[:len(disk.truth["new"])])
    assert back.read_bytes() == disk.truth["new"]
    tools.run(["qemu-img", "check", "-q", back])
    assert tools.run(["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", back, disk.path])
    assert len(clusters_of(tmp_path / "top.qcow2")) < 10
    disk.delete("old", "new")
