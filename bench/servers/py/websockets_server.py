"""The server of Python's websockets: an echo, and a room under /ws/.

`websockets_server.py [off|shared|takeover]`: whether messages are compressed, and whether contexts are kept.
"""

import asyncio
import sys

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

COMPRESSION = sys.argv[1] if len(sys.argv) > 1 else "off"
ROOM = set()


async def answer(connection):
    try:
        if connection.request.path.startswith("/ws/"):
            ROOM.add(connection)
            async for message in connection:
                broadcast(ROOM, message)
        else:
            async for message in connection:
                await connection.send(message)
    except ConnectionClosed:
        pass
    finally:
        ROOM.discard(connection)


def extensions():
    if COMPRESSION == "off":
        return None
    forgets = COMPRESSION == "shared"
    settings = {"level": 1, "memLevel": 5}
    return [
        ServerPerMessageDeflateFactory(
            server_no_context_takeover=forgets,
            client_no_context_takeover=forgets,
            compress_settings=settings,
        )
    ]


async def main():
    # Neither pings nor their deadlines: the others send none within so short a time.
    server = await serve(
        answer, "127.0.0.1", 0, compression=None, extensions=extensions(),
        ping_interval=None, max_queue=None, backlog=4096,
    )
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


asyncio.run(main())
