"""Flags, environment and the settings file, and what is refused."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.dialects import AUTO, MERGE, REPLACE, Removals
from reconciler.errors import InvalidInput, Location, WrongUsage
from reconciler.gateway.providers import EMULATOR_URL, PROVIDERS
from reconciler.gateway.sources import Command, Identity
from reconciler.guard import Guards
from reconciler.kinds import KINDS
from reconciler.settings import Key, Rate, Settings, Target, parse_percent, resolve
from reconciler.settings.file import SettingsModel

FULL = """\
version: 1
default_target: local
targets:
  local: {provider: emulator, manifests: [manifests]}
  production:
    provider: openai
    base_url: https://API.openai.com/v1/
    api_key_env: PRODUCTION_KEY
    organization: org-1
    project: proj_1
    manifests: [manifests, ../shared/threads.yaml, /srv/x]
    parallelism: 8
    rate: {reads_per_minute: 1000, writes_per_minute: 0.5}
    writes: {thread: merge, conversation: auto}
    removals: blank
    missing: warn
    ledger_remote: origin
guards: {max_changed: 10%, max_removed: 5.5, at_least: 3}
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    return tmp_path / "repo"


def settle(
    cwd: Path, text: str | None = None, *, config: str | None = None, target: str | None = None, **env: str
) -> Settings:
    if text is not None:
        (cwd / "reconciler.yaml").write_text(text)
    return resolve(cwd=cwd, env=env, config=config, target=target)


def refusals(cwd: Path, text: str) -> list[str]:
    """Return `line:column code` of every problem."""
    with pytest.raises(InvalidInput) as caught:
        settle(cwd, text)
    return [f"{found.location.line}:{found.location.column} {found.code}" for found in caught.value.problems()]


# -- The file -----------------------------------------------------------------------------------------------------


def test_a_target_has_everything_that_the_file_says(repo: Path) -> None:
    settings = settle(repo, FULL, target="production")
    assert (settings.root, settings.file) == (repo, repo / "reconciler.yaml")
    assert settings.guards == Guards(10.0, 5.5, 3)
    assert settings.target == Target(
        name="production",
        provider=PROVIDERS["openai"],
        base_url="https://api.openai.com/v1",
        root=repo,
        key=Key("PRODUCTION_KEY"),
        organization="org-1",
        project="proj_1",
        manifests=(repo / "manifests", repo / "../shared/threads.yaml", Path("/srv/x")),
        parallelism=8,
        rate=Rate(1000.0, 0.5),
        writes={"thread": MERGE, "conversation": AUTO},
        removals=Removals.BLANK,
        missing="warn",
        ledger_remote="origin",
        location=Location("reconciler.yaml", 5, 3),
        manifests_at=tuple(Location("reconciler.yaml", 11, column) for column in (17, 28, 52)),
    )


def test_what_the_file_leaves_out_has_the_defaults_of_the_contract(repo: Path) -> None:
    settings = settle(repo, "version: 1\ntargets:\n  one: {provider: openai}\n")
    assert settings.guards == Guards(30.0, 30.0, 10)
    target = settings.target
    assert (target.base_url, target.key, target.manifests) == (
        "https://api.openai.com/v1", Key("OPENAI_API_KEY"), (repo / "manifests",)
    )  # fmt: skip
    assert (target.parallelism, target.rate, target.removals, target.missing) == (16, Rate(), Removals.BLOCK, "error")
    assert (target.organization, target.project, target.ledger_remote, dict(target.writes)) == (None, None, None, {})


def test_the_emulator_needs_no_key_and_keeps_its_data_beside_the_file(repo: Path) -> None:
    target = settle(repo, FULL).target
    assert (target.base_url, target.host, target.key) == (EMULATOR_URL, "emulator.invalid", None)
    assert target.credential({"OPENAI_API_KEY": "sk-x"}) is None
    assert target.database == repo / ".reconciler" / "local.sqlite"


def test_the_file_is_searched_upwards_to_the_root_of_the_repository(repo: Path) -> None:
    below = repo / "a" / "b"
    below.mkdir(parents=True)
    (repo.parent / "reconciler.yaml").write_text("broken: [")
    assert settle(below).file is None
    settle(repo, FULL)
    settings = settle(below)
    assert (settings.root, settings.file) == (repo, repo / "reconciler.yaml")
    (repo / "a" / "reconciler.yaml").write_text(FULL)
    assert settle(below).root == repo / "a"


def test_a_worktree_ends_the_search_too(repo: Path) -> None:
    settle(repo, FULL)
    tree = repo / "tree"
    tree.mkdir()
    (tree / ".git").write_text("gitdir: ../.git/worktrees/tree\n")
    assert settle(tree).file is None


def test_outside_of_a_repository_only_the_working_directory_is_looked_at(tmp_path: Path) -> None:
    settle(tmp_path, FULL)
    (tmp_path / "below").mkdir()
    assert settle(tmp_path).file == tmp_path / "reconciler.yaml"
    assert settle(tmp_path / "below").file is None


def test_a_flag_beats_a_variable_which_beats_the_search(repo: Path) -> None:
    settle(repo, FULL)
    (repo / "etc").mkdir()
    for name in ("one", "two"):
        (repo / "etc" / f"{name}.yaml").write_text(f"version: 1\ntargets: {{{name}: {{provider: emulator}}}}\n")
    assert settle(repo).target.name == "local"
    assert settle(repo, RECONCILER_CONFIG="").target.name == "local"
    assert settle(repo, RECONCILER_CONFIG="etc/one.yaml").target.name == "one"
    settings = settle(repo, config=str(repo / "etc" / "two.yaml"), RECONCILER_CONFIG="etc/one.yaml")
    assert (settings.target.name, settings.root) == ("two", repo / "etc")


def test_the_flag_of_the_target_beats_its_variable_which_beats_the_file(repo: Path) -> None:
    text = (
        "version: 1\ndefault_target: a\ntargets: {"
        + ", ".join(f"{name}: {{provider: emulator}}" for name in "abc")
        + "}"
    )
    assert settle(repo, text).target.name == "a"
    assert settle(repo, text, RECONCILER_TARGET="b").target.name == "b"
    assert settle(repo, text, target="c", RECONCILER_TARGET="b").target.name == "c"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"config": "gone.yaml"}, "--config names gone.yaml"),
        ({"RECONCILER_CONFIG": "gone.yaml"}, "RECONCILER_CONFIG names gone.yaml"),
        ({"target": "produktion"}, "--target names produktion, and there is no such target; did you mean production?"),
        ({"RECONCILER_TARGET": "x"}, "there is no such target; known are local, production"),
    ],
)  # fmt: skip
def test_asking_for_what_does_not_exist_is_wrong_usage(repo: Path, asked: dict[str, str], words: str) -> None:
    with pytest.raises(WrongUsage, match=re.escape(words)):
        settle(repo, FULL, **asked)


def test_several_targets_need_a_choice(repo: Path) -> None:
    text = "version: 1\ntargets: {a: {provider: emulator}, b: {provider: emulator}}"
    with pytest.raises(InvalidInput, match=r"which of the targets a, b\? Say so by --target, or set default_target"):
        settle(repo, text)


def test_an_exported_variable_never_redirects_a_target_of_the_file(repo: Path) -> None:
    env = {
        "OPENAI_BASE_URL": "https://elsewhere.example/v1",
        "OPENAI_API_KEY": "sk-x",
        "OPENAI_ORG_ID": "org-x",
        "OPENAI_PROJECT_ID": "proj-x",
    }
    target = settle(repo, "version: 1\ntargets: {a: {provider: openai}}", **env).target
    assert (target.host, target.organization, target.project) == ("api.openai.com", None, None)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("version: 2", ["1:10 bad_version"]),
        ("default_target: lokal", ["5:17 unknown_target"]),
        ("default_target: 5", ["5:17 bad_default_target"]),
        ("targts: {}", ["5:1 unknown_field"]),
        ("guards: {max_changed: 101%}", ["5:23 bad_max_changed"]),
        ("guards: {max_changed: -1}", ["5:23 bad_max_changed"]),
        ("guards: {max_removed: lots, at_least: -1}", ["5:23 bad_max_removed", "5:39 bad_at_least"]),
        ("guards: {max_removed: true, at_least: 1.5}", ["5:23 bad_max_removed", "5:39 bad_at_least"]),
        ("guards: {max_change: 5}", ["5:10 unknown_field"]),
        ("guards: null", ["5:9 bad_guards"]),
        ("    parallelism: 0", ["5:18 bad_parallelism"]),
        ("    parallelism: 1001", ["5:18 bad_parallelism"]),
        ("    parallelism: '16'", ["5:18 bad_parallelism"]),
        ("    parallelism: 010", ["5:18 bad_parallelism"]),
        ("    rate: {reads_per_minute: 0, writes_per_minute: -1}",
         ["5:30 bad_reads_per_minute", "5:52 bad_writes_per_minute"]),
        ("    rate: {reads: 1}", ["5:12 unknown_field"]),
        ("    rate: 100", ["5:11 bad_rate"]),
        ("    writes: {threads: merge, run: merg}", ["5:14 unknown_kind", "5:35 unknown_dialect"]),
        ("    writes: merge", ["5:13 bad_writes"]),
        ("    removals: drop", ["5:15 bad_removals"]),
        ("    missing: ok", ["5:14 bad_missing"]),
        ("    ledger_remote: --upload-pack=x", ["5:20 bad_ledger_remote"]),
        ("    ledger_remote: ''", ["5:20 bad_ledger_remote"]),
        ("    manifests: []", ["5:16 bad_manifests"]),
        ("    manifests: manifests", ["5:16 bad_manifests"]),
        ("    manifests: [a, '', 5]", ["5:20 bad_manifests", "5:24 bad_manifests"]),
        ("    organization: 'a b'", ["5:19 bad_organization"]),
        ("    project: é", ["5:14 bad_project"]),
        ("    api_key_env: sk-proj-123", ["5:18 bad_api_key_env"]),
        ("    api_key: sk-proj-123", ["5:5 unknown_field"]),
        ("    base_url: ftp://x", ["5:15 bad_base_url"]),
        ("    base_url: http://example.org", ["5:15 insecure_url"]),
        ("    base_url: [x]", ["5:15 bad_base_url"]),
        ("    base_url: https://x\n    base_url: https://y", ["6:5 duplicate_key"]),
        ("  local: {provider: emulator}", ["5:3 duplicate_key"]),
        ("  Local: {provider: emulator}", ["5:3 bad_target_name"]),
        ("  -a: {provider: emulator}", ["5:3 bad_target_name"]),
        ("  5: {provider: emulator}", ["5:3 not_a_string"]),
        ("  b:", ["5:5 not_a_mapping"]),
        ("  b: {}", ["5:6 missing_field"]),
        ("  b: {provider: opnai}", ["5:17 unknown_provider"]),
        ("  b: {provider: 5}", ["5:17 bad_provider"]),
        ("  b: {provider: azure-openai}", ["5:3 missing_field", "5:3 missing_field"]),
        ("  b: {provider: azure-foundry, base_url: null, api_key_env: A}", ["5:3 missing_field"]),
        ("  b: {provider: azure-foundry, base_url: 'https://x/p', azure_identity: false}", ["5:3 missing_field"]),
        ("  b: {provider: azure-foundry, base_url: 'https://x/p', headers_env: {}}", ["5:3 missing_field"]),
        ("    api_key_env: A\n    token_command: [az]", ["6:5 two_credentials"]),
        ("    azure_identity: true\n    token_scope: s\n    token_command: [az]\n    api_key_env: A",
         ["7:5 two_credentials", "8:5 two_credentials"]),
        ("    azure_identity: true", ["5:5 missing_field"]),
        ("    token_scope: s", ["5:5 useless_field"]),
        ("    token_scope: s s", ["5:5 useless_field", "5:18 bad_token_scope"]),
        ("    token_command: az account", ["5:20 bad_token_command"]),
        ("    token_command: []", ["5:20 bad_token_command"]),
        ("    token_command: [az, 5]", ["5:25 bad_token_command"]),
        ("    token_command: ['']", ["5:21 bad_token_command"]),
        ("    token_scope: s\n    azure_identity: yes please", ["6:21 bad_azure_identity"]),
        ("    headers: {X-A: 5}", ["5:20 bad_headers"]),
        ("    headers: {X-A: 'a\tb'}", ["5:20 bad_headers"]),
        ("    headers: {X-A: ' a'}", ["5:20 bad_headers"]),
        ("    headers: {X-A: é}", ["5:20 bad_headers"]),
        ("    headers: {X-A: a b c}", []),
        ("    headers: {User-Agent: mine, OpenAI-Beta: x=y}", []),
        ("    headers: {X A: a}", ["5:15 bad_header"]),
        ('    headers: {"X\\r\\nY": a}', ["5:15 bad_header"]),
        ("    headers: {'': a}", ["5:15 bad_header"]),
        *((f"    headers: {{{name}: a}}", ["5:15 bad_header"]) for name in (
            "Authorization", "aUTHORIZATION", "Api-Key", "Host", "OpenAI-Project", "Content-Type", "content-length",
            "Accept", "Accept-Encoding", "Connection", "Transfer-Encoding", "Cookie", "Proxy-Authorization", "Expect",
        )),
        ("    headers: {X-A: a, x-a: b}", ["5:23 duplicate_key"]),
        ("    headers: {X-A: a}\n    headers_env: {x-A: B}", ["6:19 duplicate_key"]),
        ("    headers_env: {X-A: A KEY}", ["5:24 bad_headers_env"]),
        ("    headers_env: {Host: A}", ["5:19 bad_header"]),
        ("    headers: {X-Key: sk-proj-" + "a1B2" * 12 + "}", ["5:15 secret_header", "5:22 secret_like"]),
        *((f"    headers: {{{name}: a}}", ["5:15 bad_header"]) for name in (
            "X-HTTP-Method-Override", "X_HTTP_Method_Override",
            "x-http-method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL",
            "X-Forwarded-Host", "X-Forwarded-Prefix", "Forwarded",
        )),
        *((f"    headers: {{{name}: a}}", ["5:15 secret_header"]) for name in (
            "X-API-Key", "Ocp-Apim-Subscription-Key", "x-auth-token", "X-Amz-Signature", "Secret", "X-Db-Password",
        )),
        ("    headers: {X-Monkey: a, Keyboard: b}\n    headers_env: {X-Api-Key: A}", []),
        ("    query: {a: 5}", ["5:16 bad_query"]),
        ("    query: {a b: c}", ["5:13 bad_query"]),
        ("    query: {limit: '5'}", ["5:13 bad_query"]),
        ("    query: {'metadata[a]': '5'}", ["5:13 bad_query"]),
        ("    query: {_method: POST}", ["5:13 bad_query"]),
        ('    query: {a: "b\\nc"}', ["5:16 bad_query"]),
        ("    query: {a: '', b: é}", []),
        ("  b: {provider: emulator, token_command: [az], azure_identity: false, headers: {X-A: a}}",
         ["5:27 useless_field", "5:71 useless_field"]),
        ("  b: {provider: emulator, base_url: 'http://localhost', api_key_env: A, project: p}",
         ["5:27 useless_field", "5:57 useless_field", "5:73 useless_field"]),
        ("  guards: {provider: emulator, max_changed: 5}", ["5:32 unknown_field"]),
        ("  a: [", ["6:1 yaml_syntax"]),
        ("  a: !x {provider: emulator}", ["5:6 yaml_tag"]),
    ],
)  # fmt: skip
def test_a_bad_setting_is_told_at_its_place(repo: Path, line: str, expected: list[str]) -> None:
    good = "version: 1\ntargets:\n  local:\n    provider: openai\n"
    text = line + "\n" + good.partition("\n")[2] if line.startswith("version") else good + line + "\n"
    if expected:
        assert refusals(repo, text) == expected
    else:
        assert settle(repo, text).target.name == "local"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1 bad_version", "1:1 missing_field"]),
        ("version: 1", ["1:1 missing_field"]),
        ("version: 1\ntargets: {}", ["2:10 bad_targets"]),
        ("version: 1\ntargets:", ["2:9 bad_targets"]),
        ("[]", ["1:1 not_a_mapping"]),
        ("version: 1\n---\n", ["1:1 missing_field", "2:1 second_document"]),
    ],
)
def test_a_file_needs_a_version_and_a_target(repo: Path, text: str, expected: list[str]) -> None:
    assert refusals(repo, text) == expected


def test_every_problem_of_the_file_is_told_in_one_run(repo: Path) -> None:
    text = """\
version: 3
default_target: c
targets:
  a: {provider: azure-openai, parallelism: 0}
  b: {provider: emulator, api_key_env: X, colour: red}
guards: {at_least: x}
"""
    assert refusals(repo, text) == [
        "1:10 bad_version",
        "2:17 unknown_target",
        "4:3 missing_field",
        "4:3 missing_field",
        "4:44 bad_parallelism",
        "5:27 useless_field",
        "5:43 unknown_field",
        "6:20 bad_at_least",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("parallellism: 5", "did you mean parallelism?"),
        ("rate: {reads_per_min: 5}", "did you mean reads_per_minute?"),
        ("writes: {thread: murge}", "there is no dialect murge; did you mean merge?"),
        ("writes: {threads: merge}", "did you mean thread?"),
        ("parallelism: 5000", "parallelism must be a whole number from 1 to 1000, not 5000"),
        ("base_url: https://user:secret@host", "name the variable of the key by api_key_env"),
        ("api_key_env: sk-secret", "a key itself is never written in a file"),
    ],
)
def test_a_refusal_says_what_to_do_and_repeats_no_secret(repo: Path, line: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settle(repo, f"version: 1\ntargets:\n  a:\n    provider: openai\n    {line}\n")
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_invalid(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repo / "reconciler.yaml").write_text(FULL)

    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InvalidInput, match="cannot be read: Permission denied"):
        settle(repo)


# -- The environment ----------------------------------------------------------------------------------------------


def test_without_a_file_the_environment_makes_up_the_target(tmp_path: Path) -> None:
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:8080/v1/", "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": " proj_1 "}
    settings = settle(tmp_path, **env)
    assert (settings.root, settings.file, settings.guards) == (tmp_path, None, Guards())
    assert settings.target == Target(
        name="default",
        provider=PROVIDERS["openai"],
        base_url="http://127.0.0.1:8080/v1",
        root=tmp_path,
        key=Key("OPENAI_API_KEY", required=False),
        organization="org-1",
        project="proj_1",
        manifests=(tmp_path / "manifests",),
    )


@pytest.mark.parametrize("env", [{}, {"OPENAI_BASE_URL": "", "OPENAI_ORG_ID": "", "OPENAI_PROJECT_ID": ""}])
def test_without_variables_the_target_is_the_vendor(tmp_path: Path, env: dict[str, str]) -> None:
    target = settle(tmp_path, **env).target
    assert (target.base_url, target.key) == ("https://api.openai.com/v1", Key("OPENAI_API_KEY"))
    assert (target.organization, target.project) == (None, None)


def test_without_a_file_there_is_only_the_target_default(tmp_path: Path) -> None:
    assert settle(tmp_path, target="default").target.name == "default"
    with pytest.raises(
        WrongUsage, match=r"--target names prod, .*without a reconciler.yaml the only target is default"
    ):
        settle(tmp_path, target="prod")


def test_bad_variables_are_all_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        settle(tmp_path, OPENAI_BASE_URL="http://example.org", OPENAI_ORG_ID="a b", OPENAI_PROJECT_ID="x\ny")
    assert [found.code for found in caught.value.problems()] == ["insecure_url", "bad_variable", "bad_variable"]
    with pytest.raises(InvalidInput, match="OPENAI_BASE_URL: the base URL must begin with"):
        settle(tmp_path, OPENAI_BASE_URL="api.openai.com")


# -- Keys ---------------------------------------------------------------------------------------------------------


def keyed(repo: Path, fields: str) -> Target:
    return settle(repo, f"version: 1\ntargets: {{a: {{provider: openai, {fields}}}}}").target


def test_a_key_goes_where_its_variable_is_named(repo: Path) -> None:
    target = keyed(repo, "base_url: 'https://other.example/v1', api_key_env: OTHER_KEY")
    secret = target.credential({"OTHER_KEY": " sk-1 \n", "OPENAI_API_KEY": "sk-2"})
    assert secret is not None
    assert secret.get_secret_value() == "sk-1"
    assert "sk-1" not in f"{secret} {secret!r} {target!r}"


def test_a_key_goes_to_no_other_host_by_accident(repo: Path) -> None:
    env = {"OPENAI_API_KEY": "sk-2"}
    assert keyed(repo, "base_url: 'https://other.example/v1'").credential(env) is None
    assert keyed(repo, "base_url: 'https://api.openai.com.other.example/v1'").credential(env) is None
    assert keyed(repo, "base_url: 'https://api.openai.com:443/v1'").credential(env) is not None


@pytest.mark.parametrize("env", [{}, {"A_KEY": ""}, {"A_KEY": " \n"}])
def test_a_key_that_is_missing_is_told_when_it_is_needed(repo: Path, env: dict[str, str]) -> None:
    target = keyed(repo, "api_key_env: A_KEY")
    with pytest.raises(InvalidInput, match="export A_KEY") as caught:
        target.credential(env)
    (problem,) = caught.value.problems()
    assert (problem.code, problem.location) == ("no_key", Location("reconciler.yaml", 2, 11))


@pytest.mark.parametrize("key", ["sk a", "sk\nX-Evil: 1", "sk\x07", "sk-é", "sk-\u2028x"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(repo: Path, key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        keyed(repo, "api_key_env: A_KEY").credential({"A_KEY": key})
    assert caught.value.problems()[0].code == "bad_key"
    assert "sk" not in str(caught.value).replace("A_KEY", "")


def test_a_compatible_server_of_the_environment_may_go_without_a_key(tmp_path: Path) -> None:
    target = settle(tmp_path, OPENAI_BASE_URL="http://localhost:1/v1").target
    assert target.credential({}) is None
    assert target.credential({"OPENAI_API_KEY": "sk"}) is not None
    with pytest.raises(InvalidInput, match="export OPENAI_API_KEY"):
        settle(tmp_path).target.credential({})


# -- Dialects and manifests ---------------------------------------------------------------------------------------


def test_the_dialect_is_what_the_file_says_else_what_is_confirmed(repo: Path) -> None:
    vendor = keyed(repo, "writes: {thread: replace}")
    assert vendor.dialect(KINDS["thread"]) is REPLACE
    assert vendor.dialect(KINDS["agent"]) is KINDS["agent"].writes
    assert vendor.dialect(KINDS["conversation"]) is AUTO
    assert keyed(repo, "base_url: 'https://other.example'").dialect(KINDS["agent"]) is AUTO
    local = settle(repo, FULL).target
    assert [local.dialect(kind) for kind in KINDS.values()] == [kind.writes for kind in KINDS.values()]


def test_manifests_that_exist_are_returned(repo: Path) -> None:
    (repo / "manifests").mkdir()
    assert settle(repo, FULL).target.existing_manifests() == (repo / "manifests",)


def test_each_manifest_path_that_does_not_exist_is_told_at_its_place(repo: Path) -> None:
    (repo / "a").mkdir()
    target = keyed(repo, "manifests: [b, a, ../c]")
    with pytest.raises(InvalidInput) as caught:
        target.existing_manifests()
    assert [str(found) for found in caught.value.problems()] == [
        "reconciler.yaml:2:45: there is no b: create it, or correct the path",
        "reconciler.yaml:2:51: there is no ../c: create it, or correct the path",
    ]


def test_manifests_that_the_file_does_not_mention_are_looked_for_where_they_belong(repo: Path) -> None:
    target = settle(repo, "version: 1\ntargets: {a: {provider: emulator}}").target
    with pytest.raises(InvalidInput, match=r"reconciler.yaml:2:11: there is no manifests"):
        target.existing_manifests()


def test_without_a_file_the_missing_manifests_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there is no manifests: put manifests there, or write a reconciler.yaml"):
        settle(tmp_path).target.existing_manifests()


# -- Values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "percent"), [("30%", 30), ("30", 30), (" 12.5 % ", 12.5), ("0%", 0), ("100", 100)])
def test_a_percentage_is_read(text: str, percent: float) -> None:
    assert parse_percent(text) == percent


@pytest.mark.parametrize("text", ["", "%", "-1", "101", "100.1%", "1e1", "٣٠%", "30%%", "nan", "3 0"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        parse_percent(text)


@given(st.binary())
def test_no_bytes_make_settings_raise_anything_but_invalid_input(data: bytes) -> None:
    with TemporaryDirectory() as folder:  # hypothesis would use one tmp_path for all examples
        (Path(folder) / "reconciler.yaml").write_bytes(data)
        with pytest.raises(InvalidInput):
            settle(Path(folder))


def test_the_settings_are_frozen_and_print_themselves(repo: Path) -> None:
    settings = settle(repo, FULL)
    assert "local" in repr(settings)
    assert replace(settings, guards=Guards()).guards == Guards()
    with pytest.raises(AttributeError):
        settings.root = repo  # type: ignore[misc]


def test_the_model_gives_a_json_schema_with_descriptions() -> None:
    schema = SettingsModel.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        assert all(
            "description" in each or each is part["properties"].get("version") for each in part["properties"].values()
        )


@pytest.mark.parametrize(
    ("remote", "env", "fits"),
    [
        ("origin", {}, True),
        ("up/stream", {}, True),
        ("https://x/y", {}, False),
        ("https://x/y", {"RECONCILER_ALLOW_COMMANDS": "1"}, True),
        ("https://x/y", {"RECONCILER_ALLOW_COMMANDS": "yes"}, False),
        ("ext::sh", {}, False),
        ("a..b", {}, False),
        ("folder", {}, False),
        ("folder", {"RECONCILER_ALLOW_COMMANDS": "1"}, True),
    ],
)
def test_what_would_run_a_command_needs_leave(repo: Path, remote: str, env: dict[str, str], *, fits: bool) -> None:
    (repo / "folder").mkdir()
    text = f"version: 1\ntargets: {{a: {{provider: openai, ledger_remote: '{remote}'}}}}\n"
    (repo / "reconciler.yaml").write_text(text)
    if fits:
        assert resolve(cwd=repo, env=env, config=None, target=None).target.ledger_remote == remote
        return
    with pytest.raises(InvalidInput, match="RECONCILER_ALLOW_COMMANDS=1") as refused:
        resolve(cwd=repo, env=env, config=None, target=None)
    (found,) = refused.value.found
    assert (found.code, found.location) == ("command_not_allowed", Location("reconciler.yaml", 2, 48))


def test_a_key_is_not_even_looked_at_for_a_host_that_is_not_allowed(repo: Path) -> None:
    (repo / "reconciler.yaml").write_text("version: 1\ntargets: {a: {provider: openai}}\n")
    target = resolve(cwd=repo, env={}, config=None, target=None).target
    with pytest.raises(InvalidInput, match="allows example.org, and target a is at api.openai.com") as refused:
        target.credential({"RECONCILER_ALLOWED_HOSTS": "example.org"})
    assert refused.value.found[0].code == "host_not_allowed"
    with pytest.raises(InvalidInput, match="allows no host at all"):
        target.credential({"RECONCILER_ALLOWED_HOSTS": " "})
    key = target.credential({"RECONCILER_ALLOWED_HOSTS": "*.openai.com", "OPENAI_API_KEY": "k"})
    assert key is not None
    assert key.get_secret_value() == "k"


@pytest.mark.parametrize(
    "line",
    [
        "api_key_env: ghp_{0}",
        "confirm: npm_{0}",
        "mask: [ghp_{0}]",
        "ghp_{0}: 1",
        "writes: {{ghp_{0}: auto}}",
        "base_url: 'https://x/ghp_{0}'",
    ],
)
def test_a_key_in_the_settings_is_refused_without_showing_it(repo: Path, line: str) -> None:
    found = refusals(repo, f"version: 1\ntargets:\n  a:\n    provider: openai\n    {line.format('aB1' * 12)}\n")
    assert any("secret_like" in one for one in found)
    assert "aB1" not in "".join(found)


# -- Tokens, headers, query ---------------------------------------------------------------------------------------

FOUNDRY = """\
version: 1
targets:
  t:
    provider: azure-foundry
    base_url: https://r.services.ai.azure.com/api/projects/p/
"""


def test_a_token_command_is_run_in_the_folder_of_the_settings_and_only_where_the_environment_allows_it(
    repo: Path,
) -> None:
    target = settle(repo, f"{FOUNDRY}    token_command: [az, account, -o, json]\n").target
    assert target.token == Command(("az", "account", "-o", "json"), repo)
    assert target.key is None
    for env in ({}, {"RECONCILER_ALLOW_COMMANDS": "0"}, {"RECONCILER_ALLOW_COMMANDS": "true"}):
        with pytest.raises(InvalidInput) as caught:
            target.credential(env)
        (problem,) = caught.value.problems()
        assert (problem.code, str(problem.location)) == ("command_not_allowed", "reconciler.yaml:6:5")
        assert "RECONCILER_ALLOW_COMMANDS=1" in problem.message
    assert target.credential({"RECONCILER_ALLOW_COMMANDS": "1"}) is None


def test_a_host_that_is_not_allowed_is_told_before_a_command_that_is_not(repo: Path) -> None:
    target = settle(repo, f"{FOUNDRY}    token_command: [az]\n").target
    with pytest.raises(InvalidInput, match="RECONCILER_ALLOWED_HOSTS"):
        target.credential({"RECONCILER_ALLOWED_HOSTS": "other.example", "RECONCILER_ALLOW_COMMANDS": "1"})


@pytest.mark.parametrize(
    ("provider", "more", "scope"),
    [
        ("azure-foundry", "", "https://ai.azure.com/.default"),
        ("azure-openai", "", "https://cognitiveservices.azure.com/.default"),
        ("azure-foundry", ", token_scope: 'https://ai.azure.us/.default'", "https://ai.azure.us/.default"),
        ("openai", ", token_scope: 'api://mine/.default'", "api://mine/.default"),
    ],
)
def test_an_azure_identity_is_asked_for_the_scope_of_the_row_or_that_of_the_file(
    repo: Path, provider: str, more: str, scope: str
) -> None:
    fields = f"provider: {provider}, base_url: 'https://x.example/p', azure_identity: true{more}"
    text = f"version: 1\ntargets:\n  t: {{{fields}}}\n"
    assert settle(repo, text).target.token == Identity(scope)
    assert settle(repo, text, RECONCILER_ALLOW_COMMANDS="1").target.token == Identity(scope, commands=True)


def test_a_token_takes_the_place_of_the_key_that_goes_to_the_vendor_without_a_name(repo: Path) -> None:
    text = "version: 1\ntargets:\n  t: {provider: openai, token_command: [give]}\n"
    target = settle(repo, text, OPENAI_API_KEY="sk-other").target
    assert (target.key, target.host) == (None, "api.openai.com")


def test_a_resource_of_azure_openai_is_addressed_by_its_name(repo: Path) -> None:
    text = (
        "version: 1\ntargets:\n  t: {provider: azure-openai, base_url: 'https://N.openai.azure.com/', api_key_env: K}\n"
    )
    assert settle(repo, text).target.base_url == "https://n.openai.azure.com/openai/v1"


def test_headers_and_query_are_those_of_the_file_and_secret_headers_those_of_the_environment(repo: Path) -> None:
    more = "    headers: {X-A: a b}\n    headers_env: {X-Key: GATE, X-Other: OTHER}\n"
    more += "    query: {api-version: '2', x: 'é &'}\n"
    target = settle(repo, FOUNDRY + more).target
    assert target.headers == (("X-A", "a b"),)
    assert target.query == (("api-version", "2"), ("x", "é &"))
    found = target.headers_of({"GATE": " gate-key \n", "OTHER": "two words"})
    assert [(name, value.get_secret_value()) for name, value in found] == [
        ("X-Key", "gate-key"),
        ("X-Other", "two words"),
    ]
    assert "gate-key" not in repr(found)
    with pytest.raises(InvalidInput) as caught:
        target.headers_of({"GATE": "", "OTHER": "a\r\nX-Evil: hidden"})
    assert [problem.code for problem in caught.value.problems()] == ["no_key", "bad_key"]
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("provider", ["azure-openai", "azure-foundry"])
def test_a_lack_of_credentials_says_what_to_write(repo: Path, provider: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settle(repo, f"version: 1\ntargets:\n  t: {{provider: {provider}}}\n")
    told = str(caught.value)
    assert "reconciler.yaml:3:3: base_url is missing" in told
    assert PROVIDERS[provider].example in told
    for word in ("api_key_env: NAME", "token_command: [", "azure_identity: true"):
        assert word in told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("token_command: []", "token_command is empty"),
        ("token_command: ['']", "the program of token_command is empty"),
        ("token_command: [az, '']", "argument 1 of token_command is empty"),
        ('token_command: [az, "a\\0b"]', "argument 1 of token_command holds the character U+0000"),
        ("headers: {X-Team: ''}", "the header X-Team is empty"),
        ("headers: {X-Team: ' a'}", "the header X-Team has spaces or line breaks around its value"),
        ('headers: {X-Team: "a\\tb"}', "the header X-Team holds more than visible ASCII"),
        (f"headers: {{X-Team: {'a' * 4097}}}", "the header X-Team is longer than 4096 characters"),
        ("api_key_env: $FOO", "write FOO, without $"),
        ("headers_env: {X-Team: '${FOO}'}", "write FOO, without $"),
        ("headers: {Authorization: a}", "say it by api_key_env, token_command or azure_identity"),
        ("headers: {host: a}", "say it by base_url"),
        ("headers: {OpenAI-Organization: a}", "say it by organization"),
        ("headers: {X-Api-Key: a}", "name its variable by headers_env"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_the_value(repo: Path, line: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settle(repo, f"version: 1\ntargets:\n  local:\n    provider: openai\n    {line}\n")
    assert sum(problem.message.count(words) for problem in caught.value.found) == 1


def test_a_header_of_the_environment_is_bounded_as_one_of_the_file_is(repo: Path) -> None:
    more = "    headers_env: {X-Gate: GATE}\n"
    target = settle(repo, f"version: 1\ntargets:\n  local:\n    provider: openai\n{more}").target
    assert len(target.headers_of({"GATE": "x" * 4096})) == 1
    with pytest.raises(InvalidInput, match="it is longer than 4096 characters"):
        target.headers_of({"GATE": "x" * 4097})
