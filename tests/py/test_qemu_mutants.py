# SPDX-License-Identifier: LGPL-2.1-or-later
"""The judge of a guest's disk can fail: each of these breaks one rule of the cut or
of the diff, and each is caught."""

import pytest

from snaplib import mutants, qemu_bed as bed, tools
from snaplib.qemu_bed import GRANULE, Drive, Driver, Failed, Qemu

QEMU = "snapshot-core/drivers/qemu/"
FLEECE, CBW = {"mechanism": "fleece"}, {"mechanism": "cbw", "quiesce": "pause"}

MUTANTS = {
    "copies-the-bases-before-the-filter-is-in": (
        "create", "swaps ? last : first", "first"),
    "begins-to-record-after-the-filter-is-in": (
        "create", "  for (gsize i = 0; i < n_cuts; i++)\n    add_recording (first, cuts[i], now_us);",
        "  for (gsize i = 0; i < n_cuts; i++)\n    add_recording (last, cuts[i], now_us);"),
    "never-looks-for-the-mark-at-the-end": ("marks", "marked == 0", "FALSE"),
    "takes-a-bitmap-that-does-not-record": ("marks", "!bitmap->recording", "FALSE"),
    "forgets-what-the-disk-has-grown-by": (
        "compare", "known == end || emit_range", "TRUE || emit_range"),
    "believes-the-granule-at-the-old-end": (
        "compare", "(size - 1) / QEMU_GRANULARITY * QEMU_GRANULARITY", "size"),
    "calls-a-granule-zero-that-is-so-in-part": (
        "compare", "(extent->offset + granule - 1) / granule * granule", "extent->offset / granule * granule"),
    "believes-zeroes-of-now": ("image", "flags != TAKEN_UP", "TRUE"),
    "reads-over-the-edge-of-what-was-copied": (
        "image", "#define COPIED_AT_ONCE 65536", "#define COPIED_AT_ONCE (1 << 20)"),
    "takes-the-filter-out-past-what-is-below": (
        "teardown", 'g_hash_table_lookup (view->below, copier)', "disk ? disk->node : NULL"),
    "ends-everybody-s-bases": (
        "teardown", "g_strcmp0 (its->consumer, name->consumer) == 0", "TRUE"),
    "a-failed-copy-ends-the-older-base": (
        "teardown", "  if (failed)\n    return qemu_remove (volume, point, error);", ""),
    "keeps-no-bitmap-in-the-image": (
        "create", '"persistent", cut->persistent', '"persistent", FALSE'),
    "hides-the-filter-of-the-job": (
        "create", '"filter-node-name", filter,', ""),
}


class Judge:
    """A short history with all the traps, told to stop at the first fault."""

    def __init__(self, folder, program):
        self.folder, self.program, self.images = folder, program, {}

    def machine(self, name, form="qcow2", **more):
        qemu = Qemu(self.folder / name, [Drive("a", form)], **more)
        return qemu, Driver(qemu, "a", self.program)

    def cut(self, qemu, driver, name, **keys):
        driver.create(name, **keys)
        self.images[name] = qemu.contents("a")

    def check(self, driver, *pairs):
        for old, new in pairs:
            faults = bed.judge(driver.diff(old, new), self.images[old], self.images[new])
            assert not faults, (old, new, faults)

    def reads(self, driver, *names):
        for name in names:
            assert driver.read(name) == self.images[name], f"{name} reads as something else"

    def bases(self):
        qemu, driver = self.machine("bases")
        with qemu:
            qemu.write("a", 0, 40 * GRANULE, 1)
            self.cut(qemu, driver, "b1", consumer="one", **FLEECE)
            driver.ack("b1")
            qemu.write("a", 3 * GRANULE, 3 * GRANULE, 2)
            self.cut(qemu, driver, "b2", consumer="two", **FLEECE)
            driver.ack("b2")
            qemu.restart()
            qemu.io("a", f"write -z {9 * GRANULE} {GRANULE // 2}")
            qemu.io("a", f"write -z {20 * GRANULE} {GRANULE}")
            qemu.ask("block_resize", **{"node-name": "fmt-a", "size": (4 << 20) + 3 * GRANULE})
            self.cut(qemu, driver, "b3", **CBW)
            qemu.write("a", 60 * GRANULE, GRANULE, 3)
            driver.ack("b3", failed=True)
            self.cut(qemu, driver, "b4", **CBW)
            for granule in (3, 11):
                qemu.io("a", f"write -z {granule * GRANULE} {GRANULE}")
            qemu.write("a", 13 * GRANULE, 512, 4)
            self.reads(driver, "b4")
            self.check(driver, ("b1", "b4"), ("b2", "b4"))

    def refusals(self):
        for form, least in (("qcow2", 2 << 20), ("raw", (4 << 20) - 4096)):
            qemu, driver = self.machine(f"sizes-{form}", form)
            with qemu:
                qemu.write("a", 0, 4 << 20, 7)
                self.cut(qemu, driver, "r1", **FLEECE)
                driver.ack("r1")
                for size in (least, 4 << 20):
                    qemu.ask("block_resize", **{"node-name": "fmt-a", "size": size})
                self.cut(qemu, driver, "r2", **FLEECE)
                self.check_or_refused(driver, "r1", "r2")
                driver.ack("r2")
                mine = next(b for b in qemu.bitmaps("a") if b.startswith("r2."))
                qemu.ask("block-dirty-bitmap-disable", node="fmt-a", name=mine)
                qemu.write("a", 5 * GRANULE, GRANULE, 8)
                self.cut(qemu, driver, "r3", **FLEECE)
                self.check_or_refused(driver, "r2", "r3")

    def check_or_refused(self, driver, old, new):
        try:
            self.check(driver, (old, new))
        except Failed as failure:
            assert failure.code == bed.NOT_COMPARABLE, failure

    def stacked(self):
        qemu, driver = self.machine("stacked")
        with qemu:
            qemu.write("a", 0, 4 << 20, 1)
            self.cut(qemu, driver, "t1", **CBW)
            qemu.write("a", 2 * GRANULE, GRANULE, 2)
            self.cut(qemu, driver, "t2", **FLEECE)
            qemu.write("a", 3 * GRANULE, GRANULE, 3)
            driver.delete("t1")  # the job's filter is below it, and stays
            qemu.write("a", 0, 20 * GRANULE, 4)
            self.reads(driver, "t2")
            with pytest.raises(Failed) as failure:
                driver.create("t3", **CBW)
            assert failure.value.code == bed.BUSY
            driver.ack("t2", failed=True)
            assert qemu.traces() == []

    def unpaused(self):
        """A guest that writes between the commands of a cut."""
        qemu, driver = self.machine("unpaused")
        with qemu:
            qemu.write("a", 0, 4 << 20, 1)
            self.cut(qemu, driver, "u1", **FLEECE)
            driver.ack("u1")
            for k in (2, 3, 4):
                driver.create(f"u{k}", mechanism="cbw", quiesce="none", between=(
                    "qemu-io -d /machine/peripheral/a/virtio-backend "
                    f'"write -P {k} {k * GRANULE} {GRANULE}"'))
                self.images[f"u{k}"] = driver.read(f"u{k}")
                self.check(driver, (f"u{k - 1}", f"u{k}"))
                driver.ack(f"u{k}")

    def run(self):
        for scene in (self.unpaused, self.bases, self.refusals, self.stacked):
            try:
                scene()
            except (AssertionError, Failed, EOFError, OSError) as fault:
                return f"{scene.__name__}: {fault}"
        return None


def test_the_driver_as_it_is_passes(tmp_path):
    assert Judge(tmp_path, None).run() is None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_caught(tmp_path, name):
    tools.require("gcc", "pkg-config")
    source, old, new = MUTANTS[name]
    program = mutants.build(tmp_path, name, f"{QEMU}{source}.c", old, new,
                            main="tests/fakes/drive-qemu.o")
    fault = Judge(tmp_path, program).run()
    print(f"TABLE {name}: {str(fault)[:150]}")
    assert fault
