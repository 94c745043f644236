"""A model of an operator's own catalogue."""

MY_FILM = """
[[models]]
name = "my-film"
kind = "video"
provider = "google"
route = "veo_vertex"
prompt_max_characters = 9
aspect_ratios = ["16:9"]
durations = ["8"]
resolutions = ["720p"]
price = { unit = "second", usd = { 720p = "0.01" } }
"""
