"""Two nodes on one machine: namespaces for their names and networks, with a cable between them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """A node: namespaces of its own for its name and its network, where that is allowed; else this machine itself."""

    name: str
    address: str
    enter: tuple[str, ...] = ()


def _command(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=20)


@contextlib.contextmanager
def _namespaces() -> Iterator[tuple[Host, Host]]:
    """Two hosts with a cable between them. Raises ``OSError`` or ``CalledProcessError`` where that is not allowed."""
    with contextlib.ExitStack() as stack:
        hosts, pids = [], []
        for name, address in (("node-a", "10.77.0.1"), ("node-b", "10.77.0.2")):
            # It says so when it is in its namespaces, and ends with its input.
            holder = stack.enter_context(
                subprocess.Popen(
                    ["unshare", "--uts", "--net", "sh", "-c", f"hostname {name} && echo made && cat"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )
            )  # fmt: skip
            stack.callback(holder.kill)
            assert holder.stdout is not None
            if holder.stdout.readline() != "made\n":
                raise OSError("unshare --uts --net is not allowed here")
            pids.append(str(holder.pid))
            hosts.append(Host(name, address, ("nsenter", "-t", str(holder.pid), "--uts", "--net")))
        _command(
            *["ip", "link", "add", "cable", "netns"],
            pids[0],
            *["type", "veth", "peer", "name", "cable", "netns"],
            pids[1],
        )
        for host in hosts:
            _command(*host.enter, "ip", "address", "add", f"{host.address}/24", "dev", "cable")
            for link in ("lo", "cable"):
                _command(*host.enter, "ip", "link", "set", link, "up")
        yield hosts[0], hosts[1]


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two simulated nodes; without namespaces two run environments on this one, which is printed."""
    with contextlib.ExitStack() as stack:
        try:
            pair = stack.enter_context(_namespaces())
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"hosts are not simulated by namespaces: {error}")
            here = Host(os.uname().nodename, "127.0.0.1")
            pair = here, here
        yield pair
