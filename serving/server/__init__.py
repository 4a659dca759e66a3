"""An embedded server with TensorFlow Serving's gRPC and REST API, for laptops and tests.

Start it with `python -m serving.server`, or inside a process with
`serving.server.app.ModelServer`. It needs TensorFlow and tensorflow-serving-api, and nothing of
ganpipe: any SavedModel whose signatures take named tensors can be served.
"""
