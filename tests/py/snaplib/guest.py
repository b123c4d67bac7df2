# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real guest in QEMU, emulated, with a guest agent, and a writer on its disks.

    with Guest([guest_disks.raw(a, 0), guest_disks.qcow2(b, 1)]) as guest:
        before = guest.records()
        ...                             # nbdsnap on guest.qmp_path, agent_path
        guest.assert_runs_and_thawed()

It has two monitors: `qmp_path` is for the programs under test, since a monitor
serves one client; `qmp()` uses the other.  The kernel and the initial RAM disk
are made by tests/guest/build.  Every wait has a deadline, and a failed one
shows what the guest said on its serial line, and what QEMU said.
"""

import ctypes
import fcntl
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from snaplib import qmp, tools

BOOT_TIMEOUT = 300
TIMEOUT = 60
PR_SET_PDEATHSIG = 1

GUEST_SOURCE = tools.TOP / "tests" / "guest"
GUEST_BUILD = tools.BUILD / "tests" / "guest"

COMMAND_LINE = ("console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off "
                # A guest that gets little of the host's time is not broken.
                "no_timer_check tsc=reliable nowatchdog rcupdate.rcu_cpu_stall_suppress=1")


# ---- what it boots ----

def _is_built():
    made = GUEST_BUILD / "initrd"
    return made.exists() and all(
        made.stat().st_mtime >= path.stat().st_mtime for path in GUEST_SOURCE.iterdir()
        if path.name in ("build", "init", "fsfreeze-hook", "writer.c"))


def build():
    """Make the guest if `make` has not: once, whoever else wants it."""
    tools.require("qemu-system-x86_64")
    if _is_built():
        return
    if not os.access(tools.BUILD, os.W_OK):
        tools.missing(f"{GUEST_BUILD}/initrd is not built: run make check there")
    GUEST_BUILD.mkdir(parents=True, exist_ok=True)
    with open(GUEST_BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_built():
            return
        made = subprocess.run([GUEST_SOURCE / "build", GUEST_BUILD], timeout=600,
                              capture_output=True, text=True)
        if made.returncode != 0:
            tools.missing(f"the guest cannot be built: {made.stdout}{made.stderr}")


# ---- QEMU ----

def _drain(connection):
    """The log has it all already; what nobody reads would hold up the guest."""
    try:
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass



def _socket(name, path, more=""):
    return ["-chardev", f"socket,id={name},path={path},server=on,wait=off{more}"]


def _disk_arguments(disk, letter):
    """Nodes fmt-a and prot-a and the device va; of an old -drive, its id va."""
    file = f"file.driver={'host_device' if disk.path.startswith('/dev/') else 'file'}"
    node = (f"driver={disk.format},node-name=fmt-{letter},{file},"
            f"file.filename={disk.path},file.node-name=prot-{letter},"
            "discard=unmap,file.discard=unmap")
    if disk.device == "drive":
        return ["-drive", f"if=none,id=v{letter},format={disk.format},file={disk.path}",
                "-device", f"virtio-blk-pci,drive=v{letter}"]
    device = {"virtio-blk": "virtio-blk-pci", "virtio-scsi": "scsi-hd"}[disk.device]
    return ["-blockdev", node, "-device", f"{device},drive=fmt-{letter},id=v{letter}"]


def _short_folder():
    """The path of a Unix socket in it must fit into 107 bytes."""
    folder = tempfile.mkdtemp(prefix="guest-")
    if len(folder) > 90:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="guest-", dir="/tmp")
    return pathlib.Path(folder)


class Guest:
    def __init__(self, disks, *, writer=True, agent=True, delay_us=1000, memory=192,
                 append="", options=()):
        """`delay_us` is how long the writer rests after each record; `append`
        goes to the kernel's command line and `options` to QEMU's."""
        self.disks, self.has_writer, self.has_agent = disks, writer, agent
        self.memory, self.options = memory, list(options)
        self.append = " ".join([COMMAND_LINE, f"ndisks={len(disks)} wrdelay={delay_us}",
                                "" if writer else "nowriter", "" if agent else "noagent",
                                append])
        self.folder = _short_folder()
        self.qmp_path, self.agent_path = self.folder / "qmp", self.folder / "agent"
        self.process = self.monitor = self.serial = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    # ---- its life ----

    def command(self):
        disks = [word for number, disk in enumerate(self.disks)
                 for word in _disk_arguments(disk, "abcdefghijklmnop"[number])]
        folder = self.folder
        return ["qemu-system-x86_64", "-name", "guest", "-machine", "q35",
                "-accel", "tcg", "-cpu", "max", "-m", str(self.memory), "-nodefaults",
                "-display", "none", "-no-user-config",
                "-kernel", GUEST_BUILD / "kernel", "-initrd", GUEST_BUILD / "initrd",
                "-append", self.append,
                *_socket("serial", folder / "serial", f",logfile={folder}/serial.log"),
                "-serial", "chardev:serial",
                *_socket("qmp0", self.qmp_path), "-mon", "chardev=qmp0,mode=control",
                *_socket("qmp1", folder / "qmp2"), "-mon", "chardev=qmp1,mode=control",
                "-device", "virtio-serial-pci", *_socket("qga0", self.agent_path), "-device",
                "virtserialport,id=qgaport,chardev=qga0,name=org.qemu.guest_agent.0",
                "-device", "virtio-scsi-pci,id=scsi", *disks, *self.options]

    def start(self):
        """Boot it, the first time or after it has ended."""
        build()
        libc = ctypes.CDLL(None)
        with open(self.folder / "stderr", "ab") as stderr:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        self._wait("QEMU's sockets", lambda: (self.folder / "qmp2").exists())
        try:
            self.monitor = qmp.Monitor(self.folder / "qmp2")
        except (EOFError, OSError) as gone:
            self._wait(f"its greeting: {gone}", lambda: False, timeout=1)
        self.serial = socket.socket(socket.AF_UNIX)
        self.serial.connect(str(self.folder / "serial"))
        threading.Thread(target=_drain, args=(self.serial,), daemon=True).start()
        self.wait_until_booted(0)

    def wait_until_booted(self, since):
        self.wait_serial("BOOTED", since, BOOT_TIMEOUT)
        if self.has_writer:
            self.wait_serial("WRITER AT", since, BOOT_TIMEOUT)

    def reset(self):
        """As by its reset button; returns when it has booted again."""
        since = len(self.log())
        self.qmp("system_reset")
        self.wait_until_booted(since)

    def power_down(self):
        """Unmount all, and end QEMU from within."""
        self._say("killall writer; umount -a -r; poweroff -f")
        self._wait("the guest's end", lambda: self.process.poll() is not None, dead=True)
        self._let_go()

    def kill(self):
        """SIGKILL to QEMU."""
        self.process.kill()
        self.process.wait()
        self._let_go()

    def pause_process(self):
        """QEMU itself stands still, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def continue_process(self):
        self.process.send_signal(signal.SIGCONT)

    def _let_go(self):
        if self.monitor:
            self.monitor.close()
        if self.serial:
            self.serial.close()
        self.monitor = self.serial = None
        for name in ("qmp", "qmp2", "agent", "serial"):
            (self.folder / name).unlink(missing_ok=True)

    def close(self):
        if self.process:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- waiting ----

    def log(self):
        """All that the guest said on its serial line since QEMU began."""
        try:
            return (self.folder / "serial.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def fail(self, reason):
        log = re.sub(r"(WRITER (AT|GAP) .*\n)+(?=WRITER AT)", "…\n", self.log())
        said = (self.folder / "stderr").read_text(errors="replace")
        raise AssertionError(f"{reason}\n---- the end of the guest's serial line\n"
                             f"{log[-3000:]}\n---- QEMU's stderr\n{said[-2000:]}")

    def _wait(self, what, done, timeout=TIMEOUT, dead=False):
        end = time.monotonic() + timeout
        while not (result := done()):
            if not dead and self.process.poll() is not None:
                self.fail(f"QEMU ended ({self.process.returncode}) before {what}")
            if time.monotonic() > end:
                self.fail(f"no {what} within {timeout} s")
            time.sleep(0.02)
        return result

    def wait_serial(self, pattern, since=0, timeout=TIMEOUT):
        """The first match from place `since` of log() on."""
        return self._wait(f"{pattern!r} on the serial line",
                          lambda: re.search(pattern, self.log()[since:]), timeout)

    # ---- the guest's own view ----

    def _say(self, line):
        self.serial.sendall(line.encode() + b"\n")

    def shell(self, command, timeout=TIMEOUT):
        """Run it in the guest's shell: (exit status, what it printed, with what
        others said meanwhile)."""
        since, mark = len(self.log()), f"done-{time.monotonic_ns()}"
        self._say(f"{{ {command}; }}; echo {mark}=$?=")
        self.wait_serial(rf"{mark}=\d+=", since, timeout)
        text, status = re.search(rf"(?s)(.*){mark}=(\d+)=", self.log()[since:]).groups()
        return int(status), text

    def records(self):
        """The newest record that the writer has told of; it is on all disks."""
        return max(map(int, re.findall(r"WRITER (?:READY|AT) (\d+)\r?\n", self.log())),
                   default=0)

    def wait_for_records(self, more=1, timeout=TIMEOUT):
        """Until the writer has told of so many more than now."""
        wanted = self.records() + more
        self._wait(f"record {wanted} from the writer", lambda: self.records() >= wanted,
                   timeout)
        return self.records()

    # ---- its agent ----

    def _signal_agent(self, name):
        status, text = self.shell(f"kill -{name} $(pidof qemu-ga)")
        assert status == 0, text

    def stop_agent(self):
        """It hangs until continue_agent()."""
        self._signal_agent("STOP")

    def continue_agent(self):
        self._signal_agent("CONT")

    def kill_agent(self):
        self._signal_agent("KILL")

    def start_agent(self):
        status, text = self.shell("/init start-agent")
        assert status == 0, text

    def agent(self, command, **arguments):
        """One command, on a connection of its own: only while nobody else has
        one."""
        with qmp.Agent(self.agent_path) as agent:
            return agent.execute(command, **arguments)

    # ---- its monitor ----

    def qmp(self, command, **arguments):
        """One command on the second monitor."""
        return self.monitor.execute(command, **arguments)

    def status(self):
        return self.qmp("query-status")["status"]

    def is_thawed(self):
        return self.agent("guest-fsfreeze-status") == "thawed"

    def assert_runs(self):
        """It runs, and its writer gets on."""
        if self.status() != "running":
            self.fail(f"the guest is {self.status()}")
        if self.has_writer:
            self.wait_for_records()

    def assert_runs_and_thawed(self):
        self.assert_runs()
        if not self.is_thawed():
            self.fail("the guest is frozen")
