# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories of a disk of a QEMU: writes, cuts, acknowledgements, ends of
QEMU of both kinds, resizes, overlays.  Every cut is compared with every base there
is, by its bytes; a base whose history is sound must be comparable."""

import collections
import random

from snaplib import qemu_bed as bed, tools
from snaplib.qemu_bed import GRANULE, Drive, Driver, Failed, Qemu

SIZE = 4 << 20
ROWS = (
    "write", "write in a granule", "zero", "zero, unmapped", "discard", "cut: fleece", "cut: cbw",
    "cut with data of another there", "cbw over fleece: refused", "ack", "ack of an older one", "failed ack", "delete",
    "end of QEMU", "kill of QEMU", "grown", "made smaller and grown", "overlay and commit",
    "diff from a snapshot", "diff from a checkpoint", "diff from before an end of QEMU",
    "diff from before an overlay", "diff from before it grew", "refused: not stored",
    "refused: made smaller", "two consumers", "format: qcow2", "format: raw",
)


class History:
    def __init__(self, seed, folder, program=None):
        self.random, self.seen = random.Random(seed), collections.Counter()
        self.drive = Drive("a", self.random.choice(["qcow2", "qcow2", "raw"]),
                           self.random.choice(["virtio-blk", "virtio-scsi", "ide"]),
                           self.random.random() < 0.3)
        self.seen[f"format: {self.drive.format}"] += 1
        self.qemu = Qemu(folder / "qemu", [self.drive], size=SIZE - 512 * self.random.randrange(3))
        self.driver = Driver(self.qemu, "a", program)
        self.images, self.sound = {}, {}  # name: bytes; name: what it went through
        self.stored = set()  # bases that were loaded from the image: a kill spoils them
        self.pairs, self.faults, self.n = 0, [], 0

    # ---- what happens to the disk ----

    def size(self):
        for block in self.qemu.ask("query-block"):
            if "inserted" in block:
                return block["inserted"]["image"]["virtual-size"]
        raise KeyError

    def change(self):
        for _ in range(self.random.randrange(1, 6)):
            size = self.size() // 512
            begin = self.random.randrange(size)
            length = min(self.random.choice([1, 7, 128, 128, 300, 900]), size - begin)
            kind = self.random.choice(["write", "write", "zero", "unmap", "discard"])
            if kind != "write" or self.random.random() < 0.5:
                begin = begin // 128 * 128
            where = f"{begin * 512} {length * 512}"
            self.seen[{"write": "write", "zero": "zero", "unmap": "zero, unmapped",
                       "discard": "discard"}[kind]] += 1
            self.seen["write in a granule"] += kind == "write" and length < 128
            self.qemu.io("a", {"write": f"write -P {self.random.randrange(256)} {where}",
                               "zero": f"write -z {where}", "unmap": f"write -z -u {where}",
                               "discard": f"discard {where}"}[kind])

    def resize(self, size):
        self.qemu.ask("block_resize", **{"node-name": self.node(), "size": size})

    def node(self):
        for node in self.qemu.nodes().values():
            if node["file"] == str(self.qemu.path("a")) and node["drv"] == self.drive.format:
                return node["node-name"]
        raise KeyError

    def quiet(self):
        """Whether no data of a cut is there: then QEMU lets its nodes be changed."""
        return not any(p.kind == "snapshot" for p in self.driver.list())

    def grow(self):
        if not self.quiet():
            return
        self.resize(self.size() + self.random.choice([512, GRANULE, 3 * GRANULE + 512]))
        self.seen["grown"] += 1
        self.note("grown")

    def shrink(self):
        """With a base there, so that there is something to refuse."""
        if not self.sound:
            self.cut()
        while not self.quiet():
            self.ack()
        size = self.size()
        self.resize(size - self.random.choice([GRANULE, 20 * GRANULE]))
        self.resize(size)
        self.seen["made smaller and grown"] += 1
        self.note("shrunk")
        self.cut()

    def overlay(self):
        if not self.quiet() or self.drive.format != "qcow2":
            return
        path, node = self.qemu.folder / "ov", self.node()
        tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", self.qemu.path("a"),
                   "-F", "qcow2", path, self.size()])
        self.qemu.ask("blockdev-add", driver="qcow2", backing=None, discard="unmap",
                      file={"driver": "file", "filename": str(path), "discard": "unmap"},
                      **{"node-name": "ov"})
        self.qemu.ask("blockdev-snapshot", node=node, overlay="ov")
        self.change()
        self.qemu.ask("block-commit", device="ov", **{"job-id": "cj", "auto-dismiss": False})
        for wanted, act in (("ready", "job-complete"), ("concluded", "job-dismiss")):
            while [j["status"] for j in self.qemu.ask("query-jobs")
                   if j["id"] == "cj"] != [wanted]:
                pass
            self.qemu.ask(act, id="cj")
        self.qemu.ask("blockdev-del", **{"node-name": "ov"})
        path.unlink()
        self.seen["overlay and commit"] += 1
        self.note("overlay")

    def note(self, event):
        for past in self.sound.values():
            past.add(event)

    def end(self):
        self.qemu.restart()
        self.seen["end of QEMU"] += 1
        self.note("ended")
        if self.drive.format == "raw":
            self.sound.clear()
        self.stored = set(self.sound)

    def kill(self):
        if self.random.random() < 0.6:
            self.end()
        self.qemu.restart(cleanly=False)
        self.seen["kill of QEMU"] += 1
        for name in list(self.sound):
            if name in self.stored:
                self.sound[name].add("killed")
            else:
                del self.sound[name]
        self.cut()

    # ---- what is done with points ----

    def cut(self):
        self.n += 1
        name, mechanism = f"s{self.n}", self.random.choice(["fleece", "cbw"])
        keys = {"quiesce": "pause"} if mechanism == "cbw" else {}
        if self.random.random() < 0.3:
            keys["consumer"] = "other"
            self.seen["two consumers"] += 1
        self.seen["cut with data of another there"] += not self.quiet()
        try:
            self.driver.create(name, mechanism=mechanism, **keys)
        except Failed as failure:  # a filter over a backup job's
            assert failure.code == bed.BUSY and mechanism == "cbw", failure
            self.seen["cbw over fleece: refused"] += 1
            return
        self.seen[f"cut: {mechanism}"] += 1
        self.images[name] = self.qemu.contents("a")
        self.sound[name] = set()
        self.change()
        self.judge()

    def judge(self):
        points = self.driver.list()
        if sorted(p.name for p in points) != sorted(self.sound):
            self.faults.append(f"points {[p.name for p in points]}, not {sorted(self.sound)}")
        for k, new in enumerate(points):
            if new.kind != "snapshot":
                continue
            if self.driver.read(new.name) != self.images[new.name]:
                self.faults.append(f"{new.name} reads as something else")
            for old in points[:k]:
                self.compare(old, new)

    def compare(self, old, new):
        past = self.sound.get(old.name, set())
        try:
            extents = self.driver.diff(old.name, new.name)
        except Failed as failure:
            self.seen["refused: not stored"] += "not stored" in failure.text
            self.seen["refused: made smaller"] += "smaller" in failure.text
            if failure.code != bed.NOT_COMPARABLE or not past & {"killed", "shrunk"}:
                self.faults.append(f"{old.name}..{new.name}: {failure} after {past}")
            return
        self.pairs += 1
        self.seen[f"diff from a {old.kind}"] += 1
        for event, row in (("ended", "an end of QEMU"), ("overlay", "an overlay"),
                           ("grown", "it grew")):
            self.seen[f"diff from before {row}"] += event in past
        self.faults += [f"{old.name}..{new.name}: {fault}" for fault in bed.judge(
            extents, self.images[old.name], self.images[new.name])]

    def pick(self, kind):
        found = [p for p in self.driver.list() if kind in (None, p.kind)]
        return self.random.choice(found) if found else None

    def forget(self):
        """What is there no more, by the driver's own word, is judged in judge()."""
        left = {p.name for p in self.driver.list()}
        for name in set(self.sound) - left:
            del self.sound[name]

    def ack(self):
        point = self.pick("snapshot")
        if point:
            self.driver.ack(point.name)
            self.seen["ack"] += 1
            self.seen["ack of an older one"] += not self.quiet()
            assert point.name in {p.name for p in self.driver.list()}
            self.forget()

    def failed_ack(self):
        point = self.pick("snapshot")
        if point:
            self.driver.ack(point.name, failed=True)
            self.seen["failed ack"] += 1
            self.sound.pop(point.name, None)

    def delete(self):
        point = self.pick(None)
        if point:
            self.driver.delete(point.name)
            self.seen["delete"] += 1
            self.sound.pop(point.name, None)

    # ---- a history ----

    def run(self, steps):
        moves = [(self.change, 5), (self.cut, 6), (self.ack, 5), (self.failed_ack, 1),
                 (self.delete, 1), (self.end, 1), (self.kill, 0.6), (self.grow, 1),
                 (self.shrink, 0.8), (self.overlay, 1)]
        with self.qemu:
            for _ in range(steps):
                self.random.choices(*zip(*moves))[0]()
                if self.faults:
                    break
            self.cut()
            for point in self.driver.list():
                self.driver.delete(point.name)
            left = self.qemu.traces()
            if left:
                self.faults.append(f"left: {left}")
        return self
