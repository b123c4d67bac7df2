# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading a snapshot through `nbdsnap serve`, against the servers that one would
use otherwise on the same bytes, and against the limit of any: a loop of
sendfile() with a receiver that does nothing else.

All of a row run in turns, each first in another round; a ratio is the median of
the ratios of the rounds."""

import contextlib
import os
import re
import socket
import subprocess
import time

import benchlib
import files
import make_qcow2
from benchlib import BUILD, median, words

MIB = 1 << 20
PULL = BUILD / "tests" / "bench" / "pull"
IDLE_CLIENTS = 1000


# ---- servers ----

class Server:
    """A server under `measure`; @command has "ADDRESS" where it listens."""

    def __init__(self, folder, kind, command):
        self.folder, self.kind = folder, kind
        self.socket, self.result = folder / "socket", folder / "server-usage"
        self.socket.unlink(missing_ok=True)
        self.port = free_port() if kind == "tcp" else None
        command = [word for part in command(self) for word in words(part)]
        self.log = folder / "server-log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(words([benchlib.MEASURE, self.result, *command]),
                                            stdout=log, stderr=log)
        self.wait()

    def where(self):
        return self.port if self.kind == "tcp" else self.socket

    def uri(self, export=""):
        if self.kind == "tcp":
            return f"nbd://127.0.0.1:{self.port}/{export}"
        return f"nbd+unix:///{export}?socket={self.socket}"

    def connect(self):
        if self.kind == "tcp":
            return socket.create_connection(("127.0.0.1", self.port))
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(self.socket))
        return peer

    def wait(self):
        for _ in range(3000):
            with contextlib.suppress(OSError):
                self.connect().close()
                return
            if self.process.poll() is not None:
                raise SystemExit(f"bench: a server did not start: {self.log.read_text()}")
            time.sleep(0.005)
        raise SystemExit("bench: a server did not listen")

    def pid(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return int(open(path).read().split()[0])

    def stop(self):
        os.kill(self.pid(), 15)
        self.process.wait(60)
        return benchlib.Usage(self.result)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(state, reference, *options):
    def command(server):
        at = f"tcp:127.0.0.1:{server.port}" if server.kind == "tcp" else f"unix:{server.socket}"
        yield [benchlib.NBDSNAP, f"--state-dir={state}", "-q", "serve", *options,
               f"--listen={at}", reference]
    return command


def nbdkit(*arguments):
    def command(server):
        at = ["-i", "127.0.0.1", "-p", server.port] if server.kind == "tcp" else [
            "-U", server.socket]
        yield ["nbdkit", "-f", *at, *arguments]
    return command


def qemu_nbd(cache, *arguments):
    def command(server):
        at = ["-b", "127.0.0.1", "-p", server.port] if server.kind == "tcp" else [
            "-k", server.socket]
        yield ["qemu-nbd", "-r", "-t", "-e", "16", *cache, *at, *arguments]
    return command


QEMU_CACHES = (["--cache=writeback"], ["--cache=none", "--aio=native"])


# ---- what is served ----

class Subject:
    """The same bytes for everybody: where each server finds them."""

    def __init__(self, name, path, ours, file, qemu, plugin):
        self.name, self.path = name, path
        self.size = path.stat().st_size
        self.servers = {"nbdsnap": [ours], "nbdkit file": [file],
                        "qemu-nbd": [qemu_nbd(cache, *qemu) for cache in QEMU_CACHES],
                        "nbdkit + plugin": [plugin]}
        self.files = [path]
        self.best_mode = {}         # of qemu-nbd, once it is known: warm and cold


def write_disk(path, size):
    noise = os.urandom(MIB)
    with open(path, "wb") as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "big") + noise[8:])
        os.fsync(file.fileno())


def raw_subject(folder, filesystem, size, name="disk"):
    """A snapshot of a disk file, which is a plain file itself."""
    disk, state = filesystem.path / f"{name}.raw", folder / "state"
    write_disk(disk, size)
    benchlib.measure([benchlib.NBDSNAP, f"--state-dir={state}", "-q", "create", "--force", "-n",
                      "a", disk], folder)
    [clone] = (filesystem.path / ".nbdsnap" / disk.name).glob("a.*")
    return Subject("raw", clone, serve(state, f"{disk}@a"), nbdkit("file", clone),
                   ["-f", "raw", clone],
                   nbdkit(benchlib.PLUGIN, f"state-dir={state}", f"{disk}@a"))


def qcow2_subject(folder, raw):
    """The same in a snapshot of an image; `nbdkit file` has the raw file."""
    image, state = raw.path.parent / "disk.qcow2", folder / "state"
    subprocess.run(words(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o",
                          "preallocation=falloc", raw.path, image]), check=True)
    subprocess.run(words(["qemu-img", "snapshot", "-c", "a", image]), check=True)
    subject = Subject("qcow2", raw.path, serve(state, f"{image}@a"), nbdkit("file", raw.path),
                      ["-f", "qcow2", "-l", "snapshot.name=a", image],
                      nbdkit(benchlib.PLUGIN, f"state-dir={state}", f"{image}@a"))
    subject.files.append(image)
    return subject


# ---- the page cache ----

def warm(paths):
    for path in paths:
        with open(path, "rb") as file:
            while file.read(16 * MIB):
                pass


def cool(paths):
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


# ---- one run ----

def nbdcopy(server, connections):
    return ["nbdcopy", "--no-extents", f"--connections={connections}", server.uri(), "null:"]


def pull(server, connections):
    return [PULL, "nbd", server.where(), connections, ""]


def run(folder, kind, command, client, connections):
    """Seconds of the client, seconds of CPU of the server."""
    server = Server(folder, kind, command)
    try:
        seconds = benchlib.measure(client(server, connections), folder).seconds
        return seconds, server.stop().cpu
    finally:
        if server.process.poll() is None:
            os.kill(server.pid(), 9)
            server.process.wait()


# ---- a row ----

class Row:
    def __init__(self, folder, subject, kind, connections, cold):
        self.folder, self.subject, self.cold = folder, subject, cold
        self.kind, self.connections = kind, connections
        self.results = {}

    def measured(self, command):
        """Everything but the server's own setup is the same each time."""
        (cool if self.cold else warm)(self.subject.files)
        return command()

    def serve(self, command, client):
        return self.measured(lambda: run(self.folder, self.kind, command, client,
                                         self.connections))

    def serve_best(self, commands):
        """Of several modes of a server the faster one, by the first row."""
        modes = self.subject.best_mode
        if self.cold not in modes:
            runs = [self.serve(command, nbdcopy) for command in commands]
            modes[self.cold] = min(range(len(runs)), key=lambda mode: runs[mode][0])
            return runs[modes[self.cold]]
        return self.serve(commands[modes[self.cold]], nbdcopy)

    def plain(self, command):
        return self.measured(lambda: (benchlib.measure(command, self.folder).seconds, 0))

    def contenders(self):
        servers = self.subject.servers
        found = {name: lambda name=name: self.serve(servers[name][0], nbdcopy)
                 for name in ("nbdsnap", "nbdkit file", "nbdkit + plugin")}
        if self.cold:
            found["dd"] = lambda: self.plain(
                ["dd", f"if={self.subject.path}", "of=/dev/null", "bs=1M", "status=none"])
        else:
            found["pull"] = lambda: self.serve(servers["nbdsnap"][0], pull)
            found["bare"] = lambda: self.plain(
                [PULL, "bare", self.kind, self.connections, self.subject.path])
        return found

    def measure(self, rounds):
        """qemu-nbd takes ten times as long as all others: once is enough."""
        contenders = self.contenders()
        names = list(contenders)
        self.results = {name: [] for name in names}
        for number in range(rounds):
            for name in names[number % len(names):] + names[:number % len(names)]:
                self.results[name].append(contenders[name]())
        self.results["qemu-nbd"] = [self.serve_best(self.subject.servers["qemu-nbd"])]

    def ratio(self, above, below, which=0):
        return median(a[which] / b[which] for a, b in
                      zip(self.results[above], self.results[below]))

    def time(self, name, which=0):
        return median(result[which] for result in self.results[name])

    def report(self):
        rounds = len(self.results["nbdsnap"])
        about = (f"{self.subject.name}, {'cold' if self.cold else 'warm'}, "
                 f"{'TCP' if self.kind == 'tcp' else 'Unix'}, "
                 f"{self.connections} connection{'s' if self.connections > 1 else ''}")

        def speed(name):
            return f"{self.subject.size / MIB / self.time(name):.0f} MiB/s"

        def line(other, wanted, mine="nbdsnap", what=""):
            n = len(self.results[other])
            benchlib.row(about + what, speed(mine), f"{speed(other)}: {NAMES[other]}",
                         f"{self.ratio(other, mine):.2f}", wanted,
                         f"{n} round{'s' if n > 1 else ''}")

        line("nbdkit file", "≥ 1.0" if self.cold else "≥ 1.5")
        line("nbdkit + plugin", "")
        line("qemu-nbd", "")
        if self.cold:
            line("dd", "")
            return
        line("bare", "≥ 0.8", "pull", ", client that only takes")
        benchlib.row(f"{about}, CPU of the server", f"{self.time('nbdsnap', 1):.2f} s",
                     f"{self.time('nbdkit file', 1):.2f} s: `nbdkit file`",
                     f"{self.ratio('nbdsnap', 'nbdkit file', 1):.2f}", "≤ 0.33",
                     f"{rounds} rounds")


NAMES = {"nbdkit file": "`nbdkit file`", "nbdkit + plugin": "nbdkit with the plugin",
         "qemu-nbd": "`qemu-nbd`, the faster of two cache modes",
         "dd": "`dd`, one after the other", "bare": "sendfile to the same client"}


def throughput(folder, rounds, size, cold_size):
    """What is cold is smaller, because it takes longer."""
    with files.mounted(folder, "xfs", 2 * (size + cold_size) + 1024 * MIB) as filesystem:
        for cold, n, name in ((False, size, "warm"), (True, cold_size, "cold")):
            raw = raw_subject(folder, filesystem, n, name)
            for subject in (raw, qcow2_subject(folder, raw)):
                for kind in ("unix", "tcp"):
                    for connections in (1, 4):
                        row = Row(folder, subject, kind, connections, cold)
                        row.measure(rounds)
                        row.report()


# ---- status ----

def status(folder, n_extents, runs):
    image = folder / "extents.qcow2"
    size = make_qcow2.alternating(image, n_extents)
    ours = serve(folder / "state", f"{image}@b")
    theirs = nbdkit(benchlib.O1_PLUGIN, f"size={size}")

    def mapped(context):
        return lambda server, _: ["nbdinfo", f"--map={context}", server.uri()]

    pairs = benchlib.alternate(
        lambda: run(folder, "unix", ours, mapped("qemu:dirty-bitmap:a"), 1)[0],
        lambda: run(folder, "unix", theirs, mapped("base:allocation"), 1)[0], runs)
    benchlib.row(f"map of {n_extents} extents, `nbdinfo --map`",
                 f"{median(a for a, _ in pairs):.2f} s",
                 f"{median(b for _, b in pairs):.2f} s: nbdkit with a do-nothing plugin",
                 f"{median(a / b for a, b in pairs):.2f}", "≤ 0.5", f"{runs} pairs")
    image.unlink()


# ---- idle clients ----

def resident_kib(pid):
    text = open(f"/proc/{pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))


def enter(peer):
    """Through the handshake, the short way."""
    peer.recv(18, socket.MSG_WAITALL)
    peer.sendall((3).to_bytes(4, "big") + b"IHAVEOPT" + (1).to_bytes(4, "big")
                 + (0).to_bytes(4, "big"))
    assert len(peer.recv(10, socket.MSG_WAITALL)) == 10


def idle(folder):
    image = folder / "small.qcow2"
    subprocess.run(words(["qemu-img", "create", "-q", "-f", "qcow2", image, "16M"]), check=True)
    subprocess.run(words(["qemu-img", "snapshot", "-c", "a", image]), check=True)
    server = Server(folder, "unix", serve(folder / "state", f"{image}@a"))
    peers = [server.connect() for _ in range(IDLE_CLIENTS)]
    for peer in peers:
        enter(peer)
    mib = resident_kib(server.pid()) / 1024
    for peer in peers:
        peer.close()
    server.stop()
    benchlib.row(f"memory with {IDLE_CLIENTS} idle clients", f"{mib:.1f} MiB", "", "",
                 "≤ 50 MB", 1)


def main():
    benchlib.need("nbdkit", "nbdcopy", "nbdinfo", "qemu-img", "qemu-nbd", "dd", "mkfs.xfs")
    if not files.may_mount():
        return benchlib.skip("serve", "mounting needs root")
    rounds = benchlib.setting("SERVE_ROUNDS", 3)
    size = benchlib.setting("SERVE_MIB", 2048, short=512) * MIB
    cold_size = benchlib.setting("SERVE_COLD_MIB", 512, short=256) * MIB
    with benchlib.scratch() as folder:
        idle(folder)
        status(folder, benchlib.setting("SERVE_EXTENTS", 1 << 20), rounds)
        throughput(folder, rounds, size, cold_size)


if __name__ == "__main__":
    main()
