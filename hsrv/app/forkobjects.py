"""Finds Python objects created by an import that processes must not share, and the globals that hold them.

Looks at the garbage collector's list of objects, so objects created before `gc.freeze()` are not seen. Promises: no
module is imported, and no code of an object's own class runs: its type is inspected, not the object. (An event loop is
asked whether it is closed.)
"""

import gc
import io
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final, NamedTuple

from hsrv.app.preload import is_library

MAX_STEPS: Final = 6
"""Maximum steps from an object to the global that holds it. A list of clients with a file each needs five."""

MAX_OBJECTS: Final = 20_000
"""Maximum objects followed in one step: with so many references no single holder would be informative."""

KINDS: Final = (
    ("concurrent.futures.process", "ProcessPoolExecutor"),
    ("multiprocessing.pool", "Pool"),
    ("multiprocessing.managers", "BaseManager"),
    ("multiprocessing.managers", "BaseProxy"),
    ("multiprocessing.process", "BaseProcess"),
    ("multiprocessing.queues", "Queue"),
    ("multiprocessing.queues", "SimpleQueue"),
    ("multiprocessing.synchronize", "Event"),
    ("multiprocessing.synchronize", "Condition"),
    ("multiprocessing.synchronize", "SemLock"),
    ("multiprocessing.connection", "_ConnectionBase"),
    ("multiprocessing.connection", "Listener"),
    ("asyncio.events", "AbstractEventLoop"),
    ("random", "Random"),
    ("numpy.random._generator", "Generator"),
    ("numpy.random.mtrand", "RandomState"),
    ("numpy.random.bit_generator", "BitGenerator"),
)
"""Modules and their classes; composite classes come before their parts, and are reported instead of them. Queues, locks
and connections are shared by all processes: a message, lock or answer reaches any of them. So is an event loop's epoll
object. Random generators are copied, so that all processes draw the same numbers."""


class Place(NamedTuple):
    """The global that holds an object."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}" if self.attribute else self.module


@dataclass(frozen=True)
class Shared:
    """An object that processes must not share."""

    kind: str
    where: str
    """The global that holds it; empty if unknown."""

    def __str__(self) -> str:
        return f"{self.kind} {self.where}".rstrip()


def shared_objects() -> list[Shared]:
    """One for each global that holds such objects, and one for each kind that no global holds."""
    found = [value for value in _objects_of(_classes(KINDS)) if not _is_harmless(value)]
    if not found:
        return []
    places = _places(found)
    of_libraries = {id(generator) for generator in _of_libraries(found, places)}
    rank = {kind: number for number, kind in enumerate(_classes(KINDS))}
    found.sort(key=lambda value: min(rank[kind] for kind in rank if issubclass(type(value), kind)))
    shared: dict[str, Shared] = {}
    for value in found:
        if id(value) not in of_libraries:
            where = str(places.get(id(value), ""))
            kind = type(value).__qualname__
            shared.setdefault(where or kind, Shared(kind, where))
    return list(shared.values())


# generators of random numbers


def generators_to_reseed() -> list[random.Random]:
    """The internal generators of libraries. Those of the application may have been seeded on purpose, which can't be
    detected."""
    found = [value for value in _objects_of((random.Random,)) if not _is_harmless(value)]
    return _of_libraries(found, _places(found)) if found else []


def _of_libraries(found: Iterable[object], places: dict[int, Place]) -> list[random.Random]:
    generators = [value for value in found if type(value) is random.Random]
    return [value for value in generators if id(value) in places and _is_of_library(places[id(value)].module)]


def _is_of_library(module: str) -> bool:
    file = _dict_of(sys.modules[module]).get("__file__")
    return isinstance(file, str) and is_library(Path(file))


def reseed(generators: Iterable[random.Random]) -> None:
    """In a forked child: reseed these and numpy's generator, as `random` does with the generator of its functions."""
    for generator in generators:
        generator.seed()
    if (numpy_generator := _numpy_generator()) is not None:
        numpy_generator.seed()


def _numpy_generator() -> Any:
    """The generator behind the functions of numpy.random, if it can be reseeded."""
    own = _attribute("numpy.random.mtrand", "_rand")
    usual = type(getattr(own, "_bit_generator", None)).__name__ == "MT19937"
    return own if usual else None  # else replaced with np.random.set_bit_generator()


# objects


def _dict_of(module: object) -> dict[str, Any]:
    """A module's names, without its own __getattr__: a lazy module would import submodules."""
    descriptor: Any = vars(ModuleType)["__dict__"]
    names = descriptor.__get__(module)
    return names if type(names) is dict else {}


def _attribute(module: str, name: str) -> Any:
    found = sys.modules.get(module)
    return _dict_of(found).get(name) if issubclass(type(found), ModuleType) and found is not None else None


def _classes(kinds: Iterable[tuple[str, str]]) -> tuple[type, ...]:
    """The classes of imported modules: of the others there are no objects."""
    found = (_attribute(module, name) for module, name in kinds)
    return tuple(kind for kind in found if type(kind) is type)


def _objects_of(classes: tuple[type, ...]) -> list[Any]:
    objects = gc.get_objects()
    types = {id(kind): kind for kind in map(type, objects)}
    wanted = {number for number, kind in types.items() if issubclass(kind, classes)}
    return [value for value in objects if id(type(value)) in wanted] if wanted else []


def _is_harmless(value: Any) -> bool:
    """Whether it is closed, or handles forks itself."""
    if issubclass(type(value), random.Random):
        return (
            issubclass(type(value), random.SystemRandom)
            or value is _attribute("random", "_inst")
            or _is_tempfiles(value)
        )
    if (numpy_generator := _numpy_generator()) is not None and (
        value is numpy_generator or value is numpy_generator._bit_generator
    ):
        return True
    kind, state = type(value).__name__, _state(value)
    if issubclass(type(value), _classes([("asyncio.events", "AbstractEventLoop")])):
        try:
            return bool(value.is_closed())
        except Exception:  # a foreign event loop, which may have no such method
            return False
    if kind == "ProcessPoolExecutor":
        return bool(state.get("_shutdown_thread"))
    return kind in ("_MainProcess", "_ParentProcess") or ("_handle" in state and state["_handle"] is None)


def _state(value: object) -> dict[str, object]:
    try:
        state = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return state if type(state) is dict else {}


def _is_tempfiles(generator: random.Random) -> bool:
    """Whether it is tempfile's, which creates a new one in another process."""
    sequences = [
        *_objects_of(_classes([("tempfile", "_RandomNameSequence")])),
        _attribute("tempfile", "_name_sequence"),
    ]
    return any(_state(sequence).get("_rng") is generator for sequence in sequences)


# descriptors


def log_files() -> set[int]:
    """Descriptors of files that handlers of `logging` write to. Each line is written in one piece at the shared
    position: one after the other, however the file was opened."""
    handlers = _objects_of(_classes([("logging", "FileHandler")]))
    streams = [_state(handler).get("stream") for handler in handlers]
    return {stream.fileno() for stream in streams if type(stream) is io.TextIOWrapper and not stream.closed}


def holders(descriptors: Iterable[int]) -> dict[int, str]:
    """The globals that hold the objects of these descriptors."""
    wanted = set(descriptors)
    kinds = _classes(
        [("_io", "FileIO"), ("_socket", "socket"), ("multiprocessing.connection", "_ConnectionBase")]
    )
    found = {fd: value for value in _objects_of(kinds) if (fd := _descriptor(value)) in wanted}
    places = _places(found.values())
    return {fd: str(places[id(value)]) for fd, value in found.items() if id(value) in places}


def _descriptor(value: Any) -> object:
    if issubclass(type(value), io.FileIO):
        return -1 if io.FileIO.closed.__get__(value) else io.FileIO.fileno(value)
    if "_handle" in (state := _state(value)):
        return state["_handle"]
    return _attribute("_socket", "socket").fileno(value)


# holders


def _places(objects: Iterable[object]) -> dict[int, Place]:
    """The globals that reach the objects in the fewest steps, by the objects' ids."""
    names, modules = _globals()
    found: dict[int, Place] = {}
    front = {id(value): (value, {id(value)}) for value in objects}
    reached: dict[int, set[int]] = {}
    """The objects that each visited object reaches."""
    for _ in range(MAX_STEPS):
        for number, (_, sources) in front.items():
            reached.setdefault(number, set()).update(sources)
            if (place := names.get(number) or modules.get(number)) is not None:
                found |= {source: place for source in sources if source not in found}
        front = _one_step_up([(value, sources - found.keys()) for value, sources in front.values()], reached)
        if not front or len(front) > MAX_OBJECTS:
            break
    return found


def _one_step_up(
    front: list[tuple[object, set[int]]], reached: dict[int, set[int]]
) -> dict[int, tuple[object, set[int]]]:
    """Their referrers, each with the objects that it newly reaches."""
    leads = {id(value): sources for value, sources in front if sources}
    values = [value for value, sources in front if sources]
    mine = {id(front), id(values), *map(id, front)}
    above: dict[int, tuple[object, set[int]]] = {}
    for holder in gc.get_referrers(*values) if values else ():
        if id(holder) not in mine and type(holder) is not FrameType:
            sources = set[int]().union(*(leads.get(id(value), ()) for value in gc.get_referents(holder)))
            if new := sources - reached.get(id(holder), set()):
                above[id(holder)] = (holder, new)
    return above


def _globals() -> tuple[dict[int, Place], dict[int, Place]]:
    """Object id to global, and id of a module's dictionary to module. Of several names the one in the module imported
    last: that is usually where the object was created."""
    names: dict[int, Place] = {}
    modules: dict[int, Place] = {}
    for name, module in list(sys.modules.items()):
        if not issubclass(type(module), ModuleType) or name == "__mp_main__":
            continue  # __mp_main__ is another name of __main__
        modules[id(_dict_of(module))] = Place(name, "")
        for attribute, value in list(_dict_of(module).items()):
            if not issubclass(type(value), ModuleType) and not attribute.startswith("__"):
                names[id(value)] = Place(name, attribute)
    return names, modules
