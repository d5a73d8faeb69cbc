"""`python -m fuzz`: attack the readers for some minutes, each in a process of its own that may not grow.

    FUZZ_SECONDS   how long, for all readers together (300)
    FUZZ_SEED      an earlier run again, input by input (by chance)
    FUZZ_FOLDER    where failing inputs go (.hypothesis/fuzz)

    python -m fuzz FILE...   the inputs of earlier failures again

A process that dies or stands still is no loss: the input that it was at lies in memory that it shares with its parent.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .targets import CPU, ROOT, TARGETS, Corpus, Target, bounded, check_memory

STANDSTILL = 10 * CPU
"""Seconds of the clock after which a process at one input counts as hanging where no alarm reaches it."""
GROWTH = 1024 * 1024 * 1024
"""Bytes of address space that a process may take beyond what it begins with."""
WEIGHED = 50
"""Every so many-th input is looked at for its memory as well, which is slow."""
_ROOM = 1 << 20
_HEAD = 16


def main(arguments: list[str]) -> int:
    """Replay files, or attack; the exit code says whether anything was found."""
    sys.tracebacklimit = 12  # nests thousands of levels deep are among the inputs
    if arguments[:1] == ["--attack"]:
        return attack(arguments[1], float(arguments[2]), arguments[3], Path(arguments[4]))
    if arguments[:1] == ["--measure"]:
        return measure(arguments[1], Path(arguments[2]))
    return replay(arguments) if arguments else campaign()


# --- the parent -------------------------------------------------------------------------------------------------------


def campaign() -> int:
    """Attack one reader after the other, and tell what came of it."""
    seconds, seed = float(os.environ.get("FUZZ_SECONDS", "300")), os.environ.get("FUZZ_SEED") or secrets.token_hex(4)
    folder = Path(os.environ.get("FUZZ_FOLDER") or ROOT / ".hypothesis" / "fuzz")
    print(f"Seed {seed}, {seconds:g} seconds for {', '.join(TARGETS)}.", flush=True)
    found = 0
    with tempfile.TemporaryDirectory() as place:
        attacks = [Attack(name, seconds / len(TARGETS), seed, Path(place)) for name in TARGETS]
        for one in attacks:
            one.watch()
            told = one.result()
            found += len(told["failures"])
            print(
                f"{one.name}: {told['inputs']} inputs, {told['inputs'] / one.seconds:.0f} a second, "
                f"{told['features']} features, {told['samples']} samples kept, "
                f"slowest {told['slowest']:.2f} s ({_kept(folder, f'{one.name}-slowest', told['slow'])}), "
                f"largest peak {told['peak'] / 1e6:.1f} MB, {covered(one)}",
                flush=True,
            )
            for failure in told["failures"]:
                _tell(failure, one.name, seed, folder)
    print(f"{found} failures." if found else "Nothing was found.")
    return min(found, 1)


def _kept(folder: Path, name: str, content: str) -> Path:
    """Keep an input, and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    data = bytes.fromhex(content)
    path = folder / f"{name}-{blake2b(data, digest_size=4).hexdigest()}"
    path.write_bytes(data)
    return path


def _tell(failure: dict[str, Any], name: str, seed: str, folder: Path) -> None:
    """Keep a failing input, and say how to see it fail again."""
    path = _kept(folder, name, failure["data"])
    print(f"  {failure['what']} ({failure['times']} times, seed {seed})")
    print(f"    PYTHONPATH=tests {sys.executable} -m fuzz {path}")


def covered(one: Attack) -> str:
    """Return which part of its reader the kept samples reach."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--measure", one.name, str(one.kept)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "coverage not measured"


class Attack:
    """A process that attacks one reader, watched from outside."""

    def __init__(self, name: str, seconds: float, seed: str, place: Path) -> None:
        self.name, self.seconds, self.seed = name, seconds, seed
        self.kept = place / name
        self._shared = place / f"{name}.current"
        self._out = place / f"{name}.out"
        self._died: str | None = None

    def watch(self) -> None:
        """Let it run, and end it where it stands still."""
        with self._shared.open("wb") as file:
            file.truncate(_ROOM)
        arguments = ["--attack", self.name, str(self.seconds), self.seed, str(self.kept.parent)]
        with self._out.open("wb") as out, self._out.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen([sys.executable, "-m", "fuzz", *arguments], stdout=out, stderr=err)
            at, since = -1, time.monotonic()
            while process.poll() is None:
                time.sleep(0.1)
                number = int.from_bytes(self._shared.read_bytes()[:8])
                if number != at:
                    at, since = number, time.monotonic()
                elif time.monotonic() - since > STANDSTILL:
                    process.kill()
                    self._died = f"stood still for {STANDSTILL:g} s"
                    break
            code = process.wait()
        if code != 0 and self._died is None:
            lines = self._out.with_suffix(".err").read_text(errors="replace").strip().splitlines() or [""]
            self._died = f"ended with {code}: {lines[-1][:300]}"

    def result(self) -> dict[str, Any]:
        """Return what the process told; of one that died, what it died of."""
        if self._died is None:
            return json.loads(self._out.read_text())
        raw = self._shared.read_bytes()
        number, size = int.from_bytes(raw[:8]), int.from_bytes(raw[8:_HEAD])
        data = raw[_HEAD : _HEAD + size]
        failure = {"what": self._died, "times": 1, "data": data.hex()}
        nothing = dict.fromkeys(("features", "samples", "slowest", "peak"), 0)
        return nothing | {"slow": "", "inputs": number, "failures": [failure]}


# --- the child --------------------------------------------------------------------------------------------------------


def attack(name: str, seconds: float, seed: str, place: Path) -> int:
    """Try one input after the other and tell the parent, as JSON, what came of it."""
    target = TARGETS[name]
    _limit_memory()
    chance = random.Random(f"{seed} {name}")
    corpus = Corpus(target, chance)
    begun, inputs, peak, slowest, slow = time.monotonic(), 0, 0, 0.0, b""
    failures: Counter[str] = Counter()
    examples: dict[str, bytes] = {}
    with (place / f"{name}.current").open("r+b") as file, mmap.mmap(file.fileno(), _ROOM) as shared:
        while time.monotonic() - begun < seconds:
            data = corpus.next()
            inputs += 1
            shared[:_HEAD] = inputs.to_bytes(8) + len(data).to_bytes(8)
            shared[_HEAD : _HEAD + len(data)] = data
            started = time.process_time()
            try:
                with bounded():
                    corpus.learn(data, target.check(data))
                spent = time.process_time() - started
                if spent > slowest:
                    slowest, slow = spent, data
                if inputs % WEIGHED == 0:
                    with bounded(10 * CPU):  # being weighed slows it down
                        peak = max(peak, check_memory(target, data))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - whatever leaves a reader is what is looked for
                what = _described(error)
                failures[what] += 1
                if what not in examples or len(data) < len(examples[what]):
                    examples[what] = data
    _keep(corpus, place / name)
    told = [{"what": what, "times": times, "data": examples[what].hex()} for what, times in failures.most_common(20)]
    print(
        json.dumps(
            {
                "inputs": inputs,
                "features": len(corpus.features),
                "samples": len(corpus.inputs),
                "slowest": slowest,
                "slow": slow.hex(),
                "peak": peak,
                "failures": told,
            }
        )
    )
    return 0


def _limit_memory() -> None:
    """Let what grows without bounds fail here and not take the machine with it; not every system has such a limit."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + GROWTH, hard))


def _described(error: BaseException) -> str:
    """Return what tells one failure from another: its type, its place, the beginning of its words."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/reconciler/" in frame.filename or "/fuzz/" in frame.filename] or frames
    at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    return f"{type(error).__name__} at {at}: {str(error)[:60]!a}"


def _keep(corpus: Corpus, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(corpus.inputs):
        (folder / str(number)).write_bytes(data)


# --- afterwards -------------------------------------------------------------------------------------------------------

_READERS = {
    "manifest": ("manifest/reader.py", "manifest/schema.py", "manifest/scalars.py", "manifest/syntax.py"),
    "settings": ("manifest/reader.py", "settings/file.py"),
    "plan": ("planfile.py",),
}


def measure(name: str, folder: Path) -> int:
    """Print which part of a reader the samples in a folder reach; nothing where coverage is not installed."""
    try:
        from coverage import Coverage
    except ImportError:
        return 0
    files = [ROOT / "reconciler" / file for file in _READERS[name]]
    for module in [module for module in sys.modules if module.startswith(("reconciler", "fuzz"))]:
        del sys.modules[module]  # imported anew, so that what runs at import counts as well
    meter = Coverage(data_file=None, include=[str(file) for file in files], config_file=False)
    meter.start()
    from fuzz.targets import TARGETS as MEASURED

    for path in sorted(folder.iterdir()):
        with suppress(Exception):
            MEASURED[name].check(path.read_bytes())
    meter.stop()
    reached = []
    for file in files:
        _, lines, _, missing, _ = meter.analysis2(str(file))
        reached.append(f"{file.name} {100 - 100 * len(missing) // max(len(lines), 1)} %")
    print("reaches " + ", ".join(reached))
    return 0


def replay(names: list[str]) -> int:
    """Try inputs again; what they do wrong is shown as it is."""
    for name in names:
        target: Target = TARGETS[Path(name).name.partition("-")[0]]
        data = Path(name).read_bytes()
        started = time.process_time()
        with bounded():
            feature = target.check(data)
        peak = check_memory(target, data)
        print(f"{name}: {feature} ({time.process_time() - started:.2f} s, peak {peak / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
