"""Talks to the server with Python's websockets: echoes of all sizes, a ping, and a close.

Argument: the echo URL. Prints one line for each thing done.
"""

import asyncio
import sys

from websockets.asyncio.client import connect

SIZES = [0, 1, 125, 126, 65_535, 65_536, 1 << 20]


async def echo(socket, message):
    await socket.send(message)
    answer = await socket.recv()
    if type(answer) is not type(message) or answer != message:
        raise ValueError(f"{len(message)} came back as {len(answer)}")


async def main(url):
    # The proxy of the environment is for the world outside; this stays on loopback.
    async with connect(url, max_size=None, proxy=None) as socket:
        print(f"opened with extensions '{','.join(str(e) for e in socket.protocol.extensions)}'")
        for size in SIZES:
            await echo(socket, "a" * size)
            await echo(socket, bytes(n % 251 for n in range(size)))
            print(f"echoed {size}")
        await asyncio.wait_for(await socket.ping("ping"), 10)
        print("ponged ping")
        await socket.send(["one ", "two ", "three"])
        print(f"joined {await socket.recv()}")
        await socket.close(1000, "done")
        print(f"closed {socket.close_code}")


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
