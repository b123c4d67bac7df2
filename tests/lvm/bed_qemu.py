# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bed in QEMU: Debian's kernel, with the host's root by virtiofs.

With KVM where there is one.  Without it a process starts in a fifth of the time
that user-mode-linux needs where page faults are dear, as in virtual machines.
The kernel is the one that tests/guest/build unpacks.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
GUEST = HERE.parent / "guest"
VIRTIOFSD = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")

# In this order: each after those that it needs.
DRIVERS = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
           "fuse", "virtiofs", "loop", "crc32c-intel", "libcrc32c", "dm-mod", "dm-bufio",
           "dm-bio-prison", "dm-persistent-data", "dm-thin-pool", "dm-snapshot")

# The first process of the initial RAM disk: the host's root, and on from there.
INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do
    $b insmod "/modules/$module" || echo "guest: no $module"
done </modules/order
$b mount -t virtiofs -o ro root /host
$b mount -t devtmpfs devtmpfs /host/dev
$b umount /proc /dev
exec $b switch_root /host "$NBDSNAP_SCRATCH/init"
"""


def virtiofsd():
    return next((path for path in VIRTIOFSD if os.access(path, os.X_OK)), None)


def is_there():
    """virtiofsd shows the whole root only to root."""
    return bool(os.geteuid() == 0 and virtiofsd() and shutil.which("qemu-system-x86_64")
                and shutil.which("apt-get") and shutil.which("cpio"))


# ---- what it boots ----

def make_guest(build):
    """The folder with the kernel and its drivers; None if it cannot be made."""
    folder = build / "tests" / "guest"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "packages" / "complete").exists():
            made = subprocess.run([GUEST / "build", folder], capture_output=True, text=True)
            if made.returncode != 0:
                print(f"run: {made.stdout}{made.stderr}")
                return None
    return folder


def drivers(packages):
    found = {file.stem: file for file in (packages / "lib" / "modules").glob("**/*.ko")}
    return [found[driver] for driver in DRIVERS]


def make_initrd(guest, scratch):
    root = scratch / "root"
    for folder in ("bin", "dev", "host", "modules", "proc"):
        (root / folder).mkdir(parents=True)
    shutil.copy(guest / "packages" / "bin" / "busybox", root / "bin")
    files = drivers(guest / "packages")
    for file in files:
        shutil.copy(file, root / "modules")
    (root / "modules" / "order").write_text("".join(f"{file.name}\n" for file in files))
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    subprocess.run("find . | cpio -o -H newc --quiet -R 0:0 >../initrd", shell=True, cwd=root,
                   check=True)
    shutil.rmtree(root)
    return scratch / "initrd"


# ---- what it sees of the host ----

def share(source, socket, options, start):
    """A virtiofsd for a folder."""
    log = open(f"{socket}.log", "wb")
    process = start([virtiofsd(), f"--socket-path={socket}", "-o", f"source={source}", "-o",
                     options, "-o", "sandbox=chroot", "--thread-pool-size=1"],
                    stdout=log, stderr=log)
    end = time.monotonic() + 60
    while not os.path.exists(socket):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(pathlib.Path(f"{socket}.log").read_text(errors="replace"))
        time.sleep(0.05)
    return process


def accelerator():
    return "kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg"


def command(guest, scratch, memory, shell):
    accel = accelerator()
    kernel = ("console=ttyS0 quiet panic=-1 mitigations=off nopti nokaslr random.trust_cpu=on "
              # Who gets little of the host's time is not broken.
              "norandmaps no_timer_check tsc=reliable nowatchdog rcupdate.rcu_cpu_stall_suppress=1 "
              f"NBDSNAP_SCRATCH={scratch}")
    shares = [word for name in ("root", "scratch") for word in (
        "-chardev", f"socket,id={name},path={scratch}/{name}.sock",
        "-device", f"vhost-user-fs-pci,chardev={name},tag={name}")]
    serial = (["-serial", "mon:stdio"] if shell else
              ["-serial", f"file:{scratch}/console", "-serial", "stdio", "-monitor", "none"])
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-machine", f"q35,accel={accel}",
            "-cpu", "host" if accel == "kvm" else "max", "-smp", "1", "-m", memory,
            "-object", f"memory-backend-memfd,id=memory,size={memory},share=on",
            "-numa", "node,memdev=memory", *shares, *serial,
            "-kernel", str(guest / "kernel"), "-initrd", str(scratch / "initrd"),
            "-append", kernel]


def prepare(build, scratch, memory, shell, start):
    """The command that boots it, whose servers were started by start(); None
    if there is nothing to boot."""
    guest = make_guest(build)
    if guest is None:
        return None
    make_initrd(guest, scratch)
    share("/", f"{scratch}/root.sock", "cache=always", start)
    share(scratch, f"{scratch}/scratch.sock", "cache=none", start)
    return command(guest, scratch, memory, shell)
