"""Tests of the skill, and of the contract that rlm expects it to keep."""

import asyncio
from pathlib import Path

import pytest
from myskill import run
from rlm.skill import Level, check_skill


def test_words_are_counted() -> None:
    assert asyncio.run(run(["one two", "three"])) == {"one two": 2, "three": 1}


def test_the_longest_text_can_be_asked_for() -> None:
    assert asyncio.run(run(["one two", "three"], longest=True)) == {"one two": 2}


def test_no_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="no text"):
        asyncio.run(run([]))


def test_the_contract_is_kept() -> None:
    findings = check_skill(Path(__file__).parents[1])
    assert [str(finding) for finding in findings if finding.level is not Level.ADVICE] == []
