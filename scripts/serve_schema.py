"""What the server answers to, as an OpenAPI 3.1 document made from the net it serves."""

from typing import Any

import jax
import numpy as np

from scripts import serve_input
from scripts.predictor import Predictor

Schema = dict[str, Any]
_ERRORS = {
    400: "the body is neither JSON nor a .npy file",
    408: "the body did not arrive in time",
    413: "too many bytes",
    415: "another content type",
    422: "an array of another shape, type or range, or too many inputs",
    503: "busy: ask again later",
    504: "the net did not answer in time",
}


def openapi(net: Predictor, max_batch: int) -> Schema:
    """The document for /openapi.json."""
    one = _arrays(net.shape, _number(net.dtype))
    inputs = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": max_batch}]}
    body = _object({"inputs": inputs})
    title = net.about.get("game") or net.about["task"]
    predict = {
        "operationId": "predict",
        "summary": f"What the net says about 1 .. {max_batch} inputs",
        "requestBody": {
            "required": True,
            "description": net.about["input"],
            "content": {
                serve_input.JSON: {"schema": body},
                serve_input.NPY: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {
            "200": _json("outputs, one row per input", outputs(net)),
            **{str(code): _json(text, _ERROR) for code, text in _ERRORS.items()},
        },
    }
    health = {
        "operationId": "health",
        "summary": "That it works, what it serves, and how much it has",
        "responses": {"200": _json("it works", {"type": "object"})},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"dqnlab: {title}", "version": "1"},
        "paths": {"/predict": {"post": predict}, "/health": {"get": health}},
    }


def outputs(net: Predictor) -> Schema:
    """The answer of /predict."""
    like = jax.eval_shape(net.predict, jax.ShapeDtypeStruct((1, *net.shape), net.dtype))
    rows = {
        name: {
            "type": "array",
            "items": _arrays(value.shape[1:], _number(value.dtype.name)),
            "description": net.about["outputs"][name],
        }
        for name, value in like.items()
    }
    for name in named(net):
        label = {"type": "string", "enum": list(net.labels)}
        rows[f"{name}_name"] = {"type": "array", "items": _arrays(like[name].shape[1:], label)}
    return _object(rows)


def named(net: Predictor) -> list[str]:
    """The outputs that are indices of labels."""
    return [name for name in ("action", "class") if name in net.about["outputs"]]


def _arrays(shape: tuple[int, ...], item: Schema) -> Schema:
    for size in reversed(shape):
        item = {"type": "array", "items": item, "minItems": size, "maxItems": size}
    return item


def _number(dtype: str) -> Schema:
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    limit = float(np.finfo(np.float32).max)
    return {"type": "number", "minimum": -limit, "maximum": limit}


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {serve_input.JSON: {"schema": schema}}}


_ERROR = _object({"error": {"type": "string"}})
