"""`adopt` takes what changed outside git into the manifests: which changes, which lines, and only after a yes."""

import os
import shlex

import pytest
from scratch import SETTINGS, Api, Scratch, staged

ONE = "threads:\n  thread_1:\n    metadata: {plan: gold}\n"


def adopted(stage, line="adopt --yes"):
    """Adopt, and return what was said; nothing but GET may have been sent."""
    stage.api.calls.clear()
    done = stage.run(line)
    assert {call.method for call in stage.api.calls} <= {"GET"}
    return done


def applied(stage):
    stage.scratch.commit()
    assert stage.run("apply --yes").code == 0


def moved(done):
    changes = done.document["changes"]
    return {f"{each['id']}.{field['key']}": field["cause"] for each in changes for field in each["fields"]}


def manifest(stage):
    return stage.scratch.read("manifests/m.yaml").removeprefix("version: 1\n")


# --- only the affected lines ------------------------------------------------------------------------------------------

STYLES = {
    "block, comments, odd order": (
        """\
# top

threads:   # all
  thread_{0}:
    # why gold
    metadata:
      tier: a     # kept
      plan: gold   # the plan
      # below
      area: north

# end
""",
        {"plan": "silver", "tier": "a", "area": "north"},
        {"plan: gold ": "plan: silver "},
    ),
    "single quotes": (
        "threads:\n  thread_{0}:\n    metadata: {'plan': 'gold', \"tier\": \"a\", area: b}\n",
        {"plan": "it's", "tier": "007", "area": "c d"},
        {"'gold'": "'it''s'", '"a"': '"007"', "area: b": "area: c d"},
    ),
    "a key that vanished goes with its line": (
        "threads:\n  thread_{0}:\n    metadata:\n      # stays\n      plan: gold # goes\n      tier: a\n",
        {"tier": "a"},
        {"      plan: gold # goes\n": ""},
    ),
    "a key that vanished from a flow map": (
        "threads: {thread_{0}: {metadata: {plan: gold, tier: a}}}\n",
        {"tier": "a"},
        {"plan: gold, ": ""},
    ),
    "windows line ends": (
        "threads:\r\n  thread_{0}:\r\n    metadata:\r\n      plan: gold\r\n      tier: a\r\n",
        {"plan": "silver", "tier": "a"},
        {"gold": "silver"},
    ),
    "no newline at the end": (
        "threads:\n  thread_{0}:\n    metadata:\n      tier: a\n      plan: gold",
        {"plan": "silver", "tier": "a"},
        {"gold": "silver"},
    ),
    "a byte order mark": (
        "\ufeffthreads:\n  thread_{0}: {metadata: {plan: gold}}\n",
        {"plan": "silver"},
        {"gold": "silver"},
    ),
    "an inherited value is overridden in the resource": (
        "defaults: {metadata: {team: a}}\nthreads:\n  thread_{0}:\n    metadata:\n      plan: gold\n  thread_x: {}\n",
        {"plan": "gold", "team": "sales"},
        {"      plan: gold\n": "      plan: gold\n      team: sales\n"},
    ),
    "an inherited key that was removed becomes null": (
        "defaults: {metadata: {team: support}}\nthreads:\n  thread_{0}:\n    metadata:\n      plan: gold\n",
        {"plan": "gold"},
        {"      plan: gold\n": "      plan: gold\n      team: null\n"},
    ),
    "a resource with nothing of its own": (
        "defaults: {metadata: {team: support}}\nthreads:\n  thread_{0}: {}\n  thread_x{0}: {}\n",
        {"team": "sales"},
        {"  thread_{0}: {}\n": "  thread_{0}:\n    metadata:\n      team: sales\n"},
    ),
    "null that shall not exist and does": (
        "threads:\n  thread_{0}:\n    metadata:\n      plan: gold\n      trial: null  # never\n",
        {"plan": "gold", "trial": "yes"},
        {"trial: null  #": 'trial: "yes"  #'},
    ),
    "a new key where every key is ours": (
        "threads:\n  thread_{0}:\n    ownership: exclusive\n    metadata:\n      plan: gold\n    protect: true\n",
        {"plan": "gold", "new": "x"},
        {"      plan: gold\n": "      plan: gold\n      new: x\n"},
    ),
    "text over several lines": (
        "threads:\n  thread_{0}:\n    metadata:\n      text: |\n        one\n        two\n      plan: gold\n",
        {"text": "one\nthree\n", "plan": "gold"},
        {"        two\n": "        three\n"},
    ),
    "an anchor on another line stays": (
        "threads:\n  thread_{0}:\n    metadata: &common\n      plan: gold\n      tier: a\n    protect: true\n",
        {"plan": "silver", "tier": "a"},
        {"gold": "silver"},
    ),
    "a value that stands for another by its alias": (
        "threads:\n  thread_{0}:\n    metadata:\n      tier: &level a\n      area: *level\n      plan: gold\n",
        {"tier": "a", "area": "b", "plan": "gold"},
        {"area: *level": "area: b"},
    ),
}


@pytest.fixture(scope="module")
def styles(tmp_path_factory):
    """Adopt a change of each style in one run; gives the stage, what was said, and the files before."""
    api = Api(writes={"thread": "replace"})
    with staged(tmp_path_factory.mktemp("styles"), "threads: {}\n", api, "writes: {thread: replace}") as stage:
        before = {}
        for at, (text, _, _) in enumerate(STYLES.values()):
            content = text.replace("{0}", str(at))
            breaks = "\r\n" if "\r\n" in content else "\n"
            mark = content[: content.startswith("\ufeff")]
            before[at] = f"{mark}version: 1{breaks}{content.removeprefix(mark)}".encode()
            (stage.scratch.folder / f"manifests/{at}.yaml").write_bytes(before[at])
            for name in (f"thread/thread_{at}", f"thread/thread_x{at}", "thread/thread_x"):
                api.put(name, {})
        stage.scratch.commit()
        assert stage.run("apply --yes --max-changed 100").code == 0
        for at, (_, there, _) in enumerate(STYLES.values()):
            api.put(f"thread/thread_{at}", there)
        done = adopted(stage)
        assert done.code == 0, done
        yield stage, done, before


@pytest.mark.parametrize("style", STYLES)
def test_only_the_affected_lines_change(style, styles):
    stage, _, before = styles
    at = list(STYLES).index(style)
    expected = before[at].decode()
    for old, new in STYLES[style][2].items():
        old, new = (text.replace("{0}", str(at)) for text in (old, new))
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert (stage.scratch.folder / f"manifests/{at}.yaml").read_bytes().decode() == expected


def test_the_patch_is_shown_and_nothing_is_committed(styles):
    stage, done, _ = styles
    assert "--- a/manifests/0.yaml" in done.out
    assert "-      plan: gold   # the plan" in done.out
    assert "+      plan: silver   # the plan" in done.out
    assert "\\ No newline at end of file" in done.out
    assert f"Adopted {sum(max(1, len(lines)) for _, _, lines in STYLES.values())} fields" in done.err
    status = stage.scratch.git("status", "--porcelain").split("\n")
    assert len(status) == len(STYLES)
    assert all(line.strip().startswith("M manifests/") for line in status)


def test_after_an_adoption_nothing_is_left_to_do_and_after_an_apply_nothing_drifts(styles):
    stage, _, _ = styles
    plan = stage.run("plan --format json")
    assert (plan.code, plan.document["changes"]) == (0, [])
    assert stage.run("drift").code == 0
    assert adopted(stage).out == "Nothing to adopt.\n"
    stage.api.calls.clear()
    applied(stage)
    assert stage.api.sent("POST") == []
    drift = stage.run("drift --format json")
    assert (drift.code, drift.document["changes"]) == (0, [])
    assert drift.document["base"]["commit"] == stage.scratch.git("rev-parse", "HEAD")


# --- which changes ----------------------------------------------------------------------------------------------------

CAUSES = "threads:\n  thread_1:\n    metadata:\n      drift: a\n      both: a\n      git: a\n      known: a\n"
ACCEPT = "    accept: [{key: known, value: b}]\n"


@pytest.mark.parametrize(
    ("flags", "taken"), [("", {"drift"}), ("--conflicts", {"drift", "both"}), ("--unattributed", {"drift"})]
)
def test_drift_is_taken_and_a_conflict_only_where_it_is_asked_for(flags, taken, tmp_path):
    with staged(tmp_path, CAUSES + ACCEPT, Api({"thread/thread_1": {}})) as stage:
        applied(stage)
        ours = CAUSES.replace("both: a", "both: z").replace("git: a", "git: z") + ACCEPT
        stage.scratch.manifest(ours)
        stage.api.put("thread/thread_1", {"drift": "b", "both": "b", "git": "a", "known": "b"})
        done = adopted(stage, f"adopt --yes {flags}")
        assert done.code == 0, done
        expected = ours.replace("drift: a", "drift: b")
        if "both" in taken:
            expected = expected.replace("both: z", "both: b")
        assert manifest(stage) == expected


@pytest.mark.parametrize("flag", ["", "--unattributed"])
def test_what_may_be_a_change_of_git_is_taken_only_where_it_is_asked_for(flag, tmp_path):
    with staged(tmp_path, CAUSES, Api({"thread/thread_1": {"drift": "b", "git": "a"}})) as stage:
        done = adopted(stage, f"adopt --yes {flag}")  # outside of git, too
        assert done.code == 0
        if flag:
            assert manifest(stage) == "threads:\n  thread_1:\n    metadata:\n      drift: b\n      git: a\n"
        else:
            assert done.out == "Nothing to adopt.\n"
            assert manifest(stage) == CAUSES


def test_accepted_drift_is_left_alone_until_its_day_is_over(tmp_path):
    text = ONE + "    accept: [{key: plan, value: silver, until: 2026-05-31}]\n"
    with staged(tmp_path, text, Api({"thread/thread_1": {}})) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": "silver"})
        assert adopted(stage, "adopt --yes --now 2026-05-31").out == "Nothing to adopt.\n"
        assert manifest(stage) == text
        assert adopted(stage, "adopt --yes --now 2026-06-01").code == 0
        assert manifest(stage) == text.replace("plan: gold", "plan: silver")


def test_paths_selections_and_revisions_restrict_what_is_taken(tmp_path):
    held = {f"thread/thread_{at}": {} for at in (1, 2, 3)}
    two = ONE + "  thread_2:\n    metadata: {plan: gold}\n"
    three = "version: 1\nthreads:\n  thread_3:\n    metadata: {plan: gold}\n"
    with staged(tmp_path, two, Api(held)) as stage:
        stage.scratch.write("manifests/three.yaml", three)
        applied(stage)
        for name in held:
            stage.api.put(name, {"plan": "silver"})
        assert adopted(stage, "adopt --yes --changed-since HEAD").out == "Nothing to adopt.\n"
        assert adopted(stage, "adopt --yes --select thread/thread_2").code == 0
        assert manifest(stage) == two[: -len("gold}\n")] + "silver}\n"
        assert stage.scratch.read("manifests/three.yaml") == three
        assert adopted(stage, "adopt --yes manifests/three.yaml").code == 0
        assert stage.scratch.read("manifests/three.yaml") == three.replace("gold", "silver")
        assert moved(stage.run("drift --format json")) == {"thread_1.plan": "drift"}
        assert adopted(stage, "adopt --yes --select thread/none").code == 64


def test_a_revision_may_stand_for_what_was_applied_last(tmp_path):
    with staged(tmp_path, ONE, Api({"thread/thread_1": {"plan": "silver"}})) as stage:
        stage.scratch.commit()
        assert adopted(stage, "adopt --yes --base HEAD").code == 0
        assert manifest(stage) == ONE.replace("gold", "silver")


# --- what cannot be taken ---------------------------------------------------------------------------------------------

UNFIT = {
    "nul": "a\x00b",
    "half": "\ud83d",
    "long": "x" * 513,
    "number": 7,
    "list": ["x"],
}


def test_values_that_no_manifest_may_hold_are_reported_and_not_written(tmp_path):
    text = "threads:\n  thread_1:\n    metadata: {fit: a, half: a, list: a, long: a, nul: a, number: a}\n"
    with staged(tmp_path, text, Api({"thread/thread_1": {}})) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {**UNFIT, "fit": "b"})
        done = adopted(stage)
        assert done.code == 1
        assert manifest(stage) == text.replace("fit: a", "fit: b")
    assert done.err.count("[not_adopted]") == len(UNFIT)
    assert done.err.count("manifests/m.yaml:4:") == len(UNFIT)
    assert "Adopted 1 field;" in done.err
    assert "Traceback" not in done.err


def test_a_change_that_would_change_another_resource_is_reported_and_not_written(tmp_path):
    text = "threads:\n  thread_1:\n    metadata: &common {plan: gold}\n  thread_2:\n    metadata: *common\n"
    with staged(tmp_path, text, Api({"thread/thread_1": {}, "thread/thread_2": {}})) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": "silver"})
        done = adopted(stage)
        assert (done.code, manifest(stage)) == (1, text)
        assert "[not_adopted]" in done.err
        # Where both have moved alike, it does no harm.
        stage.api.put("thread/thread_2", {"plan": "silver"})
        assert adopted(stage).code == 0
        assert "metadata: &common {plan: silver}" in manifest(stage)
        assert stage.run("plan --detailed-exitcode").code == 0


def test_an_id_that_is_gone_is_told_and_the_rest_is_taken(tmp_path):
    text = ONE + "  thread_2:\n    metadata: {plan: gold}\n"
    with staged(tmp_path, text, Api({"thread/thread_1": {}, "thread/thread_2": {}})) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": "silver"})
        stage.api.delete("thread/thread_2")
        done = adopted(stage)
        assert done.code == 1
        assert "thread/thread_2 is gone" in done.err
        assert "manifests/m.yaml:5:3" in done.err
        assert manifest(stage) == text.replace("gold", "silver", 1)


def test_hostile_values_are_written_as_data_and_shown_harmlessly(tmp_path):
    hostile = "\x1b[31mred\x1b[0m\n::error::boo\u202e\x85"
    with staged(tmp_path, ONE, Api({"thread/thread_1": {}})) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": hostile})
        done = adopted(stage, "adopt --yes --color always")
        assert done.code == 0
        assert "\x1b[31mred" not in done.out
        assert "\n::error" not in done.out
        assert "\u202e" not in done.out
        assert stage.run("plan --detailed-exitcode").code == 0


# --- consent ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def drifted(tmp_path):
    with staged(tmp_path, ONE, Api({"thread/thread_1": {}})) as stage:
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": "silver"})
        stage.api.calls.clear()
        yield stage


def test_without_a_terminal_consent_has_to_be_given_before_any_call(drifted):
    done = drifted.run("adopt")
    assert (done.code, drifted.api.calls) == (64, [])
    assert "--yes" in done.err
    assert manifest(drifted) == ONE


def test_anything_but_yes_touches_no_file(drifted):
    path = drifted.scratch.folder / "manifests/m.yaml"
    before = path.stat()
    done = drifted.scratch.at_terminal("adopt", "no")
    assert done.code == 1
    assert "+    metadata: {plan: silver}" in done.out
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert drifted.scratch.git("status", "--porcelain") == ""


def test_yes_writes_what_was_shown(drifted):
    done = drifted.scratch.at_terminal("adopt", "yes")
    assert done.code == 0
    assert "1 file?" in done.err
    assert manifest(drifted) == ONE.replace("gold", "silver")


def test_nobody_is_asked_where_there_is_nothing_to_adopt(drifted):
    drifted.api.put("thread/thread_1", {"plan": "gold"})
    done = drifted.scratch.at_terminal("adopt")
    assert (done.code, done.out) == (0, "Nothing to adopt.\n")
    assert "Type yes" not in done.err


def test_the_mode_of_a_file_and_a_link_to_it_survive(drifted):
    path = drifted.scratch.folder / "manifests/m.yaml"
    kept = drifted.scratch.folder / "manifests/.kept.yaml"
    path.rename(kept)
    path.symlink_to(kept.name)
    kept.chmod(0o640)
    assert adopted(drifted).code == 0
    assert path.is_symlink()
    assert kept.stat().st_mode & 0o777 == 0o640
    assert kept.read_text() == "version: 1\n" + ONE.replace("gold", "silver")


# --- where it runs ----------------------------------------------------------------------------------------------------

ODD_NAMES = ["two 'words' \"ü\".yaml", "new\nline.yaml", "-dash *?[x].yml"]


def test_files_of_unusual_names_are_edited_in_their_place(tmp_path):
    texts = {
        f"manifests/{name}": f"version: 1\nthreads:\n  thread_{at}: {{metadata: {{plan: gold}}}}\n"
        for at, name in enumerate(ODD_NAMES)
    }
    api = Api({f"thread/thread_{at}": {} for at in range(len(ODD_NAMES))})
    with staged(tmp_path, "threads: {}\n", api) as stage:
        for name, text in texts.items():
            stage.scratch.write(name, text)
        applied(stage)
        for at in range(len(ODD_NAMES)):
            api.put(f"thread/thread_{at}", {"plan": "silver"})
        done = adopted(stage)
        assert done.code == 0, done
        for name, text in texts.items():
            assert stage.scratch.read(name) == text.replace("gold", "silver")
        assert not any("line.yaml" in line and "new" not in line for line in done.lines)


def test_a_file_whose_name_is_no_text_is_edited_or_told(tmp_path):
    with staged(tmp_path, "threads: {}\n", Api({"thread/thread_1": {}})) as stage:
        path = os.fsencode(stage.scratch.folder) + b"/manifests/odd\xff.yaml"
        with open(path, "wb") as file:  # noqa: PTH123 - a name of bytes
            file.write(f"version: 1\n{ONE}".encode())
        applied(stage)
        stage.api.put("thread/thread_1", {"plan": "silver"})
        done = adopted(stage)
        with open(path, "rb") as file:  # noqa: PTH123 - a name of bytes
            now = file.read().decode()
    assert "Traceback" not in done.err
    written = done.code == 0 and now == "version: 1\n" + ONE.replace("gold", "silver")
    assert written or (done.code != 0 and "odd" in done.err), "it ended without a word"


def test_a_subfolder_and_a_linked_work_tree_edit_their_own_files(tmp_path):
    api, scratch = Api({"thread/thread_1": {}}), Scratch(tmp_path)
    with api.listening() as url:
        scratch.write("one/reconciler.yaml", SETTINGS.format(url=url, more="", rest=""))
        scratch.write("one/manifests/deep/m.yaml", f"version: 1\n{ONE}")
        scratch.commit()
        assert scratch.run("apply --yes -C one").code == 0
        scratch.git("worktree", "add", "-q", "--detach", str(tmp_path / "linked tree"))
        api.put("thread/thread_1", {"plan": "silver"})
        linked = tmp_path / "linked tree/one"
        assert scratch.run(f"adopt --yes -C {shlex.quote(str(linked))}").code == 0
        assert (linked / "manifests/deep/m.yaml").read_text() == "version: 1\n" + ONE.replace("gold", "silver")
        assert scratch.git("status", "--porcelain") == ""
        assert scratch.run("adopt --yes -C one/manifests/deep").code == 0
        assert scratch.git("status", "--porcelain") == "M one/manifests/deep/m.yaml"


class Late(str):
    """An answer at the terminal before which something else happens."""

    __slots__ = ("happen",)

    def __new__(cls, answer, happen):
        late = super().__new__(cls, answer)
        late.happen = happen
        return late

    def __format__(self, spec):
        self.happen()
        return super().__format__(spec)


def test_what_a_person_writes_while_the_question_is_there_is_not_lost(drifted):
    path = drifted.scratch.folder / "manifests/m.yaml"
    meanwhile = f"{path.read_text()}    protect: true  # written meanwhile\n"
    drifted.scratch.at_terminal("adopt", Late("yes", lambda: path.write_text(meanwhile)))
    assert "# written meanwhile" in path.read_text()
