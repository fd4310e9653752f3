"""Many query parameters as one model: validated at once, and documented like single ones.

FastAPI looks at each parameter on its own, which for a list with a score of filters takes longer
than the list.
"""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import HTTPConnection


class QueryParameters:
    """`Annotated[ListQuery, Depends(QueryParameters(ListQuery))]`: the query as that model.

    Give the route `openapi_extra=….openapi()` so that the API document has the parameters.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    async def __call__(self, connection: HTTPConnection) -> Any:
        """Validate; raises what FastAPI raises for a parameter of its own."""
        try:
            return self._model.model_validate(dict(connection.query_params))
        except ValidationError as error:
            raise RequestValidationError(
                [{**problem, "loc": ("query", *problem["loc"])} for problem in error.errors()]
            ) from error

    def openapi(self) -> dict[str, Any]:
        """What the API document says of them; the model may not refer to other models."""
        parameters = []
        for name, schema in self._model.model_json_schema()["properties"].items():
            description = schema.pop("description", None)
            parameter = {"name": name, "in": "query", "required": False, "schema": schema}
            if description:
                parameter["description"] = description
            parameters.append(parameter)
        return {"parameters": parameters}
