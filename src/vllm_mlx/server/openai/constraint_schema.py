"""Request fields that say which form an answer must have: `response_format`, and names of other servers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from vllm_mlx.server.body import FirstErrorOnly, WireModel, WirePart

SchemaBody = dict[str, Any] | bool
Texts = Annotated[list[str], FirstErrorOnly()]


class JsonSchemaFormat(WirePart):
    """A JSON Schema and what the caller calls it. It is enforced whether or not `strict` is set."""

    name: str | None = None
    description: str | None = None
    schema_body: SchemaBody | None = Field(None, alias="schema")
    strict: bool | None = None


class Structure(WirePart):
    """After `begin` comes JSON valid against `schema`, then `end`."""

    begin: str
    schema_body: SchemaBody = Field(alias="schema")
    end: str


Structures = Annotated[list[Structure], FirstErrorOnly()]


class ResponseFormat(WirePart):
    """The form of the answer.

    `text`, `json_object` and `json_schema` are OpenAI's types; `structural_tag` is vLLM's; `regex`, `choice`
    and `grammar` are this server's, each with a field of the same name.
    """

    type: str
    json_schema: JsonSchemaFormat | None = None
    schema_body: SchemaBody | None = Field(
        None,
        alias="schema",
        description="the schema itself, where other servers have it; for both JSON types",
    )
    structures: Structures | None = Field(None, description="for structural_tag")
    triggers: Texts | None = Field(None, description="for structural_tag: texts that open a structure")
    format: Any = Field(None, description="refused: structural tags are given by structures and triggers")
    regex: str | None = None
    choice: Texts | None = None
    grammar: str | None = None


class StructuredOutputs(WirePart):
    """vLLM's `structured_outputs`; one of the fields. Others are refused: they ask for a form, too."""

    model_config = ConfigDict(extra="allow")

    json_schema: SchemaBody | str | None = Field(None, alias="json")
    regex: str | None = None
    choice: Texts | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: dict[str, Any] | str | None = Field(None, description="a structural_tag response format")
    whitespace_pattern: str | None = Field(None, description="refused")


class ConstraintFields(WireModel):
    """At most one of them, besides `{"type": "text"}`."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: SchemaBody | str | None = Field(None, description="a JSON Schema, also as JSON text")
    guided_regex: str | None = None
    guided_choice: Texts | None = None
    guided_grammar: str | None = None
    guided_json_object: bool | None = None
    grammar: str | None = Field(None, description="llama.cpp's name for guided_grammar; empty for none")
    json_schema: SchemaBody | str | None = Field(None, description="llama.cpp's name for guided_json")
    regex: str | None = Field(None, description="SGLang's name for guided_regex; empty for none")
