"""ListFindings in types for msgspec, as Amazon Inspector's service model has it: what parsing is measured against.

A member for every member of the model that botocore ships. Nothing is made of what was decoded.
"""

from __future__ import annotations

from types import GenericAlias
from typing import Any

import botocore.session
import msgspec
from botocore.model import ListShape, MapShape, Shape, StructureShape

_PLAIN: dict[str, Any] = {
    "string": str,
    "timestamp": float,
    "integer": int,
    "long": int,
    "double": float,
    "float": float,
    "boolean": bool,
}


def whole_page() -> msgspec.json.Decoder[Any]:
    """Decodes a page of ListFindings into structs that leave nothing out. Without `gc`, as our own wire structs are."""
    model = botocore.session.get_session().get_service_model("inspector2")
    answer: Any = model.operation_model("ListFindings").output_shape
    return msgspec.json.Decoder(_type_of(answer, {}))


def _type_of(shape: Shape, made: dict[str, Any]) -> Any:
    if isinstance(shape, StructureShape):
        if shape.name not in made:
            members = [(name, _type_of(member, made) | None, None) for name, member in shape.members.items()]
            made[shape.name] = msgspec.defstruct(shape.name, members, gc=False)
        return made[shape.name]
    if isinstance(shape, ListShape):
        return GenericAlias(list, (_type_of(shape.member, made),))
    if isinstance(shape, MapShape):
        return GenericAlias(dict, (str, _type_of(shape.value, made)))
    return _PLAIN[shape.type_name]
