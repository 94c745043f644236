"""The application: routes of the product API and of the management interface."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import handlers, interactions, listing, vertex
from .config import Config
from .errors import ApiError, Json, invalid
from .turns import Emulator, product_route

_MODEL = "/{version}/models/{model}"
_FILE = "/{version}/files/{file}"
_INTERACTIONS = "/{version}/interactions"
_INTERACTION = f"{_INTERACTIONS}/{{interaction}}"
_VERTEX_MODELS = (
    "/{version}/publishers/google/models/{model}",
    "/{version}/projects/{project}/locations/{location}/publishers/google/models/{model}",
)


def create_app(config: Config) -> Starlette:
    """Return the emulator as an ASGI application; reads ``config.state_dir`` at once.

    Run it with :func:`devstack.emulators.google.server.make_server`, which the scripted dropping of
    connections needs.
    """
    emulator = Emulator(config)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        emulator.operations.resume()
        yield
        await emulator.operations.close()
        emulator.journal.close()

    routes = [*_gemini_routes(), *_vertex_routes(), *_interaction_routes(), *_management_routes()]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _no_such_method})
    app.state.emulator = emulator
    return app


def _gemini_routes() -> list[Route]:
    return [
        Route(f"{_MODEL}:generateContent", product_route("image", handlers.generate_content), methods=["POST"]),
        Route(
            f"{_MODEL}:predictLongRunning",
            product_route("submit", handlers.predict_long_running),
            methods=["POST"],
        ),
        Route(f"{_MODEL}/operations/{{operation}}", product_route("poll", handlers.get_operation)),
        Route(f"{_MODEL}/operations", product_route("list", listing.list_operations)),
        Route("/{version}/generatedFiles", product_route("list", listing.list_generated_files)),
        Route(_MODEL, product_route("model", handlers.get_model)),
        Route(f"{_FILE}:download", product_route("download", handlers.download_file)),
        Route(_FILE, product_route("file", handlers.get_file)),
    ]


def _vertex_routes() -> list[Route]:
    submit = product_route("submit", vertex.predict_long_running, "vertex")
    poll = product_route("poll", vertex.fetch_predict_operation, "vertex")
    model = product_route("model", vertex.get_model, "vertex")
    routes = []
    for path in _VERTEX_MODELS:
        routes.append(Route(f"{path}:predictLongRunning", submit, methods=["POST"]))
        routes.append(Route(f"{path}:fetchPredictOperation", poll, methods=["POST"]))
        routes.append(Route(path, model))
    return routes


def _interaction_routes() -> list[Route]:
    create = product_route("submit", interactions.create_interaction, "interactions")
    cancel = product_route("cancel", interactions.cancel_interaction, "interactions")
    get = product_route("poll", interactions.get_interaction, "interactions")
    delete = product_route("delete", interactions.delete_interaction, "interactions")
    return [
        Route(_INTERACTIONS, create, methods=["POST"]),
        Route(f"{_INTERACTION}/cancel", cancel, methods=["POST"]),
        Route(_INTERACTION, get),
        Route(_INTERACTION, delete, methods=["DELETE"]),
    ]


def _management_routes() -> list[Route]:
    return [
        Route("/_emulator/script", _management_route(_add_to_script), methods=["POST"]),
        Route("/_emulator/release", _management_route(_release), methods=["POST"]),
        Route("/_emulator/requests", _management_route(_requests)),
        Route("/_emulator/reset", _management_route(_reset), methods=["POST"]),
    ]


def _management_route(
    handler: Callable[[Emulator, Request], Awaitable[Json]],
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            _check_loopback(request)
            return JSONResponse(await handler(request.app.state.emulator, request))
        except ApiError as error:
            return JSONResponse(error.body(), error.code)

    return endpoint


def _check_loopback(request: Request) -> None:
    if request.client is None or not ipaddress.ip_address(request.client.host).is_loopback:
        raise ApiError(403, "The management interface is available on the loopback interface only.")


async def _add_to_script(emulator: Emulator, request: Request) -> Json:
    try:
        value = await request.json()
    except ValueError as error:
        raise invalid(f"the script is not JSON: {error}") from error
    return {"waiting": emulator.script.add(value)}


async def _release(emulator: Emulator, _request: Request) -> Json:
    return {"released": emulator.script.release()}


async def _requests(emulator: Emulator, _request: Request) -> Json:
    report = await asyncio.to_thread(emulator.journal.report)
    return report | {"held": emulator.script.held}


async def _reset(emulator: Emulator, _request: Request) -> Json:
    emulator.script.clear()
    await asyncio.to_thread(emulator.journal.reset)
    return {}


async def _no_such_method(_request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 404
    body = ApiError(code, "Method not found." if code == 404 else "Method not allowed.").body()
    return JSONResponse(body, code)
