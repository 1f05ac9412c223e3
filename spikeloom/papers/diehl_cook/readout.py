"""Evaluation of unsupervised learning: label assignment by training samples, predictions for test samples."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...data.batches import in_order
from ...encoding.events import Events
from ...train.run import Run
from .logistic import logistic, logistic_vote
from .network import DiehlCookNetwork
from .ngrams import NGrams, ngram_vote, ngrams
from .options import STDPOptions
from .presentation import Presentation, present_
from .samples import Source, Splits, check_test, encoder, training_samples
from .setup import Known, network
from .votes import VOTES, Assignment, accuracy, assign, confusion, labelled

TEST_BATCH = 50
"""Number of samples presented at once in evaluation."""


class Answers(NamedTuple):
    """Responses of a network in evaluation to many samples."""

    counts: Tensor  # [M, N]
    labels: Tensor  # [M]
    repeats: int
    inputs: float  # input spikes per sample, first presentation
    spikes: list[Presentation]  # of each batch, if requested


@torch.no_grad()
def answers(
    options: STDPOptions,
    net: DiehlCookNetwork,
    source: Source,
    samples: Tensor,
    run: Run,
    purpose: str,
    keep: bool = False,
) -> Answers:
    """Present samples in batches, in as many threads as torch has; the result does not depend on their number."""
    net.eval()
    repeats = options.repeats(learns=False)
    generator = run.generator(purpose)
    parts = [samples[part] for part in in_order(len(samples), TEST_BATCH)]
    seeds = torch.randint(2**62, (len(parts),), generator=generator).tolist()

    def responses(part: Tensor, seed: int) -> tuple[Presentation, float]:
        own = torch.Generator().manual_seed(seed)
        start = net.initial_state(net.weight.new_zeros(len(part), source.size), noise=own)
        input_spikes = list[float]()

        def encode(rows: Tensor, attempt: int) -> Events:
            events = encoder(source, part, own)(rows, attempt)
            input_spikes.append(float(events.times.sum()))
            return events

        presented = present_(net, start, encode, repeats)
        return presented, input_spikes[0]

    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        made = list(pool.map(responses, parts, seeds))
    return Answers(
        torch.cat([one.counts for one, _ in made]), source.labels[samples], sum(one.repeats for one, _ in made),
        sum(input_spikes for _, input_spikes in made) / len(samples), [one for one, _ in made] if keep else [],
    )  # fmt: skip


def evaluate(options: STDPOptions, run: Run, splits: Splits) -> dict[str, float]:
    """Return the test accuracy of all readouts, with labels assigned by training samples after learning.

    `accuracy_logistic` is supervised: its linear readout is trained on the labels of the training samples.
    The last column of confusion.json and training_confusion.json counts samples without a spike.
    """
    net = network(options, run, splits.training.size, done=1.0)
    known = Known(options.n_neurons, len(splits.classes))
    update = run.load_best(network=net, known=known)
    classes = len(splits.classes)
    draw = run.generator("evaluation")
    check_test(options, splits)
    source, used = splits.training, training_samples(options, run, len(splits.training.labels)).sort().values
    if options.label_share < 1.0:
        used = used[labelled(source.labels[used], options.label_share, draw)]
    tested = torch.arange(len(splits.test.labels))
    if options.n_test:
        tested = tested[torch.randperm(len(tested), generator=draw)[: options.n_test]].sort().values
    training = answers(options, net, source, used, run, "naming", keep=options.ngram > 0)
    test = answers(options, net, splits.test, tested, run, "test", keep=options.ngram > 0)
    named = assign(training.counts, training.labels, classes)
    predictions = {f"accuracy_{name}": vote(test.counts, named).predictions for name, vote in VOTES.items()}
    predictions["accuracy_logistic"] = logistic_vote(
        test.counts, logistic(training.counts, training.labels, classes)
    ).predictions
    if options.ngram:
        predictions[f"accuracy_{options.ngram}_gram"] = by_order(options, training, test, classes)
    values = {name: accuracy(votes, test.labels) for name, votes in predictions.items()}
    best = VOTES[options.vote]
    run.write_json("confusion.json", confusion(predictions[f"accuracy_{options.vote}"], test.labels, classes).tolist())
    votes = best(training.counts, named).predictions
    run.write_json("training_confusion.json", confusion(votes, training.labels, classes).tolist())
    run.write_json("names.json", {"labels": named.labels.tolist(), "proportions": named.proportions.tolist()})
    run.write_json("activity.json", costs(options, net, test, splits.data))
    return {
        "accuracy": values[f"accuracy_{options.vote}"], **values, "training_accuracy": accuracy(votes, training.labels),
        "update": float(update), "presentations": float(known.presented), "test_samples": float(len(tested)),
        "samples_with_labels": float(len(used)), "silent_neurons": float((named.labels < 0).sum()),
        "silent_samples": float((test.counts.sum(1) == 0).sum()), "repeats_per_sample": test.repeats / len(tested),
        "spikes_per_sample": float(test.counts.sum(1).mean()), "input_spikes_per_sample": test.inputs,
    }  # fmt: skip


def transfer(options: STDPOptions, run: Run, splits: Splits, other: Source) -> float:
    """Return the accuracy on samples of another source, with the weights and the label assignment of this run."""
    net = network(options, run, splits.training.size, done=1.0)
    run.load_best(network=net)
    names = run.read_json("names.json")
    proportions = torch.tensor(names["proportions"], dtype=torch.float64)
    named = Assignment(proportions, proportions, torch.tensor(names["labels"]))
    responses = answers(options, net, other, torch.arange(len(other.labels)), run, "transfer")
    return accuracy(VOTES[options.vote](responses.counts, named).predictions, responses.labels)


def by_order(options: STDPOptions, training: Answers, test: Answers, classes: int) -> Tensor:
    """Predict the classes of the test samples by the n-grams of the training samples."""

    def sequences(responses: Answers) -> list[Tensor]:
        return [in_order_of_firing(options, one) for one in responses.spikes]

    known: NGrams | None = None
    for spikes, part in zip(sequences(training), in_order(len(training.labels), TEST_BATCH), strict=True):
        labels = training.labels[part]
        known = ngrams(spikes, labels, classes, options.ngram, known)
    assert known is not None
    return torch.cat([ngram_vote(spikes, known).predictions for spikes in sequences(test)])


def in_order_of_firing(options: STDPOptions, presented: Presentation) -> Tensor:
    """Return the spikes [T, B, N] of the last presentation of each sample."""
    spikes = torch.zeros(options.steps, *presented.counts.shape)
    spikes[presented.fired.steps, presented.fired.samples, presented.fired.neurons] = 1.0
    return spikes


def costs(options: STDPOptions, net: DiehlCookNetwork, test: Answers, data: list[Any]) -> dict[str, Any]:
    """Return activity.json, for one presentation of a sample."""
    seconds, size, inputs = options.pattern_time / 1000, options.n_neurons, net.n_in
    input_rate = test.inputs / inputs / seconds
    rate = float(test.counts.sum(1).mean()) / size / seconds
    others = size * (size - 1)
    excitatory = {
        "name": "excitatory", "neurons": size, "inputs": inputs, "rate_hz": rate, "input_rate_hz": input_rate,
        "synapses": inputs * size + others, "recurrent_synapses": others,
    }  # fmt: skip
    layers = [excitatory]
    if options.topology == "two_layer":
        layers.append(
            {"name": "inhibitory", "neurons": size, "inputs": size, "rate_hz": rate, "input_rate_hz": rate,
             "synapses": size}
        )  # fmt: skip
    return {"dt_ms": options.dt, "steps": options.steps, "layers": layers, "data": data}
