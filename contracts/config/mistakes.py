"""Mistakes that a model finds in itself, each with its place, beside those of types that pydantic finds."""

from collections.abc import Iterable

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

MISTAKE = "mistake"
"""The type of such an error, whose message is a whole sentence."""
Place = tuple[str | int, ...]
"""Keys that lead from the model to what is wrong."""


def refuse(model: BaseModel, found: Iterable[tuple[Place, str]]) -> None:
    """Refuses a model for all its mistakes at once; called by a validator, whose caller then sees each with its place.

    Raises:
        ValidationError: `found` holds something.
    """
    errors = [
        InitErrorDetails(type=PydanticCustomError(MISTAKE, "{said}", {"said": said}), loc=place, input=None)
        for place, said in found
    ]
    if errors:
        raise ValidationError.from_exception_data(type(model).__name__, errors)
