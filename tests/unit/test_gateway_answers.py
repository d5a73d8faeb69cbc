from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.answers import (
    Secrets,
    Unusable,
    _compact,
    complaint,
    echoes,
    metadata_of,
    page,
    parse,
    parse_object,
    presentable,
    redacted,
)


def encoded(value):
    return json.dumps(value).encode()


ENVELOPES = {
    "openai": (
        encoded({"error": {"message": "No thread found with id 'x'.", "type": "t", "param": None, "code": None}}),
        ("No thread found with id 'x'.", None, "t"),
    ),
    "openai with a code": (
        encoded({"error": {"message": "Too long.", "type": "invalid", "param": "metadata.k", "code": "too_long"}}),
        ("Too long.", "too_long", "invalid"),
    ),
    "azure": (
        encoded({"error": {"code": "404", "message": "Resource not found"}}),
        ("Resource not found", "404", None),
    ),
    "numeric code": (encoded({"error": {"code": 429, "message": "Slow"}}), ("Slow", "429", None)),
    "error without a message": (encoded({"error": {"code": "quota"}}), ("quota", "quota", None)),
    "error with a foreign shape": (encoded({"error": {"reason": "x"}}), ('{"reason": "x"}', None, None)),
    "message that is an object": (encoded({"error": {"message": {"msg": "deep"}}}), ("deep", None, None)),
    "message that is a number": (encoded({"error": {"message": 7}}), ("7", None, None)),
    "empty error": (encoded({"error": {}}), ("", None, None)),
    "error as text": (encoded({"error": "not found"}), ("not found", None, None)),
    "detail as text": (encoded({"detail": "Not Found"}), ("Not Found", None, None)),
    "detail as FastAPI's list": (
        encoded(
            {"detail": [{"loc": ["body", "metadata", 0], "msg": "bad", "type": "x"}, {"msg": "worse"}, "plain", 3]}
        ),
        ("body.metadata.0: bad; worse; plain; 3", None, None),
    ),
    "detail as an object": (encoded({"detail": {"error": "no", "x": 1}}), ("no", None, None)),
    "detail as an unknown object": (encoded({"detail": {"x": [1]}}), ('{"x": [1]}', None, None)),
    "message at the top": (encoded({"statusCode": 401, "message": "Denied", "code": "D"}), ("Denied", "D", None)),
    "unknown object": (encoded({"x": 1}), ('{"x": 1}', None, None)),
    "empty object": (b"{}", ("", None, None)),
    "null": (b"null", ("", None, None)),
    "true is no code": (encoded({"error": {"message": "m", "code": True, "type": ""}}), ("m", None, None)),
    "a JSON string": (b'"gone"', ("gone", None, None)),
    "plain text": (b" upstream connect error \n", ("upstream connect error", None, None)),
    "broken encoding": (b"caf\xe9", ("caf�", None, None)),
    "empty": (b"", ("", None, None)),
    "HTML": (b"<!DOCTYPE html><p>x", ("an HTML page", None, None)),
    "HTML with a title": (
        b"\n<html><title lang=en>502 Bad &amp; Gateway\n</title><script>alert(1)</script>",
        ("an HTML page titled “502 Bad & Gateway”", None, None),
    ),
}


@pytest.mark.parametrize("case", ENVELOPES)
def test_the_apis_words_are_found_in_every_envelope(case):
    body, expected = ENVELOPES[case]
    said = complaint(body)
    assert (said.message, said.code, said.type) == expected


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reading_of_complaints(body):
    assert isinstance(complaint(body).message, str)


NAMES = st.sampled_from(["error", "detail", "message", "loc", "msg"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
)


@given(JSON)
def test_no_json_breaks_the_reading_of_complaints(value):
    assert isinstance(complaint(encoded(value)).message, str)


def test_a_complaint_nested_too_deeply_is_not_repeated_in_full():
    value: object = "x"
    for _ in range(100_000):
        value = [value]
    assert _compact(value) == "an answer that is nested too deeply"
    assert complaint(b'{"error": ' + b"[" * 100_000).message.startswith('{"error": [[[')


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "is empty where", id="empty"),
        pytest.param(b" \n", "is empty where", id="blank"),
        pytest.param(b"<html><title>Login</title>", "an HTML page titled “Login” where", id="HTML"),
        pytest.param(b"ok", "is no JSON where", id="plain text"),
        pytest.param(b'{"a": 1', "is no JSON where", id="cut off"),
        pytest.param(b'{"a": "\xff"}', "is no JSON in UTF-8 where", id="not UTF-8"),
        pytest.param('{"a": "b"}'.encode("utf-16"), "is no JSON in UTF-8 where", id="UTF-16"),
        pytest.param('{"a": "b"}'.encode("utf-16-le"), "is no JSON in UTF-8 where", id="UTF-16 without its mark"),
        pytest.param(b"[]", "is JSON, but no object", id="a list"),
        pytest.param(b"null", "is JSON, but no object", id="null"),
        pytest.param(b'{"a": NaN}', "holds NaN", id="NaN"),
        pytest.param(b'{"a": -Infinity}', "holds -Infinity", id="infinity"),
        pytest.param(b'{"a": 1e999}', "beyond all bounds", id="an infinity written as a number"),
        pytest.param(b'{"a": ' + b"[" * 100_000, "nested too deeply", id="deep"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "is no JSON where", id="an endless integer"),
    ],
)
def test_what_is_no_object_is_refused_with_its_reason(body, reason):
    with pytest.raises(Unusable, match=reason):
        parse_object(body)


def test_a_byte_order_mark_is_no_obstacle():
    assert parse(b'\xef\xbb\xbf{"a": 1.5}') == {"a": 1.5}


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        pytest.param({"metadata": {"a": "1"}}, {"a": "1"}, id="a map"),
        pytest.param({"metadata": None}, {}, id="null is empty"),
        pytest.param({"metadata": {}}, {}, id="empty"),
        pytest.param({}, None, id="missing"),
        pytest.param({"meta_data": {"a": "1"}}, None, id="misnamed"),
        pytest.param({"metadata": {"a": None, "b": ""}}, {"b": ""}, id="null values are absent"),
        pytest.param({"metadata": {"a": 1, "b": [{"c": None}]}}, {"a": 1, "b": [{"c": None}]}, id="others are carried"),
    ],
)
def test_the_map_is_taken_from_its_field(held, expected):
    assert metadata_of(held, "metadata") == expected


@pytest.mark.parametrize("field", ["text", [], 3, False])
def test_a_field_that_is_no_map_is_refused(field):
    with pytest.raises(Unusable, match="`metadata` that is no object"):
        metadata_of({"metadata": field}, "metadata")


def nested(levels):
    value: object = {}
    for level in range(levels):
        value = [value] if level % 2 else {"x": value}
    return value


def test_values_are_carried_up_to_a_depth_that_stays_safe():
    assert metadata_of({"metadata": {"a": nested(60)}}, "metadata")
    with pytest.raises(Unusable, match="nested too deeply"):
        metadata_of({"metadata": {"a": nested(70)}}, "metadata")


def test_only_markup_is_a_page():
    assert page(b'{"a": "<html>"}') is None
    assert page(b'<?xml version="1.0"?><!DOCTYPE html><html><title>x</title>') == "an HTML page titled “x”"
    assert page(b"<p><code>x</code>") == "an HTML page"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'<?xml version="1.0"?><Error/>', ""),
        (b'\xef\xbb\xbf<?xml version="1.0"?><r/>', ""),
        (b"<Error><Code>NoSuchKey</Code><Message>There is no &quot;x&quot;.</Message>", 'NoSuchKey: There is no "x".'),
        (b"<ns:Fault><Code>7</Code></ns:Fault>", "7"),
        (b"<ErrorResponse xmlns='u'><Error><Message>\nNo.\n</Message><Code></Code>", "No."),
        (b"<?xml?>" + b"<code " * 20_000, ""),
    ],
)
def test_xml_is_called_so_and_says_its_error(body, words):
    assert page(body) == (f"an XML document that says “{words}”" if words else "an XML document")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a\n\tb  c", "a b c", id="one line"),
        pytest.param("a\x1b[31mred\x07", "a [31mred", id="no control sequences"),
        pytest.param("a\u202eb\ud800c\u0085d", "a b c d", id="no overrides, surrogates, C1"),
        pytest.param("key sk-123, sk-123!", "key ***, ***!", id="the secret is hidden"),
        pytest.param("x" * 400, "x" * 299 + "…", id="cut"),
        pytest.param("x" * 296 + "sk-123", "x" * 296 + "***", id="hidden before it is cut"),
        pytest.param("ünï → 🎉", "ünï → 🎉", id="printable text stays"),
    ],
)
def test_words_are_made_presentable(text, expected):
    assert presentable(text, "sk-123") == expected


@given(st.text(), st.text("abc", min_size=4, max_size=6))
def test_presentable_words_are_one_printable_line_without_the_secret(text, secret):
    shown = presentable(text + secret, secret)
    assert shown.isprintable()
    assert len(shown) <= 300
    assert secret not in presentable(f"«{secret}»", secret)


def test_a_text_as_short_as_a_syllable_is_not_taken_out_of_every_word():
    assert presentable("all that is abc", Secrets("a", "abc")) == "all that is abc"
    assert redacted(b"all that is abcd", Secrets("a", "abcd")) == b"all that is ***"


# --- a credential that comes back


KEY = "sk-0123456789abcdefghij"
ESCAPED = "".join(f"\\u{ord(char):04x}" for char in KEY)


def holds(written, secret=KEY):
    """Tell whether a body with this text in place of its metadata echoes the secret."""
    body = f'{{"id": "t", "metadata": {written}}}'.encode()
    return echoes(body, json.loads(body)["metadata"], secret)


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(f'{{"a": "{KEY}"}}', id="a value"),
        pytest.param(f'{{"a": "Bearer {KEY}, it said"}}', id="a part of a value"),
        pytest.param(f'{{"{KEY}": "1"}}', id="a key"),
        pytest.param(f'{{"a": {{"b": [1, {{"{KEY}": null}}]}}}}', id="a nested key"),
        pytest.param(f'{{"a": [["x", "{KEY}"]]}}', id="a nested value"),
        pytest.param(f'{{"a": "{ESCAPED}"}}', id="an escaped value"),
        pytest.param(f'{{"{ESCAPED}": 1}}', id="an escaped key"),
    ],
)
def test_a_credential_is_found_wherever_it_comes_back(written):
    assert holds(written)


@pytest.mark.parametrize(
    "written", ["{}", '{"a": "1", "b": null, "c": [true, 1.5]}', '{"a": "\\u00e4"}', f'{{"a": "{KEY[:-1]}"}}']
)
def test_other_maps_echo_nothing(written):
    assert not holds(written)


def test_a_credential_beside_the_metadata_is_no_echo_in_it():
    assert not echoes(f'{{"for": "{KEY}", "metadata": {{"a": "1"}}}}'.encode(), {"a": "1"}, KEY)


@pytest.mark.parametrize(("secret", "found"), [("x" * 7, False), ("x" * 8, True), ("", False)])
def test_a_short_credential_may_be_a_word_that_happens_to_be_there(secret, found):
    assert holds(f'{{"a": "{secret}"}}', secret) is found
