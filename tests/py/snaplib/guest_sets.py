# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets of a running guest's disks, and the bytes that they hold."""

import contextlib
import os
import pathlib
import subprocess
import time

from snaplib import cli, file_sets, filesystems, guest_check, guest_disks, nbd, tools
from snaplib.guest import Guest


def disks_on(folder, *kinds, device="virtio-blk"):
    """A disk of each kind, "btrfs", "xfs", "qcow2" or "raw", in this order."""
    homes, disks = {}, []
    for number, kind in enumerate(kinds):
        if kind in ("btrfs", "xfs") and kind not in homes:
            homes[kind] = getattr(filesystems, kind)(folder=folder).path
        home = homes.get(kind, folder)
        make = guest_disks.qcow2 if kind == "qcow2" else guest_disks.raw
        disks.append(make(pathlib.Path(home) / f"disk{number}", number, device))
    return disks


def fault(**what):
    """The environment of an nbdsnap that has the fault (tests/fakes/fault-at-change.c)."""
    preload = ":".join([*nbd.sanitizer_libraries(), str(file_sets.SHIM)])
    return dict(os.environ, LD_PRELOAD=preload, FAULT_IN="nbdsnap",
                **{name: str(value) for name, value in what.items()})


class Sets:
    """What is done with a guest's sets."""

    def __init__(self, guest, folder):
        self.guest, self.folder = guest, pathlib.Path(folder)
        self.state = str(self.folder / "state")

    def run(self, *arguments, timeout=120, **options):
        return subprocess.run(cli.command(*arguments, state=self.state),
                              capture_output=True, text=True, timeout=timeout, **options)

    def create_command(self, name, *options, quiesce="agent"):
        agent = ["--agent", self.guest.agent_path] if quiesce == "agent" else []
        return ["create", "--qmp", self.guest.qmp_path, *agent, f"--quiesce={quiesce}",
                "-n", name, *options]

    def create(self, name, *options, quiesce="agent", code=0):
        """Its JSON."""
        arguments = self.create_command(name, *options, quiesce=quiesce)
        return cli.answer(*arguments, state=self.state, code=code)

    def references(self, made):
        return [snapshot["reference"] for snapshot in made["snapshots"]]

    def volumes(self, made):
        return [reference.rsplit("@", 1)[0] for reference in self.references(made)]

    def delete(self, made):
        cli.done("delete", "-q", *self.references(made), state=self.state)

    def names(self, volumes):
        """What each of them has, snapshots and checkpoints."""
        listed = cli.answer("list", *volumes, state=self.state)["volumes"]
        return [[point["name"] for point in volume["snapshots"] + volume["checkpoints"]]
                for volume in listed]

    def recover(self):
        """As a user may; a monitor that a dying process still has is busy a
        moment."""
        for _ in range(50):
            result = self.run("doctor")
            if result.returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(result.stderr)

    def traces(self):
        """What is in QEMU that has a name of ours."""
        ask = self.guest.qmp
        nodes = ask("query-named-block-nodes")
        names = [node.get("node-name", "") for node in nodes]
        names += [job["id"] for job in ask("query-jobs")]
        names += [export["id"] for export in ask("query-block-exports")]
        bitmaps = [bitmap.get("name", "") for node in nodes
                   for bitmap in node.get("dirty-bitmaps", [])]
        return ([name for name in names if name.startswith("ns-")]
                + [name for name in bitmaps if "nbdsnap" in name])

    def assert_clean(self):
        """The guest runs and is thawed, and nothing of ours is left over."""
        self.guest.assert_runs_and_thawed()
        assert self.traces() == [] and self.unfinished() == []

    @contextlib.contextmanager
    def images(self, made):
        """Raw copies of a set's snapshots, in order."""
        paths = []
        try:
            for number, reference in enumerate(self.references(made)):
                paths.append(self.copy(reference, self.folder / f"copy{number}"))
            yield paths
        finally:
            for path in paths:
                path.unlink()

    def copy(self, reference, target):
        shown = cli.answer("show", reference, state=self.state)
        if shown.get("path"):
            tools.run(["cp", "--sparse=always", shown["path"], target])
            return target
        with nbd.Server(f"volume={reference}") as server:
            tools.run(["nbdcopy", server.uri(), target])
        return target

    def check(self, made, at_least=0):
        """That the set is of one instant, and its file systems are whole."""
        with self.images(made) as images:
            return guest_check.check(images, at_least)

    def unfinished(self):
        return cli.answer("doctor", "--dry-run", state=self.state)["unfinished"]


@contextlib.contextmanager
def running(folder, *kinds, device="virtio-blk", **options):
    """A guest on new disks, and its sets."""
    with Guest(disks_on(folder, *kinds, device=device), **options) as guest:
        yield Sets(guest, folder)
