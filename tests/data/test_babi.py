"""bAbI: the exact format from a tar file, numbers of words, batches without padding, every way a file can be wrong."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from spikeloom.data import babi, members
from spikeloom.data.babi import Question, Questions, Vocabulary, load, parse, split
from spikeloom.errors import ConfigError, DataError
from tests import fixtures
from tests.fixtures.damage import attempt

DATA = Path(os.environ.get("SPIKELOOM_DATA") or "/nonexistent") / "babi"
needs_data = pytest.mark.skipif(not list(DATA.glob("*.tar.gz")), reason="not in $SPIKELOOM_DATA/babi: a tar file")

TEXT = """1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Daniel went back to the hallway.
5 Where is Daniel?\tHallway\t4 2
1 Sandra left.
2 Who left? \tsandra\t1
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    return tmp_path / "babi"


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def place(home: Path, **files: bytes) -> None:
    """A tar file with such files of task 1; names without the start and the end."""
    home.mkdir(exist_ok=True)
    path = "tasks_1-20_v1-2/en-10k/qa1_single-supporting-fact_"
    content = tar({f"{path}{name}.txt": data for name, data in files.items()})
    (home / "all.tar.gz").write_bytes(gzip.compress(content))


def test_a_question_is_about_all_statements_before_it() -> None:
    found = parse(TEXT.encode(), "a file")
    assert [" ".join(words) for words in found.statements] == [
        "mary moved to the bathroom", "john went to the hallway", "daniel went back to the hallway", "sandra left",
    ]  # fmt: skip
    assert found.questions == [
        Question(("where", "is", "mary"), "bathroom", 0, 2, 0),
        Question(("where", "is", "daniel"), "hallway", 0, 3, 0),
        Question(("who", "left"), "sandra", 3, 4, 1),
    ]
    assert found.longest() == 3
    assert found.head(1).questions == found.questions[:1]
    assert parse(TEXT.replace("\n", "\r\n").encode(), "a file") == found


def test_an_answer_may_be_a_list_and_stays_one_word() -> None:
    found = parse(b"1 A is north of B.\n2 How?\ts,n\t1\n", "a file")
    assert found.questions[0].answer == "s,n"
    assert "s,n" in Vocabulary.of([found]).words


def test_words_become_numbers_and_nothing_is_padded() -> None:
    found = parse(TEXT.encode(), "a file")
    known = Vocabulary.of([found])
    assert (known.words[0], known.slots, known.times) == ("back", 6, 0)
    assert list(known.words) == sorted(set(known.words))
    stories = known.encode(found)
    assert stories.lengths.tolist() == [2, 3, 1]
    batch = stories.batch(torch.tensor([2, 1]))
    assert (batch.statements.shape, batch.first.tolist(), batch.lengths.tolist()) == ((4, 6), [3, 0], [1, 3])

    def words(numbers: torch.Tensor) -> str:
        return " ".join(known.words[number - 1] if number else "_" for number in numbers.tolist())

    assert [words(row) for row in batch.statements] == [
        "mary moved to the bathroom _", "john went to the hallway _", "daniel went back to the hallway",
        "sandra left _ _ _ _",
    ]  # fmt: skip
    assert [words(row) for row in batch.query] == ["who left _ _ _ _", "where is daniel _ _ _"]
    assert [known.words[number] for number in batch.target.tolist()] == ["sandra", "hallway"]


def test_questions_share_their_story() -> None:
    found = parse(TEXT.encode(), "a file")
    stories = Vocabulary.of([found]).encode(found)
    batch = stories.batch(torch.tensor([1, 2, 0, 1]))
    assert (len(batch.statements), batch.first.tolist(), batch.lengths.tolist()) == (4, [0, 3, 0, 0], [3, 1, 2, 3])
    assert torch.equal(batch.statements, stories.statements)
    timed = Vocabulary.of([found], time_words=True).encode(found).batch(torch.tensor([1, 2, 0, 1]))
    assert (len(timed.statements), timed.first.tolist()) == (9, [0, 3, 4, 6])
    kept = stories.select(torch.tensor([0, 2]))
    assert [kept.of(torch.tensor(numbers)).tolist() for numbers in ([0, 1], [1], [0])] == [[0, 1], [1], [0]]
    assert stories.of(torch.tensor([0])).tolist() == [0, 1]


def test_time_words_stand_in_the_last_place_and_count_backwards() -> None:
    found = parse(TEXT.encode(), "a file")
    known, plain = Vocabulary.of([found], time_words=True), Vocabulary.of([found])
    assert (known.words, known.slots, known.times) == (plain.words, plain.slots + 1, 3)
    batch = known.encode(found).batch(torch.tensor([1, 2, 0]))
    first = len(known.words) + 1
    assert batch.statements[:, -1].tolist() == [first + 2, first + 1, first, first, first + 1, first]
    assert batch.query[:, -1].tolist() == [0, 0, 0]
    wanted = plain.encode(found).batch(torch.tensor([1, 2, 0]))
    assert torch.equal(batch.statements[:4, :-1], wanted.statements)
    assert torch.equal(batch.statements[4:, :-1], wanted.statements[:2])
    assert torch.equal(batch.target, wanted.target)


def test_what_the_network_does_not_know_is_refused() -> None:
    short, long = b"1 A b.\n2 A?\tb\t1\n", b"1 A b.\n2 A b b.\n3 A?\tb\t1\n"
    known = Vocabulary.of([parse(short, "short")])
    with pytest.raises(DataError, match=r"The test file says 'c', which is none of the 2 words that the network knows"):
        known.encode(parse(b"1 A b.\n2 A?\tc\t1\n", "other"), "The test file")
    with pytest.raises(DataError, match=r"says 'zebra'"):
        known.encode(parse(b"1 Zebra b.\n2 A?\tb\t1\n", "other"))
    with pytest.raises(DataError, match=r"a sentence of 3 words, 'a b b', but the network knows 2 places"):
        known.encode(parse(long, "other"))
    timed = Vocabulary(known.words, 4, 1)
    with pytest.raises(DataError, match=r"a story of 2 statements, but the network knows 1 time words"):
        timed.encode(parse(long, "other"))


def test_whole_stories_are_set_aside() -> None:
    statements: list[tuple[str, ...]] = [("a",)] * 20
    asked = [Question(("a",), "a", story, story + 1, story) for story in range(20) for _ in range(3)]
    stories = Vocabulary.of([Questions(statements, asked)]).encode(Questions(statements, asked))
    training, validation = split(stories, 0.1, torch.Generator().manual_seed(0))
    assert len(validation.target) == 6
    assert set(training.story.tolist()) | set(validation.story.tolist()) == set(range(20))
    assert not set(training.story.tolist()) & set(validation.story.tolist())
    again = split(stories, 0.1, torch.Generator().manual_seed(0))[1]
    assert torch.equal(again.story, validation.story)
    for share in (0.0, 0.01, 1.0):
        with pytest.raises(ConfigError, match=r"leaves nothing to train on|a share between 0 and 1"):
            split(stories, share, torch.Generator())


def test_a_tar_file_and_what_was_in_it_give_the_same(home: Path) -> None:
    fixtures.babi.write(home.parent, (1, 3))
    packed = load(3)
    (archive,) = home.glob("*")
    with tarfile.open(archive) as opened:
        opened.extractall(home, filter="data")
    archive.unlink()
    unpacked = load(3)
    assert (unpacked.train, unpacked.test) == (packed.train, packed.test)
    assert [entry["sha256"] for entry in unpacked.data] == [entry["sha256"] for entry in packed.data]
    fewer = load(3, ten_k=False)
    assert fewer.test == packed.test
    assert fewer.train.questions == packed.train.questions[: len(fewer.train.questions)]
    with tarfile.open(home / "plain.tar", "w") as opened:
        opened.add(home / "tasks_1-20_v1-2", "tasks_1-20_v1-2")
    assert load(3).test == packed.test


def test_examples_are_equal_for_equal_seeds_and_their_answers_are_right(home: Path, tmp_path: Path) -> None:
    folders = home.parent, tmp_path / "again", tmp_path / "other"
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        fixtures.babi.write(folder, (1,), seed=seed)
    contents = [(folder / "babi" / babi.ARCHIVE).read_bytes() for folder in folders]
    assert contents[0] == contents[1] != contents[2]
    train, test, data = load(1)
    assert {question.story for question in train.questions} == set(range(40))
    for question in [*train.questions, *test.questions]:
        file = train if question in train.questions else test
        told = [words for words in file.statements[question.first : question.last] if words[0] == question.words[2]]
        assert told[-1][-1] == question.answer
    assert [entry["count"] for entry in data] == [len(train.questions), len(test.questions)]
    assert data[0]["note"] == f"{len(train.questions)} of the 10,000 official training questions"


def test_what_is_missing_is_said(home: Path) -> None:
    with pytest.raises(ConfigError, match="bAbI has the tasks 1 to 20, but got 21"):
        load(21)
    with pytest.raises(DataError, match=r"there is no .*babi. Get tasks_1-20_v1-2.tar.gz from https://research"):
        load(1)
    home.mkdir()
    with pytest.raises(DataError, match=r"babi holds no file like en-10k/qa1_..._train.txt. Get"):
        load(1)
    place(home, train=TEXT.encode())
    with pytest.raises(DataError, match=r"all.tar.gz holds no file like en-10k/qa1_..._test.txt. Get"):
        load(1)
    with pytest.raises(DataError, match=r"The 1,000 questions of en|the 1,000 questions of en are the first 1,000"):
        load(1, ten_k=False)
    (home / "other.tgz").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds 2 tar files: all.tar.gz, ... Leave one of them there"):
        load(1)


def test_two_files_of_a_task_are_refused(home: Path) -> None:
    home.mkdir()
    files = {f"en-10k/qa1_{name}_train.txt": TEXT.encode() for name in ("one", "two")}
    (home / "a.tar.gz").write_bytes(gzip.compress(tar(files)))
    with pytest.raises(DataError, match=r"holds en-10k/qa1_one_train.txt and en-10k/qa1_two_train.txt, but one file"):
        load(1)


broken = {
    "empty": ("", "holds no question"),
    "statements only": ("1 Mary left.\n", "holds no question"),
    "cut": (TEXT[:-3], "is cut short: its last line does not end"),
    "blank line": ("1 Mary left.\n\n", r"line 2 is '', but a number, a space and a sentence were expected"),
    "no number": ("Mary left.\n", r"line 1 is 'Mary left.', but a number"),
    "huge number": (f"{'9' * 5000} Mary left.\n", r"line 1 is '9+\.\.\.', but a number"),
    "starts at 2": ("2 Mary left.\n", "line 1 has the number 2 after 0"),
    "leading zero": ("01 Mary left.\n", r"line 1 is '01 Mary left.', but a number"),
    "no question": ("1 A b.\n1 A b.\n2 A?\tb\t1\n", "line 2 begins a story, but the one before it has no question"),
    "two in a line": ("1 Mary left. 2 John left.\n", "but 1 to 100 words of letters"),
    "two in a line, old ends": (
        "1 Mary left.\r2 John left.\n",
        "but a number, a space and a sentence|words of letters",
    ),
    "control character": ("1 Mary l\0ft.\n", "but 1 to 100 words of letters"),
    "jump": ("1 Mary left.\n3 Who left?\tMary\t1\n", "line 2 has the number 3 after 1, but the next one, or 1"),
    "back": ("1 A b.\n2 A b.\n2 A b.\n", "line 3 has the number 2 after 2"),
    "no tabs": ("1 Mary left.\n2 Who left? Mary 1\n", r"line 2 has the statement 'Who left\? Mary 1', but 1 to 100 w"),
    "no tabs, no answer": ("1 Mary left.\n2 Who left?\n", "A question needs tabs before its answer and its facts"),
    "one tab": ("1 Mary left.\n2 Who left?\tMary 1\n", "with 1 tabs, but a question has two"),
    "three tabs": ("1 Mary left.\n2 Who left?\tMary\t1\t1\n", "with 3 tabs"),
    "no stop": (
        "1 Mary left\n",
        r"the statement 'Mary left', but 1 to 100 words of letters and then '\.' were expected",
    ),
    "no question mark": ("1 Mary left.\n2 Who left\tMary\t1\n", r"the question 'Who left', but .* then '\?'"),
    "no words": ("1 .\n", r"the statement '\.', but 1 to 100 words"),
    "many words": (f"1 {'a ' * 101}.\n", "1 to 100 words"),
    "no answer": ("1 Mary left.\n2 Who left?\t \t1\n", "lacks an answer"),
    "question first": ("1 Who left?\tMary\t\n", "lacks a statement before the question"),
    "question first in the second story": (f"{TEXT}1 Who left?\tMary\t\n", "line 8 .* lacks a statement before"),
    "fact ahead": ("1 Mary left.\n2 Who left?\tMary\t3\n3 A b.\n", "follows from line '3' of its story"),
    "fact is a question": ("1 A b.\n2 A?\tb\t1\n3 A?\tb\t2\n", "follows from line '2'"),
    "fact of another story": ("1 A b.\n2 A b.\n3 A?\tb\t1\n1 A b.\n2 A?\tb\t2\n", "which is no statement before it"),
    "fact is a word": ("1 A b.\n2 A?\tb\tone\n", "follows from line 'one'"),
}


@pytest.mark.parametrize("name", broken)
def test_a_malformed_file_is_refused(name: str, home: Path) -> None:
    text, message = broken[name]
    place(home, train=text.encode(), test=TEXT.encode())
    with pytest.raises(DataError, match=message) as error:
        load(1)
    assert "qa1_single-supporting-fact_train.txt in " in str(error.value)
    assert str(home) in str(error.value)


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="a file is no text: byte 2 is not UTF-8"):
        parse(b"1 \xff.\n", "a file")


def test_damaged_archives_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = tar({"en-10k/qa1_a_train.txt": TEXT.encode(), "en-10k/qa1_a_test.txt": TEXT.encode()})
    packed = gzip.compress(good, mtime=0)

    def refused(content: bytes, message: str) -> None:
        home.mkdir(exist_ok=True)
        (home / "a.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match=message):
            load(1)

    refused(b"", "is a damaged tar file")
    refused(b"hello" * 300, "is a damaged tar file")
    refused(packed[:-30], "is a damaged tar file")
    refused(good[:700], "is a damaged tar file|is cut short")
    wrong = bytearray(packed)
    wrong[-7] ^= 1  # the checksum, which stands behind the last member
    refused(bytes(wrong), "is a damaged tar file .*CRC")
    refused(gzip.compress(tar({"../en-10k/qa1_a_train.txt": b""})), "which leaves the archive")
    refused(gzip.compress(tar({"/en-10k/qa1_a_train.txt": b""})), "which leaves the archive")
    refused(gzip.compress(good[:1024] + good), "twice")
    monkeypatch.setattr(babi, "LARGEST", 100)
    refused(packed, "more than 100")
    monkeypatch.setattr(babi, "LARGEST", 1 << 20)
    monkeypatch.setattr(members, "LARGEST_SET", 100)
    refused(packed, "unpacks to an absurd size")


def forged(kind: bytes, size: bytes) -> bytes:
    """A header of 512 bytes with a right checksum and a wrong size."""
    header = bytearray(tarfile.TarInfo("en-10k/qa1_a_train.txt").tobuf())
    header[124:136], header[156:157] = size, kind
    header[148:156] = b"        "
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


@pytest.mark.parametrize("kind", [b"0", b"5", b"x", b"g", b"L", b"S"])
@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"\x80" + b"\x7f" * 11, b"\xff" * 10 + b"\xfe\0", b"\xff" * 11 + b"\x00"]
)
def test_forged_sizes_neither_fill_the_memory_nor_lead_in_circles(kind: bytes, size: bytes, home: Path) -> None:
    home.mkdir()
    (home / "a.tar.gz").write_bytes(gzip.compress(bytes(512) * 0 + forged(b"0", b"00000000000\0") + forged(kind, size)))
    with pytest.raises(DataError, match=r"a\.tar\.gz"):
        load(1)


lines = some.lists(
    some.one_of(
        some.sampled_from(TEXT.splitlines()),
        some.from_regex(r"[0-9]{0,3} ?[a-c ]{0,6}[.?]?(\t[a-c,]{0,3}(\t[0-9 ]{0,5})?)?", fullmatch=True),
        some.text(alphabet="ab .?\t123\r\x0b\x85\u2028é", max_size=20),
    ),
    max_size=12,
)


@given(lines=lines, end=some.sampled_from(["\n", "", "\r\n"]))
@settings(deadline=None, max_examples=150)
def test_any_text_is_read_or_refused(lines: list[str], end: str) -> None:
    found = attempt(lambda: parse((end or "\n").join(lines).encode() + end.encode(), "a file"))
    if isinstance(found, DataError):
        assert "a file" in str(found)
        return
    assert isinstance(found, Questions)
    stories = Vocabulary.of([found], time_words=True).encode(found)
    batch = stories.batch(torch.arange(len(stories.target)))
    assert int(batch.lengths.min()) > 0
    assert len(batch.statements) == int(batch.lengths.sum())


@given(data=some.binary(max_size=300))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    found = attempt(lambda: parse(data, "a file"))
    assert isinstance(found, DataError | Questions)


@given(
    changes=some.lists(some.tuples(some.integers(0, 5000), some.integers(0, 255)), min_size=1, max_size=6),
    end=some.integers(600, 6000),
    packed=some.booleans(),
)
@settings(deadline=None, max_examples=300)
def test_damaged_tar_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], end: int, packed: bool
) -> None:
    here = tmp_path_factory.mktemp("babi")
    damaged = bytearray(tar({f"en-10k/qa1_a_{kind}.txt": TEXT.encode() for kind in ("train", "test")}))
    for where, value in changes:
        damaged[where % 2048] = value
    content = bytes(damaged[:end])
    (here / "a.tar.gz").write_bytes(gzip.compress(content) if packed else content)
    found = attempt(lambda: load(1, here=here))
    assert isinstance(found, DataError | babi.Files)


@needs_data
@pytest.mark.parametrize(
    ("task", "train", "test", "words", "longest"),
    [(1, 10_000, 800, 19, 10), (3, 1_925, 800, 34, 228), (18, 10_000, 797, 18, 20)],
)
def test_the_real_files(task: int, train: int, test: int, words: int, longest: int) -> None:
    found = load(task, here=DATA)
    assert (len(found.train.questions), len(found.test.questions)) == (train, test)
    assert len(Vocabulary.of([found.train, found.test]).words) == words
    assert found.train.longest() == longest
    partial = "1,925 of the 10,000 official training questions" in found.data[0]["note"]
    assert partial == (task == 3)


@needs_data
@pytest.mark.slow
def test_every_real_file_is_read() -> None:
    for task in range(1, 21):
        found = load(task, here=DATA)
        known = Vocabulary.of([found.train])
        assert len(known.encode(found.test).target) in (797, 800)


def test_the_files_of_a_split_are_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"bAbI has the splits train and test, but got 'valid'. Hold out stories"):
        babi.describe("valid")  # type: ignore[arg-type]
    (tmp_path / "babi" / "en").mkdir(parents=True)
    (tmp_path / "babi" / "en" / "qa4_two-arg-relations_train.txt").write_bytes(
        b"1 Mary left.\n2 Who left? \tMary\t1\n" * 1_000
    )
    (found,) = babi.describe("train")
    assert found["file"] == "en/qa4_two-arg-relations_train.txt"
    assert found["note"] == "all 1,000 official training questions"
    with pytest.raises(DataError, match=r"babi holds no file like en-10k/qa1_..._test.txt. Get tasks_1-20_v1-2.tar.gz"):
        babi.describe("test")
