"""Rows as a table for people."""


def figure(value):
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def verdict(row):
    if row["value"] is None:
        return "FAILED"
    if not row["holds"]:
        return "NO"
    return "yes" if row["bound"] else "report"


def cells(row):
    return [row["name"], figure(row["value"]), row["unit"], row["peer"] or "no peer", figure(row["peer_value"]),
            figure(row["ratio"]), row["bound"] or "-", verdict(row)]


HEADS = ["NAME", "VALUE", "UNIT", "PEER", "ITS VALUE", "RATIO", "BOUND", "HOLDS"]


def table(rows):
    lines = [HEADS] + [cells(row) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    for row in rows:
        for word in ("reason", "note"):
            if row[word]:
                text.append(f"{row['name']}: {row[word]}")
    return "\n".join(text) + "\n"
