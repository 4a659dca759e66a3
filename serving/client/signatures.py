"""What a served model takes and gives, read from its metadata over gRPC or REST."""

import dataclasses

import numpy as np

from serving.client import wire

_NUMBERS = {name: number for number, (name, _, _) in wire.DTYPES.items()}


@dataclasses.dataclass(frozen=True)
class Spec:
    """One input or output.

    Attributes:
      dtype: as TensorFlow spells it, "DT_FLOAT".
      shape: -1 where free; None if the rank is free.
    """

    dtype: str
    shape: tuple[int, ...] | None

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype (object for strings)."""
        return wire.DTYPES[_NUMBERS[self.dtype]][1]


@dataclasses.dataclass(frozen=True)
class Signature:
    """Inputs and outputs of one signature by alias."""

    inputs: dict[str, Spec]
    outputs: dict[str, Spec]


@dataclasses.dataclass(frozen=True)
class Metadata:
    """A model's answer to "what are you?".

    Attributes:
      name: of the model.
      version: the number that answered.
      signatures: by name.
    """

    name: str
    version: int
    signatures: dict[str, Signature]

    @property
    def conditional(self) -> bool:
        """Whether images are made for a class label."""
        return any("label" in signature.inputs for signature in self.signatures.values())

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(H, W, C) of the images it makes, or None if it does not say."""
        default = self.signatures.get("serving_default")
        images = default.outputs.get("images") if default else None
        return images.shape[1:] if images and images.shape else None


def from_grpc(response) -> Metadata:
    """Reads a `GetModelMetadataResponse`."""
    found = wire.SignatureDefMap.FromString(response.metadata["signature_def"].value)

    def spec(info) -> Spec:
        shape = info.tensor_shape
        dims = None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
        return Spec(wire.DTYPES.get(info.dtype, (f"DT_{info.dtype}",))[0], dims)

    return Metadata(
        response.model_spec.name,
        response.model_spec.version.value,
        {
            name: Signature(
                {alias: spec(info) for alias, info in value.inputs.items()},
                {alias: spec(info) for alias, info in value.outputs.items()},
            )
            for name, value in found.signature_def.items()
            if not name.startswith("__")
        },
    )


def from_json(response: dict) -> Metadata:
    """Reads the JSON of `GET /v1/models/NAME/metadata`."""

    def spec(info: dict) -> Spec:
        shape = info["tensor_shape"]
        dims = tuple(int(dim["size"]) for dim in shape["dim"])
        return Spec(info["dtype"], None if shape["unknown_rank"] else dims)

    return Metadata(
        response["model_spec"]["name"],
        int(response["model_spec"]["version"]),
        {
            name: Signature(
                {alias: spec(info) for alias, info in value["inputs"].items()},
                {alias: spec(info) for alias, info in value["outputs"].items()},
            )
            for name, value in response["metadata"]["signature_def"]["signature_def"].items()
            if not name.startswith("__")
        },
    )
