"""Turns a YAML text into plain values and the place of each key, within limits, so that no text takes long or fills
memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from orchestrator.experiment.scalars import PATTERNS, kind_of, scalar_of
from orchestrator.formats import one_line
from wsol.errors import InputError

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a file to a value."""

MAX_CHARACTERS = 2_000_000
MAX_NODES = 100_000
"""Largest number of values in a text; an alias counts as everything that it stands for."""
MAX_DEPTH = 50

TAG = "tag:yaml.org,2002:"
MERGE = TAG + "merge"


class YamlSyntaxError(InputError):
    """The text is not YAML."""


def dotted(path: KeyPath) -> str:
    """`optim.lr`, as messages show it."""
    return one_line(".".join(map(str, path)))


@dataclass(frozen=True, slots=True)
class Parsed:
    """The value of a text, and the place `file:line` of everything in it.

    Attributes:
        value: plain values.
        places: where everything below the top stands.
        is_one_value: whether the whole text is one scalar or one collection in brackets, without a comment after it.
    """

    value: Any
    places: dict[KeyPath, str]
    is_one_value: bool


def parse_nodes(text: str, file: str) -> Parsed:
    """Parse a text; `file` is its name in messages.

    Raises:
        YamlSyntaxError: it is not YAML.
        InputError: the text is empty or beyond the limits of this module, a key is not text or stands twice, or a
            number is beyond 64 bits.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{file}: has more than {MAX_CHARACTERS:,} characters, and is not read")
    try:
        loader = _Loader(text, file)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlSyntaxError(
            f"{file}:{line}: YAML syntax: the character U+{int(error.character):04X} is not allowed; write it in double"
            " quotes, as an escape"
        ) from None
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        place = f"{file}:{error.problem_mark.line + 1}" if error.problem_mark else file
        raise YamlSyntaxError(f"{place}: YAML syntax: {one_line(str(error.problem or error.context))}") from None
    except (ValueError, OverflowError) as error:  # an escape or a version that is no number PyYAML can use
        raise YamlSyntaxError(f"{file}:{loader.line + 1}: YAML syntax: {error}") from None
    finally:
        loader.dispose()
    if node is None:
        raise InputError(f"{file}: is empty")
    values = _Values()
    in_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    return Parsed(values.of(node, ()), values.places, not in_block and node.end_mark.index == len(text))


class _Loader(yaml.SafeLoader):
    """Composes the nodes of a text; their marks name the file."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text)
        self.name = file
        self._nodes = self._depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node that has none."""
        if kind is yaml.ScalarNode and implicit[0]:
            return MERGE if value == "<<" else TAG + kind_of(value)
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node, with all nodes in it."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._nodes, self._depth = self._nodes + 1, self._depth + 1
        _require_within_limits(f"{self.name}:{mark.line + 1}", self._nodes, self._depth - 1)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


@dataclass(slots=True)
class _Values:
    """Turns nodes into values. An alias repeats the node that it stands for, so nodes are counted again here."""

    places: dict[KeyPath, str] = field(default_factory=dict)
    nodes: int = 0

    def of(self, node: yaml.Node, path: KeyPath) -> Any:
        """The value of a node that stands at a path."""
        self.nodes += 1
        _require_within_limits(_place(node), self.nodes, len(path))
        if isinstance(node, yaml.MappingNode):
            _require_tag(node, "map")
            return {key: self._at((*path, key), *pair) for key, pair in self._pairs(node, path, ()).items()}
        if isinstance(node, yaml.SequenceNode):
            _require_tag(node, "seq")
            return [self._at((*path, index), child, child) for index, child in enumerate(node.value)]
        return _scalar(node, path)

    def _at(self, path: KeyPath, where: yaml.Node, node: yaml.Node) -> Any:
        self.places[path] = _place(where)
        return self.of(node, path)

    def _pairs(
        self, node: yaml.MappingNode, path: KeyPath, around: tuple[yaml.Node, ...]
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The nodes of all keys and values of a mapping. Those that `<<` merges come first, and the mapping's own keys
        replace them.

        Args:
            node: the mapping.
            path: where it stands.
            around: the mappings that merge it.
        """
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        inherited: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            self.nodes += 1
            _require_within_limits(_place(key_node), self.nodes, len(path) + len(around))
            key = _key(key_node)
            if key in lines:
                more = "; merge several as a list" if key_node.tag == MERGE else ""
                raise InputError(
                    f"{_place(key_node)}: {dotted((*path, key))}: stands twice, first in line {lines[key]}{more}"
                )
            lines[key] = key_node.start_mark.line + 1
            if key_node.tag == MERGE:
                for source in _merged_mappings(value_node):
                    for name, pair in self._pairs(source, path, (*around, node)).items():
                        inherited.setdefault(name, pair)  # of several mappings, the first one that has it
            else:
                own[key] = key_node, value_node
        return {**inherited, **own}


def _merged_mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    """The mappings that `<<` names: one, or a list of them."""
    for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if not isinstance(source, yaml.MappingNode):
            raise InputError(f"{_place(source)}: <<: merges mappings: `<<: *name`, or a list of them")
        yield source


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise InputError(
            f"{_place(node)}: keys are text, got a {'list' if isinstance(node, yaml.SequenceNode) else 'mapping'}"
        )
    if node.tag not in (TAG + "str", MERGE):
        raise InputError(f"{_place(node)}: keys are text, got {node.value!r}")
    return str(node.value)


def _scalar(node: yaml.Node, path: KeyPath) -> Any:
    kind = "str" if node.tag == MERGE else node.tag.removeprefix(TAG)
    if kind not in (*PATTERNS, "str"):
        _require_tag(node, "str")
    try:
        return scalar_of(kind, node.value)
    except ValueError as error:
        where = f"{dotted(path)}: " if path else ""
        raise InputError(f"{_place(node)}: {where}{error}") from None


def _require_tag(node: yaml.Node, kind: str) -> None:
    if node.tag != TAG + kind:
        raise YamlSyntaxError(f"{_place(node)}: YAML syntax: unknown tag {one_line(node.tag)}")


def _require_within_limits(place: str, nodes: int, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InputError(f"{place}: nested deeper than {MAX_DEPTH} levels")
    if nodes > MAX_NODES:
        raise InputError(f"{place}: more than {MAX_NODES:,} values, aliases counted as what they stand for")


def _place(node: yaml.Node) -> str:
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"
