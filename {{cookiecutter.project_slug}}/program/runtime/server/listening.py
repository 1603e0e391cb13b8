"""The socket that clients connect to, from its first connection to its last.

The supervisor opens it, and nginx (gunicorn where there is no nginx) inherits it. So it can be
emptied before it is closed: the kernel resets the connections that still wait in its queue, and
their clients, who are connected, take that for a failure.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import time

BACKLOG = 2048
ATTACH_FILTER = 26  # SO_ATTACH_FILTER of socket(7), which Python does not name
BIND_TO_DEVICE = 62  # SO_BINDTOIFINDEX: to the network device of that number
NO_DEVICE = 2**31 - 1
# Classic BPF on a TCP segment: code, jump if true, jump if false, operand of each instruction.
DROP_SYN = (
    (0x30, 0, 0, 13),  # load byte 13 of the segment: its flags
    (0x45, 0, 1, 0x02),  # is SYN among them?
    (0x06, 0, 0, 0),  # yes: drop
    (0x06, 0, 0, 0xFFFFFFFF),  # no: take
)
WAITING = 24  # offset in tcp_info of tcpi_unacked: of a listening socket, the length of its queue
STEP = 0.01  # seconds between two looks at the queue
SETTLED = 0.2  # seconds of an empty queue: handshakes that had begun are complete
PATIENCE = 10.0  # seconds after which the socket is closed, whoever is waiting

log = logging.getLogger(__name__)


def listen(port: int) -> socket.socket:
    """Return a listening socket on all IPv4 addresses. Raises OSError that names the port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("0.0.0.0", port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on port {port}: {error.strerror}") from None
    listener.setblocking(False)  # nginx takes an inherited socket as it is
    return listener


def turn_away(listener: socket.socket) -> None:
    """Let nobody connect any more, without closing the socket.

    A client that tries is refused, now or when it tries again after a second. Handshakes that have
    begun go on, and so does what follows them.
    """
    for refuse in (drop_syn, leave_devices):
        try:
            refuse(listener)
            return
        except OSError as error:
            log.debug("%s: %s", refuse.__name__, error)
    # Not Linux: between the last look at the queue and the end, a connection may be reset.


def drop_syn(listener: socket.socket) -> None:
    """Drop segments that ask for a connection. Linux 6.18 lets only administrators do that."""
    instructions = b"".join(struct.pack("HBBI", *line) for line in DROP_SYN)
    program = ctypes.create_string_buffer(instructions)
    fprog = struct.pack("HL", len(DROP_SYN), ctypes.addressof(program))
    listener.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, fprog)


def leave_devices(listener: socket.socket) -> None:
    """Listen on a device that does not exist. Linux 5.7 and later let anybody do that once.

    The kernel then finds no listener for a new client. Connections keep the device that they came
    through, those that are not accepted yet and those whose handshake is not complete among them.
    """
    listener.setsockopt(socket.SOL_SOCKET, BIND_TO_DEVICE, NO_DEVICE)


def waiting(listener: socket.socket) -> int:
    """Return how many connections wait in the queue; 0 where the system does not say."""
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    except (AttributeError, OSError):
        return 0
    return int(struct.unpack_from("I", info, WAITING)[0])


class Quiet:
    """Watches a queue until it has been empty for a while, or until patience ends."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.since = time.monotonic()
        self.end = self.since + PATIENCE

    def reached(self) -> bool:
        """Return whether the socket can be closed."""
        now = time.monotonic()
        if waiting(self.listener):
            self.since = now
        return now - self.since > SETTLED or now > self.end
