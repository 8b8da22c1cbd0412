"""A site in Starlette, the base of FastAPI: a page whose name ends with a slash, and a WebSocket that tells who came."""

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute


async def docs(request):
    return PlainTextResponse("the documentation")


async def who(websocket):
    await websocket.accept()
    await websocket.send_text(websocket.headers["x-tailscale-user-displayname"])
    await websocket.close()


application = Starlette(routes=[Route("/docs/", docs), WebSocketRoute("/who", who)])
