"""bAbI: read a story of some sentences, then answer a question about it.

One network is trained per bAbI task (`qa`). A sentence is a constant input, the sum of its word embeddings with learned
position weights; the sentences are written to a Hebbian memory one by one, and it is read with the question. A task
counts as solved with an error of at most 5 %. `spikeloom table babi` trains all twenty.

Data: Weston et al., Towards AI-complete question answering, 2015 (arXiv:1502.05698).
Paper: Limbacher, Özdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276): a mean accuracy of 89.1 % over the tasks with 10,000 training questions,
according to a leaderboard; the paper's own table is not known to us.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...data import babi
from ...data.babi import Files, Stories, Vocabulary
from ...data.batches import Batches
from ...errors import ConfigError
from ...layers.hebbian_memory.layer import align_weights_
from ...train import config as as_json
from ...train import metrics, ranks
from ...train.parts import (
    CheckpointOptions,
    Fraction,
    LearningRateOptions,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
)
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay
from ...train.step import descend
from ...train.supervised import History, fit
from ...train.table import Table
from .networks import MemoryCore
from .options import (
    BatchOptions,
    InputOptions,
    LateRateCostOptions,
    Populations,
    Silence,
    activity_of,
    layers_of,
    memory_of,
    memory_populations,
    rates,
)
from .stories import Sentences, StoryAnswers, StoryNetwork

TEST_BATCH = 64
SOLVED = 0.05
"""Largest error of a task that counts as solved."""
GROUPS = 12
"""Largest number of groups of story lengths for which the accuracy is reported."""


@dataclass(frozen=True)
class Config(LearningRateOptions, CheckpointOptions, InputOptions, LateRateCostOptions, BatchOptions):
    model: Literal["spiking", "frozen"] = "spiking"
    """Network: spiking, with a Hebbian memory; frozen, with a memory that stays at zero."""
    qa: Annotated[int, Interval(ge=1, le=20)] = 1
    """Number of the bAbI task, 1 to 20."""
    ten_k: bool = True
    """Train with the 10,000 questions of en-10k instead of the 1,000 of en."""
    questions: NonNegativeInt = 0
    """Number of training questions to use, the first of the file; 0: all."""
    longest: NonNegativeInt = 50
    """Leave out training stories with more statements than this; not in validation and test. 0: no limit."""
    validation: Annotated[float, Interval(gt=0, lt=1)] = 0.1
    """Fraction of the training stories set aside for validation."""
    time_words: bool = False
    """Add a word to every statement that says how many statements ago it was."""
    mask_time_words: bool = True
    """Do not train the position weights of time words."""
    learn_positions: bool = True
    """Train the position weights, the factors of word embeddings by position in the sentence."""
    position_spread: NonNegative = 0.0
    """Initial position weights are uniform in 1 +- this value."""
    whole_stories: bool = False
    """Draw batches of stories with all their questions, `batch` questions on average; each story is written once."""
    enough: Fraction = 0.0
    """Stop when the validation accuracy reaches this value; 0: never."""
    patience: NonNegativeInt = 0
    """Stop after this many validations without an improvement; 0: never."""
    input_gain: Positive = 1.0
    delay: Positive = 30.0
    updates: PositiveInt = 7200
    lr: Positive = 0.003


PAPER = Config()
CPU = Config(
    window=100.0, embedding=50, memory_size=50, input_gain=5.0, initial="aligned", dt=5.0, delay=5.0, threshold=0.3,
    refractory=5.0, batch=64, updates=1000, lr_decay_every=200, validate_every=100, checkpoint_every=100, rate_cost=0.0,
    enough=0.99, patience=4, whole_stories=True, position_spread=1.0,
)  # fmt: skip
DATA = ("babi",)
PRESETS = {
    "cpu": CPU,
    "cpu_30": replace(CPU, delay=30.0),
    "paper": PAPER,
    "paper_1": replace(PAPER, delay=1.0),
    "frozen": replace(CPU, model="frozen", updates=100),
    "smoke": replace(
        CPU, embedding=12, memory_size=12, item_ms=50.0, window=50.0, threshold=0.2, batch=8, updates=4,
        validate_every=2, checkpoint_every=2,
    ),
}  # fmt: skip
REMARK = "second-hand, from a leaderboard; mean over the tasks of the paper, each with 10,000 training questions"
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "mean_accuracy": {
        "value": 0.891, "of": "accuracy", "source": "Limbacher et al., 2022",
        "note": f"{REMARK}; to be compared with the mean over all twenty tasks, not with one",
    },
}  # fmt: skip
MEAN = "mean over the tasks"
TABLES = {
    name: Table(
        f"bAbI, feedback after {delay} (solved: error at most 5 %)",
        {f"{number} {about}": {name: (name, {"qa": number})} for number, about in enumerate(babi.TASKS, 1)},
        {(MEAN, name): 0.891},
        f"Limbacher et al., 2022, {REMARK}",
        besides=("error", "solved"),
        mean=MEAN,
    )
    for name, delay in {"cpu": "5 ms", "cpu_30": "30 ms"}.items()
}


def train(config: Config, run: Run) -> None:
    """Train on the questions of the training file, without those set aside for validation."""
    files = read(config)
    for file in files.data if run.rank == 0 else []:
        print(f"{file['file']}: {file['note']}", flush=True)
    known = vocabulary(config, run, files)
    training, validation = splits(config, run, known.encode(files.train, files.data[0]["file"]))
    model = network(config, run, known)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=config.lr)
    batches = drawn(config, run, training)
    silent = Silence()

    def step(finished: int) -> dict[str, float]:
        lr = step_decay(finished, config.lr, config.lr_decay, config.lr_decay_every)
        set_learning_rate(optimizer, lr)
        indices = batches.next()
        batch = training.batch(training.of(indices) if config.whole_stories else indices).to(run.device)
        outputs = model(batch.statements, batch.lengths, batch.query, batch.first)
        loss, values = losses(config, outputs, batch.target, config.rate_cost * (finished >= config.rate_cost_after))
        values["lr"] = lr
        descend(loss, optimizer, model, config.clip)
        silent.look(run, outputs, finished)
        return values | rates(config, outputs.layers)

    def validate(finished: int) -> dict[str, float]:
        return {"validation_accuracy": accuracy(model, validation, run)}

    def stop(finished: int, history: History) -> bool:
        return finish(config, [line["validation_accuracy"] for line in history if "validation_accuracy" in line])

    fit(
        run,
        parts={"model": model, "optimizer": optimizer, "batches": batches, "silence": silent},
        updates=config.updates,
        step=step,
        validate=validate,
        validate_every=config.validate_every,
        checkpoint_every=config.checkpoint_every,
        stop=stop,
        best="validation_accuracy" if config.select == "best" else None,
        better="higher",
    )


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the accuracy on all test questions, with stories of any length."""
    files = read(config)
    known = vocabulary(config, run, files)
    model = network(config, run, known)
    update = run.load_best(model=model)
    every = known.encode(files.train, files.data[0]["file"])
    training, validation = splits(config, run, every)
    test = known.encode(files.test, files.data[1]["file"])
    correct, spikes = answers(model, test, run)
    fraction = float(correct.double().mean())
    commonest = every.target.bincount(minlength=len(known.words)).argmax()
    values = {
        "accuracy": fraction, "error": 1.0 - fraction, "solved": float(1.0 - fraction <= SOLVED),
        "validation_accuracy": accuracy(model, validation, run),
        "always_the_commonest_answer": float((test.target == commonest).double().mean()),
        "update": float(update), "test_questions": float(len(test.target)),
        "training_questions": float(len(training.target)),
        "parameters": float(sum(part.numel() for part in model.parameters() if part.requires_grad)),
    }  # fmt: skip
    if config.longest and bool((long := test.lengths > config.longest).any()):
        values["accuracy_of_longer_stories"] = float(correct[long].double().mean())
        values["longer_stories"] = float(long.sum())
    run.write_json("lengths.json", by_length(test.lengths, correct))
    run.write_json("activity.json", activity(config, rates(config, spikes), float(test.lengths.double().mean()), files))
    return values | rates(config, spikes)


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot a test story in detail, the memory, position weights, learning curves, accuracy by story length."""
    from .figures import stories

    files = read(config)
    known = vocabulary(config, run, files)
    model = network(config, run, known)
    run.load_best(model=model)
    test = known.encode(files.test, files.data[1]["file"])
    order = test.lengths.argsort(stable=True)
    middle = len(order) // 2
    few = order[[middle, *(number for number in range(min(len(order), TEST_BATCH)) if number != middle)]]
    batch, others = test.batch(few[:1]).to(run.device), test.batch(few).to(run.device)
    outputs = model.recollect(batch.statements.unsqueeze(1), batch.query)
    outputs = outputs._replace(memory=model(others.statements, others.lengths, others.query, others.first).memory)
    question = files.test.questions[int(few[0])]
    statements = files.test.statements[question.first : question.last]
    stories(config, run, question, statements, batch, outputs, known.words, model.sentences.position)


def read(config: Config) -> Files:
    """Load the files of the task."""
    files = babi.load(config.qa, config.ten_k)
    return files._replace(train=files.train.head(config.questions)) if config.questions else files


def vocabulary(config: Config, run: Run, files: Files) -> Vocabulary:
    """Return the vocabulary of both files, or that saved in the run folder."""
    path = run.folder / "vocabulary.json"
    known: Vocabulary | None = as_json.from_file(Vocabulary, path)
    if known is None:
        known = Vocabulary.of([files.train, files.test], config.time_words)
        run.write_json(path.name, as_json.to_json(known), kept=True)
    return known


def splits(config: Config, run: Run, stories: Stories) -> tuple[Stories, Stories]:
    """Split whole stories into training and validation, the same in every call. Long ones are left out of training.

    Raises:
        ConfigError: all training stories are longer than `longest`.
    """
    draws = run.fresh().generator("split", shared=True)
    training, validation = babi.split(stories, config.validation, draws)
    if config.longest:
        short = training.lengths <= config.longest
        if not short.any():
            raise ConfigError(f"No story has {config.longest} statements or fewer. Choose a larger --longest, or 0.")
        training = training.select(short.nonzero().flatten())
    return training, validation


def drawn(config: Config, run: Run, training: Stories) -> Batches:
    """Return the sampler of batches, over questions or stories."""
    count, batch = len(training.target), config.batch
    if config.whole_stories:
        count = len(torch.unique(training.story))
        batch = max(round(batch * count / len(training.target)), 1)
    return Batches(count, batch, run.generator("batches", shared=True), run.rank, run.world)


def finish(config: Config, validated: Sequence[float]) -> bool:
    """Whether training ends after these validation accuracies.

    >>> finish(Config(patience=2), [0.1, 0.3, 0.3]), finish(Config(patience=2), [0.1, 0.3, 0.3, 0.2])
    (False, True)
    """
    if not validated:
        return False
    since = len(validated) - 1 - validated.index(max(validated))
    enough = 0.0 < config.enough <= validated[-1]
    return enough or 0 < config.patience <= since


def network(config: Config, run: Run, known: Vocabulary) -> StoryNetwork:
    """Build the network of these options, with weights drawn from the run's generator."""
    draws = run.generator("weights", shared=True)
    sentences = Sentences(
        len(known.words) + known.times, known.slots, config.embedding, input_gain=config.input_gain,
        learn_positions=config.learn_positions, fixed_last=config.time_words and config.mask_time_words,
        spread=config.position_spread, generator=draws,
    )  # fmt: skip
    core = memory_of(config, config.embedding, config.embedding, draws)
    assert isinstance(core, MemoryCore)
    if config.initial == "aligned":
        align_weights_(*core.weights, config.embedding)
    model = StoryNetwork(sentences, core, len(known.words), readout_scale=config.readout_scale, generator=draws)
    return model.to(run.device)


@torch.no_grad()
def answers(model: StoryNetwork, stories: Stories, run: Run) -> tuple[Tensor, dict[str, Tensor]]:
    """Return whether each answer is correct, and the activity by population; a batch has all questions of a story."""
    order = stories.first.argsort(stable=True)
    correct, activity = torch.zeros(len(order), dtype=torch.bool), list[dict[str, Tensor]]()
    for indices in torch.split(order, TEST_BATCH):
        batch = stories.batch(indices).to(run.device)
        outputs: StoryAnswers = model(batch.statements, batch.lengths, batch.query, batch.first)
        correct[indices] = (outputs.logits.argmax(-1) == batch.target).cpu()
        activity.append({name: tensor.mean(1) for name, tensor in outputs.layers.items()})
    return correct, {name: torch.cat([tensor[name] for tensor in activity]).unsqueeze(1) for name in activity[0]}


def accuracy(model: StoryNetwork, stories: Stories, run: Run) -> float:
    """Return the accuracy."""
    return float(answers(model, stories, run)[0].double().mean())


def losses(config: Config, outputs: StoryAnswers, target: Tensor, rate_cost: float) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of a batch with rate regularisation, and the loss and accuracy for the log.

    With several processes, the means over processes equal those over all questions, even if numbers differ.
    """
    here = len(target)
    weight = here / float(ranks.mean_of(torch.tensor(float(here))))
    loss = weight * cross_entropy(outputs.logits, target)
    values = {"loss": loss.item(), "accuracy": weight * metrics.accuracy(outputs.logits, target.cpu())}
    if rate_cost:
        loss = loss + rate_cost * sum(squared_rates(config, spikes) for spikes in outputs.layers.values())
    return loss, values


def squared_rates(config: Config, spikes: Tensor) -> Tensor:
    """Return the squared distance of the batch mean of the rate from the target [Hz^2], averaged over neurons.

    Shapes: spikes per step [B, N], over the time of each story. With several processes, the batch is that of all.
    """
    mean = ranks.mean_of(spikes.sum(0)) / ranks.mean_of(spikes.new_tensor(float(len(spikes))))
    return (mean * (1000.0 / config.dt) - config.target_rate).square().mean()


def by_length(lengths: Tensor, correct: Tensor) -> list[list[float]]:
    """Return mean length, number of questions and accuracy, for each length or group of neighbouring lengths.

    >>> by_length(torch.tensor([1, 1, 2]), torch.tensor([True, False, True]))
    [[1.0, 2, 0.5], [2.0, 1, 1.0]]
    """
    known, counts = torch.unique(lengths, return_counts=True)
    least = len(lengths) / GROUPS if len(known) > GROUPS else 1
    rows: list[list[float]] = []
    group, questions = list[int](), 0
    for length, count in zip(known.tolist(), counts.tolist(), strict=True):
        group, questions = [*group, length], questions + count
        if questions >= least or length == known[-1]:
            in_group = torch.isin(lengths, torch.tensor(group))
            rows.append([float(lengths[in_group].double().mean()), questions, float(correct[in_group].double().mean())])
            group, questions = [], 0
    return rows


def activity(config: Config, hertz: Mapping[str, float], length: float, files: Files) -> dict[str, Any]:
    """Return the content of activity.json: sizes, synapses and rates [Hz] of each population, and the data files."""
    n_in = config.embedding
    encoders: Populations = {"storage encoder": (n_in, 1, None), "recall encoder": (n_in, 1, None)}
    populations = encoders | memory_populations(config.memory_size, n_in, n_in)
    return activity_of(config, length + 1, layers_of(hertz, populations), files.data)


__all__ = ["PRESETS", "PUBLISHED", "TABLES", "Config", "evaluate", "plot", "train"]
