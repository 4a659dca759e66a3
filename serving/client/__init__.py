"""A client for a served ganpipe model, with NumPy, Pillow, grpcio and protobuf only.

```python
from serving.client import Client

with Client("localhost:8500", "dcgan") as client:
    images = client.sample(range(16), labels=3)  # uint8 (16, H, W, C)
```

It talks to `python -m serving.server` and to TensorFlow Serving alike. TensorFlow is not imported,
and neither is tensorflow-serving-api, which would import it: a client starts in a fraction of a
second. On the command line: `python -m serving.client --help`.
"""

from serving.client.client import Client
from serving.client.errors import ClientError

__all__ = ["Client", "ClientError"]
