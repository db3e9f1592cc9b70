"""FastAPI: one JSON route with a path parameter, a query parameter and a response model."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    id: int
    name: str
    tags: list[str]
    price: float


@app.get("/")
async def root() -> dict[str, str]:
    return {"message": "Hello, world!"}


@app.get("/items/{item_id}")
async def item(item_id: int, name: str = "thing") -> Item:
    return Item(id=item_id, name=name, tags=["a", "b", "c"], price=9.5)
