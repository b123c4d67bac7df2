# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of nbdsnap: options, what is refused, where the state goes;
and that --help and the manual pages name the same."""

import json
import os
import pathlib
import re
import shutil
import stat
import subprocess

import pytest

from snaplib import tools
from snaplib.cli import done, nbdsnap, refused

VERBS = ("create", "list", "show", "delete", "diff", "activate", "deactivate",
         "serve", "ack", "thaw", "drivers", "doctor")


@pytest.fixture(autouse=True)
def image(tmp_path, monkeypatch):
    tools.require("qemu-img")
    monkeypatch.chdir(tmp_path)
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "1536k"])


def run(*words, **options):
    """Nothing added to the words, unlike snaplib.cli."""
    return subprocess.run([str(tools.nbdsnap()), *words], capture_output=True,
                          text=True, timeout=60, **options)


# ---- what is refused ----

@pytest.mark.parametrize("words", [
    [], ["--json"], ["frobnicate"], ["help", "frobnicate"], ["--frobnicate"],
    ["help", "list", "diff"], ["help", "--frobnicate"],
    ["lis"], ["LIST"], ["list "], [""], ["--", "frobnicate"], ["a\nb"],
    *([verb, "--frobnicate"] for verb in VERBS),
    *([verb, "-Z"] for verb in VERBS),
    ["list", "--state-dir"], ["--state-dir"],
    ["create"], ["create", "-n"], ["create", "disk.qcow2@s"],
    ["create", "--quiesce", "prayer", "disk.qcow2"],
    ["create", "--quiesce=agent", "disk.qcow2"],
    ["create", "--quiesce=pause", "disk.qcow2"],
    ["list", "disk.qcow2@s"], ["list", "disk.qcow2@"], ["list", ""],
    ["list", "disk.qcow2#part"], ["list", "disk.qcow2%4"],
    ["show"], ["show", "disk.qcow2"], ["show", "disk.qcow2@empty..live"],
    ["show", "disk.qcow2@live", "disk.qcow2@empty"],
    ["delete"], ["delete", "--dry-run"], ["delete", "disk.qcow2"],
    ["delete", "disk.qcow2@live"], ["delete", "disk.qcow2@empty..live"],
    ["serve"], ["serve", "disk.qcow2"], ["serve", "--socket=s"],
    ["serve", "--port=65536", "disk.qcow2"], ["serve", "--listen=s", "disk.qcow2@live"],
    ["serve", "--listen=tcp:localhost", "disk.qcow2@live"],
    ["diff"], ["diff", "disk.qcow2"], ["diff", "disk.qcow2@live"],
    ["diff", "disk.qcow2@a..b..c"], ["diff", "disk.qcow2@..live"],
    ["diff", "disk.qcow2@empty.."], ["diff", "disk.qcow2@empty", "disk.qcow2"],
    ["diff", "disk.qcow2@empty..live", "disk.qcow2@live"],
    ["diff", "disk.qcow2@empty", "disk.qcow2@live", "disk.qcow2@live"],
    ["diff", "--format=yaml", "disk.qcow2@empty..live"],
    ["diff", "--json", "--format=text", "disk.qcow2@empty..live"],
    ["drivers", "more"], ["doctor", "more"]], ids=" ".join)
def test_a_wrong_command_line_is_usage(words):
    refused(run(*words), 2)


@pytest.mark.parametrize("words", [[], *([verb] for verb in (*VERBS, "help"))], ids=" ".join)
def test_an_option_that_is_none_is_answered_with_where_to_look(words):
    asked = " ".join(["nbdsnap", *words, "--help"])
    refused(run(*words, "--frobnicate"), 2, "--frobnicate", f"(try '{asked}')")
    assert subprocess.run(["sh", "-c", asked], capture_output=True, env=dict(
        os.environ, PATH=f"{tools.BUILD}:{os.environ['PATH']}")).returncode == 0


def test_a_name_that_is_no_driver_is_a_path():
    refused(nbdsnap("list", "nodriver:disk.qcow2"), 1, "nodriver:disk.qcow2")
    shutil.copy("disk.qcow2", "nodriver:disk.qcow2")
    assert "snapshots" in done("list", "--json", "nodriver:disk.qcow2")
    refused(nbdsnap("list", "qcow2:nodriver"), 1, "nodriver")


# ---- options ----

def test_options_may_stand_before_or_after_the_verb():
    done("create", "-n", "s", "disk.qcow2")
    wanted = done("list", "--json", "--bytes", "disk.qcow2")
    for words in (["--json", "list", "disk.qcow2"],
                  ["list", "disk.qcow2", "--json"],
                  ["--bytes", "list", "--json", "--", "disk.qcow2"],
                  ["--json", "--", "list", "disk.qcow2"]):
        assert done(*words) == wanted


def test_an_argument_like_an_option_needs_a_separator():
    shutil.copy("disk.qcow2", "--json")
    refused(run("list", "--json", "--nothing"), 2)
    assert run("list", "--json", "--", "--json").stdout.startswith(
        '{"schema":"nbdsnap/list/1","volumes":[{"volume":"qcow2:--json"')


def test_sizes_are_for_people_unless_bytes_are_wanted():
    done("create", "-n", "s", "disk.qcow2")
    assert " 1.5 MiB " in done("list", "disk.qcow2")
    assert f" {1536 * 1024} " in done("list", "--bytes", "disk.qcow2")
    assert "size:        1.5 MiB\n" in done("show", "disk.qcow2@s")
    assert "size:        1572864\n" in done("show", "--bytes", "disk.qcow2@s")


def test_quiet_leaves_only_the_result():
    assert done("create", "-q", "-n", "s", "disk.qcow2") == "qcow2:disk.qcow2@s\n"
    assert done("list", "-q", "disk.qcow2") == "qcow2:disk.qcow2@s\n"
    assert done("diff", "-q", "disk.qcow2@s..live") == "# end 0 extents\n"
    noisy = nbdsnap("diff", "disk.qcow2@s..live")
    assert noisy.stderr.count("\n") == 1 and "retained" in noisy.stderr
    assert done("delete", "-q", "disk.qcow2@s") == ""
    assert done("doctor", "-q") == ""


def test_what_create_prints_names_the_snapshot_and_the_window():
    output = done("create", "-n", "s", "disk.qcow2")
    assert re.fullmatch(r"qcow2:disk\.qcow2@s\nwindow: \d+\.\d{3} ms\n"
                        r"consistency: atomic\n", output)


def test_tables_are_aligned():
    done("create", "-n", "short", "disk.qcow2")
    done("create", "-n", "a-much-longer-name", "disk.qcow2")
    for output in (done("list", "disk.qcow2"), done("drivers")):
        head, *rows = output.splitlines()
        columns = [match.start() for match in re.finditer(r"\S+", head)]
        left = [at for at in columns if not head[at:].startswith("SIZE")]
        assert rows and not any(line.endswith(" ") for line in output.splitlines())
        for row in rows:
            for at in left:
                assert row[at] != " " and (at == 0 or row[at - 1] == " "), output


# ---- output that cannot be written ----

@pytest.mark.parametrize("words", [
    ["--help"], ["--version"], ["help", "diff"], ["list", "--help"],
    ["list", "disk.qcow2"], ["list", "--json", "disk.qcow2"],
    ["show", "disk.qcow2@live"], ["drivers"], ["doctor"]], ids=" ".join)
def test_a_full_disk_under_the_output_is_an_error(words):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [str(tools.nbdsnap()), "--state-dir", "state", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    result.stdout = ""
    refused(result, 1, "standard output", "space")


def test_closed_streams_are_no_files_of_ours():
    """With 0, 1 and 2 closed nothing that is opened gets their numbers."""
    before = pathlib.Path("disk.qcow2").read_bytes()
    result = subprocess.run(
        ["sh", "-c", '"$0" --state-dir state list disk.qcow2 <&- >&- 2>&-',
         str(tools.nbdsnap())], timeout=60)
    assert result.returncode == 1
    assert pathlib.Path("disk.qcow2").read_bytes() == before


# ---- where the state goes ----

def test_reading_makes_no_state_directory():
    done("list")
    done("list", "disk.qcow2")
    done("show", "disk.qcow2@live")
    done("drivers")
    done("doctor", "--dry-run")
    assert not os.path.exists("state")


def test_the_state_directory_is_made_with_its_parents_and_for_the_owner_only():
    done("create", "-n", "s", "disk.qcow2", state="deep/er/state")
    assert stat.S_IMODE(os.stat("deep/er/state").st_mode) == 0o700
    assert sorted(os.listdir("deep/er/state")) == ["holds", "journal", "sets"]
    (manifest,) = os.listdir("deep/er/state/sets")
    set_id = json.loads(done("show", "--json", "disk.qcow2@s", state="deep/er/state"))["set"]
    assert manifest == f"{set_id}.json"
    assert "s" in done("list", state="deep/er/state") and done("list") == ""


def test_without_its_manifest_a_set_is_still_a_snapshot():
    done("create", "-n", "s", "disk.qcow2")
    shown = json.loads(done("show", "--json", "disk.qcow2@s", state="other"))
    assert shown["consistency"] is None and "window_us" not in shown
    assert shown["ours"] is True
    assert done("delete", "disk.qcow2@s", state="other") == (
        "deleted qcow2:disk.qcow2@s\n")


@pytest.mark.parametrize("state", ["file", "file/below", "/proc/nbdsnap"])
def test_a_state_directory_that_cannot_be_is_named(state):
    pathlib.Path("file").touch()
    refused(nbdsnap("create", "-n", "s", "disk.qcow2", state=state), 1,
            "nbdsnap: state directory", state)
    assert done("list", "-q", "disk.qcow2") == ""


def test_a_volume_that_is_gone_does_not_hide_the_others():
    shutil.copy("disk.qcow2", "gone.qcow2")
    assert nbdsnap("create", "-n", "s", "disk.qcow2", "gone.qcow2").returncode == 4
    os.unlink("gone.qcow2")
    result = nbdsnap("list", "--json")
    assert result.returncode == 0
    present, gone = json.loads(result.stdout)["volumes"]
    assert [s["name"] for s in present["snapshots"]] == ["s"]
    assert list(gone) == ["volume", "error"] and "gone.qcow2" in gone["error"]
    result = nbdsnap("list")
    assert result.returncode == 0 and "disk.qcow2" in result.stdout
    assert len(result.stderr.splitlines()) == 1 and "gone.qcow2" in result.stderr


def test_an_ordinary_user_has_a_state_directory_of_their_own(tmp_path):
    """In a copy, for the build may lie where others cannot look."""
    program = shutil.copy(tools.nbdsnap(), tmp_path / "nbdsnap")
    command = [program]
    if os.geteuid() == 0:
        command = [tools.which("setpriv"), "--reuid=65534", "--regid=65534",
                   "--clear-groups", *command]
        for path in (tmp_path, tmp_path / "disk.qcow2"):
            os.chown(path, 65534, 65534)
        for folder in tmp_path.parents:
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
                folder.chmod(0o711)
    for changes, state in (({"XDG_STATE_HOME": str(tmp_path / "xdg")}, "xdg"),
                           ({"XDG_STATE_HOME": ""}, ".local/state")):
        env = dict(os.environ, HOME=str(tmp_path), **changes)
        made = subprocess.run([*command, "create", "-q", "disk.qcow2"], env=env,
                              capture_output=True, text=True, timeout=60)
        assert made.returncode == 0, made.stderr
        assert len(os.listdir(tmp_path / state / "nbdsnap" / "sets")) == 1
        done("delete", "-q", made.stdout.strip())


# ---- help and the manual ----

def options_of_help(*words):
    """{long name: short name or None} and what they take."""
    text = run(*words).stdout
    return {long: (short or None, bool(takes)) for short, long, takes in re.findall(
        r"^  (?:(-\w), )?(--[\w-]+)(=\S+)?", text, re.M)}


def options_of_page(name):
    """The same of a manual page: its items that are options."""
    page = (tools.TOP / "docs" / f"{name}.pod").read_text()
    found = {}
    for item in re.findall(r"^=item (.*B<-.*)$", page, re.M):
        names = re.findall(r"B<(--?[\w-]+)>", item)
        (long,) = [n for n in names if n.startswith("--")]
        shorts = [n for n in names if not n.startswith("--")]
        found[long] = (shorts[0] if shorts else None, "I<" in item)
    return found


def test_the_program_s_page_names_the_options_of_its_help():
    options = options_of_help("--help")
    assert len(options) >= 8 and options == options_of_page("nbdsnap")


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_s_page_names_the_options_of_its_help(verb):
    general = options_of_help("--help")
    options = options_of_help(verb, "--help")
    assert general.items() <= options.items()
    own = {name: form for name, form in options.items() if name not in general}
    assert own == options_of_page(f"nbdsnap-{verb}")


def test_every_verb_has_a_line_in_help_and_in_the_page():
    listed = re.findall(r"^  (\w+) +[A-Z]", run("--help").stdout, re.M)
    assert sorted(listed) == sorted([*VERBS, "help"])
    page = (tools.TOP / "docs" / "nbdsnap.pod").read_text()
    section = page.split("=head1 VERBS")[1].split("=head1")[0]
    assert sorted(re.findall(r"^=item B<(\w+)>", section, re.M)) == sorted(listed)


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_the_same_however_it_is_asked_for(verb):
    wanted = run(verb, "--help")
    assert wanted.returncode == 0 and wanted.stderr == ""
    assert f"nbdsnap {verb} " in wanted.stdout
    for words in (["help", verb], ["--help", verb], [verb, "-h", "more"],
                  ["help", verb, "--help"], ["help", "--help", verb]):
        assert run(*words).stdout == wanted.stdout, words


def test_help_of_help_is_the_general_one():
    for words in (["-h"], ["help"], ["help", "--help"], ["help", "help"]):
        assert run(*words).stdout == run("--help").stdout != "", words


def test_the_version_is_one_line():
    for words in (["--version"], ["list", "--version"]):
        result = run(*words)
        assert result.returncode == 0
        assert re.fullmatch(r"nbdsnap \d+\.\d+\.\d+\n", result.stdout)
