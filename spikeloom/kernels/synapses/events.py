"""Compiled loops over events: listing, counting, sorting and sampling them."""

from typing import Any

import numpy as np

from ..draws import draw, njit

Array = Any


@njit
def list_events(xs: Array, first: Array, unit: Array, count: Array) -> None:
    """Write the non-zero values of xs [R, I] (count) and their columns (unit), those of row r from first[r] on.

    Shapes: first [R + 1], unit and count [E].
    """
    found = 0
    for r in range(xs.shape[0]):
        first[r] = found
        row = xs[r]
        for i in range(row.shape[0]):
            if row[i] != 0:
                unit[found] = i
                count[found] = row[i]
                found += 1
    first[xs.shape[0]] = found


@njit
def count_events(xs: Array) -> int:
    """Return the number of non-zero values of xs [R, I]."""
    found = 0
    for r in range(xs.shape[0]):
        row = xs[r]
        for i in range(row.shape[0]):
            found += row[i] != 0
    return found


@njit
def poisson(rates: Array, steps: int, dt: float, noise: Array, rows: Array, units: Array, first: Array) -> int:
    """Sample Poisson processes: write their spikes as (row t B + b, unit), and the spikes per row to first[row + 1].

    Returns the number of spikes, or -1 if they do not fit into `rows`. `layers.events` is the definition.
    """
    batch, size = rates.shape
    first[:] = 0
    found = 0
    uniform = np.empty(1, np.float64)
    for b in range(batch):
        for i in range(size):
            if rates[b, i] <= 0.0:
                continue
            when, number, mean = 0.0, 0, 1000.0 / rates[b, i]  # time in ms, spikes so far, mean interval in ms
            while True:
                draw(noise[b : b + 1], number, i, i + 1, size, uniform)
                when = when - np.log(uniform[0]) * mean
                place = np.floor(when / dt)
                if place >= steps:
                    break
                if found >= len(rows):
                    return -1
                row = int(place) * batch + b
                rows[found], units[found] = row, i
                first[row + 1] += 1
                found += 1
                number += 1
    return found


@njit
def sort_rows(rows: Array, units: Array, first: Array, unit: Array, times: Array) -> int:
    """Sort units by row, merging equal units of a row into one with a count (`times`); return their number.

    `units` are in ascending order within a row. The counts in `first` become the starts of the rows.
    """
    for row in range(1, len(first)):
        first[row] += first[row - 1]
    place = first[:-1].copy()  # next free index of each row (counting sort)
    for k in range(len(rows)):
        unit[place[rows[k]]] = units[k]
        place[rows[k]] += 1
    found, start = 0, 0  # merge in place: `found` never overtakes `k`
    for row in range(len(first) - 1):
        stop = first[row + 1]
        begin = found
        for k in range(start, stop):
            if found > begin and unit[found - 1] == unit[k]:
                times[found - 1] += 1
            else:
                unit[found], times[found] = unit[k], 1
                found += 1
        start = stop
        first[row + 1] = found
    return found
