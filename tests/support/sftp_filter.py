"""Stands between sshd and its sftp-server, and lets single requests go wrong, by rules that a test writes to a file.

Run as a subsystem: ``sftp_filter.py RULES SFTP-SERVER``. The rules are JSON, read anew for each request:

- ``refuse``: [[REQUEST, PART OF A NAME, STATUS], …]: such requests get that status, and the server never sees them.
- ``lose``: [REQUEST, …]: the server does as it is told, and then the connection ends before its answer.
- ``hide``: [EXTENSION, …]: not offered.
- ``full_after``: bytes; what is written beyond fails, and statvfs tells of a full disk.
- ``mute``: the server answers nothing any more, while sshd does.
- ``rename``: "over" replaces what has the new name; "look" looks whether there is something, and a moment later does so.

It imports next to nothing, for each session starts it anew.
"""

import json
import os
import struct
import subprocess
import sys
import threading
import time

REQUESTS = {3: "open", 4: "close", 5: "read", 6: "write", 7: "lstat", 8: "fstat", 9: "setstat", 10: "fsetstat"}
REQUESTS |= {11: "opendir", 12: "readdir", 13: "remove", 14: "mkdir", 15: "rmdir", 16: "realpath", 17: "stat"}
REQUESTS |= {18: "rename", 200: "extended"}
RENAME, EXTENDED = 18, 200
VERSION, STATUS, EXTENDED_REPLY = 2, 101, 201
FAILURE = 4


def packets(stream):
    """Yield packets, without their length."""
    while len(head := stream.read(4)) == 4:
        yield stream.read(struct.unpack(">I", head)[0])


def string(packet, start):
    (size,) = struct.unpack_from(">I", packet, start)
    return packet[start + 4 : start + 4 + size], start + 4 + size


class Filter:
    def __init__(self, rules, server):
        self.rules_path = rules
        self.server = subprocess.Popen([server, "-e"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lock = threading.Lock()
        self.lost = set()
        self.full = set()

    def rules(self):
        try:
            with open(self.rules_path) as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}

    def answer(self, packet):
        with self.lock:
            sys.stdout.buffer.write(struct.pack(">I", len(packet)) + packet)
            sys.stdout.buffer.flush()

    def requests(self):
        for packet in packets(sys.stdin.buffer):
            rules = self.rules()
            if rules.get("mute") or self.handled(packet, rules):
                continue
            if packet[0] == RENAME and "rename" in rules:
                packet = self.renaming(packet, rules["rename"])
                if not packet:
                    continue
            self.server.stdin.write(struct.pack(">I", len(packet)) + packet)
            self.server.stdin.flush()
        self.server.stdin.close()

    def handled(self, packet, rules):
        request = REQUESTS.get(packet[0])
        if request is None:
            return False
        identity = packet[1:5]
        text = string(packet, 5)[0]
        if request == "extended":
            request = text.decode()
        for refused, part, status in rules.get("refuse", ()):
            if refused == request and part.encode() in packet:
                self.status(identity, status)
                return True
        if request in rules.get("lose", ()):
            self.lost.add(identity)
        if "full_after" in rules:
            if request == "write":
                handle_end = string(packet, 5)[1]
                if struct.unpack_from(">Q", packet, handle_end)[0] >= rules["full_after"]:
                    self.status(identity, FAILURE)
                    return True
            elif request == "statvfs@openssh.com":
                self.answer(
                    bytes([EXTENDED_REPLY]) + identity + struct.pack(">11Q", 4096, 4096, 99, 0, 0, 9, 9, 9, 1, 0, 255)
                )
                return True
        return False

    def renaming(self, packet, manner):
        """Return a rename as a request that replaces, or nothing where it was refused."""
        if manner == "look":
            new_name = string(packet, string(packet, 5)[1])[0]
            if os.path.lexists(new_name):
                self.status(packet[1:5], FAILURE)
                return b""
            time.sleep(0.1)
        name = b"posix-rename@openssh.com"
        return bytes([EXTENDED]) + packet[1:5] + struct.pack(">I", len(name)) + name + packet[5:]

    def status(self, identity, code):
        text = b"Failure" if code == FAILURE else b"refused"
        body = struct.pack(">I", code) + struct.pack(">I", len(text)) + text + struct.pack(">I", 0)
        self.answer(bytes([STATUS]) + identity + body)

    def answers(self):
        for packet in packets(self.server.stdout):
            if packet[0] == VERSION:
                packet = self.without_hidden(packet)
            elif packet[1:5] in self.lost:
                os._exit(1)
            if not self.rules().get("mute"):
                self.answer(packet)
        os._exit(0)

    def without_hidden(self, packet):
        hidden = {name.encode() for name in self.rules().get("hide", ())}
        kept, position = packet[:5], 5
        while position < len(packet):
            name, after = string(packet, position)
            _, end = string(packet, after)
            kept += b"" if name in hidden else packet[position:end]
            position = end
        return kept


if __name__ == "__main__":
    passing = Filter(*sys.argv[1:])
    threading.Thread(target=passing.answers, daemon=True).start()
    passing.requests()
    passing.server.wait()
