"""What to do about an error, where its own words leave that open: one table, by the code of the error.

Who raises an error says what happened and where. What helps depends on the kind of error alone for most of those that
come from the API, the way to it, or git, and is added where a run tells of them: once for each code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.document import Finding
    from reconciler.errors import Problem

ADVICE: Mapping[str, str] = {
    # --- the way to the server
    "network": "check `base_url` and the way to it (proxy, firewall), then run this again",
    "dns": "check the host in `base_url`, and that this machine resolves names",
    "timeout": "run this again, with a smaller `--parallelism` or larger `timeouts` if it stays so",
    "tls": "check `https` and the host in `base_url`; `SSL_CERT_FILE` names certificates of your own",
    "redirected": "write the address that it leads to into `base_url`, if you trust it",
    "invalid_answer": "check that `base_url` leads to the API, and to no proxy or page before it",
    "invalid_url": "correct `base_url` in the settings",
    "breaker": "check the server and the way to it, then run this again",
    # --- what the API says
    "unauthorized": "check the key: that of the variable which `api_key_env` names, or what `token_command` prints",
    "no_token": "run the command (or `az login`) by hand and see that it works, then run this again",
    "forbidden": "give the key the rights that this needs, or name another one by `api_key_env`",
    "out_of_quota": "raise the quota or the budget at the provider, then run this again",
    "unserved": "check `base_url` and `provider`, or leave these resources out by `--select`",
    "rate_limited": "run this again later, with a smaller `--parallelism` or a `rate` in the settings",
    "server_error": "run this again; if it stays so, ask whoever runs the server",
    "rejected": "see what the API says, and correct the manifest if that is meant",
    "missing": "correct the id, or remove it from the manifest (`missing: warn` makes this a warning)",
    "credential_echoed": "take the key out of the metadata on the server, and replace it: others have seen it",
    "no_metadata": "see what the API answers by `--verbose`",
    "too_many_pairs": "remove keys from the manifest, or from the resource",
    "broken_list": "run this again; if it stays so, ask whoever runs the server",
    "endless_list": "ask whoever runs the server, and name the ids by `--ids-from` meanwhile",
    "odd_object": "see what the server has there; manifests can hold it by hand at most",
    "lost_pairs": "set `writes` for this kind to replace, and write the lost pairs again",
    # --- files
    "unreadable_file": "see whether it is there and may be read, or remove it from the manifest paths",
    "key_length": "shorten it",
    "value_length": "shorten it, or keep the text elsewhere and its address here",
    "not_json": "name a file that `reconciler plan --out json=FILE` wrote",
    "missing_field": "write it",
    "yaml_syntax": "correct this place; `reconciler validate` tells whether that is all",
    "no_key": "set it in the environment, and never in a file",
    "bad_key": "export the key alone",
    "bad_variable": "correct or unset it",
    "host_not_allowed": "add the host there, or choose another target by `--target`",
    "other_target": "apply it there (`--target`, `--config`), or plan again for this one",
    # --- git and the ledger
    "git_failed": "mend that first: `git status` has to work here",
    "no_git": "make one by `git init`, or remove `ledger_remote`",
    "ledger_unreadable": "look at it by `git log`, fetch it again, or name a base by `--base REV`",
    "unreadable_revision": "fetch it, or name another revision",
    "interrupted": "run this again: it goes on to the same end",
    "internal": "run it with `--verbose`, and report what that shows",
}
"""What to do, by code: the end of a sentence. A code whose messages all say it themselves has no entry."""


def advised(problem: Problem) -> Problem:
    """Return a problem whose message says what to do about it; done twice, it is as done once."""
    advice = ADVICE.get(problem.code)
    if advice is None or problem.message.rstrip(".").endswith(advice[1:]) or _says_itself(problem):
        return problem
    sentence, end = _endings(advice)
    return replace(problem, message=f"{problem.message}{sentence if problem.message.endswith('.') else end}")


def _says_itself(problem: Problem) -> bool:
    """Tell whether a problem says what to do in words of its own, although others of its code do not."""
    if problem.code != "unserved":
        return False
    from reconciler.gateway.verdicts import tells_retirement

    return tells_retirement(problem.message)


def _endings(advice: str) -> tuple[str, str]:
    """Return what is added to a whole sentence, and to one that is open."""
    return f" {advice[:1].upper()}{advice[1:]}.", f"; {advice}"


def advised_once(errors: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the errors of several runs as one run tells them: of each code the first has the advice."""
    told: list[Finding] = []
    codes: set[str] = set()
    for error in errors:
        message = error.message
        if error.code in codes and error.code in ADVICE:
            for ending in _endings(ADVICE[error.code]):
                message = message.removesuffix(ending)
        codes.add(error.code)
        told.append(error.model_copy(update={"message": message}))
    return tuple(told)
