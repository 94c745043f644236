"""An emulator of Google's media APIs over real HTTP: Gemini pictures, Veo on the Gemini API and on Vertex, Gemini Omni.

The product reaches it by base URL only. Start it with ``python -m devstack.emulators.google`` or build the
application with :func:`devstack.emulators.google.app.create_app`. The management routes under ``/_emulator``
script the next answers, show what was asked and what would have been paid for, and reset both.
"""
