"""Flask and FastAPI with OpenTelemetry's own instrumentation: each request says where it is."""

from fastapi import FastAPI, WebSocket
from flask import Flask
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())


def where():
    span = trace.get_current_span()
    context, parent = span.get_span_context(), getattr(span, "parent", None)
    return {
        "trace": trace.format_trace_id(context.trace_id),
        "parent": trace.format_span_id(parent.span_id) if parent else "",
        "recorded": context.trace_flags.sampled,
    }


flaskapp = Flask(__name__)
flaskapp.add_url_rule("/<name>", view_func=lambda name: where())
FlaskInstrumentor().instrument_app(flaskapp)

fastapp = FastAPI()


@fastapp.get("/{name}")
async def get(name: str):
    return where()


@fastapp.websocket("/socket")
async def socket(ws: WebSocket):
    await ws.accept()
    await ws.send_json([v for n, v in ws.headers.items() if n == "traceparent"])
    await ws.receive_text()
    await ws.close()


FastAPIInstrumentor.instrument_app(fastapp)
