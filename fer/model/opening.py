"""Opens a module into parts that, run in order, compute what it computes; each step is proved.

A module is run once with its descendants watched. Where each of them takes what the one before gave, up to a little
glue, they are a chain; whether they are one in training as well is tried. Residual and attention blocks stay whole
because their descendants do not follow one another.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from fer.model.equality import are_equal, compute_the_same, evaluate
from fer.model.parts import GLUES, MODULE, OPERATIONS, REST, Part, build_part, join, transformer_parts


@dataclass
class _Call:
    """A call of a descendant.

    Attributes:
        name: The descendant's name within the module.
        inputs: Its one tensor, None where it was given something else.
        outputs: The tensor that it returned, None where it returned something else.
    """

    name: str
    inputs: torch.Tensor | None
    outputs: torch.Tensor | None = None


def open_module(network: nn.Module, path: str, inputs: torch.Tensor) -> list[Part]:
    """Returns parts that, run in order, compute a module: the module itself where it cannot be opened.

    Args:
        network: A randomised copy, see `fer.model.equality`.
        path: The module's name within the network, "" for the network itself.
        inputs: The module's inputs, in the network's evaluation.
    """
    module = network.get_submodule(path)
    if not any(True for _ in module.children()):
        return [Part(MODULE, path)]

    parts: list[Part] | None = transformer_parts(module, "")
    if parts is None or not _is_proved(module, parts, inputs):
        parts = _find_chain(module, inputs)
    if parts is None:
        return [Part(MODULE, path)]
    return _open_parts(network, [replace(part, path=join(path, part.path)) for part in parts], inputs)


def _open_parts(network: nn.Module, parts: Sequence[Part], inputs: torch.Tensor) -> list[Part]:
    """Opens each of a chain's parts that is a module."""
    opened: list[Part] = []
    for part in parts:
        if part.kind == MODULE:
            opened += open_module(network, part.path, inputs)
        else:
            opened.append(part)
        inputs = evaluate(build_part(network, part), inputs)
    return opened


def _find_chain(module: nn.Module, inputs: torch.Tensor) -> list[Part] | None:
    """Returns a chain of parts that computes a module, their paths within the module; None where none was found."""
    calls, outputs = _watch(module, inputs)
    if not calls or not isinstance(outputs, torch.Tensor):
        return None
    start, reached = _follow(module, calls, inputs)
    glue = _find_glue(calls[-1].outputs, outputs)
    if reached == len(calls) and glue is not None:
        parts = [*start, *glue]
        if _hold_all_parameters(module, parts) and _is_proved(module, parts, inputs):
            return parts

    # No chain from end to end; perhaps one up to the end, or one from the start, and a rest that computes what is left.
    counts = Counter(call.name for call in calls)
    leading = _once_called(start, counts)
    trailing = _once_called(_follow_back(module, calls, outputs)[::-1], counts)[::-1]
    end: list[Part] = []
    for length in range(len(trailing), 0, -1):
        if _proved_rest(module, [], trailing[-length:], inputs):
            end = trailing[-length:]
            break
    for length in range(len(leading), 0, -1):
        is_overlapping = any(part in end for part in leading[:length] if part.kind == MODULE)
        divided = None if is_overlapping else _proved_rest(module, leading[:length], end, inputs)
        if divided is not None:
            return divided
    return _proved_rest(module, [], end, inputs) if end else None


def _once_called(parts: Sequence[Part], counts: Mapping[str, int]) -> list[Part]:
    """Returns the parts before the first module that is called more than once."""
    kept = []
    for part in parts:
        if part.kind == MODULE and counts[part.path] > 1:
            break
        kept.append(part)
    return kept


def _proved_rest(
    module: nn.Module, start: Sequence[Part], end: Sequence[Part], inputs: torch.Tensor
) -> list[Part] | None:
    """Returns start, rest and end, if they compute the module and start or end bear weights; None otherwise."""
    # Without weights at either end nothing was taken apart.
    names = tuple(part.path for part in (*start, *end) if part.kind == MODULE)
    if not any(_bears_weights(module.get_submodule(name)) for name in names):
        return None

    # The rest is the module without the parts at its ends.
    rest = Part(REST, "", names)
    parts = [*start, rest, *end]
    return parts if _is_proved(module, parts, inputs) else None


def _bears_weights(module: nn.Module) -> bool:
    """Returns whether a module has a parameter."""
    return next(module.parameters(), None) is not None


def _is_proved(module: nn.Module, parts: Sequence[Part], inputs: torch.Tensor) -> bool:
    """Returns whether parts of a module, run in order, compute the module."""
    chain = nn.Sequential(*(build_part(module, part) for part in parts))
    return compute_the_same(module, chain, inputs)


def _watch(module: nn.Module, inputs: torch.Tensor) -> tuple[list[_Call], object]:
    """Runs a module in evaluation and returns the calls of its outermost descendants, and its outputs."""
    calls: list[_Call] = []
    depth = 0

    def enter(name: str, arguments: tuple, named: dict) -> None:
        nonlocal depth
        if depth == 0:
            others = [*arguments[1:], *named.values()]
            first = arguments[0] if arguments else None
            takes_more = any(isinstance(item, torch.Tensor) for item in others)
            is_usable = isinstance(first, torch.Tensor) and not takes_more
            calls.append(_Call(name, first.clone() if is_usable and first is not None else None))
        depth += 1

    def leave(returned: object) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0 and isinstance(returned, torch.Tensor):
            calls[-1].outputs = returned.clone()

    handles = []
    for name, descendant in module.named_modules():
        if name:
            handles += [
                descendant.register_forward_pre_hook(
                    lambda _, arguments, named, name=name: enter(name, arguments, named), with_kwargs=True
                ),
                descendant.register_forward_hook(lambda _, arguments, returned: leave(returned)),
            ]
    try:
        outputs = evaluate(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls, outputs


def _follow(module: nn.Module, calls: Sequence[_Call], inputs: torch.Tensor) -> tuple[list[Part], int]:
    """Follows a chain from a module's inputs on.

    Returns:
        Its parts, their paths within the module, and how many calls they cover.
    """
    parts: list[Part] = []
    current: torch.Tensor | None = inputs
    for position, call in enumerate(calls):
        glue = _find_glue(current, call.inputs)
        if glue is None or call.outputs is None or not _may_be_part(module, call, calls):
            return parts, position
        parts += [*glue, Part(MODULE, call.name)]
        current = call.outputs
    return parts, len(calls)


def _follow_back(module: nn.Module, calls: Sequence[_Call], outputs: torch.Tensor) -> list[Part]:
    """Follows a chain from a module's outputs back, and returns its parts in the order in which they run."""
    parts: list[Part] = []
    wanted: torch.Tensor | None = outputs
    for call in reversed(calls):
        glue = _find_glue(call.outputs, wanted)
        if glue is None or call.inputs is None or not _may_be_part(module, call, calls):
            return parts
        parts = [Part(MODULE, call.name), *glue, *parts]
        wanted = call.inputs
    return parts


def _may_be_part(module: nn.Module, call: _Call, calls: Sequence[_Call]) -> bool:
    """Returns whether a descendant may be a part: one that bears weights or statistics must be called once."""
    descendant = module.get_submodule(call.name)
    bears_state = any(True for _ in (*descendant.parameters(), *descendant.buffers()))
    return not bears_state or sum(other.name == call.name for other in calls) == 1


def _find_glue(given: torch.Tensor | None, taken: torch.Tensor | None) -> list[Part] | None:
    """Returns the operations that turn what one descendant gave into what the next one took, None where none do."""
    if given is None or taken is None:
        return None
    if are_equal(given, taken):
        return []
    for names in GLUES:
        result = given
        try:
            for name in names:
                result = OPERATIONS[name]()(result)
        except (RuntimeError, IndexError):  # not for a tensor of these dimensions
            continue
        if are_equal(result, taken):
            return [Part(name) for name in names]
    return None


def _hold_all_parameters(module: nn.Module, parts: Sequence[Part]) -> bool:
    """Returns whether a module has no parameters but those of some of its descendants."""
    held = {
        id(tensor) for part in parts if part.kind == MODULE for tensor in module.get_submodule(part.path).parameters()
    }
    return all(id(tensor) in held for tensor in module.parameters())
