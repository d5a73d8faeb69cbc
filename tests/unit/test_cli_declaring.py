"""Writing what exists into manifests that others change meanwhile: nothing is lost, and nothing is there twice."""

from types import SimpleNamespace

import pytest

from reconciler.cli.declaring import Files, check_place, declared
from reconciler.cli.options import Options
from reconciler.cli.report import Report
from reconciler.errors import ExitCode, InvalidInput, WrongUsage
from reconciler.manifest.writer import Declaration
from reconciler.model import Ref

HELD = "version: 1\nthreads:\n  old: {}\n"


@pytest.fixture
def session(tmp_path):
    folder = tmp_path / "manifests"
    folder.mkdir()
    settings = SimpleNamespace(root=tmp_path, own_files=frozenset([tmp_path / "reconciler.yaml"]))
    target = SimpleNamespace(name="test", manifests=(folder,))
    return SimpleNamespace(settings=settings, target=target, options=Options(directory=str(tmp_path)), cache=None)


class Meanwhile(Files):
    """Does something whenever a manifest lies beside its place, and is not yet in it."""

    def _draft(self, path, declarations):
        made = super()._draft(path, declarations)
        type(self).happens(path)
        return made


def written(session, groups, happens=lambda _: None):
    report = Report("plan")
    files = type("Now", (Meanwhile,), {"happens": staticmethod(happens)})(report, session)
    folder = session.settings.root / "manifests"
    files.write({folder / name: [Declaration(Ref("thread", own), {}) for own in ids] for name, ids in groups.items()})
    files._tell_refused()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    return files, report


def names(session):
    return sorted(ref.id for ref in declared(session))


def test_what_a_person_writes_into_a_manifest_meanwhile_stays(session):
    path = session.settings.root / "manifests/m.yaml"
    path.write_text(HELD)
    times = []

    def edit(file):
        if not times:
            file.write_text(f"{HELD}  # by hand\n  mine: {{}}\n  b: {{}}\n")
        times.append(file)

    files, report = written(session, {"m.yaml": ["a", "b"], "n.yaml": ["c"]}, edit)
    assert names(session) == ["a", "b", "c", "mine", "old"]
    assert "# by hand" in path.read_text()
    assert (report.exit_code, files.declared, len(times)) == (ExitCode.DONE, {Ref("thread", "b")}, 3)
    assert files.done


def test_a_manifest_that_never_comes_to_rest_fails_and_costs_the_others_nothing(session):
    path = session.settings.root / "manifests/m.yaml"
    path.write_text(HELD)

    def edit(file):
        if file == path:
            with path.open("a") as end:
                end.write("# again\n")

    files, report = written(session, {"m.yaml": ["a"], "n.yaml": ["c"]}, edit)
    assert (names(session), report.exit_code, files.failed) == (["c", "old"], ExitCode.ERROR, [path])
    assert not files.done
    assert "manifests/m.yaml was changed meanwhile" in report.problems[0].message
    assert "a: " not in path.read_text()


def test_what_is_declared_elsewhere_meanwhile_is_not_declared_twice(session):
    other = session.settings.root / "manifests/other.yaml"
    files, report = written(
        session, {"m.yaml": ["a", "b"]}, lambda _: other.write_text("threads: {a: {}}\nversion: 1\n")
    )
    assert (names(session), report.exit_code, files.declared) == (["a", "b"], ExitCode.DONE, {Ref("thread", "a")})
    again, _ = written(session, {"m.yaml": ["a", "b"]})
    assert (again.written, len(again.declared)) == ([], 2)
    with pytest.raises(InvalidInput):
        written(session, {"n.yaml": ["d"]}, lambda _: other.write_text("threads: ["))
    assert sorted(path.name for path in other.parent.iterdir()) == ["m.yaml", "other.yaml"]


def test_a_manifest_that_cannot_be_read_or_written_is_an_error_and_the_others_are_written(session):
    folder = session.settings.root / "manifests"
    (folder / "m.yaml").mkdir()
    (folder / "taken").write_text("")
    session.target.manifests = (folder / "n.yaml",)
    _, report = written(session, {"m.yaml": ["a"], "n.yaml": ["b"], "taken/deep.yaml": ["c"]})
    assert (report.exit_code, names(session)) == (ExitCode.ERROR, ["b"])
    assert ["cannot read" in report.problems[0].message, len(report.problems)] == [True, 2]


def test_refusals_are_told_up_to_a_number_with_short_names(session):
    report = Report("plan")
    files = Files(report, session)
    ids = ["y" * 1001, *(f"{'x' * 990}{at:04}" for at in range(30))]
    files.write({session.settings.root / "m.yaml": [Declaration(Ref("thread", own), {"n": 1}) for own in ids]})
    files._tell_refused()
    told = [problem.message for problem in report.problems]
    assert (len(told), told[-1]) == (21, "and 11 more values and resources that no manifest can hold as they are")
    assert max(map(len, told)) < 400
    assert "this id has 1,001 characters" in told[0]


def test_a_link_that_leads_nowhere_or_out_is_refused_and_so_are_the_settings(session):
    link = session.settings.root / "manifests/threads.yaml"
    for leads in ("/nowhere/outside.yaml", "gone.yaml"):
        link.symlink_to(leads)
        for manifests in (link.parent, link):
            session.target.manifests = (manifests,)
            with pytest.raises(InvalidInput, match="link"):
                declared(session)
        link.unlink()
    (session.settings.root / "reconciler.yaml").write_text("version: 1\n")
    for name in ("reconciler.yaml", "manifests/../reconciler.yaml"):
        with pytest.raises(WrongUsage, match="settings file"):
            check_place(session, name)
