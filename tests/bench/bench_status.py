# SPDX-License-Identifier: LGPL-2.1-or-later
"""Block status over a diff of very many extents, against a plugin that does
nothing but count: what is left is nbdkit, the socket and the client.

Every run has a fresh server, so that ours makes the diff in each."""

import benchlib
import make_qcow2


def compare(folder, n_extents, client, runs):
    """Median seconds of both, and the median of the ratios."""
    image = folder / f"{n_extents}.qcow2"
    size = make_qcow2.alternating(image, n_extents)
    plugin = [benchlib.PLUGIN, f"state-dir={folder / 'state'}", f"{image}@a..b"]
    nothing = [benchlib.O1_PLUGIN, f"size={size}"]
    pairs = benchlib.alternate(
        lambda: benchlib.timed_client(folder, plugin, client)[0].seconds,
        lambda: benchlib.timed_client(folder, nothing, client)[0].seconds, runs)
    image.unlink()
    return (benchlib.median(a for a, _ in pairs), benchlib.median(b for _, b in pairs),
            benchlib.median(a / b for a, b in pairs))


def report(what, n_extents, numbers, runs):
    ours, nothing, ratio = numbers
    benchlib.row(f"map of {n_extents} extents, {what}", f"{ours:.2f} s",
                 f"{nothing:.2f} s: a do-nothing O(1) plugin", f"{ratio:.2f}", "≤ 1.3",
                 f"{runs} pairs")


def main():
    benchlib.need("nbdkit", "nbdinfo", "qemu-img")
    runs = benchlib.setting("STATUS_RUNS", 7)
    many = benchlib.setting("NBDINFO_EXTENTS", 1 << 20)
    fewer = benchlib.setting("QEMU_MAP_EXTENTS", 100000)
    qemu_runs = benchlib.setting("QEMU_MAP_RUNS", 5)
    with benchlib.scratch() as folder:
        report("`nbdinfo --map`", many, compare(
            folder, many, lambda uri: ["nbdinfo", "--map", uri], runs), runs)
        report("`qemu-img map`", fewer, compare(
            folder, fewer, lambda uri: ["qemu-img", "map", "--output=json", "-f", "raw",
                                        uri], qemu_runs), qemu_runs)


if __name__ == "__main__":
    main()
