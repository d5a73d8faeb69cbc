"""`fmt` on the real command line: what it writes, what it lists, what it leaves alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scratch import Scratch

ROOT = Path(__file__).parent.parent.parent
UNTIDY = "version: 1\nthreads:\n  b: {}\n  # about a\n  a:\n    metadata: { z: '1',  plan: 'gold' }   # why\n"
TIDY = 'version: 1\nthreads:\n  # about a\n  a:\n    metadata: {plan: gold, z: "1"}  # why\n  b: {}\n'
INVALID = "version: 1\nthreads:\n  c: {metadata: {x: 1}}\n  d: {metdata: {}}\n"
PATCH = """\
--- a/manifests/a.yaml
+++ b/manifests/a.yaml
@@ -1,6 +1,6 @@
 version: 1
 threads:
+  # about a
+  a:
+    metadata: {plan: gold, z: "1"}  # why
   b: {}
-  # about a
-  a:
-    metadata: { z: '1',  plan: 'gold' }   # why
"""


@pytest.fixture
def scratch(tmp_path):
    return Scratch(tmp_path)


def filtered(scratch, line, data, env=None):
    """Run a command line with bytes on standard input."""
    command = [sys.executable, "-m", "reconciler", *line.split()]
    environment = scratch.environment(env or {})
    return subprocess.run(command, cwd=scratch.folder, env=environment, input=data, capture_output=True, check=False)


def test_files_that_change_are_written_and_listed(scratch):
    scratch.write("manifests/a.yaml", UNTIDY)
    scratch.write("manifests/deep/b.yml", TIDY)
    done = scratch.run("fmt")
    assert (done.code, done.out, done.err) == (0, "manifests/a.yaml\n", "Formatted 1 of 2 files.\n")
    assert scratch.read("manifests/a.yaml") == TIDY
    again = scratch.run("fmt")
    assert (again.code, again.out, again.err) == (0, "Nothing to do: 2 files are in canonical form.\n", "")


def test_what_is_canonical_is_not_even_touched(scratch):
    path = scratch.write("manifests/a.yaml", TIDY)
    os.utime(path, (1, 1))
    before = path.stat()
    assert scratch.run("fmt").code == 0
    assert (path.stat().st_mtime, path.stat().st_ino) == (before.st_mtime, before.st_ino)


def test_check_writes_nothing_and_exits_with_3(scratch):
    scratch.write("manifests/a.yaml", UNTIDY)
    done = scratch.run("fmt --check")
    assert (done.code, done.out, done.err) == (3, "manifests/a.yaml\n", "1 of 1 file would change.\n")
    assert scratch.read("manifests/a.yaml") == UNTIDY
    scratch.write("manifests/a.yaml", TIDY)
    assert scratch.run("fmt --check").code == 0


def test_a_patch_is_one_that_git_applies(scratch):
    scratch.write("manifests/a.yaml", UNTIDY)
    scratch.commit()
    done = scratch.run("fmt --check --diff")
    assert (done.code, done.out) == (3, PATCH)
    scratch.write("x.patch", done.out)
    scratch.git("apply", "x.patch")
    assert scratch.read("manifests/a.yaml") == TIDY


def test_a_patch_is_shown_of_what_is_written(scratch):
    scratch.write("manifests/a.yaml", UNTIDY)
    done = scratch.run("fmt --diff --quiet")
    assert (done.code, done.out, done.err) == (0, PATCH, "")
    assert scratch.read("manifests/a.yaml") == TIDY


def test_a_patch_has_colours_where_they_are_wanted(scratch):
    scratch.write("manifests/a.yaml", UNTIDY)
    assert "\x1b[31m-  a:\x1b[0m\n" in scratch.run("fmt --check --diff --color always").out


def test_invalid_files_are_left_alone_and_told_and_the_others_are_formatted(scratch):
    scratch.write("manifests/a.yaml", UNTIDY)
    scratch.write("manifests/bad.yaml", INVALID)
    done = scratch.run("fmt")
    assert (done.code, done.out) == (3, "manifests/a.yaml\n")
    told = scratch.run("validate").lines
    assert done.err.splitlines() == ["Formatted 1 of 2 files.", *told[:-1]]
    assert [line.split(": ")[0] for line in told[:-1]] == ["manifests/bad.yaml:3:21", "manifests/bad.yaml:4:7"]
    assert scratch.read("manifests/a.yaml") == TIDY
    assert scratch.read("manifests/bad.yaml") == INVALID


def test_a_file_that_is_no_yaml_or_no_text_is_told(scratch):
    scratch.write("manifests/a.yaml", "version: [1\n")
    (scratch.folder / "manifests" / "b.yaml").write_bytes(b"version: 1\n# \xff\n")
    done = scratch.run("fmt --check")
    assert (done.code, done.out) == (3, "")
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["manifests/a.yaml", "manifests/b.yaml"]
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "line", ["fmt nowhere", "fmt empty", "fmt - manifests", "fmt --config nowhere", "fmt --nonsense"]
)
def test_what_makes_no_sense_is_wrong_usage(scratch, line):
    scratch.write("manifests/a.yaml", UNTIDY)
    (scratch.folder / "empty").mkdir()
    done = scratch.run(line)
    assert (done.code, done.out) == (64, "")
    assert scratch.read("manifests/a.yaml") == UNTIDY


def test_without_settings_and_manifests_there_is_nothing_to_format(scratch):
    done = scratch.run("fmt")
    assert done.code == 3
    assert "there is no manifests" in done.err
    (scratch.folder / "manifests").mkdir()
    done = scratch.run("fmt")
    assert (done.code, done.out) == (0, "Nothing to do: there are no manifests.\n")


def test_the_manifests_are_those_of_the_target(scratch):
    scratch.write("one/a.yaml", UNTIDY)
    scratch.write("two/a.yaml", UNTIDY)
    targets = "{a: {provider: emulator, manifests: [one]}, b: {provider: emulator, manifests: [two]}}"
    scratch.write("reconciler.yaml", f"version: 1\ndefault_target: a\ntargets: {targets}\n")
    assert scratch.run("fmt --check --target b").out == "two/a.yaml\n"
    assert scratch.run("fmt --check").out == "one/a.yaml\n"
    scratch.git("init", "-q")
    assert scratch.run("-C two fmt --check").out == "one/a.yaml\n"


def test_the_settings_file_is_no_manifest(scratch):
    settings = "version:   1\ntargets: {a: {provider: 'emulator'}}\n"
    scratch.write("reconciler.yaml", settings)
    scratch.write("manifests/a.yaml", UNTIDY)
    assert scratch.run("fmt .").out == "manifests/a.yaml\n"
    assert scratch.read("reconciler.yaml") == settings
    assert scratch.run("fmt reconciler.yaml").code == 64


@pytest.mark.parametrize(
    "settings", ["version: 1\ntargets: {}\n", "nonsense", "version: 1\ntargets: {a: &x {provider: emulator}, b: *x}\n"]
)
def test_a_path_is_formatted_whatever_is_wrong_with_the_settings(scratch, settings):
    scratch.write("reconciler.yaml", settings)
    scratch.write("manifests/a.yaml", UNTIDY)
    assert scratch.run("fmt").code == 3
    assert scratch.read("manifests/a.yaml") == UNTIDY
    done = scratch.run("fmt .")
    assert (done.code, done.out) == (0, "manifests/a.yaml\n")
    assert scratch.read("reconciler.yaml") == settings


def test_a_link_is_followed_and_the_mode_stays(scratch):
    real = scratch.write("manifests/real/a.yaml", UNTIDY)
    real.chmod(0o600)
    link = scratch.folder / "manifests" / "link.yaml"
    link.symlink_to(real)
    assert scratch.run("fmt manifests/link.yaml").out == "manifests/link.yaml\n"
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == TIDY
    assert real.stat().st_mode & 0o777 == 0o600


def test_standard_input_goes_to_standard_output(scratch):
    done = filtered(scratch, "fmt -", UNTIDY.replace("gold", "größe").encode(), {"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stdout, done.stderr) == (0, TIDY.replace("gold", "größe").encode(), b"")
    assert filtered(scratch, "fmt -", TIDY.encode()).stdout == TIDY.encode()


def test_what_is_wrong_with_standard_input_leaves_nothing_on_standard_output(scratch):
    done = filtered(scratch, "fmt -", INVALID.encode())
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"<stdin>:3:21: error: 1 is a YAML number")


def test_standard_input_can_be_checked(scratch):
    assert filtered(scratch, "fmt --check -", TIDY.encode()).returncode == 0
    done = filtered(scratch, "fmt --check -", UNTIDY.encode())
    assert (done.returncode, done.stdout) == (3, b"<stdin>\n")
    done = filtered(scratch, "fmt --diff -", UNTIDY.encode())
    assert (done.returncode, done.stdout) == (0, PATCH.replace("manifests/a.yaml", "<stdin>").encode())
    assert done.stderr == b""  # nothing was formatted anywhere


def test_a_masked_value_is_not_shown_in_a_patch(scratch):
    targets = "{a: {provider: emulator, mask: [plan]}}"
    scratch.write("reconciler.yaml", f"version: 1\ntargets: {targets}\n")
    scratch.write("manifests/a.yaml", UNTIDY)
    done = scratch.run("fmt --diff --check")
    assert (done.code, done.out) == (
        3,
        "manifests/a.yaml: it has values that are masked, so that its lines are not shown\n",
    )
    done = filtered(scratch, "fmt --diff -", UNTIDY.encode())
    assert b"gold" not in done.stdout + done.stderr


def test_a_masked_value_is_not_shown_in_a_problem(scratch):
    scratch.write("reconciler.yaml", "version: 1\ntargets: {a: {provider: emulator, mask: [pin]}}\n")
    text = "version: 1\nthreads:\n  a: {metadata: {pin: 7341}}\n"
    scratch.write("manifests/a.yaml", text)
    for done in (scratch.run("fmt"), scratch.run("fmt manifests/a.yaml")):
        assert done.code == 3
        assert "it is not repeated, because the settings mask values" in done.err
        assert "7341" not in done.out + done.err
    scratch.write("reconciler.yaml", "version: 1\ntargets: {a: {provider: emulator}}\n")
    scratch.write("other.yaml", "version: 1\nmask: [pin]\ntargets: {a: {provider: emulator}}\n")
    told = filtered(scratch, "fmt - --config other.yaml", text.encode()).stderr
    assert b"not repeated" in told
    assert b"7341" not in told
    assert b"7341" in filtered(scratch, "fmt -", text.encode()).stderr


def test_a_file_that_is_read_only_is_left_alone_and_one_of_somebody_else_stays_theirs(scratch):
    closed, other = (
        scratch.write("manifests/a.yaml", UNTIDY),
        scratch.write("manifests/b.yaml", UNTIDY.replace("  a:", "  c:")),
    )
    closed.chmod(0o444)
    if os.geteuid() == 0:
        os.chown(other, 12, 34)
    owner = (other.stat().st_uid, other.stat().st_gid)
    done = scratch.run("fmt")
    assert (done.code, done.out) == (1, "manifests/b.yaml\n")
    assert "cannot write manifests/a.yaml: it is read-only; make it writable" in done.err
    assert closed.read_text(encoding="utf-8") == UNTIDY
    assert (other.stat().st_uid, other.stat().st_gid) == owner


def test_a_file_that_cannot_be_written_is_told_and_the_others_are_formatted(scratch):
    scratch.write("manifests/a.yaml", UNTIDY)
    scratch.write("manifests/closed/b.yaml", UNTIDY.replace("  a:", "  aa:").replace("  b:", "  bb:"))
    folder = scratch.folder / "manifests" / "closed"
    folder.chmod(0o500)
    try:
        done = scratch.run("fmt")
    finally:
        folder.chmod(0o700)
    if os.geteuid() == 0:  # nothing is closed to root
        assert done.code == 0
        return
    assert (done.code, done.out) == (1, "manifests/a.yaml\n")
    assert "cannot write" in done.err


def test_a_hostile_name_or_comment_does_nothing(scratch):
    scratch.write("manifests/::error::\x1b[31m\n.yaml", UNTIDY)
    scratch.write(
        "manifests/b.yaml",
        UNTIDY.replace("# why", "# \u202e::error::x ##[group]y").replace("  a", "  aa").replace("  b", "  bb"),
    )
    done = scratch.run("fmt --check")
    assert done.lines == ["manifests/::error::\\u001b[31m\\n.yaml", "manifests/b.yaml"]
    done = scratch.run("fmt --check --diff")
    assert not set("\x1b\u202e") & set(done.out)
    assert "##[group]" not in done.out


def test_two_files_that_declare_the_same_are_each_formatted(scratch):
    for name in ("a", "b"):
        scratch.write(f"manifests/{name}.yaml", UNTIDY)
    done = scratch.run("fmt")
    assert (done.code, done.out) == (0, "manifests/a.yaml\nmanifests/b.yaml\n")
    assert scratch.run("validate").code == 3


def test_formatting_changes_no_plan(scratch):
    shutil.copytree(ROOT / "manifests", scratch.folder / "manifests")
    scratch.write("manifests/untidy.yaml", UNTIDY)
    scratch.write("reconciler.yaml", "version: 1\ntargets: {local: {provider: emulator}}\n")
    before = scratch.run("plan --format json").document
    assert scratch.run("fmt").out == "manifests/untidy.yaml\n"
    after = scratch.run("plan --format json").document
    assert [one["planned"] for one in after["changes"]] == [one["planned"] for one in before["changes"]]
    assert after["summary"] == before["summary"]


def test_the_samples_are_canonical(scratch):
    shutil.copytree(ROOT / "manifests", scratch.folder / "manifests")
    done = scratch.run("fmt --check")
    assert (done.code, done.out) == (0, "Nothing to do: 4 files are in canonical form.\n")
