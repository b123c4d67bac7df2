# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real LVM, made for one test and gone with it: a volume group on a loop
device, thin pools, volumes whose true bytes are known, and snapshots.

For tests that tests/lvm/run starts, which sees to it that LVM works and looks
at no device but ours.
"""

import collections
import fcntl
import json
import mmap
import os
import pathlib
import re
import stat
import struct
import subprocess

from snaplib import devmapper, lvm2, tools

BLOCK = 4096
BLKDISCARD = 0x1277
BLKGETSIZE64 = 0x80081272

COLUMNS = (
    "lv_name,lv_uuid,vg_name,vg_uuid,lv_size,segtype,origin,origin_uuid,pool_lv,data_lv,"
    "metadata_lv,thin_id,lv_active,lv_permissions,lv_skip_activation,lv_time,chunk_size,"
    "data_percent,metadata_percent,lv_health_status,transaction_id,lv_dm_path,"
    "snap_percent,lv_attr,lv_merging,lv_snapshot_invalid,lv_tags")


def require():
    """Step aside where there is no LVM to play with."""
    if not os.environ.get("NBDSNAP_LVM_BED"):
        tools.missing("not started by tests/lvm/run")
    tools.require("lvm", "dmsetup", "losetup")


def command(*words):
    """Run to success; what it printed."""
    if words[0] not in lvm2.NAMES or len(words) > lvm2.MOST_WORDS:
        return tools.run(words)
    result = attempt(*words)
    assert result.returncode == 0, f"{' '.join(map(str, words))}: {result.stderr}"
    return result.stdout


def attempt(*words):
    """Run, and let it fail: the finished process."""
    if words[0] in lvm2.NAMES:
        return lvm2.attempt([str(word) for word in words])
    return subprocess.run([str(word) for word in words], capture_output=True,
                          text=True, timeout=300)


def dm_name(group, volume, layer=None):
    """The device mapper's name of a volume: hyphens are doubled."""
    name = f"{group.replace('-', '--')}-{volume.replace('-', '--')}"
    return f"{name}-{layer}" if layer else name


# ---- bytes, past every cache ----

def _aligned(length):
    return mmap.mmap(-1, max(length, BLOCK))


def read_direct(path, offset, length):
    """Bytes as they lie on the device; offset and length in whole blocks."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        buffer = _aligned(length)
        read = os.preadv(fd, [memoryview(buffer)[:length]], offset)
        return buffer[:read]
    finally:
        os.close(fd)


def open_direct(path):
    return os.open(path, os.O_WRONLY | os.O_DIRECT)


def write_to(fd, offset, data):
    """Bytes that are on the device when this returns; of open_direct()."""
    buffer = _aligned(len(data))
    buffer[:len(data)] = data
    written = os.pwritev(fd, [memoryview(buffer)[:len(data)]], offset)
    assert written == len(data), (fd, offset, written)


def write_direct(path, offset, data):
    fd = open_direct(path)
    try:
        write_to(fd, offset, data)
    finally:
        os.close(fd)


def discard(path, offset, length):
    fd = os.open(path, os.O_WRONLY)
    try:
        fcntl.ioctl(fd, BLKDISCARD, struct.pack("=QQ", offset, length))
    finally:
        os.close(fd)


def device_size(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return struct.unpack("=Q", fcntl.ioctl(fd, BLKGETSIZE64, bytes(8)))[0]
    finally:
        os.close(fd)


def content(path):
    """All bytes of a device."""
    size, step = device_size(path), 4 << 20
    return b"".join(read_direct(path, at, min(step, size - at))
                    for at in range(0, size, step))


# ---- volumes ----

class Volume:
    """A volume with a model of its bytes: the truth is what was written."""

    def __init__(self, group, name, size):
        self.group, self.name, self.size = group, name, size
        self.model = bytearray(size)

    @property
    def reference(self):
        return f"{self.group.name}/{self.name}"

    @property
    def path(self):
        return f"/dev/{self.reference}"

    @property
    def dm(self):
        return dm_name(self.group.name, self.name)

    def row(self):
        return self.group.lvs()[self.name]

    def write(self, offset, data):
        """Whole blocks of 512 bytes."""
        write_direct(self.path, offset, data)
        self.model[offset:offset + len(data)] = data

    def fill(self, offset, length, pattern):
        self.write(offset, bytes([pattern]) * length)

    def discard(self, offset, length):
        """On a thin volume whole chunks read as zeroes afterwards; the model
        takes what the device says, since the rest of them need not."""
        discard(self.path, offset, length)
        self.model[offset:offset + length] = self.read(offset, length)

    def read(self, offset, length):
        return read_direct(self.path, offset, length)

    def content(self):
        return content(self.path)

    def resize(self, size):
        """Grow or shrink, and zeroes in the model where it grew."""
        verb = "lvextend" if size > self.size else "lvreduce"
        command(verb, "-q", "-q", "-f", "-L", f"{size}b", self.reference)
        size = device_size(self.path)
        self.model[size:] = bytes(max(0, size - self.size))
        self.size = size

    def suspend(self):
        devmapper.suspend(self.dm)

    def resume(self):
        devmapper.resume(self.dm)

    def snapshot(self, name, *options):
        """A snapshot as `lvcreate -s` makes it, with the model's bytes as its
        own.  A classic one needs its size among the options."""
        command("lvcreate", "-q", "-q", "-y", "-s", *options, "-n", name, self.reference)
        taken = Volume(self.group, name, self.size)
        taken.model[:] = self.model
        return taken

    def activate(self):
        command("lvchange", "-q", "-q", "-ay", "-K", self.reference)

    def deactivate(self):
        command("lvchange", "-q", "-q", "-an", self.reference)

    def remove(self):
        command("lvremove", "-q", "-q", "-f", self.reference)


PoolStatus = collections.namedtuple("PoolStatus", (
    "transaction_id", "metadata_used", "metadata_blocks", "data_used", "data_blocks",
    "held_root", "rest"))


class Pool:
    def __init__(self, group, name, chunk):
        self.group, self.name, self.chunk = group, name, chunk

    @property
    def reference(self):
        return f"{self.group.name}/{self.name}"

    @property
    def dm(self):
        """Where messages go; one that never had a volume has no such layer."""
        layered = dm_name(self.group.name, self.name, "tpool")
        return layered if devmapper.exists(layered) else dm_name(self.group.name, self.name)

    @property
    def tmeta(self):
        return f"/dev/mapper/{dm_name(self.group.name, self.name)}_tmeta"

    def volume(self, name, size, *options):
        command("lvcreate", "-q", "-q", "-y", "-V", f"{size}b", "-T", self.reference,
                "-n", name, *options)
        return Volume(self.group, name, size)

    def over(self, origin, name):
        """A thin volume on an external origin, which from now on is read-only
        and inactive."""
        command("lvchange", "-q", "-q", "-an", origin.reference)
        command("lvchange", "-q", "-q", "-pr", origin.reference)
        command("lvcreate", "-q", "-q", "-y", "-s", "--thinpool", self.reference,
                "-n", name, "-kn", origin.reference)
        volume = Volume(self.group, name, origin.size)
        volume.model[:] = origin.model
        return volume

    def status(self):
        """None in place of what the kernel cannot say; held_root 0 if none is."""
        words = devmapper.status(self.dm)[3:]
        (used, total), (data, room) = (word.split("/") for word in words[1:3])
        held = 0 if words[3] == "-" else int(words[3])
        return PoolStatus(int(words[0]), int(used), int(total), int(data), int(room),
                          held, words[4:])

    def message(self, text):
        """An OSError says why the kernel refused."""
        devmapper.message(self.dm, text)

    def reserve(self):
        """Hold a metadata snapshot; the block where it is."""
        self.message("reserve_metadata_snap")
        return self.status().held_root

    def release(self):
        self.message("release_metadata_snap")

    def thin_delta(self, first, second):
        """What thin_delta says between two thin ids, a metadata snapshot being
        held: [(kind, first chunk, chunks)]."""
        text = command("thin_delta", "--metadata-snap", self.tmeta,
                       "--snap1", first, "--snap2", second)
        return [(kind, int(begin), int(length)) for kind, begin, length in re.findall(
            r'<(same|different|left_only|right_only) begin="(\d+)" length="(\d+)"', text)]


# ---- groups ----

class Group:
    """A volume group on a sparse file in `folder`, or on a device.  Everything
    in it goes when it is closed, suspended or half made as it may be."""

    def __init__(self, folder, size=512 << 20, name="snap-vg", device=None, extent=4 << 20):
        require()
        self.name, self.loop = name, None
        if device is None:
            disk = pathlib.Path(folder) / f"{name}.disk"
            with open(disk, "wb") as file:
                file.truncate(size)
            self.loop = device = command("losetup", "-f", "--show", disk).strip()
        self.device = device
        command("vgcreate", "-q", "-q", "-y", "-s", f"{extent}b", name, device)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def lvs(self, columns=COLUMNS):
        """{name: row}, hidden volumes without their brackets."""
        report = command("lvs", "-a", "--reportformat", "json", "--units", "b",
                         "--nosuffix", "-o", columns, self.name)
        rows = json.loads(report[report.index("{"):])["report"][0]["lv"]
        return {row["lv_name"].strip("[]"): row for row in rows}

    def pool(self, name="pool", size=256 << 20, chunk=64 << 10, metadata=4 << 20,
             options=()):
        command("lvcreate", "-q", "-q", "-y", "-L", f"{size}b", "-c", f"{chunk}b",
                "--poolmetadatasize", f"{metadata}b", *options, "-T",
                f"{self.name}/{name}")
        return Pool(self, name, chunk)

    def volume(self, name, size):
        """A plain volume, for classic snapshots."""
        command("lvcreate", "-q", "-q", "-y", "-Wn", "-Zn", "-L", f"{size}b", "-n", name,
                self.name)
        volume = Volume(self, name, device_size(f"/dev/{self.name}/{name}"))
        volume.model[:] = volume.content()
        return volume

    def devices(self):
        """The device mapper's names of all that is active."""
        prefix = self.name.replace("-", "--") + "-"
        listed = attempt("dmsetup", "ls").stdout.splitlines()
        return [line.split()[0] for line in listed
                if line.startswith(prefix) and line[len(prefix):len(prefix) + 1] != "-"]

    def resume_all(self):
        for device in self.devices():
            if devmapper.suspended(device):
                devmapper.resume(device)

    def close(self):
        self.resume_all()
        removed = attempt("vgremove", "-q", "-q", "-ff", "-y", self.name)
        if removed.returncode != 0:
            self.force()
        if self.loop:
            command("losetup", "-d", self.loop)
        assert removed.returncode == 0, removed.stderr

    def force(self):
        """LVM would not: take its devices away, and its label from the disk."""
        for _ in range(4):
            for device in self.devices():
                attempt("dmsetup", "remove", "--force", device)
        if stat.S_ISBLK(os.stat(self.device).st_mode):
            write_direct(self.device, 0, bytes(1 << 20))
