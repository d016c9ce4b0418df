"""The machine of ci/rig: what is in its memory at the start, its drives, and the emulator around it.

Nothing here knows what is tested. Everything that is started ends with the `Machine`.
"""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time

BOOT_SECONDS_MAX = 45
BOOT_TRIES = 3
SOCKET_SECONDS_MAX = 20
MEMORY_MIB = 1024
CPIO_MAGIC = "070701"
BUSYBOX = "/bin/busybox"

# What the ports to the host need of the kernel's modules, each behind those that it needs.
MODULES = (
    ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev")
    + ("virtio_pci", "virtio_console")
)

# What the first process of the guest does; /command is what is tested.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
for module in /modules/*.ko; do insmod $module; done
ip link set lo up
report=/dev/console
for port in /sys/class/virtio-ports/*; do
    [ "$(cat $port/name)" = report ] && report=/dev/${port##*/}
done
export PATH=/bin HOME=/tmp
exec >$report 2>&1 </dev/null
echo up
sh /command
echo end
poweroff -f
"""


class RigError(Exception):
    """The rig itself does not work; says nothing about what is tested."""


class Archive:
    """A cpio archive of the form that the kernel unpacks into its first file system."""

    def __init__(self):
        self.bytes = bytearray()
        self.folders = set()

    def _entry(self, path, mode, content):
        name = path.lstrip("/").encode() + b"\0"
        number = len(self.bytes)
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        self.bytes += CPIO_MAGIC.encode() + b"".join(b"%08x" % field for field in fields)
        for part in (name, content):
            self.bytes += part
            self.bytes += b"\0" * (-len(self.bytes) % 4)

    def add(self, path, content, mode=0o100755):
        """A file with these bytes, and the folders on the way to it."""
        folder = os.path.dirname(path)
        missing = []
        while folder not in ("", "/") and folder not in self.folders:
            missing.append(folder)
            self.folders.add(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            self._entry(folder, 0o040755, b"")
        self._entry(path, mode, content)

    def add_program(self, path, source):
        """A program, with the libraries that it loads under the paths at which it looks for them."""
        self.add(path, stripped(source))
        for library in libraries(source):
            if library not in self.folders:
                # One library serves several programs.
                self.folders.add(library)
                with open(library, "rb") as file:
                    self.add(library, file.read())

    def finish(self):
        """The whole archive."""
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self.bytes)


def stripped(program):
    """The bytes of a program without what debuggers need: the guest reads all of it at its start."""
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(["strip", "--strip-debug", "-o", file.name, program], check=True)
        return file.read()


def libraries(program):
    """Paths of the shared libraries of a program, its loader among them; none if it is static."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return sorted(set(re.findall(r"(/\S+\.so\S*)", listed)))


def initial_memory(modules, programs, command):
    """What the guest starts from: a folder of the kernel's modules, programs by name, and the shell command that it is to run."""
    archive = Archive()
    archive.add("/init", INIT.encode())
    archive.add("/command", command.encode())
    archive.add_program("/bin/busybox", BUSYBOX)
    for number, name in enumerate(MODULES):
        path = os.path.join(modules, f"{name}.ko")
        # What is missing is part of the kernel.
        if os.path.exists(path):
            with open(path, "rb") as file:
                archive.add(f"/modules/{number}-{name}.ko", file.read())
    for name, source in programs.items():
        archive.add_program(f"/bin/{name}", source)
    return archive.finish()


class Drive:
    """A drive of the guest: how it looks there, and the program that plays it."""

    def __init__(self, name, serial, block_bytes, size_mib=64):
        self.name = name
        self.serial = serial
        self.block_bytes = block_bytes
        self.size_mib = size_mib
        self.process = None

    def start(self, program, folder, seed):
        """Starts the program and waits for its sockets."""
        self.socket = os.path.join(folder, f"{self.name}.block")
        self.control = os.path.join(folder, f"{self.name}.control")
        self.journal = os.path.join(folder, f"{self.name}.journal")
        for path in (self.socket, self.control):
            if os.path.exists(path):
                os.unlink(path)
        self.process = subprocess.Popen(
            [program, "serve", "--socket", self.socket, "--control", self.control]
            + ["--journal", self.journal, "--seed", str(seed)]
            + ["--size-mib", str(self.size_mib), "--block-bytes", str(self.block_bytes)],
            stdin=subprocess.DEVNULL,
        )
        wait_for_path(self.socket, self.process)

    def arguments(self, number):
        """What the emulator is told about it. Its slot is one that a drive can be taken out of."""
        name, block = self.name, self.block_bytes
        return [
            "-blockdev",
            f"driver=nbd,node-name=block-{name},server.type=unix,server.path={self.socket},cache.direct=on",
            "-device",
            f"pcie-root-port,id=slot-{name},chassis={number + 1},slot={number + 1}",
            "-device",
            f"nvme,id=nvme-{name},bus=slot-{name},serial={self.serial},max_ioqpairs=4",
            "-device",
            f"nvme-ns,drive=block-{name},bus=nvme-{name},nsid=1,logical_block_size={block},physical_block_size={block}",
            "-chardev",
            f"socket,id=control-{name},path={self.control}",
            "-device",
            f"virtserialport,chardev=control-{name},name={name}",
        ]

    def end(self):
        """Ends the program, which ends by itself when the emulator has gone."""
        if self.process is None:
            return
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def wait_for_path(path, process):
    """Waits until a process has made a socket."""
    deadline = time.monotonic() + SOCKET_SECONDS_MAX
    while not os.path.exists(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RigError(f"{process.args[0]} did not come up")
        time.sleep(0.01)


class Machine:
    """A guest with drives. `lines` gives what it reports, line by line, until it ends."""

    def __init__(self, folder, kernel, memory, drives, drive_program, seed):
        self.folder = folder
        self.kernel = kernel
        self.drives = drives
        self.drive_program = drive_program
        self.seed = seed
        self.console = os.path.join(folder, "console")
        self.emulator = None
        self.report = None
        self.initrd = os.path.join(folder, "initrd")
        with open(self.initrd, "wb") as file:
            file.write(memory)

    def __enter__(self):
        for attempt in range(1, BOOT_TRIES + 1):
            self.start()
            if self.next_line(time.monotonic() + BOOT_SECONDS_MAX) == "up":
                return self
            said = tail(self.console) + tail(os.path.join(self.folder, "emulator"))
            print(f"rig: the guest did not come up (try {attempt}): {said}", flush=True)
            self.end()
        raise RigError("the guest did not come up")

    def __exit__(self, *_):
        self.end()
        os.unlink(self.initrd)

    def start(self):
        """Starts the drives and the emulator."""
        for number, drive in enumerate(self.drives):
            drive.start(self.drive_program, self.folder, self.seed + number)
        listener = socket.socket(socket.AF_UNIX)
        report = os.path.join(self.folder, "report")
        self.monitor = os.path.join(self.folder, "monitor")
        for path in (report, self.monitor):
            if os.path.exists(path):
                os.unlink(path)
        listener.bind(report)
        listener.listen()
        listener.settimeout(SOCKET_SECONDS_MAX)
        with open(os.path.join(self.folder, "emulator"), "wb") as log:
            self.emulator = subprocess.Popen(
                self.arguments(report), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self.report, _ = listener.accept()
        except TimeoutError:
            raise RigError("the emulator does not start: " + tail(log.name)) from None
        finally:
            listener.close()
        self.received = b""

    def arguments(self, report):
        """The emulator's command. No acceleration by the processor: few machines of CI have it."""
        command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=single"]
        command += ["-cpu", "max,la57=off", "-smp", "2", "-m", str(MEMORY_MIB)]
        command += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
        command += ["-serial", f"file:{self.console}"]
        command += ["-qmp", f"unix:{self.monitor},server=on,wait=off"]
        command += ["-kernel", self.kernel, "-initrd", self.initrd, "-append"]
        # Retries of the driver would hide what the drive does.
        command += ["console=ttyS0 quiet panic=-1 mitigations=off nvme_core.max_retries=0"]
        command += ["-device", "virtio-serial-pci", "-chardev", f"socket,id=report,path={report}"]
        command += ["-device", "virtserialport,chardev=report,name=report"]
        for number, drive in enumerate(self.drives):
            command += drive.arguments(number)
        return command

    def next_line(self, deadline):
        """The next line of the report; None at its end or after the deadline."""
        while b"\n" not in self.received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.report], [], [], left)[0]:
                return None
            got = self.report.recv(65536)
            if not got:
                return None
            self.received += got
        line, self.received = self.received.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")

    def lines(self, seconds_max):
        """The report, until the guest says that it has ended."""
        deadline = time.monotonic() + seconds_max
        while True:
            line = self.next_line(deadline)
            if line is None:
                late = "did not end in time" if time.monotonic() >= deadline else "died"
                raise RigError(f"the guest {late}: {tail(self.console)}")
            if line == "end":
                return
            yield line

    def remove(self, name):
        """Takes a drive out, as a hand would."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(SOCKET_SECONDS_MAX)
            monitor.connect(self.monitor)
            answers = monitor.makefile("r")
            answers.readline()
            for command in (
                {"execute": "qmp_capabilities"},
                {"execute": "device_del", "arguments": {"id": f"nvme-{name}"}},
            ):
                monitor.sendall(json.dumps(command).encode() + b"\n")
                answer = json.loads(answers.readline())
                while "event" in answer:
                    answer = json.loads(answers.readline())
                if "return" not in answer:
                    raise RigError(f"the drive {name} cannot be taken out: {answer}")

    def end(self):
        """Ends what runs."""
        if self.report is not None:
            self.report.close()
            self.report = None
        if self.emulator is not None:
            try:
                self.emulator.wait(0.5)
            except subprocess.TimeoutExpired:
                self.emulator.kill()
                self.emulator.wait()
            self.emulator = None
        for drive in self.drives:
            drive.end()


def tail(path, length=1500):
    """The end of a file, for a message."""
    if not os.path.exists(path):
        return ""
    with open(path, "rb") as file:
        return file.read()[-length:].decode(errors="replace")


def is_installed():
    """Whether the emulator is there, and what the guest is made of."""
    return shutil.which("qemu-system-x86_64") is not None and os.path.exists(BUSYBOX)
