# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two logical volumes, what must be true of sets that are cut of them, and
SIGKILL at every step of nbdsnap, of its guard, and of every lvm it starts."""

import collections
import itertools
import os
import pathlib
import subprocess
import time

from snaplib import cli, devmapper, guard, lvm, tools

MIB = 1 << 20
SIZE = 4 * MIB
CHUNK = 64 << 10
RUNTIME = pathlib.Path("/run/nbdsnap")
LONG = bool(os.environ.get("NBDSNAP_LONG"))
numbers = itertools.count(1)

# What a killed process may leave running for a while.
OURS = ("nbdsnap", "nbdsnap-guard", "lvm")

# Stands for lvm, and does something to the VICTIM'th one that changes things:
# "fault" as the preloaded library is told, "instead" of running at all, or
# "orphan": its parent is killed when it starts, and it takes its time.
LVM = """\
#!/bin/sh
case "$1" in
lvcreate | lvremove | lvchange)
    read -r n <"{folder}/count"
    n=$((n + 1))
    echo "$n" >"{folder}/count"
    if [ -n "$FAULT_LOG" ]; then FAULT_LOG=$FAULT_LOG.$n; fi
    if [ "$n" = "$VICTIM" ]; then
        case "$VICTIM_DO" in
        fault) export FAULT_IN=lvm FAULT_AT="$VICTIM_AT" ;;
        instead) kill -KILL $$ ;;
        orphan) kill -KILL "$PPID"; sleep 1 ;;
        esac
    fi ;;
esac
exec {lvm} "$@"
"""

# Of how many kill points a short run takes how many: by where they are.
SHORT = {"nbdsnap": 3, "nbdkit": 3, "nbdsnap-guard": 1, "orphan": 1, "instead": 1, "lvm": 1}

Point = collections.namedtuple("Point", "where at call")


def processes():
    """[(pid, name)] of ours that run."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            name = (folder / "comm").read_text().strip()
        except OSError:
            continue
        if name in OURS and state != "Z":
            found.append((int(folder.name), name))
    return found


def choose(points):
    """All of them in a long run, else some of each kind, spread; those of lvm
    where it asks the kernel for something."""
    if LONG:
        return points
    kinds = collections.defaultdict(list)
    for point in points:
        kind = point.where.split()[0]
        if kind != "lvm" or point.call == "ioctl":
            kinds[kind].append(point)
    chosen = []
    for kind, of_kind in kinds.items():
        most = min(SHORT[kind], len(of_kind))
        chosen += [of_kind[(2 * i + 1) * len(of_kind) // (2 * most)] for i in range(most)]
    return chosen


class Bed:
    def __init__(self, folder, kind):
        tools.require("thin_ls")
        self.folder, self.kind = folder, kind
        self.state = folder / "state"
        self.n_sets = 0
        self.make_volumes(folder, kind)
        self.devices = sorted(self.group.devices())
        self.lvm = folder / "bin" / "lvm"
        self.lvm.parent.mkdir()
        self.lvm.write_text(LVM.format(folder=folder, lvm=tools.which("lvm")))
        self.lvm.chmod(0o755)
        # Made beforehand, so that only the operation itself is enumerated.
        for part in ("sets", "journal", "holds"):
            (self.state / part).mkdir(parents=True)
        RUNTIME.mkdir(exist_ok=True)

    def make_volumes(self, folder, kind):
        self.group = lvm.Group(folder, size=(96 if kind == "thin" else 256) * MIB,
                               name=f"ki-ll-{next(numbers)}")
        if kind == "thin":
            self.pool = self.group.pool(size=64 * MIB, chunk=CHUNK)
            self.volumes = [self.pool.volume(name, SIZE) for name in ("a-1", "b")]
        else:
            self.pool = None
            self.volumes = [self.group.volume(name, SIZE) for name in ("a-1", "b")]
        for volume in self.volumes:
            volume.fill(0, CHUNK, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.group.close()

    # ---- commands ----

    def references(self, point=None):
        return [volume.reference + (f"@{point}" if point else "") for volume in self.volumes]

    def new_name(self):
        self.n_sets += 1
        return f"s{self.n_sets}"

    def environment(self, **changes):
        (self.folder / "count").write_text("0\n")
        return dict(os.environ, PATH=f"{self.lvm.parent}:{os.environ['PATH']}",
                    LD_PRELOAD=str(guard.SHIM), **changes)

    def run(self, *arguments, **changes):
        """With faults; nothing is asserted."""
        return subprocess.run(
            cli.command(*arguments, state=str(self.state)), capture_output=True,
            text=True, timeout=120, env=self.environment(**changes))

    def create(self, **changes):
        return self.run("create", "-n", self.new_name(), *self.references(), **changes)

    def nbdsnap(self, *arguments, codes=(0, 4)):
        result = cli.nbdsnap(*arguments, state=str(self.state))
        assert result.returncode in codes, (arguments, result.returncode, result.stderr)
        return result

    # ---- kill points ----

    def points(self, run, program="nbdsnap"):
        """Every kill point of what run(**variables) does, in order, found by
        doing it once."""
        log = self.folder / "calls"
        for old in self.folder.glob("calls*"):
            old.unlink()
        run(FAULT_LOG=str(log))
        counts = collections.Counter()
        found = []
        for line in log.read_text().splitlines():
            where, call = line.split()
            if where == program or (where, call) == ("nbdsnap-guard", "ioctl"):
                counts[where] += 1
                found.append(Point(where, counts[where], call))
        for path in sorted(self.folder.glob("calls.*")):
            number = path.suffix[1:]
            calls = [line.split()[1] for line in path.read_text().splitlines()]
            found += [Point("orphan", number, "exec"), Point("instead", number, "exec")]
            found += [Point(f"lvm {number}", at + 1, call) for at, call in enumerate(calls)]
        return found

    def kill_at(self, point, run):
        """What run() gives.  Nothing of it is left running, but for the orphan
        that others have to wait for."""
        if point.where in ("orphan", "instead"):
            return run(VICTIM=point.at, VICTIM_DO=point.where)
        if point.where.startswith("lvm "):
            result = run(VICTIM=point.where.split()[1], VICTIM_DO="fault",
                         VICTIM_AT=str(point.at))
        elif point.where == "nbdsnap-guard":
            result = run(FAULT_IN=point.where, FAULT_CALL="ioctl", FAULT_AT=str(point.at))
        else:
            result = run(FAULT_IN=point.where, FAULT_AT=str(point.at))
        self.wait_for_all()
        return result

    def wait_for_all(self, seconds=60):
        end = time.monotonic() + seconds
        while processes():
            assert time.monotonic() < end, processes()
            time.sleep(0.02)

    # ---- what must be true ----

    def suspended(self):
        return [device for device in self.group.devices() if devmapper.suspended(device)]

    def sets(self):
        """{set id: how many of its snapshots there are}, and LVM's report."""
        counts = collections.Counter()
        rows = self.group.lvs("lv_name,lv_tags,thin_id")
        for row in rows.values():
            tags = dict(tag.split("=", 1) for tag in row["lv_tags"].split(",") if "=" in tag)
            if "nbdsnap.set" in tags:
                counts[tags["nbdsnap.set"]] += 1
        return counts, rows

    def check_thin_ids(self, rows):
        """What the pool's metadata has is what LVM knows of."""
        known = sorted(int(row["thin_id"]) for row in rows.values() if row["thin_id"])
        self.pool.reserve()
        try:
            listed = lvm.command("thin_ls", "--no-headers", "-m", "-o", "DEV", self.pool.tmeta)
        finally:
            self.pool.release()
        found = sorted(int(word) for word in listed.split())
        assert found == known, f"in the pool {found}, known to LVM {known}"

    def check(self):
        """Nothing is left of what was killed but whole sets: how many."""
        assert self.suspended() == []
        counts, rows = self.sets()
        half = {set_id: n for set_id, n in counts.items() if n != len(self.volumes)}
        assert not half, (half, list(rows))
        if self.pool:
            assert sorted(self.group.devices()) == self.devices
            assert self.pool.status().held_root == 0
            self.check_thin_ids(rows)
        left = [name for name in os.listdir(self.state / "journal") if name.endswith(".json")]
        assert not left, left
        assert os.listdir(RUNTIME) == [], os.listdir(RUNTIME)
        return len(counts)
