"""The JSON Schema of the settings: as their checks see them, as far as a schema can tell, with words for everything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.dialects import DIALECTS
from reconciler.errors import InvalidInput
from reconciler.gateway.providers import PROVIDERS
from reconciler.kinds import KINDS
from reconciler.manifest.reader import read
from reconciler.settings import file as models
from reconciler.settings.jsonschema import settings_schema

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = [text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "targets:" in text]
BEYOND_CODES = {"unknown_target", "secret_like", "bad_base_url", "insecure_url", "duplicate_key"}
"""What no schema can know: names that stand elsewhere in the file, what looks like a key, ports and hosts of URLs, and
headers that are one name in upper and lower case."""

SCHEMA = settings_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def errors(content: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(content)]


def codes(text: str) -> set[str]:
    """Return the codes of the problems that the checks of the settings have with a text."""
    try:
        models._validated(read(text.encode(), "reconciler.yaml"))
    except InvalidInput as invalid:
        return {problem.code for problem in invalid.found}
    return set()


def parts(schema: Any = SCHEMA, path: str = "") -> Any:
    """Yield every schema of a property, with the path to it."""
    for name, value in schema.items():
        if name == "properties":
            for key, part in value.items():
                yield f"{path}/{key}", part
                yield from parts(part, f"{path}/{key}")
        elif name in ("additionalProperties", "items") and isinstance(value, dict):
            yield from parts(value, f"{path}/*")


PROPERTIES = dict(parts())


def target(**fields: Any) -> dict[str, Any]:
    return {"version": 1, "targets": {"t": {"provider": "openai", **fields}}}


def test_the_schema_is_one_of_draft_7():
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(SCHEMA)


# --- agreement with the checks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", BLOCKS)
def test_settings_of_the_readme_are_accepted(text):
    assert codes(text) == set()
    assert errors(read(text.encode(), "f.yaml").root) == []


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        ({}, False),
        ({"version": 1}, False),
        ({"version": 1, "targets": {}}, False),
        ({"version": 1, "targets": {"t": None}}, False),
        ({"version": 2, "targets": {"t": {"provider": "emulator"}}}, False),
        ({"version": 1, "targets": {"T": {"provider": "emulator"}}}, False),
        ({"version": 1, "targets": {"t" * 100: {"provider": "emulator"}}}, True),
        ({"version": 1, "targets": {"t" * 101: {"provider": "emulator"}}}, False),
        ({"version": 1, "targets": {"t": {}}}, False),
        ({"version": 1, "targets": {"t": {"provider": "emulator"}}, "default_target": None}, True),
        (target(provider="openia"), False),
        (target(provider="azure-openai"), False),
        (target(provider="azure-openai", base_url=None), False),
        (target(provider="azure-foundry", base_url="https://x.example/v1"), False),
        (target(provider="azure-foundry", base_url="https://x.example/v1", api_key_env="KEY"), True),
        (target(provider="azure-foundry", base_url="https://x.example/v1", api_key_env=None), False),
        (target(provider="azure-foundry", base_url="https://x.example/v1", azure_identity=True), True),
        (target(provider="azure-foundry", base_url="https://x.example/v1", azure_identity=False), False),
        (target(provider="azure-openai", base_url="https://x.example", headers_env={"X-Key": "KEY"}), True),
        (target(provider="azure-openai", base_url="https://x.example", headers_env={}), False),
        (target(provider="azure-openai", base_url="https://x.example", token_command=["az", "x"]), True),
        (target(token_command=[]), False),
        (target(token_command=[""]), False),
        (target(token_command="az"), False),
        (target(token_command=["az"], api_key_env="KEY"), False),
        (target(token_command=["az"], api_key_env=None, azure_identity=False), True),
        (target(token_command=["az"], azure_identity=True, token_scope="s"), False),
        (target(azure_identity=True), False),
        (target(azure_identity=True, token_scope="api://x/.default"), True),
        (target(azure_identity="true", token_scope="s"), False),
        (target(token_scope="s"), False),
        (target(headers={"X-A": "a b", "User-Agent": "me", "OpenAI-Beta": "x"}), True),
        (target(headers={"X-A": " a"}), False),
        (target(headers={"X-A": ""}), False),
        (target(headers={"X-A": "é"}), False),
        (target(headers={"X-A": 5}), False),
        (target(headers={"X A": "a"}), False),
        (target(headers={"": "a"}), False),
        (target(headers={"hOST": "a"}), False),
        (target(headers={"Hostess": "a"}), True),
        (target(headers={"aPI-kEY": "a"}), False),
        (target(headers={"content-Anything": "a"}), False),
        (target(headers={"accept": "a"}), False),
        (target(headers={"X-api-KEY": "a"}), False),
        (target(headers={"My.Secrets": "a"}), False),
        (target(headers={"X-Monkey": "a", "Keyboard": "b"}), True),
        (target(headers={"x-forwarded-host": "a"}), False),
        (target(headers_env={"X-Original-url": "A"}), False),
        (target(headers_env={"X-Api-Key": "A"}), True),
        (target(headers=None), False),
        (target(headers_env={"X-A": "A KEY"}), False),
        (target(headers_env={"Authorization": "KEY"}), False),
        (target(query={"api-version": "", "x[y]": "é &=?#"}), True),
        (target(query={"limit": "5"}), False),
        (target(query={"limits": "5"}), True),
        (target(query={"metadata[a]": "5"}), False),
        (target(query={"_Method": "POST"}), False),
        (target(headers={"X_HTTP_Method_Override": "POST"}), False),
        (target(query={"a b": "5"}), False),
        (target(query={"a": "5\n"}), False),
        (target(query={"a": 5}), False),
        (target(provider="emulator", headers={"X-A": "a"}), False),
        (target(provider="emulator", azure_identity=False), True),
        (target(provider="emulator", base_url=None), True),
        (target(provider="emulator", base_url="https://x.example/v1"), False),
        (target(provider="emulator", api_key_env="KEY"), False),
        (target(base_url="https://x.example"), True),
        (target(base_url="HTTPS://X.example:8443/a@b/"), True),
        (target(base_url="http://localhost:1/v1"), True),
        (target(base_url="http://LOCALHOST"), True),
        (target(base_url="http://127.0.0.1:8080/v1"), True),
        (target(base_url="http://[::1]:8080/v1"), True),
        (target(base_url="https://[::1]/a:99999"), True),
        (target(base_url="https://x.example:065535/v1"), True),
        (target(base_url="https://x.example:65536/v1"), False),
        (target(base_url="http://localhost:99999"), False),
        (target(base_url="https://ü.example/v1"), False),
        (target(base_url="https://x.example/ü"), False),
        (target(api_key_env="KEY\n"), False),
        ({"version": 1, "targets": {"t\n": {"provider": "emulator"}}}, False),
        (target(base_url="http://x.example/v1"), False),
        (target(base_url="http://localhost.x.example/v1"), False),
        (target(base_url="https://a:b@x.example/v1"), False),
        (target(base_url="https://x.example/v1?x=1"), False),
        (target(base_url="https://x.example/v1#x"), False),
        (target(base_url="ftp://x.example"), False),
        (target(base_url="https:///v1"), False),
        (target(api_key_env="A KEY"), False),
        (target(organization="org 1"), False),
        (target(project="proj_1"), True),
        (target(manifests=[]), False),
        (target(manifests="manifests"), False),
        (target(parallelism=0), False),
        (target(parallelism=1000), True),
        (target(parallelism="16"), False),
        (target(rate={"reads_per_minute": 0.5, "writes_per_minute": None}), True),
        (target(rate={"reads_per_minute": 0}), False),
        (target(rate=None), False),
        (target(rate={"reads": 5}), False),
        (target(timeouts={"run": 86_400}), True),
        (target(timeouts={"run": 86_401}), False),
        (target(writes={"thread": "merge-null", "vault": "auto"}), True),
        (target(writes={"threads": "merge"}), False),
        (target(writes={"thread": "patch"}), False),
        (target(removals="blank", missing="warn"), True),
        (target(removals="delete"), False),
        (target(ledger_remote="-x"), False),
        (target(ledger_remote="origin"), True),
        (target(mask=["*"]), True),
        (target(mask=[""]), False),
        (target(confirm=" yes"), False),
        (target(confirm="apply to production"), True),
        (target(colour="red"), False),
        ({**target(), "guards": {"max_changed": "30%", "max_removed": 0.5, "at_least": 0}}, True),
        ({**target(), "guards": {"max_changed": " 030.5 % "}}, True),
        ({**target(), "guards": {"max_changed": "100.0%"}}, True),
        ({**target(), "guards": {"max_changed": "100.1%"}}, False),
        ({**target(), "guards": {"max_changed": "101%"}}, False),
        ({**target(), "guards": {"max_changed": 101}}, False),
        ({**target(), "guards": {"max_changed": "-1%"}}, False),
        ({**target(), "guards": {"max_changed": True}}, False),
        ({**target(), "guards": {"max_changed": None}}, False),
        ({**target(), "guards": {"at_least": -1}}, False),
        ({**target(), "guards": None}, False),
        ({**target(), "mask": ["*token*"]}, True),
        ({**target(), "targts": {}}, False),
    ],
)
def test_the_schema_agrees_with_the_checks(content, fits):
    assert (codes(json.dumps(content)) == set()) is fits
    assert (errors(content) == []) is fits


@pytest.mark.parametrize(
    "content",
    [
        {**target(), "default_target": "other"},
        target(base_url="https://x.example:x"),
        target(confirm="sk-proj-" + "a1B2" * 12),
        target(headers={"X-Team": "sk-proj-" + "a1B2" * 12}),
        target(headers={"X-A": "a", "x-a": "b"}),
        target(headers={"X-A": "a"}, headers_env={"x-a": "B"}),
    ],
)
def test_what_no_schema_can_know_is_left_to_the_checks(content):
    assert codes(json.dumps(content)) & BEYOND_CODES
    assert errors(content) == []


SHARES = st.one_of(
    st.integers(-1, 101), st.floats(0, 100), st.from_regex(r"\A[ 0]?[0-9]{1,3}(\.[0-9])?[ ]?%?\Z"), st.just("30 %%")
)
URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTPS", "ftp", ""]),
    st.sampled_from(["x.example", "localhost", "127.0.0.1", "127.1.2.3", "[::1]", "[::2]", "u:p@x.example", "", "é"]),
    st.sampled_from(["", ":80", ":", ":x"]),
    st.sampled_from(["", "/", "/v1", "/a@b", "/v1?x", "/v1#x", "\\", "/a b"]),
)
FIELDS = {
    "provider": st.sampled_from([*PROVIDERS, "opnai"]),
    "base_url": st.one_of(st.none(), URLS, st.just("https://x.example/v1")),
    "api_key_env": st.sampled_from([None, "KEY", "1KEY", 5]),
    "token_command": st.sampled_from([None, ["az"], [], ["", "x"]]),
    "azure_identity": st.sampled_from([None, True, False, 1]),
    "token_scope": st.sampled_from([None, "s", "s s"]),
    "headers": st.dictionaries(st.sampled_from(["X-A", "x-a", "Host", "X A", "TE"]), st.sampled_from(["a", "a ", "é"])),
    "headers_env": st.dictionaries(
        st.sampled_from(["X-A", "cookie", "X-B"]), st.sampled_from(["A", "A B"]), max_size=1
    ),
    "query": st.dictionaries(st.sampled_from(["a", "after", "metadata[x]", ""]), st.sampled_from(["", "é", "\n"])),
    "organization": st.sampled_from([None, "o", "o o", ""]),
    "parallelism": st.sampled_from([1, 0, 1001, "1"]),
    "writes": st.dictionaries(st.sampled_from([*KINDS, "thraed"]), st.sampled_from([*DIALECTS, "x"]), max_size=2),
    "timeouts": st.sampled_from([{}, {"run": 1}, {"run": 0}, {"rum": 1}, None]),
    "ledger_remote": st.sampled_from([None, "origin", "-x", "a b"]),
    "confirm": st.sampled_from([None, "yes", " yes", ""]),
}
TARGETS = st.fixed_dictionaries(
    {"provider": FIELDS["provider"]}, optional={name: each for name, each in FIELDS.items() if name != "provider"}
)
GUARDS = st.fixed_dictionaries({}, optional={"max_changed": SHARES, "max_removed": SHARES, "at_least": st.integers(-1)})
CONTENTS = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "targets": st.dictionaries(st.sampled_from(["t", "a_b-1", "-t", "T"]), TARGETS, max_size=2),
    },
    optional={"guards": GUARDS, "default_target": st.sampled_from(["t", None, 5])},
)


@given(CONTENTS)
def test_settings_that_pass_the_checks_pass_the_schema(content):
    if codes(json.dumps(content, ensure_ascii=False)) == set():
        assert errors(content) == []


@given(CONTENTS)
def test_settings_that_pass_the_schema_pass_the_checks_but_for_what_no_schema_can_know(content):
    if not errors(content):
        assert codes(json.dumps(content, ensure_ascii=False)) <= BEYOND_CODES


# --- words for everything ---------------------------------------------------------------------------------------------


def test_every_field_of_every_model_is_in_the_schema():
    target = SCHEMA["properties"]["targets"]["additionalProperties"]
    shown = {
        models.SettingsModel: SCHEMA,
        models.TargetModel: target,
        models.RateModel: target["properties"]["rate"],
        models.TimeoutsModel: target["properties"]["timeouts"],
        models.GuardsModel: SCHEMA["properties"]["guards"],
    }
    for model, schema in shown.items():
        assert schema["properties"].keys() == model.model_fields.keys()
        assert schema["additionalProperties"] is False
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        assert set(schema.get("required", ())) == required
    assert target["properties"]["writes"]["properties"].keys() == KINDS.keys()


@pytest.mark.parametrize("path", PROPERTIES)
def test_every_property_has_a_description_and_examples_that_are_valid(path):
    part = PROPERTIES[path]
    assert re.fullmatch(r"[A-Z].{10,}\.", part["description"])
    assert part["examples"]
    for example in [*part["examples"], *([part["default"]] if "default" in part else [])]:
        assert list(jsonschema.Draft7Validator(part).iter_errors(example)) == []


def test_every_value_of_an_enumeration_is_described():
    enumerations = [part for part in PROPERTIES.values() if "enum" in part]
    assert len(enumerations) == len(KINDS) + 3
    for part in enumerations:
        assert len(set(part["enumDescriptions"])) == len(part["enum"])
