"""What ci/rig starts its guest from is what the kernel reads, and what the guest reports arrives whole."""

import socket
import time
import unittest

import rig_machine as subject


def entries(archive):
    """Path, mode and content of each entry of an archive of the form "newc", read by its rules."""
    found, place = [], 0
    while True:
        assert archive[place : place + 6] == b"070701", place
        fields = [int(archive[place + 6 + 8 * n : place + 14 + 8 * n], 16) for n in range(13)]
        mode, length, name_length = fields[1], fields[6], fields[11]
        name = archive[place + 110 : place + 110 + name_length - 1].decode()
        start = (place + 110 + name_length + 3) // 4 * 4
        place = (start + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found.append((name, mode, archive[start : start + length]))


class Archives(unittest.TestCase):
    def test_folders_come_before_what_is_in_them_and_once(self):
        archive = subject.Archive()
        archive.add("/init", b"one")
        archive.add("/lib/x/library", b"")
        archive.add("/lib/other", b"12345")
        self.assertEqual(
            entries(archive.finish()),
            [
                ("init", 0o100755, b"one"),
                ("lib", 0o040755, b""),
                ("lib/x", 0o040755, b""),
                ("lib/x/library", 0o100755, b""),
                ("lib/other", 0o100755, b"12345"),
            ],
        )

    def test_programs_bring_their_libraries_once(self):
        archive = subject.Archive()
        archive.add_program("/bin/one", "/bin/true")
        archive.add_program("/bin/two", "/bin/true")
        names = [name for name, _, _ in entries(archive.finish())]
        self.assertEqual(len(names), len(set(names)))
        for library in subject.libraries("/bin/true"):
            self.assertIn(library.lstrip("/"), names)


class Reports(unittest.TestCase):
    def machine(self):
        machine = subject.Machine.__new__(subject.Machine)
        machine.report, self.guest = socket.socketpair()
        machine.received, machine.console = b"", "/no/console"
        self.addCleanup(machine.report.close)
        self.addCleanup(self.guest.close)
        return machine

    def test_lines_arrive_whole_until_the_end(self):
        machine = self.machine()
        for part in (b"cy", b"cle 1\r\ncycle", b" 2\nend\nlate\n"):
            self.guest.sendall(part)
        self.assertEqual(list(machine.lines(10)), ["cycle 1", "cycle 2"])

    def test_a_guest_that_dies_is_told(self):
        machine = self.machine()
        self.guest.sendall(b"cycle 1\nhalf a li")
        self.guest.close()
        lines = machine.lines(10)
        self.assertEqual(next(lines), "cycle 1")
        with self.assertRaisesRegex(subject.RigError, "died"):
            next(lines)

    def test_a_guest_that_hangs_is_told(self):
        machine = self.machine()
        self.assertIsNone(machine.next_line(time.monotonic() - 1))
        with self.assertRaisesRegex(subject.RigError, "did not end in time"):
            next(machine.lines(-1))


if __name__ == "__main__":
    unittest.main()
