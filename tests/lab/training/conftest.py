"""Runs that several test modules of this folder share."""

import pytest

from tests.lab.training.helpers import CONV, small


@pytest.fixture(scope="session")
def mlp():
    return small()


@pytest.fixture(scope="session")
def conv():
    return small(CONV)
