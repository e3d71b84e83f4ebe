"""GraphQL by Strawberry: a query, a mutation with a file, a subscription."""

import hashlib
import typing

import strawberry
from common import live
from strawberry.asgi import GraphQL
from strawberry.file_uploads import Upload
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL


@strawberry.type
class Query:
    @strawberry.field
    async def hello(self, name: str) -> str:
        return "hello " + name


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def take(self, file: Upload) -> str:
        return file.filename + " " + hashlib.sha256(await file.read()).hexdigest()

    @strawberry.mutation
    async def release(self) -> str:
        return live.release()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def rows(self) -> typing.AsyncGenerator[str, None]:
        async for row in live.rows():
            yield row.decode().strip()


schema = strawberry.Schema(Query, Mutation, Subscription)
app = GraphQL(schema, multipart_uploads_enabled=True, subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL])
