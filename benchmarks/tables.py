"""Fills tables of the README and of pages from results files: what stands between `<!-- NAME -->` and `<!-- /NAME -->`.

    results     results/**/summary.json and result.json, what the runs of the repository reached
    speed       benchmarks/results/*.json
    spoken      results/*/table.json, tables of configurations
    sparse      benchmarks/results/sparse.json
    parallel    benchmarks/results/parallel.json
    rate        benchmarks/results/rate.json
    conversion  benchmarks/results/conversion.json
    stdp        benchmarks/results/stdp.json
    hebbian     benchmarks/results/hebbian.json
    concentration  benchmarks/results/concentration.json
    memory      benchmarks/results/memory.json, length.json, first_call.json
    gpu         benchmarks/results/*-cuda.json
    scaling     benchmarks/results/scaling.json, in docs/how-to/several-processes.md

A table without results files says so. `--check` writes nothing and fails if a page is not up to date.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
SPEED = ("w1_linear_lif", "w2_lif", "w2_lif_fresh", "w3_lsnn", "store_recall_update")
ON_A_GPU = ("w1_linear_lif", "w2_lif", "w3_lsnn", "parallel", "hebbian")
NONE_YET = "No results files yet."


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("|" + "|".join(cell if cell == "---" else f" {cell} " for cell in line) + "|" for line in lines)


def read(name: str) -> dict[str, Any] | None:
    """A results file of the benchmarks, or None."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def speed() -> str:
    """Contenders down, workloads across: CPU milliseconds, and how many times ours."""
    works, files = [], []
    for name in SPEED:
        document = read(name)
        if document is not None:
            files.append(document)
            suffix = ", fresh memory" if name.endswith("_fresh") else ""
            works += [(work["name"] + suffix, work) for work in document["workloads"]]
    if not works:
        return NONE_YET
    names = list(dict.fromkeys(row["name"] for _, work in works for row in work["contenders"]))
    names.sort(key=lambda name: name.startswith("floor"))
    floors = [name for name in names if name.startswith("floor")]
    rows = [[name, *(cell(work, [name]) for _, work in works)] for name in names if name not in floors]
    rows.append(["floor", *(cell(work, floors) for _, work in works)])
    return markdown(["CPU ms (times ours)", *(title for title, _ in works)], rows) + "\n\n" + origin(files)


def cell(work: dict[str, Any], names: Sequence[str]) -> str:
    """The time of the first of these contenders that took part."""
    for row in work["contenders"]:
        if row["name"] in names:
            times = row["cpu_relative"]["median"]
            return f"{row['cpu_ms']['median']:,.0f} ({times:.{0 if times >= 10 else 1}f}x)"
    return ""


def origin(files: Sequence[dict[str, Any]]) -> str:
    """One line on where numbers come from."""
    machines = {(f["machine"]["cpu"], f["machine"]["cores"], f["machine"]["threads"]) for f in files}
    kinds = "; ".join(f"{cpu}, {cores} cores, {threads} thread" for cpu, cores, threads in sorted(machines))
    commits = ", ".join(sorted({f["commit"][:7] for f in files}))
    rounds = sorted({f["rounds"] for f in files})
    counts = str(rounds[0]) if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
    return f"Medians of {counts} interleaved rounds. Machine: {kinds}. Commit: {commits}."


def sparse() -> str:
    """One update of a full-size sparse network: contenders down, time, ratio to the dense one, floor."""
    document = read("sparse")
    if document is None:
        return NONE_YET
    (work,) = document["workloads"]
    times = {row["name"]: row["cpu_ms"]["median"] for row in work["contenders"]}
    rows = []
    for name, time in times.items():
        if name.startswith("floor"):
            continue
        share = name.rpartition(", ")[2] if ", " in name else "12 %"
        floor = times.get(f"floor, {share}")
        beside = f"{time / floor:.1f}x" if floor else ""
        rows.append([name.partition(",")[0], share, f"{time:,.0f}", f"{time / times['spikeloom']:.1f}x", beside])
    head = [work["name"], "synapses that exist", "CPU ms", "times ours at 12 %", "times the floor"]
    return markdown(head, rows) + "\n\n" + origin([document])


def memory() -> str:
    """Bytes kept and at the peak, growth with the number of steps, cost of the first call."""
    weighed, lengths, first = read("memory"), read("length"), read("first_call")
    parts = []
    if weighed is not None:
        slopes = lengths["workloads"][-1]["exponents"] if lengths else {}
        rows = [
            [name, f"{weight['kept']:.3g}", f"{weight['peak']:.3g}", str(slopes.get(name, ""))]
            for name, weight in weighed["workloads"][0]["bytes_per_element"].items()
        ]
        head = ["LIF", "bytes kept", "bytes at the peak", "time grows as T to the power"]
        parts.append(markdown(head, rows))
    if first is not None:
        rows = [
            [work["name"], *(f"{work['seconds'][cache][part]['median']:.2g} s" for cache, part in FIRST)]
            for work in first["workloads"]
        ]
        head = ["in a new process", "import", "first call, empty cache", "first call, full cache", "second call"]
        parts.append(markdown(head, rows))
    return "\n\n".join(parts) or NONE_YET


FIRST = (("full cache", "import"), ("empty cache", "first"), ("full cache", "first"), ("full cache", "second"))


def results() -> str:
    """One row per committed run or series of seeds."""
    folder = ROOT / "results"
    series = sorted(folder.glob("**/summary.json"))
    inside = {path.parent for path in [*series, *folder.glob("*/table.json")]}
    single = [path for path in sorted(folder.glob("**/result.json")) if not inside & set(path.parents)]
    rows = [result_row(path, folder) for path in [*series, *single]]
    return markdown(["run", "task", "preset", "seeds", "test", "solved"], rows) if rows else NONE_YET


def result_row(path: Path, folder: Path) -> list[str]:
    """The row of a summary.json (several seeds) or a result.json (one)."""
    document = json.loads(path.read_text())
    seeds = document.get("seeds", [document.get("seed")])
    values = {name: value for name, value in document["test"].items() if name != "solved"}
    several = "seeds" in document
    test = ", ".join(f"{name} {spread(value) if several else number(value)}" for name, value in values.items())
    solved = document.get("solved", document["test"].get("solved"))
    name = str(path.parent.relative_to(folder))
    link = f"[{name}](results/{name})"
    count = "" if solved is None else f"{int(solved)} of {len(seeds)}"
    return [link, document["task"], document["preset"], str(len(seeds)), test, count]


def spoken() -> str:
    """The tables of configurations: rows and columns as they were asked for."""
    parts = []
    for path in sorted((ROOT / "results").glob("*/table.json")):
        document = json.loads((path.parent / "result.json").read_text())
        cells = {(cell["row"], cell["column"]): cell for cell in document["cells"]}
        columns = list(dict.fromkeys(column for _, column in cells))
        rows = [
            [row, *(percent(cells.get((row, column))) for column in columns)]
            for row in dict.fromkeys(row for row, _ in cells)
        ]
        about = f"[{document['title']}](results/{path.parent.name}), {len(document['seeds'])} seed(s)"
        beside = f"; in brackets: {document['source']}" if document["source"] else ""
        parts.append(f"{about}{beside}.\n\n{markdown(['', *columns], rows)}")
    return "\n\n".join(parts) or NONE_YET


def percent(cell: dict[str, Any] | None) -> str:
    """A share as per cent, with spread and published value.

    >>> percent({"mean": 0.7041, "sd": 0.012, "values": [0.7, 0.71], "published": 0.71378})
    '70.4 ± 1.2 (71.4)'
    """
    if cell is None:
        return ""
    spread = f" ± {100 * cell['sd']:.1f}" if len(cell["values"]) > 1 else ""
    published = f" ({100 * cell['published']:.1f})" if cell["published"] is not None else ""
    return f"{100 * cell['mean']:.1f}{spread}{published}"


def parallel() -> str:
    """The SHD network: ours and the originals, CPU time and ratios at two lengths; then cost by length."""
    document = read("parallel")
    if document is None:
        return NONE_YET
    short, long, lengths = document["workloads"]
    later = {row["name"]: row["cpu_ms"]["median"] for row in long["contenders"]}
    ours = {row["name"].partition(", ")[2]: row["cpu_ms"]["median"] for row in short["contenders"]}
    rows = []
    for row in short["contenders"]:
        time, name = row["cpu_ms"]["median"], row["name"]
        mine = ours.get(name.removeprefix("original ").partition(",")[0].replace("non-spiking", "non_spiking"))
        beside = f"{time / mine:.1f}x" if name.startswith("original") and mine else ""
        grown = f"{later[name]:,.0f} ({later[name] / time:.2f}x)" if name in later else ""
        rows.append([name, f"{time:,.0f}", beside, grown])
    head = [short["name"].rpartition(", ")[0] + ", CPU ms", "T 1,000", "times ours", "T 1,370"]
    names = list(dict.fromkeys(row["neuron"] for row in lengths["rows"]))
    found = {(row["neuron"], row["T"]): row for row in lengths["rows"]}
    steps = list(dict.fromkeys(row["T"] for row in lengths["rows"]))
    cost = [
        [f"{t:,}"]
        + [f"{found[n, t]['cpu_ns_per_element']:.3g} ({found[n, t]['peak_bytes_per_element']:.0f})" for n in names]
        for t in steps
    ]
    title = ["steps: ns (bytes at the peak) an element", *names]
    return markdown(head, rows) + "\n\n" + markdown(title, cost) + "\n\n" + origin([document])


def rate() -> str:
    """Spiking inference: CPU time beside the loop and the floor, and the peak of memory by steps."""
    document = read("rate")
    if document is None:
        return NONE_YET
    works = document["workloads"]
    speed, many, memory = works[0], works[1], next(work for work in works if "peak_mb" in work)
    rows = [
        [row["name"], f"{row['cpu_ms']['median']:,.0f}", f"{row['cpu_relative']['median']:.2f}x"]
        for row in speed["contenders"]
    ]
    peaks = ", ".join(f"{peak:,.0f} MB for {steps} steps" for steps, peak in memory["peak_mb"].items())
    head = [speed["name"], "CPU ms", "times ours"]
    loop = next(row for row in many["contenders"] if row["name"] == "plain torch loop")
    said = f"{many['name'].partition(', ')[2]}: the loop takes {loop['cpu_relative']['median']:.2f} times ours. "
    return markdown(head, rows) + f"\n\n{said}Peak of a whole process: {peaks}.\n\n" + origin([document])


def conversion() -> str:
    """Converters side by side."""
    document = read("conversion")
    if document is None:
        return NONE_YET
    work = document["workloads"][0]
    settings = work["settings"]
    level = settings["ann_accuracy"] - 0.001
    rows = [
        [
            row["name"], f"{100 * row['accuracy']:.2f} %", str(stays_above(row["curve"], level)), f"{row['cpu_s']:.0f}",
        ]
        for row in work["rows"]
    ]  # fmt: skip
    head = ["converter", f"after {settings['steps']} steps", "within 0.1 points from step", "CPU s"]
    images, exact = settings["images"], settings["ann_accuracy"]
    error = 100 * (exact * (1 - exact) / images) ** 0.5
    said = f"{images:,} test images (standard error {error:.2f} points); the network itself: {100 * exact:.2f} %."
    return markdown(head, rows) + f"\n\n{said} " + origin([document])


def stays_above(curve: Sequence[float], level: float) -> int | str:
    """The step from which on a curve does not fall below a level.

    >>> stays_above([0.1, 0.9, 0.8, 0.9, 0.9], 0.85), stays_above([0.9, 0.1], 0.85)
    (4, 'not')
    """
    below = [step for step, value in enumerate(curve, 1) if value < level - 1e-6]
    last = max(below, default=0)
    return last + 1 if last < len(curve) else "not"


def hebbian() -> str:
    """The memory, fused and by the definition, and the size of the paper."""
    document = read("hebbian")
    if document is None:
        return NONE_YET
    small, large = document["workloads"]
    rows = [
        [row["name"], f"{row['cpu_ms']['median']:,.0f}", f"{row['cpu_relative']['median']:.2g}x"]
        for row in small["contenders"]
    ]
    times = [row["wall_s"] for row in large["rows"]]
    said = (
        f"{large['name']}, {large['rows'][0]['threads']:.0f} threads: {median(times):.1f} s ({min(times):.1f} to "
        f"{max(times):.1f} in {len(times)} processes), {max(row['peak_gigabytes'] for row in large['rows']):.2f} GB at "
        "the peak of a process."
    )
    head = [f"{small['name']}, 100 steps, 100 keys", "CPU ms", "times ours"]
    return markdown(head, rows) + f"\n\n{said} " + origin([document])


def gpu() -> str:
    """What ran on a GPU: the median of wall time and how many times ours, workload by workload."""
    documents = [document for name in ON_A_GPU if (document := read(f"{name}-cuda"))]
    if not documents:
        return NONE_YET
    rows = []
    for about, work in ((document, work) for document in documents for work in document["workloads"]):
        cells = {row["name"]: row for row in work["contenders"]}
        base = cells.pop(work["relative_to"])
        floors = [name for name in cells if name.startswith("floor")]
        shown = [
            ", ".join(
                f"{name.removeprefix('floor: ').removeprefix('spikeloom, ')} {times(cells[name])}"
                for name in cells
                if name.startswith("spikeloom") == ours and name not in floors
            )
            for ours in (True, False)
        ]
        floor = ", ".join(times(cells[name]) for name in floors)
        name = "Hebbian memory, " * (about["name"] == "hebbian") + work["name"]
        rows.append([name, f"{base['wall_ms']['median']:.1f} ms", floor, *shown])
    said = f"{documents[0]['machine']['gpu']}; medians of wall time, forward and backward. "
    return markdown(["", "ours", "floor", "ours, other modes", "others"], rows) + "\n\n" + said + origin(documents)


def times(row: dict[str, Any]) -> str:
    """How many times the wall time of ours."""
    factor = row["wall_relative"]["median"]
    return f"{factor:,.{0 if factor >= 10 else 2 if factor < 1 else 1}f}x"


def stories() -> str:
    """A network that reads stories: what padding and copies would cost, then cost by length."""
    document = read("stories")
    if document is None:
        return NONE_YET
    works = [work for work in document["workloads"] if "contenders" in work]
    rows = [
        [f"{work['name']}: {row['mode']}", f"{row['cpu_ms']['median']:,.0f}", f"{row['cpu_relative']['median']:.1f}x"]
        for work in works
        for row in work["contenders"]
    ]
    lengths = document["workloads"][-1]
    cost = [
        [str(row["statements"]), f"{row['cpu_ms']['median']:,.0f}", f"{row['peak_megabytes']:.1f}"]
        for row in lengths["rows"]
    ]
    grown = ", ".join(f"{name} grows to the power {slope}" for name, slope in lengths["exponents"].items())
    head = ["one update", "CPU ms", "times ours"]
    title = [f"statements of {lengths['settings']['stories']} stories", "CPU ms", "MB at the peak"]
    return f"{markdown(head, rows)}\n\n{markdown(title, cost)}\n\nWith the statements {grown}. {origin([document])}"


def concentration() -> str:
    """Updates of the agents, and the game alone."""
    document = read("concentration")
    if document is None:
        return NONE_YET
    rows = []
    for work in document["workloads"]:
        settings = work["settings"]
        times = {row["name"]: row["cpu_ms"]["median"] for row in work["contenders"]}
        ours, original = times["spikeloom"], settings.get("original_s")
        flips = settings["flips"] * (1 if work["name"] == "the game alone" else settings["games"])
        others = [f"{times[name]:,.0f}" if name in times else "" for name in ("definition", "floor")]
        known = f"{original:g} s ({1000 * original / ours:.0f}x)" if original else ""
        rows.append([work["name"], f"{ours:,.0f}", f"{1000 * flips / ours:,.0f}", *others, known])
    head = ["CPU ms", "ours", "flips per second", "definition", "floor", "the original, on another machine"]
    return markdown(head, rows) + "\n\n" + origin([document])


def stdp() -> str:
    """One presentation of the network of Diehl & Cook, per sample."""
    document = read("stdp")
    if document is None:
        return NONE_YET
    works = document["workloads"]
    names = list(dict.fromkeys(row["name"] for work in works for row in work["contenders"]))
    names.sort(key=lambda name: name.startswith("floor"))
    head = ["CPU ms per sample (times ours)", *(work["name"] for work in works)]
    rows = [[name, *(sample_cell(work, name) for work in works)] for name in names]
    return markdown(head, rows) + "\n\n" + origin([document])


def sample_cell(work: dict[str, Any], name: str) -> str:
    """The time of a contender for one sample."""
    shown = work["settings"]["batch"] * work["settings"]["presentations"]
    for row in work["contenders"]:
        if row["name"] == name:
            times = row["cpu_relative"]["median"]
            return f"{row['cpu_ms']['median'] / shown:.2f} ({times:.{0 if times >= 10 else 1}f}x)"
    return ""


def scaling() -> str:
    """One process and two."""
    document = read("scaling")
    if document is None:
        return NONE_YET
    rows = []
    for work in document["workloads"]:
        alone, both = (row["wall_ms"]["median"] for row in work["contenders"])
        cpu = [row["cpu_ms"]["median"] for row in work["contenders"]]
        efficiency = f"{work['efficiency']['2']:.0%}"
        rows.append([work["name"], f"{alone:,.0f}", f"{both:,.0f}", efficiency, f"{cpu[1] / cpu[0]:.2f}x"])
    head = ["an update, ms", "one process", "two", "efficiency", "CPU time of both"]
    return markdown(head, rows) + "\n\n" + origin([document])


def number(value: float) -> str:
    """Four digits, or all of a large number.

    >>> number(0.94487), number(14000.0)
    ('0.9449', '14000')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def spread(statistics: dict[str, float]) -> str:
    """Mean and standard deviation.

    >>> spread({"mean": 0.0312, "sd": 0.0105})
    '0.0312 ± 0.01'
    """
    mean, sd = statistics["mean"], statistics["sd"]
    return f"{mean:.0f} ± {sd:.0f}" if mean >= 100 else f"{mean:.3g} ± {sd:.1g}"


TABLES: dict[str, Callable[[], str]] = {
    "results": results, "spoken": spoken, "speed": speed, "sparse": sparse, "parallel": parallel, "rate": rate,
    "conversion": conversion, "stdp": stdp, "hebbian": hebbian,
    "stories": stories, "concentration": concentration,
    "memory": memory, "gpu": gpu,
}  # fmt: skip


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": TABLES,
    "docs/how-to/several-processes.md": {"scaling": scaling},
}


def fill(text: str, tables: dict[str, Callable[[], str]] = TABLES, page: str = "README") -> str:
    """The text with every table made anew.

    Raises:
        ValueError: a table has no place in the text.
    """
    for name, make in tables.items():
        pieces = re.split(rf"(<!-- /?{name} -->)", text)
        if pieces[1::2] != [f"<!-- {name} -->", f"<!-- /{name} -->"]:
            raise ValueError(f"The {page} needs <!-- {name} --> and then <!-- /{name} -->, once each.")
        pieces[2] = f"\n{make()}\n"
        text = "".join(pieces)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if the README is not up to date")
    check = parser.parse_args().check
    for page, tables in PAGES.items():
        before = (ROOT / page).read_text()
        after = fill(before, tables, page)
        if check and after != before:
            sys.exit(f"{page} is not up to date: run `python -m benchmarks.tables`.")
        if not check:
            (ROOT / page).write_text(after)
