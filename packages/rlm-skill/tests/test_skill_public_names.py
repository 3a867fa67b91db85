import importlib
import inspect

import pytest
import rlm.skill


def test_every_public_name_is_there_under_its_own_name() -> None:
    for name in rlm.skill.__all__:
        value = getattr(rlm.skill, name)
        assert getattr(value, "__name__", name) == name
    assert set(rlm.skill.__all__) <= set(dir(rlm.skill))
    assert rlm.skill.__all__ == sorted(rlm.skill.__all__, key=lambda name: (not name.isupper(), name))


def test_public_names_are_what_type_checkers_read() -> None:
    reported = inspect.getsource(rlm.skill).partition("if TYPE_CHECKING:")[2].partition("_HOMES")[0]
    names = [
        name.strip()
        for line in reported.splitlines()
        if " import " in line
        for name in line.split(" import ")[1].split(",")
    ]
    assert sorted(names) == sorted(rlm.skill.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'rlm\.skill' has no attribute 'nothing'"):
        importlib.import_module("rlm.skill").nothing  # noqa: B018 - the access is the test


def test_every_public_function_and_class_has_a_docstring() -> None:
    assert [name for name in rlm.skill.__all__ if name != "RULE" and not getattr(rlm.skill, name).__doc__] == []
