"""SchemaRegistry: pydantic models by message type, checked when a message is sent."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, ClassVar

from raven.errors import BodyError, InputError, SchemaValidationError

if TYPE_CHECKING:
    from pydantic import BaseModel


class SchemaRegistry:
    """Which pydantic model the bodies of a message type must fit, for all clients of this process.

    Permissive by default: a type without a model takes any body. In strict mode it is refused. A body may also be an
    instance of a model; it is sent as the model's JSON.

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
    """Whether any body has anything to fit; else only instances of models have to be made JSON."""

    @classmethod
    def register(cls, type: str, model: builtins.type[BaseModel]) -> None:
        """Check bodies of `type` against `model` from now on; replaces the model registered before."""
        if not hasattr(model, "model_validate"):
            raise InputError(f"schema {model!r} for type {type!r} is not a pydantic model class")
        cls._models[type] = model
        cls._note_use()

    @classmethod
    def unregister(cls, type: str) -> None:
        """Stop checking bodies of `type`; nothing happens where it had no model."""
        cls._models.pop(type, None)
        cls._note_use()

    @classmethod
    def strict_mode(cls, on: bool = True) -> None:
        """Refuse (or, with False, again allow) message types that have no model."""
        cls._strict = on
        cls._note_use()

    @classmethod
    def _note_use(cls) -> None:
        cls.is_in_use = cls._strict or bool(cls._models)

    @classmethod
    def validate(cls, type: str, body: Any) -> Any:
        """Return `body` as JSON values; raises SchemaValidationError that names the fields at fault."""
        model = cls._models.get(type)
        if model is None and cls._strict:
            known = ", ".join(sorted(cls._models)) or "none"
            raise SchemaValidationError(f"type {type!r} has no schema, and strict mode is on (known types: {known})")
        if hasattr(body, "model_dump") and not isinstance(body, builtins.type):
            return cls._checked_dump(type, model, body)
        if model is not None:
            cls._check(type, model, body)
        return body

    @classmethod
    def _checked_dump(cls, type: str, model: builtins.type[BaseModel] | None, body: BaseModel) -> Any:
        """Return an instance of a model as JSON values; one of the very model that the type has is valid already."""
        try:
            plain = body.model_dump(mode="json", by_alias=True)
        except ValueError as error:
            raise BodyError(f"body of type {type!r} cannot be made JSON: {error}") from None
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
            listed = "; ".join(f"{field}: {reason}" for field, reason in fields.items())
            raise SchemaValidationError(
                f"body of type {type!r} does not fit {model.__name__}: {listed}", fields
            ) from None
