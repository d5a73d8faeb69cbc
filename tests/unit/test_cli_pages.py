"""What a watch shows: made once for many who ask, and telling whether all is well."""

import re
import time

from documents import DOCUMENTS

from reconciler.cli.pages import SHARE, Kept, Pages
from reconciler.render import html
from reconciler.watching.course import Course, Run, State
from reconciler.watching.metrics import Metrics


def run(began, seconds, **more):
    return Run(began, began + seconds, 0, **{"result": "success", "document": DOCUMENTS["plan"], **more})


def pages(*runs, interval=10.0, patience=3, clock=time.time):
    course = Course(State(0.0))
    for one in runs:
        course.note(one)
    metrics = Metrics(course, version="1", target="a", mode="report")
    return Pages(course, metrics, "report", interval, patience, clock)


def test_what_is_asked_for_often_is_made_as_seldom_as_its_making_is_slow():
    now, made = [0.0], []

    def make(of):
        now[0] += 0.5
        made.append(of)
        return len(made)

    kept, one, other = Kept(make, ages=True, clock=lambda: now[0]), object(), object()
    assert [kept.get(one) for _ in range(5)] == [1] * 5
    now[0] += SHARE * 0.5 - 0.01
    assert kept.get(one) == 1
    now[0] += 0.01
    assert kept.get(one) == 2
    assert [kept.get(other), kept.get(other)] == [3, 3]
    still = Kept(make, ages=False, clock=lambda: now[0])
    first = still.get(one)
    now[0] += 1e9
    assert still.get(one) == first


def test_the_page_and_its_header_have_one_policy_and_change_with_the_next_run():
    shown = pages(run(0, 1))
    answer = shown.page()
    (own,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', answer.content)
    assert own.replace("&#39;", "'") == html.policy()
    assert answer.policy == f"{html.policy()}; frame-ancestors 'none'"
    assert "unsafe" not in answer.policy
    assert "nonsense" not in answer.content
    shown.course.note(run(2, 1, result="failure", error="nonsense"))
    assert "nonsense" in shown.page().content


def test_the_document_is_that_of_the_last_run_whether_it_waits_or_works():
    assert pages().document().status == 503
    shown = pages(run(0, 1))
    first = shown.document()
    assert first.media == "application/json"
    shown.course.wait_until(5.0)
    assert shown.document().content is first.content


def test_where_runs_take_longer_than_an_interval_they_are_what_health_counts():
    quick, slow = run(0, 1), run(0, 100)
    failed = run(100, 900, result="failure")
    for runs, at, well in (
        ([quick], 31, True), ([quick], 32, False), ([slow], 400, True), ([slow], 401, False),
        ([quick, failed], 32, False), ([slow, failed], 400, True),
    ):  # fmt: skip
        assert pages(*runs, clock=lambda at=at: at).health().status == (200 if well else 503), (runs, at)
