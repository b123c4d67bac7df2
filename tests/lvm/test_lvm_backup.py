# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job on logical volumes: generations cut by nbdsnap, served by the
plugin, copied by stock clients, restored and equal."""

import json
import random

import pytest

from snaplib import lvm, nbd, tools
from snaplib.cli import answer, done

MIB = 1 << 20
SIZE = 16 * MIB
CHUNK = 64 << 10


@pytest.fixture(params=["thin", "classic"])
def volume(request, tmp_path, monkeypatch):
    tools.require("nbdkit", "nbdcopy", "qemu-img")
    monkeypatch.chdir(tmp_path)
    with lvm.Group(tmp_path, size=400 * MIB) as group:
        if request.param == "thin":
            yield group.pool(size=256 * MIB, chunk=CHUNK).volume("disk-1", SIZE)
        else:
            yield group.volume("disk-1", SIZE)


def change(volume, rng):
    for _ in range(5):
        at = rng.randrange(SIZE // 4096 - 4) * 4096
        volume.write(at, rng.randbytes(4096 * rng.randrange(1, 4)))
    volume.write(rng.randrange(100) * 4096, bytes(4096))
    if "thin" in volume.row()["segtype"]:
        volume.discard(rng.randrange(SIZE // CHUNK) * CHUNK, CHUNK)


def generations(volume):
    """{name: the bytes at its cut}, in order."""
    rng = random.Random(7)
    contents = {}
    for name in ("g1", "g2", "g3"):
        change(volume, rng)
        done("create", "-n", name, volume.reference)
        contents[name] = bytes(volume.model)
    change(volume, rng)
    return contents


def client(server, *command):
    """A failure shows what the server had to say."""
    result = lvm.attempt(*command)
    assert result.returncode == 0, (command, result.stderr, server.messages())


def allocated(image):
    listed = json.loads(tools.run(["qemu-img", "map", "--output=json", image]))
    return sum(part["length"] for part in listed if part["depth"] == 0)


def test_every_generation_comes_back_from_a_full_and_incremental_backups(volume, tmp_path):
    contents = generations(volume)
    names = list(contents)
    with nbd.Server(volume.reference) as server:
        client(server, "nbdcopy", server.uri(names[0]), f"{names[0]}.raw")
        client(server, "qemu-img", "convert", "-f", "raw", "-O", "qcow2",
               server.uri(names[0]), f"{names[0]}.qcow2")
        for base, name in zip(names, names[1:]):
            client(server, "qemu-img", "convert", "-f", "raw", "-O", "qcow2",
                   "-B", f"{base}.qcow2", "-F", "qcow2",
                   server.uri(f"{base}..{name}"), f"{name}.qcow2")
    assert (tmp_path / f"{names[0]}.raw").read_bytes() == contents[names[0]]
    for base, name in zip(names, names[1:]):
        tools.run(["qemu-img", "convert", "-O", "raw", f"{name}.qcow2", "restored"])
        assert (tmp_path / "restored").read_bytes() == contents[name], name
        dirty = answer("diff", f"{volume.reference}@{base}..{name}")["dirty_bytes"]
        assert 0 < allocated(f"{name}.qcow2") <= 20 * CHUNK
        print(f"TABLE {volume.row()['segtype']} {base}..{name}: {dirty} bytes dirty")


def test_serving_leaves_nothing_active_that_was_not(volume, tmp_path):
    generations(volume)
    before = volume.group.devices()
    with nbd.Server(volume.reference) as server:
        client(server, "nbdcopy", server.uri("g2"), "g2.raw")
    assert volume.group.devices() == before
