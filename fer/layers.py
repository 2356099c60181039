"""The names of the network's thirteen layers; known without torch, which takes a second to import."""

LAYERS = (
    "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2", "conv4_3",
    "fc1", "fc2", "fc3",
)  # fmt: skip

CONVOLUTIONS = 10
"""Number of leading layers that are convolutions; the others are fully connected."""
