"""A scratch folder to run the tool in as its user does: a git repository with settings and manifests, and a server."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .processes import OF_BENCH, Server, serving, spent
from .server import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SETTINGS = """\
version: 1
targets:
  bench: {{provider: openai, base_url: "http://{host}:{port}/v1", api_key_env: BENCH_KEY, manifests: [manifests]}}
guards: {{max_changed: 100%}}
"""
TOOL = ("-m", "reconciler")


@dataclass(frozen=True)
class Setting:
    """What there is before anything is measured.

    `changed` threads differ at the server from what is declared, which takes `latency` seconds to answer. Then `edited`
    threads are declared otherwise than in the last commit, by the work tree alone; the cache of manifests that can be
    restored holds what the tool made of the commit.
    """

    threads: int
    per_file: int = 1000
    changed: int = 0
    latency: float = 0.0
    edited: int = 0


class Stage:
    """A setting that has been set up: the folder to work in, its environment, and the server."""

    def __init__(self, place: Path, server: Server) -> None:
        self.folder = place / "work"
        self.manifests = self.folder / "manifests"
        self.server = server
        self._cache, self._filled = place / "cache", place / "filled"
        home = place / "home"
        for folder in (self.folder, self._cache, self._filled, home):
            folder.mkdir(parents=True)
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "XDG_CACHE_HOME": str(self._cache),
            "BENCH_KEY": "none",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                f"GIT_{role}_{part}": "bench@example.com"
                for role in ("AUTHOR", "COMMITTER")
                for part in ("NAME", "EMAIL")
            },
        }

    def write(self, setting: Setting, edited: int = 0) -> None:
        """Write the manifests, by a process of its own: what this one once held would count for all that it starts."""
        numbers = map(str, (setting.threads, setting.per_file, edited))
        spent(["-m", "bench.corpus", str(self.manifests), *numbers], folder=self.folder, env=OF_BENCH)

    def commit(self) -> None:
        """Make the folder a repository with everything in one commit."""
        (self.folder / "reconciler.yaml").write_text(
            SETTINGS.format(host=HOST, port=self.server.port), encoding="utf-8"
        )
        for words in ("init -q", "add -A", "commit -q -m Start"):
            subprocess.run(["git", *words.split()], cwd=self.folder, env=self.env, check=True, timeout=60)

    def run(self, command: Sequence[str]) -> None:
        """Run the tool without measuring it."""
        spent([*TOOL, *command], folder=self.folder, env=self.env)

    def empty_cache(self) -> None:
        """Forget what the tool remembers of manifests."""
        _replace(self._cache, None)

    def keep_cache(self) -> None:
        """Remember what the tool remembers now, to be restored."""
        _replace(self._filled, self._cache)

    def restore_cache(self) -> None:
        """Let the tool remember what it did when `keep_cache` was called."""
        _replace(self._cache, self._filled)


def _replace(folder: Path, content: Path | None) -> None:
    shutil.rmtree(folder)
    if content is None:
        folder.mkdir()
    else:
        shutil.copytree(content, folder)


@contextlib.contextmanager
def stage(setting: Setting, place: Path) -> Iterator[Stage]:
    """Set up what is asked for in an empty folder, and take it down in any case."""
    place.mkdir()
    with serving(setting.threads, setting.changed, setting.latency, place) as server:
        made = Stage(place, server)
        made.write(setting)
        made.commit()
        if setting.edited:
            made.run(["validate"])
            made.run(["plan", "-q", "--changed-since", "HEAD"])
            made.keep_cache()
            made.write(setting, setting.edited)
        yield made
    shutil.rmtree(place)
