"""A terminal of so many rows and columns with a program on it: what it shows, and what has scrolled away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

PATIENCE = 60
_TOKEN = re.compile(r"\x1b\[(?P<number>[0-9]*)(?P<verb>[AJm])|(?P<control>[\r\n\x08])|(?P<text>[^\x00-\x1f\x7f-\x9f]+)")


class Screen:
    """What a terminal makes of output; anything but text, and what our live lines need, is an error."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.lines = [""]
        self.row = self.column = 0
        self._continued = set()

    def feed(self, text):
        position = 0
        while position < len(text):
            token = _TOKEN.match(text, position)
            assert token, f"no terminal should get {text[position : position + 20]!r}"
            position = token.end()
            if token["verb"] == "A":
                self.row -= int(token["number"] or 1)
                assert self.row >= max(0, len(self.lines) - self.rows), "the cursor leaves the screen"
            elif token["verb"] == "J":
                assert not token["number"]
                self.lines[self.row :] = [self.lines[self.row][: self.column]]
                self._continued = {row for row in self._continued if row <= self.row}
            elif token["control"] == "\r":
                self.column = 0
            elif token["control"] == "\n":
                self._next_row()
            elif token["text"]:
                self._write(token["text"])

    def _next_row(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def _write(self, text):
        for character in text:
            if self.column == self.columns:
                self._next_row()
                self._continued.add(self.row)
                self.column = 0
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1

    def resize(self, rows, columns):
        """Break lines anew, as terminals do."""
        whole, place = [], (0, 0)
        for row, line in enumerate(self.lines):
            before = whole.pop() if row in self._continued else ""
            whole.append(before + line)
            if row == self.row:
                place = len(whole) - 1, len(before) + self.column
        self.rows, self.columns, self.lines = rows, columns, []
        self._continued.clear()
        for number, line in enumerate(whole):
            if number == place[0]:
                self.row, self.column = len(self.lines) + place[1] // columns, place[1] % columns
            parts = [line[start : start + columns] for start in range(0, len(line), columns)] or [""]
            self._continued.update(range(len(self.lines) + 1, len(self.lines) + len(parts)))
            self.lines += parts

    @property
    def shown(self):
        return "\n".join(self.lines)


class ProgramOnTerminal:
    """``dumpty`` with its three streams on a terminal of its own."""

    def __init__(self, *argv, rows=24, columns=120, ignored=(), env=None):
        self.rows, self.columns = rows, columns
        self._master, slave = pty.openpty()
        self._set_size(slave)
        self._received = bytearray()
        self._gone = threading.Event()

        def take_terminal():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "dumpty", *map(str, argv)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=take_terminal,
            env={**os.environ, "TERM": "xterm", **(env or {})},
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _set_size(self, descriptor):
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))

    def _read(self):
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while not self._gone.is_set():
                if select.select([self._master], [], [], 0.05)[0]:
                    self._received += os.read(self._master, 65536)

    @property
    def transcript(self):
        return self._received.decode(errors="replace")

    @property
    def shown(self):
        """Everything that stands on the terminal, with what has scrolled out of it."""
        screen = Screen(self.rows, self.columns)
        screen.feed(self.transcript)
        return screen.shown

    def wait_for(self, pattern):
        """Wait until the terminal shows a pattern, and return all that it shows then."""
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, shown := self.shown, re.MULTILINE):
            assert time.monotonic() < end, shown
            assert self.process.poll() is None or re.search(pattern, self.shown, re.MULTILINE), shown
            time.sleep(0.02)
        return shown

    def type(self, text):
        """Type something; Ctrl-C is a signal then, as on any terminal."""
        os.write(self._master, text.encode())

    def hang_up(self):
        """Let the terminal go away."""
        self._gone.set()
        self._reader.join(PATIENCE)
        os.close(self._master)
        self._master = -1

    def end(self):
        """Wait until it has ended; return its status, and all that the terminal shows then."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status, self.shown

    def close(self):
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE)
        if self._master >= 0:
            os.close(self._master)
