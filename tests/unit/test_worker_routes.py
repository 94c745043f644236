"""What a worker says of models that it cannot call."""

from __future__ import annotations

from superstoryboard.domain.media import Media
from superstoryboard.providers.catalogue import Catalogue
from superstoryboard.providers.routes import AnswerRoute
from superstoryboard.worker.routes import Routes

CATALOGUE = Catalogue.load()
IMAGES = Routes[AnswerRoute](Media.IMAGE, CATALOGUE, {})


def test_a_model_whose_route_makes_something_else() -> None:
    video = CATALOGUE.default_name("video")
    route = CATALOGUE.get(video).route
    assert IMAGES.problem(video) == f"this worker does not generate images by route {route}"


def test_a_model_whose_setting_is_missing() -> None:
    image = CATALOGUE.default_name("image")
    assert "need the setting" in str(IMAGES.problem(image))


def test_a_model_that_left_the_catalogue_has_no_usual_time() -> None:
    """Its operations are polled to their end all the same."""
    assert IMAGES.usual_seconds("gone-1.0") == 0
    assert IMAGES.usual_seconds(CATALOGUE.default_name("video")) > 0
    assert "has no model gone-1.0" in str(IMAGES.problem("gone-1.0"))
