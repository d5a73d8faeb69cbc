"""Documents that a stranger had a hand in, for laws that hold of every format: all texts in them are hostile."""

from documents import TARGET
from hypothesis import strategies as st

from reconciler.compare import Action, Cause
from reconciler.diff import Op
from reconciler.document import (
    AcceptedPart,
    BaseFieldPart,
    BasePart,
    ChangePart,
    CommitPart,
    Declared,
    Document,
    FieldPart,
    Finding,
    Head,
    OutcomePart,
    Place,
    Reason,
    ReleasedPart,
    Requests,
    SincePart,
    SparedPart,
    TargetPart,
)
from reconciler.events import OutcomeStatus
from reconciler.model import Ownership

MARK = "\u00a7"
"""Stands in every hostile text, so that a test finds where they went."""

NASTY = (
    "<script>alert(1)</script>",
    "</code></summary></details><img src=x onerror=alert(1)>",
    "--> <b>out</b> <!--",
    "--!>",
    "@octo/team @octocat",
    "#123 org/repo#4 GH-5",
    "https://evil.example www.evil.example me@evil.example",
    "![i](https://evil.example/i.png) [l](javascript:alert(1)) [r]: http://evil.example",
    "<https://evil.example>",
    "a | b \\| c",
    "\\",
    "`",
    "``` \n```",
    "`````````````````````",
    "` @octocat `` x",
    "\n\n# Heading\n\n- item\n\n| a |\n| - |\n",
    "**bold** ~~gone~~ $`x`$ :tada:",
    "::error file=x::boo",
    "\n::set-output name=x::y",
    "\r::warning::w",
    "##[group]x",
    "##vso[task.complete]x",
    "%0A::error::x",
    "a,line=7,title=x::y",
    "]]> &amp; &lt; <![CDATA[",
    "\x00\x08\x0b\x1b[31m\x7f\x85\u2028",
    "\u202e\u2066\u200b\ufeff\ufffe",
    "\ud800",
    "[a](1) {0} {1}",
    " leading and trailing ",
    "",
    "../../../etc/passwd",
    "/etc/passwd",
    "C:\\x:y",
)

texts = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(codec=None), max_size=20),
    st.text("`|<>@#:[]()!\\-_*~ \n", max_size=20),
).map(lambda text: f"{text}{MARK}{text}")
values = st.one_of(texts, st.integers(), st.booleans(), st.lists(texts, max_size=2), texts.map(lambda text: text * 40))
maybe = st.one_of(st.none(), values)
numbers = st.integers(-1, 2**40)
places = st.one_of(st.none(), st.builds(Place, file=texts, line=numbers, column=numbers))
codes = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
reasons = st.builds(Reason, code=codes, message=texts)
commits = st.builds(CommitPart, commit=st.one_of(st.none(), texts), author=texts, date=texts)
fields = st.builds(
    FieldPart,
    key=texts,
    op=st.sampled_from(Op),
    before=maybe,
    after=maybe,
    cause=st.sampled_from(Cause),
    blocked=st.one_of(st.none(), reasons),
    base=st.just(BaseFieldPart(known=False)),
    source=places,
    blame=st.one_of(st.none(), commits),
    origin=st.one_of(st.none(), commits),
    accepted=st.one_of(st.none(), st.builds(AcceptedPart, until=texts, reason=texts)),
    introduced=st.booleans(),
)
changes = st.builds(
    ChangePart,
    kind=texts,
    id=texts,
    action=st.sampled_from(Action),
    dialect=texts,
    source=places,
    observed=st.none(),
    planned=st.none(),
    foreign=st.lists(texts, max_size=2).map(tuple),
    fields=st.lists(fields, max_size=3).map(tuple),
    fingerprint=st.none(),
    error=st.one_of(st.none(), reasons),
    declared=st.builds(
        Declared,
        metadata=st.just({}),
        ownership=st.just(Ownership.DECLARED),
        ignore=st.just(()),
        protect=st.just(False),
        released=st.booleans(),
    ),
)
outcomes = st.builds(
    OutcomePart,
    kind=texts,
    id=texts,
    outcome=st.sampled_from(OutcomeStatus),
    error=st.one_of(st.none(), reasons),
    requests=st.builds(Requests, reads=st.integers(0, 2)),
    lost=st.one_of(st.none(), st.dictionaries(texts, values, max_size=2)),
)
released = st.builds(ReleasedPart, kind=texts, id=texts, keys=st.lists(texts, max_size=2).map(tuple))
spared = st.builds(SparedPart, kind=texts, id=texts, keys=st.lists(texts, max_size=2).map(tuple))


def several(strategy):
    """Return a strategy for a few of a sort."""
    return st.lists(strategy, max_size=3).map(tuple)


documents = st.builds(
    Document,
    kind=st.sampled_from(["plan", "apply", "drift", "validate"]),
    target=st.one_of(st.just(TARGET), st.builds(TargetPart, name=texts, provider=texts, base_url=texts)),
    head=st.builds(Head, commit=st.one_of(st.none(), texts), prefix=st.one_of(st.none(), texts)),
    base=st.builds(BasePart, revision=st.one_of(st.none(), texts), commit=st.one_of(st.none(), texts)),
    changes=several(changes),
    outcomes=st.one_of(st.none(), several(outcomes)),
    learned=st.one_of(st.none(), st.dictionaries(texts, texts, max_size=2)),
    released=several(released),
    spared=several(spared),
    undoes=st.one_of(st.none(), texts),
    since=st.one_of(st.none(), st.builds(SincePart, revision=texts, commit=texts)),
    masked=st.booleans(),
    offline=st.booleans(),
    exit_code=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 64, 130, 143]),
    notes=several(reasons),
    errors=several(st.builds(Finding, code=codes, message=texts, source=places)),
)
