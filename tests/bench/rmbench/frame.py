"""Rounds, medians, rows. A row says what was measured, beside whom, and whether
its bound holds; one that could not be measured never holds."""

import math
import statistics
import sys

ROUNDS = 5  # the fewest of which a figure is taken

_wanted = {"rounds": ROUNDS}
FIGURES = {"median": statistics.median, "maximum": max}
COMPARE = {"<": lambda a, b: a < b, ">": lambda a, b: a > b,
           "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b}


class Unmeasured(Exception):
    """Why there is no figure."""


def tell(text):
    """A long group is followed."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def set_rounds(n):
    if n < ROUNDS:
        raise ValueError(f"fewer than {ROUNDS} rounds give no figure")
    _wanted["rounds"] = n


def n_rounds(at_most=math.inf):
    """Where more of them say more."""
    return min(_wanted["rounds"], at_most)


class Spec:
    """What a row is, before it is measured. bound: None (report only), or text as
    "value < 50" or "ratio >= 0.5"; ratio is value / peer's value. Instead of a
    number a sum, as "value <= token + 100", whose names are terms: what they are
    is known only when it was measured, and given to row_of. of: which figure of
    the samples counts."""

    def __init__(self, name, unit, bound, what, peer=None, of="median", terms=()):
        self.name, self.unit, self.bound, self.what, self.peer = name, unit, bound, what, peer
        self.of, self.terms = of, terms
        parse_bound(self, {term: 0 for term in terms})
        if of not in FIGURES:
            raise ValueError(f"not a figure: {of}")


def parse_bound(spec, terms):
    """None, or what is compared, by which sign, with which number."""
    if spec.bound is None:
        return None
    what, sign, limit = spec.bound.split(maxsplit=2)
    if what not in ("value", "ratio") or sign not in COMPARE:
        raise ValueError(f"not a bound: {spec.bound}")
    return what, sign, sum(terms[word] if word in spec.terms else float(word) for word in limit.split(" + "))


def number_text(value):
    return f"{value:.0f}" if value == int(value) else str(value)


def rounds(value, peer=None, n=ROUNDS):
    """n times value(), peer(): each after the other, so that a noisy moment
    meets both. Gives both lists and why the peer is missing, which ends its
    own list only; what value() raises is the caller's."""
    values, peers, missing = [], [], None
    for _ in range(n):
        values.append(value())
        if peer and missing is None:
            try:
                peers.append(peer())
            except Unmeasured as why:
                missing = str(why)
    return values, peers, missing


def figure_of(spec, samples):
    if len(samples) < ROUNDS:
        raise Unmeasured(f"only {len(samples)} of {ROUNDS} rounds were measured")
    for sample in samples:
        if isinstance(sample, bool) or not isinstance(sample, (int, float)) or not math.isfinite(sample) or sample < 0:
            raise Unmeasured(f"a round gave {sample!r}, which is no measurement")
    return FIGURES[spec.of](samples)


def empty_row(spec):
    return {"name": spec.name, "value": None, "unit": spec.unit, "peer": spec.peer, "peer_value": None,
            "ratio": None, "bound": spec.bound, "holds": False, "reason": None, "note": None,
            "samples": [], "peer_samples": []}


def failed_row(spec, why):
    return {**empty_row(spec), "reason": f"not measured: {why}"}


def take_peer(row, spec, peers, missing):
    try:
        if missing is not None:
            raise Unmeasured(missing)
        row["peer_value"] = figure_of(spec, peers)
    except Unmeasured as why:
        row["reason"] = f"the peer is missing: {why}"


def row_of(spec, values, peers=(), missing=None, note=None, terms=None):
    row = {**empty_row(spec), "note": note, "samples": list(values), "peer_samples": list(peers)}
    try:
        row["value"] = figure_of(spec, values)
    except Unmeasured as why:
        row["reason"] = f"not measured: {why}"
        return row
    if spec.peer:
        take_peer(row, spec, peers, missing)
    if row["peer_value"]:
        row["ratio"] = row["value"] / row["peer_value"]
    judge(row, spec, terms or {})
    return row


def judge(row, spec, terms):
    if spec.bound is None:
        row["holds"] = True
        return
    what, sign, limit = parse_bound(spec, terms)
    row["bound"] = f"{what} {sign} {number_text(limit)}"
    if row[what] is None:
        row["reason"] = row["reason"] or f"there is no {what}: the peer gave 0"
        return
    row["holds"] = COMPARE[sign](row[what], limit)


def run_group(group, names):
    """One row for each of the names, whatever the group does."""
    wanted = {spec.name: spec for spec in group.ROWS if spec.name in names}
    why = "the group gave no such row"
    try:
        for row in group.measure(set(wanted)):
            if wanted.pop(row["name"], None):
                yield row
    except Exception as error:  # what it did not get to is not measured, and says so
        why = f"{type(error).__name__}: {error}" if not isinstance(error, Unmeasured) else str(error)
    for spec in wanted.values():
        yield failed_row(spec, why)


def exit_code(rows, n_wanted):
    return 0 if rows and len(rows) == n_wanted and all(row["holds"] is True for row in rows) else 1
