"""ComfyUI's API graph: nodes by id, whose inputs are values or links to other nodes' outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.importers.image_metadata.json_text import read_object

MAX_NODES = 5_000
MAX_HOPS = 500
"""Links that are followed one after the other: a longer way is a cycle."""


@dataclass(frozen=True)
class Link:
    """The output of a node, by the node's id and the output's place."""

    node: str
    output: int


@dataclass(frozen=True)
class Node:
    """One node of the graph.

    Attributes:
        kind: its class, ComfyUI's ``class_type``.
        inputs: by name; a link is a ``Link``, everything else as it is in the JSON.
    """

    id: str
    kind: str
    inputs: Mapping[str, object]

    @property
    def name(self) -> str:
        """The node as a user finds it: its id and class."""
        return f"node {self.id} {self.kind}"

    def place(self, field: str) -> str:
        """Return the words that point at one of its fields."""
        return f"{self.name}, {field}"

    def links(self) -> Iterator[tuple[str, Link]]:
        """Yield the inputs that are links."""
        for name, value in self.inputs.items():
            if isinstance(value, Link):
                yield name, value


class Graph:
    """A graph; a link to a node that it does not hold leads nowhere."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes

    @classmethod
    def read(cls, text: str) -> Graph | None:
        """Read the text of ComfyUI's ``prompt``; None where it is not a graph or has too many nodes."""
        found = read_object(text)
        if not found or len(found) > MAX_NODES:
            return None
        nodes = {key: node for key, value in found.items() if (node := _node(key, value)) is not None}
        return cls(nodes) if nodes else None

    def source(self, node: Node, field: str) -> Node | None:
        """Return the node that an input of ``node`` comes from; None where it is no link."""
        link = node.inputs.get(field)
        return self.nodes.get(link.node) if isinstance(link, Link) else None

    def of_kind(self, kinds: frozenset[str] | Mapping[str, object]) -> list[Node]:
        """Return the nodes of these classes, in the order of the graph."""
        return [node for node in self.nodes.values() if node.kind in kinds]


def _node(key: str, value: object) -> Node | None:
    if not isinstance(value, dict):
        return None
    kind, inputs = value.get("class_type"), value.get("inputs")
    if not isinstance(kind, str) or not isinstance(inputs, dict):
        return None
    return Node(key[:40], kind[:100], {str(name): _input(given) for name, given in inputs.items()})


def _input(given: object) -> object:
    if isinstance(given, list) and len(given) == 2:
        node, output = given
        if isinstance(node, str | int) and not isinstance(node, bool) and type(output) is int:
            return Link(str(node)[:40], output)
    return given
