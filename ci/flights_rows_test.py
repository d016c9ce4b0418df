"""The check of the flights bites: each way in which an export can be wrong is found."""

import json
import os
import tempfile
import unittest

import flights_rows as subject

CSV = (
    "year,carrier,flight,tailnum,time_hour\n"
    "2013,UA,1545,N14228,2013-01-01T10:00:00Z\n"
    "2013,UA,1714,NA,2013-01-01T10:00:00Z\n"
    "2013,AA,1141,N619AA,2013-01-01T10:00:00Z\n"
)


class Faults(unittest.TestCase):
    def setUp(self):
        with tempfile.NamedTemporaryFile("w", suffix=".csv", delete=False) as file:
            file.write(CSV)
        self.addCleanup(os.unlink, file.name)
        self.rows = subject.Rows(file.name)

    def export(self, *numbers):
        return [json.dumps(self.rows.bins(number)) for number in numbers]

    def check(self, export, acknowledged, sent, kinds):
        _, found = subject.faults(self.rows, export, acknowledged, sent)
        self.assertEqual([fault.split(" rows ")[1].split(",")[0] for fault in found], kinds)

    def test_rows_are_read(self):
        self.assertEqual(len(self.rows), 3)
        self.assertEqual(self.rows.bins(1)["flight"], 1714)
        self.assertNotIn("tailnum", self.rows.bins(1))

    def test_an_export_that_is_right(self):
        self.check(self.export(0, 1, 2), {0, 1, 2}, {0, 1, 2}, [])
        nested = [json.dumps({"key": "k", "bins": self.rows.bins(0)})]
        self.check(nested, {0}, {0}, [])

    def test_sent_but_not_acknowledged_may_be_there_or_not(self):
        self.check(self.export(0, 1), {0}, {0, 1, 2}, [])

    def test_a_lost_row(self):
        self.check(self.export(0), {0, 1}, {0, 1}, ["lost"])

    def test_a_row_that_was_never_sent(self):
        self.check(self.export(0, 2), {0}, {0, 1}, ["never sent"])

    def test_an_invented_row(self):
        self.check(self.export(0) + ['{"carrier": "ZZ"}'], {0}, {0}, ["invented"])

    def test_a_row_twice(self):
        self.check(self.export(0, 0), {0}, {0}, ["twice"])

    def test_a_wrong_row(self):
        for change in (
            {"tailnum": "N1"},
            {"year": 2013.0},
            {"year": "2013"},
            {"more": 1},
            {"tailnum": None},
        ):
            bins = {**self.rows.bins(0), **change}
            self.check([json.dumps(bins)], {0}, {0}, ["wrong"])
        bins = self.rows.bins(0)
        del bins["year"]
        self.check([json.dumps(bins)], {0}, {0}, ["wrong"])

    def test_a_cut_line_of_the_loader_is_no_acknowledgement(self):
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write("0\n2\n33")
        self.addCleanup(os.unlink, file.name)
        self.assertEqual(subject.read_acknowledged(file.name), {0, 2})


if __name__ == "__main__":
    unittest.main()
