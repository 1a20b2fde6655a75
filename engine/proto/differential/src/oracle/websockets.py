"""Reads batches of conversations with the protocol of websockets, and writes a verdict for each.

A batch is its count and its size, then the conversations as websockets.rs puts them. A verdict is
0 for open, 1 for closed or the code of a failure, the number of messages, and the log as verdict.rs
has it. After each batch comes a full stop.
"""

import logging
import struct
import sys
from importlib.metadata import version

from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

# The rules explain this release. Another may have other habits, which would look like findings.
if version("websockets") != "17.4":
    sys.exit("differential: the rules are made for websockets 17.4, not " + version("websockets"))

LOGGER = logging.getLogger("differential")
LOGGER.setLevel(logging.CRITICAL)
URI = parse_uri("ws://localhost/")
TAGS = {Opcode.TEXT: b"T", Opcode.BINARY: b"B", Opcode.PING: b"P", Opcode.PONG: b"O"}


def entry(tag, payload):
    return tag + struct.pack("<I", len(payload)) + payload


class Conversation:
    def __init__(self, client, compression, size_max):
        if client:
            protocol = ClientProtocol(URI, state=OPEN, max_size=size_max, logger=LOGGER)
        else:
            protocol = ServerProtocol(state=OPEN, max_size=size_max, logger=LOGGER)
        if compression:
            shared = compression == 1
            protocol.extensions = [PerMessageDeflate(shared, shared, 15, 15)]
        self.protocol = protocol
        self.log = []
        self.messages = 0
        self.ending = 0
        self.opcode = None
        self.fragments = []

    def receive(self, chunk):
        protocol = self.protocol
        protocol.receive_data(chunk)
        for frame in protocol.events_received():
            self.take(frame)
            if self.ending:
                return
        error = protocol.parser_exc
        if isinstance(error, ProtocolError):
            self.ending = 1002
        elif isinstance(error, UnicodeDecodeError):
            self.ending = 1007
        elif isinstance(error, PayloadTooBig):
            self.ending = 1009
        elif error is not None:
            self.ending = 1011

    def take(self, frame):
        """Puts messages together as the connections of websockets do, text decoded at its end."""
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            self.log.append(entry(b"C", frame.data))
            self.ending = 1
        elif opcode is Opcode.PING or opcode is Opcode.PONG:
            self.log.append(entry(TAGS[opcode], frame.data))
        else:
            if opcode is not Opcode.CONT:
                self.opcode = opcode
                self.fragments = []
            self.fragments.append(frame.data)
            if frame.fin:
                data = b"".join(self.fragments)
                self.finish(data)

    def finish(self, data):
        if self.opcode is Opcode.TEXT:
            try:
                data.decode()
            except UnicodeDecodeError:
                self.ending = 1007
                return
        self.log.append(entry(TAGS[self.opcode], data))
        self.messages += 1


def judge(batch, at, answer):
    client, compression, size_max, cut_count, size = struct.unpack_from("<BBIII", batch, at)
    at += 14
    cuts = struct.unpack_from(f"<{cut_count}I", batch, at)
    at += 4 * cut_count
    conversation = Conversation(client, compression, size_max)
    start = 0
    for cut in cuts:
        conversation.receive(batch[at + start : at + cut])
        start = cut
        if conversation.ending:
            break
    log = b"".join(conversation.log)
    answer.append(struct.pack("<HII", conversation.ending, conversation.messages, len(log)) + log)
    return at + size


def main():
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(8):
        count, size = struct.unpack("<II", head)
        batch = source.read(size)
        answer = []
        at = 0
        for _ in range(count):
            at = judge(batch, at, answer)
        sink.write(b"".join(answer) + b".")
        sink.flush()


main()
