"""Makes tokens with PyJWT and opens connections with Python's websockets.

Argument: the WebSocket URL without its path, and the folder of keys. Reads lines from stdin and answers each with
one line:

  make ALGORITHM KEYFILE KID CLAIMS     a token; KEYFILE is a file of a private key or of a secret
  open PATH TOKEN                       opens with an Authorization header, echoes, and closes
"""

import asyncio
import json
import sys

import jwt
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus


def make(algorithm, file, kid, claims):
    with open(file, encoding="utf-8") as source:
        key = source.read().strip()
    headers = {"kid": kid} if kid != "-" else None
    return jwt.encode(json.loads(claims), key, algorithm=algorithm, headers=headers)


async def open_with(url, token):
    headers = {"Authorization": f"Bearer {token}"}
    try:
        # The proxy of the environment is for the world outside; this stays on loopback.
        async with connect(url, additional_headers=headers, proxy=None) as socket:
            await socket.send("hello")
            return f"heard {await socket.recv()}"
    except InvalidStatus as refused:
        return f"refused {refused.response.status_code}"


for line in sys.stdin:
    verb, *rest = line.strip().split(" ", 4)
    if verb == "make":
        print(make(*rest))
    else:
        print(asyncio.run(asyncio.wait_for(open_with(sys.argv[1] + rest[0], rest[1]), 60)))
