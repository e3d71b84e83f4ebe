"""A Flask application that takes uploads."""

import hashlib

from flask import Flask, jsonify, request

app = Flask(__name__)


@app.post("/raw")
def raw():
    digest, n = hashlib.sha256(), 0
    for piece in iter(lambda: request.stream.read(65536), b""):
        digest.update(piece)
        n += len(piece)
    return jsonify(size=n, digest=digest.hexdigest())


@app.post("/form")
def form():
    data = request.files["file"].read()
    return jsonify(size=len(data), digest=hashlib.sha256(data).hexdigest(), name=request.form["name"])
