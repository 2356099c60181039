"""A network of somebody's own, as `--network own_network:small` names it: quick, with every kind of block."""

import torch
from torch import nn


class Residual(nn.Module):
    """A residual block, whose branch is skipped at random in training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        branch = self.relu(self.norm(self.conv(inputs)))
        if self.training:
            branch = branch * (torch.rand(len(inputs), 1, 1, 1, device=inputs.device) > 0.2)
        return inputs + branch


class Small(nn.Module):
    """Convolutions, residual blocks, and a head of two layers with a batch-norm of vectors."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.first = Residual(8)
        self.pool = nn.MaxPool2d(2)
        self.wider = nn.Conv2d(8, 16, 3, padding=1)
        self.group_norm = nn.GroupNorm(4, 16)
        self.second = Residual(16)
        self.last_pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Sequential(
            nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, num_classes)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.pool(self.first(self.stem(images)))
        maps = self.last_pool(self.second(self.group_norm(self.wider(maps))))
        return self.head(torch.flatten(maps, 1))


def small(num_classes: int) -> nn.Module:
    """Returns the network."""
    return Small(num_classes)
