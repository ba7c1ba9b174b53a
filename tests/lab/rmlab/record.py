"""What a chaos run recorded, and what it proves. Pure: lines in, faults out.

tests/chaos/client.c says what its lines are; each process has a record of its
own. The run itself records, by the same clock:

    init T REGISTER=VALUE…      what the registers held before the first client
    split T NODES | NODES       from here on no packet passes between the two (names, by commas)
    join T                      and from here on they may again
    hurt T NODE                 this node's agent is killed or frozen now
    well T NODE                 it answers again
    cycle T N TEXT              what is done next, for the reader"""

from dataclasses import dataclass, field

from .history import Malformed, Operation, READ, WRITE, faults as history_faults


@dataclass
class Verdict:
    """What corosync said on one node, from one moment to the next."""
    node: str
    start: int
    end: int
    ring: str
    members: frozenset

    def __str__(self):
        return f"{self.node} on ring {self.ring} ({' '.join(sorted(self.members))})"


@dataclass
class Record:
    initial: dict = field(default_factory=dict)
    operations: list = field(default_factory=list)
    quorate: list = field(default_factory=list)  # Verdict: when corosync said yes
    splits: list = field(default_factory=list)   # (start, end, side, side)
    hurts: list = field(default_factory=list)    # (start, end, node)
    node_of: dict = field(default_factory=dict)  # client: node
    counts: dict = field(default_factory=dict)


def events(text):
    """(kind, time, words) of each whole line; a killed process may leave half a
    line at the end."""
    whole, _, _ = text.rpartition("\n")
    for line in whole.splitlines():
        kind, *words = line.split(" ")
        if not words or not words[0].isdigit():
            raise Malformed(f"a line of the record: {line!r}")
        yield kind, int(words[0]), words[1:]


# -- the run's own lines -------------------------------------------------------

def read_run(record, text):
    split, hurt, last = None, {}, 0
    for kind, time, words in events(text):
        last = max(last, time)
        if kind == "init":
            record.initial = dict(word.split("=", 1) for word in words)
        elif kind == "split":
            left, right = " ".join(words).split(" | ")
            split = (time, set(left.split(",")), set(right.split(",")))
        elif kind == "join" and split:
            record.splits.append((split[0], time, split[1], split[2]))
            split = None
        elif kind == "hurt":
            hurt.setdefault(words[0], time)
        elif kind == "well" and words[0] in hurt:
            record.hurts.append((hurt.pop(words[0]), time, words[0]))
    record.hurts += [(start, last, node) for node, start in hurt.items()]


# -- a client process's lines --------------------------------------------------

def read_client(record, node, text, names):
    """names: {corosync's nodeid as a text: node}"""
    calls, ring, said, last = {}, None, None, 0

    def end_verdict(time):
        nonlocal said
        if said:
            said.end = time
            record.quorate.append(said)
        said = None

    for kind, time, words in events(text):
        last = max(last, time)
        record.counts[kind] = record.counts.get(kind, 0) + 1
        if kind == "call":
            record.node_of[words[0]] = node
            calls[words[0], words[1]] = Operation(WRITE, words[2], words[3], time, None, words[0])
        elif kind == "done":
            call = calls[words[0], words[1]]
            calls[words[0], words[1]] = Operation(**{**vars(call), "ret": time})
        elif kind == "read":
            own = calls[words[0], words[1]]
            for key, value in (word.split("=", 1) for word in words[2:]):
                after = own.value if key == own.key else None
                record.operations.append(Operation(READ, key, value, own.call, time, words[0], after))
        elif kind == "ring":  # a verdict on it is yet to come
            end_verdict(time)
            ring = (words[0], frozenset(names[word] for word in words[1:]))
        elif kind == "quorate":
            end_verdict(time)
            if words[0] == "1" and ring:
                said = Verdict(node, time, time, *ring)
        elif kind == "gone":
            end_verdict(time)
            ring = None
    end_verdict(last)
    record.operations += calls.values()


# -- what it proves ------------------------------------------------------------

BRIEF_NS = 200_000_000  # below a token time-out; an agent answers a wrong word of corosync within some ms


def faults(record):
    return [*history_faults(record.operations, record.initial), *split_commits(record),
            *two_verdicts(record)]


def split_commits(record):
    """Two sides that no packet passes between, and both were told that a write
    is committed which they asked for meanwhile."""
    for start, end, left, right in record.splits:
        done = [o for o in record.operations
                if o.kind == WRITE and o.ret is not None and start <= o.call and o.ret <= end]
        sides = [[o for o in done if record.node_of[o.who] in side] for side in (left, right)]
        if all(sides):
            yield f"both sides of a split commit:\n  {sides[0][0]}\n  {sides[1][0]}"


def two_verdicts(record):
    """Two nodes whose rings have no node in common, and corosync says yes on
    both at a time. Where a node has gone from one ring to another, who is left
    in the old one learns of it a token later: so far its verdict is old. An
    agent that is killed or frozen cannot withdraw its vote in time either;
    design: quorum and witness, "corosync's verdict can be stale". And on a new
    ring corosync may hold to the old vote for a moment, against what its agent
    told it (agent/io/quorum.c, on_quorum): not longer than BRIEF_NS."""
    sure = sorted((v for v in record.quorate if not is_excused(record, v)), key=lambda v: v.start)
    open_ = []
    for verdict in sure:
        open_ = [other for other in open_ if other.end > verdict.start]
        for other in open_:
            both = min(other.end, verdict.end) - verdict.start
            if not other.members & verdict.members and both > BRIEF_NS:
                yield f"corosync says quorate on both, for {both / 1e6:.0f} ms: {other}; {verdict}"
        open_.append(verdict)


def is_excused(record, verdict):
    return any(node == verdict.node and start < verdict.end and verdict.start < end
               for start, end, node in record.hurts)
