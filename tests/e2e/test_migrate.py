"""`migrate` gives resources new references: what is told, what is written, and that it is all or nothing."""

import click
import pytest
from scratch import Scratch, finished

from reconciler.cli.migrate import _has_masked, _Rewritten, _write, migrate
from reconciler.cli.options import Options
from reconciler.cli.output import Prepared
from reconciler.errors import ReconcilerError
from reconciler.manifest import read_manifest

SETTINGS = "version: 1\ntargets:\n  local: {provider: emulator, manifests: [manifests]}\n"
SUPPORT = """\
version: 1
defaults: {metadata: {team: support}}
threads:
  # the first
  thread_a:  # beside
    metadata: {plan: gold}
  thread_b: {}
messages:
  thread_a/msg_1: {}
"""
SALES = "version: 1\nthreads:\n  thread_c: {metadata: {plan: silver}}\n"
MAPPING = "old,new\nthread/thread_a,conversation/conv_1\nthread/thread_c,conversation/conv_3\nthread/gone,vault/v\n"

BELOW = "1 resource is below what moves, and not in the mapping: map them as well, or remove them: "
NEXT = "Next, to let go of what the ledger has of the old references: "
WRONG = """\
tread/a;vault/x
thread/thread_a;thread/thread_b
thread/thread_c;conversation/a b
\x1b[31m/\u202e;::error::x
"""


@pytest.fixture
def scratch(tmp_path):
    scratch = Scratch(tmp_path)
    scratch.write("reconciler.yaml", SETTINGS)
    scratch.write("manifests/sales.yaml", SALES)
    scratch.write("manifests/support.yaml", SUPPORT)
    scratch.write(".gitignore", ".reconciler/\n")
    scratch.write("map.csv", MAPPING)
    return scratch


def texts(scratch):
    return scratch.read("manifests/sales.yaml"), scratch.read("manifests/support.yaml")


def test_a_migration_is_planned_as_new_and_the_old_references_are_let_go(scratch):
    scratch.commit()
    assert scratch.run("apply --yes").code == 0
    shown = scratch.run("migrate map.csv --dry-run")
    assert (shown.code, texts(scratch)) == (0, (SALES, SUPPORT))
    assert "Would migrate 2 resources in 2 files." in shown.err
    done = scratch.run("migrate map.csv --yes")
    assert (done.code, done.out) == (0, shown.out)
    assert done.err.splitlines() == [
        "1 row is declared nowhere, and passed over: thread/gone (map.csv:4)",
        f"{BELOW}message/thread_a/msg_1",
        "Migrated 2 resources in 2 files.",
        "Next, once it is committed: reconciler plan",
        f"{NEXT}reconciler forget thread/thread_a thread/thread_c",
    ]
    assert texts(scratch) == (
        SALES.replace("threads:", "conversations:").replace("thread_c", "conv_3"),
        """\
version: 1
defaults: {metadata: {team: support}}
threads:
  thread_b: {}
messages:
  thread_a/msg_1: {}
conversations:
  # the first
  conv_1:  # beside
    metadata: {plan: gold}
""",
    )
    again = scratch.run("migrate map.csv --yes")
    assert (again.code, again.out) == (0, "Nothing to migrate.\n")
    assert "2 rows are in the manifests already: thread/thread_a (map.csv:2), thread/thread_c (map.csv:3)" in again.err
    scratch.commit()
    plan = scratch.run("plan --format json")
    causes = {(one["id"], field["cause"]) for one in plan.document["changes"] for field in one["fields"]}
    assert causes == {("conv_1", "pending"), ("conv_3", "pending")}
    assert [one["id"] for one in plan.document["released"]] == ["thread_a", "thread_c"]
    forget = done.err.splitlines()[-1].partition(": reconciler ")[2]
    assert scratch.run(forget).code == 0
    assert scratch.run("plan --format json").document["released"] == []


def test_it_asks_and_writes_nothing_without_a_yes(scratch):
    asked = scratch.at_terminal("migrate map.csv", "no")
    assert (asked.code, texts(scratch)) == (1, (SALES, SUPPORT))
    assert "Write this into 2 files? Type yes: " in asked.err
    assert scratch.at_terminal("migrate map.csv manifests/sales.yaml", "yes").code == 0
    assert texts(scratch)[1] == SUPPORT
    assert "conv_3" in texts(scratch)[0]


USAGE = {
    "migrate map.csv": "there is no terminal to ask on",
    "migrate -": "no question can be answered where the mapping comes from",
    "migrate map.csv --yes --dry-run": "leave one of them out",
    "migrate nowhere.csv --yes": "cannot read nowhere.csv",
    "migrate - --yes": "- has no rows",
    "migrate map.csv no --yes": "no does not exist",
    "migrate other.csv --yes": "declares any of the old references",
    "migrate map.csv --from thred --yes": "thred",
}


def test_wrong_usage_writes_nothing(scratch):
    scratch.write("other.csv", "thread/x,conversation/y\n")
    for line, told in USAGE.items():
        done = scratch.run(line)
        assert (done.code, texts(scratch)) == (64, (SALES, SUPPORT)), line
        assert told in done.err, line


def test_all_that_is_wrong_is_told_in_one_run(scratch):
    scratch.write(
        "manifests/support.yaml", SUPPORT.replace("plan: gold", "plan: 1").replace("thread_b: {}", "thread_b: [x]")
    )
    scratch.write("bad.csv", WRONG)
    done = scratch.run("migrate bad.csv --yes")
    assert done.code == 3
    assert [line.split(" error: ")[0] for line in done.err.splitlines()] == [
        "bad.csv:1:1:",
        "bad.csv:2:17:",
        "bad.csv:3:17:",
        "bad.csv:4:1:",
        "bad.csv:4:9:",
        "manifests/support.yaml:6:22:",
        "manifests/support.yaml:7:13:",
    ]
    assert "did you mean thread?" in done.err
    assert not {"\x1b", "\u202e"} & set(done.err)
    assert texts(scratch)[0] == SALES


def test_one_file_that_cannot_be_rewritten_keeps_all_as_they_are(scratch):
    tied = "version: 1\nthreads:\n  thread_x: &x {}\n  thread_y: *x\n"
    scratch.write("manifests/tied.yaml", tied)
    scratch.write("map.csv", f"{MAPPING}thread/thread_x,conversation/x\n")
    done = scratch.run("migrate map.csv --yes")
    assert done.code == 3
    assert "manifests/tied.yaml:3:3: error: thread/thread_x: an anchor ties it to other places (line 4)" in done.err
    assert texts(scratch) == (SALES, SUPPORT)


def test_references_keep_apart_across_files_and_a_swap_of_two_files_is_one(scratch):
    scratch.write("map.csv", "thread/thread_a,thread/thread_c\n")
    done = scratch.run("migrate map.csv manifests/support.yaml --yes")
    assert done.code == 3
    assert "map.csv:1:17: error: thread/thread_c is declared already, at manifests/sales.yaml:3:3" in done.err
    scratch.write("swap.yaml", "thread_a: thread_c\nthread_c: thread_a\n")
    scratch.commit()
    assert scratch.run("apply --yes").code == 0
    shown = scratch.run("migrate swap.yaml --from thread --to thread --dry-run")
    assert "2 rows lead to where other rows begin; carried out a second time, they would lead further" in shown.err
    assert " (and " not in shown.err
    done = scratch.run("migrate swap.yaml --from thread --to thread --yes")
    assert (done.code, "migrate once" in done.err) == (0, True)
    assert "forget" not in done.err, "both are in use"
    assert texts(scratch) == (SALES.replace("thread_c", "thread_a"), SUPPORT.replace("thread_a:", "thread_c:"))


def test_a_mapping_is_taken_from_standard_input(scratch):
    text = scratch.write("ids.tsv", "thread_b\tconv_2\n")
    with text.open(encoding="utf-8") as ids:
        done = finished(scratch.start("migrate - --from thread --to conversation --yes", stdin=ids))
    assert done.code == 0, done.err
    assert "conversations:\n  conv_2: {}\n" in texts(scratch)[1]


def test_values_that_are_masked_are_not_shown(scratch):
    scratch.write("reconciler.yaml", SETTINGS.replace("[manifests]}", "[manifests], mask: [plan]}"))
    done = scratch.run("migrate map.csv --dry-run")
    assert done.code == 0
    assert "gold" not in done.out
    assert "silver" not in done.out
    assert "-thread/thread_a\n+conversation/conv_1\n" in done.out


def test_a_file_that_cannot_be_written_leaves_those_before_it_as_they_were(scratch):
    long = f"manifests/{'z' * 245}.yaml"  # there is no room for the name of a temporary file beside it
    scratch.write(long, "version: 1\nthreads:\n  thread_z: {}\n")
    scratch.write("map.csv", f"{MAPPING}thread/thread_z,conversation/z\n")
    done = scratch.run("migrate map.csv --yes")
    assert done.code == 1
    assert "cannot write" in done.err
    assert texts(scratch) == (SALES, SUPPORT)
    assert "thread_z" in scratch.read(long)


def test_a_file_that_changes_before_its_turn_leaves_all_as_they_were(tmp_path):
    paths = [tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml")]
    for path in paths:
        path.write_bytes(b"old")
    files = [_Rewritten(path, path.name, b"old", b"new", {}) for path in paths]
    paths[1].write_bytes(b"by hand")
    with pytest.raises(ReconcilerError, match="b.yaml was changed meanwhile; nothing was written"):
        _write(files, Options())
    assert [path.read_bytes() for path in paths] == [b"old", b"by hand", b"old"]
    paths[1].write_bytes(b"old")
    _write(files, Options())
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"new"] * 3


def many(folder, *names):
    """Return manifests that are to be rewritten."""
    for name in names:
        (folder / name).write_bytes(b"old")
    return [_Rewritten(folder / name, name, b"old", b"new", {}) for name in names]


class Meanwhile:
    """A manifest that is another one when its turn has come; `happens` comes right before."""

    def __init__(self, file, happens):
        self.path, self.name, self.after, self.refs = file.path, file.name, file.after, {}
        self._before, self._happens, self._looks = file.before, happens, 0

    @property
    def before(self):
        self._looks += 1
        if self._looks == 1:  # before any file gets to its place
            return self._before
        self._happens()
        return b"another"


def test_a_file_that_cannot_be_put_back_is_named_and_costs_the_others_nothing(tmp_path, capsys):
    first, second, third, last = many(tmp_path, "a.yaml", "b\x1b[31m.yaml", "c.yaml", "d.yaml")

    def happens():
        assert [file.path.read_bytes() for file in (first, second, third)] == [b"new"] * 3
        second.path.unlink()
        second.path.mkdir()
        third.path.write_bytes(b"by hand")

    with pytest.raises(ReconcilerError, match="d.yaml was changed meanwhile"):
        _write([first, second, third, Meanwhile(last, happens)], Options())
    assert [first.path.read_bytes(), third.path.read_bytes(), last.path.read_bytes()] == [b"old", b"by hand", b"old"]
    told = capsys.readouterr().err
    assert ["could not be put back" in told, "a.yaml" in told, "c.yaml" in told, "\x1b" in told] == [
        True, False, False, False,
    ]  # fmt: skip


def test_an_interrupt_right_behind_a_rename_leaves_no_file_rewritten(tmp_path, monkeypatch):
    carry_out, times = Prepared.carry_out, []

    def interrupted(self):
        carry_out(self)
        times.append(self)
        if len(times) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Prepared, "carry_out", interrupted)
    files = many(tmp_path, "a.yaml", "b.yaml", "c.yaml")
    with pytest.raises(KeyboardInterrupt):
        _write(files, Options())
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"old"] * 3


def test_a_manifest_that_is_edited_while_the_question_stands_is_left_as_it_is(scratch):
    edited = f"{SUPPORT}# by hand\n"

    class Late:
        """An answer before which somebody saves a file."""

        def __str__(self):
            scratch.write("manifests/support.yaml", edited)
            return "yes"

    done = scratch.at_terminal("migrate map.csv", Late())
    assert (done.code, texts(scratch)) == (1, (SALES, edited))
    assert "manifests/support.yaml was changed meanwhile; nothing was written" in done.err


def masked(text, *mask):
    return _has_masked(read_manifest(f"version: 1\nthreads:\n  a: {text}\n".encode(), "m.yaml"), mask)


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("{metadata: {password: x}}", True),
        ("{metadata: {plan: x}}", False),
        ("{accept: [{key: password, value: x, reason: y}]}", True),
        ("{accept: [{key: plan, value: x, reason: y}]}", False),
        ("{accept: [{key: 'p*', value: x, reason: y}]}", True),
        ("{accept: [{key: 'p?an', value: x, reason: y}]}", True),
        ("{accept: [{key: '[p]lan', value: x, reason: y}]}", True),
    ],
)
def test_a_line_that_may_show_a_masked_value_is_told_by_its_keys_and_a_glob_may_mean_any(text, shows):
    assert masked(text, "pass*") is shows
    assert masked(text) is False


def test_files_complete_the_mapping_and_kinds_the_options():
    context, params = click.Context(migrate), {one.name: one for one in migrate.params}
    assert [one.type for one in params["mapping"].shell_complete(context, "m")] == ["file"]
    assert [one.value for one in params["new_kind"].shell_complete(context, "conv")] == ["conversation"]
