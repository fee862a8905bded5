"""Values of ComfyUI nodes: as they stand in a field, or through links to the nodes that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from harness.importers.image_metadata.graph import MAX_HOPS, Graph, Link, Node
from harness.importers.image_metadata.inference_settings import InferenceSettings, shown
from harness.importers.image_metadata.json_text import integer, number, text
from harness.importers.image_metadata.text_chunks import MAX_TEXT

MAX_JOINS = 64
"""Joins of texts that are followed in one graph: each could double what comes before."""

VALUE_NODES: Mapping[str, str] = MappingProxyType({
    "PrimitiveInt": "value", "PrimitiveFloat": "value", "PrimitiveBoolean": "value",
    "PrimitiveString": "value", "PrimitiveStringMultiline": "value",
    "INTConstant": "value", "FloatConstant": "value", "StringConstant": "string",
    "StringConstantMultiline": "string", "Seed (rgthree)": "seed", "Seed Generator": "seed",
    "easy seed": "seed", "easy int": "value", "easy float": "value", "easy string": "value",
    "easy positive": "positive", "CR Seed": "seed", "CR Text": "text", "CR Integer": "int",
    "Text Multiline": "text", "Text box": "text", "Int Literal": "int", "Float Literal": "float",
    "String Literal": "string", "Simple String": "string", "JWInteger": "value", "JWFloat": "value",
    "JWString": "text", "ttN int": "int", "ttN float": "float", "ttN text": "text", "ttN seed": "seed",
    "Int": "Number", "Float": "Number",
})  # fmt: skip
"""Nodes that hold one value, and the field that it stands in."""

PASSING: Mapping[str, str] = MappingProxyType({
    "Reroute": "", "ShowText|pysssss": "text", "easy showAnything": "anything", "PreviewAny": "source",
})  # fmt: skip
"""Nodes that hand a link on, and the input that it comes from; an empty name is the node's only link."""

_JOINING: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType({
    "StringConcatenate": (("string_a", "string_b"), "delimiter"),
    "JoinStrings": (("string1", "string2"), "delimiter"),
    "Text Concatenate": (("text_a", "text_b", "text_c", "text_d"), "delimiter"),
    "CR Text Concatenate": (("text1", "text2"), "separator"),
})  # fmt: skip


class NodeValues:
    """Reads fields of a graph's nodes; what lies between and is not understood goes to ``settings``."""

    def __init__(self, graph: Graph, settings: InferenceSettings) -> None:
        self.graph = graph
        self.settings = settings
        self._joins = 0

    def number(self, node: Node, field: str) -> float | int | None:
        """Return a field's number, followed through links; None where it holds none."""
        return number(self._resolve(node.inputs.get(field)))

    def integer(self, node: Node, field: str) -> int | None:
        """Return a field's whole number, followed through links; None where it holds none."""
        return integer(self._resolve(node.inputs.get(field)))

    def text(self, node: Node, field: str) -> str | None:
        """Return a field's text, followed through links; None where it holds none."""
        return text(self._resolve(node.inputs.get(field)))

    def place(self, node: Node, field: str) -> str:
        """Return the words that point at a field, or at that of the node its value comes from."""
        holder, name = node, field
        for _ in range(MAX_HOPS):
            if not isinstance(holder.inputs.get(name), Link):
                return holder.place(name)
            behind = self.graph.source(holder, name)
            further = None if behind is None else _holding(behind)
            if behind is None or further is None:
                break
            holder, name = behind, further
        return node.place(field)

    def passing(self, node: Node) -> Node | None:
        """Return the node behind one that only hands a link on; None where ``node`` is no such node."""
        field = _handed_on(node)
        return None if field is None else self.graph.source(node, field)

    def behind(self, node: Node | None, field: str) -> Iterator[Node]:
        """Yield ``node`` and those that its input ``field`` comes through, each once: a cycle ends there."""
        seen: set[str] = set()
        while node is not None and node.id not in seen:
            seen.add(node.id)
            yield node
            node = self.passing(node) or self.graph.source(node, field)

    def _resolve(self, given: object) -> object:
        for _ in range(MAX_HOPS):
            if not isinstance(given, Link):
                return given
            node = self.graph.nodes.get(given.node)
            if node is None:
                return None
            if node.kind in _JOINING:
                return self._concatenated(node)
            if (field := _holding(node)) is not None:
                given = node.inputs.get(field)
            else:
                self.settings.did_not_understand(f"{shown(node.name)}, from which a value comes")
                return None
        return None

    def _concatenated(self, node: Node) -> str | None:
        self._joins += 1
        if self._joins > MAX_JOINS:
            return None
        fields, delimiter = _JOINING[node.kind]
        parts = [self._resolve(node.inputs[field]) for field in fields if field in node.inputs]
        between = self._resolve(node.inputs.get(delimiter, ""))
        if not isinstance(between, str) or not all(isinstance(part, str) for part in parts):
            return None
        whole = between.join(str(part) for part in parts)
        return whole if len(whole) <= MAX_TEXT else None


def _holding(node: Node) -> str | None:
    """Return the input of a node that its output's value is; None where it makes another one."""
    return VALUE_NODES.get(node.kind) or _handed_on(node)


def _handed_on(node: Node) -> str | None:
    """Return the input that a node hands on; None where it is no such node."""
    if node.kind not in PASSING:
        return None
    return PASSING[node.kind] or next((name for name, _ in node.links()), "")
