"""What is left in a handoff channel when nobody reads it any more."""

from hsrv.channel import Channel, ChannelError, Packet

Pair = tuple[Channel, Channel]
"""The send and the receive end."""


def move(home: Pair, target: Channel) -> int:
    """Pass on what waits in `home`, unread; how many packets. What `target` has no room for stays."""
    moved = 0
    while (packet := _next(home)) is not None:
        with packet:
            try:
                target.send(packet.payload, *packet.fds)
            except ChannelError:
                home[0].send(packet.payload, *packet.fds)  # it has just made room there
                return moved
        moved += 1
    return moved


def drop(home: Pair) -> int:
    """Close both ends, and the sockets that still wait there; how many packets."""
    lost = 0
    while (packet := _next(home)) is not None:
        packet.close()
        lost += 1
    for channel in home:
        channel.close()
    return lost


def _next(home: Pair) -> Packet | None:
    try:
        return home[1].receive()
    except ChannelError:
        return None  # no descriptor is left to receive one with
