# SPDX-License-Identifier: LGPL-2.1-or-later
"""The judge of diffs on LVM can fail, as far as LVM is needed for it: each of
these breaks one rule of the driver, and is caught where LVM works, by
tests/lvm/broken_drivers.py.  test_thin_mutants.py has those that need no LVM.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from snaplib import mutants, tools

THIN = "snapshot-core/drivers/lvm/thin-diff.c"
CLASSIC = "snapshot-core/drivers/lvm/classic-diff.c"
CUT = "snapshot-core/drivers/lvm/thin.c"
LVM = tools.TOP / "tests" / "lvm"

MUTANTS = {
    "thin-takes-any-base-for-nothing": (
        THIN, "gboolean zero = external_origin (report, to) == NULL;",
        "gboolean zero = TRUE;"),
    "thin-takes-any-base-for-the-same": (
        THIN, "if (g_strcmp0 (external_origin (report, from), external_origin (report, to))\n"
        "      != 0)", "if (FALSE)"),
    "thin-compares-one-side-with-itself": (
        THIN, "old = find_device (&pool, from, error);",
        "old = find_device (&pool, to, error);"),
    "thin-forgets-the-last-chunk": (
        THIN, "guint64 n_chunks = (clip->end - start + chunk - 1) / chunk;",
        "guint64 n_chunks = (clip->end - start - chunk) / chunk;"),
    "classic-looks-at-the-younger-table-for-both": (
        CLASSIC, "both = snap_extents_union (first, second);",
        "both = snap_extents_union (second, second);"),
    "classic-goes-past-the-mark": (
        CLASSIC, "return emit_table (from, n, request",
        "return emit_table (from, n + 1, request"),
    "classic-counts-the-mark-in-the-other-table": (
        CLASSIC, "return emit_table (to, n, request", "return emit_table (from, n, request"),
    "classic-stops-short-of-the-live-volume": (
        CLASSIC, "return emit_table (from_live ? to : from, G_MAXUINT64, request",
        "return emit_table (from_live ? to : from, 1, request"),
    "sets-never-suspend": (
        CUT, "if (origin->active)\n    snap_window_suspend",
        "if (FALSE)\n    snap_window_suspend"),
}


@pytest.fixture(scope="module")
def judged():
    """What was printed by those who judged all of them."""
    tools.require("gcc", "pkg-config", "lvm")
    with tempfile.TemporaryDirectory(prefix="broken-", dir="/var/tmp") as name:
        folder = pathlib.Path(name)
        for mutant, broken in MUTANTS.items():
            mutants.build(folder, mutant, *broken)
            (folder / f"{mutant}.c").unlink()
        shutil.copy(LVM / "broken_drivers.py", folder / "test_broken.py")
        result = subprocess.run(
            [str(LVM / "run"), str(folder / "test_broken.py")], capture_output=True, text=True,
            timeout=1800, env=dict(os.environ, NBDSNAP_BUILDDIR=str(tools.BUILD)))
    if result.returncode == 77:
        tools.missing("no device mapper here, and no user-mode-linux")
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
    yield result.stdout
    caught = re.findall("CAUGHT nbdsnap-(.*)", result.stdout)
    print("".join(f"\n{line}" for line in re.findall("TABLE .*", result.stdout)))
    print(f"TABLE the LVM driver broken on purpose and caught: {len(caught)} of "
          f"{len(MUTANTS)}: " + ", ".join(caught))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_driver_is_caught(name, judged):
    assert f"CAUGHT nbdsnap-{name}\n" in judged, "survived"
