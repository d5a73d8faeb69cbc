"""What is known of a watch: of its runs, of drift, of failures; and as metrics."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from reconciler.document import Document
from reconciler.watching.course import KEPT, Course, Run, State
from reconciler.watching.metrics import Metrics

NOTHING = {"pending": 0, "drift": 0, "conflict": 0, "unattributed": 0}


def run(ended, result="success", drift=False, code=0, **more):
    changes = more.pop("changes", {**NOTHING, "drift": int(bool(drift))})
    return Run(ended - 2, ended, code, result, Document(kind="plan"), changes=changes, drift=drift, **more)


def after(*runs):
    state = State(0.0)
    for each in runs:
        state = state.after(each)
    return state


def test_failures_are_counted_until_a_good_run():
    assert after(run(1), run(2, "failure"), run(3, "failure")).failures == 2
    assert after(run(1), run(2, "failure"), run(3)).failures == 0
    assert after(run(1), run(2, "failure")).succeeded == 1


def test_drift_has_the_age_of_its_first_sight_while_it_lasts():
    assert after(run(10)).drift_age(20) == 0
    assert after(run(10, drift=True), run(20, drift=True)).drift_age(25) == 15
    assert after(run(10, drift=True), run(20), run(30, drift=True)).drift_age(31) == 1


def test_a_run_that_could_not_see_leaves_drift_as_it_was():
    assert after(run(10, drift=True), run(20, "failure", drift=None)).drift_age(30) == 20
    assert after(run(10), run(20, "failure", drift=None)).drift_age(30) == 0


def test_an_age_is_never_negative():
    assert after(run(10, drift=True)).drift_age(5) == 0


def test_a_refusal_is_over_with_the_next_run_that_is_none():
    refused = run(10, "failure", drift=None, code=7, refused=True)
    assert not after(refused).health(11, 100).well
    assert after(refused, run(20)).health(21, 100).well


def test_of_many_runs_the_last_are_kept():
    course = Course(State(0.0))
    for at in range(KEPT + 100):
        course.note(run(float(at)))
    spots = course.spots()
    assert (len(spots), spots[0].at, spots[-1].at) == (KEPT, 100.0, KEPT + 99.0)
    assert course.state.runs == KEPT + 100


def test_when_the_next_run_is_due_is_told():
    course = Course(State(0.0))
    course.wait_until(5.0)
    assert course.state.next_at == 5.0
    course.wait_until(None)
    assert course.state.next_at is None


def metrics_after(*runs, now=100.0):
    course = Course(State(0.0))
    metrics = Metrics(course, version="1.2", target="a", mode="report", clock=lambda: now)
    for each in runs:
        course.note(each)
        metrics.note(each)
    return metrics


def samples(metrics):
    media, text = metrics.text("")
    assert media.startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_every_metric_is_there_before_the_first_run():
    found = samples(metrics_after())
    for name in ("success", "failure", "interrupted"):
        assert found["reconciler_runs_total", name] == 0
    assert found["reconciler_last_run_timestamp_seconds",] == 0
    assert found["reconciler_info", "1.2", "a", "report"] == 1
    assert all(name[0].startswith("reconciler_") for name in found)


def test_metrics_add_up_over_runs_and_keep_the_last_counts():
    found = samples(
        metrics_after(
            run(10, calls={"GET": 3, "POST": 1}, retries={"GET": 1}, outcomes={"applied": 1}, resources=4, converged=3),
            run(20, calls={"GET": 2}, drift=True, resources=5, converged=4),
            run(30, "failure", changes=None, drift=None),
        )
    )
    assert found["reconciler_requests_total", "GET"] == 5
    assert found["reconciler_requests_total", "POST"] == 1
    assert found["reconciler_retries_total", "GET"] == 1
    assert found["reconciler_outcomes_total", "applied"] == 1
    assert found["reconciler_changes", "drift"] == 1
    assert (found["reconciler_resources",], found["reconciler_converged_resources",]) == (5, 4)
    assert found["reconciler_drift_age_seconds",] == 80
    assert found["reconciler_run_duration_seconds_sum",] == 6
    assert found["reconciler_consecutive_failures",] == 1
    assert found["reconciler_last_run_timestamp_seconds",] == 30
    assert found["reconciler_last_success_timestamp_seconds",] == 20


def test_whoever_asks_for_open_metrics_gets_them():
    media, text = metrics_after(run(10)).text("application/openmetrics-text; version=1.0.0")
    assert media.startswith("application/openmetrics-text")
    assert {family.name for family in open_families(text.decode())} >= {
        "reconciler_runs",
        "reconciler_drift_age_seconds",
    }


def test_deliveries_of_the_webhook_are_counted():
    metrics = metrics_after()
    metrics.delivered(well=True)
    metrics.delivered(well=False)
    found = samples(metrics)
    assert found["reconciler_webhook_deliveries_total", "success"] == 1
    assert found["reconciler_webhook_deliveries_total", "failure"] == 1
