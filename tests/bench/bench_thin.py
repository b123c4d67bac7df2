# SPDX-License-Identifier: LGPL-2.1-or-later
"""The changes between a thin volume and its snapshot, from the metadata of the
pool: against thin_delta, and against reading the same blocks and no more.

Both read with O_DIRECT, so no cache is warm."""

import subprocess

import benchlib

CHUNK = 65536
MILLION = 1_000_000
MOST_MIB = 64

# A guest writes back in bursts that are sorted; 1 is the worst there can be.
BURST = 1000

# Changes: ratio to thin_delta at 10 M and at 50 M mappings.
WANTED = {1000: (25, 40), 100_000: (8, 8), 5 * MILLION: (3, 3)}


def short(number):
    if number % MILLION == 0:
        return f"{number // MILLION} M"
    return f"{number // 1000} k" if number % 1000 == 0 else str(number)


def milliseconds(usages):
    return f"{benchlib.median(usage.seconds for usage in usages) * 1000:.0f} ms"


class Metadata:
    def __init__(self, folder, mappings, changes, burst):
        self.folder, self.path, self.list = folder, folder / "metadata", folder / "list"
        self.mappings, self.changes = mappings, changes
        subprocess.run(benchlib.words([benchlib.MAKE_THIN, self.path, mappings, changes, burst,
                                       self.list]), check=True)
        self.n_blocks = self.list.stat().st_size // 8

    def diff(self):
        return [benchlib.NBDSNAP, f"--state-dir={self.folder / 'state'}", "diff",
                f"thin-meta:{self.path}@2..1"]

    def delta(self):
        return ["thin_delta", "--snap1", 2, "--snap2", 1, self.path]

    def bare(self):
        return [benchlib.READ_BLOCKS, self.path, self.list]

    def sums(self, command, script):
        """How many chunks it names, and the sum of their numbers."""
        program = subprocess.Popen(benchlib.words(command), stdout=subprocess.PIPE)
        sums = subprocess.run(["awk", script], stdin=program.stdout, check=True, text=True,
                              stdout=subprocess.PIPE).stdout.split()
        if program.wait() != 0:
            raise SystemExit(f"bench: {command[0]} failed")
        return sums

    def check(self):
        """Both say the same, and it is what was changed."""
        end = 'END { printf "%d %.0f\\n", n, s }'
        ours = self.sums(self.diff(), "/dirty/ { b = $1 / 65536; l = $2 / 65536; n += l; "
                         "s += b * l + l * (l - 1) / 2 } " + end)
        theirs = self.sums(self.delta(), 'BEGIN { FS = "\\"" } /<different/ { n += $4; '
                           "s += $2 * $4 + $4 * ($4 - 1) / 2 } " + end)
        if ours != theirs or int(ours[0]) != self.changes:
            raise SystemExit(f"bench: thin: {ours} is not {theirs}")

    def pairs(self, first, second, runs):
        return benchlib.alternate(lambda: benchlib.measure(first, self.folder),
                                  lambda: benchlib.measure(second, self.folder), runs)


def compare(metadata, what, other, name, wanted, runs):
    """A row; the larger ratio is the better one against a tool, the smaller
    against bare reading."""
    pairs = metadata.pairs(metadata.diff(), other, runs)
    against_tool = wanted.startswith("≥")
    ratio = benchlib.median(b.seconds / a.seconds if against_tool else a.seconds / b.seconds
                            for a, b in pairs)
    rss = max(a.rss_kib for a, _ in pairs) / 1024
    theirs = max(b.rss_kib for _, b in pairs) / 1024
    benchlib.row(what, f"{milliseconds([a for a, _ in pairs])}, {rss:.0f} MiB",
                 f"{milliseconds([b for _, b in pairs])}, {theirs:.0f} MiB: {name}",
                 f"{ratio:.3g}", wanted, f"{len(pairs)} pairs")
    return rss


def measure(folder, mappings, changes, burst, runs):
    metadata = Metadata(folder, mappings, changes, burst)
    metadata.check()
    order = f"bursts of {burst}" if burst > 1 else "no order"
    about = f"{short(mappings)} mappings, {short(changes)} changes in {order}"
    wanted = WANTED[changes][mappings > 10 * MILLION] if burst > 1 else None
    rss = [compare(metadata, about, metadata.delta(), "`thin_delta`",
                   f"≥ {wanted or WANTED[changes][0]}", runs)]
    if changes >= 100_000:
        rss.append(compare(metadata, f"the same {short(mappings)}, {short(changes)}",
                           metadata.bare(), f"bare reading of {metadata.n_blocks} blocks",
                           "≤ 1.5" if changes > MILLION else "", 2 * runs))
    return max(rss)


def main():
    benchlib.need("thin_delta", "awk")
    runs = benchlib.setting("THIN_RUNS", 3, short=1)
    sizes = [10, 50][:benchlib.setting("THIN_SIZES", 2, short=1)]
    rss = []
    for size in sizes:
        for changes, burst in [*((n, BURST) for n in WANTED), (100_000, 1)]:
            with benchlib.scratch() as folder:
                rss.append(measure(folder, size * MILLION, changes, burst, runs))
    benchlib.row("peak memory, all of them", f"{max(rss):.1f} MiB", "", "", f"≤ {MOST_MIB} MB",
                 len(rss))


if __name__ == "__main__":
    main()
