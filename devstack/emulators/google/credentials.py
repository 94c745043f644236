"""Who may call: keys of the Gemini API and of Vertex's express mode, access tokens of Vertex's projects."""

import hmac

from starlette.requests import Request

from .config import Config
from .errors import ApiError, Surface, invalid_key, missing_key, unauthenticated

VERSIONS = ("v1", "v1beta", "v1alpha")
VERTEX_VERSIONS = ("v1", "v1beta1")
# Express mode names no project, but its operations have one: that of the key.
EXPRESS_PROJECT = "express-mode-project"
_HELP = "See https://developers.google.com/identity/sign-in/web/devconsole-project."


def check_key(request: Request, config: Config) -> str:
    """Return the version in the path; raise ApiError when key or version are not right."""
    key = _key_of(request)
    if not key:
        raise missing_key()
    _compare_key(key, config, "gemini")
    return _version(request, VERSIONS)


def check_interactions_key(request: Request, config: Config) -> str:
    """The same for the Interactions API, which answers 401 to a key that is missing too."""
    key = _key_of(request)
    if not key:
        raise ApiError(401, "API key is missing. Please pass a valid API key.")
    _compare_key(key, config, "interactions")
    return _version(request, VERSIONS)


def check_vertex_caller(request: Request, config: Config, project: str | None) -> str:
    """The same for Vertex: a key in express mode (no project, or that of the key), else an access token."""
    key = _key_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if project not in (None, EXPRESS_PROJECT):
        _check_token(token if scheme.lower() == "bearer" else "", bool(key), config)
    elif key:
        _compare_key(key, config, "vertex")
    else:
        raise _no_credentials()
    return _version(request, VERTEX_VERSIONS)


def _check_token(token: str, has_key: bool, config: Config) -> None:
    if not token and has_key:
        message = (
            "API keys are not supported by this API. Expected OAuth2 access token or other authentication "
            "credentials that assert a principal. See https://cloud.google.com/docs/authentication"
        )
        raise unauthenticated(message, "CREDENTIALS_MISSING")
    if not token:
        raise _no_credentials()
    if config.vertex_token is None or not hmac.compare_digest(token.encode(), config.vertex_token.encode()):
        message = (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            f"valid authentication credential. {_HELP}"
        )
        raise unauthenticated(message, "ACCESS_TOKEN_TYPE_UNSUPPORTED")


def _no_credentials() -> ApiError:
    message = (
        "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or "
        f"other valid authentication credential. {_HELP}"
    )
    return unauthenticated(message, "CREDENTIALS_MISSING")


def _key_of(request: Request) -> str | None:
    return request.headers.get("x-goog-api-key") or request.query_params.get("key")


def _compare_key(key: str, config: Config, surface: Surface) -> None:
    if not hmac.compare_digest(key.encode(), config.api_key.encode()):
        raise invalid_key(surface)


def _version(request: Request, known: tuple[str, ...]) -> str:
    version: str = request.path_params["version"]
    if version not in known:
        raise ApiError(404, "Method not found.")
    return version
