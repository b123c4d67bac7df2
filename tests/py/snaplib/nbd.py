# SPDX-License-Identifier: LGPL-2.1-or-later
"""Serve snapshots with the built plugin, and look at them as clients do."""

import contextlib
import functools
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.parse

import nbd as libnbd

from snaplib import tools

DEADLINE = 30  # seconds; nothing here takes a tenth of it

DATA, HOLE, ZERO = 0, 1, 2


@functools.cache
def sanitizer_libraries():
    """What a program must preload to host a plugin built with sanitizers."""
    lines = subprocess.run(["ldd", tools.plugin()], capture_output=True, text=True).stdout
    return [line.split()[2] for line in lines.splitlines()
            if "=>" in line and line.strip().startswith(("libasan", "libtsan"))]


def environment(**changes):
    """For a program that hosts the plugin."""
    if sanitizer_libraries():
        keep_locale = str(tools.BUILD / ".libs" / "keep-locale.so")
        changes["LD_PRELOAD"] = ":".join([*sanitizer_libraries(), keep_locale])
    return dict(os.environ, **changes)


def uri(socket, export=""):
    return (f"nbd+unix:///{urllib.parse.quote(export, safe='')}"
            f"?socket={urllib.parse.quote(str(socket))}")


class Server:
    """nbdkit with the plugin, in the foreground, on a socket of its own."""

    def __init__(self, *arguments, options=(), env={}, state=True):
        self.folder = tempfile.TemporaryDirectory(prefix="nbdsnap-")
        folder = pathlib.Path(self.folder.name)
        self.socket = folder / "socket"
        self.log = folder / "log"
        pid_file = folder / "pid"
        command = ["nbdkit", "-f", "-U", self.socket, "-P", pid_file, *options,
                   tools.plugin().resolve(), *arguments]
        if state:
            command.append(f"state-dir={folder / 'state'}")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stderr=log,
                stdin=subprocess.DEVNULL, env=environment(**env))
        self.wait_for(pid_file)

    def wait_for(self, pid_file):
        end = time.monotonic() + DEADLINE
        while not pid_file.exists():
            if self.process.poll() is not None:
                raise RuntimeError(self.messages())
            if time.monotonic() > end:
                self.process.kill()
                raise TimeoutError(self.messages())
            time.sleep(0.005)

    def messages(self):
        return self.log.read_text(errors="surrogateescape")

    def uri(self, export=""):
        return uri(self.socket, export)

    @contextlib.contextmanager
    def connect(self, export=""):
        """A libnbd handle that sends what it is told, sensible or not."""
        handle = libnbd.NBD()
        handle.add_meta_context(libnbd.CONTEXT_BASE_ALLOCATION)
        handle.set_export_name(export)
        handle.set_strict_mode(0)
        handle.set_full_info(True)
        handle.connect_unix(str(self.socket))
        try:
            yield handle
        finally:
            # nbdkit does not end before its clients; this one may be cut off.
            with contextlib.suppress(libnbd.Error):
                handle.shutdown()

    def children(self):
        """Pids of the processes that the server started and that run."""
        found = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
        return found

    def stop(self):
        """End the server; it must neither crash nor hang nor leave a child."""
        children = self.children()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            status = self.kill_hung()
        messages = self.messages()
        self.folder.cleanup()
        assert status == 0, (status, messages)
        assert not any(os.path.exists(f"/proc/{pid}") for pid in children)
        return messages

    def kill_hung(self):
        """nbdkit 1.32 itself misses a SIGTERM once in some hundred runs on a
        busy machine.  That is let pass, with a word; anything of ours on a
        stack is not."""
        stacks = subprocess.run(
            ["gdb", "-p", str(self.process.pid), "-batch", "-ex", "thread apply all bt"],
            capture_output=True, text=True).stdout
        self.process.kill()
        self.process.wait()
        assert "#0" in stacks and not any(
            word in stacks for word in ("snap_", "plugin_", "qcow2_")), stacks
        print("TABLE nbdkit missed a SIGTERM; nothing of ours was on its stacks")
        return 0

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.process.kill()
            self.process.wait()
            self.folder.cleanup()


def refused(*arguments):
    """What nbdkit says when it does not start with these."""
    try:
        with Server(*arguments):
            pass
    except RuntimeError as error:
        return str(error)
    raise AssertionError("the server started")


# ---- clients ----

def client(*arguments, check=True, env=None):
    """Run a client program; its standard output, or its result unchecked."""
    result = subprocess.run([str(word) for word in arguments], timeout=DEADLINE,
                            capture_output=True, text=True, env=env)
    if not check:
        return result
    assert result.returncode == 0, (arguments, result.stderr)
    return result.stdout


def block_map(address):
    """[(offset, length, flags)] as nbdinfo sees it."""
    entries = json.loads(client("nbdinfo", "--map", "--json", address))
    return [(e["offset"], e["length"], e["type"]) for e in entries]


def block_status(handle, length, offset, flags=0):
    """[(offset, length, flags)] of one request."""
    found = []

    def collect(_context, at, entries, _error):
        for size, kind in zip(entries[0::2], entries[1::2]):
            found.append((at, size, kind))
            at += size

    handle.block_status(length, offset, collect, flags)
    return found


def exports(server):
    """{name: description} as a client lists them."""
    listed = json.loads(client("nbdinfo", "--list", "--json", server.uri()))
    return {e["export-name"]: e.get("description") for e in listed["exports"]}


def full_copy(address, folder, name="copy.raw"):
    """The bytes of an export, copied by nbdcopy."""
    target = folder / name
    client("nbdcopy", address, target)
    return target.read_bytes()
