#!/usr/bin/python3
# SPDX-License-Identifier: MIT
#
# Checks JSON documents against a JSON Schema (draft 2020-12), for schema_spec.lua.
#   validate.py SCHEMA DOCUMENT...            a line for each fault: DOCUMENT PLACE KEYWORD MESSAGE
#   validate.py SCHEMA DOCUMENT --mutations   reads a JSON list from standard input, each item a change to the
#                                             document: {"at": "records/0/pid", "value": ...} or {"drop": "records/0/pid"};
#                                             prints for each a line of the faults that it makes: PLACE:KEYWORD ...
# Exits with 1 where there is a fault.
import copy
import json
import sys

import jsonschema


def step(value, name):
    return value[int(name)] if isinstance(value, list) else value[name]


def mutate(document, change):
    changed = copy.deepcopy(document)
    *path, last = (change.get("at") or change["drop"]).split("/")
    parent = changed
    for name in path:
        parent = step(parent, name)
    if "drop" in change:
        del parent[int(last) if isinstance(parent, list) else last]
    elif isinstance(parent, list) and int(last) == len(parent):
        parent.append(change["value"])
    else:
        parent[int(last) if isinstance(parent, list) else last] = change["value"]
    return changed


def place(error):
    return "/".join(str(name) for name in error.absolute_path) or "."


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    mutations = sys.argv[3:] == ["--mutations"]
    faults = 0
    for name in sys.argv[2:3] if mutations else sys.argv[2:]:
        with open(name, encoding="utf-8") as file:
            document = json.load(file)
        for error in validator.iter_errors(document):
            faults += 1
            print(name, place(error), error.validator, error.message[:300])
    for change in json.load(sys.stdin) if mutations else []:
        errors = sorted({f"{place(error)}:{error.validator}" for error in validator.iter_errors(mutate(document, change))})
        print(" ".join(errors))
    return 1 if faults else 0


sys.exit(main())
