"""Tests use nothing that the environment names, save a broker (AMQP_URL): it may name systems that are in use.

A service that is broken on purpose (tests.faults.broken) is no test: it gets its settings as any other service does.
"""

import os
import re
import sys
from pathlib import Path

_EXAMPLE = (Path(__file__).resolve().parents[1] / ".env.example").read_text()
_SETTINGS = set(re.findall(r"^([A-Z_]+)=", _EXAMPLE, re.MULTILINE)) - {"AMQP_URL"}
# Those of libpq go before what an address says, and Google's library reads more than our settings.
_OTHERS = re.compile(r"PG(?!MQ_)[A-Z]+|(DATABASE|SUPABASE|GOOGLE|GEMINI|GCLOUD|CLOUDSDK|STORYBOARD)_\w+")

for _name in [] if "tests.faults.broken" in sys.orig_argv else list(os.environ):
    if _name.removesuffix("_FILE") in _SETTINGS or _OTHERS.fullmatch(_name):
        del os.environ[_name]
os.environ["ENV_FILE"] = ""
