"""The rows of a confirmation's results as types, and the stored dicts that they are read from."""

import pytest

from made_study import made_confirmed
from study.confirmed_results import ConfirmedRow


@pytest.mark.parametrize("again", [{}, {"source_val_again": 0.5, "target_val_again": 0.25}], ids=["unseeded", "seeded"])
def test_a_confirmed_row_is_stored_as_it_was_read_in_the_order_of_its_columns(again):
    stored_rows = [row | again for row in made_confirmed()[0]["confirmation"]["results"]["points"]]

    for stored in stored_rows:
        row = ConfirmedRow.from_json(stored)

        assert list(row.to_json().items()) == list(stored.items())
        assert row.figures["target"].test == stored["target_test"]
        assert row.measures and not any(name.endswith(("_p", "_again")) for name in row.measures)
