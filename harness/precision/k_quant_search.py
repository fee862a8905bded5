"""The scale that each group of a K-quant gets: searched, so that the weighted error of the group is small.

Sums decide which of several scales is best, so they have ggml's bits: terms are added in the order of its
loops, every product is rounded before it is added, and nothing is divided by a plain number, which torch may
multiply by its inverse.

All tensors are fp32. ``x`` is group × groups: each row holds one weight of every group. Source: ggml 0.13.1,
``ggml-quants.c``, without an importance matrix.
"""

from __future__ import annotations

import torch

LEAST = 1e-15
"""A group whose absolute values are all smaller is stored as zeros."""
ROUNDS = 5
"""How often a code of Q3_K is looked at again."""


def symmetric(x: torch.Tensor, levels: int) -> torch.Tensor:
    """Return the scale of each group for codes of −levels to levels − 1: the best of 19.

    Weights count by their squares. The search begins where the largest weight has the smallest code.
    """
    largest, square = first_largest(x), x * x
    cube, terms = square * x, x.new_empty(len(x), 2, x.shape[1])
    scale = best = torch.zeros_like(largest)
    for step in (0, *range(-9, 0), *range(1, 10)):
        codes = _codes(x, fraction(-_levels(levels, step), largest), -levels, levels - 1)
        torch.mul(cube, codes, out=terms[:, 0])
        torch.mul(square * codes, codes, out=terms[:, 1])
        by_weight, by_code = in_order(terms)
        made = by_weight / by_code
        better = by_weight * by_weight > best * by_code if step else by_code != 0
        better &= by_code > 0
        scale, best = made.where(better, scale), (made * by_weight).where(better, best)
    return scale.where(largest.abs() >= LEAST, torch.zeros_like(scale))


def refined(x: torch.Tensor, levels: int) -> torch.Tensor:
    """Return the scale of each group for codes of −levels to levels − 1, which are changed one by one.

    Weights count by their squares. Each code in turn becomes what fits the others' scale, if that is better.
    """
    largest = first_largest(x)
    codes = _codes(x, fraction(-levels, largest), -levels, levels - 1)
    square = x * x
    cube = square * x
    by_weight, by_code = in_order(cube * codes), in_order(square * codes * codes)
    for _ in range(ROUNDS):
        for weight, weight2, weight3, code in zip(x, square, cube, codes, strict=True):
            less, less2 = by_weight - weight3 * code, by_code - weight2 * code * code
            other = _nearest(weight * less2 / less).clamp_(-levels, levels - 1)
            more, more2 = less + weight3 * other, less2 + weight2 * other * other
            better = more * more * by_code > by_weight * by_weight * more2
            better &= (less > 0) & (more2 > 0) & (other != code)
            code.copy_(other.where(better, code))
            by_weight, by_code = more.where(better, by_weight), more2.where(better, by_code)
    scale = (by_weight / by_code).where(by_code > 0, torch.zeros_like(by_code))
    return scale.where(largest.abs() >= LEAST, torch.zeros_like(scale))


def affine(
    x: torch.Tensor, levels: int, first: float, steps: int, *, absolute: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scale and minus the minimum of each group for codes of 0 to levels.

    Args:
        first: a group's spread is divided by ``levels + first``, and by a tenth more in each of ``steps``;
            for the codes that follow, the scale and minimum of the least squares are taken.
        absolute: whether errors count as they are, weighted by the absolute weight; else by their squares,
            weighted by that and the group's root mean square.
    """
    importance = x.abs()
    if not absolute:
        mean = in_order(x * x) / len(x)
        importance = importance + mean.double().sqrt().float()  # findings/torch_cpu_sqrt.sh
    total, total_x = in_order(importance), in_order(importance * x)
    least, most = x.amin(0).clamp_(max=0), x.amax(0)
    inverse = fraction(levels, most - least)
    scale = fraction(1, inverse)
    error = _error(x, _codes(x - least, inverse, 0, levels), importance, scale, least, absolute)
    terms = x.new_empty(len(x), 3, x.shape[1])
    for step in range(steps + 1):
        inverse = fraction(_levels(levels, step, first), most - least)
        codes = _codes(x - least, inverse, 0, levels)
        torch.mul(importance, codes, out=terms[:, 0])
        torch.mul(terms[:, 0], codes, out=terms[:, 1])
        torch.mul(terms[:, 0], x, out=terms[:, 2])
        made, low, solved = _fitted(total, total_x, *in_order(terms))
        made_error = _error(x, codes, importance, made, low, absolute)
        better = solved & (made_error < error)
        scale, least = made.where(better, scale), low.where(better, least)
        error = made_error.where(better, error)
    return scale, -least


def _fitted(
    total: torch.Tensor,
    total_x: torch.Tensor,
    codes: torch.Tensor,
    squares: torch.Tensor,
    products: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scale and minimum of the least weighted squares, the minimum at most 0, and where they exist."""
    determinant = total * squares - codes * codes
    scale = (total * products - total_x * codes) / determinant
    low = (squares * total_x - codes * products) / determinant
    above = low > 0
    return (products / squares).where(above, scale), low.clamp_(max=0), determinant > 0


def _error(
    x: torch.Tensor,
    codes: torch.Tensor,
    importance: torch.Tensor,
    scale: torch.Tensor,
    least: torch.Tensor,
    absolute: bool,
) -> torch.Tensor:
    apart = (codes * scale).add_(least).sub_(x)
    return in_order((apart.abs_() if absolute else apart.square_()).mul_(importance))


def first_largest(x: torch.Tensor) -> torch.Tensor:
    """Return what is largest in absolute value along the first dimension; of equal ones the first."""
    largest, size = x[0], x[0].abs()
    for each in x[1:]:
        largest, size = each.where(each.abs() > size, largest), size.maximum(each.abs())
    return largest


def in_order(terms: torch.Tensor) -> torch.Tensor:
    """Return the sum along the first dimension, added one after the other."""
    total = terms[0] + terms[1]
    for term in terms[2:]:
        total.add_(term)
    return total


def fraction(number: float, divisor: torch.Tensor) -> torch.Tensor:
    """Return ``number / divisor`` rounded once; torch inverts a divisor beside a plain number."""
    return torch.full_like(divisor, number) / divisor


def _levels(levels: int, tenths: int, first: float = 0.0) -> float:
    """Return ``first + tenths / 10 + levels`` with the rounding errors of fp32."""
    tenth, count, start = torch.tensor([0.1, tenths, first])
    return float(start + tenth * count + levels)


def _codes(x: torch.Tensor, inverse: torch.Tensor, low: int, high: int) -> torch.Tensor:
    return (x * inverse).round_().clamp_(low, high)


def _nearest(x: torch.Tensor) -> torch.Tensor:
    """Return the nearest whole number as ggml does: beyond 2²² it is another one."""
    return ((x + 12582912.0).view(torch.int32) & 0x7FFFFF).sub_(0x400000).float()
