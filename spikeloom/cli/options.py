"""The options of `spikeloom train TASK`, made from the fields of the task's Config by tyro."""

import ast
import contextlib
import dataclasses
import inspect
import io
import itertools
import json
import keyword
import math
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro

from ..errors import ConfigError
from ..train.config import Task, choices, preset, to_json
from ..train.parts import Options


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Options common to all tasks."""

    preset: str
    """Named configuration to start from; the options below change it."""
    seed: int = 0
    """Seed of everything random."""
    seeds: int = 1
    """Train this many runs with the seeds SEED, SEED + 1, ... and summarise them."""
    out: Path | None = None
    """Folder of the run, new or empty; by default runs/TASK-PRESET-seedN-TIME."""


def parse_options(task: Task, name: str, arguments: list[str]) -> tuple[TrainOptions, Any]:
    """Parse the options of `train` and the task's Config: the preset, with the given changes.

    Raises:
        ConfigError: an option or its value is invalid.
    """
    command = f"spikeloom train {name}"
    start = TrainOptions(preset=next(iter(task.PRESETS)))
    common, _ = parse(TrainOptions, start, arguments, command, add_help=False)
    defaults = preset(task, common.preset, f"Task {name}")
    parts = grouped(defaults)
    together = dataclasses.make_dataclass(
        "Options", [("run", TrainOptions), *((heading, type(part)) for heading, part in parts.items())]
    )
    about = f"{(task.__doc__ or name).strip()}\n\nPresets: {', '.join(task.PRESETS)}."
    flat = tyro.conf.OmitArgPrefixes[together]  # type: ignore[valid-type]
    parsed, rest = parse(flat, together(start, **parts), arguments, command, description=about)
    if rest:
        check_old_flags(f"train {name}", rest[0], arguments)
        fields = [field for kind in (start, defaults) for field in dataclasses.fields(kind)]
        raise unknown(command, rest[0], [f"--{field.name.replace('_', '-')}" for field in fields])
    config = type(defaults)(
        **{key: value for heading in parts for key, value in vars(getattr(parsed, heading)).items()}
    )
    check_numbers(config)
    return parsed.run, config


def grouped(config: Any) -> dict[str, Any]:
    """Split a Config into dataclasses by the class that introduces each field, for the headings of the help.

    >>> from spikeloom.train.parts import LearningRateOptions
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config(LearningRateOptions):
    ...     updates: int = 5
    ...     lr: float = 0.5
    >>> {heading: vars(part) for heading, part in grouped(Config()).items()}
    {'task': {'updates': 5}, 'learning_rate': {'lr': 0.5, 'lr_decay': 0.85, 'lr_decay_every': 720}}
    """
    kind = type(config)
    hints, texts = get_type_hints(kind, include_extras=True), documented(kind)
    return {
        heading: dataclasses.make_dataclass(
            heading, [(name, Annotated[hints[name], tyro.conf.arg(help=texts.get(name))]) for name in names]
        )(**{name: getattr(config, name) for name in names})
        for heading, names in headings(kind).items()
    }


def headings(kind: type[Any]) -> dict[str, list[str]]:
    """Return the fields of a Config by heading, those of the task itself first.

    A class that introduces one field alone has no heading: the field stands with those of the class that inherits it,
    else of the class that it inherits, else of the task.
    """
    introduced = {name: cls for cls in kind.__mro__ for name in inspect.get_annotations(cls)}
    names = {cls: [field.name for field in dataclasses.fields(kind) if introduced[field.name] is cls]
             for cls in kind.__mro__}  # fmt: skip
    for cls in reversed(kind.__mro__):
        if cls is kind or len(names[cls]) != 1:
            continue
        heirs = [other for other in kind.__mro__ if cls in other.__bases__ and other is not kind and names[other]]
        parents = [other for other in cls.__bases__ if names[other]]
        near = heirs[:1] or (parents if len(parents) == 1 else [])
        names[near[0] if near else kind] += names[cls]
        names[cls] = []
    result = dict[str, list[str]]()
    for cls in [cls for cls in kind.__mro__ if names[cls]]:
        words = re.findall("[A-Z]+(?![a-z])|[A-Z][a-z]+", cls.__name__.removesuffix("Options"))
        heading = "_".join(word if word.isupper() else word.lower() for word in words)
        if cls is kind or heading in ("", "run") or keyword.iskeyword(heading):
            heading = "task"
        result.setdefault(heading, []).extend(names[cls])
    return result


def documented(kind: type[Any]) -> dict[str, str]:
    """Return the docstrings under the fields of a dataclass, or of its bases where a field has none of its own.

    Lines are joined: the terminal is as wide as it is.
    """
    found = dict[str, str]()
    for cls in reversed(kind.__mro__):
        try:
            body = getattr(ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0], "body", [])
        except (OSError, TypeError, SyntaxError):  # no source, such as that of `object`
            continue
        for field, text in itertools.pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as words)):
                    found[name] = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(words))
    return found


def unknown(command: str, word: str, names: list[str]) -> ConfigError:
    """Return the error for a word that is neither an option nor the value of one."""
    if not word.startswith("-"):
        return ConfigError(
            f"{command} got {word!r}, which is neither an option nor the value of one. `{command} --help` lists them; "
            "a yes or no is --NAME or --no-NAME, without a value."
        )
    return ConfigError(f"{command} has no option {word!r}. {choices(word, names)}")


def check_numbers(options: Any) -> None:
    """Raise ConfigError if an option is NaN, or a learning rate is negative or infinite; for a Config of any class."""
    if isinstance(options, Options):  # they have checked themselves
        return
    for name, value in to_json(options).items():
        option = f"--{name.replace('_', '-')}"
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and math.isnan(number):
                raise ConfigError(f"{option} must be a number, but is nan. Give one.")
            if name == "lr" and isinstance(number, float) and not 0.0 <= number < math.inf:
                raise ConfigError(f"{option} must be a finite number of at least 0, but is {number}. Give such a one.")


def parse_changes(own: Any, arguments: list[str], command: str) -> tuple[dict[str, Any], list[str]]:
    """Parse changes to the options `own`; return all options as in config.json, and the words that are not options."""
    parsed, rest = parse(type(own), own, arguments, command, add_help=False)
    return to_json(parsed), rest


OLD_FLAGS = ("dist_url", "dist_backend", "rank", "world_size", "multiprocessing_distributed", "gpu")
"""Options of programs from before torchrun for distributed training, where a world was a number of machines."""


def flag(word: str) -> str:
    """Return the name of an option, without dashes and value.

    >>> flag("--dist-url=env://")
    'dist_url'
    """
    return word.partition("=")[0].lstrip("-").replace("-", "_")


def check_old_flags(command: str, word: str, arguments: list[str]) -> None:
    """Raise ConfigError with the equivalent torchrun command, if the word is an old flag."""
    if flag(word) in OLD_FLAGS:
        raise ConfigError(
            f"spikeloom {command} has no option {word!r}: torchrun starts the processes and tells them who they are. "
            f"Start with: {torchrun(command, arguments)}"
        )


def take(command: str, arguments: list[str], names: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Split off the given options, `--NAME VALUE` or `--NAME=VALUE`; return the other words, and the values by name.

    Raises:
        ConfigError: an option is given twice or has no value.

    >>> take("export", ["runs/a", "--format", "nir", "--out=b"], ("format", "out"))
    (['runs/a'], {'format': 'nir', 'out': 'b'})
    """
    check_repeated(command, arguments)
    rest, values, words = list[str](), dict[str, str](), iter(arguments)
    for word in words:
        if not word.startswith("--") or flag(word) not in names:
            rest.append(word)
            continue
        value = word.partition("=")[2] if "=" in word else next(words, "")
        if not value or value.startswith("--"):
            raise ConfigError(f"{command}: {word} needs a value, but none follows. Write {word.rstrip('=')} VALUE.")
        values[flag(word)] = value
    return rest, values


def check_repeated(command: str, arguments: list[str]) -> None:
    """Raise ConfigError if an option is given twice."""
    seen = dict[str, str]()
    for word in arguments:
        if word.startswith("--"):
            name = flag(word).removeprefix("no_")
            if name in seen:
                other = "" if seen[name] == word else f" ({seen[name]} and {word})"
                raise ConfigError(
                    f"{command} has the option --{name.replace('_', '-')} twice{other}. Give it once, with all values."
                )
            seen[name] = word


def is_value(word: str) -> bool:
    """Return whether a word is the value of an option, such as a negative number."""
    return not word.startswith("-") or word[1:].isdigit()


def torchrun(command: str, words: list[str]) -> str:
    """Return the torchrun command that is equivalent to the old flags among the words.

    >>> torchrun("train shd", ["--multiprocessing_distributed", "--dist_url", "env://"])
    'torchrun --standalone --nproc-per-node N -m spikeloom train shd'
    >>> torchrun("train shd", ["--rank", "0", "--updates", "5", "--gpu=0"])
    'torchrun --standalone --nproc-per-node N -m spikeloom train shd --updates 5'
    """
    pieces = [piece for word in words for piece in (word.split("=", 1) if word.startswith("-") else [word])]
    given = {flag(word): value for word, value in zip(pieces, [*pieces[1:], "-"], strict=True) if is_value(value)}
    machines = given.get("world_size", "1")
    line = "torchrun --standalone --nproc-per-node N"
    if machines.isdigit() and int(machines) > 1:
        address = given.get("dist_url", "").partition("://")[2] or "FIRST_MACHINE:29500"
        line = (
            f"torchrun --nnodes {machines} --node-rank {given.get('rank', 'K')} --nproc-per-node N "
            f"--rdzv-backend c10d --rdzv-endpoint {address}"
        )
    kept, skipped = list[str](), False
    for word in words:
        old = word.startswith("-") and flag(word) in OLD_FLAGS
        if not old and not (skipped and is_value(word)):
            kept.append(word)
        skipped = old and "=" not in word and flag(word) != "multiprocessing_distributed"
    return " ".join([f"{line} -m spikeloom {command}", *kept])


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """Options of `spikeloom table TASK`."""

    table: Annotated[str, tyro.conf.Positional] = ""
    """Name of the table; by default the first of the task."""
    seed: int = 0
    """First seed."""
    seeds: int = 3
    """Seeds of every cell: SEED, SEED + 1, ..."""
    out: Path | None = None
    """Folder of the table: a new one, or one to go on with; by default runs/TASK-table-NAME-seedsN-M-TIME."""
    set: tuple[str, ...] = ()
    """Options to change in all cells, as NAME=VALUE; several after one --set, or each after its own."""

    def changes(self) -> dict[str, Any]:
        """Return the options of `--set`, as in config.json.

        Raises:
            ConfigError: an option is not NAME=VALUE, or a name is given twice.
        """
        result = dict[str, Any]()
        for word in self.set:
            if not re.fullmatch(r"[^\s=]+=(\S(.*\S)?)?", word):
                raise ConfigError(
                    "--set takes options as NAME=VALUE, without spaces around the =, for example epochs=10, but got "
                    f"{word!r}."
                )
            name, _, value = word.partition("=")
            name = name.removeprefix("--").replace("-", "_")
            if name in result:
                raise ConfigError(f"--set has {name} twice, as {result[name]!r} and as {value!r}. Give it once.")
            try:
                result[name] = json.loads(value)
            except ValueError:
                result[name] = value
        return result


def parse_table(name: str, arguments: list[str], options: Iterable[str] = ()) -> TableOptions:
    """Parse the options of `spikeloom table`.

    Args:
        options: names of the task's options, which `--set` can change.

    Raises:
        ConfigError: an option or its value is invalid.
    """
    command = f"spikeloom table {name}"
    found, rest = parse(TableOptions, TableOptions(), together("set", arguments), command)
    if rest:
        if rest[0].startswith("--") and (own := flag(rest[0])) in options:
            raise ConfigError(f"{command} changes options of the task in all cells by --set: --set {own}=VALUE.")
        names = [f"--{field.name}" for field in dataclasses.fields(TableOptions) if field.name != "table"]
        raise unknown(command, rest[0], names)
    table: TableOptions = found
    if not table.set and any(word.startswith("--") and flag(word) == "set" for word in arguments):
        raise ConfigError("--set needs options as NAME=VALUE, for example --set epochs=10, but none follows.")
    return table


def together(name: str, arguments: list[str]) -> list[str]:
    """Move the values of an option that may be given several times behind one flag at the end.

    >>> together("set", ["--set", "a=1", "--seeds", "2", "--set=b=2"])
    ['--seeds', '2', '--set', 'a=1', 'b=2']
    """
    rest, values, inside = list[str](), list[str](), False
    for word in arguments:
        if word.startswith("--"):
            inside = flag(word) == name
            if inside:
                values += [word.partition("=")[2]] if "=" in word else []
                continue
        (values if inside else rest).append(word)
    return [*rest, f"--{name}", *values] if values or len(rest) < len(arguments) else rest


def parse(kind: Any, default: Any, arguments: list[str], command: str, **keywords: Any) -> tuple[Any, list[str]]:
    """Call tyro.cli; return the result and the unknown arguments, and raise its errors as ConfigError."""
    check_repeated(command, arguments)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: tuple[Any, list[str]] = tyro.cli(
                kind, default=default, args=arguments, prog=command, return_unknown_args=True, **keywords
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigError(f"{first_words(complaint.getvalue())} `{command} --help` lists the options.") from None
    return parsed


def first_words(complaint: str) -> str:
    """Return the message inside the box that tyro prints.

    >>> first_words("╭ Value error ───╮\\n│ Error parsing --lr: x │\\n│ ───── │\\n│ For full helptext ... │")
    'Error parsing --lr: x.'
    """
    lines = [line.strip(" │╭╮╰╯─-+|") if line.strip(" │╭╮╰╯-+|─") else "" for line in complaint.splitlines()]
    body = [line.strip() for line in lines if line][1:]
    end = next((i for i, line in enumerate(body) if line.startswith(("Argument helptext", "For full helptext"))), None)
    return " ".join(body[:end]).rstrip(".") + "."
