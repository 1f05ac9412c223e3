"""Keeps what a run reached: numbers and at most two pictures, no weights, no data, no report.

    python -m benchmarks.keep RUN results/NAME      # a run, a folder of several seeds, or a table

Of a long run's log it keeps every validation and about 100 other updates; of a table, `runs.jsonl` with a line for each
of its runs. Then `python -m benchmarks.tables` puts the run into the README, and `python -m benchmarks.recorded` into
`spikeloom tasks`; `python -m spikeloom report results/NAME` writes a report from what is kept.
"""

import argparse
import json
import shutil
from pathlib import Path

from PIL import Image

NUMBERS = ("config.json", "environment.json", "result.json", "activity.json", "metrics.jsonl", "seconds.json")
UPDATES = 100
PICTURES = 2
COLOURS = 128
"""Number of colours of a picture that is kept."""
FIRST = (
    "learning_curves", "gallery", "receptive_fields", "accuracy_over_steps", "accuracy_by_length", "memory", "flips",
    "episode", "recall", "sequence", "decoding", "rates", "confusion",
)  # fmt: skip
"""Pictures that are kept before others, in this order."""
SERIES = ("seeds.json", "summary.json")
TABLE = ("table.json", "result.json", "table.txt", "figures/table.png")


def keep(run: Path, place: Path, pictures: bool = True) -> list[Path]:
    """Copy one finished run, every seed of a series (pictures of the first only), or the cells of a table.

    Raises:
        FileNotFoundError: the run is not finished.
    """
    if (run / "table.json").is_file():
        kept = [copy(run / name, place / name) for name in TABLE]
        lines = [line_of(path.parent, run) for path in sorted(run.glob("*/seed*/result.json"))]
        (place / "runs.jsonl").write_text("".join(lines))
        return [*kept, place / "runs.jsonl"]
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
        seen = sorted(run.glob("figures/*.png"))
        seen.sort(key=lambda path: FIRST.index(path.stem) if path.stem in FIRST else len(FIRST))
        for path in seen[:PICTURES]:
            shrink(path, place / path.relative_to(run))
    kept = [copy(run / name, place / name) for name in names]
    if (place / "metrics.jsonl").is_file():
        thin(place / "metrics.jsonl")
    return kept


def line_of(run: Path, table: Path) -> str:
    """The numbers of one run of a table, as a line of JSON."""
    names = [name for name in NUMBERS if name.endswith(".json") and (run / name).is_file()]
    parts = {name.removesuffix(".json"): json.loads((run / name).read_text()) for name in names}
    return json.dumps({"run": str(run.relative_to(table)), **parts}) + "\n"


def shrink(source: Path, target: Path) -> None:
    """Write a picture in few colours."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT).save(target, optimize=True)


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
