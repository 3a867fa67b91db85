# The one definition of the checks: people, .pre-commit-config.yaml and .ci/run all call these recipes.

set shell := ["bash", "-euo", "pipefail", "-c"]

uv := env("UV", "uv")
run := uv + " run --no-sync"

[private]
default:
    @just --list --unsorted

# make the development environment, .venv, as uv.lock says
setup:
    {{ uv }} sync --frozen

# everything but the tests
[parallel]
check: lint types layers shell lock

# ruff: rules and format; and that the host opens no file by its path
lint:
    {{ run }} ruff check
    {{ run }} ruff format --check
    {{ run }} python tests/tools/file_access.py packages/rlm-core/src/rlm

# mypy --strict and pyright
[parallel]
types: mypy pyright

[private]
mypy:
    {{ run }} mypy

[private]
pyright:
    {{ run }} pyright

# who may import whom; installed as wheels, as import-linter sees one folder of an editable split package
layers:
    {{ uv }} run --frozen --isolated --no-editable --reinstall-package rlm-core --reinstall-package rlm-skill lint-imports

# shellcheck, of every script in bash
shell:
    {{ run }} shellcheck install.sh .ci/run .ci/newcomer

# uv.lock says what the pyproject.toml files say
lock:
    {{ uv }} lock --check

# write what ruff can fix by itself
fix:
    {{ run }} ruff check --fix
    {{ run }} ruff format

# the tests, or those that the arguments choose
[positional-arguments]
test *arguments:
    {{ run }} pytest -n 4 --dist worksteal "$@"

# what THREATS.md says, attacked: a table of what was tried and what of it was denied
[positional-arguments]
attack *arguments:
    {{ run }} pytest -n 4 --dist worksteal -m attack "$@"

# the models again with the older major of the OpenAI SDK
openai2:
    {{ run }} --with 'openai>=2,<3' python -m pytest -n 2 packages/rlm-core/tests/models

# MCP servers again with the older major of the package mcp
mcp1:
    {{ run }} --with 'mcp<2' python -m pytest -n 2 packages/rlm-core/tests/mcp

# published MCP servers of PyPI and npm, each major of mcp on both sides
mcp-servers:
    {{ run }} pytest -n 0 -s tests/mcp_servers
    {{ run }} --with 'mcp<2' python -m pytest -n 0 -s tests/mcp_servers

# a part of the acceptance tests again over the Responses API, or what the arguments choose
[positional-arguments]
responses *arguments="tests/acceptance/test_journal.py":
    TEST_API=responses {{ run }} pytest -n 4 --dist worksteal "$@"

# batches on a real Ray cluster of two nodes, by the version of Ray of uv.lock or another; takes two minutes
ray version="":
    TEST_RAY={{ version }} {{ run }} pytest -n 0 -m ray tests/acceptance/test_batch_on_ray.py

# evaluations by each published version of the package verifiers
trainers:
    {{ run }} pytest -n 0 tests/trainers

# toy tasks in the harnesses harbor and inspect-ai, by their published packages, under Python 3.12 or newer (or its path)
harnesses python="":
    TEST_PYTHON={{ python }} {{ run }} pytest -n 0 tests/harnesses

# branch coverage of the core by its own tests: 100 % or it fails
coverage:
    {{ run }} coverage run -m pytest -n 0 packages/rlm-core/tests/core
    {{ run }} coverage report

# write what the docs hold of the program itself
docs:
    for page in docs/generate_*.py; do {{ run }} python "$page"; done

# the benchmarks: a table of medians and ratios; `just bench --list`
[positional-arguments]
bench *arguments:
    {{ run }} python -m bench "$@"
