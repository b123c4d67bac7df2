# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories of real qcow2 images, with the truth taken at every cut.

A history is a seed.  qemu-img and qemu-io do all the work; the truth of a
point is a raw copy of the active image, made when the point was cut.

Beside the bytes, every point carries the *version* of each granule: the number
of the last operation that touched it.  Where two points have the same version
nothing was done, and a diff that reports the granule there is wrong; where the
versions differ and the bytes do not, it was rewritten with what it held.
"""

import json
import random
import subprocess

from snaplib import tools

KIB, MIB = 1024, 1024 * 1024
CLUSTERS = (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 2 * MIB)


class Spoiled(Exception):
    """QEMU itself declared the image corrupt: 7.2 does, of compressed writes
    and discards on some small clusters.  There is no truth left to judge by."""


class Point:
    def __init__(self, name, size, content, versions, handle=None):
        self.name, self.size, self.handle = name, size, handle
        self.content, self.versions = content, versions

    def __repr__(self):
        return f"{self.name} ({self.size} bytes)"


class Setup:
    """What kind of image: chosen from what qemu-img can make."""

    def __init__(self, rng):
        self.version = rng.choice((2, 3, 3, 3))
        self.cluster = rng.choice(CLUSTERS)
        self.extended = self.version == 3 and self.cluster >= 16 * KIB and rng.random() < 0.5
        self.zstd = self.version == 3 and rng.random() < 0.2
        self.lazy = self.version == 3 and rng.random() < 0.2
        unit = min(max(self.cluster * 64, 256 * KIB), 8 * MIB)
        self.size = rng.randrange(unit // 2, 2 * unit) // 512 * 512
        self.backing = rng.choice((None, None, "raw", "qcow2"))
        self.backing_size = rng.choice((
            self.size, self.size // 2, self.size * 3 // 2,
            self.size // 2 + rng.randrange(4 * KIB)))
        if self.backing == "qcow2":
            self.backing_size = self.backing_size // 512 * 512

    def options(self):
        options = [f"compat={'0.10' if self.version == 2 else '1.1'}",
                   f"cluster_size={self.cluster}"]
        if self.extended:
            options.append("extended_l2=on")
        if self.zstd:
            options.append("compression_type=zstd")
        if self.lazy:
            options.append("lazy_refcounts=on")
        return ",".join(options)

    def __str__(self):
        backing = f", {self.backing} backing of {self.backing_size}" if self.backing else ""
        return f"{self.options()}, {self.size} bytes{backing}"


class History:
    def __init__(self, seed, folder, steps):
        self.rng = random.Random(seed)
        self.folder = folder
        self.image = folder / "disk.qcow2"
        self.setup = Setup(self.rng)
        self.steps = steps
        self.size = self.setup.size
        self.clock = 0
        self.points = []
        self.ids, self.ids_used_again = set(), 0
        self.events = {}
        self.refused = {}
        self.make()

    # ---- making ----

    def make(self):
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", self.setup.options()]
        if self.setup.backing:
            self.make_backing()
            command += ["-b", self.backing_path, "-F", self.setup.backing]
        tools.run([*command, self.image, self.size])
        self.versions = [0] * self.granules(self.size)

    def make_backing(self):
        self.backing_path = self.folder / f"backing.{self.setup.backing}"
        size = self.setup.backing_size
        raw = self.folder / "backing.raw"
        noise = self.rng.randbytes(4 * KIB)
        content = bytearray(size)
        for _ in range(6):
            at = self.rng.randrange(size)
            part = (noise * 32)[:min(128 * KIB, size - at)]
            content[at:at + len(part)] = part
        raw.write_bytes(content)
        if self.setup.backing == "qcow2":
            tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, self.backing_path])
        self.backing_content = bytes(content) + bytes(-size % 512)

    def granules(self, size):
        return -(-size // self.setup.cluster)

    def note(self, event):
        self.events[event] = self.events.get(event, 0) + 1

    # ---- one operation on the active image ----

    def touch(self, offset, length):
        self.clock += 1
        first = offset // self.setup.cluster
        last = self.granules(min(offset + length, self.size))
        self.versions[first:last] = [self.clock] * (last - first)

    def place(self):
        """Somewhere and some length: sectors, clusters, or many of them."""
        unit = self.rng.choice((512, 4 * KIB, self.setup.cluster, 4 * self.setup.cluster))
        offset = self.rng.randrange(self.size) // unit * unit
        length = min(unit * self.rng.choice((1, 1, 2, 3)), self.size - offset)
        return offset, length

    def random_command(self):
        kind = self.rng.choice(("write", "write", "write", "same", "zero", "unmap",
                                "discard", "compressed", "zeroes as data"))
        offset, length = self.place()
        if kind == "compressed":
            offset = offset // self.setup.cluster * self.setup.cluster
            length = min(self.setup.cluster, self.size - offset)
        self.note(kind)
        self.touch(offset, length)
        pattern = self.rng.randrange(1, 255)
        return {
            "write": f"write -q -P {pattern} {offset} {length}",
            "same": f"write -q -P 7 {offset} {length}",
            "zeroes as data": f"write -q -P 0 {offset} {length}",
            "zero": f"write -q -z {offset} {length}",
            "unmap": f"write -q -z -u {offset} {length}",
            "discard": f"discard -q {offset} {length}",
            "compressed": f"write -q -c -P {pattern} {offset} {length}",
        }[kind]

    def burst(self):
        commands = []
        for _ in range(self.rng.randrange(1, 5)):
            commands += ["-c", self.random_command()]
        # A refused command (compressed onto data, say) changes nothing that a
        # version would hide: it may only explain an extra granule.
        result = subprocess.run(
            ["qemu-io", "-d", "unmap", "-f", "qcow2", *commands, str(self.image)],
            capture_output=True, text=True, timeout=60)
        if "corrupt" in result.stdout + result.stderr:
            raise Spoiled
        for line in (result.stdout + result.stderr).splitlines():
            self.refused.setdefault(line.split(":")[-1].strip(), str(self.setup))

    # ---- what happens between bursts ----

    def snapshot(self):
        name = self.rng.choice(("mon", "tue", "wed", f"s{self.clock}"))
        ours = self.rng.random() < 0.5 and name not in [p.name for p in self.points]
        if ours:
            tools.run([tools.nbdsnap(), "--state-dir", self.folder / "state",
                       "create", "-n", name, self.reference()])
        else:
            tools.run(["qemu-img", "snapshot", "-c", name, self.image])
        self.note("snapshot of ours" if ours else "snapshot")
        if name in [p.name for p in self.points]:
            self.note("same name twice")
        newest = self.info()["snapshots"][-1]
        self.ids_used_again += newest["id"] in self.ids
        self.ids.add(newest["id"])
        self.points.append(self.cut(name, newest["id"], newest["name"]))

    def cut(self, name, point_id, handle=None):
        raw = self.folder / "truth.raw"
        tools.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.image, raw])
        point = Point(name, self.size, raw.read_bytes(), list(self.versions), handle)
        point.id = point_id
        return point

    def delete(self):
        """qemu-img deletes by name, the first one that has it."""
        if not self.points:
            return
        victim = self.rng.choice(self.points)
        first = next(p for p in self.points if p.handle == victim.handle)
        tools.run(["qemu-img", "snapshot", "-d", first.handle, self.image])
        self.points.remove(first)
        self.note("delete")

    def revert(self):
        """-a takes an id first."""
        if not self.points:
            return
        point = self.rng.choice(self.points)
        result = subprocess.run(["qemu-img", "snapshot", "-a", point.id, str(self.image)],
                                capture_output=True, text=True)
        if result.returncode != 0:
            self.refused.setdefault(result.stderr.strip().split(":")[-1], str(self.setup))
            return
        self.note("revert")
        self.size, self.versions = point.size, list(point.versions)

    def resize(self):
        factor = self.rng.choice((0.5, 0.8, 1.25, 1.5))
        size = max(64 * KIB, min(int(self.size * factor) // 512 * 512, 16 * MIB))
        result = subprocess.run(
            ["qemu-img", "resize", "-q", "-f", "qcow2", "--shrink", str(self.image), str(size)],
            capture_output=True, text=True)
        if result.returncode != 0:
            self.refused.setdefault(result.stderr.strip().split(":")[-1], str(self.setup))
            return
        self.note("grow" if size > self.size else "shrink")
        self.clock += 1
        old, self.size = self.size, size
        keep = min(old, size) // self.setup.cluster
        del self.versions[keep:]
        self.versions += [self.clock] * (self.granules(size) - keep)

    def run(self):
        for _ in range(self.steps):
            self.burst()
            what = self.rng.random()
            if what < 0.5 and len(self.points) < 7:
                self.snapshot()
            elif what < 0.62:
                self.delete()
            elif what < 0.68:
                self.revert()
            elif what < 0.8:
                self.resize()
        return self

    # ---- what a judge asks ----

    def info(self):
        return json.loads(tools.run(["qemu-img", "info", "--output=json", self.image]))

    def reference(self):
        path = str(self.image).replace("%", "%25").replace("@", "%40").replace("#", "%23")
        return f"qcow2:{path}"

    def all_points(self):
        """Every point that can be a side of a diff, by what it is called."""
        points = {p.id: p for p in self.points}
        points["live"] = self.cut("live", "live")
        points["empty"] = Point("empty", 0, b"", [])
        if self.setup.backing:
            size = len(self.backing_content)
            # Never touched: version 0, as in an image that holds nothing.
            points["backing"] = Point("backing", size, self.backing_content,
                                      [0] * self.granules(size))
        return points
