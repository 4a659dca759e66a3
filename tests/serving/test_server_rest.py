"""Malformed REST requests of a running server, and what is tolerated."""

import gzip
import json

ROWS = {"seed": [1, 2, 3], "label": [0, 4, -1], "truncation": [1.0, 0.5, 0.0]}

BODIES = {
    "": "JSON Parse error",
    "{": "JSON Parse error",
    "[" * 100_000: "JSON Parse error",
    '{"instances":[' + "9" * 5000 + "]}": "JSON Parse error",
    "[1]": "JSON object",
    "{}": "'instances'",
    '{"instances":[], "inputs":{}}': "exactly one",
    '{"instances":[]}': "at least one row",
    '{"instances":5}': "'instances'",
    '{"instances":[5]}': "element: 0",
    '{"instances":[{"seed":1,"label":0}]}': "does not have named input: truncation",
    '{"instances":[{"seed":1,"label":0,"truncation":1,"x":1}]}': "unexpected input: x",
    '{"instances":[{"seed":1,"label":0,"truncation":1},{"seed":1}]}': "element: 1",
    '{"inputs":[1]}': "must be an object",
    '{"inputs":{"seed":[1],"label":[0]}}': "Missing named input: truncation in 'inputs' object.",
    '{"inputs":{"seed":[1.0],"label":[0],"truncation":[1]}}': (
        "JSON Value: 1.0 Type: Number is not of expected type: int64"
    ),
    '{"inputs":{"seed":[true],"label":[0],"truncation":[1]}}': "expected type: int64",
    '{"inputs":{"seed":["1"],"label":[0],"truncation":[1]}}': "Type: String",
    '{"inputs":{"seed":[null],"label":[0],"truncation":[1]}}': "Type: Null",
    '{"inputs":{"seed":[99999999999999999999],"label":[0],"truncation":[1]}}': "int64",
    '{"inputs":{"seed":[[1],[1,2]],"label":[0],"truncation":[1]}}': (
        "Encountered list at unexpected size"
    ),
    '{"inputs":{"seed":[1,[2]],"label":[0],"truncation":[1]}}': "seed",
    '{"inputs":{"seed":[1],"label":[0],"truncation":[1e300]}}': "truncation",
    '{"signature_name":5,"inputs":{}}': "'signature_name'",
    '{"signature_name":"nope","inputs":{}}': (
        'Serving signature name: "nope" not found in signature def'
    ),
}


def test_malformed_bodies(served, rest):
    for body, text in BODIES.items():
        status, answer = rest("/v1/models/toy:predict", body.encode(), method="POST")
        assert status == 400, body[:80]
        if served.kind == "ours":
            assert text in answer["error"], body[:80]
    # Bad JSON is noticed before the unknown model.
    assert rest("/v1/models/nope:predict", "{")[0] == 400
    assert rest("/v1/models/nope:predict", {"inputs": {}}) == (
        404,
        {"error": "Servable not found for request: Latest(nope)"},
    )
    # What follows the first JSON value is ignored, as are unknown inputs of the column format.
    body = {"inputs": {"seed": [1], "label": [0], "truncation": [1], "more": 1}}
    assert rest("/v1/models/toy:predict", json.dumps(body) + " nonsense")[0] == 200


def test_malformed_paths(rest):
    assert rest("/v1/models") == (400, {"error": "Missing model name in request."})
    for path in ("/v1/x", "/v1/models/toy/", "/v1/models/toy/versions/x", "/v1/models/toy/x"):
        assert rest(path) == (400, {"error": f"Malformed request: GET {path}"})
    assert rest("/v1/models/toy", method="DELETE")[0] == 400
    assert rest("/v1/models/toy:predict", method="GET")[0] == 400
    status, text = rest("/elsewhere")
    assert status == 404 and b"{" not in text


def test_gzip_bodies(served, rest):
    body = json.dumps({"inputs": ROWS}).encode()
    zipped = {"Content-Encoding": "gzip"}
    assert rest("/v1/models/toy:predict", gzip.compress(body), headers=zipped) == rest(
        "/v1/models/toy:predict", body
    )
    if served.kind == "ours":
        assert rest("/v1/models/toy:predict", body, headers=zipped)[0] == 400
        assert rest("/v1/models/toy:predict", gzip.compress(body)[:-9], headers=zipped)[0] == 400
