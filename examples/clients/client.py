"""Asks Patch Manager Plus for its summary once a minute, with the token Secret mounted at /var/run/zoho.

The files are read for every request: the token is renewed at least every hour, and the mounted files follow.
"""

import http.client
import os
import pathlib
import sys
import time
import urllib.request

FOLDER = pathlib.Path(os.environ.get("ZOHO_FOLDER", "/var/run/zoho"))
INTERVAL = float(os.environ.get("INTERVAL", "60"))


def get(path):
    request = urllib.request.Request((FOLDER / "api_url").read_text() + path)
    # Unredirected: a redirect to another host must not get the token.
    request.add_unredirected_header("Authorization", (FOLDER / "authorization").read_text())
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.read().decode()


while True:
    try:
        print(get("/api/1.4/patch/summary"), flush=True)
    # No connection, no answer in time, a refusal, half an answer, no Secret yet.
    except (OSError, http.client.HTTPException) as error:
        print(error, file=sys.stderr, flush=True)
    time.sleep(INTERVAL)
