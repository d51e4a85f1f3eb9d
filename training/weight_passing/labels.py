"""Which neurons a tensor dimension runs over, as sums of products of unknown factors.

A dimension is an expression over atoms: a product (outer factors first) where dimensions were merged
or split, a sum where they were concatenated or cut. Two dimensions that an operation ties are unified,
which refines atoms; a refinement only ever shrinks the set of renumberings, so it is always safe.
`Fixed` stands for positions that must keep their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias


class Misaligned(Exception):
    """Two factorisations have no common refinement; the operation is to be treated as unknown."""


@dataclass(frozen=True)
class Fixed:
    """Positions in a fixed order; size 1 is the empty product."""

    size: int


@dataclass(eq=False)
class Atom:
    """Positions that may be renumbered freely as far as is known.

    Attributes:
        size: number of positions, >= 2.
        origin: operation and dimension that split it off a larger atom, if one did.
        to: what it turned out to be.
    """

    size: int
    origin: tuple[int, int] | None = None
    to: Expr | None = None


@dataclass(frozen=True)
class Prod:
    """Every combination of the parts' positions, the first part varying slowest."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True)
class Sum:
    """The parts' positions one after the other."""

    parts: tuple[Expr, ...]


Expr: TypeAlias = Fixed | Atom | Prod | Sum
UNIT = Fixed(1)


def fresh(size: int, origin: tuple[int, int] | None = None) -> Expr:
    """An unknown dimension of so many positions."""
    return Atom(size, origin) if size > 1 else Fixed(size)


def size_of(expr: Expr) -> int:
    """Number of positions."""
    if isinstance(expr, Fixed | Atom):
        return expr.size
    sizes = [size_of(part) for part in expr.parts]
    return math.prod(sizes) if isinstance(expr, Prod) else sum(sizes)


def resolve(expr: Expr) -> Expr:
    """The expression as far as it is known by now, flattened, with neighbouring fixed parts merged."""
    if isinstance(expr, Atom):
        if expr.to is None:
            return expr
        expr.to = resolve(expr.to)
        return expr.to
    if isinstance(expr, Prod):
        return product(expr.parts)
    return concatenation(expr.parts) if isinstance(expr, Sum) else expr


def product(parts: Iterable[Expr]) -> Expr:
    """Normal form of a product."""
    found: list[Expr] = []
    for part in _flat(parts, Prod):
        if isinstance(part, Fixed) and found and isinstance(found[-1], Fixed):
            found[-1] = Fixed(found[-1].size * part.size)
        elif part != UNIT:
            found.append(part)
    return Prod(tuple(found)) if len(found) > 1 else (found[0] if found else UNIT)


def concatenation(parts: Iterable[Expr]) -> Expr:
    """Normal form of a sum."""
    found: list[Expr] = []
    for part in _flat(parts, Sum):
        if isinstance(part, Fixed) and found and isinstance(found[-1], Fixed):
            found[-1] = Fixed(found[-1].size + part.size)
        elif part != Fixed(0):
            found.append(part)
    return Sum(tuple(found)) if len(found) > 1 else (found[0] if found else Fixed(0))


def _flat(parts: Iterable[Expr], kind: type[Prod] | type[Sum]) -> Iterator[Expr]:
    for part in parts:
        known = resolve(part)
        if isinstance(known, Prod | Sum) and isinstance(known, kind):
            yield from known.parts
        else:
            yield known


def atoms(expr: Expr) -> Iterator[Atom]:
    """The free atoms of an expression."""
    known = resolve(expr)
    if isinstance(known, Atom):
        yield known
    elif isinstance(known, Prod | Sum):
        for part in known.parts:
            yield from atoms(part)


def fix(expr: Expr) -> Expr:
    """Forbid every renumbering of these positions."""
    for atom in list(atoms(expr)):
        atom.to = Fixed(atom.size)
    return resolve(expr)


def unify(first: Expr, second: Expr) -> Expr:
    """Tie two dimensions of one size position by position; where that cannot be expressed, fix both."""
    a, b = resolve(first), resolve(second)
    if a is b or a == b:
        return a
    if isinstance(a, Fixed) or isinstance(b, Fixed):
        fix(a)
        return fix(b)
    if isinstance(a, Atom):
        _refine(a, b)
        return resolve(b)
    if isinstance(b, Atom):
        _refine(b, a)
        return resolve(a)
    try:
        _align(a, b)
    except Misaligned:
        fix(a)
        fix(b)
    return resolve(a)


def _refine(atom: Atom, expr: Expr) -> None:
    """Being of one size, neither can be a proper part of the other."""
    if isinstance(expr, Atom):
        expr.origin = expr.origin or atom.origin
    atom.to = expr


def _align(a: Expr, b: Expr) -> None:
    if isinstance(a, Prod) and isinstance(b, Prod):
        left, right = list(a.parts), list(b.parts)
        while left and right:
            n = min(size_of(left[0]), size_of(right[0]))
            unify(take(left, n), take(right, n))
        return
    left, right = [a], [b]
    while left and right:
        _expand(left, Sum)
        _expand(right, Sum)
        n = min(size_of(left[0]), size_of(right[0]))
        unify(_take_first(left, n), _take_first(right, n))


def _expand(parts: list[Expr], kind: type[Prod] | type[Sum]) -> None:
    """Replace the first part by its own parts while it is of a kind."""
    parts[0] = resolve(parts[0])
    while isinstance(parts[0], Prod | Sum) and isinstance(parts[0], kind):
        parts[:1] = parts[0].parts
        parts[0] = resolve(parts[0])


def _take_first(parts: list[Expr], n: int) -> Expr:
    head = parts.pop(0)
    if size_of(head) == n:
        return head
    first, rest = cut(head, n)
    parts.insert(0, rest)
    return first


def take(factors: list[Expr], n: int, origin: tuple[int, int] | None = None) -> Expr:
    """Take the outermost factors that make up n positions off a list, splitting one if need be.

    Raises:
        Misaligned: n is not a product of outer factors.
    """
    taken: list[Expr] = []
    need = n
    while need > 1:
        if not factors:
            raise Misaligned
        _expand(factors, Prod)
        head = factors.pop(0)
        size = size_of(head)
        if size and need % size == 0:
            taken.append(head)
            need //= size
        elif size % need == 0:
            outer, inner = split(head, need, origin)
            taken.append(outer)
            factors.insert(0, inner)
            need = 1
        else:
            raise Misaligned
    return product(taken)


def split(expr: Expr, outer: int, origin: tuple[int, int] | None = None) -> tuple[Expr, Expr]:
    """See a dimension as (outer, inner).

    Raises:
        Misaligned: its parts do not allow it.
    """
    expr, size = resolve(expr), size_of(expr)
    if outer == 1 or outer == size:
        return (UNIT, expr) if outer == 1 else (expr, UNIT)
    if size % outer:
        raise Misaligned
    inner = size // outer
    if isinstance(expr, Fixed):
        return Fixed(outer), Fixed(inner)
    if isinstance(expr, Atom):
        parts = fresh(outer, origin), fresh(inner)
        expr.to = Prod(parts)
        return parts
    if isinstance(expr, Prod):
        factors = list(expr.parts)
        return take(factors, outer, origin), product(factors)
    if any(size_of(part) % inner for part in expr.parts):
        raise Misaligned
    pairs = [split(part, size_of(part) // inner) for part in expr.parts]
    for _, second in pairs[1:]:
        unify(pairs[0][1], second)
    return concatenation(first for first, _ in pairs), resolve(pairs[0][1])


def cut(expr: Expr, n: int) -> tuple[Expr, Expr]:
    """See a dimension as its first n positions and the rest.

    Raises:
        Misaligned: a product is cut through an inner factor.
    """
    expr, size = resolve(expr), size_of(expr)
    if n == 0 or n == size:
        return (Fixed(0), expr) if n == 0 else (expr, Fixed(0))
    if isinstance(expr, Fixed):
        return Fixed(n), Fixed(size - n)
    if isinstance(expr, Atom):
        parts = fresh(n), fresh(size - n)
        expr.to = Sum(parts)
        return parts
    if isinstance(expr, Prod):
        inner = product(expr.parts[1:])
        if n % size_of(inner):
            raise Misaligned
        first, rest = cut(expr.parts[0], n // size_of(inner))
        return product([first, inner]), product([rest, inner])
    return _cut_sum(expr.parts, n)


def _cut_sum(parts: Sequence[Expr], n: int) -> tuple[Expr, Expr]:
    before: list[Expr] = []
    rest = list(parts)
    while n:
        head = rest.pop(0)
        size = size_of(head)
        if size > n:
            first, second = cut(head, n)
            before.append(first)
            rest.insert(0, second)
            break
        before.append(head)
        n -= size
    return concatenation(before), concatenation(rest)
