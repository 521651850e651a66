"""Zernike moments of shapes within their smallest enclosing circle, to degree 9, from sums over pixels."""

from __future__ import annotations

from math import factorial

import numba
import numpy as np

from cytopipe.screen.features.hull import Hulls, enclosing_circles
from cytopipe.screen.features.objects import Objects

__all__ = ["DEGREE", "ORDERS", "zernike"]

DEGREE = 9
#: Radial degree and azimuthal order of each moment.
ORDERS = tuple((n, m) for n in range(DEGREE + 1) for m in range(n % 2, n + 1, 2))


def zernike(objects: Objects, hulls: Hulls) -> np.ndarray:
    """Magnitudes of the 30 Zernike moments to degree 9; float64, shape (K, 30).

    Every pixel weighs the same, all together 1. The radius is half the circle's diameter, rounded up to whole
    pixels. NaN where all pixels of an object lie on one line.
    """
    found = np.full((len(objects), len(ORDERS)), np.nan)
    factors = np.zeros((len(ORDERS), DEGREE // 2 + 1))
    for place, (n, m) in enumerate(ORDERS):
        for k in range((n - m) // 2 + 1):  # of r^(n - 2k), here of r^(2p) beside r^m
            p = (n - m) // 2 - k
            below = factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k)
            factors[place, p] = (n + 1) / np.pi * (-1) ** k * factorial(n - k) / below
    orders = np.array([m for _, m in ORDERS])
    _zernike(objects.rows, objects.cols, objects.start, enclosing_circles(hulls), orders, factors, found)
    return found


@numba.njit(cache=True, error_model="numpy")
def _zernike(rows, cols, start, circles, orders, factors, found):
    n_powers = DEGREE // 2 + 1
    real, imaginary = np.empty((DEGREE + 1, n_powers)), np.empty((DEGREE + 1, n_powers))
    for k in range(len(circles)):
        row, col, diameter = circles[k]
        if np.isnan(diameter):
            continue
        radius = np.ceil(diameter * (1 - 1e-12)) / 2  # a whole diameter stays whole
        real[:], imaginary[:] = 0.0, 0.0
        n = 0
        for i in range(start[k], start[k + 1]):
            y, x = (rows[i] - row) / radius, (cols[i] - col) / radius
            squared = x * x + y * y
            if squared > 1 + 1e-12:
                continue
            n += 1
            re, im = 1.0, 0.0
            for m in range(DEGREE + 1):
                power = 1.0
                for p in range((DEGREE - m) // 2 + 1):
                    real[m, p] += re * power
                    imaginary[m, p] += im * power
                    power *= squared
                re, im = re * x - im * y, re * y + im * x
        for place in range(len(orders)):
            m = orders[place]
            re = im = 0.0
            for p in range(n_powers):
                re += factors[place, p] * real[m, p]
                im += factors[place, p] * imaginary[m, p]
            found[k, place] = np.sqrt(re * re + im * im) / n
