"""The comment on a pull request, held against golden files, and against a parser of Markdown that is not ours.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/unit/test_render_markdown.py`, then read the difference.
"""

import re
from html.parser import HTMLParser

import pytest
from documents import (
    BASE,
    DOCUMENTS,
    FAILED,
    GOLDEN,
    MISSING,
    RICH,
    SINCE,
    TARGET,
    at,
    desired,
    hold,
    outcomes,
    planned,
)  # fmt: skip
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from nasty import MARK, NASTY, documents, texts

from reconciler.dialects import MERGE_NULL
from reconciler.document import Document, Reason, ReleasedPart, ShardPart, TargetPart, finding
from reconciler.errors import Fault, Problem
from reconciler.events import Outcome, OutcomeStatus
from reconciler.model import Base, Observed, Ref
from reconciler.render import Room, markdown
from reconciler.words import plain

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
BLOCKS = {
    "html_block", "inline", "paragraph_open", "paragraph_close", "heading_open", "heading_close",
    "bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close",
    "table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close",
    "tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close",
}  # fmt: skip
INLINE = {"text", "code_inline", "strong_open", "strong_close", "softbreak"}


class Page(HTMLParser):
    """What a browser would make of the comment: its elements, its comments, its text, in code and elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.hidden, self.open = [], [], [], []
        self.words, self.code = "", ""
        self.feed(PARSER.render(text))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "code" in self.open:
            self.code += data
        else:
            self.words += data

    def handle_comment(self, data):
        self.hidden.append(data)


def render(document, max_bytes=None):
    return markdown.render(document, Room(max_bytes=max_bytes))


def rows(text):
    """Return the cells of the rows of the table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def left_out(text):
    """Return what the comment says is not in it, by noun."""
    line = next((line for line in text.splitlines() if line.startswith("Not shown")), "")
    return {noun.removesuffix("s"): int(count) for count, noun in re.findall(r"(\d+) ([a-z ]+?)(?=[,.])", line)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_comment_is_as_in_the_golden_file(name):
    hold(f"{name}.md", render(DOCUMENTS[name]))


def test_every_golden_comment_belongs_to_a_document():
    assert {file.stem for file in GOLDEN.glob("*.md")} == set(DOCUMENTS)


# --- the marker -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_hidden_marker_comes_first(name):
    document = DOCUMENTS[name]
    assert render(document).startswith(f"<!-- reconciler:{document.kind}:{document.target.name or ''} -->\n")


def test_shards_have_markers_of_their_own():
    document = DOCUMENTS["plan"]
    parts = [document.model_copy(update={"shard": ShardPart(index=index, count=2)}) for index in (1, 2)]
    assert [markdown.marker(part) for part in parts] == [
        "<!-- reconciler:plan:production:1-of-2 -->",
        "<!-- reconciler:plan:production:2-of-2 -->",
    ]


@given(st.one_of(texts, st.text("-!>", max_size=9), st.text(min_size=1000, max_size=2000)))
def test_the_name_of_a_target_does_not_break_out_of_the_marker(name):
    document = DOCUMENTS["plan"].model_copy(update={"target": TargetPart(name=name)})
    marker = markdown.marker(document)
    assert marker.isascii()
    assert re.fullmatch(r"<!-- reconciler:plan:(?![^ ]*--)[A-Za-z0-9._~%-]* -->", marker)
    assert len(marker) < 200


def test_different_targets_have_different_markers():
    names = ["a", "A", "a b", "a%20b", "a-", "-a", "a/b"]
    made = {markdown.marker(DOCUMENTS["plan"].model_copy(update={"target": TargetPart(name=name)})) for name in names}
    assert len(made) == len(names)


# --- strangers --------------------------------------------------------------------------------------------------------


def check(text):
    """Hold what a stranger's words may not do against what other programs make of the comment."""
    tokens = PARSER.parse(text)
    assert {token.type for token in tokens} <= BLOCKS
    assert {child.type for token in tokens for child in token.children or ()} <= INLINE
    assert sum(token.type == "table_open" for token in tokens) <= 1
    page = Page(text)
    assert not page.open
    assert not page.attributes
    assert len(page.hidden) == 1
    assert set(page.tags) <= {
        "p", "h4", "ul", "li", "strong", "code", "details", "summary", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert page.tags.count("details") == page.tags.count("summary") == text.count("</details>\n")
    assert text.count("<!--") == text.count("-->") == 1
    assert MARK not in page.words
    assert not re.search(r"[@<>\[\]`|]|#\d|://|www\.", page.words)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert not any(re.match(r"\s*::|.*##\w*\[", line) for line in text.splitlines())
    return page


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_of_the_documents_acts(name):
    check(render(DOCUMENTS[name]))


@pytest.mark.parametrize("nasty", NASTY)
def test_nothing_of_a_stranger_acts_wherever_it_stands(nasty):
    text = f"{nasty}{MARK}"
    declared = desired(text, {text: text, "plan": "gold"})
    made = planned(
        (declared, Observed({"plan": text, f"z{text}": "foreign"})),
        rules=MERGE_NULL,
        errors=[Problem("rejected", text, at(3)), Problem("other", text)],
        kind="apply",
        outcomes=outcomes(Outcome(Ref(text, text), OutcomeStatus.FAILED, Fault("x", text), reads=1, lost={text: text})),
        released=(ReleasedPart(kind="thread", id=text, keys=(text,)),),
        notes=(Reason(code="x", message=text),),
        learned={text: text},
    ).model_copy(update={"target": TargetPart(name=text, provider="openai", base_url=text)})
    page = check(render(made))
    assert page.code.count(MARK) > 8


@given(documents)
def test_nothing_of_a_stranger_acts_in_any_document(document):
    text = render(document)
    assert len(text.encode()) <= markdown.MAX_BYTES
    check(text)


@given(documents, st.integers(2048, 6000))
def test_a_comment_is_whole_and_never_longer_than_its_room(document, room):
    text = render(document, room)
    assert len(text.encode()) <= room
    check(text)


@given(st.one_of(st.text(st.characters(codec=None)), st.text("` \\a")))
@example("`")
@example(" a ")
@example("")
def test_a_code_span_shows_what_it_was_given(text):
    tokens = PARSER.parseInline(f"a {markdown.code(plain(text))} `b`")[0].children
    assert [token.type for token in tokens] == ["text", "code_inline", "text", "code_inline"]
    shown = tokens[1].content
    for escape, character in {"\\u0060": "`", "\\u003c": "<", "\\u003e": ">"}.items():
        shown = shown.replace(escape, character)
    assert shown.strip() == (plain(text) or '""').strip()


# --- what it says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plan_nothing_to_do", "plan_of_nothing", "apply_nothing_to_do", "drift_none"])
def test_nothing_to_do_is_one_line(name):
    lines = render(DOCUMENTS[name]).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(("Nothing to do: ", "No drift: "))


@pytest.mark.parametrize("name", sorted(set(DOCUMENTS) - {"plan_hostile"}))
def test_the_counts_come_first_and_the_exit_code_is_told(name):
    document = DOCUMENTS[name].model_copy(update={"exit_code": 7})
    assert render(document).splitlines()[1].endswith("Exit code 7.")


def test_errors_missing_ids_blocked_fields_released_resources_and_notes_are_told():
    document = planned(
        *RICH,
        MISSING,
        FAILED,
        errors=[Problem("timeout", "thread/thread_slow: The API did not answer in time.", at(50))],
        notes=(Reason(code="unfinished", message="an apply ended without a record"),),
        released=(ReleasedPart(kind="thread", id="thread_old", keys=("plan", "team")),),
    )
    text = render(document)
    for told in (
        "`thread/thread_slow: The API did not answer in time.` (`timeout`)",
        "`thread/thread_gone: No thread found` at `manifests/support.yaml:40:3`",
        "blocked (unremovable)",
        "`an apply ended without a record`",
        "- `thread/thread_old`: `plan`, `team`",
        "1 missing, 1 failed, 1 field blocked, 1 released, 1 modify call; 1 error",
    ):
        assert told in text


def test_what_a_whole_run_could_not_read_is_told_once():
    refused = (desired("thread_x", {"plan": "gold"}), FAILED[1].__class__(Fault("unauthorized", "401")))
    document = planned(refused).model_copy(update={"changes": planned(refused).changes * 500})
    text = render(document)
    assert text.count("500 resources could not be read: 401") == 1


def test_what_a_change_causes_is_apart_from_what_was_there_before():
    text = render(DOCUMENTS["plan_marked"])
    assert "- asked for by this change, since `origin/main`: 1 field on 1 resource (`+1 ~0 -0`): 1 conflict\n" in text
    assert "- there before this change: 2 fields on 2 resources (`+0 ~1 -1`): 1 pending, 1 drift\n" in text
    ours, _, before = text.partition("#### There before this change")
    ours = ours.partition("#### Asked for by this change")[2]
    assert "`team`" in ours
    assert not any(key in ours for key in ("`plan`", "`trial`"))
    assert "`plan`" in before
    assert "`trial`" in before
    assert "`team`" not in before
    assert [row[0] for row in rows(text)] == ["by this change", "before", "before"]


def test_places_are_below_the_top_of_the_repository():
    assert "`ops/threads/manifests/support.yaml:11:7`" in render(DOCUMENTS["plan_marked"])


def test_long_values_are_shortened_around_what_differs():
    text = render(DOCUMENTS["plan_long"])
    assert '`(85)…" of May. ' in text
    assert '`(85)…" of June. ' in text
    assert "…(N) stands for N characters that are left out" in text
    assert "left out" not in render(DOCUMENTS["plan"])
    assert max(map(len, text.splitlines())) < 400


def test_values_that_look_the_same_are_told_apart():
    made = planned((desired("thread_abc", {"k": "x" * 200 + "e\u0301"}), Observed({"k": "x" * 200 + "\u00e9"})))
    text = render(made)
    assert "\\u00e9" in text
    assert "\\u0301" in text


def test_masked_values_are_said_to_be_masked():
    made = planned((desired("thread_abc", {"k": "***"}), Observed({"k": "**"})), masked=True)
    assert "values that the settings mask are shown as `***`" in render(made)


# --- room -------------------------------------------------------------------------------------------------------------

MANY = 10_000


def crowd(*last, count=MANY, **more):
    """A plan that changes very many resources a little, and the given ones at its end."""
    waiting = Observed({"plan": "tin"})
    pairs = [(desired(f"thread_{number}", {"plan": "gold"}, number + 1), waiting) for number in range(count)]
    return planned(*pairs, *last, rules=MERGE_NULL, remembered=Base({"plan": "tin", "old": "x"}), base=BASE, **more)


CROWD = crowd()
ERRORS = tuple(finding(Problem("missing", f"thread/thread_{number}: No thread found", at(9))) for number in range(MANY))
NOTES = (Reason(code="expired", message="x" * 1000), Reason(code="other", message="y" * 1000)) * (MANY // 2)
EMOJI = planned(
    (
        desired("thread_abc", {f"k{number}": "\U0001f600" * 512 for number in range(16)}),
        Observed({f"k{number}": "\U0001f601" * 512 for number in range(16)}),
    )
)
STALE = outcomes(*(Outcome(Ref("thread", f"t_{n}"), OutcomeStatus.STALE, Fault("stale", "moved")) for n in range(MANY)))
NAMELESS = DOCUMENTS["plan"].model_copy(update={"target": TargetPart(name="\ud800" * 10**6, base_url="x" * 10**6)})
LARGE = {
    "changes": CROWD,
    "errors": Document(kind="validate", errors=ERRORS),
    "outcomes": CROWD.model_copy(update={"kind": "apply", "outcomes": STALE}),
    "emoji": EMOJI,
    "everything": CROWD.model_copy(update={"errors": ERRORS, "notes": NOTES, "since": SINCE}),
    "a long name": NAMELESS,
    "a long message": planned(errors=[Problem("x", "`<b>" * 10**6)]),
    "a long id": planned((desired("\U0001f600|`" * 10**5, {"\u202e" * 10**5: "y" * 10**6}), Observed({}))),
}  # fmt: skip


@pytest.mark.parametrize("room", [2048, 65_536])
@pytest.mark.parametrize("name", LARGE)
def test_however_much_there_is_the_comment_has_an_end_and_is_whole(name, room):
    document = LARGE[name]
    text = render(document, room)
    assert len(text.encode()) <= room
    check(text)
    shown, left = rows(text), left_out(text)
    resources = len(document.changes)
    assert len(shown) + left.get("table row", 0) == resources
    assert len(re.findall("<details>", text)) + left.get("details block", 0) == resources
    assert text.splitlines()[1] == render(document).splitlines()[1]  # the counts stay


def test_the_room_is_used():
    assert len(render(CROWD).encode()) > 0.95 * markdown.MAX_BYTES


def test_a_resource_that_does_not_fit_shows_the_fields_that_do():
    text = render(EMOJI, 2500)
    shown = text.count("\n- `~` `k")
    assert 0 < shown < 16
    assert f"- and {16 - shown} fields more" in text


@pytest.mark.parametrize(
    "last",
    [
        (desired("thread_zzz", {"plan": "gold", "old": None}), Observed({"plan": "gold", "old": "x"})),
        (desired("thread_zzz", {"plan": "gold"}), Observed({"plan": "silver"})),
    ],
    ids=["a removal", "a conflict"],
)
def test_removals_and_conflicts_are_preferred(last):
    text = render(crowd(last))
    assert text.count("thread/thread_zzz") == 2  # a row, and a block


def test_drift_is_preferred_to_what_is_pending():
    quiet = desired("thread_zzz", {"plan": "tin", "old": "x"}), Observed({"plan": "silver", "old": "x"})
    assert render(crowd(quiet)).count("thread/thread_zzz") == 2


def test_what_a_change_asks_for_is_preferred_as_much_as_what_is_worse():
    worse = crowd(count=MANY, since=SINCE)
    fields = [each.model_copy(update={"introduced": True}) for each in worse.changes[-1].fields]
    changes = (*worse.changes[:-1], worse.changes[-1].model_copy(update={"fields": tuple(fields)}))
    document = worse.model_copy(update={"changes": changes})
    assert render(document).count(changes[-1].id) == 2
    assert rows(render(document))[0][0] == "by this change"


def test_outcomes_that_are_not_as_planned_are_told_and_the_others_counted():
    text = render(DOCUMENTS["apply_incomplete"])
    assert "- `thread/thread_abc: stale: it moved since it was planned` at `manifests/support.yaml:8:3`\n" in text
    assert "- `2 resources not attempted: it replaces`\n" in text
    assert [row[3] for row in rows(text)] == ["stale", "failed"]


def test_the_same_document_gives_the_same_bytes():
    assert TARGET.name is not None
    for document in DOCUMENTS.values():
        again = Document.model_validate(document.model_dump())
        assert render(document) == render(again)
