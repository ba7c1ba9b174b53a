"""Is what clients saw of the registers linearizable? Pure: values in, verdict out.

An operation reads or writes one register (a setting of the cluster) between two
moments of one clock: `call`, when the client asked, and `ret`, when it had the
answer. A write whose answer never came has ret None: it may take effect at any
later moment, or never. Every write has a value of its own. A read may say
`after`: the value of an acknowledged write that is before it, though they
overlap.

A history is linearizable when each operation can be given one moment between
its call and its ret, so that, in the order of these moments, every read
returns what the last write before it wrote. Registers are judged one by one:
a history is linearizable exactly when that of each register is (Herlihy, Wing,
1990, theorem 1).

The search is that of Wing and Gong (1993) with Lowe's memory (2017). The calls
and returns stand in one list in the order of time. From its start on, each call
that comes before the first return may be the next operation; one that fits the
register's value is taken out with its return, and the search goes on from the
start. When a return is met first, its operation can no longer be placed: the
last choice is undone, and the next call behind it tried. Which operations were
placed and what the register then held is kept: there is nothing new to find in
the same again. Two shortcuts lose nothing:

  - A read that fits may be placed at once and for good: it changes nothing, and
    only later moments are left for the others.
  - A write of unknown outcome whose value nobody read is left out: what it could
    do, nobody saw."""

from dataclasses import dataclass
from itertools import groupby

WRITE, READ = "write", "read"


class Malformed(Exception):
    """The record is none: this says nothing about the cluster."""


@dataclass(frozen=True)
class Operation:
    kind: str
    key: str
    value: str
    call: int
    ret: int | None
    who: str
    after: str | None = None

    def __str__(self):
        end = f"{self.ret / 1e9:.6f}" if self.ret is not None else "?"
        return f"[{self.call / 1e9:.6f} … {end}] {self.who} {self.kind} {self.key} {self.value!r}"


class Event:
    """A call or a return in the list. Those that are taken out keep their
    neighbours, so that they can be put back in the opposite order."""
    __slots__ = ("number", "operation", "ret", "before", "after")

    def __init__(self, number, operation, ret):
        self.number, self.operation, self.ret = number, operation, ret
        self.before = self.after = None

    @property
    def is_call(self):
        return self.ret is not None

    def lift(self):
        for event in (self, self.ret):
            event.before.after = event.after
            if event.after:
                event.after.before = event.before

    def unlift(self):
        for event in (self.ret, self):
            event.before.after = event
            if event.after:
                event.after.before = event


def faults(operations, initial):
    """A text for each register that was not linearizable. initial: {key: value}"""
    found = []
    for key, group in groupby(sorted(operations, key=lambda o: o.key), lambda o: o.key):
        fault = fault_of(list(group), initial[key])
        found += [f"{key}: {fault}"] if fault else []
    return found


def fault_of(operations, initial):
    """Why one register's history is not linearizable, or None."""
    check_form(operations, initial)
    written = {o.value for o in operations if o.kind == WRITE} | {initial}
    for o in operations:
        if o.kind == READ and o.value not in written:
            return f"nobody wrote what was read: {o}"
    seen = {o.value for o in operations if o.kind == READ}
    kept = [o for o in operations if o.ret is not None or o.value in seen]
    stuck = search(kept, initial)
    return f"no order explains {stuck}, nor what is beside it:\n" + surroundings(kept, stuck) if stuck else None


def check_form(operations, initial):
    values = [o.value for o in operations if o.kind == WRITE]
    if len(set(values)) != len(values) or initial in values:
        raise Malformed("two writes of one value")
    if any(o.kind == READ and o.ret is None for o in operations):
        raise Malformed("a read without an answer")
    sure = {o.value for o in operations if o.kind == WRITE and o.ret is not None}
    if any(o.after is not None and (o.kind == WRITE or o.after not in sure) for o in operations):
        raise Malformed("a read after what is no acknowledged write")
    if any(o.ret is not None and o.ret < o.call for o in operations):
        raise Malformed("an answer before its question")


def link(operations):
    """The head of the list. At one moment calls stand before returns: the
    operations then overlap."""
    marks = []
    for number, o in enumerate(operations):
        ret = Event(number, o, None)
        end = (1, 0) if o.ret is None else (0, o.ret)
        marks.append(((0, o.call), 0, number, Event(number, o, ret)))
        marks.append((end, 1, number, ret))
    head = last = Event(-1, None, None)
    for *_, event in sorted(marks, key=lambda mark: mark[:3]):
        last.after, event.before = event, last
        last = event
    return head


def search(operations, initial):
    """None, or the operation whose return was met on every way."""
    head = link(operations)
    bits = {o.value: 1 << number for number, o in enumerate(operations) if o.kind == WRITE}
    value, placed, left = initial, 0, sum(o.ret is not None for o in operations)
    tried, choices = set(), []  # choices: (event, value before)
    deepest, stuck = -1, None
    event = head.after
    while left:
        if event.is_call:
            o = event.operation
            after = o.value if o.kind == WRITE else value
            mark = (placed | 1 << event.number, after)
            fits = o.kind == WRITE or (o.value == value and (o.after is None or placed & bits[o.after]))
            if fits and mark not in tried:
                tried.add(mark)
                choices.append((event, value))
                placed, value, left = mark[0], after, left - (o.ret is not None)
                event.lift()
                event = head.after
            else:
                event = event.after
            continue
        if len(choices) > deepest:
            deepest, stuck = len(choices), event.operation
        while choices:  # a read is no choice: see the shortcuts
            event, value = choices.pop()
            event.unlift()
            placed, left = placed ^ 1 << event.number, left + (event.operation.ret is not None)
            if event.operation.kind == WRITE:
                break
        else:
            return stuck
        event = event.after
    return None


def surroundings(operations, stuck, most=12):
    """The operations that overlap it, and the last writes before it."""
    end = stuck.ret if stuck.ret is not None else stuck.call
    beside = [o for o in operations if o.call <= end and (o.ret is None or o.ret >= stuck.call)]
    before = [o for o in operations if o.ret is not None and o.ret < stuck.call and o.kind == WRITE]
    lines = sorted(before, key=lambda o: o.ret)[-3:] + sorted(beside, key=lambda o: o.call)[:most]
    return "\n".join(f"  {o}" for o in lines)
