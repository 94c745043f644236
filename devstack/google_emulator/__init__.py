"""An emulator of Google's Gemini image API and of Veo on the Gemini API, spoken over real HTTP.

The product reaches it by base URL only. Start it with ``python -m devstack.google_emulator`` or build the
application with :func:`devstack.google_emulator.app.create_app`. The management routes under ``/_emulator``
script the next answers, show what was asked and what would have been paid for, and reset both.
"""
