# SPDX-License-Identifier: LGPL-2.1-or-later
"""All benches, as the table of docs/benchmarks.md."""

import benchlib
import bench_diff
import bench_status
import bench_throughput


def main():
    print(f"Machine: {benchlib.machine()}.\n")
    benchlib.heading()
    for bench in (bench_diff, bench_throughput, bench_status):
        bench.main()


if __name__ == "__main__":
    main()
