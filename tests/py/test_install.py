# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is installed, that it works where it was put, how the manual reads, and
that a release holds every file of the project."""

import json
import os
import pathlib
import re
import shlex
import subprocess

import pytest

from snaplib import nbd, tools

PAGES = sorted((tools.TOP / "docs").glob("*.pod"))

# Of the repository alone: a release has no use for them.
NOT_RELEASED = {".gitignore", ".ci/run"}

# Run by a test of tests/py, which makes the file systems that they need.
RUN_BY_OTHERS = {"tests/unit/test-contract-files", "tests/unit/test-contract-lvm",
                 "tests/unit/test-contract-qemu", "tests/unit/test-qmp-qemu",
                 "tests/py/test_lvm_mutants.py"}

# What the autotools add to a release.
GENERATED = re.compile(
    r"aclocal\.m4|configure|config\.h\.in|Makefile\.in|build-aux/("
    r"ar-lib|compile|config\.(guess|sub)|depcomp|install-sh|ltmain\.sh|missing|"
    r"py-compile|tap-driver\.sh|test-driver|m4/(libtool|lt[\w~-]+)\.m4)")


def make(*words):
    """make in the build folder, not as a part of a make that runs us."""
    tools.require("make")
    env = {k: v for k, v in os.environ.items()
           if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
    return tools.run(["make", "-C", tools.BUILD, "-s", *words], env=env)


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")
            if path.is_file() or path.is_symlink()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    make("install", f"DESTDIR={root}")
    return root


def find(root, name):
    (path,) = root.rglob(name)
    return path


# ---- what is installed ----

def test_what_is_installed_is_what_was_meant(installed):
    names = sorted(pathlib.Path(path).name for path in files_below(installed))
    assert [n for n in names if not n.endswith(".la")] == sorted([
        "nbdsnap", "nbdsnap", "nbdsnap-guard", "nbdsnap-relay", "nbdkit-snapshot-plugin.so",
        *(page.with_suffix(".1").name for page in PAGES)])
    for name, folder in {
            "nbdkit-snapshot-plugin.so": "nbdkit/plugins",
            "nbdsnap-guard": "libexec/nbdsnap",
            "nbdsnap-relay": "libexec/nbdsnap",
            "nbdsnap-diff.1": "share/man/man1"}.items():
        assert str(find(installed, name).parent).endswith(folder)
    program, completion = sorted(
        (path for path in installed.rglob("nbdsnap") if path.is_file()),
        key=lambda path: len(str(path)))
    assert program.parent.name == "bin" and os.access(program, os.X_OK)
    assert str(completion.parent).endswith("bash-completion/completions")
    source = tools.TOP / "cli" / "nbdsnap-completion.bash"
    assert completion.read_bytes() == source.read_bytes()


def test_nothing_that_is_installed_knows_the_build_folder(installed):
    for path in files_below(installed):
        content = (installed / path).read_bytes()
        if content.startswith(b"\x7fELF"):
            dynamic = tools.run(["readelf", "-d", installed / path])
            assert "RPATH" not in dynamic and "RUNPATH" not in dynamic, path
        else:
            assert str(tools.BUILD).encode() not in content, path


def test_the_plugin_shows_one_symbol(installed):
    """What else it exported could clash with the server's or a filter's."""
    symbols = tools.run(["nm", "-D", "--defined-only",
                         find(installed, "nbdkit-snapshot-plugin.so")])
    ours = {line.split()[-1] for line in symbols.splitlines()}
    assert {s for s in ours if not s.startswith("__")} == {"plugin_init"}


@pytest.mark.parametrize("name", ["bin/nbdsnap", "nbdkit-snapshot-plugin.so"])
def test_what_most_commands_never_call_is_not_loaded_at_their_start(installed, name):
    """Each of these takes a good part of the time that a short command takes."""
    program = next(installed / path for path in files_below(installed) if path.endswith(name))
    needed = re.findall(r"\(NEEDED\).*\[(\w+)", tools.run(["readelf", "-d", program]))
    assert "libglib" in needed
    assert not {"libnbd", "libdevmapper", "libssl", "libcrypto"} & set(needed)


def test_uninstalling_leaves_nothing(tmp_path):
    make("install", f"DESTDIR={tmp_path}")
    assert files_below(tmp_path)
    make("uninstall", f"DESTDIR={tmp_path}")
    assert files_below(tmp_path) == set()


# ---- that it works there ----

@pytest.fixture
def image(tmp_path, monkeypatch):
    tools.require("nbdkit", "qemu-img", "nbdinfo")
    monkeypatch.chdir(tmp_path)
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "1M"])
    tools.run(["qemu-img", "snapshot", "-c", "mon", "disk.qcow2"])
    return "disk.qcow2"


def serve(plugin, image):
    """Words of a command that asks a server for the size of its export."""
    return ["nbdkit", "-U", "-", plugin, "state-dir=state", image,
            "--run", 'nbdinfo --size "$uri"']


def test_the_installed_plugin_works_by_path(installed, image):
    plugin = find(installed, "nbdkit-snapshot-plugin.so")
    assert tools.run(serve(plugin, image), env=nbd.environment()) == "1048576\n"


def test_the_installed_plugin_works_by_name(installed, image):
    """`nbdkit snapshot`: its folder stands in for nbdkit's own, for this one
    process."""
    own = re.search(r"^plugindir=(.*)$", tools.run(["nbdkit", "--dump-config"]), re.M)[1]
    folder = find(installed, "nbdkit-snapshot-plugin.so").parent
    probe = subprocess.run(["unshare", "-rm", "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        tools.missing(f"mount namespaces: {probe.stderr.strip()}")
    script = (f"mount --bind {shlex.quote(str(folder))} {shlex.quote(own)} && "
              f"exec {shlex.join(serve('snapshot', image))}")
    assert tools.run(["unshare", "-rm", "sh", "-c", script],
                     env=nbd.environment()) == "1048576\n"


def test_the_installed_program_works(installed, image):
    program = next(p for p in installed.rglob("nbdsnap") if p.parent.name == "bin")
    assert "mon" in tools.run([program, "--state-dir", "state", "list", image])


# ---- the manual ----

@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_clean_pod_and_renders_without_a_warning(page, installed):
    tools.require("podchecker", "man")
    checked = subprocess.run(["podchecker", "-warnings", page],
                             capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stderr.splitlines() == [
        f"{page} pod syntax OK."], checked.stderr
    rendered = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l",
         find(installed, page.with_suffix(".1").name)],
        env=dict(os.environ, LC_ALL="C.UTF-8", MANWIDTH="80", MANPAGER="cat"),
        capture_output=True, text=True)
    assert rendered.returncode == 0 and rendered.stderr == ""
    assert f"{page.stem} - " in rendered.stdout
    assert "POD ERRORS" not in rendered.stdout


def test_the_pages_refer_to_pages_that_exist():
    ours = {page.stem for page in PAGES}
    for page in PAGES:
        for name in re.findall(r"L<(nbdsnap[\w-]*|nbdkit-snapshot[\w-]*)\(1\)",
                               page.read_text()):
            assert name in ours, f"{page.name} refers to {name}"
    main = (tools.TOP / "docs" / "nbdsnap.pod").read_text()
    assert all(f"L<{name}(1)>" in main for name in ours - {"nbdsnap"})


def summary_of(page):
    (summary,) = re.findall(r"^=head1 NAME\n\n.* - (.*)$", page.read_text(), re.M)
    return summary


def drivers():
    """{name: description}"""
    listed = json.loads(tools.run([tools.nbdsnap(), "drivers", "--json"]))["drivers"]
    return {driver["name"]: driver["description"] for driver in listed}


def test_the_page_of_a_storage_has_the_summary_of_its_driver():
    pages = {page.stem.removeprefix("nbdsnap-"): page for page in PAGES}
    found = {name: text for name, text in drivers().items() if name in pages}
    assert {"qcow2", "btrfs", "reflink"} <= set(found)
    for name, description in found.items():
        assert summary_of(pages[name]) == description


def test_the_page_of_a_verb_has_the_summary_of_its_help():
    for page in PAGES:
        verb = page.stem.removeprefix("nbdsnap-")
        if verb == page.stem or verb in drivers():
            continue
        summary = summary_of(page)
        help_text = tools.run([tools.nbdsnap(), verb, "--help"])
        assert summary[:1].upper() + summary[1:] in help_text.splitlines()


# ---- a release ----

def project_files():
    """What the repository knows or would be told of; in an unpacked release,
    what that holds."""
    if not (tools.TOP / ".git").exists():
        return {path for path in files_below(tools.TOP)
                if not path.startswith(("_build/", "_inst/", "build/"))
                and not GENERATED.fullmatch(path)}
    tools.require("git")
    listed = tools.run(["git", "-c", "safe.directory=*", "-C", tools.TOP, "ls-files",
                        "-z", "--cached", "--others", "--exclude-standard"]).split("\0")
    return {path for path in listed if (tools.TOP / path).is_file()}


def test_a_release_holds_every_file_of_the_project_and_no_other(tmp_path):
    release = tmp_path / "release"
    make("distdir", f"distdir={release}")
    held = {path for path in files_below(release) if not GENERATED.fullmatch(path)}
    files = project_files()
    assert files - NOT_RELEASED - held == set(), "in no local.mk"
    assert held - files == set()
    for script in ("check", "demo", "build-aux/build", "tests/py/run-pytest"):
        assert os.access(release / script, os.X_OK), script


def test_every_file_names_its_licence():
    """But for prose, and seeds, which are bytes."""
    tag = b"SPDX-License-" + b"Identifier: LGPL-2.1-or-later"
    files = {path for path in project_files() if path != "COPYING"
             and not path.endswith((".md", ".pod")) and "/seeds/" not in path}
    assert len(files) > 300
    assert {path for path in files if tag not in (tools.TOP / path).read_bytes()[:200]} == set()


def test_every_test_is_run_by_check_full():
    run = set(make("--eval=show: ; @echo $(TESTS) $(SNAP_PY_FULL)", "show").split())
    tests = {re.sub(r"\.c$", "", path) for path in project_files() if re.fullmatch(
        r"tests/(py/test_\w+\.py|unit/test-[\w-]+\.c|fuzz/fuzz-(?!target)[\w-]+\.c)", path)}
    assert len(tests) > 50 and tests - run == RUN_BY_OTHERS
