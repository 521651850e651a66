"""Loops of the read model: the statistic in which spots are found, and the likelihood of reads and cells.

Bases are numbers in the order of channels. A read is its values x[cycle, channel] of filtered images.
It is modelled as ``x = a * s + d + noise``: an amplitude times the signal a sequence promises, a part per
channel that does not change over cycles (structure of the cell, debris) and noise of a known variance.
Everything is a pure function of its arguments and runs on one thread.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = [
    "LAGS_AHEAD",
    "LAGS_BACK",
    "SPLIT",
    "alone",
    "call_cells",
    "leads",
    "owners",
    "peaks",
    "reads_under_library",
    "skips",
    "statistic",
    "summits",
]

#: A cycle shows strands that are up to so many bases behind or ahead.
LAGS_BACK, LAGS_AHEAD = 3, 2
#: Of the reads that a cell with one barcode shows, each of two shows so many.
SPLIT = 0.6


@njit(cache=True)
def leads(filtered, level, noise, static, weight):
    """By how much one channel leads in each cycle, and by how much one leads in what does not change.

    The part of a channel that does not change (mean of its lowest values over cycles) is subtracted. What
    counts is the leading channel less half of the second, in units of noise: (T, H, W). Of the part that does
    not change the same is told (H, W), as far as it exceeds what static structure is known to reach: there, a
    base may be the same in all cycles. Loops run along rows, so that they become vector instructions.

    Parameters
    ----------
    filtered : array (T, C, H, W), float32
    level : array (C, H, W), float32
        Local brightness, which tells the noise.
    noise : array (C, 2), float32
        Variance = noise[c, 0] * level + noise[c, 1].
    static : array (C, 3), float32
        Variance of static structure = static[c, 0] * max(level - static[c, 2], 0)**2 + static[c, 1].
    weight : array (T, C), float32
        Of a channel in a cycle: its signal over its noise, mean 1.
    """
    cycles, channels, height, width = filtered.shape
    out = np.empty((cycles, height, width), np.float32)
    low = max(1, (cycles + 1) // 3)
    lowest = np.empty((low, width), np.float32)
    base, spread = np.empty(width, np.float32), np.empty(width, np.float32)
    first, second = np.empty((cycles, width), np.float32), np.empty((cycles, width), np.float32)
    constant, runner = np.empty((height, width), np.float32), np.empty(width, np.float32)
    zero, half, few = np.float32(0), np.float32(0.5), np.float32(1 / low)
    for i in range(height):
        first[:] = np.float32(-1e30)
        second[:] = np.float32(-1e30)
        constant[i] = np.float32(-1e30)
        runner[:] = zero
        for c in range(channels):
            usual = weight[:, c].mean()
            lowest[:] = np.float32(1e30)
            for t in range(cycles):
                row = filtered[t, c, i]
                for k in range(low):
                    if k == 0:
                        spread[:] = row
                    for j in range(width):
                        v, kept = spread[j], lowest[k, j]
                        lowest[k, j] = v if v < kept else kept
                        spread[j] = kept if v < kept else v
            base[:] = zero
            for k in range(low):
                for j in range(width):
                    base[j] += lowest[k, j]
            for j in range(width):
                m = level[c, i, j]
                over = m - static[c, 2]
                over = over if over > zero else zero
                reach = np.float32(2.5) * np.sqrt(static[c, 0] * over * over + static[c, 1])
                base[j] *= few
                vary = noise[c, 0] * m + noise[c, 1]
                spread[j] = np.float32(1) / np.sqrt(vary if vary > np.float32(1e-6) else np.float32(1e-6))
                y, top = (base[j] - reach) * spread[j] * usual, constant[i, j]
                less = y if y < top else top
                constant[i, j] = top if y < top else y
                runner[j] = less if less > runner[j] else runner[j]
            for t in range(cycles):
                row, w = filtered[t, c, i], weight[t, c]
                for j in range(width):
                    y, top = (row[j] - base[j]) * spread[j] * w, first[t, j]
                    less = y if y < top else top
                    first[t, j] = top if y < top else y
                    second[t, j] = less if less > second[t, j] else second[t, j]
        for t in range(cycles):
            for j in range(width):
                rival = second[t, j] if second[t, j] > zero else zero
                out[t, i, j] = first[t, j] - half * rival
        for j in range(width):
            constant[i, j] -= half * runner[j]
    return out, constant


@njit(cache=True)
def statistic(lead, mask, shifts):
    """How much a pixel looks like a spot that shows one base per cycle: (H, W).

    The mean over cycles of `lead`; the two largest cycles count no more than the third. `shifts` (T, 2) rolls
    each cycle: zeros, or anything else to see what chance makes.
    """
    cycles, height, width = lead.shape
    out = np.zeros((height, width), np.float32)
    for i in range(height):
        for j in range(width):
            if not mask[i, j]:
                continue
            one, two, three = -1e30, -1e30, -1e30
            total = 0.0
            for t in range(cycles):
                a, b = i + shifts[t, 0], j + shifts[t, 1]
                v = lead[t, a if a < height else a - height, b if b < width else b - width]
                total += v
                if v > one:
                    one, two, three = v, one, two
                elif v > two:
                    two, three = v, two
                elif v > three:
                    three = v
            if cycles > 3:
                total += 2 * three - one - two
            out[i, j] = total / cycles
    return out


@njit(cache=True)
def peaks(image, radius, least, border):
    """Rows and columns of pixels above `least` that no pixel within `radius` exceeds, in order of rows."""
    height, width = image.shape
    rows, columns = [0 for _ in range(0)], [0 for _ in range(0)]
    for i in range(border, height - border):
        for j in range(border, width - border):
            v = image[i, j]
            if not v > least:
                continue
            top = True
            for a in range(max(0, i - radius), min(height, i + radius + 1)):
                for b in range(max(0, j - radius), min(width, j + radius + 1)):
                    # Of equal neighbours the first counts.
                    if image[a, b] > v or (image[a, b] == v and (a < i or (a == i and b < j))):
                        top = False
                        break
                if not top:
                    break
            if top:
                rows.append(i)
                columns.append(j)
    return np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)


@njit(cache=True)
def alone(rows, columns, others, more, radius):
    """Which places (rows, columns) no other place (others, more) is within `radius` px of.

    Both are in the order of rows.
    """
    out = np.ones(len(rows), np.bool_)
    first = 0
    for k in range(len(rows)):
        while first < len(others) and others[first] < rows[k] - radius:
            first += 1
        at = first
        while at < len(others) and others[at] <= rows[k] + radius:
            if abs(more[at] - columns[k]) <= radius:
                out[k] = False
                break
            at += 1
    return out


@njit(cache=True)
def summits(image, rows, columns):
    """Where the top of each peak lies against its pixel, px, at most half of one: (n, 2).

    A parabola through a pixel and its two neighbours tells it, along rows and along columns.
    """
    height, width = image.shape
    out = np.zeros((len(rows), 2))
    for k in range(len(rows)):
        i, j = rows[k], columns[k]
        top = image[i, j]
        for axis in range(2):
            a, b = (1, 0) if axis == 0 else (0, 1)
            if i < a or j < b or i + a >= height or j + b >= width:
                continue
            before, after = image[i - a, j - b], image[i + a, j + b]
            bend = before - 2 * top + after
            if before > 0 and after > 0 and bend < 0:
                out[k, axis] = min(0.5, max(-0.5, 0.5 * (before - after) / bend))
    return out


@njit(cache=True)
def owners(labels, rows, columns, margin, reach):
    """Label at each place, or the nearest within `margin` px; and the nearest two others within `reach` px.

    Of two that are equally near the smaller label counts. Returns labels (n, 3), 0 where none is near, and
    distances (n, 3), px.
    """
    n = len(rows)
    found, away = np.zeros((n, 3), np.int64), np.zeros((n, 3))
    for k in range(n):
        i, j = rows[k], columns[k]
        for which in range(3):
            far = reach if which else margin
            label, nearest = 0, far * far + 1
            for a in range(max(0, i - far), min(labels.shape[0], i + far + 1)):
                for b in range(max(0, j - far), min(labels.shape[1], j + far + 1)):
                    one = labels[a, b]
                    if one == 0 or (which and one == found[k, 0]) or (which == 2 and one == found[k, 1]):
                        continue
                    distance = (a - i) ** 2 + (b - j) ** 2
                    if distance < nearest or (distance == nearest and one < label):
                        label, nearest = one, distance
            found[k, which], away[k, which] = label, np.sqrt(nearest) if label else 0.0
            if label == 0:
                break
    return found, away


@njit(cache=True)
def _signal(codes, lagged, out):
    """What a sequence promises: out[t, c] = sum over lags of lagged[t, lag, c, base]."""
    cycles = len(codes)
    for t in range(cycles):
        for c in range(4):
            total = 0.0
            for lag in range(LAGS_BACK + LAGS_AHEAD + 1):
                at = t + lag - LAGS_BACK
                if 0 <= at < cycles:
                    total += lagged[t, lag, c, codes[at]]
            out[t, c] = total


@njit(cache=True)
def _fit(x, inverse, shrink, s):
    """Log likelihood against no signal at all, and amplitude; static parts integrated out.

    `inverse` is 1 / variance (T, C), `shrink` per channel 1 / (1 / variance of static + sum of inverse).
    Returns gain >= 0, amplitude, information of the amplitude.
    """
    xs, ss = 0.0, 0.0
    for c in range(4):
        sx, sone, xone = 0.0, 0.0, 0.0
        s2 = 0.0
        for t in range(x.shape[0]):
            w = inverse[t, c]
            ws = w * s[t, c]
            sx += ws * x[t, c]
            s2 += ws * s[t, c]
            sone += ws
            xone += w * x[t, c]
        xs += sx - sone * xone * shrink[c]
        ss += s2 - sone * sone * shrink[c]
    if xs <= 0 or ss <= 1e-30:
        return 0.0, 0.0, max(ss, 1e-30)
    return 0.5 * xs * xs / ss, xs / ss, ss


@njit(cache=True)
def _amplitude_terms(a, information, amplitude):
    """Log of the prior density of an amplitude, times the width to which the data pin it."""
    if a <= 0:
        return -50.0
    centre, spread = amplitude[0], amplitude[1]
    z = (np.log(a) - centre) / spread
    # 0.5 log(2 pi / information) and the density's 0.5 log(2 pi) cancel.
    return max(-0.5 * z * z - np.log(spread * a) - 0.5 * np.log(information), -50.0)


@njit(cache=True)
def _start(x, inverse, own, lagged, codes):
    """The base whose channels fit each cycle best, one cycle at a time."""
    for t in range(x.shape[0]):
        best, at = -1e30, 0
        for b in range(4):
            xs, ss = 0.0, 1e-30
            for c in range(4):
                k = lagged[t, LAGS_BACK, c, b]
                xs += inverse[t, c] * k * (x[t, c] - own[c])
                ss += inverse[t, c] * k * k
            score = xs / np.sqrt(ss)
            if score > best:
                best, at = score, b
        codes[t] = at


@njit(cache=True)
def _consensus(x, inverse, shrink, lagged, codes, scores):
    """Improve a sequence base by base; `scores[t, b]` is the gain of the sequence with base b at t."""
    cycles = x.shape[0]
    s = np.empty((cycles, 4))
    _signal(codes, lagged, s)
    gain, a, information = _fit(x, inverse, shrink, s)
    for _ in range(4):
        changed = False
        for t in range(cycles):
            kept = codes[t]
            best, at = gain, kept
            for b in range(4):
                if b == kept:
                    scores[t, b] = gain
                    continue
                for c in range(4):
                    for u in range(max(0, t - LAGS_AHEAD), min(cycles, t + LAGS_BACK + 1)):
                        lag = t - u + LAGS_BACK
                        s[u, c] += lagged[u, lag, c, b] - lagged[u, lag, c, kept]
                scores[t, b] = _fit(x, inverse, shrink, s)[0]
                for c in range(4):
                    for u in range(max(0, t - LAGS_AHEAD), min(cycles, t + LAGS_BACK + 1)):
                        lag = t - u + LAGS_BACK
                        s[u, c] -= lagged[u, lag, c, b] - lagged[u, lag, c, kept]
                if scores[t, b] > best + 1e-9:
                    best, at = scores[t, b], b
            if at != kept:
                codes[t] = at
                _signal(codes, lagged, s)
                gain, a, information = _fit(x, inverse, shrink, s)
                changed = True
        if not changed:
            break
    return gain, a, information


@njit(cache=True)
def skips(codes):
    """For sorted sequences, where the next one lies that differs within the first d + 1 bases."""
    n, cycles = codes.shape
    out = np.empty((n, cycles), np.int32)
    for d in range(cycles):
        at = n
        for i in range(n - 1, -1, -1):
            if i < n - 1:
                for k in range(d + 1):
                    if codes[i, k] != codes[i + 1, k]:
                        at = i + 1
                        break
            out[i, d] = at
    return out


@njit(cache=True)
def _log_add(a, b):
    top = max(a, b)
    return top + np.log(np.exp(a - top) + np.exp(b - top)) if top > -1e29 else -1e30


@njit(cache=True)
def _still(x, inverse, static, shrink):
    """Log likelihood of static parts of a variance and noise, against noise; fills `shrink` per channel."""
    total = 0.0
    for c in range(4):
        w, wx = 0.0, 0.0
        for t in range(x.shape[0]):
            w += inverse[t, c]
            wx += inverse[t, c] * x[t, c]
        shrink[c] = 1 / (1 / max(static[c], 1e-9) + w)
        total += 0.5 * wx * wx * shrink[c] - 0.5 * np.log(1 + static[c] * w)
    return total


@njit(cache=True)
def reads_under_library(
    x, variance, static, debris, lagged, amplitude, jitter, library, skip, log_share, within, most
):
    """Each read alone: its best sequence, and how likely it is under the entries that may explain it.

    Parameters
    ----------
    x, variance : array (n, T, 4)
    static : array (n, 4)
        Variance of the part that does not change.
    debris : array (3,)
        The share of reads in which that part is much larger, its variance there, and the relative standard
        deviation by which it does change between cycles.
    lagged : array (T, lags, 4, 4)
        Signal of amplitude 1 in cycle t and channel c by the base at t + lag.
    amplitude : array (2,)
        Mean and standard deviation of the logarithm of amplitudes.
    jitter : float
        Relative standard deviation of the signal of one cycle.
    library : array (m, T), uint8
        Sorted sequences; `skip` as `skips` gives it; `log_share` (m,) their abundance.
    within : float
        Entries whose approximate likelihood is so many nats below the best sequence are left out.
    most : int
        Entries kept per read.

    Returns
    -------
    codes (n, T), scores (n, T, 4), gain (n,), a (n,), count (n,), entries (n, most), likelihood (n, most),
    any_sequence (n,), any_entry (n,), inverse (n, T, 4)
        `likelihood`, `any_sequence` (all sequences alike) and `any_entry` (entries by their abundance) are
        logarithms against no signal at all; `inverse` is 1 over the variance that they were found with.
    """
    n, cycles = x.shape[0], x.shape[1]
    m = len(library)
    codes = np.zeros((n, cycles), np.uint8)
    scores = np.zeros((n, cycles, 4))
    gains, amplitudes = np.zeros(n), np.zeros(n)
    count = np.zeros(n, np.int64)
    entries = np.full((n, most), -1, np.int32)
    likelihood = np.full((n, most), -1e30)
    any_sequence, any_entry = np.full(n, -1e30), np.full(n, -1e30)
    inverses, shrink = np.empty((n, cycles, 4)), np.empty((2, 4))
    own, nothing, wide = np.zeros(4), np.zeros(4), np.empty(4)
    tried = np.zeros((2, 2, cycles), np.uint8)
    tried_scores = np.zeros((2, 2, cycles, 4))
    s = np.empty((cycles, 4))
    rest = np.zeros(cycles + 1)
    partial = np.zeros(cycles + 1)
    values = np.empty(cycles)
    still, varies = np.empty(2), np.empty(4)
    low = max(1, (cycles + 1) // 3)
    for r in range(n):
        inverse = inverses[r]
        level = debris[1]
        for c in range(4):
            for k in range(cycles):
                v = x[r, k, c]
                at = k
                while at > 0 and values[at - 1] > v:
                    values[at] = values[at - 1]
                    at -= 1
                values[at] = v
            own[c] = values[:low].mean()
            varies[c] = (debris[2] * values[cycles // 2]) ** 2
            level = max(level, values.mean() ** 2)
        # Debris has no usual brightness: it may be as bright as what is seen.
        wide[:] = level
        # Twice: the first sequence tells how much the signal itself varies.
        kind = 0
        gain, a, information = 0.0, 0.0, 1.0
        for turn in range(2):
            for c in range(4):
                for t in range(cycles):
                    vary = variance[r, t, c] + varies[c]
                    if turn:
                        vary += (jitter * a * s[t, c]) ** 2
                    inverse[t, c] = 1 / vary
            still[0] = _still(x[r], inverse, static[r], shrink[0]) + np.log(1 - debris[0])
            still[1] = _still(x[r], inverse, wide, shrink[1]) + np.log(debris[0])
            top, best_start = -1e300, 0
            for some in range(2):
                for start in range(2):
                    if turn == 0:
                        _start(x[r], inverse, own if start == 0 else nothing, lagged, tried[some, start])
                    elif start == 1:
                        continue
                    else:
                        tried[some, 0] = codes[r]
                    got = _consensus(
                        x[r], inverse, shrink[some], lagged, tried[some, start], tried_scores[some, start]
                    )
                    evidence = still[some] + got[0] + _amplitude_terms(got[1], got[2], amplitude)
                    if evidence > top:
                        top, kind, best_start = evidence, some, start
                        gain, a, information = got
            codes[r] = tried[kind, best_start]
            scores[r] = tried_scores[kind, best_start]
            _signal(codes[r], lagged, s)
        zero = _log_add(still[0], still[1])
        gains[r], amplitudes[r] = gain, a
        log_sum = still[kind] - zero + gain + _amplitude_terms(a, information, amplitude)
        for t in range(cycles):
            total, top = 0.0, -1e30
            for b in range(4):
                total += np.exp(scores[r, t, b] - gain)
                top = max(top, scores[r, t, b] - gain)
            log_sum += np.log(total / 4)
        any_sequence[r] = log_sum
        if m == 0:
            continue
        for t in range(cycles - 1, -1, -1):
            top = -1e30
            for b in range(4):
                top = max(top, scores[r, t, b] - gain)
            rest[t] = rest[t + 1] + top
        bound = rest[0] - within
        # Walk the sorted library; a prefix that cannot reach the bound is passed over whole.
        i, depth, kept = 0, 0, 0
        worst = -1
        while i < m:
            d = depth
            while d < cycles:
                partial[d + 1] = partial[d] + scores[r, d, library[i, d]] - gain
                if partial[d + 1] + rest[d + 1] < bound:
                    break
                d += 1
            if d == cycles:
                if kept < most:
                    entries[r, kept], likelihood[r, kept] = i, partial[cycles]
                    kept += 1
                    if kept == most:
                        worst = np.argmin(likelihood[r])
                elif partial[cycles] > likelihood[r, worst]:
                    entries[r, worst], likelihood[r, worst] = i, partial[cycles]
                    worst = np.argmin(likelihood[r])
                if kept == most:
                    bound = max(bound, likelihood[r, worst])
                d = cycles - 1
            following = skip[i, d]
            if following < m:
                depth = 0
                while library[following, depth] == library[i, depth]:
                    depth += 1
                # Sums are known only up to where this walk came.
                depth = min(depth, d)
            i = following
        count[r] = kept
        top = -1e30
        for k in range(kept):
            _signal(library[entries[r, k]], lagged, s)
            both = -1e30
            for some in range(2):
                gain, a, information = _fit(x[r], inverse, shrink[some], s)
                both = _log_add(both, still[some] + gain + _amplitude_terms(a, information, amplitude))
            likelihood[r, k] = both - zero
            top = max(top, likelihood[r, k] + log_share[entries[r, k]])
        total = 0.0
        for k in range(kept):
            total += np.exp(likelihood[r, k] + log_share[entries[r, k]] - top)
        if kept:
            any_entry[r] = top + np.log(total)
    return codes, scores, gains, amplitudes, count, entries, likelihood, any_sequence, any_entry, inverses


@njit(cache=True)
def under_dark_rings(x, inverse, static, debris, lagged, amplitude, library, entry):
    """Each read as what a filter leaves around spots of an entry: their picture with the sign turned.

    Parameters
    ----------
    x, static, debris, lagged, library
        As `reads_under_library` takes them, and `inverse` as it gives it.
    amplitude : array (2,)
        Mean and standard deviation of the logarithm of amplitudes of rings.
    entry : array (n,)
        Number of the entry, -1 where there is none.

    Returns
    -------
    array (n,)
        Log likelihood against no signal at all, -1e30 where there is no entry.
    """
    n, cycles = x.shape[0], x.shape[1]
    told = np.full(n, -1e30)
    shrink, wide = np.empty(4), np.empty(4)
    s = np.empty((cycles, 4))
    for r in range(n):
        if entry[r] < 0:
            continue
        level = debris[1]
        for c in range(4):
            mean = 0.0
            for t in range(cycles):
                mean += x[r, t, c] / cycles
            level = max(level, mean**2)
        wide[:] = level
        _signal(library[entry[r]], lagged, s)
        zero, ring = -1e30, -1e30
        for some in range(2):
            still = _still(x[r], inverse[r], static[r] if some == 0 else wide, shrink)
            still += np.log(1 - debris[0] if some == 0 else debris[0])
            gain, a, information = _fit(-x[r], inverse[r], shrink, s)
            zero = _log_add(zero, still)
            ring = _log_add(ring, still + gain + _amplitude_terms(a, information, amplitude))
        told[r] = ring - zero
    return told


@njit(cache=True)
def _chance(ratio, base, e, f, rates, split):
    """Log likelihood of reads in a cell that carries e (and f, unless negative) against one without any."""
    n, kinds = len(ratio), len(rates)
    total = 0.0
    for k in range(kinds):
        for m in range(kinds if f >= 0 else 1):
            first = rates[k] * (split if f >= 0 else 1.0)
            second = rates[m] * split if f >= 0 else 0.0
            log_sum, product = -first - second, 1.0
            for q in range(n):
                product *= base[q] + first * ratio[q, e] + (second * ratio[q, f] if f >= 0 else 0.0)
                if product > 1e100 or product < 1e-100:
                    log_sum += np.log(product)
                    product = 1.0
            log_sum += np.log(product)
            total = log_sum if k == 0 and m == 0 else _log_add(total, log_sum)
    return total - np.log(kinds * (kinds if f >= 0 else 1))


@njit(cache=True)
def call_cells(starts, order, rates, entries, likelihood, count, other, log_share, priors, most):
    """What each cell carries, given its reads.

    Parameters
    ----------
    starts : array (cells + 1,), order : array (reads,)
        Reads of cell k are ``order[starts[k]:starts[k + 1]]``.
    rates : array (k,)
        Numbers of reads that show the barcode of a cell that carries one, all equally probable. A cell with
        fewer reads of a barcode than usual is less likely to carry it.
    entries, likelihood, count
        As `reads_under_library` gives them.
    other : array (reads,)
        Log of the number of reads per cell that are like this one and do not show the cell's barcode. They
        come whether or not a cell carries a barcode, so they say nothing about it.
    log_share : array (m,)
    priors : array (3,)
        Logarithms of the shares of cells with no, one and two barcodes.
    most : int
        Entries of a cell that are weighed in pairs.

    Returns
    -------
    best (cells, 2) int, probability (cells, 2), none (cells,), two (cells,), support (cells, 2),
    owned (reads,)
        Entries by the probability that the cell carries them; that it carries nothing; that it carries two;
        reads that speak for each, in sum of their probabilities; the probability that a read is the cell's.
    """
    cells = len(starts) - 1
    best = np.full((cells, 2), -1, np.int32)
    probability = np.zeros((cells, 2))
    none, two = np.ones(cells), np.zeros(cells)
    support, owned = np.zeros((cells, 2)), np.zeros(len(other))
    usual = rates.mean()
    for k in range(cells):
        reads = order[starts[k] : starts[k + 1]]
        n = len(reads)
        total = 0
        for r in reads:
            total += count[r]
        if total == 0:
            continue
        named = np.empty(total, np.int32)
        at = 0
        for r in reads:
            for c in range(count[r]):
                named[at] = entries[r, c]
                at += 1
        named = np.unique(named)
        # Of each read, against that it is not the cell's: all in a unit in which the largest is at most e^60.
        unit = np.zeros(n)
        nothing = priors[0]
        for q in range(n):
            r = reads[q]
            highest = 60.0
            for c in range(count[r]):
                highest = max(highest, likelihood[r, c] - other[r])
            unit[q] = 60.0 - highest
            nothing += unit[q]
        base = np.exp(unit)
        ratio = np.zeros((n, len(named)))
        for q in range(n):
            r = reads[q]
            for c in range(count[r]):
                where = np.searchsorted(named, entries[r, c])
                ratio[q, where] = np.exp(likelihood[r, c] - other[r] + unit[q])
        single = np.empty(len(named))
        for e in range(len(named)):
            single[e] = _chance(ratio, base, e, -1, rates, SPLIT) + log_share[named[e]]
        ranked = np.argsort(-single, kind="mergesort")[:most]
        sums = nothing
        for e in range(len(named)):
            sums = _log_add(sums, single[e] + priors[1])
        pairs = np.full((len(ranked), len(ranked)), -1e30)
        both = -1e30
        for e in range(len(ranked)):
            for f in range(e + 1, len(ranked)):
                score = _chance(ratio, base, ranked[e], ranked[f], rates, SPLIT) + priors[2] + np.log(2.0)
                score += log_share[named[ranked[e]]] + log_share[named[ranked[f]]]
                pairs[e, f] = score
                both = _log_add(both, score)
        sums = _log_add(sums, both)
        none[k] = np.exp(nothing - sums)
        two[k] = np.exp(both - sums)
        carries = np.empty(len(ranked))
        for e in range(len(ranked)):
            value = np.exp(single[ranked[e]] + priors[1] - sums)
            for f in range(len(ranked)):
                if f != e:
                    value += np.exp(pairs[min(e, f), max(e, f)] - sums)
            carries[e] = value
        top = np.argsort(-carries, kind="mergesort")[:2]
        for which in range(len(top)):
            e = ranked[top[which]]
            best[k, which] = named[e]
            probability[k, which] = carries[top[which]]
        # A read speaks for the barcode that explains it better, against all that is not the cell's own.
        for q in range(n):
            r = reads[q]
            first = usual * ratio[q, ranked[top[0]]] * probability[k, 0]
            second = usual * ratio[q, ranked[top[1]]] * probability[k, 1] if len(top) > 1 else 0.0
            owned[r] = (first + second) / (max(base[q], 1e-300) + first + second)
            support[k, 0] += first / (max(base[q], 1e-300) + first + second)
            support[k, 1] += second / (max(base[q], 1e-300) + first + second)
    return best, probability, none, two, support, owned
