# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a running guest stands still while its disks are cut, against the
least that anybody could do: stop, snapshot, cont, sent by a client that does
nothing else and has everything ready."""

import contextlib
import fcntl
import os
import pathlib
import struct
import sys
import time

import benchlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "py"))

from snaplib import filesystems, guest_disks, guest_sets, qmp, tools  # noqa: E402
from snaplib.guest import Guest  # noqa: E402

N_DISKS = (1, 2, 4, 8)
LETTERS = "abcdefgh"

# linux/btrfs.h and linux/fs.h.
BTRFS_IOC_SNAP_CREATE_V2 = 0x50009417
BTRFS_SUBVOL_RDONLY = 1 << 1
FICLONE = 0x40049409


class Btrfs:
    """Each disk in a subvolume of its own, so that each is a snapshot more."""

    name, options, wanted_ms = "btrfs", (), 20

    def __init__(self, folder):
        self.filesystem = filesystems.btrfs(size="4G", folder=folder)
        self.top = pathlib.Path(self.filesystem.path)

    def disk(self, number):
        home = filesystems.subvolume(self.top / f"volume{number}")
        return guest_disks.raw(home / "disk", number)

    def prepare(self, guest, disks):
        return [(os.open(pathlib.Path(disk.path).parent, os.O_RDONLY),
                 os.open(self.top, os.O_RDONLY), f"bare{number}")
                for number, disk in enumerate(disks)]

    def cut(self, guest, ready):
        for source, folder, name in ready:
            fcntl.ioctl(folder, BTRFS_IOC_SNAP_CREATE_V2, bytearray(struct.pack(
                "=qqQ32x4040s", source, 0, BTRFS_SUBVOL_RDONLY, name.encode())))

    def tidy(self, guest, ready):
        for source, folder, name in ready:
            os.close(source)
            os.close(folder)
            tools.run(["btrfs", "-q", "subvolume", "delete", self.top / name])


class Reflink:
    name, options, wanted_ms = "XFS", (), 20

    def __init__(self, folder):
        self.filesystem = filesystems.xfs(size="2G", folder=folder)
        self.top = pathlib.Path(self.filesystem.path)

    def disk(self, number):
        return guest_disks.raw(self.top / f"disk{number}", number)

    def prepare(self, guest, disks):
        return [(os.open(disk.path, os.O_RDONLY),
                 os.open(self.top / f"bare{number}", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
                for number, disk in enumerate(disks)]

    def cut(self, guest, ready):
        for source, target in ready:
            fcntl.ioctl(target, FICLONE, source)

    def tidy(self, guest, ready):
        for number, pair in enumerate(ready):
            for descriptor in pair:
                os.close(descriptor)
            (self.top / f"bare{number}").unlink()


class Qemu:
    """By QEMU.  The least: one transaction of backups that copy nothing, to
    nowhere, and of bitmaps."""

    wanted_ms, filesystem = 10, None

    def __init__(self, folder, mechanism):
        self.folder, self.name = folder, f"qcow2, {mechanism}"
        self.options = ("--mechanism", mechanism)

    def disk(self, number):
        return guest_disks.qcow2(self.folder / f"disk{number}", number)

    def prepare(self, guest, disks):
        actions = []
        for letter in LETTERS[:len(disks)]:
            guest.qmp("blockdev-add", driver="null-co", node_name=f"bare-{letter}",
                      size=guest_disks.SIZE, read_zeroes=True)
            actions += [
                {"type": "block-dirty-bitmap-add",
                 "data": {"node": f"fmt-{letter}", "name": "bare"}},
                {"type": "blockdev-backup",
                 "data": {"device": f"fmt-{letter}", "target": f"bare-{letter}",
                          "sync": "none", "job-id": f"bare-{letter}"}}]
        return actions

    def cut(self, guest, actions):
        guest.qmp("transaction", actions=actions)

    def tidy(self, guest, actions):
        for letter in LETTERS[:len(actions) // 2]:
            since = len(guest.monitor.events)
            guest.qmp("block-job-cancel", device=f"bare-{letter}")
            guest.monitor.wait_event("BLOCK_JOB_CANCELLED", since)
            guest.qmp("blockdev-del", node_name=f"bare-{letter}")
            guest.qmp("block-dirty-bitmap-remove", node=f"fmt-{letter}", name="bare")


class Bed:
    """A guest of eight disks, cut by nbdsnap and by hand."""

    def __init__(self, storage, guest, folder):
        self.storage, self.guest = storage, guest
        self.sets, self.n_sets = guest_sets.Sets(guest, folder), 0

    def ours(self, n_disks, quiesce):
        """Milliseconds of stop to cont, and of freeze to thaw."""
        self.n_sets += 1
        chosen = [word for letter in LETTERS[:n_disks] for word in ("--disk", f"v{letter}")]
        made = self.sets.create(f"s{self.n_sets}", *chosen, *self.storage.options,
                                quiesce=quiesce)
        self.sets.delete(made)
        return made["stopped_us"] / 1000, made["frozen_us"] / 1000

    def bare(self, n_disks, quiesce):
        ready = self.storage.prepare(self.guest, self.guest.disks[:n_disks])
        agent = (qmp.Agent(self.guest.agent_path) if quiesce == "agent"
                 else contextlib.nullcontext())
        with agent:
            began = time.monotonic()
            if quiesce == "agent":
                agent.execute("guest-fsfreeze-freeze")
            stopping = time.monotonic()
            self.guest.qmp("stop")
            self.storage.cut(self.guest, ready)
            self.guest.qmp("cont")
            runs = time.monotonic()
            if quiesce == "agent":
                agent.execute("guest-fsfreeze-thaw")
            ended = time.monotonic()
        self.storage.tidy(self.guest, ready)
        return (runs - stopping) * 1000, (ended - began) * 1000 if quiesce == "agent" else 0

    def compare(self, n_disks, quiesce, rounds):
        return benchlib.alternate(lambda: self.ours(n_disks, quiesce),
                                  lambda: self.bare(n_disks, quiesce), rounds)


def spread(values):
    """The median, and what 99 of 100 stay below: of few, the longest."""
    ordered = sorted(values)
    last = ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)]
    return f"{benchlib.median(ordered):.1f} / {last:.1f} ms"


def show(bed, n_disks, quiesce, pairs):
    which = 1 if quiesce == "agent" else 0
    ours = [a[which] for a, _ in pairs]
    bare = [b[which] for _, b in pairs]
    ratio = benchlib.median(a / b for a, b in zip(ours, bare))
    what = "frozen" if quiesce == "agent" else "stopped"
    wanted = "" if quiesce == "agent" else "≤ 1.5"
    if quiesce == "pause" and n_disks == 2:
        wanted += f", ≤ {bed.storage.wanted_ms} ms"
    disks = "1 disk" if n_disks == 1 else f"{n_disks} disks"
    benchlib.row(f"{bed.storage.name}, {disks}, {what}", spread(ours),
                 f"{spread(bare)}: bare", f"{ratio:.2f}", wanted, f"{len(pairs)} pairs")


def main():
    benchlib.need("qemu-system-x86_64", "mkfs.btrfs", "mkfs.xfs", "mkfs.ext4")
    if os.geteuid() != 0:
        return benchlib.skip("guest", "mounting needs root")
    rounds = benchlib.setting("GUEST_ROUNDS", 20, short=3)
    storages = (Btrfs, Reflink, lambda below: Qemu(below, "cbw"),
                lambda below: Qemu(below, "fleece"))
    with benchlib.scratch() as folder:
        for number, make in enumerate(storages):
            below = folder / str(number)
            below.mkdir()
            storage = make(below)
            disks = [storage.disk(n) for n in range(max(N_DISKS))]
            with Guest(disks) as guest:
                bed = Bed(storage, guest, below)
                for quiesce in ("pause", "agent"):
                    for n_disks in N_DISKS:
                        show(bed, n_disks, quiesce, bed.compare(n_disks, quiesce, rounds))
                guest.assert_runs_and_thawed()
                assert not bed.sets.unfinished()
            if storage.filesystem:
                storage.filesystem.unmount()


if __name__ == "__main__":
    main()
