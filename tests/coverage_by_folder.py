"""Coverage of lines and branches by folder, from a JSON report on standard input; fails if the library has too little.

    python -m coverage json -q -o - | python -m tests.coverage_by_folder

Papers and the command line are listed, but only the library has to reach the minimum.
"""

import json
import sys
from collections import defaultdict
from pathlib import PurePath

LEAST = 95.0
"""Coverage of the library [%] that is asked for."""


def folder_of(name: str) -> str:
    """Return the folder of a file by which it is listed.

    >>> folder_of("spikeloom/kernels/engines/cpu.py"), folder_of("spikeloom/papers/lsnn/network.py")
    ('kernels', 'papers/lsnn')
    """
    inside = PurePath(name).parts[1:-1]
    return "/".join(inside[:2] if inside[:1] == ("papers",) else inside[:1]) or "."


def main() -> int:
    covered, present = defaultdict[str, int](int), defaultdict[str, int](int)
    for name, file in json.load(sys.stdin)["files"].items():
        summary, folder = file["summary"], folder_of(name)
        names = [folder, "all", *(["library"] if folder.partition("/")[0] not in ("papers", "cli") else [])]
        for each in names:
            covered[each] += summary["covered_lines"] + summary["covered_branches"]
            present[each] += summary["num_statements"] + summary["num_branches"]
    percent = {name: 100 * covered[name] / max(present[name], 1) for name in present}
    last = ("library", "all")
    for name in [*sorted(name for name in percent if present[name] and name not in last), *last]:
        print(f"{name:24} {percent[name]:6.1f} %  of {present[name]:6,} lines and branches")
    if percent["library"] < LEAST:
        print(f"The library's coverage is {percent['library']:.1f} %, below {LEAST} %.", file=sys.stderr)
    return int(percent["library"] < LEAST)


if __name__ == "__main__":
    sys.exit(main())
