"""bAbI question answering (version 1.2): twenty tasks in English, read from the tar file.

    tasks_1-20_v1-2/en-10k/qa1_single-supporting-fact_train.txt      (en: 1,000 training questions, en-10k: 10,000)

    1 Mary moved to the bathroom.
    2 Where is Mary? TAB bathroom TAB 1

Lines are numbered; number 1 begins a story. A statement ends with a full stop. A question ends with a question mark and
is followed by the answer and the numbers of its supporting statements; it is about all statements before it. Words are
in lower case; an answer is one word, even where it is a list ("n,s").
Source: Weston et al., Towards AI-complete question answering, 2015 (arXiv:1502.05698), CC BY 3.0.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, DataError
from .fetch import About, DataFile, Description, folder
from .members import Members, read_tar

Sentence = tuple[str, ...]

TASKS = (
    "single supporting fact", "two supporting facts", "three supporting facts", "two argument relations",
    "three argument relations", "yes or no questions", "counting", "lists and sets", "simple negation",
    "indefinite knowledge", "basic coreference", "conjunction", "compound coreference", "time reasoning",
    "basic deduction", "basic induction", "positional reasoning", "size reasoning", "path finding",
    "agents' motivations",
)  # fmt: skip
"""Subjects of the twenty tasks, in order."""
URL = "https://research.facebook.com/downloads/babi"
ARCHIVE = "tasks_1-20_v1-2.tar.gz"
OFFICIAL = {"en": 1_000, "en-10k": 10_000, "test": 1_000}
"""Number of questions per task: two training sizes, and the test set."""
_ADDRESSES = (
    "https://dl.fbaipublicfiles.com/parlai/babi/babi.tar.gz",
    "http://parl.ai/downloads/babi/babi.tar.gz",
    "http://www.thespermwhale.com/jaseweston/babi/tasks_1-20_v1-2.tar.gz",
)
# The first two addresses are those of ParlAI, of the same company, whose archive adds variants of the tasks; the last
# is the original one. The SHA-256 are those of ParlAI and of Hugging Face Datasets.
FILES = (
    DataFile(
        ARCHIVE, "", _ADDRESSES, 20 * (OFFICIAL["en-10k"] + OFFICIAL["test"]), "questions",
        ("*.tar.gz", "*.tgz", "*.tar", "**/qa1_*_train.txt"),
        (
            "f7f0bee187efca0d81c3daac1b162cda4eb7f9505dee5ad6846eabbed3dbf92e",
            "0364ebde659f14d11bc21744516c5ec49d3d06cb692733f66680771244998898",
        ),
    ),
)  # fmt: skip
ABOUT = About("questions about short stories, 20 tasks of 10,000 training and 1,000 test questions", "CC BY 3.0", URL)
LARGEST = 1 << 25
"""Maximum size of one file in bytes; the longest official file has fewer than six million."""
MOST_WORDS = 100
"""Maximum number of words in a sentence; the longest official one has 11."""
LINE = re.compile(r"([1-9][0-9]{0,5}) (.*)")


class Question(NamedTuple):
    """Question, its answer, and the range of statements it is about."""

    words: Sentence
    answer: str
    first: int  # index of the first statement of its story
    last: int  # index after the last statement before it
    story: int  # number of its story in the file


class Questions(NamedTuple):
    """Statements and questions of one file."""

    statements: list[Sentence]
    questions: list[Question]

    def longest(self) -> int:
        """Return the largest number of statements before a question."""
        return max(question.last - question.first for question in self.questions)

    def head(self, count: int) -> "Questions":
        """Return the first `count` questions."""
        return self._replace(questions=self.questions[:count])


class Files(NamedTuple):
    """Training and test questions of one task."""

    train: Questions
    test: Questions
    data: list[Description]


@explained
def check_task(task: int) -> None:
    """Raise ConfigError unless `task` is the number of a task."""
    if not 1 <= task <= len(TASKS):
        raise ConfigError(f"bAbI has the tasks 1 to {len(TASKS)}, but got {task}. Choose one of them.")


@explained
def load(task: int, ten_k: bool = True, here: Path | str | None = None) -> Files:
    """Load the training and test questions of a task.

    Args:
        ten_k: 10,000 training questions (en-10k) instead of 1,000 (en); the test set is the same.
        here: folder of the data set, by default `babi` in the data folder; holds the tar file or its extracted content.

    Raises:
        ConfigError: there is no such task.
        DataError: a file is missing, damaged or malformed.
    """
    check_task(task)
    here = folder("babi") if here is None else Path(here)
    part = "en-10k" if ten_k else "en"
    source, found = _contents(here, re.compile(rf"(?:.*/)?{part}/qa{task}_[a-z0-9-]+_(train|test)\.txt"))
    questions, data = [], []
    for split, official in (("train", OFFICIAL[part]), ("test", OFFICIAL["test"])):
        names = [name for name in found if name.endswith(f"_{split}.txt")]
        if len(names) != 1:
            raise DataError(_how_many(here, source, part, f"{part}/qa{task}_..._{split}.txt", names))
        (name,) = names
        questions.append(parse(found[name], f"{name} in {source}"))
        data.append(_describe(name, found[name], len(questions[-1].questions), split, official))
    return Files(questions[0], questions[1], data)


@explained
def describe(split: Literal["train", "test"]) -> list[Description]:
    """Describe the files of all tasks for one split: name, hash, number of questions, difference from the official one.

    Raises:
        ConfigError: the split is unknown.
        DataError: there is no file of that split, or one is damaged or malformed.
    """
    if split not in ("train", "test"):
        raise ConfigError(f"bAbI has the splits train and test, but got {split!r}. Hold out stories to validate.")
    here = folder("babi")
    for part in ("en-10k", "en"):
        source, found = _contents(here, re.compile(rf"(?:.*/)?{part}/qa[0-9]+_[a-z0-9-]+_{split}\.txt"))
        if found:
            official = OFFICIAL["test" if split == "test" else part]
            counts = {name: len(parse(data, f"{name} in {source}").questions) for name, data in found.items()}
            return [_describe(name, found[name], count, split, official) for name, count in counts.items()]
    raise DataError(f"{source} holds no file like en-10k/qa1_..._{split}.txt. {advice()}")


@explained
def parse(data: bytes, name: str) -> Questions:
    """Parse the content of a bAbI file.

    Args:
        name: file name used in error messages.

    Raises:
        DataError: the file is empty, truncated or not UTF-8; a line has a wrong number, lacks a tab or its final sign;
            or an answer refers to a line that is not an earlier statement of its story.

    >>> file = parse(b"1 Mary left.\\n2 Who left? \\tMary\\t1\\n", "a file")
    >>> file.statements, file.questions[0].words, file.questions[0].answer
    ([('mary', 'left')], ('who', 'left'), 'mary')
    """
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is no text: byte {error.start} is not UTF-8. {advice()}") from error
    if text and not text.endswith("\n"):
        raise DataError(f"{name} is cut short: its last line does not end. {advice()}")
    statements: list[Sentence] = []
    questions: list[Question] = []
    places: dict[int, int] = {}  # line number -> statement index
    first = last_number = story = 0
    for row, line in enumerate(text.split("\n")[:-1], 1):
        where = f"{name}, line {row}"
        numbered = LINE.fullmatch(line)
        if numbered is None:
            raise DataError(f"{where} is {shown(line)}, but a number, a space and a sentence were expected. {advice()}")
        number, rest = int(numbered[1]), numbered[2]
        if number == 1:
            if story and (not questions or questions[-1].story < story - 1):
                raise DataError(f"{where} begins a story, but the one before it has no question. {advice()}")
            places, first = {}, len(statements)
            story += 1
        elif number != last_number + 1:
            raise DataError(
                f"{where} has the number {number} after {last_number}, but the next one, or 1 for a new story, was "
                f"expected. {advice()}"
            )
        last_number = number
        parts = rest.split("\t")
        if len(parts) == 1:
            places[number] = len(statements)
            statements.append(_words(rest, ".", where))
        elif len(parts) == 3:
            answer = parts[1].strip().lower()
            if not answer or len(statements) == first:
                missing = "an answer" if len(statements) > first else "a statement before the question"
                raise DataError(f"{where} is {shown(line)}, but lacks {missing}. {advice()}")
            for fact in parts[2].split():
                if not (fact.isascii() and fact.isdigit() and len(fact) < 7 and int(fact) in places):
                    raise DataError(
                        f"{where} has an answer that follows from line {fact[:20]!r} of its story, which is no "
                        f"statement before it. {advice()}"
                    )
            questions.append(Question(_words(parts[0], "?", where), answer, first, len(statements), story - 1))
        else:
            raise DataError(
                f"{where} is {shown(line)}, with {len(parts) - 1} tabs, but a question has two: before its answer and "
                f"before the numbers of statements. {advice()}"
            )
    if not questions:
        raise DataError(f"{name} holds no question. {advice()}")
    return Questions(statements, questions)


class StoryBatch(NamedTuple):
    """Batch of questions as word indices, padded with 0."""

    statements: Tensor  # int64 [L, P], concatenated over stories
    first: Tensor  # int64 [B], index of the first statement before each question
    lengths: Tensor  # int64 [B], number of statements before each question
    query: Tensor  # int64 [B, P]
    target: Tensor  # int64 [B], index into `Vocabulary.words`

    def to(self, device: torch.device) -> "StoryBatch":
        """Return the batch on `device`."""
        return StoryBatch(*(tensor.to(device) for tensor in self))


class Stories(NamedTuple):
    """Questions of a file as word indices; see `Vocabulary.encode`."""

    statements: Tensor  # int64 [all statements of the file, P]
    first: Tensor  # int64 [N]
    last: Tensor  # int64 [N]
    query: Tensor  # int64 [N, P]
    target: Tensor  # int64 [N]
    story: Tensor  # int64 [N]
    time: int  # index of the time word of the latest statement; 0 without time words

    @property
    def lengths(self) -> Tensor:
        """Number of statements before each question, int64 [N]."""
        return self.last - self.first

    def select(self, chosen: Tensor) -> "Stories":
        """Return the questions with the given indices."""
        return self._replace(
            first=self.first[chosen], last=self.last[chosen], query=self.query[chosen], target=self.target[chosen],
            story=self.story[chosen],
        )  # fmt: skip

    def batch(self, chosen: Tensor) -> StoryBatch:
        """Return the questions with the given indices and their statements, concatenated without padding.

        Questions about the same story share its statements, unless time words make them differ.

        >>> asked = [Question(("a",), "b", 0, 1, 0), Question(("b",), "b", 0, 2, 0), Question(("c",), "c", 2, 3, 1)]
        >>> files = Questions([("a",), ("b",), ("c",)], asked)
        >>> batch = Vocabulary.of([files]).encode(files).batch(torch.tensor([2, 1, 0]))
        >>> batch.statements.flatten().tolist(), batch.first.tolist(), batch.lengths.tolist()
        ([1, 2, 3], [2, 0, 0], [1, 2, 1])
        """
        first, lengths = self.first[chosen], self.lengths[chosen]
        begins, story, longest = first, torch.arange(len(chosen)), lengths
        if not self.time:
            begins, story = torch.unique(first, return_inverse=True)
            longest = torch.zeros_like(begins).scatter_reduce(0, story, lengths, "amax")
        ends = longest.cumsum(0)
        behind = ends.repeat_interleave(longest) - torch.arange(int(longest.sum()))  # 1 for the latest
        statements = self.statements[(begins + longest).repeat_interleave(longest) - behind]
        if self.time:
            statements = torch.cat([statements[:, :-1], (self.time + behind - 1).unsqueeze(1)], 1)
        return StoryBatch(statements, (ends - longest)[story], lengths, self.query[chosen], self.target[chosen])

    def of(self, numbers: Tensor) -> Tensor:
        """Return the indices of the questions about the given stories, which are numbered from 0 in file order."""
        known = torch.unique(self.story)
        return torch.isin(self.story, known[numbers]).nonzero().flatten()


@explained
@dataclass(frozen=True)
class Vocabulary:
    """Vocabulary of a task: its words in alphabetical order, numbered from 1, and the sentence length."""

    words: tuple[str, ...]
    slots: int
    """Number of words in the longest sentence, plus one if there are time words."""
    times: int = 0
    """Number of time words, which encode how many statements ago a statement was made; numbered after all words."""

    def __post_init__(self) -> None:
        if not isinstance(self.words, tuple) or not all(isinstance(word, str) for word in self.words):
            raise ConfigError(f"Vocabulary needs words as a tuple of texts, but got {str(self.words)[:60]}.")

    @classmethod
    def of(cls, files: list[Questions], time_words: bool = False) -> "Vocabulary":
        """Create the vocabulary of the given files."""
        sentences = [sentence for file in files for sentence in file.statements]
        sentences += [question.words for file in files for question in file.questions]
        answers = {question.answer for file in files for question in file.questions}
        words = answers.union(*sentences)
        slots = max(len(sentence) for sentence in sentences)
        times = max(file.longest() for file in files) if time_words else 0
        return cls(tuple(sorted(words)), slots + time_words, times)

    def encode(self, file: Questions, name: str = "The file") -> Stories:
        """Encode the questions of a file as word indices.

        Raises:
            DataError: a word or an answer is not in the vocabulary, or a sentence or a story is too long for it.
        """
        numbers = {word: number for number, word in enumerate(self.words, 1)}

        def number(word: str) -> int:
            if word not in numbers:
                raise DataError(
                    f"{name} says {shown(word)}, which is none of the {len(self.words)} words that the network knows. "
                    "Use the files it was trained with."
                )
            return numbers[word]

        def row(sentence: Sentence) -> list[int]:
            room = self.slots - (self.times > 0)
            if len(sentence) > room:
                raise DataError(
                    f"{name} holds a sentence of {len(sentence)} words, {shown(' '.join(sentence))}, but the network "
                    f"knows {room} places. Use the files it was trained with."
                )
            return [*(number(word) for word in sentence), *[0] * (self.slots - len(sentence))]

        if self.times and file.longest() > self.times:
            raise DataError(
                f"{name} holds a story of {file.longest()} statements, but the network knows {self.times} time words. "
                "Use the files it was trained with."
            )
        asked = file.questions
        return Stories(
            statements=torch.tensor([row(sentence) for sentence in file.statements]),
            first=torch.tensor([question.first for question in asked]),
            last=torch.tensor([question.last for question in asked]),
            query=torch.tensor([row(question.words) for question in asked]),
            target=torch.tensor([number(question.answer) - 1 for question in asked]),
            story=torch.tensor([question.story for question in asked]),
            time=len(self.words) + 1 if self.times else 0,
        )


@explained
def split(stories: Stories, share: float, generator: torch.Generator) -> tuple[Stories, Stories]:
    """Randomly split whole stories into a training and a validation set.

    Args:
        share: fraction of the stories to hold out for validation, between 0 and 1.

    Raises:
        ConfigError: `share` is out of range, or one of the two sets is empty.
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"split needs a share between 0 and 1, but got {share}.")
    known = torch.unique(stories.story)
    order = known[torch.randperm(len(known), generator=generator)]
    held = torch.isin(stories.story, order[: round(share * len(known))])
    if held.all() or not held.any():
        raise ConfigError(
            f"A share of {share} of {len(known)} stories leaves nothing to train on or to validate with. Change it."
        )
    return stories.select((~held).nonzero().flatten()), stories.select(held.nonzero().flatten())


def advice() -> str:
    """Return the instruction where to get the files."""
    return f"Get {ARCHIVE} from {URL} and put it into {folder('babi')}, or run `spikeloom data fetch babi`."


@explained
def shown(text: str) -> str:
    """Return `text` quoted for a message, shortened to 80 characters."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _words(sentence: str, end: str, where: str) -> Sentence:
    """Split a sentence into words; it must end with the sign `end`."""
    plain = sentence.strip()
    words = tuple(plain[:-1].lower().split())
    merged = any(sign in word or not word.isprintable() for word in words for sign in ".?")
    if not plain.endswith(end) or not 0 < len(words) <= MOST_WORDS or merged:
        kind = "statement" if end == "." else "question"
        hint = " A question needs tabs before its answer and its facts." if plain.endswith("?") and end == "." else ""
        raise DataError(
            f"{where} has the {kind} {shown(sentence)}, but 1 to {MOST_WORDS} words of letters and then "
            f"{end!r} were expected."
            f"{hint} {advice()}"
        )
    return words


def _contents(here: Path, pattern: re.Pattern[str]) -> tuple[Path, dict[str, bytes]]:
    """Return the source (tar file or folder) and the contents of the matching files by name."""
    if not here.is_dir():
        raise DataError(f"The bAbI tasks are missing: there is no {here}. {advice()}")
    archives = sorted([*here.glob("*.tar.gz"), *here.glob("*.tgz"), *here.glob("*.tar")])
    if len(archives) > 1:
        raise DataError(f"{here} holds {len(archives)} tar files: {archives[0].name}, ... Leave one of them there.")
    if archives:
        return archives[0], read_tar(archives[0], pattern, advice(), LARGEST)
    members = Members.find(here, pattern, advice(), LARGEST)
    return here, dict(zip(members.sizes, members.read(list(members.sizes)), strict=True))


def _how_many(here: Path, source: Path, part: str, like: str, names: list[str]) -> str:
    """Return the error message for a missing or repeated file."""
    if names:
        return f"{source} holds {' and '.join(names)}, but one file {like} was expected. Leave one of them there."
    other = ""
    if part == "en" and _contents(here, re.compile(r"(?:.*/)?en-10k/qa[0-9]+_[a-z0-9-]+_train\.txt"))[1]:
        other = " It has the larger files: the 1,000 questions of en are the first 1,000 of en-10k."
    return f"{source} holds no file like {like}.{other} {advice()}"


def _describe(name: str, content: bytes, count: int, split: str, official: int) -> Description:
    kind = "training" if split == "train" else "test"
    note = f"{count:,} of the {official:,} official {kind} questions"
    if count == official:
        note = f"all {count:,} official {kind} questions"
    elif count > official:
        note = f"{count:,} {kind} questions; the official file has {official:,}"
    return Description(
        file=name, sha256=hashlib.sha256(content).hexdigest(), count=count, official_count=official, note=note
    )
