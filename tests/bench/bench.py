# SPDX-License-Identifier: LGPL-2.1-or-later
"""All benches, or those named, as the table of docs/benchmarks.md."""

import sys

import benchlib
import bench_btrfs
import bench_diff
import bench_guest
import bench_serve
import bench_status
import bench_thin
import bench_throughput
import bench_xfs

BENCHES = {
    "diff": bench_diff,
    "throughput": bench_throughput,
    "status": bench_status,
    "serve": bench_serve,
    "btrfs": bench_btrfs,
    "xfs": bench_xfs,
    "thin": bench_thin,
    "guest": bench_guest,
}


def main():
    names = sys.argv[1:] or BENCHES
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        raise SystemExit(f"bench: {unknown[0]}: no such bench ({', '.join(BENCHES)})")
    print(f"Machine: {benchlib.machine()}.\n")
    benchlib.heading()
    for name in names:
        BENCHES[name].main()


if __name__ == "__main__":
    main()
