"""Where caches lie in their folder, and how large they may become. Light to import: `--help` must answer at once."""

BASELINES = "baselines"
"""The folder of all baselines in a cache."""
BLOCKS = "blocks"
"""The folder, among the baselines, of what was found of networks' blocks."""
MOST_FEATURES_GIB = 20.0
"""GiB of features of frozen blocks that are left on the disk, and that one study may take."""
