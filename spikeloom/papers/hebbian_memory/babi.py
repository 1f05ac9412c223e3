"""bAbI: read a story of some sentences, then answer a question about it.

One network is trained per bAbI task (`qa`). A sentence is a constant input, the sum of its word embeddings with learned
position weights; the sentences are written to a Hebbian memory one by one, and it is read with the question. A task
counts as solved with an error of at most 5 %. `spikeloom table babi` trains all twenty.

Data: Weston et al., Towards AI-complete question answering, 2015 (arXiv:1502.05698).
Paper: Limbacher, Özdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276): a mean accuracy of 89.1 % over the tasks with 10,000 training questions,
according to a leaderboard; the paper's own table is not known to us.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...data import babi
from ...data.babi import Files, Stories, Vocabulary
from ...data.batches import Batches
from ...errors import ConfigError, check_positive
from ...layers.hebbian_memory.layer import align_
from ...train import config as as_json
from ...train import metrics, ranks
from ...train.parts import CheckpointOptions, LearningRateOptions
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay
from ...train.step import descend
from ...train.supervised import History, fit
from ...train.table import Table
from .networks import MemoryCore
from .options import LayerOptions, RateCostOptions, Silence, check_layers, neuron_of, populations, rule_of, steps
from .stories import Sentences, StoryAnswers, StoryNetwork

TEST_BATCH = 64
SOLVED = 0.05
"""Largest error of a task that counts as solved."""
GROUPS = 12
"""Largest number of groups of story lengths for which the accuracy is reported."""


@dataclass(frozen=True)
class Config(LearningRateOptions, CheckpointOptions, LayerOptions, RateCostOptions):
    qa: int = 1
    """Number of the bAbI task, 1 to 20."""
    ten_k: bool = True
    """Train with the 10,000 questions of en-10k instead of the 1,000 of en."""
    questions: int = 0
    """Number of training questions to use, the first of the file; 0: all."""
    made_up: bool = False
    """Use a few made-up stories in the format of the data set instead, to try the task without a download."""
    model: Literal["spiking", "frozen"] = "spiking"
    """Network: spiking, with a Hebbian memory; frozen, with a memory that stays at zero."""
    longest: int = 50
    """Leave out training stories with more statements than this; not in validation and test. 0: no limit."""
    validation: float = 0.1
    """Fraction of the training stories set aside for validation, between 0 and 1."""
    time_words: bool = False
    """Add a word to every statement that says how many statements ago it was."""
    mask_time_words: bool = True
    """Do not train the position weights of time words."""
    learn_positions: bool = True
    """Train the position weights, the factors of word embeddings by position in the sentence."""
    position_spread: float = 0.0
    """Initial position weights are uniform in 1 +- this value."""
    item_ms: float = 100.0
    """Duration of a sentence, and of the question [ms]."""
    window: float = 30.0
    """Final part of the question in which value spikes are counted [ms]."""
    embedding: int = 80
    """Embedding dimension of a sentence."""
    input_gain: float = 1.0
    """Factor of the input currents of the encoder."""
    initial: Literal["paper", "aligned"] = "paper"
    """Initial weights: paper, independent; aligned, equal key weights for writing and reading, without feedback."""
    readout_scale: float = 1.0
    """Factor of the initial weights of the readout."""
    delay: float = 30.0
    batch: int = 256
    """Questions per update."""
    whole_stories: bool = False
    """Draw batches of stories with all their questions, `batch` questions on average; each story is written once."""
    updates: int = 7200
    """Number of optimiser updates."""
    enough: float = 0.0
    """Stop when the validation accuracy reaches this value, 0 to 1; 0: never."""
    patience: int = 0
    """Stop after this many validations without an improvement; 0: never."""
    clip: float = 40.0
    """Gradient clipping: largest norm of the gradient; 0: no clipping."""
    rate_cost_after: int = 36
    """Number of initial updates without the rate regularisation."""


PAPER = Config()
CPU = Config(
    window=100.0, embedding=50, memory_size=50, input_gain=5.0, initial="aligned", dt=5.0, delay=5.0, threshold=0.3,
    refractory=5.0, batch=64, updates=1000, lr_decay_every=200, validate_every=100, checkpoint_every=100, rate_cost=0.0,
    enough=0.99, patience=4, whole_stories=True, position_spread=1.0,
)  # fmt: skip
PRESETS = {
    "cpu": CPU,
    "cpu_30": replace(CPU, delay=30.0),
    "paper": PAPER,
    "paper_1": replace(PAPER, delay=1.0),
    "frozen": replace(CPU, model="frozen", updates=100),
    "smoke": replace(
        CPU, made_up=True, embedding=12, memory_size=12, item_ms=50.0, window=50.0, threshold=0.2, batch=8, updates=4,
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
        f"bAbI, feedback after {said} (solved: error at most 5 %)",
        {f"{number} {about}": {name: (name, {"qa": number})} for number, about in enumerate(babi.TASKS, 1)},
        {(MEAN, name): 0.891},
        f"Limbacher et al., 2022, {REMARK}",
        besides=("error", "solved"),
        mean=MEAN,
    )
    for name, said in {"cpu": "5 ms", "cpu_30": "30 ms"}.items()
}


def train(config: Config, run: Run) -> None:
    """Train on the questions of the training file, without those set aside for validation."""
    check(config)
    files = read(config)
    for outputs in files.data if run.rank == 0 and not config.made_up else []:
        print(f"{outputs['file']}: {outputs['note']}", flush=True)
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
        shown = training.batch(training.of(indices) if config.whole_stories else indices).to(run.device)
        outputs = model(shown.statements, shown.lengths, shown.query, shown.first)
        loss, values = losses(config, outputs, shown.target, config.rate_cost * (finished >= config.rate_cost_after))
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
    check(config)
    files = read(config)
    known = vocabulary(config, run, files)
    model = network(config, run, known)
    update = run.load_best(model=model)
    every = known.encode(files.train, files.data[0]["file"])
    training, validation = splits(config, run, every)
    test = known.encode(files.test, files.data[1]["file"])
    correct, fired = said(model, test, run)
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
    run.write_json("activity.json", activity(config, rates(config, fired), float(test.lengths.double().mean()), files))
    return values | rates(config, fired)


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


def check(config: Config) -> None:
    """Raise ConfigError if options contradict each other, are out of range, or have no effect."""
    check_positive(
        "babi", batch=config.batch, updates=config.updates, item_ms=config.item_ms, window=config.window,
        dt=config.dt, embedding=config.embedding, memory_size=config.memory_size, input_gain=config.input_gain,
        delay=config.delay, validation=config.validation,
    )  # fmt: skip
    step_decay(0, config.lr, config.lr_decay, config.lr_decay_every)
    check_layers(config, "item_ms", "window", "delay")
    babi.check_task(config.qa)
    if not 0.0 < config.validation < 1.0:
        raise ConfigError(f"validation is a share of the stories between 0 and 1, but is {config.validation}.")
    counts = config.questions, config.longest, config.patience
    if min(config.clip, config.rate_cost, config.target_rate, *counts) < 0:
        raise ConfigError("clip, rate_cost, target_rate, questions, longest and patience must not be below 0.")
    if not 0.0 <= config.enough <= 1.0:
        raise ConfigError(f"enough is an accuracy from 0 to 1, but is {config.enough}.")


def read(config: Config) -> Files:
    """Load the files of the task, or made-up ones."""
    if config.made_up:
        with tempfile.TemporaryDirectory() as place:
            babi.write_example(Path(place), (config.qa,))
            files = babi.load(config.qa, config.ten_k, Path(place))
    else:
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
    neuron = neuron_of(config)
    rule = rule_of(config)
    sentences = Sentences(
        len(known.words) + known.times, known.slots, config.embedding, input_gain=config.input_gain,
        learn_positions=config.learn_positions, fixed_last=config.time_words and config.mask_time_words,
        spread=config.position_spread, generator=draws,
    )  # fmt: skip
    core = MemoryCore(
        config.embedding, config.embedding, config.memory_size, neuron, rule if config.model == "spiking" else None,
        steps=steps(config, "item_ms"), window=steps(config, "window"), delay=steps(config, "delay"),
        recall=config.recall, generator=draws,
    )  # fmt: skip
    if config.initial == "aligned":
        align_(core.write, core.read, config.embedding)
    model = StoryNetwork(sentences, core, len(known.words), readout_scale=config.readout_scale, generator=draws)
    return model.to(run.device)


@torch.no_grad()
def said(model: StoryNetwork, stories: Stories, run: Run) -> tuple[Tensor, dict[str, Tensor]]:
    """Return whether each answer is correct, and the activity by population; a batch has all questions of a story."""
    order = stories.first.argsort(stable=True)
    correct, fired = torch.zeros(len(order), dtype=torch.bool), list[dict[str, Tensor]]()
    for indices in torch.split(order, TEST_BATCH):
        batch = stories.batch(indices).to(run.device)
        outputs: StoryAnswers = model(batch.statements, batch.lengths, batch.query, batch.first)
        correct[indices] = (outputs.logits.argmax(-1) == batch.target).cpu()
        fired.append({name: tensor.mean(1) for name, tensor in outputs.layers.items()})
    return correct, {name: torch.cat([tensor[name] for tensor in fired]).unsqueeze(1) for name in fired[0]}


def accuracy(model: StoryNetwork, stories: Stories, run: Run) -> float:
    """Return the accuracy."""
    return float(said(model, stories, run)[0].double().mean())


def losses(config: Config, found: StoryAnswers, target: Tensor, rate_cost: float) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of a batch with rate regularisation, and the loss and accuracy for the log.

    With several processes, the means over processes equal those over all questions, even if numbers differ.
    """
    here = len(target)
    weight = here / float(ranks.mean_of(torch.tensor(float(here))))
    loss = weight * cross_entropy(found.logits, target)
    values = {"loss": loss.item(), "accuracy": weight * metrics.accuracy(found.logits, target.cpu())}
    if rate_cost:
        loss = loss + rate_cost * sum(squared_rates(config, fired) for fired in found.layers.values())
    return loss, values


def squared_rates(config: Config, fired: Tensor) -> Tensor:
    """Return the squared distance of the batch mean of the rate from the target [Hz^2], averaged over neurons.

    Shapes: spikes per step [B, N], over the time of each story. With several processes, the batch is that of all.
    """
    mean = ranks.mean_of(fired.sum(0)) / ranks.mean_of(fired.new_tensor(float(len(fired))))
    return (mean * (1000.0 / config.dt) - config.target_rate).square().mean()


def rates(config: Config, layers: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the mean rates [Hz] by population."""
    hertz = 1000.0 / config.dt
    return {f"rate_{name.replace(' ', '_')}": float(part.detach().mean()) * hertz for name, part in layers.items()}


def by_length(lengths: Tensor, right: Tensor) -> list[list[float]]:
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
            rows.append([float(lengths[in_group].double().mean()), questions, float(right[in_group].double().mean())])
            group, questions = [], 0
    return rows


def activity(config: Config, hertz: Mapping[str, float], length: float, files: Files) -> dict[str, Any]:
    """Return activity.json: sizes, synapses and rates [Hz] of each population, and the data files."""
    size, n_in = config.memory_size, config.embedding
    sources: dict[str, tuple[int, int, str | None]] = {
        "storage encoder": (n_in, 1, None), "write keys": (size, n_in, "rate_storage_encoder"),
        "write values": (size, n_in, "rate_storage_encoder"), "recall encoder": (n_in, 1, None),
        "read keys": (size, n_in, "rate_recall_encoder"), "read values": (size, size, "rate_read_keys"),
    }  # fmt: skip
    layers = populations(hertz, sources)
    time = round((length + 1) * steps(config, "item_ms"))
    return {"dt_ms": config.dt, "steps": time, "layers": layers, "data": [] if config.made_up else files.data}


__all__ = ["PRESETS", "PUBLISHED", "TABLES", "Config", "evaluate", "plot", "train"]
