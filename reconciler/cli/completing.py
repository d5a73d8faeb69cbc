"""What a shell may offer on an unfinished command line: targets, ids, revisions, runs, formats, files.

The script of a shell (`SCRIPTS`) hands over the words and is answered with lines `SORT<TAB>VALUE<TAB>WHAT IT IS`. The
sort tells what to do with a value: `plain` is a whole word, `open` is the beginning of one (no space follows it), and
`file` and `dir` ask the shell itself for names of files, behind the beginning of the word that the value repeats.

Nothing here says anything else, whatever is wrong with the settings or the manifests, and nothing writes, but for the
cache of parsed manifests. Ids, names of targets and of branches are texts from outside, and what is offered ends up on
a command line: only what is spelled with characters that mean nothing to a shell is offered.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from reconciler.render import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import click

    from reconciler.git import Repository
    from reconciler.manifest import ManifestFile
    from reconciler.manifest.cache import Cache
    from reconciler.settings import Settings

    Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

MOST = 1000
"""Candidates that are offered, at most: nobody reads more, and shells grow slow."""
MAX_PARSED = 1024 * 1024
"""Bytes of manifests that are parsed while somebody waits; larger ones that no cache has are looked over by lines."""
MAX_SCANNED = 64 * 1024 * 1024
"""Bytes of manifests that are looked over by lines."""
MAX_REVISIONS = 500
MAX_RUNS = 50

_HARMLESS = re.compile(r"[A-Za-z0-9._/:@,-][A-Za-z0-9._/:@,=+-]*")
"""What means nothing to any shell, wherever it stands in a word; a word that begins with `=` does, to zsh."""


# --- sources ---------------------------------------------------------------------------------------------------------


def paths(_context: click.Context, _parameter: click.Parameter, _begun: str) -> list[CompletionItem]:
    """Offer files and folders."""
    return [CompletionItem("", type="file")]


def folders(_context: click.Context, _parameter: click.Parameter, _begun: str) -> list[CompletionItem]:
    """Offer folders."""
    return [CompletionItem("", type="dir")]


def files_of_formats(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer `FORMAT=`, and files behind it."""
    form, equals, _ = begun.partition("=")
    if equals and form in FORMATS:
        return [CompletionItem(f"{form}=", type="file")]
    return [CompletionItem(f"{name}=", type="open") for name in FORMATS]


def causes_and_ops(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the causes and ops, those that are not named yet behind a comma."""
    from reconciler.compare import Cause
    from reconciler.diff import Op

    told, comma, _ = begun.rpartition(",")
    named = told.split(",")
    return [CompletionItem(f"{told}{comma}{word}") for word in map(str, (*Cause, *Op)) if word not in named]


def dialects(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the dialects that an emulator can speak, for all kinds or behind `KIND=`."""
    from reconciler.dialects import DIALECTS
    from reconciler.kinds import KINDS

    kind, equals, _ = begun.partition("=")
    known = [CompletionItem(f"{kind}{equals}{name}" if equals else name) for name, d in DIALECTS.items() if d.settled]
    return known if equals else [*known, *(CompletionItem(f"{name}=", type="open") for name in KINDS)]


def faults(_context: click.Context, _parameter: click.Parameter, _begun: str) -> list[CompletionItem]:
    """Offer the faults that an emulator can have, each to be followed by a probability."""
    from reconciler.emulator.mishaps import Mishap

    return [CompletionItem(f"{name}=", type="open") for name in map(str, Mishap)]


def targets(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the targets of the settings file, valid or not otherwise."""
    from reconciler.manifest.reader import read

    file = _settings_file(context)
    if file is None:
        return []
    found = read(file.read_bytes(), file.name).root
    named = found.get("targets") if isinstance(found, dict) else None
    return _offered((name for name in named if isinstance(name, str)), begun) if isinstance(named, dict) else []


def declared(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the `kind/id` of what the manifests declare."""
    return _offered(_declared(context, begun), begun)


def importable(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer what is declared, and the kinds: what there is beyond the manifests nobody can list."""
    from reconciler.kinds import KINDS

    kinds = [] if "/" in begun else [CompletionItem(f"{name}/", type="open") for name in KINDS]
    return [*kinds, *declared(context, parameter, begun)]


def kinds(_context: click.Context, _parameter: click.Parameter, _begun: str) -> list[CompletionItem]:
    """Offer the kinds by name."""
    from reconciler.kinds import KINDS

    return list(map(CompletionItem, KINDS))


def recorded(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the `kind/id` of what the ledger or a manifest has."""
    return _offered({*_declared(context, begun), *_of_ledger(context, begun)}, begun)


def runs(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the ids of the last runs that the ledger records."""
    from reconciler.ledger import store

    settings = _settings(context)
    repository = _repository(settings.root)
    if repository is None:
        return []
    found = store.runs(repository, settings.target.name, limit=MAX_RUNS)
    return [CompletionItem(run.id, help=run.kind) for _, run in found if run.id.startswith(begun)]


def revisions(context: click.Context, _parameter: click.Parameter, _begun: str) -> list[CompletionItem]:
    """Offer the branches and tags, those of remotes as well."""
    repository = _repository(_folder(context))
    if repository is None:
        return []
    wanted = ("refs/heads", "refs/tags", "refs/remotes")
    told = repository.ask("for-each-ref", f"--count={MAX_REVISIONS}", "--format=%(refname:short)", *wanted)
    return list(map(CompletionItem, ["HEAD", *(told or "").splitlines()]))


def bases(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the revisions, and `none`."""
    return [CompletionItem("none", help="nothing counts as applied"), *revisions(context, parameter, begun)]


# --- where to look ---------------------------------------------------------------------------------------------------


def _told(context: click.Context, name: str) -> str | None:
    """Return the value of an option as the line has it so far, before the command or behind it."""
    here: click.Context | None = context
    while here is not None:
        value = here.params.get(name)
        if isinstance(value, str) and (name, value) != ("directory", "."):
            return value
        here = here.parent
    return None


def _folder(context: click.Context) -> Path:
    return Path(_told(context, "directory") or ".").resolve()


def _settings_file(context: click.Context) -> Path | None:
    from reconciler.settings import CONFIG_VARIABLE, FILE_NAME

    folder = _folder(context)
    name = _told(context, "config") or os.environ.get(CONFIG_VARIABLE)
    if name:
        return folder / name
    for above in (folder, *folder.parents):
        if (above / FILE_NAME).is_file():
            return above / FILE_NAME
        if (above / ".git").exists():
            break
    return None


def _settings(context: click.Context) -> Settings:
    """Return the settings that the line so far, the environment and the file make up; raises where they are invalid."""
    from reconciler.settings import resolve

    folder, env = _folder(context), os.environ
    return resolve(cwd=folder, env=env, config=_told(context, "config"), target=_told(context, "target"))


def _repository(folder: Path) -> Repository | None:
    from reconciler.git import repository

    return repository(folder)


# --- ids -------------------------------------------------------------------------------------------------------------


def _offered(names: Iterable[str], begun: str) -> list[CompletionItem]:
    """Offer names in order; of too many an even choice, with the first and the last.

    These two share what all of them share at their beginning, which is what a shell types for the person.
    """
    found = sorted(name for name in names if name.startswith(begun))
    if len(found) > MOST:
        found = [found[at * (len(found) - 1) // (MOST - 1)] for at in range(MOST)]
    return list(map(CompletionItem, found))


def _declared(context: click.Context, begun: str) -> set[str]:
    """Return the names of what the manifests declare, of the files that are valid."""
    from reconciler import manifest
    from reconciler.manifest import cache

    settings = _settings(context)
    existing = [path for path in settings.target.manifests if path.exists()]
    files = manifest.find(existing, root=settings.root, skip=settings.own_files).files
    return {
        name for kind, ids in _ids(files, cache.at(os.environ)) for name in _names(kind, ids) if name.startswith(begun)
    }


def _names(kind: str, ids: Iterable[str]) -> Iterator[str]:
    from reconciler.kinds import KINDS

    return (f"{kind}/{own}" for own in ids if KINDS[kind].valid_id(own))


def _ids(files: Iterable[ManifestFile], cache: Cache | None) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield kinds and ids, file by file: from the cache, parsed, or by their lines where there is too much to parse."""
    from reconciler.manifest import read_manifest
    from reconciler.manifest.files import read_file

    parsed = scanned = 0
    for file in files:
        try:
            data = read_file(file.path)
        except OSError:
            continue
        key = cache.key(data) if cache else None
        table = cache.get(key, file.name) if cache and key else None
        if table is None and parsed + len(data) <= MAX_PARSED:
            parsed += len(data)
            table = read_manifest(data, file.name, cache).table
        if table is not None:
            yield from table.ids.items()
        elif scanned + len(data) <= MAX_SCANNED:
            scanned += len(data)
            yield from scan(data.decode("utf-8", "replace"))


_SECTION = re.compile(r"^([a-z_]+):[ \t]*(?:#.*)?$", re.MULTILINE)
_ENTRY = re.compile(r"^( +)([\"']?)([A-Za-z0-9._:/-]+)\2:(?= |$)", re.MULTILINE)


def scan(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield kinds and ids as the lines of a manifest in block style show them: what stands first below a section."""
    from reconciler.kinds import KINDS

    by_section = {kind.plural: kind.name for kind in KINDS.values()}
    found = list(_SECTION.finditer(text))
    ends = [section.start() for section in found[1:]] + [len(text)] * bool(found)
    for section, end in zip(found, ends, strict=True):
        kind = by_section.get(section[1])
        entries = _ENTRY.findall(text, section.end(), end)
        if kind is not None:
            yield kind, [own for indent, _, own in entries if indent == entries[0][0]]


def _of_ledger(context: click.Context, begun: str) -> set[str]:
    from reconciler.ledger import store

    settings = _settings(context)
    repository = _repository(settings.root)
    found = store.read(repository, settings.target.name) if repository is not None else None
    return {name for ref in found.everything() if (name := str(ref)).startswith(begun)} if found else set()


# --- shells ----------------------------------------------------------------------------------------------------------

_BASH = r"""# The completion of reconciler for bash: `eval "$(reconciler completion bash)"`
_reconciler_completion() {
    local sort value what reply
    COMPREPLY=()
    reply=$(
        IFS=$'\n'
        COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" COMP_BREAKS="$COMP_WORDBREAKS" \
            _RECONCILER_COMPLETE=bash "${1:-${COMP_WORDS[0]:-reconciler}}" 2>/dev/null
    )
    while IFS=$'\t' read -r sort value what; do
        case $sort in
            plain) COMPREPLY+=("$value") ;;
            open) COMPREPLY+=("$value"); compopt -o nospace 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            dir) compopt -o dirnames 2>/dev/null ;;
        esac
    done <<<"$reply"
    return 0
}
complete -o nosort -F _reconciler_completion reconciler 2>/dev/null || complete -F _reconciler_completion reconciler
"""

_ZSH = r"""#compdef reconciler
# The completion of reconciler for zsh: a file named _reconciler in a folder of $fpath, or
# `eval "$(reconciler completion zsh)"` behind `compinit`.
_reconciler_completion() {
    local -a reply plain open
    local line sort value what
    reply=("${(@f)$(
        COMP_WORDS="${(pj:\n:)words}" COMP_CWORD=$((CURRENT - 1)) _RECONCILER_COMPLETE=zsh "${(Q)words[1]}" 2>/dev/null
    )}")
    for line in $reply; do
        IFS=$'\t' read -r sort value what <<<"$line"
        case $sort in
            plain) plain+=("${value//:/\\:}${what:+:$what}") ;;
            open) open+=("$value") ;;
            file) [[ -n $value ]] && compset -P "${(b)value}"; _files ;;
            dir) [[ -n $value ]] && compset -P "${(b)value}"; _files -/ ;;
        esac
    done
    (( $#plain )) && _describe -V 'reconciler' plain
    (( $#open )) && compadd -V reconciler-open -S '' -a open
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _reconciler_completion "$@"
else
    compdef _reconciler_completion reconciler
fi
"""

_FISH = r"""# The completion of reconciler for fish: `reconciler completion fish | source`
function _reconciler_completion
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l sent (string join \x1f -- $words $current)
    for line in (env COMP_WORDS="$sent" COMP_CWORD=(count $words) _RECONCILER_COMPLETE=fish $words[1] 2>/dev/null)
        set -l part (string split \t -- $line)
        set -l rest (string replace -- "$part[2]" '' "$current")
        switch $part[1]
            case file
                for path in (__fish_complete_path "$rest")
                    echo -- "$part[2]$path"
                end
            case dir
                for path in (__fish_complete_directories "$rest" '')
                    echo -- "$part[2]$path"
                end
            case plain open
                string join -- \t $part[2..3]
        end
    end
end
complete --no-files --command reconciler --arguments '(_reconciler_completion)'
"""

SCRIPTS: Mapping[str, str] = MappingProxyType({"bash": _BASH, "zsh": _ZSH, "fish": _FISH})
"""The script of each shell."""


class _Line(ShellComplete):
    """An unfinished command line: its words, and the last of them as it has been begun."""

    name = "reconciler"
    source_template = ""

    def __init__(self, cli: click.Command, words: Sequence[str], begun: str) -> None:
        super().__init__(cli, {}, "reconciler", "")
        self._words, self.begun = list(words), begun

    def offers(self) -> Iterator[tuple[str, str, str]]:
        """Yield sort, value and help of what may stand in place of the last word, the whole word each time."""
        option, equals, rest = self.begun.partition("=")
        before = f"{option}=" if equals and option.startswith("-") else ""
        begun = rest if before else self.begun
        for item in self.get_completions(self._words, self.begun):
            value = f"{before}{item.value}"
            asked = item.type in ("file", "dir")
            if (asked and not value) or (_HARMLESS.fullmatch(value) and (asked or str(item.value).startswith(begun))):
                yield item.type, value, " ".join((item.help or "").split())


def answer(cli: click.Command, shell: str) -> int:
    """Answer the script of a shell. Whatever goes wrong, nothing is said: a person is about to type."""
    try:
        read, told = _SHELLS[shell]
        words, begun, typed = read(os.environ)
        lines = [told(offer, typed) for offer in _Line(cli, words, begun).offers()]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except Exception:  # noqa: BLE001, S110 - invalid settings and manifests as well, and no trace amid a prompt
        pass
    return 0


_Read = tuple[list[str], str, str]
"""The words before the last, the last one, and how much of that the shell takes for words of their own."""


def _of_bash(env: Mapping[str, str]) -> _Read:
    """Put together what bash has taken apart: `=` and `:` are words of their own to it."""
    raw, at = env["COMP_WORDS"].split("\n"), int(env["COMP_CWORD"])
    breaks = set(env.get("COMP_BREAKS", "=:")) & set("=:")
    words: list[str] = []
    joined = False
    typed = ""
    for index, word in enumerate(raw[: at + 1] + [""] * (at + 1 - len(raw))):
        separates = bool(word) and set(word) <= breaks
        if index > 1 and (separates or joined):
            typed = words[-1] + word if separates else words[-1]
            words[-1] += word
        else:
            typed = ""
            words.append(_unquoted(word))
        joined = separates
    return words[1:-1], words[-1], typed


def _of_zsh(env: Mapping[str, str]) -> _Read:
    raw, at = env["COMP_WORDS"].split("\n"), int(env["COMP_CWORD"])
    words = list(map(_unquoted, raw[: at + 1]))
    return words[1:at], words[at] if at < len(words) else "", ""


def _of_fish(env: Mapping[str, str]) -> _Read:
    raw, at = env["COMP_WORDS"].split("\x1f"), int(env["COMP_CWORD"])
    return raw[1:at], _unquoted(raw[at]) if at < len(raw) else "", ""


def _unquoted(word: str) -> str:
    return "".join(split_arg_string(word))


def _told_to_bash(offer: tuple[str, str, str], typed: str) -> str:
    sort, value, _ = offer
    return f"{sort}\t{value.removeprefix(typed)}"


def _told_with_help(offer: tuple[str, str, str], _typed: str) -> str:
    return "\t".join(offer).rstrip("\t")


_SHELLS: Mapping[str, tuple[Callable[[Mapping[str, str]], _Read], Callable[[tuple[str, str, str], str], str]]] = {
    "bash": (_of_bash, _told_to_bash),
    "zsh": (_of_zsh, _told_with_help),
    "fish": (_of_fish, _told_with_help),
}
