# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backups of a running guest's disks, by stock clients, generation upon
generation: restored they are one instant and whole, and an increment that
failed costs nothing but another one."""

import json
import pathlib

import pytest

from snaplib import cli, guest_check, guest_sets, nbd, tools

CLUSTER = 64 * 1024


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    with guest_sets.running(tmp_path_factory.mktemp("guest"), "btrfs", "qcow2",
                            delay_us=0) as made:
        yield made


class Chain:
    """The copies of one disk: a full one, and overlays."""

    def __init__(self, sets, number):
        self.sets, self.number = sets, number
        self.name, self.image = None, None

    def path(self, name):
        return self.sets.folder / f"backup{self.number}-{name}.qcow2"

    def pull(self, made, name):
        """What changed since the last copy that succeeded, or all."""
        reference = self.sets.references(made)[self.number]
        volume = reference.rsplit("@", 1)[0]
        wanted = name if self.name is None else f"{self.name}..{name}"
        below = [] if self.name is None else ["-B", self.image, "-F", "qcow2"]
        with nbd.Server(f"volume={volume}@{wanted}") as server:
            tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *below,
                       server.uri(wanted), self.path(name)])
        return self.path(name)

    def keep(self, name):
        self.name, self.image = name, self.path(name)

    def restored(self, image):
        target = self.sets.folder / f"restored{self.number}"
        tools.run(["qemu-img", "convert", "-O", "raw", image, target])
        return target


def data_bytes(image):
    """What an overlay itself holds."""
    found = json.loads(tools.run(["qemu-img", "map", "--output=json", image]))
    return sum(e["length"] for e in found if e["depth"] == 0 and e["present"])


def back_up(sets, chains, name):
    """One generation, checked: what each copy holds."""
    before = sets.guest.records()
    made = sets.create(name)
    assert made["consistency"] == "atomic"
    images = [chain.pull(made, name) for chain in chains]
    restored = [chain.restored(image) for chain, image in zip(chains, images)]
    guest_check.check(restored, at_least=before)
    with sets.images(made) as truth:
        for ours, theirs in zip(restored, truth):
            tools.run(["cmp", ours, theirs])
    return [data_bytes(image) for image in images]


def test_generations_with_one_that_failed(sets):
    chains = [Chain(sets, 0), Chain(sets, 1)]
    full = back_up(sets, chains, "g0")
    cli.done("ack", "-q", "g0", state=sets.state)
    for chain in chains:
        chain.keep("g0")
    for name, succeeds in (("g1", True), ("g2", False), ("g3", True), ("g4", True)):
        sets.guest.wait_for_records(20)
        moved = back_up(sets, chains, name)
        assert all(0 < part < whole for part, whole in zip(moved, full)), (moved, full)
        cli.done("ack", "-q", *([] if succeeds else ["--failed"]), name, state=sets.state)
        if succeeds:
            for chain in chains:
                chain.keep(name)
    sets.guest.assert_runs_and_thawed()
