# SPDX-License-Identifier: LGPL-2.1-or-later
"""The changes between two snapshots of a large disk: read from the metadata,
against copying both out and comparing the copies."""

import json
import subprocess
import time

import benchlib
import make_qcow2

GIB = 1 << 30


def dirty_clusters(answer):
    return [at // make_qcow2.CLUSTER for extent in answer["extents"]
            for at in range(extent["offset"], extent["offset"] + extent["length"],
                            make_qcow2.CLUSTER)]


def the_usual_way(image, folder):
    """Seconds for two sparse raw copies and their comparison."""
    copies = [folder / "a.raw", folder / "b.raw"]
    started = time.monotonic()
    for name, copy in zip("ab", copies):
        subprocess.run(["qemu-img", "convert", "-l", f"snapshot.name={name}", "-O",
                        "raw", image, copy], check=True)
    compared = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", *copies],
                              stdout=subprocess.DEVNULL)
    elapsed = time.monotonic() - started
    if compared.returncode != 1:
        raise SystemExit("bench: qemu-img compare found no difference")
    return elapsed


def main():
    benchlib.need("qemu-img")
    runs = benchlib.setting("DIFF_RUNS", 25)
    virtual = benchlib.setting("VIRTUAL_GIB", 256)
    allocated = benchlib.setting("ALLOCATED_GIB", 4)
    n_changed = benchlib.setting("CHANGED", 300)
    with benchlib.scratch() as folder:
        image, answer = folder / "disk.qcow2", folder / "answer.json"
        changed = make_qcow2.used_disk(image, virtual * GIB, allocated * GIB, n_changed)
        subprocess.run(["qemu-img", "check", "-q", image], check=True)
        command = [benchlib.NBDSNAP, f"--state-dir={folder / 'state'}", "diff",
                   "--format=json", f"{image}@a..b"]
        usages = [benchlib.measure(command, folder, answer) for _ in range(runs)]
        found = dirty_clusters(json.loads(answer.read_text()))
        if found != changed:
            raise SystemExit("bench: the diff is not what was changed")
        ours = benchlib.median(usage.seconds for usage in usages)
        usual = the_usual_way(image, folder)
    what = (f"diff of two snapshots, {virtual} GiB disk, {allocated} GiB allocated, "
            f"{n_changed} clusters changed")
    benchlib.row(what, f"{ours * 1000:.1f} ms",
                 f"{usual:.1f} s: `qemu-img convert -l` twice and `compare`",
                 f"{usual / ours:.0f}", "≥ 1000", f"{runs} and 1")
    rss = max(usage.rss_kib for usage in usages) / 1024
    slowest = max(usage.seconds for usage in usages)
    benchlib.row("the same, whole process", f"median {ours * 1000:.1f} ms, slowest "
                 f"{slowest * 1000:.1f} ms", "", "", "≤ 50 ms", runs)
    benchlib.row("the same, peak memory", f"{rss:.1f} MiB", "", "", "≤ 16 MB", runs)


if __name__ == "__main__":
    main()
