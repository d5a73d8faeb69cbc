"""Every call that reaches the server: how many, in which order, and what they carry."""

from urllib.parse import unquote

import pytest
from scratch import Answer, Api, complaint, staged, thread

THREE = """\
threads:
  thread_1:
    metadata: {plan: gold, team: support}
  thread_2:
    metadata: {plan: gold}
  thread_3:
    metadata: {plan: gold}
"""
HELD = {
    "thread/thread_1": {"plan": "silver", "team": "support", "seen": "bot"},
    "thread/thread_2": {"plan": "silver", "seen": "bot"},
    "thread/thread_3": {"plan": "gold", "seen": "bot"},
}
KEY = "sk-test-0123456789abcdefghijklmnop"


def test_a_plan_sends_one_get_a_resource_and_nothing_else(tmp_path):
    with staged(tmp_path, THREE, Api(HELD)) as stage:
        assert stage.run("plan").code == 0
    assert sorted(stage.api.told) == [f"GET /v1/threads/thread_{number}" for number in (1, 2, 3)]
    assert all(call.body is None for call in stage.api.calls)


def test_an_apply_reads_again_just_before_each_write_and_leaves_the_rest_alone(tmp_path):
    with staged(tmp_path, THREE, Api(HELD)) as stage:
        assert stage.run("apply --yes --parallelism 1").code == 0
    assert stage.api.told == [
        "GET /v1/threads/thread_1",
        "GET /v1/threads/thread_2",
        "GET /v1/threads/thread_3",
        "GET /v1/threads/thread_1",
        "POST /v1/threads/thread_1",
        "GET /v1/threads/thread_2",
        "POST /v1/threads/thread_2",
    ]


@pytest.mark.parametrize(
    ("told", "first", "second"),
    [
        ("merge", {"plan": "gold"}, {"plan": "gold"}),
        ("replace", {"plan": "gold", "team": "support", "seen": "bot"}, {"plan": "gold", "seen": "bot"}),
        ("auto", {"plan": "gold", "team": "support", "seen": "bot"}, {"plan": "gold", "seen": "bot"}),
    ],
)
def test_a_body_has_the_metadata_and_only_as_much_as_the_dialect_needs(told, first, second, tmp_path):
    server = "merge" if told == "auto" else told
    with staged(tmp_path, THREE, Api(HELD, {"thread": server}), f"writes: {{thread: {told}}}") as stage:
        assert stage.run("apply --yes --parallelism 1").code == 0
        assert stage.api.held("thread/thread_1") == {"plan": "gold", "team": "support", "seen": "bot"}
    assert stage.api.bodies == [{"metadata": first}, {"metadata": second}]


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        ("merge-null", {"old": None, "plan": "gold"}),
        ("merge-empty", {"old": "", "plan": "gold"}),
        ("replace", {"plan": "gold", "seen": "bot"}),
    ],
)
def test_a_removal_is_sent_as_the_dialect_says(told, sent, tmp_path):
    manifest = "threads:\n  thread_1:\n    metadata: {plan: gold, old: null}\n"
    api = Api({"thread/thread_1": {"old": "x", "seen": "bot"}}, {"thread": told})
    with staged(tmp_path, manifest, api, f"writes: {{thread: {told}}}") as stage:
        assert stage.run("apply --yes").code == 0
        assert stage.api.held("thread/thread_1") == {"plan": "gold", "seen": "bot"}
    assert stage.api.bodies == [{"metadata": sent}]


def test_a_key_that_cannot_be_removed_is_blanked_where_the_target_says_so(tmp_path):
    manifest = "threads:\n  thread_1:\n    metadata: {old: null}\n"
    api = Api({"thread/thread_1": {"old": "x", "seen": "bot"}}, {"thread": "merge"})
    with staged(tmp_path, manifest, api, "writes: {thread: merge}, removals: blank") as stage:
        assert stage.run("apply --yes").code == 0
        assert "Nothing to do" in stage.run("plan --detailed-exitcode").out
    assert stage.api.bodies == [{"metadata": {"old": ""}}]


# --- learning ---------------------------------------------------------------------------------------------------------

REMOVING = """\
threads:
  thread_1:
    metadata: {old: null}
  thread_2:
    metadata: {old: null, plan: gold}
"""
OLD = {name: {"old": "x", "seen": "bot"} for name in ("thread/thread_1", "thread/thread_2")}


@pytest.mark.parametrize(
    ("server", "bodies", "code"),
    [
        ("replace", [{"seen": "bot"}, {"seen": "bot", "plan": "gold"}], 0),
        ("merge-null", [{"seen": "bot"}, {"seen": "bot", "old": None}, {"old": None, "plan": "gold"}], 0),
        ("merge", [{"seen": "bot"}, {"seen": "bot", "old": None}, {"plan": "gold"}], 4),
    ],
)
def test_the_first_removal_teaches_and_the_second_resource_needs_no_lesson(server, bodies, code, tmp_path):
    with staged(tmp_path, REMOVING, Api(OLD, {"thread": server})) as stage:
        done = stage.run("apply --yes --format json --parallelism 1")
        assert stage.api.bodies == [{"metadata": body} for body in bodies]
        assert stage.api.held("thread/thread_2")["plan"] == "gold"
    assert done.code == code, done
    assert done.document["learned"] == {"thread": server}
    assert done.document["requests"]["writes"] == len(bodies)
    assert set(done.outcomes().values()) == ({"applied"} if code == 0 else {"blocked"})


def test_pairs_lost_under_a_wrongly_told_dialect_stop_every_further_write_of_the_kind(tmp_path):
    with staged(tmp_path, THREE, Api(HELD, {"thread": "replace"}), "writes: {thread: merge}") as stage:
        done = stage.run("apply --yes --format json")
    assert done.code == 4
    assert len(stage.api.bodies) == 1
    assert sorted(done.outcomes().values()) == ["failed", "not_attempted"]
    [failed] = [each for each in done.document["outcomes"] if each["outcome"] == "failed"]
    number = failed["id"][-1]
    lost = {"1": {"seen": "bot", "team": "support"}, "2": {"seen": "bot"}}[number]
    assert (failed["error"]["code"], failed["lost"]) == ("lost_pairs", lost)


# --- headers, paths, and what is not followed -------------------------------------------------------------------------

KINDS = """\
threads:
  thread_1:
    metadata: {plan: gold}
messages:
  thread_a:b/msg_1:
    metadata: {plan: gold}
conversations:
  conv_1:
    metadata: {plan: gold}
agents:
  agent_1:
    metadata: {plan: gold}
vector_store_files:
  vs_1/file-1:
    metadata: {size: 7, hot: true, name: a}
"""
PATHS = {
    "/v1/threads/thread_1": "assistants=v2",
    "/v1/threads/thread_a:b/messages/msg_1": "assistants=v2",
    "/v1/conversations/conv_1": None,
    "/v1/agents/agent_1": "agents=v1",
    "/v1/vector_stores/vs_1/files/file-1": "assistants=v2",
}


@pytest.fixture(scope="module")
def tenant(tmp_path_factory):
    """Give a stage where one resource of several kinds was written, as a tenant with a key."""
    names = ("thread/thread_1", "message/thread_a:b/msg_1", "conversation/conv_1", "agent/agent_1")
    api = Api(dict.fromkeys((*names, "vector_store_file/vs_1/file-1"), {}))
    more = "api_key_env: MY_KEY, organization: org-1, project: proj_1"
    with staged(tmp_path_factory.mktemp("tenant"), KINDS, api, more) as stage:
        done = stage.run("apply --yes --verbose --out json=a.json --out text=a.txt", {"MY_KEY": KEY})
        assert done.code == 0, done
        yield stage, done


def test_each_kind_is_read_and_written_at_its_own_path(tenant):
    calls = tenant[0].api
    assert sorted(unquote(call.path) for call in calls.sent("POST")) == sorted(PATHS)
    assert sorted(unquote(call.path) for call in calls.sent("GET")) == sorted([*PATHS, *PATHS])


def test_an_id_stays_in_its_path_segment(tenant):
    # A colon may stand in a segment as it is (RFC 3986, section 3.3); the wire decides, every server reads the same.
    assert "POST /v1/threads/thread_a:b/messages/msg_1" in map(unquote, tenant[0].api.told)


def test_each_kind_has_its_own_beta_header(tenant):
    for call in tenant[0].api.calls:
        assert call.headers.get("openai-beta") == PATHS[unquote(call.path)], call


def test_every_call_says_who_we_are_and_the_key_is_in_one_header_alone(tenant):
    for call in tenant[0].api.calls:
        assert call.headers["authorization"] == f"Bearer {KEY}"
        assert (call.headers["openai-organization"], call.headers["openai-project"]) == ("org-1", "proj_1")
        assert call.headers["accept"] == "application/json"
        assert [name for name, value in call.headers.items() if KEY in value] == ["authorization"]
        assert "cookie" not in call.headers


def test_only_a_write_has_a_body_and_says_that_it_is_json(tenant):
    for call in tenant[0].api.calls:
        assert call.headers.get("content-type") == ("application/json" if call.method == "POST" else None)


def test_numbers_and_booleans_are_sent_as_such_where_the_kind_has_them(tenant):
    [body] = [call.body for call in tenant[0].api.sent("POST") if "vector_stores" in call.path]
    assert body == {"attributes": {"size": 7, "hot": True, "name": "a"}}
    assert isinstance(body["attributes"]["hot"], bool)


def test_the_key_is_in_no_output_and_in_no_file(tenant):
    stage, done = tenant
    assert len(done.err.splitlines()) == len(stage.api.calls)
    files = [path.read_text() for path in stage.scratch.folder.rglob("*") if path.is_file()]
    assert not [text for text in (done.out, done.err, *files) if KEY in text]


@pytest.mark.parametrize("line", ["plan --format json", "apply --yes --verbose"])
def test_a_key_that_the_server_repeats_is_not_repeated_by_us(line, tmp_path):
    refusal = complaint(401, f"Incorrect API key provided: {KEY}.", x_request_id=f"req-{KEY}")
    api = Api(HELD, instead={"GET /v1/threads/thread_1": [refusal]})
    with staged(tmp_path, THREE, api, "api_key_env: MY_KEY") as stage:
        done = stage.run(f"{line} --out json=a.json --out text=a.txt", {"MY_KEY": KEY})
        files = [stage.scratch.read("a.json"), stage.scratch.read("a.txt")]
    assert done.code == 7
    assert not [text for text in (done.out, done.err, *files) if KEY in text]
    assert "Incorrect API key" in done.out + done.err


def test_a_redirect_is_not_followed_and_the_key_stays_here(tmp_path):
    elsewhere = Api(HELD)
    with elsewhere.listening() as url:
        moved = Answer(307, "", {"location": f"{url}/threads/thread_1"})
        api = Api(HELD, instead={"GET /v1/threads/thread_1": [moved]})
        with staged(tmp_path, THREE, api, "api_key_env: MY_KEY") as stage:
            done = stage.run("plan --format json", {"MY_KEY": KEY})
    assert done.code == 1
    assert [each["code"] for each in done.document["errors"]] == ["redirected"]
    assert elsewhere.calls == []


# --- answers that are not the last word -------------------------------------------------------------------------------


def test_a_call_that_was_told_to_wait_is_made_again(tmp_path):
    wait = complaint(429, "Rate limit reached", retry_after="0.1")
    api = Api(HELD, instead={"GET /v1/threads/thread_1": [wait, None], "POST /v1/threads/thread_1": [wait, None]})
    with staged(tmp_path, THREE, api) as stage:
        done = stage.run("apply --yes --select thread/thread_1")
    assert done.code == 0, done
    assert [call.method for call in api.calls] == ["GET", "GET", "GET", "POST", "GET", "POST"]


def test_a_call_of_which_a_repetition_is_no_use_is_not_made_again(tmp_path):
    refused = complaint(503, "down for the day", x_should_retry="false")
    with staged(tmp_path, THREE, Api(HELD, instead={"GET /v1/threads/thread_1": [refused]})) as stage:
        done = stage.run("plan --select thread/thread_1 --format json")
    assert (done.code, len(stage.api.calls)) == (1, 1)
    assert "down for the day" in done.document["errors"][0]["message"]


@pytest.mark.parametrize(
    "answer",
    [Answer(200, {"id": "thread_1", "object": "thread"}), Answer(200, "<html>")],
    ids=["no field", "a page"],
)
def test_an_answer_without_usable_metadata_is_settled_by_a_read(answer, tmp_path):
    instead = {"POST /v1/threads/thread_1": [answer]}
    now = thread("thread_1", plan="gold", team="support", seen="bot")
    before = thread("thread_1", **HELD["thread/thread_1"])
    instead["GET /v1/threads/thread_1"] = [before, before, now]
    with staged(tmp_path, THREE, Api(HELD, instead=instead)) as stage:
        done = stage.run("apply --yes --select thread/thread_1 --format json")
    assert done.code == 0, done
    assert [call.method for call in stage.api.calls] == ["GET", "GET", "POST", "GET"]
    assert done.outcomes() == {"thread/thread_1": "applied"}


def test_a_proxy_that_strips_the_body_does_not_make_us_say_done(tmp_path):
    old = thread("thread_1", **HELD["thread/thread_1"])
    with staged(tmp_path, THREE, Api(HELD, instead={"POST /v1/threads/thread_1": [old]})) as stage:
        done = stage.run("apply --yes --select thread/thread_1 --format json")
    assert done.code == 4
    assert done.document["outcomes"][0]["error"]["code"] == "not_applied"


def test_a_foreign_key_that_came_in_between_is_kept_where_the_whole_map_is_sent(tmp_path):
    fresh = thread("thread_1", **HELD["thread/thread_1"], new="n")
    instead = {"GET /v1/threads/thread_1": [None, fresh]}
    with staged(tmp_path, THREE, Api(HELD, {"thread": "replace"}, instead), "writes: {thread: replace}") as stage:
        assert stage.run("apply --yes --select thread/thread_1").code == 0
    assert stage.api.bodies == [{"metadata": {"plan": "gold", "team": "support", "seen": "bot", "new": "n"}}]


def test_a_resource_that_would_hold_seventeen_pairs_is_not_written(tmp_path):
    full = {f"k{number}": "x" for number in range(15)}
    with staged(tmp_path, THREE, Api({"thread/thread_1": {**full, "plan": "silver"}})) as stage:
        done = stage.run("apply --yes --select thread/thread_1 --format json")
    assert (done.code, stage.api.bodies) == (4, [])
    assert done.document["outcomes"][0]["error"]["code"] == "too_many_pairs"


# --- how many at a time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "most"), [("", 3), ("--parallelism 2", 2)])
def test_no_more_calls_are_in_flight_than_asked_for(flag, most, tmp_path):
    with staged(tmp_path, THREE, Api(HELD, lag={"GET": 0.15})) as stage:
        assert stage.run(f"plan {flag}").code == 0
    assert stage.api.busiest == most
