"""Runs the fuzzers one after the other: ``python -m tests.fuzz --minutes 10``."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

#: What is fuzzed, by the module that does it.
TARGETS = ("client_frames", "layer_messages")
#: Inputs to begin with. What a provider reads first stands last.
SEEDS = {
    "client_frames": [
        b'{"stream": "s", "payload": {"a": [1, "\\u00e9"]}}\x00\x31\x00\x01',
        b'{"a": [1, "\\u00e9", -1e9, null]}\x00\x1f\x00\x02',
    ],
    "layer_messages": [
        b"\x91\x93\x00\x01\xa10",
        b"\x92\x93\x02\x01\xa1x\x93\x05\x01\x01",
    ],
}
#: The largest input in bytes, and the longest that one may take in seconds.
LARGEST = 4096
LONGEST = 60


def run(target: str, seconds: int, corpus: Path, output: IO[bytes] | None = None) -> int:
    """Fuzz one target.

    Args:
        target: One of TARGETS.
        seconds: For how long.
        corpus: The folder where inputs that reach new code are kept.
        output: Where the fuzzer's words go; None: to this process's own output.

    Returns:
        The exit code: 0 where nothing was found.
    """
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"seed{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={LARGEST}", f"-timeout={LONGEST}"]
    options += ["-print_final_stats=1", f"-artifact_prefix={corpus.parent}/{target}-"]
    command = [sys.executable, "-m", f"tests.fuzz.{target}", *options, str(corpus)]
    print(f"{target}: {seconds} s", flush=True)
    return subprocess.run(command, check=False, stdout=output, stderr=output).returncode


def run_together(targets: Sequence[str], seconds: int, folder: Path) -> list[int]:
    """Fuzz all targets at once, and print what each has said when all have ended.

    Args:
        targets: Some of TARGETS.
        seconds: For how long.
        folder: Where each has a corpus.

    Returns:
        The exit codes.
    """
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in targets]
        pool = stack.enter_context(ThreadPoolExecutor(len(targets)))
        folders = [folder / target for target in targets]
        codes = list(pool.map(run, targets, [seconds] * len(targets), folders, outputs))
        for target, output in zip(targets, outputs, strict=True):
            output.seek(0)
            print(f"{target} said:\n{output.read().decode(errors='backslashreplace')}", flush=True)
    return codes


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one")
    parser.add_argument("--together", action="store_true", help="all targets at once")
    parser.add_argument("--corpus", type=Path, help="keep inputs here, and begin with them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.corpus or Path(temporary)
        seconds = max(1, round(options.minutes * 60))
        targets = options.target or TARGETS
        if options.together:
            codes = run_together(targets, seconds, folder)
        else:
            codes = [run(target, seconds, folder / target) for target in targets]
    # A fuzzer that a signal has ended has a negative code.
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
