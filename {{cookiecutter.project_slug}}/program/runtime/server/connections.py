"""nginx's persistent connections, which all workers hold: whoever is idle answers the next request.

A connection that one worker owns would keep a request waiting behind a long one while another
worker is idle. So the supervisor accepts each connection and hands it to every worker. The kernel
wakes one of those that wait (EPOLLEXCLUSIVE of epoll_ctl(2)), and the request belongs to whoever
receives it first, in one call: nginx.conf sends only requests here that the kernel keeps in one
piece.

When a worker dies, the others still hold the connection that it was answering, and nginx would
wait. So each worker notes that connection in memory that the supervisor can read, and the
supervisor shuts it down as soon as the kernel closes the worker's own socket.
"""

from __future__ import annotations

import logging
import mmap
import os
import select
import socket
import struct
import sys
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

PIECE = 20_000  # bytes: request line, headers and body have at most 4 digits each in nginx.conf
MOST = 64  # requests that nginx sends here at once; more go to gunicorn's own socket
BACKLOG = 511
JOIN_SECONDS = 10.0  # for the two messages by which a worker joins
NUMBER = struct.Struct("=I")  # of a connection, in every message and in a worker's note; 0: none
NONE = 0
READ_ONE = select.EPOLLIN | getattr(select, "EPOLLEXCLUSIVE", 0) if sys.platform == "linux" else 0

log = logging.getLogger(__name__)


def supported() -> bool:
    """Return whether this kernel keeps a small request in one piece, and has what else it takes.

    A stream socket cuts what is written at half of its buffer.
    """
    if not READ_ONE or not hasattr(os, "memfd_create"):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 4 * PIECE


def listen(path: Path, kind: int, mode: int) -> socket.socket:
    """Return a non-blocking listening Unix socket."""
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(str(path))
    path.chmod(mode)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


@dataclass
class Member:
    """A worker as the supervisor sees it: its socket, its note, the messages not yet sent."""

    channel: socket.socket
    note: mmap.mmap
    waiting: deque[int] = field(default_factory=deque)


class Exchange:
    """The supervisor's side: accepts workers and connections, gives the ones to the others.

    It is readable (`fileno`) when `turn` has something to do. nginx's socket appears with the first
    worker: before that, nginx answers 503.
    """

    def __init__(self, run: Path) -> None:
        self.rows = run / "rows.sock"
        self.numbers = count(NONE + 1)
        self.members: dict[int, Member] = {}  # by file descriptor
        self.connections: dict[int, socket.socket] = {}  # by number
        self.by_descriptor: dict[int, int] = {}
        self.incoming: socket.socket | None = None
        self.joining = listen(run / "workers.sock", socket.SOCK_SEQPACKET, 0o600)
        self.epoll = select.epoll()
        self.epoll.register(self.joining, select.EPOLLIN)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self.epoll.fileno()

    def turn(self) -> None:
        """Do what there is to do, without waiting."""
        for descriptor, events in self.epoll.poll(0):
            if descriptor == self.joining.fileno():
                self._join()
            elif self.incoming and descriptor == self.incoming.fileno():
                self._accept(self.incoming)
            elif descriptor in self.by_descriptor:
                self._close(self.by_descriptor[descriptor])
            elif descriptor in self.members and events & (select.EPOLLHUP | select.EPOLLERR):
                self._leave(descriptor)
            elif descriptor in self.members:
                self._send(self.members[descriptor])

    def _join(self) -> None:
        """Let a worker in, and give it all connections."""
        channel, _ = self.joining.accept()
        try:
            channel.settimeout(JOIN_SECONDS)
            _, [descriptor], _, _ = socket.recv_fds(channel, NUMBER.size, 1)
            note = mmap.mmap(descriptor, NUMBER.size)
            os.close(descriptor)
        except (OSError, ValueError) as error:
            log.debug("a worker went away: %s", error)
            channel.close()
            return
        if self.incoming is None:
            self.incoming = listen(self.rows, socket.SOCK_STREAM, 0o666)
            self.epoll.register(self.incoming, select.EPOLLIN)
        channel.setblocking(False)
        member = Member(channel, note, deque([NONE, *self.connections]))
        self.members[channel.fileno()] = member
        self.epoll.register(channel, 0)
        self._send(member)

    def _accept(self, incoming: socket.socket) -> None:
        """Take a connection of nginx, and give it to every worker."""
        try:
            connection, _ = incoming.accept()
        except OSError as error:  # it went away, or there are too many files
            log.warning("no connection of nginx was accepted: %s", error)
            return
        number = next(self.numbers)
        self.connections[number] = connection
        self.by_descriptor[connection.fileno()] = number
        self.epoll.register(connection, select.EPOLLRDHUP)
        for member in self.members.values():
            member.waiting.append(number)
            self._send(member)

    def _send(self, member: Member) -> None:
        """Give a worker the connections that it has not got, as far as its socket takes them."""
        while member.waiting:
            number = member.waiting[0]
            connection = self.connections.get(number)
            try:
                if connection:
                    socket.send_fds(member.channel, [NUMBER.pack(number)], [connection.fileno()])
                elif number == NONE:
                    member.channel.send(NUMBER.pack(NONE))
            except BlockingIOError:  # it is busy
                break
            except OSError as error:  # it died: its descriptor becomes ready
                log.debug("a worker went away: %s", error)
                member.waiting.clear()
                break
            member.waiting.popleft()
        self.epoll.modify(member.channel, select.EPOLLOUT if member.waiting else 0)

    def _leave(self, descriptor: int) -> None:
        """Shut down the connection of a worker that died, and let the others look at all again.

        The kernel may have woken that worker for a request which it never received.
        """
        member = self.members.pop(descriptor)
        self.epoll.unregister(descriptor)
        member.channel.close()
        [number] = NUMBER.unpack(member.note[:])
        member.note.close()
        if number in self.connections:
            log.debug("a worker died while it answered: its connection is shut down")
            self.connections[number].shutdown(socket.SHUT_RDWR)
            self._close(number)
        for other in self.members.values():
            other.waiting.append(NONE)
            self._send(other)

    def _close(self, number: int) -> None:
        """Forget a connection that nginx has closed, or that was shut down."""
        connection = self.connections.pop(number)
        del self.by_descriptor[connection.fileno()]
        self.epoll.unregister(connection)
        connection.close()


class Shared:
    """A worker's side: all connections, in an epoll set that other descriptors can join.

    Raises OSError when the supervisor is not there.
    """

    def __init__(self, run: Path) -> None:
        self.clients: dict[int, tuple[int, socket.socket]] = {}  # by descriptor: number, socket
        self.epoll = select.epoll()
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(JOIN_SECONDS)
        self.channel.connect(str(run / "workers.sock"))
        descriptor = os.memfd_create("answering")
        os.ftruncate(descriptor, NUMBER.size)
        self.note = memoryview(mmap.mmap(descriptor, NUMBER.size)).cast("I")
        socket.send_fds(self.channel, [NUMBER.pack(NONE)], [descriptor])
        os.close(descriptor)
        if len(self.channel.recv(NUMBER.size)) < NUMBER.size:
            raise ConnectionError("the supervisor accepts no worker")
        self.channel.setblocking(False)
        self.epoll.register(self.channel, select.EPOLLIN)

    def receive(self) -> None:
        """Take one message of the supervisor: a connection, or the order to look at all again."""
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        data, descriptors, _, _ = socket.recv_fds(self.channel, NUMBER.size, 1, flags)
        if not data:  # the supervisor died, and the worker's parent dies with it
            self.epoll.unregister(self.channel)
        elif descriptors:
            client = socket.socket(fileno=descriptors[0])
            self.clients[descriptors[0]] = (NUMBER.unpack(data)[0], client)
            self.epoll.register(client, READ_ONE)
        else:
            self.look_again()

    def look_again(self) -> None:
        """Find requests whose wake-up was lost with the worker that it was for."""
        for descriptor in self.clients:
            self.epoll.unregister(descriptor)
            self.epoll.register(descriptor, READ_ONE)

    def request(self, descriptor: int, size: int) -> bytes:
        """Receive a request, and note its connection; b"" when another worker has it already."""
        number, client = self.clients[descriptor]
        self.note[0] = number  # before it is received: dying in between costs no other request
        try:
            data = client.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            data = b""
        except ConnectionError:
            self.forget(descriptor)
            return b""
        else:
            if not data:  # nginx has closed it
                self.forget(descriptor)
        return data

    def answered(self) -> None:
        """Note that no connection is being answered."""
        self.note[0] = NONE

    def forget(self, descriptor: int) -> socket.socket:
        """Give up a connection; its socket closes unless the caller keeps it."""
        self.epoll.unregister(descriptor)
        return self.clients.pop(descriptor)[1]
