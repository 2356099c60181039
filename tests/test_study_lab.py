"""What studies share on a disk."""

import os
import time

from study.inputs import trim_features
from study.options import cache_folder


def test_the_banks_unused_for_longest_make_room_and_those_in_use_stay(tmp_path):
    now, mib = time.time(), 2**20
    for name, age in (("oldest", 9000), ("older", 8000), ("old", 7000), ("in use", 10)):
        bank = cache_folder(tmp_path) / "features" / name
        bank.mkdir(parents=True)
        (bank / "cut01.features").write_bytes(bytes(range(256)) * (mib // 256))
        os.utime(bank, (now - age, now - age))

    def left():
        return {bank.name for bank in (cache_folder(tmp_path) / "features").iterdir()}

    assert trim_features(tmp_path, 5 * mib / 2**30) == 0
    assert trim_features(tmp_path, 3 * mib / 2**30) * 2**30 >= mib
    assert left() == {"older", "old", "in use"}

    trim_features(tmp_path, 0)
    assert left() == {"in use"}
