# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets of a running guest's disks, and the bytes that they hold."""

import contextlib
import pathlib
import subprocess

from snaplib import cli, filesystems, guest_check, guest_disks, nbd, tools
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

    def delete(self, made):
        cli.done("delete", "-q", *self.references(made), state=self.state)

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
