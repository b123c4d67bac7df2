# SPDX-License-Identifier: LGPL-2.1-or-later
"""Build nbdsnap with one line broken on purpose, to see that the judge sees."""

import shlex
import subprocess

from snaplib import tools

PACKAGES = ("gio-2.0", "gmodule-no-export-2.0", "json-glib-1.0", "libnbd")
# In link order; an object before them takes the place of theirs.
ARCHIVES = ("cli", "nbd-server", "service", "drivers", "os", "format", "qmp", "base")


def pkg_config(option):
    return shlex.split(tools.run(["pkg-config", option, *PACKAGES]))


def libraries():
    """What the archives were configured with, as libtool noted it."""
    found = []
    for archive in ARCHIVES:
        for line in (tools.BUILD / f"libsnap-{archive}.la").read_text().splitlines():
            if line.startswith("dependency_libs="):
                found += [w for w in line.split("'")[1].split() if w.startswith("-l")]
    return found


def mutate(source, old, new):
    text = (tools.TOP / source).read_text()
    assert text.count(old) == 1, f"{source}: {text.count(old)} times: {old}"
    return text.replace(old, new)


def build(folder, name, source, old, new, main="cli/main.o"):
    """The broken program, nbdsnap or what else has its main() in an object."""
    broken = folder / f"{name}.c"
    broken.write_text(mutate(source, old, new))
    program = folder / f"nbdsnap-{name}"
    archives = [tools.BUILD / ".libs" / f"libsnap-{a}.a" for a in ARCHIVES]
    command = ["gcc", "-std=gnu17", "-w", "-g", f"-I{tools.TOP}", f"-I{tools.BUILD}",
               *pkg_config("--cflags"), broken, tools.BUILD / main, *archives, *libraries(),
               "-o", program]
    subprocess.run([str(word) for word in command], check=True, timeout=120)
    return program
