# SPDX-License-Identifier: LGPL-2.1-or-later
"""A libvirtd of our own, and the test guest as a domain of it.

It runs in this process's mount namespace with folders of its own in the place of
the machine's, so that it finds nothing that is there and leaves nothing.
"""

import json
import os
import pathlib
import signal
import subprocess
import time
import xml.sax.saxutils as saxutils

from snaplib import filesystems, guest, guest_sets, tools

HIDDEN = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt",
          "/run/libvirt")

DAEMON = """unix_sock_dir = "{folder}/sock"
auth_unix_ro = "none"
auth_unix_rw = "none"
"""
# The files are this user's, and there is nobody to confine QEMU for.
DRIVER = """user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
"""

DOMAIN = """<domain type='qemu'>
 <name>{name}</name><memory unit='MiB'>192</memory><vcpu>1</vcpu>
 <os><type machine='q35'>hvm</type><kernel>{build}/kernel</kernel>
  <initrd>{build}/initrd</initrd><cmdline>{append}</cmdline></os>
 <cpu mode='maximum'/><on_reboot>destroy</on_reboot>
 <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
  {disks}
  <serial type='file'><source path='{log}'/><target port='0'/></serial>
  <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  <memballoon model='none'/></devices></domain>
"""
DISK = """<disk type='file' device='disk'><driver name='qemu' type='{disk.format}'/>
 <source file='{disk.path}'/><target dev='{dev}' bus='virtio'/></disk>"""


def require():
    tools.require_root()
    tools.require("libvirtd", "virsh", "qemu-system-x86_64")


class Libvirtd:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.process = None
        filesystems._enter_private_namespace()
        for path in HIDDEN:
            ours = self.folder / "hidden" / path.lstrip("/")
            ours.mkdir(parents=True)
            os.makedirs(path, exist_ok=True)
            tools.run(["mount", "--bind", ours, path])
        (self.folder / "libvirtd.conf").write_text(DAEMON.format(folder=self.folder))
        pathlib.Path("/etc/libvirt/qemu.conf").write_text(DRIVER)
        (self.folder / "sock").mkdir()
        self.uri = f"qemu:///system?socket={self.folder}/sock/libvirt-sock"
        self.start()

    def start(self):
        with open(self.folder / "libvirtd.log", "ab") as log:
            self.process = subprocess.Popen(
                ["libvirtd", "-f", self.folder / "libvirtd.conf", "-p",
                 self.folder / "pid"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + guest.TIMEOUT
        while self.virsh("version", check=False) is None:
            assert self.process.poll() is None and time.monotonic() < end, \
                (self.folder / "libvirtd.log").read_text()
            time.sleep(0.1)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(guest.TIMEOUT)
        for path in HIDDEN:
            subprocess.run(["umount", "-l", path], check=False)

    def virsh(self, *words, check=True):
        """What it prints, or None."""
        result = subprocess.run(["virsh", "-q", "-c", self.uri, *map(str, words)],
                                capture_output=True, text=True, timeout=120)
        if check:
            assert result.returncode == 0, result.stderr
        return result.stdout.strip() if result.returncode == 0 else None


class DomainGuest(guest.Guest):
    """The same guest, started and stopped by libvirt."""

    name = "guest of libvirt's"

    def __init__(self, libvirtd, disks, **options):
        super().__init__(disks, **options)
        self.libvirtd, self.reaper = libvirtd, None

    def xml(self):
        disks = [DISK.format(disk=disk, dev="vd" + "abcdefgh"[number])
                 for number, disk in enumerate(self.disks)]
        return DOMAIN.format(
            name=saxutils.escape(self.name), build=guest.GUEST_BUILD.resolve(),
            append=self.append, disks="\n".join(disks), log=self.folder / "serial.log")

    def start(self):
        guest.build()
        (self.folder / "stderr").touch()
        path = self.folder / "domain.xml"
        path.write_text(self.xml())
        self.libvirtd.virsh("create", path)
        self.process = self.libvirtd.process
        self.end_with_us()
        self.wait_until_booted(0)

    def find_process(self):
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if str(self.disks[0].path) in path.read_text(errors="replace"):
                    return int(path.parent.name)
            except OSError:
                continue
        raise AssertionError("QEMU's process is not found")

    def end_with_us(self):
        """QEMU is nobody's child.  What reads from us sees when we are gone."""
        pid = self.find_process()
        self.reaper = subprocess.Popen(["sh", "-c", f"read line || kill -9 {pid}"],
                                       stdin=subprocess.PIPE)

    def close(self):
        self.libvirtd.virsh("destroy", self.name, check=False)
        self.process = None
        if self.reaper:
            self.reaper.communicate(b"over\n")
        super().close()

    def status(self):
        return self.libvirtd.virsh("domstate", self.name)

    def agent(self, command, **arguments):
        line = json.dumps({"execute": command})
        return json.loads(self.libvirtd.virsh("qemu-agent-command", self.name, line))["return"]


class DomainSets(guest_sets.Sets):
    def create_command(self, name, *options, quiesce="agent"):
        return ["create", "--domain", self.guest.name, "--connect",
                self.guest.libvirtd.uri, f"--quiesce={quiesce}", "-n", name, *options]
