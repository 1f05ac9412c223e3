"""Keeps what a run reached: numbers, pictures and the report unless they are large, no weights and no data.

    python -m benchmarks.keep RUN results/NAME      # a run, a folder of several seeds, or a table

Of a long run's log it keeps every validation and about 500 other updates. Then `python -m benchmarks.tables` puts the
run into the README.
"""

import argparse
import json
import shutil
from pathlib import Path

NUMBERS = ("config.json", "environment.json", "result.json", "activity.json", "metrics.jsonl", "seconds.json")
UPDATES = 500
LARGEST = 1 << 20
"""Bytes of a picture or a report that are kept."""
SERIES = ("seeds.json", "summary.json")
TABLE = ("table.json", "result.json", "table.txt", "figures/table.png")


def keep(run: Path, place: Path, pictures: bool = True) -> list[Path]:
    """Copy one finished run, every seed of a series (pictures and report of the first only), or the cells of a table.

    Raises:
        FileNotFoundError: the run is not finished.
    """
    if (run / "table.json").is_file():
        kept = [copy(run / name, place / name) for name in TABLE]
        for member in sorted(path.parent for path in run.glob("*/seed*/result.json")):
            names = [name for name in NUMBERS if name != "metrics.jsonl" and (member / name).is_file()]
            kept += [copy(member / name, place / member.relative_to(run) / name) for name in names]
        return kept
    if (run / "summary.json").is_file():
        kept = [copy(run / name, place / name) for name in SERIES]
        for number, member in enumerate(sorted(run.glob("seed*/"))):
            kept += keep(member, place / member.name, pictures=number == 0)
        return kept
    if not (run / "result.json").is_file():
        raise FileNotFoundError(f"{run} holds no finished run: it has no result.json. Resume it first.")
    names = [name for name in NUMBERS if (run / name).is_file()]
    names += [str(path.relative_to(run)) for path in sorted(run.glob("*/seconds.json"))]  # of phases
    if pictures:
        seen = [run / "report.html", *sorted(run.glob("figures/*.png")), *sorted(run.glob("figures/*.gif"))]
        large = [path for path in seen if path.stat().st_size > LARGEST]
        if large:
            print(f"left out, over {LARGEST >> 10} KiB: {', '.join(path.name for path in large)}")
        names += [str(path.relative_to(run)) for path in seen if path not in large]
    kept = [copy(run / name, place / name) for name in names]
    if (place / "metrics.jsonl").is_file():
        thin(place / "metrics.jsonl")
    return kept


def thin(path: Path) -> None:
    """Keep the validations, the last line, and about UPDATES of the other lines."""
    lines = path.read_text().splitlines(keepends=True)
    every = -(-len(lines) // UPDATES)
    validated = [any(name.startswith("validation_") for name in json.loads(line)) for line in lines]
    chosen = [line for i, line in enumerate(lines) if validated[i] or (i + 1) % every == 0 or i + 1 == len(lines)]
    path.write_text("".join(chosen))


def copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, target))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("place", type=Path)
    options = parser.parse_args()
    print(*keep(options.run, options.place), sep="\n")
