"""Runs the fuzzers one after the other: ``python -m tests.fuzz --minutes 10``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

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


def run(target: str, seconds: int, corpus: Path) -> int:
    """Fuzz one target.

    Args:
        target: One of TARGETS.
        seconds: For how long.
        corpus: The folder where inputs that reach new code are kept.

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
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one")
    parser.add_argument("--corpus", type=Path, help="keep inputs here, and begin with them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.corpus or Path(temporary)
        seconds = max(1, round(options.minutes * 60))
        targets = options.target or TARGETS
        codes = [run(target, seconds, folder / target) for target in targets]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
