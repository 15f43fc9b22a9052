"""The least that FastAPI can do: answer with the same bytes each time. What every other figure is divided by."""

import json

from fastapi import FastAPI, Response

ITEM = {"id": 1, "name": "Kettle", "description": "1.7 l, steel, with a lid that closes", "price": 34.9, "version": 1}
ITEM |= {"created_at": "2026-11-23T16:00:00.000000Z", "updated_at": "2026-11-23T16:00:00.000000Z"}
LIST_BODY = json.dumps([ITEM] * 100).encode()
ITEM_BODY = json.dumps(ITEM).encode()

app = FastAPI()


@app.get("/list")
async def list_constant() -> Response:
    """As long as a page of a hundred items."""
    return Response(LIST_BODY, media_type="application/json")


@app.get("/item")
async def get_constant() -> Response:
    """As long as one item."""
    return Response(ITEM_BODY, media_type="application/json")
