# The only definition of the checks: developers, .pre-commit-config.yaml and .ci/run all call these recipes.

set shell := ["bash", "-euo", "pipefail", "-c"]

uv := env("UV", "uv")
run := uv + " run --no-sync"

[private]
default:
    @just --list --unsorted

# create the development environment, .venv, from uv.lock
setup:
    {{ uv }} sync --frozen

# all checks except the tests
[parallel]
check: lint types layers shell lock

# ruff: rules and format; and a check that the host opens no file by its path
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

# import rules between folders; installed as wheels, because import-linter sees only one folder of an editable split package
layers:
    {{ uv }} run --frozen --isolated --no-editable --reinstall-package rlm-core --reinstall-package rlm-skill lint-imports

# shellcheck for every bash script
shell:
    {{ run }} shellcheck install.sh .ci/run .ci/newcomer

# uv.lock must match the pyproject.toml files
lock:
    {{ uv }} lock --check

# let ruff fix what it can
fix:
    {{ run }} ruff check --fix
    {{ run }} ruff format

# all tests, or those that the arguments select
[positional-arguments]
test *arguments:
    {{ run }} pytest -n 4 --dist worksteal "$@"

# attack the claims of THREATS.md: a table of the attempts, and of those that were denied
[positional-arguments]
attack *arguments:
    {{ run }} pytest -n 4 --dist worksteal -m attack "$@"

# the tests of models with the older major version of the OpenAI SDK
openai2:
    {{ run }} --with 'openai>=2,<3' python -m pytest -n 2 packages/rlm-core/tests/models

# the tests of MCP servers with the older major version of the package mcp
mcp1:
    {{ run }} --with 'mcp<2' python -m pytest -n 2 packages/rlm-core/tests/mcp

# published MCP servers of PyPI and npm, with each major version of mcp on both sides
mcp-servers:
    {{ run }} pytest -n 0 -s tests/mcp_servers
    {{ run }} --with 'mcp<2' python -m pytest -n 0 -s tests/mcp_servers

# some acceptance tests, or those that the arguments select, over the Responses API
[positional-arguments]
responses *arguments="tests/acceptance/test_journal.py":
    TEST_API=responses {{ run }} pytest -n 4 --dist worksteal "$@"

# batches on a real Ray cluster of two nodes, with uv.lock's or another version of Ray; takes two minutes
ray version="":
    TEST_RAY={{ version }} {{ run }} pytest -n 0 -m ray tests/acceptance/test_batch_on_ray.py

# evaluations with each published version of the package verifiers
trainers:
    {{ run }} pytest -n 0 tests/trainers

# toy tasks in the published harnesses harbor and inspect-ai, with Python 3.12 or newer (a version or a path)
harnesses python="":
    TEST_PYTHON={{ python }} {{ run }} pytest -n 0 tests/harnesses

# branch coverage of the core by its own tests; fails below 100 %
coverage:
    {{ run }} coverage run -m pytest -n 0 packages/rlm-core/tests/core
    {{ run }} coverage report

# generate the parts of the docs that come from the program
docs:
    for page in docs/generate_*.py; do {{ run }} python "$page"; done

# the benchmarks: a table of medians and ratios; `just bench --list` lists them
[positional-arguments]
bench *arguments:
    {{ run }} python -m bench "$@"
