# SPDX-License-Identifier: LGPL-2.1-or-later
"""The judge can fail: each of these breaks one rule of the diff, and each is
caught by the byte compare of random histories."""

import pathlib
import tempfile

import pytest

from snaplib import mutants, tools
from snaplib.qcow2_history import History
from test_qcow2_history import judge_all

DIFF = "snapshot-core/format/qcow2-diff.c"
ENTRY = "snapshot-core/format/qcow2-entry.c"
DRIVER = "snapshot-core/drivers/qcow2/driver.c"

MUTANTS = {
    "skips-absent-tables": (
        DIFF, "if (from == to)\n    return from == 0",
        "if (from == to || from == 0 || to == 0)\n    return from == 0 || to == 0"),
    "takes-every-pair-as-equal-kind": (
        DIFF, "a->kind == b->kind && a->location == b->location", "a->kind == b->kind"),
    "forgets-the-backing-file": (
        DIFF, "piece->kind == SNAP_QCOW2_UNALLOCATED && !has_backing",
        "piece->kind == SNAP_QCOW2_UNALLOCATED"),
    "zero-is-like-anything": (
        DIFF, "return zero_a && zero_b;", "return TRUE;"),
    "says-zero-of-data": (
        DIFF, "if (reads_zero (&b, has_backing))", "if (b.kind != SNAP_QCOW2_COMPRESSED)"),
    "stops-one-table-early": (
        DIFF, "for (guint64 i = diff->begin / span; i < n; i++)",
        "for (guint64 i = diff->begin / span; i + 1 < n; i++)"),
    "never-flushes-the-last": (
        DIFF, "return flush (diff, error);\n}\n\ngboolean", "return TRUE;\n}\n\ngboolean"),
    "ignores-subclusters": (
        DIFF, "if (!snap_qcow2_entry_equal (from, to)", "if (from.descriptor != to.descriptor"),
    "joins-across-a-gap": (
        DIFF, "&& pending->offset + pending->length == offset) {\n    pending->length += length;",
        ") {\n    pending->length += length;"),
    "compares-one-side-with-itself": (
        DRIVER, "open_side (self, request->from, &from, error)",
        "open_side (self, request->to, &from, error)"),
    "stops-at-half-of-the-smaller": (
        DRIVER, "if (request->from->size >= request->to->size)\n    return request->to->size;",
        "if (request->from->size >= request->to->size)\n    return request->to->size / 2;"),
    "sees-subclusters-of-zeroes-as-nothing": (
        ENTRY, "kind = SNAP_QCOW2_ZERO;\n    *n = count_ones (zero);",
        "kind = SNAP_QCOW2_UNALLOCATED;\n    *n = count_ones (zero);"),
}


@pytest.fixture(scope="module")
def histories():
    tools.require("qemu-img", "qemu-io", "gcc", "pkg-config")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        made = []
        # Chosen for what is in them: subclusters, small clusters, backing files.
        for seed in (3, 5, 8, 12, 14, 17, 21, 27):
            place = pathlib.Path(folder) / str(seed)
            place.mkdir()
            history = History(seed, place, 10).run()
            made.append((history, history.all_points()))
        yield made


@pytest.fixture(scope="module")
def caught():
    names = []
    yield names
    print(f"\nTABLE broken on purpose and caught: {len(names)} of {len(MUTANTS)}: "
          + ", ".join(names))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_diff_is_caught(name, histories, caught, tmp_path):
    program = mutants.build(tmp_path, name, *MUTANTS[name])
    for history, points in histories:
        verdict = judge_all(history, points, program, stop=True)
        if verdict.faults:
            caught.append(name)
            return
    pytest.fail("survived")


def test_the_right_diff_passes_on_the_same_histories(histories):
    for history, points in histories:
        verdict = judge_all(history, points, tools.nbdsnap())
        assert not verdict.faults
