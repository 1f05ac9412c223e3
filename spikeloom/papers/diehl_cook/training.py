"""Training loop of the Diehl & Cook network: presentation of samples, and label assignment after each interval."""

from dataclasses import replace

import torch
from torch import Tensor

from ...data.batches import Batches
from ...errors import ConfigError
from ...inspect import of_counts
from ...train.firing import FiringMonitor
from ...train.run import Run
from ...train.supervised import fit
from .figures import live
from .options import STDPOptions
from .presentation import chosen, present_, put_back_
from .samples import Splits, check_test, encoder, training_samples
from .setup import Known, lateral, level, network
from .votes import VOTES, accuracy


def train(options: STDPOptions, run: Run, splits: Splits) -> None:
    """Train on all training samples; an interval is an update of `fit`."""
    if run.world > 1:
        raise ConfigError(
            "This task learns from one sample after the other, in one process. Use --seeds for several runs."
        )
    source = splits.training
    check_test(options, splits)
    used, repeats = training_samples(options, run, len(source.labels)), options.repeats(learns=True)
    net = network(options, run, source.size).train()
    batches = Batches(len(used), min(options.batch, len(used)), run.generator("batches", shared=True))
    known = Known(options.n_neurons, len(splits.classes))
    total = options.epochs * -(-len(used) // batches.batch)
    each = -(-total // options.intervals)
    rule, firing = net.rule, FiringMonitor(run, {})
    assert rule is not None

    def step(finished: int) -> dict[str, float]:
        left = 1.0 - (1.0 - options.lr_end) * finished * each / total
        net.rule = replace(rule, lr=left * rule.lr, lr_pre=left * rule.lr_pre)
        state = net.initial_state(net.weight.new_zeros(batches.batch, source.size))
        parts, counts, presentations, now = list[Tensor](), list[Tensor](), 0, -1
        for number in range(finished * each, min((finished + 1) * each, total)):
            done = number / max(total - 1, 1)
            if level(options, done) != now:
                now = level(options, done)
                net.set_lateral(lateral(options, done))
            samples = used[batches.next()]
            rows = torch.arange(len(samples), device=net.weight.device)
            part = state if len(samples) == len(state.spikes) else chosen(state, rows)
            presented = present_(net, part, encoder(source, samples, run.generator("input")), repeats)
            put_back_(state, part, rows)
            presentations += len(samples) + presented.repeats
            parts.append(source.labels[samples])
            counts.append(presented.counts)
        net.consolidate(state)
        labels, spikes = torch.cat(parts), torch.cat(counts)
        firing.keep(finished, "training", [of_counts("excitatory", spikes.sum(0), len(spikes) * options.steps)])
        named = known.assignment()
        values = {f"accuracy_{name}": accuracy(vote(spikes, named).predictions, labels) for name, vote in VOTES.items()}
        known.add(spikes, labels, options.alpha)
        if options.plot or (options.live and (finished + 1) % options.live == 0):
            live(run, net, splits.shape, known)
        return {
            "samples": float(known.presented), **values, "spikes_per_sample": float(spikes.sum(1).mean()),
            "repeats_per_sample": presentations / len(labels) - 1,
            "silent_samples": float((spikes.sum(1) == 0).float().mean()),
            "homeostasis": float(net.neurons.homeostasis.mean()), "largest_weight": float(net.weight.max()),
        }  # fmt: skip

    fit(
        run,
        parts={"network": net, "batches": batches, "known": known},
        updates=-(-total // each),
        step=step,
        checkpoint_every=options.checkpoint_every,
        headline=(f"accuracy_{options.vote}", "spikes_per_sample"),
    )
