"""Which file a resource goes to: names that are safe, stable and never shared, whatever the values hold."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.options import Options
from reconciler.cli.places import OTHERS, name_of_value, place_of
from reconciler.errors import WrongUsage
from reconciler.model import MAX_VALUE, Ref

PLAIN = ["acme", "a", "0", "acme-2", "acme.example", "a_b", "c" * 60]
NASTY = [
    "", ".", "..", "../etc/passwd", "/", "a/b", "a\\b", "ACME", "Acme", "aCME", "acme.", "acme ", " acme", "con", "nul",
    "com1", "con.x", "aux", "CON", "_other", "_x", "-x", ".hidden", "a\nb", "a\x1b[31m", "é", "e\u0301", "\u202e",
    "日本語", "😀", "x" * 61, "x" * MAX_VALUE, "a" * 60 + "A", "*", "?", "a:b", "a|b", "'", '"', "`", "$HOME", "~",
    "acme-0123456789", "a-0123456789", "prn", "lpt9.yaml", "aux.", "::error::", "a.yaml/b",
    "acme-0123456789-0123456789",
]  # fmt: skip


DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{at}" for port in ("com", "lpt") for at in range(10))}


def is_safe(name):
    return (
        0 < len(name) <= 80
        and name.isascii()
        and name == name.lower()
        and name.replace("-", "").replace("_", "").replace(".", "").isalnum()
        and name[0] not in ".-"
        and name[-1] != "."
        and name.partition(".")[0] not in DEVICES
    )


def test_a_plain_value_is_the_name_of_its_file():
    assert [name_of_value(value, "thread") for value in PLAIN] == PLAIN


def test_no_two_values_share_a_name_and_every_name_is_safe():
    names = {value: name_of_value(value, "thread") for value in [*PLAIN, *NASTY]}
    assert len(set(names.values())) == len(names)
    assert all(map(is_safe, names.values())), names
    assert OTHERS not in names.values()
    assert not [value for value in NASTY if names[value] == value]
    assert names["ACME"].startswith("acme-")
    settings = name_of_value("reconciler", "thread")
    assert settings.startswith("reconciler-"), "reconciler.yaml would look like settings"


@pytest.mark.parametrize("value", [None, "a\x00", "\ud800", 5, True, {"a": 1}, "x" * (MAX_VALUE + 1)])
def test_what_no_manifest_may_hold_goes_with_what_has_no_value(value):
    assert name_of_value(value, "thread") == OTHERS


def test_what_looks_like_a_key_names_no_file():
    assert name_of_value("sk-" + "aB3" * 16, "thread") == OTHERS


def test_of_a_kind_with_scalars_the_types_have_names_of_their_own():
    values = [1, True, "1", "true", 1.5, "1.5", "value"]
    names = [name_of_value(value, "vector_store_file") for value in values]
    assert len(set(names)) == len(names)
    assert names[2] == "1"


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_every_text_has_a_safe_name_of_its_own(one, other):
    names = [name_of_value(value, "thread") for value in (one, other)]
    assert all(is_safe(name) or name == OTHERS for name in names)
    assert names[0] != names[1] or one == other or names[0] == OTHERS


# --- folders ----------------------------------------------------------------------------------------------------------


def session(folder, manifests=("manifests",), mask=()):
    target = SimpleNamespace(name="test", mask=mask, manifests=tuple(folder / each for each in manifests))
    return SimpleNamespace(target=target, options=Options(directory=str(folder)))


def where(folder, into=None, split_by=None, **more):
    place = place_of(session(folder, **more), into, split_by)
    path = place(Ref("agent_session", "a"), {"customer": "ACME"})
    return path and str(path.relative_to(folder))


def test_each_kind_has_a_file_in_the_first_folder_of_manifests(tmp_path):
    assert where(tmp_path) == "manifests/agent_sessions.yaml"
    assert where(tmp_path, manifests=["one.yaml", "two.yml", "deep/er"]) == "deep/er/agent_sessions.yaml"
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/agent_sessions.yml").write_text("")
    assert where(tmp_path) == "manifests/agent_sessions.yml"


def test_into_names_a_folder_a_file_or_standard_output(tmp_path):
    (tmp_path / "odd.yaml").mkdir()
    (tmp_path / "plain").write_text("")
    assert where(tmp_path, "other") == "other/agent_sessions.yaml"
    assert where(tmp_path, "x.yaml/") == "x.yaml/agent_sessions.yaml"
    assert where(tmp_path, "odd.yaml") == "odd.yaml/agent_sessions.yaml"
    assert where(tmp_path, "one.yaml") == "one.yaml"
    assert where(tmp_path, "plain") == "plain"
    assert where(tmp_path, "-") is None
    assert where(tmp_path, split_by="customer", into="other").startswith("other/acme-")
    assert where(tmp_path, split_by="team") == f"manifests/{OTHERS}.yaml"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"manifests": ["one.yaml"]}, "--into"),
        ({"into": "one.yaml", "split_by": "customer"}, "folder"),
        ({"into": "-", "split_by": "customer"}, "folder"),
        ({"into": "-", "mask": ("pass*",)}, "mask"),
        ({"split_by": "password", "mask": ("pass*",)}, "mask"),
        ({"split_by": ""}, "key"),
        ({"split_by": "x" * 65}, "key"),
    ],
)
def test_what_has_no_place_is_wrong_usage(how, says, tmp_path):
    with pytest.raises(WrongUsage, match=says):
        where(tmp_path, **how)
