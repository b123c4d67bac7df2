# SPDX-License-Identifier: LGPL-2.1-or-later
"""The judge of diffs on LVM can fail, as far as no LVM is needed for it: each of
these breaks one rule of the walk of thin metadata, and is caught by what the
mappings say themselves, or one of the reading of exception stores, and is
caught by the unit test, which writes them entry by entry.

Not here, because only a request for a part of a device shows them: where a
walk begins and ends.  The contract suite asks for parts.
"""

import json
import pathlib
import subprocess
import tempfile

import pytest

from snaplib import mutants, thin_metadata, tools

CHUNK = 65536
DIFF = "snapshot-core/format/thin-diff.c"
CURSOR = "snapshot-core/format/thin-cursor.c"
NODE = "snapshot-core/format/thin-node.c"
STORE = "snapshot-core/format/cow-store.c"

MUTANTS = {
    "takes-another-time-for-another-block": (
        DIFF, "#define TIME_BITS 24", "#define TIME_BITS 0"),
    "looks-at-a-part-of-the-block-number": (
        DIFF, "snap_thin_cursor_value (from) >> TIME_BITS\n"
        "                   == snap_thin_cursor_value (to) >> TIME_BITS;",
        "(guint32) (snap_thin_cursor_value (from) >> TIME_BITS)\n"
        "                   == (guint32) (snap_thin_cursor_value (to) >> TIME_BITS);"),
    "looks-at-a-block-number-without-its-end": (
        DIFF, "#define TIME_BITS 24", "#define TIME_BITS 32"),
    "says-zero-of-what-is-new": (
        DIFF, "if (is_old && sink->diff->unmapped_is_zero)",
        "if (sink->diff->unmapped_is_zero)"),
    "takes-subtrees-of-one-key-as-equal": (
        DIFF, "&& snap_thin_cursor_value (from) == snap_thin_cursor_value (to);",
        "&& snap_thin_cursor_key (from) == snap_thin_cursor_key (to);"),
    "forgets-what-was-discarded": (
        DIFF, "if (from_key < to_key)\n    return step_single (sink, from, TRUE, error);",
        "if (from_key < to_key && snap_thin_cursor_is_leaf (from)) {\n"
        "    snap_thin_cursor_skip (from);\n    return TRUE;\n  }\n"
        "  if (from_key < to_key)\n    return step_single (sink, from, TRUE, error);"),
    "forgets-what-was-added": (
        DIFF, "if (to_key < from_key)\n    return step_single (sink, to, FALSE, error);",
        "if (to_key < from_key) {\n    snap_thin_cursor_skip (to);\n    return TRUE;\n  }"),
    "ends-with-the-older-side": (
        DIFF, "while (!to->at_end)\n    if (!step_single (sink, to, FALSE, error))\n"
        "      return FALSE;", ""),
    "ends-with-the-newer-side": (
        DIFF, "while (!from->at_end)\n    if (!step_single (sink, from, TRUE, error))\n"
        "      return FALSE;", ""),
    "joins-across-a-gap": (
        DIFF, "&& pending->offset + pending->length == chunk * size) {", ") {"),
    "never-says-the-last": (
        DIFF, "  return flush (sink, error);\n}\n\nstatic gboolean\nopen_side",
        "  return TRUE;\n}\n\nstatic gboolean\nopen_side"),
    "goes-down-on-the-lower-side": (
        DIFF, "return (from_level < to_level || snap_thin_cursor_descend (from, error))\n"
        "         && (to_level < from_level || snap_thin_cursor_descend (to, error));",
        "return (from_level < to_level || snap_thin_cursor_descend (from, error))\n"
        "         && (to_level > from_level || snap_thin_cursor_descend (to, error));"),
    "forgets-the-last-entry-of-a-node": (
        CURSOR, "while (self->index[self->depth] >= current (self)->n_entries) {",
        "while (self->index[self->depth] + 1 >= current (self)->n_entries) {"),
    "skips-all-of-a-node": (
        CURSOR, "snap_thin_cursor_skip (SnapThinCursor *self)\n{\n  self->index[self->depth]++;",
        "snap_thin_cursor_skip (SnapThinCursor *self)\n{\n"
        "  self->index[self->depth] = G_MAXINT32;"),
    "reads-values-after-the-last-key": (
        NODE, "NODE_HEADER + self->max_entries * sizeof (guint64)\n         + index",
        "NODE_HEADER + self->n_entries * sizeof (guint64)\n         + index"),
    "compares-one-side-with-itself": (
        DIFF, "open_side (self, self->from, &from, error)",
        "open_side (self, self->to, &from, error)"),
}

STORE_MUTANTS = {
    "stops-after-one-area": (
        STORE, "for (; !ended && at +", "for (; at == self->chunk_size && at +"),
    "looks-for-areas-one-chunk-too-early": (
        STORE, "(self->chunk_size / ENTRY_BYTES + 1);", "(self->chunk_size / ENTRY_BYTES);"),
    "stops-one-entry-early": (
        STORE, "chunks->len >= limit;", "chunks->len + 1 >= limit;"),
    "goes-past-the-watermark": (
        STORE, "new_chunk == 0 || chunks->len >= limit;", "new_chunk == 0;"),
    "takes-the-new-chunk-for-the-old": (
        STORE, "g_array_append_val (chunks, old_chunk);",
        "g_array_append_val (chunks, new_chunk);"),
    "leaves-them-in-their-order": (
        STORE, "  g_array_sort (chunks, compare_chunks);\n", ""),
    "trusts-what-has-overflowed": (STORE, "if (valid == 0)", "if (FALSE)"),
}


@pytest.fixture(scope="module")
def pool():
    tools.require("gcc", "pkg-config")
    with tempfile.TemporaryDirectory(prefix="thin-mutants-") as folder:
        made = thin_metadata.pool()
        made.path = pathlib.Path(folder) / "metadata"
        made.write(made.path)
        yield made


@pytest.fixture(scope="module")
def caught():
    names = []
    yield names
    print(f"\nTABLE thin and classic diffs broken on purpose and caught: {len(names)} of "
          f"{len(MUTANTS) + len(STORE_MUTANTS)}: " + ", ".join(names))


def is_right(pool, a, b, program):
    """Whether it says of a pair what the mappings say."""
    result = subprocess.run(
        [str(program), "--state-dir", str(pool.path.parent / "state"), "diff", "--json",
         f"thin-meta:{pool.path}@{a}..{b}"], capture_output=True, text=True, timeout=20)
    if result.returncode != 0:
        return False
    found = {at: extent["zero"] for extent in json.loads(result.stdout)["extents"]
             for at in range(extent["offset"] // CHUNK,
                             (extent["offset"] + extent["length"]) // CHUNK)}
    return found == pool.expected(a, b)


def test_the_right_walk_is_right_about_every_pair(pool):
    wrong = [pair for pair in pool.pairs() if not is_right(pool, *pair, tools.nbdsnap())]
    assert not wrong
    print(f"TABLE shared subtrees: {len(pool.pairs())} pairs as the mappings say")


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_walk_is_caught(name, pool, caught, tmp_path):
    program = mutants.build(tmp_path, name, *MUTANTS[name])
    assert not all(is_right(pool, *pair, program) for pair in pool.pairs()), "survived"
    caught.append(name)


@pytest.mark.parametrize("name", STORE_MUTANTS)
def test_a_broken_reading_of_an_exception_store_is_caught(name, caught, tmp_path):
    test = "tests/unit/test-cow-store"
    if not (tools.BUILD / f"{test}.o").exists():
        tools.missing(f"{test} is not built")
    assert subprocess.run([tools.BUILD / test], capture_output=True).returncode == 0
    program = mutants.build(tmp_path, name, *STORE_MUTANTS[name], main=f"{test}.o")
    result = subprocess.run([str(program)], capture_output=True, text=True, timeout=20)
    assert "1.." in result.stdout and result.returncode != 0, "survived"
    caught.append(name)
