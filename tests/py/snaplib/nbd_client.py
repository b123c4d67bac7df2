# SPDX-License-Identifier: LGPL-2.1-or-later
"""A strict NBD client: whatever the specification does not allow is Broken.

It sends what it is told, also nonsense; what comes back must be right."""

import contextlib
import socket
import struct

from snaplib import nbd, nbd_wire as wire
from snaplib.nbd_wire import expect
from snaplib.nbd_reply import Reply


class Refused(Exception):
    """An option was answered with an error."""

    def __init__(self, code, text):
        super().__init__(f"{code - wire.REP_ERROR}: {text}")
        self.code, self.text = code, text


class Client:
    def __init__(self, connected):
        self.socket = connected
        self.socket.settimeout(nbd.DEADLINE)
        self.style = wire.SIMPLE
        self.contexts = {}      # id: name, chosen
        self.size = self.flags = None
        self.waiting = {}       # cookie: Reply
        self.next_cookie = 0x1122334455667788

    @classmethod
    def unix(cls, path):
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(str(path))
        return cls(connected)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    # ---- bytes ----

    def send(self, data):
        self.socket.sendall(data)

    def take(self, length):
        """Exactly that much; EOFError if the server ends before."""
        data = bytearray(length)
        view = memoryview(data)
        while view:
            n = self.socket.recv_into(view)
            if n == 0:
                raise EOFError(f"{length - len(view)} of {length} bytes")
            view = view[n:]
        return bytes(data)

    def take_struct(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def has_ended(self):
        """Whether the server closes, and says nothing before."""
        with contextlib.suppress(ConnectionResetError):
            return self.socket.recv(1) == b""
        return True

    # ---- handshake ----

    def greet(self, flags=wire.FIXED_NEWSTYLE | wire.NO_ZEROES):
        magic, option_magic, offered = self.take_struct(">QQH")
        expect((magic, option_magic) == (wire.GREETING, wire.IHAVEOPT), "no NBD server")
        expect(offered & wire.FIXED_NEWSTYLE, "not fixed newstyle")
        expect(offered & ~3 == 0, "unknown handshake flags", offered)
        self.no_zeroes = flags & wire.NO_ZEROES
        self.send(struct.pack(">I", flags))
        return self

    def replies(self, code):
        """The data of all replies to an option but the last, if that is ACK."""
        found = []
        while True:
            magic, echoed, kind, length = self.take_struct(">QIII")
            expect(magic == wire.OPTION_REPLY, f"reply magic {magic:#x}")
            expect(echoed == code, "a reply to option", echoed, "not", code)
            expect(length <= 4 + 2 * wire.MAX_STRING, "a reply of", length)
            data = self.take(length)
            if kind & wire.REP_ERROR:
                expect(wire.ERR_UNSUP <= kind <= wire.ERR_EXT_HEADER_REQD, f"error {kind:#x}")
                raise Refused(kind, wire.text_of(data))
            if kind == wire.REP_ACK:
                expect(length == 0, "an ACK with data")
                return found
            expect(kind in {wire.REP_SERVER, wire.REP_INFO, wire.REP_META}
                   & wire.REPLIES_OF.get(code, set()), "reply", kind, "to option", code)
            found.append(data)

    def option(self, code, data=b""):
        self.send(wire.option(code, data))
        return self.replies(code)

    def structured(self):
        self.option(wire.OPT_STRUCTURED_REPLY)
        self.style = wire.STRUCTURED
        return self

    def extended(self):
        self.option(wire.OPT_EXTENDED_HEADERS)
        self.style = wire.EXTENDED
        return self

    def list(self):
        return dict(wire.server_of(data) for data in self.option(wire.OPT_LIST))

    def list_contexts(self, name, *queries):
        found = [wire.context_of(data)[1] for data in
                 self.option(wire.OPT_LIST_META, wire.queries_data(name, queries))]
        expect(len(found) == len(set(found)), "a context listed twice")
        return found

    def set_contexts(self, name, *queries):
        self.contexts = {}
        for data in self.option(wire.OPT_SET_META, wire.queries_data(name, queries)):
            number, context = wire.context_of(data)
            expect(number not in self.contexts, "an id twice:", number)
            expect(context not in self.contexts.values(), "a context twice:", context)
            expect(context in queries, "a context nobody asked for:", context)
            self.contexts[number] = context
        return self

    def id_of(self, context):
        [number] = [n for n, name in self.contexts.items() if name == context]
        return number

    def info(self, name="", *infos, code=wire.OPT_INFO):
        return wire.infos_of(self.option(code, wire.info_data(name, infos)), infos, self.style)

    def go(self, name="", *infos):
        found = self.info(name, *infos, code=wire.OPT_GO)
        self.size, self.flags = found[wire.INFO_EXPORT]
        return self

    def export_name(self, name=b""):
        self.send(wire.option(wire.OPT_EXPORT_NAME, name))
        self.size, self.flags = self.take_struct(">QH")
        wire.check_export_flags(self.flags, self.style)
        if not self.no_zeroes:
            expect(not any(self.take(124)), "no zeroes")
        return self

    # ---- transmission ----

    def ask(self, kind, offset=0, length=0, flags=0, ids=None, payload=b""):
        """Send a request; the cookie to wait for."""
        cookie = self.next_cookie
        self.next_cookie += 1
        wanted = {n: name for n, name in self.contexts.items() if ids is None or n in ids}
        self.waiting[cookie] = Reply(kind, offset, length, flags, wanted, self.size, self.style)
        if ids is not None:
            payload = wire.status_payload(length, ids)
            flags |= wire.PAYLOAD_LEN
        if flags & wire.PAYLOAD_LEN:
            length = len(payload)
        self.send(wire.request(self.style, kind, cookie, offset, length, flags) + payload)
        return cookie

    def receive(self):
        """Take one message of whatever reply; its cookie."""
        if self.style == wire.SIMPLE:
            return self.receive_simple()
        magic, flags, kind, cookie = self.take_struct(">IHHQ")
        if self.style == wire.EXTENDED:
            expect(magic == wire.EXTENDED_REPLY, f"reply magic {magic:#x}")
            offset, length = self.take_struct(">QQ")
        else:
            expect(magic == wire.STRUCTURED_REPLY, f"reply magic {magic:#x}")
            offset, [length] = None, self.take_struct(">I")
        reply = self.reply_for(cookie)
        expect(offset in (None, reply.offset), "another offset than the request's:", offset)
        reply.check_length(kind, length)
        reply.add(flags, kind, self.take(length))
        return cookie

    def receive_simple(self):
        magic, error, cookie = self.take_struct(">IIQ")
        expect(magic == wire.SIMPLE_REPLY, f"reply magic {magic:#x}")
        reply = self.reply_for(cookie)
        expect(error == 0 or error in wire.ERRORS, "error", error)
        expect(error != 0 or reply.kind != wire.BLOCK_STATUS, "a simple reply to BLOCK_STATUS")
        reply.error, reply.is_done = error, True
        if reply.kind == wire.READ and error == 0:
            reply.data[:] = self.take(reply.length)
        return cookie

    def reply_for(self, cookie):
        expect(cookie in self.waiting, f"a reply to no request: {cookie:#x}")
        reply = self.waiting[cookie]
        expect(not reply.is_done, "a message after the last one of its reply")
        return reply

    def wait(self, cookie):
        """The whole reply; other replies may come before."""
        while not self.waiting[cookie].is_done:
            self.receive()
        return self.waiting.pop(cookie)

    def call(self, *arguments, **options):
        return self.wait(self.ask(*arguments, **options))

    def read(self, offset, length, flags=0):
        reply = self.call(wire.READ, offset, length, flags)
        assert reply.error == 0, (reply.error, reply.text)
        return bytes(reply.data)

    def status(self, offset, length, flags=0, ids=None):
        """{context: [(length, flags)]}"""
        reply = self.call(wire.BLOCK_STATUS, offset, length, flags, ids)
        assert reply.error == 0, (reply.error, reply.text)
        return reply.extents

    def disconnect(self):
        """Leave as one should; the server says nothing more."""
        self.send(wire.request(self.style, wire.DISC, 0))
        expect(self.has_ended(), "bytes after DISC")
        self.socket.close()
