"""How the page is served: from memory, cached by content, and locked down."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ragstone.console.assets import Asset, load_assets

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No text can become markup anywhere in the page, whatever its scripts do.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

FOREVER: Final = "public, max-age=31536000, immutable"
REVALIDATE: Final = "no-cache"


def routes() -> list[BaseRoute]:
    """`/` and `/console/...`, ready for a Starlette application. They need no key.

    A file is known as `/console/VERSION/NAME`, where the version is a hash over all files:
    that address never changes its content and is cached for ever. Without the version, or
    with that of another build (an open page during an upgrade), the present file is sent
    and the browser asks again each time, by ETag.
    """
    assets = load_assets()

    async def page(request: Request) -> Response:
        return _send(request, assets.page, REVALIDATE)

    async def file(request: Request) -> Response:
        asset = assets.files.get(request.path_params["name"])
        if asset is None:
            return Response("No such file.", 404, SECURITY_HEADERS, "text/plain")
        current = request.path_params.get("version") == assets.version
        return _send(request, asset, FOREVER if current else REVALIDATE)

    return [
        Route("/", page, methods=["GET"], name="console"),
        Route("/console/{version}/{name}", file, methods=["GET"]),
        Route("/console/{name}", file, methods=["GET"]),
    ]


def _send(request: Request, asset: Asset, cache_control: str) -> Response:
    headers = {**SECURITY_HEADERS, "ETag": asset.etag, "Cache-Control": cache_control}
    if _matches(request.headers.get("if-none-match"), asset.etag):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers={**headers, "Content-Type": asset.media_type})


def _matches(if_none_match: str | None, etag: str) -> bool:
    """RFC 9110, 13.1.2: any of the listed validators, compared weakly."""
    if if_none_match is None:
        return False
    candidates = {candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")}
    return "*" in candidates or etag in candidates
