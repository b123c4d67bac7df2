# SPDX-License-Identifier: LGPL-2.1-or-later
"""File systems on loop devices, for one test process and gone with it.

The first one moves this process into a mount namespace of its own.  Mounts made
there are seen by nobody else, and the kernel undoes them, loop devices
included, when the last process in it ends: also when that is killed.
"""

import ctypes
import os
import pathlib
import re
import subprocess
import tempfile

from snaplib import tools

CLONE_NEWNS = 0x00020000
_private = False


def _enter_private_namespace():
    global _private
    if _private:
        return
    tools.require_root()
    tools.require("mount", "umount", "losetup")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        tools.missing(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    tools.run(["mount", "--make-rprivate", "/"])
    _private = True


class FileSystem:
    """One mounted image; `path` is where."""

    def __init__(self, image, path, options):
        self.image, self.path, self.options = image, path, options

    def mount(self, *options):
        chosen = ",".join(["loop", *self.options, *options])
        tools.run(["mount", "-o", chosen, self.image, self.path])

    def unmount(self):
        tools.run(["umount", self.path])

    def remount(self, *options):
        tools.run(["mount", "-o", ",".join(["remount", *options]), self.path])


def _kernel_has(kind):
    known = pathlib.Path("/proc/filesystems").read_text().split()
    if kind not in known:
        subprocess.run(["modprobe", kind], capture_output=True, check=False)
        known = pathlib.Path("/proc/filesystems").read_text().split()
    return kind in known


def make(kind, size="1G", mkfs=(), options=(), folder=None):
    """A new mounted file system of this kind."""
    _enter_private_namespace()
    program = tools.which(f"mkfs.{kind}")
    if not _kernel_has(kind):
        tools.missing(f"this kernel has no {kind}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=folder))
    image, path = folder / "image", folder / "mount"
    path.mkdir()
    tools.run(["truncate", "-s", size, image])
    tools.run([program, "-q", "-f", *mkfs, image])
    filesystem = FileSystem(image, path, list(options))
    filesystem.mount()
    return filesystem


def btrfs(size="1G", mkfs=(), options=(), **more):
    tools.require("btrfs")
    return make("btrfs", size, mkfs, options, **more)


def xfs(size="512M", mkfs=(), options=(), **more):
    return make("xfs", size, mkfs, options, **more)


def subvolume(path):
    """A new btrfs subvolume."""
    tools.run(["btrfs", "subvolume", "create", path])
    return pathlib.Path(path)


def subvolumes(path):
    """The paths of all subvolumes of the file system, as btrfs lists them; one
    with a line break takes several lines."""
    listing = tools.run(["btrfs", "subvolume", "list", path])
    return [entry.split(" path ", 1)[1] for entry in re.split(r"\n(?=ID \d+ gen )|\n\Z", listing)
            if entry]


def leftovers(top):
    """What is in the reserved directory: nothing if all is well."""
    reserved = pathlib.Path(top) / ".nbdsnap"
    return sorted(os.listdir(reserved)) if reserved.exists() else []
