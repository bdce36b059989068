"""What is imported while the keys rest, so that no screen waits for it when it is opened."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from tui import warm


@pytest.mark.parametrize("name", warm.NEXT)
def test_what_is_imported_ahead_is_there(name: str) -> None:
    """A module that was renamed would end the reading of the dataset with an error on the screen."""
    assert find_spec(name) is not None


def test_it_ends_when_the_app_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quitting right after the start does not wait for modules that nobody needs any more."""
    monkeypatch.setattr(warm, "NEXT", ("this",))
    monkeypatch.delitem(sys.modules, "this", raising=False)
    warm.warm_up(lambda: False)
    assert "this" not in sys.modules
