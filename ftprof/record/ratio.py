"""The statistics of one metric in the strata of one context: what its windows say of the time that others had.

A ratio estimator: counts for each denominator (an SM-active cycle), times the denominators that windows of other groups
saw. Counts are integers and exact; floats occur in errors only.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

# Windows that one ratio is taken from. The ratio of two means is biased by about their relative variance over this
# number; where a run ends inside a stratum, the number of windows in it adds to that.
WINDOWS_OF_RATIO = 64
# Windows of a group that strata are joined for, so that they show by themselves how much they differ.
WINDOWS_OF_STRATUM = 2
# Windows from which a group's share of all windows is known.
WINDOWS_OF_SHARE = 16
# "All of n windows were zero" excludes, at 95 %, what would have been expected in three of them: exp(-3) = 0.05.
RULE_OF_THREE = 3.0
# 97.5 % quantiles of Student's t for 1, 2, ... 10 degrees of freedom.
_FEW_DEGREES = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139)
_NORMAL = 1.959964


def student_t(degrees: float) -> float:
    """The 97.5 % quantile of Student's t, for degrees of freedom that are rounded down, and at least one.

    A table, then the expansion of Cornish and Fisher, whose error beyond ten degrees is under 0.00002.
    """
    nu = max(math.floor(degrees), 1) if degrees < 1e9 else 10**9
    if nu <= len(_FEW_DEGREES):
        return _FEW_DEGREES[nu - 1]
    z, z2 = _NORMAL, _NORMAL**2
    first = (z2 + 1) * z / 4
    second = ((5 * z2 + 16) * z2 + 3) * z / 96
    third = (((3 * z2 + 19) * z2 + 17) * z2 - 15) * z / 384
    fourth = ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) * z / 92160
    return z + (first + (second + (third + fourth / nu) / nu) / nu) / nu


@dataclass(frozen=True)
class Hideout:
    """A part of the time in which something could have stayed unseen.

    ``windows`` is how many windows a microsecond of it had (those that would have found it), ``time_us`` how long it is
    without these windows, ``value`` what a microsecond could hold.
    """

    windows: float
    time_us: int
    value: float

    def times(self, factor: float) -> Hideout:
        """The same place, with so much in each microsecond."""
        return Hideout(self.windows, self.time_us, self.value * factor)


def hidden(places: Iterable[Hideout]) -> float:
    """The most that can have stayed unseen in these places, at 95 %.

    Something that lies where k windows were expected is missed by all with a probability of at most exp(-k). So the
    places where it hides have three expected windows between them: those with most value for a window come first. With
    one place this is the rule of three, with windows of several groups or contexts it holds for all of them together.
    """
    left, total = RULE_OF_THREE, 0.0
    # Of a heap only the first places are put in order; mostly a few hold the three windows.
    heap = [
        (place.windows / place.value if place.value > 0 else math.inf, number, place)
        for number, place in enumerate(places)
    ]
    heapq.heapify(heap)
    while heap and left > 0:
        place = heapq.heappop(heap)[2]
        cost = place.windows * place.time_us
        share = 1.0 if cost <= left else left / cost
        total += share * place.time_us * place.value
        left -= share * cost
    return total


@dataclass(frozen=True)
class Seen:
    """What one group's windows in one stratum saw of the denominators.

    ``slots`` is how many slots the windows are of, ``divisor_squares`` is of slots, and ``length_us`` that of a slot of
    the stratum. ``unseen`` are the denominators in slots of other groups, ``unseen_slots`` how many these are;
    ``edges`` and ``gaps`` are the denominators to be expected in the time without windows.
    """

    slots: int
    divisors: int
    divisor_squares: int
    length_us: float
    unseen: int
    unseen_slots: int
    edges: int
    gaps: int


@dataclass(frozen=True)
class Counts:
    """One metric in one stratum: sums over its group's slots of its count, of the square, of count x denominator."""

    total: int
    squares: int
    products: int


@dataclass(frozen=True)
class Extrapolated:
    """Counts that no window of the group saw, by where they were, and the standard error of ``rotation``.

    Not ``linked``: there are counts without a denominator, or counts in patched code and no link window that says how
    many cycles these stand for. ``missed`` is the least that the high end has to allow for.
    """

    rotation: int
    edges: int
    gaps: int
    error: float
    degrees: float
    linked: bool = True
    missed: float = 0.0

    @property
    def half_width(self) -> float:
        """Of the interval of 95 % around ``rotation``."""
        return student_t(self.degrees) * self.error


NOTHING = Extrapolated(0, 0, 0, 0.0, math.inf)
UNLINKED = Extrapolated(0, 0, 0, 0.0, math.inf, linked=False)


@dataclass(frozen=True)
class Pooled:
    """Sums over slots of several strata: of a count, its square, its product with the denominator, and of that."""

    slots: int
    count: int
    squares: int
    products: int
    divisors: int
    divisor_squares: int

    @property
    def ratio(self) -> Fraction:
        """Count / divisors by Beale, which takes out the bias of a ratio of two means from few windows."""
        plain = Fraction(self.count, self.divisors)
        if self.slots < 2:
            return plain
        n, less = self.slots, self.slots - 1
        # 1 + covariance / n / the product of the means, over 1 + variance / n / the square of the divisors' mean
        top = 1 + (Fraction(n * self.products, self.count * self.divisors) - 1) / less
        bottom = 1 + (Fraction(n * self.divisor_squares, self.divisors**2) - 1) / less
        return plain * top / bottom

    @property
    def relative_variance(self) -> float:
        """Of the ratio, from the slots' residuals; one slot says nothing, so its error is all of it."""
        if self.slots < 2:
            return 1.0
        ratio = self.count / self.divisors
        residuals = self.squares - 2 * ratio * self.products + ratio * ratio * self.divisor_squares
        return max(residuals, 0.0) / self.count / self.count * self.slots / (self.slots - 1)


def extrapolate_patched(patched: Pooled, link: Pooled | None, cycles: tuple[int, int, int]) -> Extrapolated:
    """Counts in windows of patched code, extended by their instructions to the cycles of rotation, edges and gaps.

    Counts are instructions of one kind, so never more than all: as far as three windows could have missed the rest, the
    high end takes every instruction for one of that kind.
    """
    if patched.count == 0:
        return NOTHING
    if link is None or 0 in (link.count, link.divisors, patched.divisors):
        return UNLINKED
    an_instruction = min(patched.ratio, Fraction(1))
    a_cycle = Fraction(link.count, link.divisors)
    rotation, edges, gaps = (round(an_instruction * a_cycle * number) for number in cycles)
    mine, its = patched.relative_variance, link.relative_variance
    return Extrapolated(
        rotation,
        edges,
        gaps,
        error=rotation * math.sqrt(mine + its + mine * its),
        degrees=min(patched.count**2 / patched.squares + 1, link.slots - 1),
        missed=min(RULE_OF_THREE / patched.slots, 1.0) * float((1 - an_instruction) * a_cycle * cycles[0]),
    )


def rounded(numerator: int, denominator: int) -> int:
    """The quotient of two numbers from 0, to the nearest integer."""
    return (2 * numerator + denominator) // (2 * denominator)


def joined(windows: Sequence[int], least: int) -> list[range]:
    """Neighbouring strata, by index, joined until each has so many windows, or is all there is."""
    ends, count = [0], 0
    for index, number in enumerate(windows):
        count += number
        if count >= least:
            ends.append(index + 1)
            count = 0
    if len(ends) == 1:
        return [range(len(windows))] if windows else []
    ends[-1] = len(windows)
    return [range(begin, end) for begin, end in pairwise(ends)]


def extrapolate(strata: Sequence[Seen], counts: Sequence[Counts]) -> Extrapolated:
    """From the windows of a group to all windows and to the time between them.

    The schedule gives a group the same share of every stratum, so neighbouring strata may share a ratio (a cell). The
    error of each stratum is that of a random sample of its slots. Zero counts give zero, with no error: they need an
    upper limit, see ``hidden``.
    """
    rotation = edges = gaps = 0
    variance = spread = reached = squares = 0.0
    linked = True
    reach = _neighbourhoods(len(strata))
    for cell in joined([seen.slots for seen in strata], WINDOWS_OF_RATIO):
        count = sum(counts[h].total for h in cell)
        divisors = sum(strata[h].divisors for h in cell)
        unseen = sum(strata[h].unseen for h in cell)
        if divisors == 0:
            linked = linked and (count == 0 or unseen == 0)
            continue
        rotation += rounded(count * unseen, divisors)
        edges += rounded(count * sum(strata[h].edges for h in cell), divisors)
        gaps += rounded(count * sum(strata[h].gaps for h in cell), divisors)
        factor = unseen / divisors  # what each count adds to the extrapolated part
        for h in cell:
            slots = factor * factor * strata[h].slots + strata[h].unseen_slots
            share = slots * _variance(strata, counts, h, reach[h], count / divisors)
            variance += share
            if share > 0:
                spread += share * share / _degrees(strata, reach[h])
            reached += factor * counts[h].total
            squares += factor * factor * counts[h].squares
    # Of the variance by Satterthwaite, but no more than what slots with counts there were, plus one: for few of them
    # the interval then is as wide as Poisson's.
    degrees = min(
        variance * variance / spread if spread > 0 else math.inf,
        reached * reached / squares + 1 if squares > 0 else math.inf,
    )
    return Extrapolated(rotation, edges, gaps, math.sqrt(variance), degrees, linked)


def _neighbourhoods(number: int) -> list[range]:
    """For each stratum those whose slots tell how much its own may differ: itself and its neighbours.

    Its few slots alone are not enough: all of them can lie on one side of the moment at which a phase begins.
    """
    return [range(max(h - 1, 0), min(h + 2, number)) for h in range(number)]


def _variance(strata: Sequence[Seen], counts: Sequence[Counts], h: int, reach: range, ratio: float) -> float:
    """Of the residuals (count - ratio x denominator) of slots in and around stratum ``h``, at its slots' length."""
    slots, total, squares, largest = 0, 0.0, 0.0, 0.0
    for j in reach:
        seen, count = strata[j], counts[j]
        scale = strata[h].length_us / seen.length_us
        slots += seen.slots
        total += scale * (count.total - ratio * seen.divisors)
        residual = count.squares - 2 * ratio * count.products + ratio * ratio * seen.divisor_squares
        squares += scale * scale * max(residual, 0.0)
        largest += scale * scale * count.squares
    if slots < 2:
        return largest  # a single slot in the whole run: it may have been the only one of its kind
    return max(squares - total * total / slots, 0.0) / (slots - 1)


def _degrees(strata: Sequence[Seen], reach: range) -> float:
    """Of a stratum's share of the variance; neighbours share their windows with it."""
    return max(sum(strata[j].slots for j in reach) - 1, 1) / len(reach)
