# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benches share: measured runs, servers, medians, the table."""

import contextlib
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

BUILD = pathlib.Path(os.environ.get("NBDSNAP_BUILDDIR", ".")).resolve()
NBDSNAP = BUILD / "nbdsnap"
PLUGIN = BUILD / ".libs" / "nbdkit-snapshot-plugin.so"
O1_PLUGIN = BUILD / "tests" / "bench" / ".libs" / "nbdkit-o1-plugin.so"
MEASURE = BUILD / "tests" / "bench" / "measure"
WALK = BUILD / "tests" / "bench" / "walk"
MAKE_THIN = BUILD / "tests" / "bench" / "make-thin"
READ_BLOCKS = BUILD / "tests" / "bench" / "read-blocks"

COLUMNS = ("what", "nbdsnap", "compared with", "ratio", "wanted", "runs")


SHORT = os.environ.get("NBDSNAP_BENCH_SHORT", "0") != "0"


def setting(name, default, short=None):
    """A size or count that the environment may change; @short in a short run."""
    if SHORT and short is not None:
        default = short
    return int(os.environ.get(f"NBDSNAP_BENCH_{name}", default))


@contextlib.contextmanager
def scratch():
    """A folder that is gone afterwards; it needs some ten GiB."""
    below = os.environ.get("NBDSNAP_BENCH_DIR", "/var/tmp")
    with tempfile.TemporaryDirectory(prefix="nbdsnap-bench-", dir=below) as folder:
        yield pathlib.Path(folder)


class Usage:
    """What one program took: seconds, seconds of CPU, peak memory in KiB."""

    def __init__(self, path):
        seconds, user, system, rss = path.read_text().split()
        self.seconds = float(seconds)
        self.cpu = float(user) + float(system)
        self.rss_kib = int(rss)


def words(command):
    return [str(word) for word in command]


def measure(command, folder, output=None):
    """Run to success under `measure`; standard output goes to @output."""
    result = folder / "usage"
    with open(output or os.devnull, "wb") as out:
        subprocess.run(words([MEASURE, result, *command]), stdout=out, check=True)
    return Usage(result)


class Server:
    """nbdkit under `measure`, in the foreground."""

    def __init__(self, folder, *arguments):
        self.socket, self.pid_file = folder / "socket", folder / "pid"
        self.result = folder / "server-usage"
        for leftover in (self.socket, self.pid_file):
            leftover.unlink(missing_ok=True)
        self.process = subprocess.Popen(words([
            MEASURE, self.result, "nbdkit", "-f", "-U", self.socket, "-P",
            self.pid_file, *arguments]))
        while not self.pid_file.exists():
            if self.process.poll() is not None:
                raise RuntimeError("nbdkit did not start")
            time.sleep(0.002)

    def uri(self, export=""):
        return (f"nbd+unix:///{urllib.parse.quote(export)}"
                f"?socket={urllib.parse.quote(str(self.socket))}")

    def stop(self):
        os.kill(int(self.pid_file.read_text()), 15)
        self.process.wait(60)
        return Usage(self.result)


def timed_client(folder, server_arguments, client, export=""):
    """Start a fresh server, run the client against it: both usages."""
    server = Server(folder, *server_arguments)
    try:
        return measure(client(server.uri(export)), folder), server.stop()
    finally:
        if server.process.poll() is None:
            server.process.kill()


def alternate(first, second, runs):
    """Pairs of results, each side first in every other pair."""
    pairs = []
    for number in range(runs):
        if number % 2 == 0:
            a, b = first(), second()
        else:
            b, a = second(), first()
        pairs.append((a, b))
    return pairs


median = statistics.median


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def heading():
    row(*COLUMNS)
    row(*["---"] * len(COLUMNS))


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise SystemExit(f"bench: {program} is not installed")


def skip(bench, reason):
    print(f"bench: {bench}: left out: {reason}", file=sys.stderr, flush=True)


def machine():
    """The machine in words, without its name."""
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (f"{os.cpu_count()} cores of {model}, {pages / 2**30:.0f} GiB of memory, "
            f"Linux {'.'.join(platform.release().split('.')[:2])}")
