"""Makes the workers of one trial on several nodes connect over the network that Ray uses.

Gloo listens on the address of the node's own name. On many systems that is loopback, which no other node can reach; Ray
knows the right address.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

from ray.train.torch import TorchConfig

GET_ADDRESS = 0x8915  # SIOCGIFADDR of Linux


class RaysNetwork(TorchConfig().backend_cls):  # type: ignore[misc]
    """Process group of Ray Train's workers, on Ray's network."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Called before the workers connect."""
        worker_group.execute(use_rays_interface)
        super().on_start(worker_group, backend_config)


@dataclass
class RaysTorchConfig(TorchConfig):  # type: ignore[misc]
    """Ray Train's settings of torch, with a process group on Ray's network."""

    @property
    def backend_cls(self) -> type:
        """The class that makes the process group."""
        return RaysNetwork


def use_rays_interface() -> None:
    """Let gloo use the interface that has this node's address in Ray, unless the environment names one."""
    import ray

    if name := interface_with(ray.util.get_node_ip_address()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def interface_with(address: str) -> str | None:
    """The name of the network interface that has an IPv4 address, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(probe, GET_ADDRESS, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return None
