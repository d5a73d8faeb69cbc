"""The page as text: what is on it, that it is the same every time, and that nothing from outside is more than text."""

import base64
import hashlib
import re
from html import unescape
from html.parser import HTMLParser
from unicodedata import normalize

import pytest
from documents import DOCUMENTS, HOSTILE, LONG, RICH, SINCE, desired, hold, planned, told
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.dialects import REPLACE
from reconciler.document import CommitPart, Reason, ReleasedPart, ShardPart, SparedPart
from reconciler.errors import Location, Problem
from reconciler.model import Observed
from reconciler.render import FORMATS, rendered
from reconciler.render.html import FILES, LISTED, ROWS, _visible, render, status
from reconciler.render.status import Sample, Watch
from reconciler.words import quoted

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Page(HTMLParser):
    """A page taken apart: texts, elements with their attributes; every element must be closed where it was opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} at {self.getpos()}"

    def handle_data(self, data):
        if data.strip() and self.open[-1] not in {"style", "script"}:
            self.texts.append(" ".join(data.split()))

    def all(self, tag, **having):
        return [got for name, got in self.elements if name == tag and having.items() <= got.items()]

    @property
    def text(self):
        return " ".join(self.texts)


def body(page):
    """What a page says, without its style and its script: those may change and nothing else does."""
    return page[page.index("<body") : page.rindex("<script>")]


@pytest.mark.parametrize("name", ["plan_marked", "drift", "apply_incomplete", "validate_invalid", "plan_hostile"])
def test_a_document_is_shown_as_its_golden_file_says(name):
    hold(f"{name}.html", body(render(DOCUMENTS[name])))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_is_a_well_formed_page_that_is_the_same_every_time(name):
    page = render(DOCUMENTS[name])
    assert page == render(DOCUMENTS[name]) == rendered(DOCUMENTS[name], "html")
    assert page.startswith("<!DOCTYPE html>\n")
    assert page.endswith("</html>\n")
    ids = [got["id"] for _, got in Page(page).elements if "id" in got]
    assert len(ids) == len(set(ids))
    page.encode("utf-8")


def test_the_page_is_a_format():
    assert FORMATS["html"] == "html"


# --- what it may do ---------------------------------------------------------------------------------------------------


def test_the_policy_allows_the_pages_own_style_and_script_alone():
    page = render(DOCUMENTS["plan"])
    policy = Page(page).all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for tag in ("script", "style"):
        [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_address_of_another_place_is_followed(name):
    for tag, attributes in Page(render(DOCUMENTS[name])).elements:
        for key in ("src", "href", "action", "srcset", "data", "poster", "formaction", "ping"):
            assert attributes.get(key, "#").startswith(("#", "data:,")), (tag, attributes)
        assert "style" not in attributes
        assert not any(key.startswith("on") for key in attributes)


ATTACKS = st.one_of(
    st.sampled_from(
        ("</script>", "<script>alert(1)</script>", '" onload="x', "' onload='x", "{{ 7*7 }}", "{% x %}", "<!--", "]]>",
         "&lt;b&gt;", "</title>", "</style>", "\ud800", "\u202e", "\n::error::x", "##[group]x", "\x00",
         "\u2028", HOSTILE)
    ),
    st.text(max_size=30),
)  # fmt: skip
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\u3164]")


@given(*(ATTACKS,) * 5)
def test_whatever_comes_from_outside_is_text(key, value, other, name, message):
    place = Location(name, 1, 1)
    document = planned(
        (desired("thread_abc", {"k": value}), Observed({"k": other, f"k{key}": value})),
        (desired("thread_def", {"k": value}), Observed({"k": 1, key or "k": [other]})),
        rules=REPLACE,
        errors=[Problem("rejected", message, place)],
        notes=(Reason(code="unfinished", message=message),),
        released=(ReleasedPart(kind="thread", id=name, keys=(key,)),),
        spared=(SparedPart(kind="thread", id=name, keys=(key,)),),
    )
    page = render(document)
    assert not UNSEEN.search(page)
    assert not re.search(r"^\s*::|##\w*\[", body(page), re.MULTILINE)
    plain = render(
        planned(
            (desired("thread_abc", {"k": "a"}), Observed({"k": "b", "kk": "c"})),
            (desired("thread_def", {"k": "a"}), Observed({"k": 1, "k2": ["c"]})),
            rules=REPLACE,
        )
    )
    assert {tag for tag, _ in Page(page).elements} <= {tag for tag, _ in Page(plain).elements} | {
        "ul", "li", "mark", "details", "summary", "h2", "p", "option",
    }  # fmt: skip
    assert {key for _, got in Page(page).elements for key in got} <= {
        key for _, got in Page(plain).elements for key in got
    }


@pytest.mark.parametrize("unseen", ["\u3164", "\u115f", "\u034f", "\u2800", "\ufe01", "\U000e0101", "x\ufe0f"])
def test_what_a_browser_does_not_show_is_shown_as_an_escape(unseen):
    page = render(planned((desired("thread_abc", {"k": f"a{unseen}"}), Observed({"k": "a"}))))
    assert unseen[-1] not in page
    assert "\\u" in body(page)


def test_a_picture_among_the_characters_stays_one():
    page = render(planned((desired("thread_abc", {"k": "I ❤\ufe0f it"}), Observed({}))))
    assert "I ❤\ufe0f it" in page


# --- what it tells ----------------------------------------------------------------------------------------------------


def shown(document):
    return Page(render(document)).text


def test_what_the_change_under_review_asks_for_stands_apart():
    text = shown(DOCUMENTS["plan_marked"])
    introduced, others = text.index("Caused by this change", 500), text.index("Pending or drifted before it")
    assert introduced < text.index(" team ", introduced) < others < text.index(" plan ", others)
    assert "since origin/main, branched off at eeeeeeeeee" in text
    assert "caused by this change 1" in text


def test_a_review_of_nothing_new_has_no_empty_table():
    page = Page(render(planned(*RICH, since=SINCE)))
    assert [got["id"] for got in page.all("h2")].count("introduced") == 0
    assert len(page.all("table", **{"class": "changes"})) == 1


def test_a_drift_report_tells_it_from_the_other_side():
    text = shown(DOCUMENTS["drift"])
    for said in (
        "Git says There now", "accepted until 2026-12-31: moves with the new team", "an edit from outside",
        "declared by 0123456, 2026-11-20, A. Writer", "an apply that never landed, or was undone",
        "missing No thread found", "2 (differences)",
    ):  # fmt: skip
        assert said in text


def test_an_apply_tells_every_outcome_and_what_was_lost():
    text = shown(DOCUMENTS["apply_incomplete"])
    for said in (
        "Apply incomplete: 1 stale",
        "stale it moved since it was planned",
        "lost pair seen =",
        "thread/thread_jkl",
    ):
        assert said in text


def test_a_validation_tells_every_problem_with_its_place():
    text = shown(DOCUMENTS["validate_invalid"])
    assert 'manifests/support.yaml:3:12 5 is a YAML number: write "5" not_a_string' in text
    assert "no place export OPENAI_API_KEY no_key" in text


ASIDE = {
    "shard": (ShardPart(index=2, count=8), "Shard 2 of 8"),
    "masked": (True, "some values are hidden"),
    "undoes": ("run_1", "the run run_1"),
    "offline": (True, "nothing was read"),
    "exit_code": (6, "6 (refused by a guard)"),
    "left": (3, "3 fields by --only"),
    "released": (
        (ReleasedPart(kind="thread", id="gone", keys=("a", "b"), commit="c" * 40),),
        "keys that were ours: a , b",
    ),
    "spared": ((SparedPart(kind="thread", id="left", keys=("a",)),), "These keys differ as well. thread/left a"),
    "notes": ((Reason(code="unfinished", message="an apply ended"),), "Notes an apply ended"),
    "learned": ({"thread": "merge"}, "writes: {thread: merge}"),
}


@pytest.mark.parametrize("part", ASIDE)
def test_the_page_tells_what_stands_beside_the_changes(part):
    value, said = ASIDE[part]
    assert said in shown(planned(*RICH, **{part: value}))


def test_a_blocked_field_says_why():
    field = desired("thread_abc", {"plan": None}, protect=True)
    text = shown(planned((field, Observed({"plan": "x"}))))
    assert "blocked (protected)" in text
    assert "blocked fields" in text


def test_a_missing_id_is_shown_with_its_message():
    text = shown(DOCUMENTS["plan_missing"])
    assert "thread/thread_gone missing missing No thread found" in text


# --- values -----------------------------------------------------------------------------------------------------------


def values(document):
    """The two values of the first field, each as the parts that are marked."""
    cells = re.findall(r'<td class="value".*?>(.*?)</td>', render(document))[:2]
    return [re.findall(r"<mark>(.*?)</mark>", re.sub(r"<summary>.*?</summary>", "", cell)) for cell in cells]


DIFFERENCES = {
    "one word": ("see the letter of May", "see the letter of June", (["May"], ["June"])),
    "all of it": ("silver", "gold", (["silver"], ["gold"])),
    "several words": ("one two three four", "one 2 three 4", (["two", "four"], ["2", "4"])),
    "something added": ("one two", "one two three", ([], [" three"])),
    "within a long word": ("a" * 50 + "b" + "c" * 50, "a" * 50 + "d" + "c" * 50, (["b"], ["d"])),
    "what looks alike": ("caf\u00e9", "cafe\u0301", ([r"caf\u00e9"], [r"cafe\u0301"])),
    "a digit of an escape": ("x\u200b", "x\u200c", ([r"\u200b"], [r"\u200c"])),
    "number and text": (1, "1", ([], ["&#34;", "&#34;"])),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_parts_that_differ_are_marked(name):
    before, after, marked = DIFFERENCES[name]
    got = values(planned((desired("thread_abc", {"k": after}), Observed({"k": before}))))
    assert got == list(marked)


@given(st.text(max_size=200), st.text(max_size=200))
def test_marking_leaves_every_value_whole(before, after):
    assume(normalize("NFC", before) != normalize("NFC", after))
    page = render(planned((desired("thread_abc", {"k": after}), Observed({"k": before}))))
    cells = re.findall(r'<td class="value".*?>(.*?)</td>', page)
    texts = [unescape(re.sub(r"<summary>.*?</summary>|<.*?>", "", cell)) for cell in cells]
    assert texts == [_visible(quoted(before)), _visible(quoted(after))]
    assert "<mark>" in page


def test_a_long_value_is_folded_behind_what_differs_and_is_there_as_a_whole():
    page = render(DOCUMENTS["plan_long"])
    assert page.count('<details class="long">') == 4
    text = Page(page).text
    assert "all 472 characters" in text
    plain = re.sub(r"</?mark>", "", page)
    assert LONG in plain
    assert LONG.replace("May", "June") in plain
    excerpts = re.findall(r'<code class="excerpt">(.*?)</code>', page)
    assert "<mark>May</mark>" in excerpts[0]
    assert "<mark>June</mark>" in excerpts[1]


def test_values_made_to_be_slow_to_compare_are_shown_all_the_same():
    left, right = ("a b " * 120, "b a " * 120)
    pairs = [
        (
            desired(f"thread_{each}", {f"k{key}": right for key in range(16)}),
            Observed({f"k{key}": left for key in range(16)}),
        )
        for each in range(60)
    ]
    assert render(planned(*pairs)).count('class="resource"') == 60


# --- many -------------------------------------------------------------------------------------------------------------


def many(count, keys=1):
    return planned(
        *(
            (desired(f"thread_{number}", {f"k{key}": "a" for key in range(keys)}), Observed({}))
            for number in range(count)
        )
    )


def test_the_page_lists_so_many_and_counts_all():
    page = render(many(LISTED + 5))
    assert page.count('class="resource"') == LISTED
    text = Page(page).text
    assert f"Listed are the first {LISTED:,} resources; 5 more are not." in text
    assert f"resources {LISTED + 5:,} to update {LISTED + 5:,}" in text


def test_many_fields_bound_the_page_as_well():
    page = render(many(ROWS // 16 + 3, keys=16))
    assert page.count('class="resource"') == ROWS // 16
    assert "3 more are not" in Page(page).text


def test_many_problems_are_bounded():
    errors = [Problem("odd", f"number {number}", Location("a.yaml", number + 1, 1)) for number in range(LISTED + 1)]
    page = render(planned(errors=errors))
    assert page.count('<tbody role="rowgroup" data-file=') == LISTED
    assert "and 1 more: a JSON document" in Page(page).text


def test_files_beyond_the_busiest_are_one_row():
    pairs = []
    for number in range(FILES + 4):
        file = Location(f"manifests/{number:02}.yaml", 1, 1)
        one = desired(f"thread_{number}", {"k": "a"})
        pairs.append((type(one)(one.ref, {"k": "a"}, location=file, sources={"k": file}), Observed({})))
    text = shown(planned(*pairs))
    assert "5 other files 5 0 0" in text


# --- a watch ----------------------------------------------------------------------------------------------------------

START = 1_763_600_000.0


def watch(count, **more):
    samples = tuple(Sample(START + 300 * number, drift=number % 3, failed=number == 4) for number in range(count))
    return Watch("apply", 300.0, START, samples, **{"next_at": START + 300 * count, **more})


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
@pytest.mark.parametrize("name", [None, "drift", "apply_incomplete", "plan_nothing_to_do"])
def test_the_page_of_a_watch_is_well_formed_and_ends_in_a_newline(count, name):
    page = status(DOCUMENTS[name] if name else None, watch(count), START + 300 * count)
    assert page.endswith("</html>\n")
    Page(page)


def test_the_page_of_a_watch_tells_mode_interval_times_and_failures():
    page = Page(status(None, watch(3, failures=2, error=f"no: {HOSTILE}"), START + 700))
    for said in (
        "Mode apply", "Interval 5 minutes", "Last run 2025-11-20 01:03:20 UTC", "Next run 2025-11-20 01:08:20 UTC",
        "Failures in a row 2", "The last run failed, and 1 before it", r"Last error no: \u001b[31mred",
        "The same as a table", "2025-11-20 00:53:20 UTC 0 0 0 0 1 0",
    ):  # fmt: skip
        assert said in page.text
    assert {"datetime": "2025-11-20T01:08:20Z"} in page.all("time")


def test_the_page_of_a_watch_tells_when_a_run_is_under_way_or_due():
    assert "Next run one is under way" in Page(status(None, watch(0, next_at=None), START)).text
    assert "due now" in Page(status(None, watch(1), START + 301)).text
    assert "No run has ended yet" in Page(status(None, watch(0), START)).text


@pytest.mark.parametrize(
    ("next_at", "seconds"), [(START + 30, "31"), (START - 9, "5"), (START + 9999, "60"), (None, "60")]
)
def test_the_page_of_a_watch_looks_again_when_there_may_be_something_new(next_at, seconds):
    page = Page(status(None, watch(1, next_at=next_at), START))
    assert page.all("meta", **{"http-equiv": "refresh"}) == [{"http-equiv": "refresh", "content": seconds}]
    assert page.all("body") == [{"data-refresh": seconds}]


def test_a_page_that_is_no_watch_never_looks_again():
    page = Page(render(DOCUMENTS["plan"]))
    assert not page.all("meta", **{"http-equiv": "refresh"})


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (1.0, "1 second"),
        (90.0, "90 seconds"),
        (60.0, "1 minute"),
        (7200.0, "2 hours"),
        (86400.0, "1 day"),
        (0.5, "0.5 seconds"),
    ],
)
def test_an_interval_is_said_in_its_largest_unit(interval, said):
    assert f"Interval {said} " in Page(status(None, Watch("plan", interval, START), START)).text


def test_told_fields_are_shown_with_who_declared_them():
    document = told(planned(RICH[0]), plan={"blame": CommitPart(commit=None)})
    assert "declared by a line that is not committed yet" in shown(document)
