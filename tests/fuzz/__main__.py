"""Fuzz every target for some minutes, or some files; failures are kept in the corpus, and the exit status is 1."""

import argparse
import sys
import time

from .hunt import hunt
from .targets import Reader, all_targets


def main() -> int:
    """Run the command."""
    known = [target.name for target in all_targets()]
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Damage valid files and read them.")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long, all targets together (default 30)")
    parser.add_argument("--files", type=int, default=None, help="stop after this many files, all targets together")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default 0)")
    parser.add_argument("--target", action="append", choices=known, help="only this one; may be given several times")
    options = parser.parse_args()
    chosen = [target for target in all_targets() if target.name in (options.target or known)]
    started, failed, total = time.monotonic(), 0, 0
    with Reader() as reader:
        for place, target in enumerate(chosen):
            left = len(chosen) - place
            seconds = (60 * options.minutes - (time.monotonic() - started)) / left
            files = None if options.files is None else -(-(options.files - total) // left)
            counts = hunt(target, reader, options.seed, seconds, files)
            total += sum(counts.values())
            wrong = {end: count for end, count in counts.items() if end not in ("read", "refused")}
            failed += sum(wrong.values())
            ends = ", ".join(f"{count:,} {end}" for end, count in wrong.items()) or "nothing wrong"
            print(f"{target.name:24} {counts['read']:7,} read {counts['refused']:7,} refused   {ends}", flush=True)
    print(f"{total:,} files in {(time.monotonic() - started) / 60:.1f} minutes, {failed:,} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
