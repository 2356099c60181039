"""Networks by name: the paper's VGG, torchvision's and timm's classifiers, and functions of the user's own."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from fer.architecture import PAPER, TIMM, is_own_code
from fer.errors import InputError, did_you_mean
from fer.image_format import PAPER_FORMAT, ImageFormat, check_size, default_levels, default_size
from fer.model.equality import seeded
from fer.model.vgg import SIZE, build

_NAMES = "a network is vgg13, a classifier of torchvision, timm:NAME or package.module:function"
_CHANNELS = 3
"""Of the images that torchvision's and timm's networks take."""
_MOST_CLASSES = 1000


def default_format(name: str) -> ImageFormat:
    """Returns the images that a network takes by default: grey and small for the paper's, else colour."""
    if name == PAPER:
        return PAPER_FORMAT
    mean, std = default_levels(_CHANNELS)
    return ImageFormat(default_size(False), _CHANNELS, mean, std)


def build_network(
    name: str,
    classes: int,
    size: int | None = None,
    seed: int = 0,
    width: float = 1.0,
    channels: int | None = None,
) -> nn.Module:
    """Builds a network with a head for a number of classes.

    Args:
        name: "vgg13"; a classifier of torchvision, "resnet18"; "timm:NAME", which needs the extra `timm`; or
            "package.module:function", the user's own, which is called with `num_classes` and returns a module. It is
            the user's code and is run.
        classes: Number of logits.
        size: Height and width of the images; the network's default where None.
        seed: Of the initial weights.
        width: Factor on the layers' channels, of vgg13 alone.
        channels: Of the images; the network's default where None.

    Returns:
        A module from images (n, channels, size, size) to logits (n, classes).

    Raises:
        InputError: The name is unknown, a library is not installed, the function fails, or what it returns is no
            classifier of these images and classes.
    """
    module = construct_network(name, classes, size, seed, width)
    default = default_format(name)
    size = size or default.size
    return check_network(module, name, (channels or default.channels, size, size), classes)


def construct_network(name: str, classes: int, size: int | None = None, seed: int = 0, width: float = 1.0) -> nn.Module:
    """Builds a network without trying it on images; arguments and errors as of `build_network`."""
    if not 2 <= classes <= _MOST_CLASSES:
        raise InputError(
            f"a network tells 2 to {_MOST_CLASSES} classes apart", classes, "Give the number of expressions."
        )
    if size is not None:
        check_size(size, "size")
    size = size or default_format(name).size
    if name == PAPER and size != SIZE:
        raise InputError(
            f"vgg13 takes images of {SIZE} rows and columns", size, "Leave the size out, or take resnet18."
        )

    with seeded(seed):
        if name == PAPER:
            module: object = build(width, seed, classes)
        elif name.startswith(TIMM):
            module = _build_timm(name, classes, size)
        elif is_own_code(name):
            module = _call_function(name, classes)
        else:
            module = _build_torchvision(name, classes, size)
    if not isinstance(module, nn.Module):
        raise InputError(
            "a network is a torch.nn.Module", f"{name}, which gives {type(module).__name__}", "Return one."
        )
    return module


@contextmanager
def without_memory() -> Iterator[None]:
    """Keeps the parameters of the networks that are built in the block on torch's meta device.

    Each is moved there when its module gets it, before values are drawn, so that names, shapes and types cost no
    memory. Numbers that the code computes on its way stay real: RegNet, for one, reads its widths from tensors.
    """

    def move(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None:
            return None
        return nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    hook = register_module_parameter_registration_hook(move)  # type: ignore[arg-type]  # torch says None, takes a parameter
    try:
        yield
    finally:
        hook.remove()


def _build_torchvision(name: str, classes: int, size: int) -> nn.Module:
    """Builds one of torchvision's classifiers.

    Raises:
        InputError: It has none of this name, or none for images of this size.
    """
    import torchvision  # noqa: PLC0415  takes a second, and vgg13 does without

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        suggestion = did_you_mean(name, [PAPER, *names])
        raise InputError(_NAMES, name, f"{suggestion}Names are those of torchvision.models, such as resnet18.")

    settings: dict[str, Any] = {}
    if name.startswith("vit_"):
        settings["image_size"] = size
    elif name.startswith("maxvit"):
        settings["input_size"] = (size, size)
    elif name in ("googlenet", "inception_v3"):
        # Without their auxiliary classifiers, whose logits would be returned beside the network's.
        settings |= {"aux_logits": False, "init_weights": True}
    with _telling_of(name, f"torchvision builds it for images of {size} × {size}"):
        return torchvision.models.get_model(name, weights=None, num_classes=classes, **settings)


def _build_timm(name: str, classes: int, size: int) -> nn.Module:
    """Builds one of timm's networks.

    Raises:
        InputError: timm is not installed, has none of this name, or none for images of this size.
    """
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise InputError(
            "timm:NAME needs the package timm", name, "Install it: pip install 'memory-integrity[timm]'."
        ) from None

    own_name = name.removeprefix(TIMM)
    if not timm.is_model(own_name):
        suggestion = did_you_mean(own_name, timm.list_models())
        raise InputError("timm:NAME is a network that timm lists", name, f"{suggestion}See timm.list_models().")
    configuration = timm.get_pretrained_cfg(own_name)
    has_fixed_size = configuration is not None and configuration.fixed_input_size
    settings = {"img_size": size} if has_fixed_size else {}
    with _telling_of(name, f"timm builds it for images of {size} × {size}"):
        return timm.create_model(own_name, pretrained=False, num_classes=classes, **settings)


def _call_function(name: str, classes: int) -> object:
    """Calls a function of the user's own.

    Raises:
        InputError: It cannot be imported, is no function, or raises an error.
    """
    module_name, _, function_name = name.partition(":")
    module = _import_module(module_name, name)
    function: Callable[..., object] | None = getattr(module, function_name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        suggestion = did_you_mean(function_name, functions)
        raise InputError(
            "package.module:function names a function of that module",
            name,
            f"{suggestion}Give one that takes num_classes and returns a module.",
        )
    with _telling_of(name, f"the function returns a network when called with num_classes={classes}"):
        return function(num_classes=classes)


def _import_module(module_name: str, name: str) -> ModuleType:
    """Imports the module of a user's own function.

    Raises:
        InputError: It cannot be imported.
    """
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            "package.module:function names a module that can be imported",
            f"{name} ({type(error).__name__}: {error})",
            "Run the command where the module lies, or set PYTHONPATH.",
        ) from None


@contextmanager
def _telling_of(name: str, rule: str) -> Iterator[None]:
    """Turns whatever a library's or a user's code raises into one line.

    Raises:
        InputError: The block raised an error.
    """
    try:
        yield
    except Exception as error:
        raise InputError(
            rule, f"{name} ({type(error).__name__}: {error})", "Try another size or network, or mend the function."
        ) from None


def check_network(module: nn.Module, name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Returns the module, if it answers images of a shape with a logit for each class.

    Args:
        module: The network.
        name: As `build_network` takes it, for errors.
        shape: Channels, height and width of the images.
        classes: Number of logits.

    Raises:
        InputError: It does not.
    """
    shown_shape = " × ".join(str(length) for length in shape)
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.no_grad(), _telling_of(name, f"a network takes images of {shown_shape}"):
            logits = module.eval()(torch.zeros(2, *shape))
    finally:
        for part, mode in modes.items():
            part.training = mode

    rule = f"a network returns one tensor (images, {classes}) of logits"
    fix = "Return the logits alone, and make the head for num_classes classes."
    if not isinstance(logits, torch.Tensor):
        raise InputError(rule, f"{name}, which returns {type(logits).__name__}", fix)
    if tuple(logits.shape) != (2, classes) or not logits.is_floating_point():
        shown = f"{tuple(logits.shape)} of {str(logits.dtype).removeprefix('torch.')}"
        raise InputError(rule, f"{name}, which returns {shown} for 2 images", fix)
    return module
