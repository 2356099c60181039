"""Small networks of torchvision's large families, as `--network small_families:vit` names them: the classes' own code.

Few channels and layers make a training a matter of a second, and change nothing of what its code does.
"""

from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.densenet import DenseNet
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vgg import VGG, make_layers
from torchvision.models.vision_transformer import VisionTransformer


class SmallVGG(VGG):
    """A VGG whose classifier is small too, which the class itself has no argument for."""

    def __init__(self, num_classes: int) -> None:
        nn.Module.__init__(self)
        self.features = make_layers([8, "M", 16, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"], batch_norm=True)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(32 * 7 * 7, 64), nn.ReLU(True), nn.Dropout(), nn.Linear(64, 64), nn.ReLU(True), nn.Dropout(),
            nn.Linear(64, num_classes),
        )  # fmt: skip


def vgg(num_classes: int) -> nn.Module:
    """Returns a network with the layers of vgg11_bn."""
    return SmallVGG(num_classes)


def vit(num_classes: int) -> nn.Module:
    """Returns a vision transformer of six blocks on patches of 8 × 8 of images of 48 × 48."""
    return VisionTransformer(
        image_size=48, patch_size=8, num_layers=6, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=num_classes
    )


def swin(num_classes: int) -> nn.Module:
    """Returns a network with the four stages of swin_t, whose windows shift and whose blocks are dropped at random."""
    return SwinTransformer(
        patch_size=[4, 4], embed_dim=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4], window_size=[7, 7],
        stochastic_depth_prob=0.2, num_classes=num_classes,
    )  # fmt: skip


def convnext(num_classes: int) -> nn.Module:
    """Returns a network with the four stages of convnext_tiny."""
    stages = [CNBlockConfig(8, 16, 2), CNBlockConfig(16, 32, 2), CNBlockConfig(32, 64, 2), CNBlockConfig(64, None, 2)]
    return ConvNeXt(stages, stochastic_depth_prob=0.1, num_classes=num_classes)


def densenet(num_classes: int) -> nn.Module:
    """Returns a network with the four blocks of densenet121, of three layers each."""
    return DenseNet(growth_rate=8, block_config=(3, 3, 3, 3), num_init_features=16, num_classes=num_classes)
