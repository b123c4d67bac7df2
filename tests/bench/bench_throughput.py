# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading a snapshot through the plugin, against `nbdkit file` with the same
bytes in a raw file: one client, warm page cache, runs in pairs."""

import os
import subprocess

import benchlib

MIB = 1 << 20


def make_images(folder, size):
    """A raw file without holes, and a qcow2 with one snapshot of the same."""
    raw, image = folder / "disk.raw", folder / "disk.qcow2"
    noise = os.urandom(MIB)
    with open(raw, "wb") as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "big") + noise[8:])
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o",
                    "preallocation=falloc", raw, image], check=True)
    subprocess.run(["qemu-img", "snapshot", "-c", "a", image], check=True)
    return raw, image


def client(uri):
    return ["nbdcopy", "--no-extents", uri, "null:"]


def warm_up(*paths):
    for path in paths:
        with open(path, "rb") as file:
            while file.read(16 * MIB):
                pass


def main():
    benchlib.need("nbdkit", "nbdcopy", "qemu-img")
    runs = benchlib.setting("THROUGHPUT_RUNS", 11)
    size = benchlib.setting("THROUGHPUT_MIB", 2048) * MIB
    with benchlib.scratch() as folder:
        raw, image = make_images(folder, size)
        plugin = [benchlib.PLUGIN, f"state-dir={folder / 'state'}", f"{image}@a"]
        warm_up(raw, image)

        def ours():
            return benchlib.timed_client(folder, plugin, client)

        def theirs():
            return benchlib.timed_client(folder, ["file", raw], client)

        ours(), theirs()
        pairs = benchlib.alternate(ours, theirs, runs)
    ratio = benchlib.median(b[0].seconds / a[0].seconds for a, b in pairs)
    mine, other = (benchlib.median(size / MIB / pair[side][0].seconds for pair in pairs)
                   for side in (0, 1))
    benchlib.row(f"full copy of {size // MIB} MiB, `nbdcopy --no-extents` to `null:`",
                 f"{mine:.0f} MiB/s", f"{other:.0f} MiB/s: `nbdkit file`",
                 f"{ratio:.2f}", "≥ 0.9", f"{runs} pairs")
    cpu, other_cpu = (benchlib.median(pair[side][1].cpu for pair in pairs)
                      for side in (0, 1))
    benchlib.row("the same, CPU time of the server", f"{cpu:.2f} s",
                 f"{other_cpu:.2f} s: `nbdkit file`", f"{cpu / other_cpu:.2f}", "",
                 f"{runs} pairs")


if __name__ == "__main__":
    main()
