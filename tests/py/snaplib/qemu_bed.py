# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU whose guest never runs: its disks are written to through its monitor,
as a device would, and read behind its back.  And the driver under test."""

import collections
import os
import pathlib
import socket
import subprocess
import time

from snaplib import qmp, tools

GRANULE = 65536
Drive = collections.namedtuple("Drive", "name format device old_style", defaults=(
    "qcow2", "virtio-blk", False))
# What the driver's errors end with: SnapError + 10.
(FAILED, USAGE, NOT_FOUND, EXISTS, BUSY, NOT_COMPARABLE, UNSUPPORTED, CORRUPT, IO,
 NO_SPACE) = range(10, 20)


class Qemu:
    """Disks are called by their names; `more` goes to the command line."""

    def __init__(self, folder, drives, size=4 << 20, more=(), scsi=None):
        tools.require("qemu-system-x86_64", "qemu-img")
        self.folder, self.drives = pathlib.Path(folder), drives
        self.more = [*more, "-device", ",".join(filter(None, ["virtio-scsi-pci,id=scsi", scsi]))]
        self.socket, self.process = self.folder / "qmp", None
        self.folder.mkdir(parents=True, exist_ok=True)
        for drive in drives:
            tools.run(["qemu-img", "create", "-q", "-f", drive.format,
                       self.path(drive.name), size])
        self.start()

    def path(self, name):
        return self.folder / f"{name}.img"

    def arguments(self, drive):
        path, name = self.path(drive.name), drive.name
        if drive.old_style:
            source, block = f"d-{name}", ["-drive", (
                f"if=none,id=d-{name},format={drive.format},file={path},discard=unmap")]
        else:
            source, block = f"fmt-{name}", ["-blockdev", (
                f"driver={drive.format},node-name=fmt-{name},discard=unmap,"
                f"file.driver=file,file.discard=unmap,file.filename={path}")]
        device = {"virtio-blk": "virtio-blk-pci", "virtio-scsi": "scsi-hd,bus=scsi.0",
                  "ide": "ide-hd"}[drive.device]
        return [*block, "-device", f"{device},drive={source},id={name}"]

    def start(self):
        command = ["qemu-system-x86_64", "-S", "-nodefaults", "-no-user-config",
                   "-display", "none", "-machine", "q35", "-accel", "tcg", "-m", "16"]
        for number, path in enumerate((self.socket, self.folder / "qmp-test")):
            path.unlink(missing_ok=True)
            command += ["-chardev", f"socket,id=m{number},path={path},server=on,wait=off",
                        "-mon", f"chardev=m{number},mode=control"]
        command += self.more
        for drive in self.drives:
            command += self.arguments(drive)
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen([str(w) for w in command], stdout=self.log,
                                        stderr=self.log, stdin=subprocess.DEVNULL)
        self.monitor = self._connect(self.folder / "qmp-test")
        self._wait_for(self.socket)

    def _wait_for(self, path):
        deadline = time.monotonic() + 60
        while not path.exists():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, f"{path} does not appear"
            time.sleep(0.02)

    def _connect(self, path):
        self._wait_for(path)
        deadline = time.monotonic() + 60
        while True:
            try:
                return qmp.Monitor(path)
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def ask(self, command, **arguments):
        return self.monitor.execute(command, **arguments)

    def io(self, name, command):
        """A qemu-io command on the disk as its device has it."""
        drive = next(d for d in self.drives if d.name == name)
        path = (f"/machine/peripheral/{name}/virtio-backend"
                if drive.device == "virtio-blk" else name)
        reply = self.ask("human-monitor-command",
                         **{"command-line": f'qemu-io -d {path} "{command}"'})
        assert not reply.strip(), f"{command}: {reply}"

    def write(self, name, offset, length, byte):
        self.io(name, f"write -P {byte} {offset} {length}")

    def contents(self, name):
        """All bytes, read from the file behind QEMU's back, where all of it is
        after a flush and nothing writes."""
        self.io(name, "flush")
        drive = next(d for d in self.drives if d.name == name)
        raw = self.folder / "contents"
        tools.run(["qemu-img", "convert", "-U", "-f", drive.format, "-O", "raw",
                   self.path(name), raw])
        return raw.read_bytes()

    def nodes(self):
        return {n["node-name"]: n for n in self.ask("query-named-block-nodes", flat=True)}

    def top(self, name):
        for block in self.ask("query-block"):
            if name in (block.get("qdev") or "").split("/") and "inserted" in block:
                return block["inserted"]["node-name"]
        raise KeyError(name)

    def bitmaps(self, name):
        """Of the format node."""
        for node in self.nodes().values():
            if node["file"] == str(self.path(name)) and node["drv"] in ("qcow2", "raw"):
                return {b["name"]: b for b in node.get("dirty-bitmaps", []) if b.get("name")}
        raise KeyError(name)

    def traces(self):
        """Everything of the driver's, wherever it is."""
        found = [n for n in self.nodes() if n.startswith("ns-")]
        found += [j["id"] for j in self.ask("query-jobs")]
        found += [e["id"] for e in self.ask("query-block-exports")]
        for node in self.nodes().values():
            found += [b["name"] for b in node.get("dirty-bitmaps", [])
                      if "nbdsnap-" in b.get("name", "")]
        found += [p.name for p in self.folder.iterdir() if "nbdsnap" in p.name]
        found += self.deleted_files()
        return sorted(found)

    def deleted_files(self):
        """Files without a name that take room."""
        for fd in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                target, blocks = os.readlink(fd), fd.stat().st_blocks
            except OSError:
                continue
            if target.endswith("(deleted)") and "/#" in target and blocks:
                yield target

    def quit(self):
        self.ask("quit")
        self.process.wait(60)
        self.monitor.close()

    def kill(self):
        self.process.kill()
        self.process.wait(60)
        self.monitor.close()

    def restart(self, cleanly=True):
        self.quit() if cleanly else self.kill()
        self.start()

    def close(self):
        if self.process.poll() is None:
            self.kill()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Failed(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


Point = collections.namedtuple("Point", "name kind id size")


class Driver:
    """The ops, each in a process of its own."""

    def __init__(self, qemu, devices, program=None):
        self.qemu, self.devices = qemu, devices
        self.program = program or tools.BUILD / "tests/fakes/drive-qemu"
        self.n_sets = 0

    def run(self, *words, devices=None, **keys):
        command = [self.program, self.qemu.socket, devices or self.devices, *words,
                   *(f"{key}={value}" for key, value in keys.items())]
        result = subprocess.run([str(w) for w in command], capture_output=True, text=True,
                                timeout=120)
        if result.returncode != 0:
            raise Failed(result.returncode, result.stderr.strip())
        return result.stdout

    def create(self, name, **keys):
        """The records of the set."""
        self.n_sets += 1
        set_id = f"{os.getpid():08x}{self.n_sets:08x}"
        return self.run("create", name, set_id, **keys).splitlines()

    def list(self, device=None):
        lines = self.run("list", devices=device).splitlines()
        return [Point(n, k, i, int(s)) for n, k, i, s in (line.split() for line in lines)]

    def diff(self, old, new, device=None):
        """Extents (offset, length, is zero)."""
        lines = self.run("diff", old, new, devices=device).splitlines()
        assert lines[-1] == f"end {GRANULE}", lines[-1]
        return [(int(o), int(n), z == "z") for o, n, z in (l.split() for l in lines[:-1])]

    def read(self, point, device=None):
        path = self.qemu.folder / "read"
        self.run("read", point, path, devices=device)
        return path.read_bytes()

    def ack(self, point, failed=False):
        self.run("ack", point, *(["failed"] if failed else []))

    def delete(self, point):
        self.run("delete", point)

    def recover(self, records, action="abort"):
        for record in records:
            self.run("recover", action, record)


def changed_granules(before, after):
    return {at // GRANULE for at in range(0, len(after), GRANULE)
            if before[at:at + GRANULE] != after[at:at + GRANULE]
            or at + len(after[at:at + GRANULE]) > len(before)}


def dirty_granules(extents):
    return {g for offset, length, _ in extents
            for g in range(offset // GRANULE, -(-(offset + length) // GRANULE))}


def judge(extents, before, after):
    """Faults of a diff: what it missed, what it called zero and is not."""
    faults = [f"missed granule {g}" for g in
              sorted(changed_granules(before, after) - dirty_granules(extents))]
    end = 0
    for offset, length, zero in extents:
        if offset < end or length <= 0 or offset + length > len(after):
            faults.append(f"extent {offset} {length} out of order or range")
        end = offset + length
        if zero and any(after[offset:end]):
            faults.append(f"extent {offset} {length} is not zero")
    return faults


def peer_socket(path):
    """A client that sits on a monitor."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client
