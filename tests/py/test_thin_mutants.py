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
LEVEL = "snapshot-core/format/thin-level.c"
BATCH = "snapshot-core/format/thin-batch.c"
STORE = "snapshot-core/format/cow-store.c"

MUTANTS = {
    "takes-another-time-for-another-block": (
        DIFF, "#define TIME_BITS 24", "#define TIME_BITS 0"),
    "looks-at-a-part-of-the-block-number": (
        DIFF, "snap_thin_side_value (from) >> TIME_BITS\n"
        "                   == snap_thin_side_value (to) >> TIME_BITS;",
        "(guint32) (snap_thin_side_value (from) >> TIME_BITS)\n"
        "                   == (guint32) (snap_thin_side_value (to) >> TIME_BITS);"),
    "looks-at-a-block-number-without-its-end": (
        DIFF, "#define TIME_BITS 24", "#define TIME_BITS 32"),
    "says-zero-of-what-is-new": (
        DIFF, "if (is_old && sink->diff->unmapped_is_zero)",
        "if (sink->diff->unmapped_is_zero)"),
    "forgets-what-was-discarded": (
        DIFF, "pushed = push_single (sink, from, TRUE, error);",
        "pushed = ++from->index > 0;"),
    "forgets-what-was-added": (
        DIFF, "pushed = push_single (sink, to, FALSE, error);",
        "pushed = ++to->index > 0;"),
    "forgets-the-newer-side-where-the-older-ends": (
        DIFF, "if (MIN (from_key, to_key) >= limit)\n      return TRUE;",
        "if (from_key >= limit) {\n      to->index = to->n;\n      return TRUE;\n    }"),
    "forgets-the-older-side-where-the-newer-ends": (
        DIFF, "if (MIN (from_key, to_key) >= limit)\n      return TRUE;",
        "if (to_key >= limit) {\n      from->index = from->n;\n      return TRUE;\n    }"),
    "joins-across-a-gap": (
        DIFF, "&& pending->offset + pending->length == chunk * size) {", ") {"),
    "never-says-the-last": (
        DIFF, "    if (limit == 0)\n      return flush (sink, error);",
        "    if (limit == 0)\n      return TRUE;"),
    "compares-one-side-with-itself": (
        DIFF, "add_tree (self, self->from, SNAP_THIN_FROM",
        "add_tree (self, self->to, SNAP_THIN_FROM"),
    "takes-subtrees-of-one-key-as-equal": (
        LEVEL, "&& snap_thin_side_value (from) == snap_thin_side_value (to)) {",
        "&& snap_thin_side_key (from) == snap_thin_side_key (to)) {"),
    "takes-leaves-of-one-value-as-equal": (LEVEL, "if (self->number > 0)", "if (TRUE)"),
    "skips-what-one-side-alone-has": (
        LEVEL, "    from->index++;\n    to->index++;", "    from->index++;\n    to->index += 2;"),
    "forgets-the-root-of-a-lower-tree": (
        LEVEL, "if (trees->height[side] == self->number + 1)",
        "if (trees->height[side] == self->number + 1 && self->above == NULL)"),
    "forgets-the-last-entry-of-a-node": (
        LEVEL, "side->n = side->node.n_entries;", "side->n = MAX (side->node.n_entries, 1) - 1;"),
    "skips-all-of-a-node": (
        LEVEL, "  side->index++;\n  return TRUE;", "  side->index = side->n;\n  return TRUE;"),
    "hands-out-the-higher-side": (
        LEVEL, "             ? &sides[SNAP_THIN_TO]\n             : &sides[SNAP_THIN_FROM];",
        "             ? &sides[SNAP_THIN_FROM]\n             : &sides[SNAP_THIN_TO];"),
    "forgets-whose-a-node-is": (LEVEL, ".side = (guint) (side - sides),", ".side = 0,"),
    "takes-the-first-of-neighbours-for-all": (
        BATCH, "at + past * SNAP_THIN_BLOCK, error", "at + 0 * past, error"),
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
    try:
        result = subprocess.run(
            [str(program), "--state-dir", str(pool.path.parent / "state"), "diff", "--json",
             f"thin-meta:{pool.path}@{a}..{b}"], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return False
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
