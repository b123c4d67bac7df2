# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plain disk file on a file system that shares blocks, whose true content is
known, and the command that is used on it."""

import errno
import os
import pathlib
import subprocess

from snaplib import cli, files, filesystems, tools

BLOCK = 4096


def quote(path):
    """A path as a reference wants it."""
    return str(path).replace("%", "%25").replace("@", "%40").replace("#", "%23")


class FileDisk:
    """`truth` has what each snapshot must hold."""

    def __init__(self, kind, folder, size=0, name="disk.raw", state=None):
        """`folder` lies on the file system; `kind` is the driver to ask."""
        self.kind, self.folder = kind, pathlib.Path(folder)
        self.path = self.folder / name
        self.state = state or self.folder.parent / "state"
        self.truth = {}
        self.path.touch()
        os.truncate(self.path, size)

    def reference(self, point=None):
        tail = "" if point is None else f"@{point}"
        return f"{self.kind}:{quote(self.path)}{tail}"

    # ---- changes ----

    def write(self, offset, data):
        with open(self.path, "r+b", buffering=0) as file:
            file.seek(offset)
            file.write(data)

    def fallocate(self, mode, offset, length):
        fd = os.open(self.path, os.O_RDWR)
        try:
            files.fallocate(fd, mode, offset, length)
        finally:
            os.close(fd)

    def punch(self, offset, length):
        self.fallocate(files.PUNCH_HOLE | files.KEEP_SIZE, offset, length)

    def resize(self, size):
        os.truncate(self.path, size)

    def content(self):
        return self.path.read_bytes()

    # ---- the command ----

    def nbdsnap(self, *arguments, **options):
        return cli.nbdsnap(*arguments, state=str(self.state), **options)

    def done(self, *arguments, **options):
        return cli.done(*arguments, state=str(self.state), **options)

    def answer(self, verb, *arguments, **options):
        return cli.answer(verb, *arguments, state=str(self.state), **options)

    def snapshot(self, name):
        self.done("-q", "create", "-n", name, self.reference())
        self.truth[name] = self.content()

    def delete(self, *names):
        self.done("-q", "delete", *map(self.reference, names))

    def names(self):
        volume = self.answer("list", self.reference())["volumes"][0]
        return [s["name"] for s in volume["snapshots"]]

    def diff(self, base, name):
        return self.answer("diff", self.reference(f"{base}..{name}"))

    def changed(self, base, name, unit=BLOCK):
        """Offsets of the units that really differ; past the end of the older
        one all do."""
        old, new = self.truth[base], self.truth[name]
        return [at for at in range(0, len(new), unit)
                if old[at:min(at + unit, len(new))] != new[at:at + unit]]

    # ---- what is there ----

    def snapshot_path(self, name):
        """The file that holds a snapshot's bytes."""
        shelf = self.folder / ".nbdsnap"
        if self.kind == "reflink":
            return next((shelf / self.path.name).glob(f"{name}.nbdsnap-*"))
        tops = (p for p in shelf.glob(f"{name}.nbdsnap-*") if p.is_dir())
        return next(tops) / self.path.name

    def remains(self):
        """Everything of ours beside the disk: nothing if all is well."""
        return remains(self.folder)

    # ---- what others may do ----

    def snapshot_by_hand(self, name):
        """The file in it, or that it is."""
        shelf = self.folder / ".nbdsnap"
        if self.kind == "btrfs":
            tools.run(["btrfs", "subvolume", "snapshot", "-r", self.folder, shelf / name])
            return shelf / name / self.path.name
        tools.run(["cp", "--reflink=always", self.path, shelf / self.path.name / name])
        return shelf / self.path.name / name

    def remove_by_hand(self, name):
        path = self.snapshot_path(name)
        if self.kind == "btrfs":
            tools.run(["btrfs", "subvolume", "delete", path.parent])
        else:
            path.unlink()


def remains(folder):
    return sorted(str(path.relative_to(folder))
                  for top in pathlib.Path(folder).glob(".nbdsnap*")
                  for path in (top, *top.iterdir()))


def fill(folder):
    """Leave no room on its file system."""
    with open(folder / "filler", "wb", buffering=0) as file:
        for size in (64 << 10, BLOCK):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
    subprocess.run(["sync", "-f", folder], check=False, capture_output=True)


def on_filesystem(kind, filesystem, folder, **more):
    disk = FileDisk(kind, folder, state=filesystem.image.parent / "state", **more)
    disk.filesystem = filesystem
    return disk


def on_btrfs(room="1G", mkfs=(), options=(), **more):
    """A disk in a subvolume of its own on a new file system."""
    filesystem = filesystems.btrfs(room, mkfs, options)
    folder = filesystems.subvolume(filesystem.path / "vm")
    return on_filesystem("btrfs", filesystem, folder, **more)


def on_xfs(room="512M", mkfs=(), options=(), **more):
    """A disk in a directory of its own on a new file system."""
    filesystem = filesystems.xfs(room, mkfs, options)
    folder = filesystem.path / "vm"
    folder.mkdir()
    return on_filesystem("reflink", filesystem, folder, **more)
