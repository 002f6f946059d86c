"""A simulator behind TLS, for deploy/wheel/check: prints the port, and serves until it is ended.

tls.py CERTIFICATE KEY
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from urllib.parse import urlsplit

from vllmperf.sim import Server


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(certificate: str, key: str, behind: int) -> None:
    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", behind)
        await asyncio.gather(copy(reader, to_writer), copy(to_reader, writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(join, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with Server(ttft_ms=5, itl_ms=1) as simulator:
        asyncio.run(serve(sys.argv[1], sys.argv[2], urlsplit(simulator.url).port or 0))
