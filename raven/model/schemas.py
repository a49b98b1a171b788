"""SchemaRegistry: pydantic models by message type; `send` validates bodies against them."""

from __future__ import annotations

import builtins
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from raven.errors import BodyError, InputError, SchemaValidationError, abbreviate
from raven.model.limits import RESERVED_PREFIX, refuse_reserved

if TYPE_CHECKING:
    from pydantic import BaseModel

_MAX_LISTED = 10


class SchemaRegistry:
    """The pydantic models that validate bodies by message type, for all clients of this process.

    By default a type without a model accepts any body; in strict mode it accepts none. A body may also be an instance
    of a pydantic model; it is sent as the model's JSON.

    >>> from pydantic import BaseModel
    >>> class PlanBody(BaseModel):
    ...     step: int
    >>> SchemaRegistry.register("plan", PlanBody)
    >>> SchemaRegistry.validate("plan", {"step": "one"})
    Traceback (most recent call last):
    raven.errors.SchemaValidationError: body of type 'plan' does not fit PlanBody: step: Input should be a valid ...
    >>> SchemaRegistry.unregister("plan")
    """

    _models: ClassVar[dict[str, type[BaseModel]]] = {}
    _strict: ClassVar[bool] = False
    is_in_use: ClassVar[bool] = False
    """Whether `validate` must check plain bodies; if not, it only converts model instances to JSON."""

    @classmethod
    def register(cls, type: str, model: builtins.type[BaseModel]) -> None:
        """Check bodies of `type` against `model` from now on; replaces the model registered before.

        Raises InputError for a type that begins with `raven.`, and for a model that is no pydantic class.
        """
        if not hasattr(model, "model_validate"):
            raise InputError(f"schema {abbreviate(model)} for type {abbreviate(type)} is not a pydantic model class")
        if isinstance(type, str) and type[:6].lower() == RESERVED_PREFIX:
            refuse_reserved(type)
        cls._models[type] = model
        cls._update_in_use()

    @classmethod
    def unregister(cls, type: str) -> None:
        """Stop checking bodies of `type`; does nothing if the type has no model."""
        cls._models.pop(type, None)
        cls._update_in_use()

    @classmethod
    def strict_mode(cls, on: bool = True) -> None:
        """Refuse message types without a model, or allow them again if `on` is False."""
        cls._strict = on
        cls._update_in_use()

    @classmethod
    def json_schemas(cls) -> dict[str, dict[str, Any]]:
        """Return the JSON schema of the body of each registered type; an empty one for a model that has none."""
        from pydantic.errors import PydanticInvalidForJsonSchema

        schemas: dict[str, dict[str, Any]] = {}
        for type, model in sorted(cls._models.items()):
            try:
                schemas[type] = model.model_json_schema()
            except PydanticInvalidForJsonSchema:  # a field of a class that pydantic only takes as it is
                schemas[type] = {}
        return schemas

    @classmethod
    def is_strict(cls) -> bool:
        """Whether types without a model are refused."""
        return cls._strict

    @classmethod
    def _update_in_use(cls) -> None:
        cls.is_in_use = cls._strict or bool(cls._models)

    @classmethod
    def validate(cls, type: str, body: Any) -> Any:
        """Return `body` as JSON values; raises SchemaValidationError that names the invalid fields."""
        model = cls._models.get(type)
        if model is None and cls._strict:
            known = ", ".join(sorted(cls._models)) or "none"
            raise SchemaValidationError(
                f"type {abbreviate(type)} has no schema, and strict mode is on (known types: {known})"
            )
        if hasattr(body, "model_dump") and not isinstance(body, builtins.type):
            return cls._checked_dump(type, model, body)
        if model is not None:
            cls._check(type, model, body)
        return body

    @classmethod
    def _checked_dump(cls, type: str, model: builtins.type[BaseModel] | None, body: BaseModel) -> Any:
        """Return a model instance as JSON values; an instance of the type's own model is valid already."""
        try:
            plain = body.model_dump(mode="json", by_alias=True)
        except ValueError as error:
            raise BodyError(f"body of type {abbreviate(type)} cannot be converted to JSON: {error}") from None
        if model is not None and not isinstance(body, model):
            cls._check(type, model, plain)
        return plain

    @classmethod
    def _check(cls, type: str, model: builtins.type[BaseModel], body: Any) -> None:
        from pydantic import ValidationError

        try:
            model.model_validate(body)
        except ValidationError as error:
            fields = {".".join(map(str, item["loc"])) or "body": item["msg"] for item in error.errors()}
            listed = "; ".join(f"{field}: {reason}" for field, reason in islice(fields.items(), _MAX_LISTED))
            if len(fields) > _MAX_LISTED:
                listed += f"; and {len(fields) - _MAX_LISTED} more"
            raise SchemaValidationError(
                f"body of type {abbreviate(type)} does not fit {model.__name__}: {listed}", fields
            ) from None
