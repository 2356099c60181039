"""The parts of which blocks are made: modules of a network, what its forward computes between them, and its rests.

A part is named by text alone, so that a list of parts can be written to a file and built again from the network. What
is built shares its tensors with the network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fer.torch_private import Members, copy_with_members, members_of

MODULE = "module"
"""The kind of a part that is a module of the network as it is."""
REST = "rest"
"""The kind of a part that is a module of the network in which some of its children do nothing."""


@dataclass(frozen=True)
class Part:
    """A part of a block, as text.

    Attributes:
        kind: `MODULE`, `REST`, a key of `OPERATIONS`, or a key of `_TRANSFORMER_PARTS`.
        path: The module's name within the network, "" for the network itself. Of an operation, the module whose
            forward computes it.
        without: Of a rest, the names, within the module, of the children that do nothing.
    """

    kind: str
    path: str = ""
    without: tuple[str, ...] = ()


class Copy(nn.Module):
    """Copies its input, for a module that would change it in place."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns a copy."""
        return inputs.clone()


class SpatialMean(nn.Module):
    """The mean over height and width of images (n, channels, height, width)."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the means, (n, channels)."""
        return inputs.mean([2, 3])


class FirstToken(nn.Module):
    """The class token, first of a sequence."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Turns tokens (n, tokens, width) into the first of them, (n, width)."""
        return inputs[:, 0]


OPERATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "flatten": nn.Flatten,
    "pool": lambda: nn.AdaptiveAvgPool2d(1),
    "mean": SpatialMean,
    "relu": nn.ReLU,
    "first_token": FirstToken,
    "copy": Copy,
}
"""Modules without weights that no network need hold, because its forward computes them."""

GLUES = (("flatten",), ("pool", "flatten"), ("mean",), ("relu",), ("relu", "pool", "flatten"), ("relu", "mean"))
"""What forwards commonly compute between two children, as operations in order."""


class _TorchvisionTokens(nn.Module):
    """What torchvision's ViT computes before its first encoder block, dropout apart.

    Image patches become tokens, and class token and positions are added.
    """

    def __init__(self, transformer: Any) -> None:  # noqa: ANN401  torchvision need not be installed
        super().__init__()
        members = members_of(transformer)
        projection = {"conv_proj": members.children["conv_proj"]}
        self.transformer = copy_with_members(transformer, Members(members.parameters, members.buffers, projection))
        self.positions = transformer.encoder.pos_embedding

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Turns images (n, 3, height, width) into tokens (n, tokens, width)."""
        transformer: Any = self.transformer
        tokens = transformer._process_input(images)
        class_token = transformer.class_token.expand(tokens.shape[0], -1, -1)
        return torch.cat([class_token, tokens], dim=1) + self.positions


class _TimmTokens(nn.Module):
    """What timm's ViT computes before its first encoder block: tokens with class token and positions."""

    def __init__(self, transformer: Any) -> None:  # noqa: ANN401  timm need not be installed
        super().__init__()
        members = members_of(transformer)
        names = ("patch_embed", "pos_drop", "patch_drop", "norm_pre")
        children = {name: members.children[name] for name in names}
        self.transformer = copy_with_members(transformer, Members(members.parameters, members.buffers, children))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Turns images (n, 3, height, width) into tokens (n, tokens, width)."""
        transformer: Any = self.transformer
        tokens = transformer._pos_embed(transformer.patch_embed(images))
        return transformer.norm_pre(transformer.patch_drop(tokens))


class _TimmPool(nn.Module):
    """How timm's ViT turns tokens into one vector."""

    def __init__(self, transformer: Any) -> None:  # noqa: ANN401  timm need not be installed
        super().__init__()
        children = {"attn_pool": members_of(transformer).children.get("attn_pool")}
        self.transformer = copy_with_members(transformer, Members({}, {}, children))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turns tokens (n, tokens, width) into vectors (n, width)."""
        transformer: Any = self.transformer
        return transformer.pool(tokens)


_TRANSFORMER_PARTS: Mapping[str, Callable[[nn.Module], nn.Module]] = {
    "torchvision_tokens": _TorchvisionTokens,
    "timm_tokens": _TimmTokens,
    "timm_pool": _TimmPool,
}


def transformer_parts(module: nn.Module, path: str) -> list[Part] | None:
    """Returns the parts of a ViT of torchvision or timm, None for any other module.

    Its class token and positions are parameters of its own, and so it is no chain of its children.

    Args:
        module: The module.
        path: Its name within the network.
    """
    names = {f"{base.__module__}.{base.__qualname__}" for base in type(module).__mro__}
    vit: Any = module
    if "torchvision.models.vision_transformer.VisionTransformer" in names:
        blocks = [f"encoder.layers.{name}" for name, _ in vit.encoder.layers.named_children()]
        children = ["encoder.dropout", *blocks, "encoder.ln"]
        return [
            Part("torchvision_tokens", path),
            *(Part(MODULE, join(path, name)) for name in children),
            Part("first_token", path),
            Part(MODULE, join(path, "heads")),
        ]
    if "timm.models.vision_transformer.VisionTransformer" in names:
        blocks = [f"blocks.{name}" for name, _ in vit.blocks.named_children()]
        return [
            Part("timm_tokens", path),
            *(Part(MODULE, join(path, name)) for name in [*blocks, "norm"]),
            Part("timm_pool", path),
            *(Part(MODULE, join(path, name)) for name in ("fc_norm", "head_drop", "head")),
        ]
    return None


def build_part(network: nn.Module, part: Part) -> nn.Module:
    """Returns a part of a network; its tensors are the network's.

    Raises:
        AttributeError: The network has no such part.
        KeyError: There is no such kind.
    """
    if part.kind in OPERATIONS:
        return OPERATIONS[part.kind]()
    module = network.get_submodule(part.path)
    if part.kind == MODULE:
        return module
    if part.kind == REST:
        return _without(module, part.without)
    return _TRANSFORMER_PARTS[part.kind](module)


def _without(module: nn.Module, names: Sequence[str]) -> nn.Module:
    """Returns a module whose named descendants are replaced by `nn.Identity`; the module itself stays as it is."""
    if "" in names:
        return nn.Identity()
    members = members_of(module)
    children = dict(members.children)
    for child_name, child in members.children.items():
        below = [name.partition(".")[2] for name in names if name.partition(".")[0] == child_name]
        if below and child is not None:
            children[child_name] = _without(child, below)
    return copy_with_members(module, Members(members.parameters, members.buffers, children))


def join(path: str, name: str) -> str:
    """Returns the name of a descendant within the network: that of its ancestor, and its own within the ancestor."""
    return ".".join(text for text in (path, name) if text)
