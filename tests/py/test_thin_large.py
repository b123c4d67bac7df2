# SPDX-License-Identifier: LGPL-2.1-or-later
"""Diffs of thin volumes that need many batches of reads, on metadata whose trees
share what the kernel would let them share; tests/bench/make-thin.c writes it."""

import os
import re
import subprocess

import pytest

from snaplib import tools
from snaplib.cli import answer

MAKE = tools.BUILD / "tests" / "bench" / "make-thin"
CHUNK = 65536
MOST_KIB = 64 << 10

# Mappings, changes, and how many of these come sorted.
SHAPES = [(1, 1, 1), (252, 3, 1), (300, 300, 1), (300_000, 1, 1), (300_000, 5000, 1),
          (300_000, 5000, 1000), (300_000, 150_000, 64)]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    tools.require("thin_check", "thin_delta")
    if not MAKE.exists():
        tools.missing(f"{MAKE} is not built")
    monkeypatch.chdir(tmp_path)


def make(mappings, changes, burst):
    tools.run([MAKE, "meta", mappings, changes, burst, "list"])


def dirty(diff):
    return [(e["offset"] // CHUNK, e["length"] // CHUNK) for e in diff["extents"]]


def delta(a, b):
    """What thin_delta says is different, neighbours joined."""
    text = tools.run(["thin_delta", "--snap1", a, "--snap2", b, "meta"])
    runs = []
    for begin, length in re.findall(r'<different begin="(\d+)" length="(\d+)"', text):
        begin, length = int(begin), int(length)
        if runs and sum(runs[-1]) == begin:
            runs[-1] = (runs[-1][0], runs[-1][1] + length)
        else:
            runs.append((begin, length))
    assert "left_only" not in text and "right_only" not in text
    return runs


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_ways_equal_thin_delta(shape):
    make(*shape)
    tools.run(["thin_check", "meta"])
    found = answer("diff", "thin-meta:meta@2..1")
    assert sum(n for _, n in dirty(found)) == shape[1]
    assert dirty(found) == delta("2", "1")
    assert dirty(answer("diff", "thin-meta:meta@1..2")) == dirty(found)


def test_memory_does_not_grow_with_what_is_read():
    """Three times as many leaves as all batches together hold."""
    make(3_000_000, 1_000_000, 1)
    n_read = os.stat("list").st_size // 8
    result = subprocess.run(
        ["/usr/bin/python3", "-c",
         "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
         "stdout=subprocess.DEVNULL); "
         "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)",
         str(tools.nbdsnap()), "--state-dir", "state", "diff", "--format=totals",
         "thin-meta:meta@1..2"], capture_output=True, text=True, check=True)
    print(f"TABLE thin metadata: {result.stdout.strip()} KiB at most, reading {n_read} nodes")
    assert int(result.stdout) < MOST_KIB
