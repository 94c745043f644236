"""Whether a picture that came with a request can be read at all."""

from .errors import invalid

_UNREADABLE = (
    "Unable to process input image. Please retry or report in "
    "https://developers.generativeai.google/guide/troubleshooting"
)


def check_picture(data: bytes) -> None:
    """Raise ApiError 400 for bytes that are no picture; decodes them, so it takes its time."""
    from .painting import open_picture  # noqa: PLC0415 - an idle server stays small

    try:
        open_picture(data)
    except ValueError as error:
        raise invalid(_UNREADABLE) from error
