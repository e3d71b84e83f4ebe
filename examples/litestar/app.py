"""Who is in which room, with Litestar: types that are checked and documented, and a stream of
events for who watches.

    hostler --chdir examples/litestar app       # /schema says what it understands

What is known is known to one process: with several workers (-w) it belongs into a database.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Dict, List

from litestar import Litestar, get, put
from litestar.exceptions import NotFoundException
from litestar.response import ServerSentEvent


@dataclass
class Person:
    name: str
    room: str


rooms: Dict[str, str] = {}
changed = asyncio.Condition()


@get("/people")
async def people() -> List[Person]:
    return [Person(name, room) for name, room in sorted(rooms.items())]


@put("/people/{name:str}", status_code=200)
async def move(name: str, data: Person) -> Person:
    async with changed:
        rooms[name] = data.room
        changed.notify_all()
    return Person(name, data.room)


@get("/people/{name:str}")
async def person(name: str) -> Person:
    if name not in rooms:
        raise NotFoundException(detail="Nobody knows " + name)
    return Person(name, rooms[name])


@get("/watch")
async def watch() -> ServerSentEvent:
    async def events():
        told = None
        while True:
            async with changed:
                await changed.wait_for(lambda: rooms != told)
                told = dict(rooms)
            yield json.dumps(told)

    return ServerSentEvent(events())


app = Litestar([people, move, person, watch])
