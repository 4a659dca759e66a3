"""Ports: found to be free before anything slow starts, held until the servers take them over."""

import errno
import socket

from serving.command import UsageError


def reserve(host: str, port: int, flag: str) -> socket.socket:
    """Binds a TCP port without listening: nobody else can take it, and nobody can connect yet.

    Args:
      host: address to bind, such as "127.0.0.1", "0.0.0.0" or "::".
      port: 1 to 65535.
      flag: the flag that named the port, for the error.

    Raises:
      UsageError: the port is taken, not allowed, or the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UsageError(f"--host={host} is not an address: {error}") from error
    _refuse_if_listening(family, kind, protocol, address, flag)
    holder = socket.socket(family, kind, protocol)
    # Without it a restarted server waits a minute for old connections to be forgotten.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        holder.bind(address)
    except OSError as error:
        holder.close()
        raise _explain(error, host, port, flag) from error
    return holder


def _refuse_if_listening(family, kind, protocol, address, flag: str) -> None:
    """SO_REUSEADDR lets two sockets hold a port until one listens, so ask without it first."""
    with socket.socket(family, kind, protocol) as probe:
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return  # the real bind explains it
            # In use, or only remembered from closed connections: a listener answers.
            with socket.socket(family, kind, protocol) as caller:
                caller.settimeout(1)
                if caller.connect_ex(address) == 0:
                    raise in_use(address[0], address[1], flag) from error


def in_use(host: str, port: int, flag: str) -> UsageError:
    """The error for a port somebody else has."""
    return UsageError(f"port {port} on {host} is in use; stop what uses it or change {flag}")


def _explain(error: OSError, host: str, port: int, flag: str) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return in_use(host, port, flag)
    if error.errno == errno.EACCES:
        return UsageError(f"{flag}={port} needs root; use a port from 1024 on")
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"--host={host} is not an address of this machine")
    return UsageError(f"cannot bind {flag}={port} on {host}: {error}")


def text(host: str, port: int) -> str:
    """ "host:port", with the brackets an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
