"""`reconciler emulate`: the emulator on a loopback port, until somebody ends it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from contextlib import contextmanager
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from reconciler import manifest
from reconciler.addresses import is_loopback_address
from reconciler.cli.options import completing
from reconciler.dialects import DIALECTS, Dialect
from reconciler.emulator import live_behaviour
from reconciler.emulator.mishaps import Mishap, MishapRule, Mishaps
from reconciler.emulator.server import HOST, serve
from reconciler.emulator.service import Behaviour, Store, seed
from reconciler.emulator.store import Lag, LaggingStore, MemoryStore, opened
from reconciler.kinds import KINDS
from reconciler.words import meant, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.model import Ref

T = TypeVar("T")

PORT = 4010
_WRITES = {name: dialect for name, dialect in DIALECTS.items() if dialect.settled}
_MISHAPS = {str(mishap): mishap for mishap in Mishap}
_EXAMPLE = """\b
Examples:
  reconciler emulate --seed manifests --writes thread=replace --fault 503=0.1
  reconciler emulate --host ::1 --port 0 --database kept.sqlite --latency 50
  reconciler emulate --fault 429=0.2 --fault-seed 7 --retry-after 2
  reconciler emulate --lag chat_completion=1.5 --fault old=0.5
  reconciler emulate --require-key EMULATOR_KEY
"""
_LAG = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)|([0-9]+)reads", re.ASCII)
_LONGEST_LAG = 999_999
"""Seconds, or reads: more than eleven days of an emulator's life."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _host(_context: click.Context, _option: click.Parameter, value: str) -> str:
    host = HOST if value == "localhost" else value
    if not is_loopback_address(host):
        raise click.BadParameter(f"{value} is not a loopback address; use 127.0.0.1 or ::1.")
    return host


def _seeds(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[Path, ...]:
    paths = tuple(map(Path, values))
    lost = next((path for path in paths if not path.exists()), None)
    if lost is not None:
        raise click.BadParameter(f"{lost} does not exist; name a manifest, or a folder of them.")
    return paths


def _writes(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> Mapping[str, Dialect]:
    """Return the dialect of each kind that is told; one told for a kind beats one told for all."""
    told = [value.rpartition("=") for value in values]
    general = {name: _known("dialect", dialect, _WRITES) for kind, _, dialect in told if not kind for name in KINDS}
    special = {
        _known("kind", kind, KINDS).name: _known("dialect", dialect, _WRITES)
        for kind, equals, dialect in told
        if equals
    }
    return {**general, **special}


def _key(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Return the key out of the variable; what was written is not repeated, it may be the key itself."""
    if value is None:
        return None
    if not _VARIABLE.fullmatch(value):
        raise click.BadParameter("this is not the name of a variable; give the name, never the key itself.")
    key = os.environ.get(value, "")
    if not key:
        raise click.BadParameter("the variable with this name is not set, or empty; export it first.")
    return key


def _mishaps(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[MishapRule, ...]:
    told = [value.partition("=") for value in values]
    rules = tuple(MishapRule(_known("fault", name, _MISHAPS), _probability(share)) for name, _, share in told)
    if fsum(rule.probability for rule in rules) > 1:
        raise click.BadParameter("the probabilities add up to more than 1; lower them.")
    return rules


def _probability(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise click.BadParameter("write NAME=PROBABILITY with a probability from 0 to 1, such as 503=0.1.")
    return share


def _lags(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> Mapping[str, Lag]:
    """Return the lag of each kind that is told; one told for a kind beats one told for all."""
    told = [value.rpartition("=") for value in values]
    general = {name: _lag(lag) for kind, equals, lag in told if not equals for name in KINDS}
    return {**general, **{_known("kind", kind, KINDS).name: _lag(lag) for kind, equals, lag in told if equals}}


def _lag(text: str) -> Lag:
    found = _LAG.fullmatch(text)
    if found is None:
        raise click.BadParameter("write [KIND=]SECONDS or [KIND=]Nreads, such as chat_completion=1.5 or 3reads.")
    seconds, reads = found.groups()
    if float(reads or seconds) > _LONGEST_LAG:
        raise click.BadParameter(f"{shown(text)} is too large; {_LONGEST_LAG} seconds or reads are the most.")
    return Lag(reads=int(reads)) if reads else Lag(float(seconds))


def _known(what: str, name: str, table: Mapping[str, T]) -> T:
    """Return the entry with this name, or guess which one was meant."""
    if name in table:
        return table[name]
    raise click.BadParameter(f"there is no {what} {shown(name)}; {meant(name, table)}")


@click.command(epilog=_EXAMPLE)
@click.option("--host", default=HOST, show_default=True, callback=_host, help="The loopback address to listen on.")
@click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 picks a free one."
)
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the objects in this file; without it they are gone when the emulator ends.",
)
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    callback=_seeds,
    help="A manifest, or a folder of them, whose ids are created, empty.  [repeatable]",
)
@click.option(
    "--writes",
    multiple=True,
    metavar="[KIND=]DIALECT",
    callback=_writes,
    shell_complete=completing("dialects"),
    help=f"How updates are treated: {', '.join(_WRITES)}; by default as each kind's own.  [repeatable]",
)
@click.option(
    "--require-key",
    "key",
    metavar="ENV_NAME",
    callback=_key,
    help="Refuse callers that do not send the key which the variable of this name holds.",
)
@click.option("--latency", metavar="MS", default=0, type=click.FloatRange(min=0), help="Delay every answer.")
@click.option(
    "--fault",
    "rules",
    multiple=True,
    metavar="NAME=PROBABILITY",
    callback=_mishaps,
    shell_complete=completing("faults"),
    help=f"Let this share of the calls fail: {', '.join(_MISHAPS)}.  [repeatable]",
)
@click.option(
    "--lag",
    "lags",
    multiple=True,
    metavar="[KIND=]SECONDS",
    callback=_lags,
    help="Let reads show an object as it was before a write, for so long; Nreads: for so many reads.  [repeatable]",
)
@click.option("--fault-seed", default=0, type=int, help="Another number brings other calls to fail.")
@click.option(
    "--retry-after",
    metavar="SECONDS",
    default=1,
    show_default=True,
    type=click.FloatRange(min=0),
    help="What a 429 asks its caller to wait.",
)
def emulate(
    host: str,
    port: int,
    database: Path | None,
    seeds: tuple[Path, ...],
    writes: Mapping[str, Dialect],
    key: str | None,
    latency: float,
    rules: tuple[MishapRule, ...],
    lags: Mapping[str, Lag],
    fault_seed: int,
    retry_after: float,
) -> None:
    """Serve the embedded API on loopback.

    Every kind is served below /v1, with the limits and the error texts of the real API, to anything that speaks HTTP.
    The base URL is printed when the emulator is ready; set OPENAI_BASE_URL to it, or a target's base_url. Ctrl-C or
    SIGTERM end it. Targets with `provider: emulator` need no server: they have the same inside the process.
    """
    behaviour, mishaps = live_behaviour(writes, key), Mishaps(rules, latency, retry_after, fault_seed)
    with _store(database) as store:
        if seeds:
            seed(store, _refs(seeds), behaviour)
        served = LaggingStore(store, lags, time.monotonic) if lags else store
        asyncio.run(_serve_until_ended(served, behaviour, mishaps, host, port))


def _refs(paths: Sequence[Path]) -> Iterator[Ref]:
    return (desired.ref for desired in manifest.load(paths, root=Path.cwd()).resources)


@contextmanager
def _store(database: Path | None) -> Iterator[Store]:
    if database is None:
        yield MemoryStore()
        return
    with opened(database) as store:
        yield store


async def _serve_until_ended(store: Store, behaviour: Behaviour, mishaps: Mishaps, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; either is the ordinary end."""
    ended = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    async with serve(store, behaviour, mishaps, host, port) as server:
        click.echo(f"emulating the API at {server.url} (Ctrl-C ends it)")
        await ended.wait()
