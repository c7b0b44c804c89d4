# Objects made of the package's own classes: every field that a class declares, filled with a value of its type.
import json
import sys
import typing
from importlib import import_module

from stripe._list_object import ListObject
from stripe._object_classes import OBJECT_CLASSES
from stripe._stripe_object import StripeObject

DEEPEST = 3
NOTHING = type(None)


def named(name):
    for module, found in OBJECT_CLASSES.values():
        if found == name:
            return getattr(import_module(module), found)
    # Known to type checkers alone, by another name.
    return None


def fields(cls):
    found = {}
    for base in reversed(cls.__mro__):
        if base is not StripeObject and issubclass(base, StripeObject):
            found.update(vars(base).get("__annotations__", {}))
    return {
        name.rstrip("_") if name.endswith("_") else name: kind
        for name, kind in found.items()
        if not name.startswith("_") and typing.get_origin(kind) is not typing.ClassVar
    }


def sample(kind, depth):
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Union:
        return sample(next(arg for arg in args if arg is not NOTHING), depth)
    if kind is bool:
        return False
    if kind is int:
        return 1760000000
    if kind is float:
        return 1.5
    if kind is str:
        return "text"
    if isinstance(origin, type) and issubclass(origin, ListObject):
        return {"object": "list", "data": [sample(args[0], depth)], "has_more": False, "url": "/v1/text"}
    if origin is list:
        return [] if depth > DEEPEST else [sample(args[0], depth)]
    if args and not isinstance(args[0], type) and isinstance(args[0], str):
        return args[0]
    if isinstance(kind, typing.ForwardRef):
        kind = named(kind.__forward_arg__)
    if isinstance(kind, str):
        kind = named(kind)
    if isinstance(kind, type) and issubclass(kind, StripeObject):
        if depth > DEEPEST:
            return None
        return {name: sample(of, depth + 1) for name, of in fields(kind).items()}
    return {} if origin is not None else None


def made(name):
    module, cls = OBJECT_CLASSES[name]
    return sample(getattr(import_module(module), cls), 0)


def words(name, field):
    module, cls = OBJECT_CLASSES[name]
    kind = fields(getattr(import_module(module), cls))[field]
    kinds = [kind, *typing.get_args(kind)]
    return [word for one in kinds for word in typing.get_args(one) if isinstance(word, str)]


json.dump(
    {
        "objects": {name: made(name) for name in json.load(sys.stdin)},
        "statuses": words("subscription", "status"),
        "types": words("event", "type"),
    },
    sys.stdout,
)
