"""What the tests of the importers share."""

import copy
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def golden_file():
    """Gives the contents of a golden pickle by its name, each time a fresh copy."""
    from ganpipe.importers import contents

    read = {}

    def get(name):
        if name not in read:
            read[name] = contents.read(GOLDEN / f"{name}.pkl")
        return copy.deepcopy(read[name])

    return get
