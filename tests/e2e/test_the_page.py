"""The page, in a real browser: what a person sees, presses and hears of it."""

import re
from collections import Counter

import pytest
from browser import needs_browser, started, wait_for
from documents import DOCUMENTS, MISSING, desired, planned
from scratch import Api, staged

from reconciler.document import SincePart
from reconciler.errors import Location, Problem
from reconciler.model import Base, Desired, Observed, Ownership, Ref
from reconciler.render.html import render, status
from reconciler.render.status import Sample, Watch

pytestmark = needs_browser

ATTACKS = (
    "<script>window.hit=1;alert(1)</script>",
    "</script><script>alert(2)</script>",
    "</style><script>alert(3)</script>",
    "</title><script>document.title='taken'</script>",
    '"><img src=x onerror="window.hit=1;alert(4)">',
    "' autofocus onfocus='alert(5)' x='",
    "javascript:alert(6)",
    "<svg onload=alert(7)><iframe srcdoc='<script>parent.hit=1</script>'>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1/taken'>",
    "{{ 7 * 7 }}{% raw %}",
    "</textarea></select></table><form action=/taken><input autofocus onfocus=alert(8)>",
    "<!--<script>",
    "\x1b[31m\u202e\u200b\ud800\x00\n::error::x ##[group]y",
)
THEMES = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 20, 24)"}


def in_file(kind, name, declared, found, file, line):
    place = Location(file, line, 3)
    sources = {key: Location(file, line + 1, 7) for key in declared}
    return Desired(Ref(kind, name), declared, location=place, sources=sources), Observed(found)


SEVERAL = planned(
    in_file("thread", "thread_b", {"plan": "gold", "team": "support"}, {"plan": "silver"}, "manifests/a.yaml", 10),
    in_file("thread", "thread_a", {"plan": "zinc"}, {"plan": "lead"}, "manifests/b.yaml", 4),
    in_file("conversation", "conv_1", {"note": "after"}, {"note": "before", "seen": "1"}, "manifests/b.yaml", 2),
    MISSING,
    remembered=Base({"plan": "gold", "note": "between"}),
    errors=[Problem("missing", "thread/thread_gone: No thread found", Location("manifests/a.yaml", 40, 3))],
)
SAMPLES = tuple(
    Sample(1_763_600_000.0 + 300 * number, pending=3, drift=number % 4, failed=number == 5) for number in range(20)
)
WATCH = Watch("apply", 300.0, 1_763_600_000.0, SAMPLES, SAMPLES[-1].at + 300, 1, "the API did not answer")


def hostile():
    """A document with every attack in every place that takes one."""
    pairs = {f"{number}{attack}"[:64]: attack for number, attack in enumerate(ATTACKS)}
    place = Location(ATTACKS[4], 1, 1)
    mine = Desired(Ref("thread", "thread_x"), {"plan": "gold"}, Ownership.EXCLUSIVE, location=place)
    kept = Desired(Ref("thread", "thread_y"), {"plan": ATTACKS[0]}, location=Location(ATTACKS[1], 2, 2))
    document = planned(
        (mine, Observed(pairs)),
        (kept, Observed({"plan": ATTACKS[4], **pairs})),
        errors=[Problem("rejected", attack, Location(attack, 1, 1)) for attack in ATTACKS],
        since=SincePart(revision=ATTACKS[0], commit="e" * 40),
    )
    target = document.target.model_copy(update={"name": ATTACKS[3], "base_url": ATTACKS[6]})
    return document.model_copy(update={"target": target})


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with started(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def page(browser):
    browser.open(render(SEVERAL))
    return browser


def names(browser):
    """The resources that can be seen, in their order."""
    return browser.ask(
        "[...document.querySelectorAll('.changes > tbody')].filter(body => body.checkVisibility())"
        ".map(body => body.querySelector('th code').textContent)"
    )


def keys(browser):
    """The keys that can be seen, in their order."""
    return browser.ask(
        "[...document.querySelectorAll('.changes > tbody > tr:not(.resource)')].filter(row => row.checkVisibility())"
        ".map(row => row.querySelector('th code').textContent)"
    )


def choose(browser, name, value):
    browser.driver.execute_script(
        "const control = document.querySelector(`[name=${arguments[0]}]`); control.value = arguments[1];"
        "control.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def told(browser, text):
    browser.until("document.querySelector('#shown').textContent === arguments[0]", text)


ALL = "Showing 4 of 4 fields on 4 of 4 resources, 1 of 1 problem"


@pytest.mark.parametrize(
    ("name", "value", "resources", "fields", "said"),
    [
        ("cause", "drift", ["thread/thread_b"], ["plan"], "1 of 4 fields on 1 of 4 resources, 1 of 1 problem"),
        ("kind", "conversation", ["conversation/conv_1"], ["note"],
         "1 of 4 fields on 1 of 4 resources, 1 of 1 problem"),
        ("file", "manifests/b.yaml", ["conversation/conv_1", "thread/thread_a"], ["note", "plan"],
         "2 of 4 fields on 2 of 4 resources, 0 of 1 problem"),
        ("state", "missing", ["thread/thread_gone"], [], "0 of 4 fields on 1 of 4 resources, 1 of 1 problem"),
        ("text", "ZINC", ["thread/thread_a"], ["plan"], "1 of 4 fields on 1 of 4 resources, 0 of 1 problem"),
        ("text", "thread_b", ["thread/thread_b"], ["plan", "team"],
         "2 of 4 fields on 1 of 4 resources, 0 of 1 problem"),
        ("text", "nothing has this", [], [], "0 of 4 fields on 0 of 4 resources, 0 of 1 problem"),
    ],
)  # fmt: skip
def test_each_control_filters_what_is_listed(page, name, value, resources, fields, said):
    told(page, ALL)
    choose(page, name, value)
    told(page, f"Showing {said}")
    assert (names(page), keys(page)) == (resources, fields)


def test_filters_hold_together_outlive_a_reload_and_are_taken_back_by_one_button(page):
    choose(page, "kind", "thread")
    choose(page, "text", "silver")
    page.until("location.hash === '#kind=thread&text=silver'")
    page.driver.refresh()
    assert names(page) == ["thread/thread_b"]
    assert keys(page) == ["plan"]
    page.ask("document.querySelector('button[type=reset]').click()")
    told(page, ALL)
    assert page.ask("location.hash") == ""


def sort(browser, column):
    browser.ask("document.querySelectorAll('.changes > thead button')[arguments[0]].click()", column)


def sorted_by(browser):
    return browser.ask("[...document.querySelectorAll('.changes > thead th')].map(th => th.getAttribute('aria-sort'))")


def test_a_column_sorts_upwards_downwards_and_back_to_the_order_of_the_plan(page):
    before = names(page)
    sort(page, 4)
    assert names(page) == ["thread/thread_b", "conversation/conv_1", "thread/thread_a", "thread/thread_gone"]
    assert sorted_by(page) == [None, None, None, None, "ascending"]
    sort(page, 4)
    assert names(page)[0] == "thread/thread_gone"
    assert sorted_by(page) == [None, None, None, None, "descending"]
    page.driver.refresh()
    assert names(page)[0] == "thread/thread_gone"
    sort(page, 4)
    assert names(page) == before
    assert sorted_by(page) == [None] * 5


def test_the_fields_of_a_resource_are_sorted_with_it(page):
    sort(page, 2)
    assert names(page) == ["thread/thread_gone", "conversation/conv_1", "thread/thread_b", "thread/thread_a"]
    assert keys(page) == ["note", "plan", "team", "plan"]
    sort(page, 0)
    sort(page, 0)
    assert names(page) == ["thread/thread_gone", "thread/thread_b", "thread/thread_a", "conversation/conv_1"]
    assert keys(page) == ["team", "plan", "plan", "note"]


def test_a_resource_is_collapsed_and_so_are_all(page):
    page.ask("document.querySelector('.changes button.fold').click()")
    assert page.ask("document.querySelector('.changes button.fold').getAttribute('aria-expanded')") == "false"
    assert keys(page) == ["plan", "plan", "team"]
    page.driver.refresh()
    assert keys(page) == ["plan", "plan", "team"]
    page.ask("document.querySelector('#collapse').click()")
    assert keys(page) == []
    assert len(names(page)) == 4
    page.ask("document.querySelector('#expand').click()")
    assert len(keys(page)) == 4


# --- themes, sizes, contrast ------------------------------------------------------------------------------------------


def ground(browser):
    return browser.ask("getComputedStyle(document.body).backgroundColor")


def prefer(browser, theme):
    browser.tell("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": theme}])


@pytest.mark.parametrize("theme", THEMES)
def test_the_theme_is_the_systems_until_somebody_switches(page, theme):
    other = next(name for name in THEMES if name != theme)
    prefer(page, theme)
    assert ground(page) == THEMES[theme]
    page.driver.execute_script("theme.value = arguments[0]; theme.dispatchEvent(new Event('change'))", other)
    assert ground(page) == THEMES[other]
    page.driver.refresh()
    assert ground(page) == THEMES[other]
    page.driver.execute_script("theme.value = ''; theme.dispatchEvent(new Event('change'))")
    assert ground(page) == THEMES[theme]


PAIRS = """(() => {
  const seen = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, style, .skip, .unseen")) continue;
    let behind = element, back;
    do {
      back = getComputedStyle(behind).backgroundColor;
      behind = behind.parentElement;
    } while (back === "rgba(0, 0, 0, 0)" && behind);
    const style = getComputedStyle(element);
    const ink = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    seen.set(`${ink}|${back}`, `${element.tagName} ${walker.currentNode.data.slice(0, 30)}`);
  }
  return [...seen];
})()"""


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", ["plan_marked", "drift", "apply_incomplete", "validate_invalid", "watch"])
def test_every_text_stands_out_from_its_ground(browser, name, theme):
    browser.open(status(DOCUMENTS["drift"], WATCH, SAMPLES[-1].at) if name == "watch" else render(DOCUMENTS[name]))
    prefer(browser, theme)
    pairs = browser.ask(PAIRS)
    assert len(pairs) > 3
    faint = {
        where: (ink, back) for (inks, where) in pairs for ink, back in [inks.split("|")] if contrast(ink, back) < 4.5
    }
    assert not faint


@pytest.mark.parametrize("theme", THEMES)
def test_the_edges_of_controls_stand_out(page, theme):
    prefer(page, theme)
    for selector in ("select", "input[type=search]", "button[type=reset]"):
        edge = page.ask("getComputedStyle(document.querySelector(arguments[0])).borderTopColor", selector)
        assert contrast(edge, THEMES[theme]) >= 3


@pytest.mark.parametrize("name", [*DOCUMENTS, "attacks", "watch"])
def test_a_phone_has_nothing_to_scroll_sideways(browser, name):
    made = {"attacks": hostile, "watch": lambda: None}.get(name, lambda: DOCUMENTS[name])()
    browser.open(render(made) if made else status(SEVERAL, WATCH, SAMPLES[-1].at), width=360, height=740)
    browser.driver.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert browser.ask("document.documentElement.scrollWidth") == 360
    wide = browser.ask(
        "[...document.querySelectorAll('main *')]"
        ".filter(each => each.checkVisibility() && !each.closest('svg, .scroll, .drawing, .unseen')"
        " && each.getBoundingClientRect().right > 360.5).map(each => each.outerHTML.slice(0, 200))"
    )
    assert not wide


def test_on_paper_there_are_values_as_a_whole_and_no_controls(browser):
    browser.open(render(DOCUMENTS["plan_long"]))
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.tell("Emulation.setEmulatedMedia", media="print", features=[dark])
    assert ground(browser) == THEMES["light"]
    assert not browser.ask(
        "[...document.querySelectorAll('select, input, .fold')].some(each => each.checkVisibility())"
    )
    assert browser.ask("[...document.querySelectorAll('.changes > thead th')].map(each => each.innerText)") == [
        "Resource and key", "There now", "Declared", "Cause", "Place",
    ]  # fmt: skip
    whole = "document.querySelector('.long > code').getBoundingClientRect().height"
    assert browser.ask(whole) > 5 * browser.ask(
        "document.querySelector('.resource code').getBoundingClientRect().height"
    )


# --- without a mouse, without a script, without eyes ------------------------------------------------------------------

FOCUSED = """(() => { const at = document.activeElement, style = getComputedStyle(at);
  const name = at.id || at.name || at.getAttribute("aria-label") || at.textContent;
  return [at.tagName, name, style.outlineStyle, parseFloat(style.outlineWidth)]; })()"""


def test_every_control_is_reached_by_tab_and_shows_that_it_is(page):
    wanted = page.ask(
        "(window.reached = new Set(),"
        " [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex=\"0\"]')]"
        ".filter(each => each.checkVisibility()).length)"
    )
    reached = []
    for _ in range(wanted):
        page.press("Tab")
        reached.append(page.ask(FOCUSED))
        page.ask("reached.add(document.activeElement)")
    assert page.ask("reached.size") == wanted
    assert {style for *_, style, _ in reached} <= {"solid", "auto"}
    assert min(width for *_, width in reached) >= 1


def focus(browser, name):
    for _ in range(60):
        browser.press("Tab")
        if browser.ask(FOCUSED)[1] == name:
            return
    raise AssertionError(f"{name} is not reached")


def test_the_keyboard_alone_skips_filters_sorts_and_collapses(page):
    page.press("Tab")
    assert page.ask(FOCUSED)[1] == "Skip to the content"
    page.press("Enter")
    assert page.ask("document.activeElement.id") == "main"
    focus(page, "filter-kind")
    page.press("ArrowDown")
    page.until("document.querySelector('[name=kind]').value === 'conversation'")
    page.until("document.querySelector('#shown').textContent.startsWith('Showing 1 of 4 fields')")
    focus(page, "filter-text")
    page.tell("Input.insertText", text="before")
    page.until("location.hash === '#kind=conversation&text=before'")
    assert names(page) == ["conversation/conv_1"]
    focus(page, "Resource and key")
    page.press("Enter")
    assert sorted_by(page)[0] == "ascending"
    focus(page, "Fields of conversation/conv_1")
    page.press(" ")
    assert keys(page) == []


def test_without_javascript_everything_is_there_to_read_and_no_dead_control(browser):
    browser.open("")
    browser.tell("Emulation.setScriptExecutionDisabled", value=True)
    browser.pages.texts["quiet"] = render(SEVERAL)
    browser.driver.get(browser.pages.url("quiet"))
    shown = [node["name"] for node in browser.tree() if node["role"] == "StaticText"]
    for text in (
        "plan",
        "team",
        "note",
        "manifests/b.yaml:4:3",
        "thread/thread_gone: No thread found",
        "thread/thread_b",
    ):
        assert text in shown
    assert not [node for node in browser.tree() if node["role"] in {"button", "combobox", "searchbox", "checkbox"}]


def test_a_screen_reader_finds_landmarks_headings_names_and_tables(page):
    tree = page.tree()
    roles = [node["role"] for node in tree]
    assert {"banner", "main", "contentinfo", "search", "status"} <= set(roles)
    headings = [(node["level"], node["name"]) for node in tree if node["role"] == "heading"]
    assert headings == [
        (1, "Plan for production"), (2, "Summary"), (2, "At a glance"), (2, "Errors"), (2, "Changes"),
    ]  # fmt: skip
    controls = [node for node in tree if node["role"] in {"button", "combobox", "searchbox", "link", "checkbox"}]
    assert all(node["name"].strip() for node in controls)
    assert {node["name"] for node in controls} >= {
        "Theme", "Cause", "Kind", "File", "State", "Text", "Show all", "Collapse all", "Expand all", "Place",
        "Fields of thread/thread_a", "Skip to the content",
    }  # fmt: skip
    assert [node["name"] for node in tree if node["role"] == "table"] == [
        "Fields by cause", "Changes by file", "Errors, with their places", "Changes",
    ]  # fmt: skip
    assert next(node for node in tree if node["role"] == "status")["live"] == "polite"


@pytest.mark.parametrize("width", [1280, 360])
def test_tables_stay_tables_at_every_width(browser, width):
    browser.open(render(SEVERAL), width=width)
    counted = Counter(node["role"] for node in browser.tree())
    # Of the two charts, the errors, the changes.
    assert counted["columnheader"] == 2 + 4 + 3 + 5
    assert counted["rowheader"] == 4 + 2 + 1 + (4 + 4)
    assert counted["row"] == (1 + 4) + (1 + 2) + (1 + 1) + (1 + 4 + 4)
    assert counted["cell"] + counted["gridcell"] == 4 + 2 * 3 + 2 + (4 * 2 + 4 * 4)


def test_signs_are_said_in_words(page):
    said = [node["name"] for node in page.tree() if node["role"] == "image"]
    assert said == ["replaced", "replaced", "replaced", "added"]


# --- what comes from outside ------------------------------------------------------------------------------------------


def test_what_comes_from_outside_does_nothing(browser):
    document = hostile()
    browser.open(render(document))
    browser.until("document.readyState === 'complete'")
    choose(browser, "text", "onerror")
    choose(browser, "file", "")
    assert browser.ask("window.hit") is None
    assert browser.ask("document.scripts.length") == 1
    assert not browser.ask("document.querySelectorAll('img, iframe, object, embed, textarea').length")
    assert browser.ask(
        "[...document.querySelectorAll('*')].flatMap(each => [...each.attributes])"
        ".filter(each => /^(on|style$|src|href$|action$|formaction$)/.test(each.name))"
        ".map(each => each.value)"
    ) == ["data:,", "#main"]
    assert browser.driver.title.startswith("Plan for </title><script>")
    assert browser.logs() == []
    assert browser.requests() == [browser.pages.url("page")]
    assert browser.pages.asked == ["/page"]
    text = browser.ask("document.body.innerText")
    for attack in ATTACKS[:-1]:
        assert attack[:40] in text
    assert r"\u202e\u200b\ud800" in text
    assert not re.search("[\u202e\u200b\x1b\ud800]", text)


def test_a_filter_in_the_address_is_a_text_and_nothing_else(browser):
    # From elsewhere: the driver stumbles over loading a page anew right after a step within it.
    browser.open("<title>Elsewhere</title>", "elsewhere")
    browser.pages.texts["page"] = render(SEVERAL)
    browser.driver.get(
        browser.pages.url("page#text=<img src=x onerror=alert(1)>&kind=</select>&sort.changes=99.ascending&sort.x=0")
    )
    told(browser, "Showing 0 of 4 fields on 0 of 4 resources, 0 of 1 problem")
    assert browser.ask("document.querySelector('[name=kind]').value") == ""
    assert browser.logs() == []


@pytest.mark.parametrize("name", [*DOCUMENTS, "watch"])
def test_nothing_is_asked_of_anybody_and_the_console_is_silent(browser, name):
    browser.open(render(DOCUMENTS[name]) if name != "watch" else status(DOCUMENTS["drift"], WATCH, SAMPLES[-1].at))
    browser.until("document.readyState === 'complete'")
    assert browser.logs() == []
    assert browser.requests() == [browser.pages.url("page")]
    assert browser.pages.asked == ["/page"]


def test_the_policy_refuses_what_is_not_the_pages_own(browser):
    browser.open(render(SEVERAL))
    browser.driver.execute_script(
        "const more = document.createElement('script'); more.textContent = 'window.hit = 1';"
        "document.body.append(more);"
        "const image = new Image(); image.src = '/taken'; document.body.append(image);"
    )
    said = []
    wait_for(lambda: len(said.extend(browser.logs()) or said) >= 2, "what the console says of two refusals")
    assert all("Content Security Policy" in line for line in said)
    assert browser.ask("window.hit") is None
    assert browser.pages.asked == ["/page"]


# --- many -------------------------------------------------------------------------------------------------------------


def test_a_filter_over_as_much_as_a_page_lists_is_quick(browser):
    pairs = [
        (desired(f"thread_{number:05}", {"plan": "gold", "team": "support"}, 8 + number), Observed({"plan": "silver"}))
        for number in range(2_500)
    ]
    browser.open(render(planned(*pairs)))
    told(browser, "Showing 4,000 of 4,000 fields on 2,000 of 2,000 resources")
    assert "500 more are not" in browser.ask("document.querySelector('.left-out').textContent")
    took = browser.ask(
        "(() => { const start = performance.now(); document.querySelector('[name=text]').value = '01234';"
        "window.dispatchEvent(new Event('hashchange')); return performance.now() - start; })()"
    )
    choose(browser, "text", "01234")
    told(browser, "Showing 2 of 4,000 fields on 1 of 2,000 resources")
    assert took < 10_000
    assert names(browser) == ["thread/thread_01234"]


# --- the page of a watch ----------------------------------------------------------------------------------------------


def test_the_page_of_a_watch_tells_how_it_goes(browser):
    browser.open(status(SEVERAL, WATCH, SAMPLES[-1].at + 7))
    tree = browser.tree()
    assert [node["name"] for node in tree if node["role"] == "heading"][:3] == [
        "Watch of production", "Watch", "Fields that differ, over time",
    ]  # fmt: skip
    picture = next(node for node in tree if node["role"] == "image")
    assert picture["name"] == (
        "Fields that differ over time: 20 runs, 1 of them failed; "
        "the last one found 3 pending, 3 drift, 0 conflict, 0 unattributed."
    )
    times = browser.ask("[...document.querySelectorAll('.facts time')].map(each => each.dateTime)")
    assert times[:2] == ["2025-11-20T02:28:20Z", "2025-11-20T02:33:20Z"]
    dashes = browser.ask(
        "[...document.querySelectorAll('.plot .line')].map(each => getComputedStyle(each).strokeDasharray)"
    )
    assert set(dashes) == {"none", "9px, 4px"}


def soon():
    """The page of a watch that looks again as soon as it may."""
    return status(SEVERAL, Watch("apply", 1.0, 0.0, SAMPLES, 1.0), 1.0)


def test_the_page_of_a_watch_looks_again_and_keeps_what_was_chosen(browser):
    browser.open(soon())
    choose(browser, "kind", "thread")
    browser.ask("document.querySelector('button.fold').click()")
    before = keys(browser)
    wait_for(lambda: len(browser.pages.asked) > 1, "another look")
    browser.until("document.readyState === 'complete' && location.hash === '#kind=thread'")
    assert keys(browser) == before
    assert browser.logs() == []


def test_the_page_of_a_watch_waits_while_somebody_is_at_it(browser):
    browser.open(soon())
    browser.ask("document.querySelector('#filter-text').focus()")
    browser.ask("window.mark = 1")
    start = browser.ask("performance.now()")
    browser.until("performance.now() > arguments[0] + 7000", start)
    assert browser.ask("window.mark") == 1
    browser.ask("document.activeElement.blur()")
    wait_for(lambda: len(browser.pages.asked) > 1, "another look")


def test_the_page_of_a_watch_looks_again_without_javascript(browser):
    browser.open("")
    browser.tell("Emulation.setScriptExecutionDisabled", value=True)
    browser.pages.texts["quiet"] = soon()
    browser.driver.get(browser.pages.url("quiet"))
    wait_for(lambda: browser.pages.asked.count("/quiet") > 1, "another look")


# --- from the command line --------------------------------------------------------------------------------------------


def test_the_command_line_writes_the_page_beside_its_result(browser, tmp_path):
    manifest = "threads:\n  thread_1: {metadata: {plan: '<b>gold</b>'}}\n"
    with staged(tmp_path, manifest, Api({"thread/thread_1": {"plan": "tin"}})) as stage:
        done = stage.run("plan --out html=page.html")
        printed = stage.run("plan --format html")
        text = stage.scratch.read("page.html")
    assert (done.code, printed.code) == (0, 0)
    assert printed.out == text
    browser.open(text)
    assert browser.ask("[...document.querySelectorAll('.value code')].map(each => each.textContent)") == [
        '"tin"', '"<b>gold</b>"',
    ]  # fmt: skip
    assert browser.logs() == []
