"""Any network as an ordered list of blocks, whose equality with the network is proved.

A block has one module that bears weights. Norms and what has no weights belong to the block before them, as far as
features are fewest there; dropout, and a mere change of shape, open the next block. So the features of every cut are
few and free of noise, and what is frozen can be cached.

    chain = find_blocks(torchvision.models.resnet18(num_classes=7), (3, 64, 64))
    features = chain.network[:5](images)
    logits = chain.network[5:](features)

The blocks share their tensors with the network, which stays alive: its `state_dict` has the names of its own files.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from fer.errors import InputError
from fer.model.equality import (
    NORMS,
    are_equal,
    compute_the_same,
    evaluate,
    is_independent,
    randomised_copy,
    restoring_buffers,
    seeded,
    train_once,
)
from fer.model.layout import channels_last
from fer.model.opening import open_module
from fer.model.parts import MODULE, REST, Part, build_part
from fer.model.plans import BlockPlan, ChainPlan, read_plan, structure_digest, write_plan
from fer.model.vgg import clone

_BATCHES = (3, 2)
"""Images in the batches with which equality is proved; batch-norm needs two in training."""


@dataclass(frozen=True)
class Chain:
    """A network as an ordered list of blocks.

    Attributes:
        network: The blocks by name; `network[:k]` and `network[k:]` are those before and after cut k. A copy by
            `fer.model.vgg.clone` is a chain of the same blocks.
        module: The network that they were found in; they share its tensors.
        head: The number of blocks before the head: the head is what follows the last feature map.
        cut_shapes: The shape of one sample's features at each cut: before the first block, …, after the last.
        state_names: The name in the module's `state_dict` of each tensor of the network's.
        has_batch_norm: Whether any module is a batch-norm.
    """

    network: nn.Sequential
    module: nn.Module
    head: int
    cut_shapes: tuple[tuple[int, ...], ...]
    state_names: Mapping[str, str]
    has_batch_norm: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the blocks, in order."""
        return tuple(name for name, _ in self.network.named_children())

    @property
    def head_state_names(self) -> frozenset[str]:
        """The names, in the module's `state_dict`, of the head's tensors."""
        head_blocks = set(self.names[self.head :])
        return frozenset(
            name for blocks_name, name in self.state_names.items() if blocks_name.partition(".")[0] in head_blocks
        )


def find_blocks(module: nn.Module, shape: tuple[int, int, int], cache: Path | None = None) -> Chain:
    """Opens a network into blocks, and proves that they compute the same.

    Equal means bit for bit: in evaluation, and with equal random numbers in training, where gradients and the
    statistics of batch-norm are compared as well. A network that is no chain gets one cut, before its head.

    Args:
        module: The network; it takes images (n, *shape) and returns logits (n, classes). It stays as it is.
        shape: Channels, height and width of its images.
        cache: A folder for what was found; a network of equal structure is opened from there without proof.

    Raises:
        InputError: The network ties weights, gives different outputs for equal inputs, or is not even divided before
            its head.
    """
    _refuse_tied_weights(module)
    if cache is None:
        return _build_chain(module, _prove(module, shape))

    path = cache / f"blocks-{structure_digest(module, shape)}.json"
    plan = read_plan(path)
    if plan is not None and _fits(module, plan, shape):
        return _build_chain(module, plan)
    plan = _prove(module, shape)
    write_plan(path, plan)
    return _build_chain(module, plan)


def _refuse_tied_weights(module: nn.Module) -> None:
    """Raises an error if two modules share a parameter.

    Raises:
        InputError: They do.
    """
    owners: dict[int, str] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        # Two parameters may also be views of the same memory. Memory of size 0, or on the meta device, has no address.
        identity = tensor.untyped_storage().data_ptr() or id(tensor)
        if identity in owners:
            raise InputError(
                "no two modules of a network share weights",
                f"{owners[identity]} and {name}",
                "Give each of them weights of its own: a block is trained or frozen as a whole.",
            )
        owners[identity] = name


# Proof.


def _prove(module: nn.Module, shape: tuple[int, int, int]) -> ChainPlan:
    """Returns the blocks of a network, after proving them on a copy of it.

    Raises:
        InputError: See `find_blocks`.
    """
    with seeded():
        batches = [torch.randn(count, *shape) for count in _BATCHES]
    copied = _copy_for_proof(module, batches[0])

    parts = open_module(copied, "", batches[0])
    plan = _divide(copied, parts, batches[0])
    if len(plan.blocks) < 2:
        raise _no_chain(module, "it comes apart into no two modules with weights, one after the other")

    chain = _build_network(copied, plan)
    if not all(compute_the_same(copied, chain, batch) for batch in batches):
        raise _no_chain(module, "its modules one after the other compute something else")
    _refuse_fixed_layout(module, chain, batches[0])
    return plan


def _refuse_fixed_layout(module: nn.Module, chain: nn.Sequential, inputs: torch.Tensor) -> None:
    """Raises an error if a network cannot be trained with images that lie channels last in memory, as they do here.

    Args:
        module: The network, which the error names.
        chain: The blocks of a copy of it.
        inputs: A batch of its images.

    Raises:
        InputError: It cannot.
    """
    laid_out = clone(chain).to(memory_format=torch.channels_last)
    try:
        with seeded():
            laid_out.train()(channels_last(inputs.clone())).sum().backward()
    except RuntimeError as error:
        raise InputError(
            "a network takes images that lie channels last in memory",
            f"{type(module).__name__} ({error})",
            "Write x.flatten(1) or x.reshape(…) in place of x.view(…).",
        ) from None


def _copy_for_proof(module: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """Returns a randomised copy of a network.

    Raises:
        InputError: The network cannot be copied, or gives different outputs for equal inputs.
    """
    try:
        with restoring_buffers(module):
            copied = randomised_copy(module, inputs)
            is_own = is_independent(copied, module, inputs)
        evaluations = [evaluate(copied, inputs) for _ in range(2)]
        trainings = [train_once(copied, copied, inputs) for _ in range(2)]
    except Exception as error:
        raise InputError(
            f"a network takes images of shape {tuple(inputs.shape)} and returns one tensor that can be trained",
            f"{type(module).__name__} ({type(error).__name__}: {error})",
            "Try the network on such images, in training mode as well.",
        ) from None

    if not is_own:
        raise InputError(
            "a network's modules are its children",
            f"{type(module).__name__}, whose copy computes with the original's weights",
            "Register each module as an attribute, in an nn.ModuleList or an nn.ModuleDict.",
        )
    if not are_equal(*evaluations) or not trainings[0].equals(trainings[1]):
        raise InputError(
            "a network gives equal and finite outputs for equal images and random numbers",
            f"{type(module).__name__}, which does not",
            "Let its randomness come from torch, and its outputs depend on nothing but images and weights.",
        )
    return copied


def _no_chain(module: nn.Module, reason: str) -> InputError:
    """Returns the error for a network that cannot be divided."""
    return InputError(
        "a network is divided into blocks, at least into features and a head",
        f"{type(module).__name__} ({reason})",
        "Let its forward end with a child that has the head's weights and returns the logits.",
    )


# Division.


@dataclass(frozen=True)
class _Stage:
    """A part, and what running it showed.

    Attributes:
        part: The part.
        bears_weights: Whether it has a matrix or a kernel. Norms and PReLU only scale and shift channels.
        takes_vectors: Whether its inputs are vectors, (n, features).
        size: Numbers in one sample's outputs.
        is_random: Whether it draws random numbers in training.
        computes: Whether it does more than change the shape.
    """

    part: Part
    bears_weights: bool
    takes_vectors: bool
    size: int
    is_random: bool
    computes: bool


def _divide(network: nn.Module, parts: Sequence[Part], inputs: torch.Tensor) -> ChainPlan:
    """Divides a chain of parts into blocks."""
    stages = _run_stages(network, parts, inputs)
    weighted = [position for position, stage in enumerate(stages) if stage.bears_weights]
    borders = [_border(stages, first, second) for first, second in pairwise(weighted)]
    starts = [0, *borders]
    ends = [*borders, len(stages)]

    blocks: list[BlockPlan] = []
    for start, end, position in zip(starts, ends, weighted, strict=False):
        name, path = _name(stages, position)
        block_parts = [stage.part for stage in stages[start:end]]
        is_container = bool(path) and block_parts == [stage.part for stage in stages if _is_below(stage.part, path)]
        block = [Part(MODULE, path)] if is_container else block_parts
        blocks.append(BlockPlan(name, tuple(block)))
    blocks = _with_unique_names(blocks)

    # The head takes vectors from its first module with weights on; it is not the whole network.
    head = len(blocks) - 1
    while head > 1 and stages[weighted[head - 1]].takes_vectors and stages[weighted[head]].takes_vectors:
        head -= 1
    return _run_blocks(network, ChainPlan(tuple(blocks), max(head, 0), ()), inputs)


def _run_stages(network: nn.Module, parts: Sequence[Part], inputs: torch.Tensor) -> list[_Stage]:
    """Runs parts one after the other, in evaluation and in training."""
    stages = []
    for part in parts:
        module = build_part(network, part)
        outputs = evaluate(module, inputs)
        with torch.no_grad(), restoring_buffers(module), seeded():
            state_before = torch.get_rng_state()
            module.train()(inputs.clone())
            is_random = not torch.equal(state_before, torch.get_rng_state())

        keeps_numbers = outputs.dtype == inputs.dtype and torch.equal(outputs.flatten(), inputs.flatten())
        stages.append(
            _Stage(
                part=part,
                bears_weights=any(tensor.dim() > 1 for tensor in module.parameters()),
                takes_vectors=inputs.dim() == 2,
                size=outputs[0].numel(),
                is_random=is_random,
                computes=not keeps_numbers,
            )
        )
        inputs = outputs
    return stages


def _border(stages: Sequence[_Stage], first: int, second: int) -> int:
    """Returns the stage at which a block begins, between two that bear weights.

    Of the places where features are fewest it is the last, but before what is random or only changes the shape.
    """
    last = first + 1
    while last < second and not stages[last].is_random:
        last += 1
    sizes = [stage.size for stage in stages[first:last]]
    border = first + 1 + max(offset for offset, size in enumerate(sizes) if size == min(sizes))
    while border > first + 1 and not stages[border - 1].computes and not stages[border - 1].bears_weights:
        border -= 1
    return border


def _is_below(part: Part, path: str) -> bool:
    """Returns whether a part is, or belongs to, the module of this name."""
    return part.path == path or part.path.startswith(f"{path}.")


def _name(stages: Sequence[_Stage], position: int) -> tuple[str, str]:
    """Returns the name of a stage's block, and the path of the largest module that has no other stage with weights."""
    part = stages[position].part
    if part.kind != MODULE:
        kind = "trunk" if part.kind == REST else part.kind.partition("_")[2]
        return "_".join(filter(None, (part.path.replace(".", "_"), kind))), ""

    path = part.path
    others = [stage.part for number, stage in enumerate(stages) if stage.bears_weights and number != position]
    while "." in path:
        above = path.rpartition(".")[0]
        if any(_is_below(other, above) for other in others):
            break
        path = above
    return path.replace(".", "_"), path


def _with_unique_names(blocks: Sequence[BlockPlan]) -> list[BlockPlan]:
    """Numbers the blocks whose names others have as well."""
    counts = Counter(block.name for block in blocks)
    return [
        replace(block, name=f"{block.name}__{number}") if counts[block.name] > 1 or not block.name else block
        for number, block in enumerate(blocks, 1)
    ]


def _run_blocks(network: nn.Module, plan: ChainPlan, inputs: torch.Tensor) -> ChainPlan:
    """Returns the plan with the shapes of features, and with a copy where a block would change its inputs in place."""
    shapes = [tuple(inputs.shape[1:])]
    blocks = []
    for block in plan.blocks:
        module = _build_block(network, block)
        outputs = evaluate(module, inputs)
        changes_inputs = False
        for mode in (False, True):
            given = inputs.clone()
            with torch.no_grad(), restoring_buffers(module), seeded():
                module.train(mode)(given)
            changes_inputs = changes_inputs or not are_equal(given, inputs)
        blocks.append(replace(block, parts=(Part("copy"), *block.parts)) if changes_inputs else block)
        shapes.append(tuple(outputs.shape[1:]))
        inputs = outputs
    return replace(plan, blocks=tuple(blocks), cut_shapes=tuple(shapes))


# Building.


def _build_block(network: nn.Module, block: BlockPlan) -> nn.Module:
    """Returns a block, whose tensors are the network's."""
    if len(block.parts) == 1:
        return build_part(network, block.parts[0])
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number, part in enumerate(block.parts):
        name = part.path.rpartition(".")[2] if part.kind == MODULE else part.kind
        if not name or name in modules or name.isdigit():
            name = f"{number}_{name}".rstrip("_")
        modules[name] = build_part(network, part)
    return nn.Sequential(modules)


def _build_network(module: nn.Module, plan: ChainPlan) -> nn.Sequential:
    """Returns the blocks of a plan, whose tensors are the module's."""
    return nn.Sequential(OrderedDict((block.name, _build_block(module, block)) for block in plan.blocks))


def _build_chain(module: nn.Module, plan: ChainPlan) -> Chain:
    """Returns the chain of a plan that fits the module."""
    network = _build_network(module, plan)

    # By identity, with `keep_vars`: without it a state dict holds new tensors.
    names = {id(tensor): name for name, tensor in module.state_dict(keep_vars=True).items()}
    state_names = {name: names[id(tensor)] for name, tensor in network.state_dict(keep_vars=True).items()}
    has_batch_norm = any(isinstance(part, NORMS) for part in network.modules())
    return Chain(network, module, plan.head, plan.cut_shapes, state_names, has_batch_norm)


def _fits(module: nn.Module, plan: ChainPlan, shape: tuple[int, int, int]) -> bool:
    """Returns whether a plan that was read holds all parameters of a module and gives its outputs for one batch."""
    with seeded():
        inputs = torch.randn(_BATCHES[1], *shape)
    try:
        copied = clone(module).cpu()
        network = _build_network(copied, plan)
        parameters = Counter(id(tensor) for tensor in network.parameters())
        if parameters != Counter(id(tensor) for tensor in copied.parameters()):
            return False
        shapes = [tuple(shape)]
        outputs = inputs
        for block in network:
            outputs = evaluate(block, outputs)
            shapes.append(tuple(outputs.shape[1:]))
        fits_shapes = tuple(shapes) == plan.cut_shapes and 0 <= plan.head < len(plan.blocks)
        return fits_shapes and are_equal(evaluate(copied, inputs), outputs)
    except Exception:  # a plan of another network, or one that somebody edited
        return False
