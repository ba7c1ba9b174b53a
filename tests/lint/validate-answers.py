#!/usr/bin/python3
"""validate-answers.py SCHEMAS ANSWERS [SCHEMA]: what clusterctl printed against the schemas that are installed.

ANSWERS has what one run printed, then a line with the record separator, and so on: one JSON text, or one a line. Each is
held to its schema, chosen by request.verb; and to more than it: a member that no schema describes is wrong here, though
readers must accept it. Every schema (or the one that is named) must have met an answer that is good, so that none is
there in vain."""
import json
import pathlib
import sys

import jsonschema

ELSEWHERE = {
    # Good answers of these need real nodes: tests/lab/suites/upgrade.bats holds them to their schemas.
    "vm-migrate": "needs a second node that is present",
    "upgrade-start": "needs a cluster that is ready for it",
}


def strict(schema):
    """The same schema, without room for members that it does not describe."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: strict(v) for k, v in schema.items()}
    if "properties" in made and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def load(folder):
    schemas = {}
    for path in sorted(folder.glob("*.schema.json")):
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        schemas[path.name.removesuffix(".schema.json")] = strict(schema)
    return schemas


def texts(path):
    """The JSON texts of a file, and whether each is a line of many."""
    for printed in path.read_text().split("\x1e\n"):
        try:
            yield json.loads(printed), False
        except json.JSONDecodeError:
            lines = [json.loads(line) for line in printed.splitlines()]
            for j in lines:
                yield j, True


def schema_of(answer, schemas):
    if "request" not in answer:
        return "line"
    verb = answer["request"]["verb"]
    name = (verb or "error").replace(".", "-")
    return name if name in schemas else "error"


def main(folder, path, only=None):
    schemas = load(pathlib.Path(folder))
    store = {name + ".schema.json": schema for name, schema in schemas.items()}
    good, wrong, seen = set(), 0, 0
    for answer, _ in texts(pathlib.Path(path)):
        name = schema_of(answer, schemas)
        schema = schemas[name]
        resolver = jsonschema.RefResolver(name + ".schema.json", schema, store=store)
        checker = jsonschema.Draft202012Validator(schema, resolver=resolver)
        seen += 1
        for e in checker.iter_errors(answer):
            best = jsonschema.exceptions.best_match([e])
            where = "/".join(str(p) for p in best.absolute_path)
            print(f"{name}: {where}: {best.message[:300]}")
            wrong += 1
        if name in ("line", "error") or answer["status"]["code"] == 0:
            good.add(name)
    wanted = {only} if only else set(schemas) - {"common"} - set(ELSEWHERE)
    for name in sorted(wanted - good):
        print(f"{name}: no good answer was seen")
        wrong += 1
    print(f"{seen} answers, {len(good)} of {len(schemas) - 1} schemas, {wrong} faults")
    return 1 if wrong or not seen else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
