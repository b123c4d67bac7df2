# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run nbdsnap as a user would, and check how it answers or refuses."""

import json
import subprocess

from snaplib import tools

TIMEOUT = 300  # the machine may be busy


def command(*arguments, state="state"):
    return [str(tools.nbdsnap()), "--state-dir", state, *map(str, arguments)]


def nbdsnap(*arguments, state="state", **options):
    return subprocess.run(command(*arguments, state=state), capture_output=True,
                          text=True, timeout=TIMEOUT, **options)


def done(*arguments, code=0, **options):
    """What it prints when it does as told, and has nothing to complain of."""
    result = nbdsnap(*arguments, **options)
    assert result.returncode == code, (result.returncode, result.stderr)
    assert result.stderr == "", result.stderr
    return result.stdout


def answer(verb, *arguments, code=0, **options):
    """Its JSON: one object on one line."""
    output = done(verb, "--json", *arguments, code=code, **options)
    assert output.endswith("\n") and output.count("\n") == 1, output
    parsed = json.loads(output)
    assert parsed["schema"] == f"nbdsnap/{verb}/1"
    return parsed


def refused(result, code, *words):
    """One line `nbdsnap: OBJECT: FACT` with these words, and nothing else."""
    assert result.returncode == code, (result.returncode, result.stderr)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("nbdsnap: ") and lines[0].count(": ") >= 2, lines[0]
    for word in words:
        assert word in lines[0], lines[0]
    assert result.stdout == ""
