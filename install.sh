#!/usr/bin/env bash
# Installs rlm and this machine's skills as wheels into one uv tool environment. See --help.
#
# Everything is installed into a temporary folder first. This is a rehearsal: it must resolve, build, come from this
# checkout, and run. Then the environment is moved to its place, where it must run again. The previous environment is moved
# aside only for this second step. It is moved back if the step fails or is interrupted; if the step was killed, the next
# run moves it back.

if [ -z "${BASH_VERSION:-}" ]; then
    exec bash "$0" "$@" # for a start by another shell, such as `sh install.sh` on Debian
fi
set -euo pipefail
set +o posix

readonly NEEDED_UV=0.11.8 # older ones install workspace members editable
readonly PYTHON_RANGE='>=3.11,<3.14'
readonly USUAL_SKILLS='/task/rlm-skills' # unattended installers replace this path, so it occurs only here

UV='' PYTHON='' CHECKOUT='' DATA='' TOOL='' STAGE='' SCRATCH='' CHILD='' VERSION=''
ACTION=install STRICT='' REFUSED='' FORGET=''
readonly LEFT_OUT=3
PYTEST_ARGS=()
SKILLS=() # names of the accepted ones; the constraints file has their folders
INSTRUCTIONS=() # folders with a SKILL.md and no package
ADDED=() # requirements of --with in this run
WITH=()  # these, and those of earlier runs

usage() {
    cat <<END
usage: ./install.sh [--strict] [--with PACKAGE]... [--demo]
                                          install rlm and the skills found, then run \`rlm demo\` if asked to
       ./install.sh --test [ARGUMENT...]  set the development environment up and run the tests (arguments for pytest)
       ./install.sh --uninstall           remove what this script installed; sessions and packages of %pip stay

  --strict        install nothing if any skill is refused; without it bad skills are named and left out
  --with PACKAGE  a package for cells, such as pandas or 'numpy>=2'; later runs keep it, --with '' drops all of them

exit status
  0  all is installed      2  a wrong argument or variable      3  rlm is installed, and a skill was left out
  1  nothing was changed   129, 130, 143  a signal ended it, and what was there before is there

variables
  RLM_SKILLS_DIR      folder that holds one folder per skill or SKILL.md [$USUAL_SKILLS]
  RLM_SKILLS_STRICT   1: as --strict
  RLM_CHECKOUT_PATH   the checkout to install from [the folder of this script]
  RLM_TOOL_PYTHON     a version or the path of a Python [$PYTHON_RANGE, as uv finds or fetches it]
  RLM_EXTRA_UV_ARGS   more words for \`uv tool install\`, e.g. --offline --find-links /wheels
  UV_INSTALL_DIR      where uv goes if it has to be fetched [~/.local/share/rlm/uv]
  UV_TOOL_DIR, UV_TOOL_BIN_DIR   where the environment [~/.local/share/uv/tools] and the commands [~/.local/bin] go
and whatever else uv and pip read: UV_OFFLINE, UV_FIND_LINKS, UV_DEFAULT_INDEX, PIP_INDEX_URL, ...
END
}

main() {
    trap leave EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    parse "$@"
    locate
    case $ACTION in
        install) install ;;
        demo)
            install
            run_demo
            ;;
        test) run_tests ;;
        uninstall) uninstall ;;
    esac
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
            --demo) ACTION=demo ;;
            --strict) STRICT=yes ;;
            --with=*) add_package "${1#--with=}" ;;
            --with)
                [ $# -gt 1 ] || fail_usage "--with needs a package, such as --with pandas"
                add_package "$2"
                shift
                ;;
            --uninstall) ACTION=uninstall ;;
            --test)
                ACTION='test'
                shift
                PYTEST_ARGS=("$@")
                return
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) fail_usage "unknown argument $1; see ./install.sh --help" ;;
        esac
        shift
    done
}

add_package() {
    case $1 in
        -* | *[[:cntrl:]]*) fail_usage "--with takes the name of a package, not $1" ;;
        *[![:space:]]*) ADDED+=("$1") ;;
        *) FORGET=yes ;;
    esac
}

# --- messages --------------------------------------------------------------------------------------------------------

printable() { LC_ALL=C tr -d '\000-\010\013-\037\177'; } # text of a skill or uv must not control the terminal

say() { printf 'rlm: %s\n' "$*" | printable >&2; }

fail() {
    say "$*"
    exit 1
}

fail_usage() {
    say "$*"
    exit 2
}

fail_with_log() {
    tail -n 25 "$STAGE/log" | printable >&2
    fail "$1"
}

# --- folders ---------------------------------------------------------------------------------------------------------

locate() {
    case ${RLM_SKILLS_STRICT:-0} in
        1 | on | yes | true) STRICT=yes ;;
        0 | off | no | false) ;;
        *) fail_usage "RLM_SKILLS_STRICT is 1 or 0, not $RLM_SKILLS_STRICT" ;;
    esac
    if [ -z "${HOME:-}" ]; then
        unset HOME
        HOME=~ # bash then reads the password file
        export HOME
    fi
    DATA=${XDG_DATA_HOME:-$HOME/.local/share}
    [ -d "${RLM_CHECKOUT_PATH:-/}" ] || fail_usage "RLM_CHECKOUT_PATH names no folder: $RLM_CHECKOUT_PATH"
    CHECKOUT=$(cd -- "${RLM_CHECKOUT_PATH:-$(dirname -- "${BASH_SOURCE[0]:-$0}")}" && pwd -P)
    [ -f "$CHECKOUT/packages/rlm-core/pyproject.toml" ] ||
        fail_usage "$CHECKOUT is no checkout of rlm: run install.sh from one, or set RLM_CHECKOUT_PATH"
}

# uv would use XDG_DATA_HOME for the commands too, and put them into a folder that is not on PATH.
settle_tool_dirs() {
    local tools=${UV_TOOL_DIR:-$DATA/uv/tools} bin=${UV_TOOL_BIN_DIR:-${XDG_BIN_HOME:-$HOME/.local/bin}}
    mkdir -p -- "$tools" "$bin" && [ -w "$tools" ] && [ -w "$bin" ] ||
        fail "cannot write to $tools and $bin: set UV_TOOL_DIR and UV_TOOL_BIN_DIR to folders that you may write to"
    UV_TOOL_DIR=$(cd -- "$tools" && pwd -P)
    UV_TOOL_BIN_DIR=$(cd -- "$bin" && pwd -P)
    export UV_TOOL_DIR UV_TOOL_BIN_DIR
    TOOL=$UV_TOOL_DIR/rlm
}

# These variables would make uv, or a build that it runs, use the user's current environment or project.
forget_other_environments() {
    unset PYTHONPATH PYTHONHOME VIRTUAL_ENV UV_PROJECT UV_PROJECT_ENVIRONMENT UV_WORKING_DIRECTORY
}

# --- uv and Python ---------------------------------------------------------------------------------------------------

find_uv() {
    local candidate
    for candidate in "$(command -v uv || true)" "${UV_INSTALL_DIR:-$DATA/rlm/uv}/uv" "$DATA/rlm/uv/uv" \
        "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv"; do
        if new_enough "$candidate"; then
            UV=$candidate
            return
        fi
    done
    fetch_uv
}

new_enough() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    version=${version#uv }
    [ "$(printf '%s\n' "$NEEDED_UV" "${version%% *}" | sort -V | head -n 1)" = "$NEEDED_UV" ]
}

fetch_uv() {
    local target=${UV_INSTALL_DIR:-$DATA/rlm/uv}
    if [ -e "$target/uv" ]; then
        target=$DATA/rlm/uv # an old uv of somebody else, which we must not replace
    fi
    say "found no uv $NEEDED_UV or newer: fetching one from the Python package index"
    SCRATCH=$(mktemp -d)
    if ! pip_install_uv "$SCRATCH/venv" >"$SCRATCH/log" 2>&1; then
        tail -n 10 "$SCRATCH/log" | printable >&2
        fail "cannot fetch uv: it takes python3 with venv and pip (Debian: apt-get install python3-venv) and a" \
            "package index; or install uv yourself"
    fi
    mkdir -p -- "$target"
    mv -f -- "$SCRATCH/venv/bin/uv" "$target/uv"
    rm -rf -- "$SCRATCH"
    UV=$target/uv
}

# Use the first Python that works: Debian's has no venv unless python3-venv is installed, and the pip of an old Python
# supports neither current wheels nor the current index.
pip_install_uv() {
    local python
    for python in python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3 python; do
        if command -v "$python" && pip_install_uv_with "$python" "$1"; then
            return
        fi
    done
    return 1
}

# uv is one native program, so the Python that fetches it may be older than the package requires.
pip_install_uv_with() {
    run "$1" -m venv --clear "$2" &&
        PIP_USER=0 run "$2/bin/python" -m pip install --no-deps --only-binary :all: \
            --ignore-requires-python "uv>=$NEEDED_UV" &&
        new_enough "$2/bin/uv"
}


find_python() {
    local wanted=${RLM_TOOL_PYTHON:-$PYTHON_RANGE}
    if ! PYTHON=$(find_interpreter "$wanted" 2>/dev/null); then
        say "found no Python $wanted: fetching one"
        run "$UV" python install "$wanted" >"$STAGE/log" 2>&1 ||
            fail_with_log "cannot get Python $wanted: RLM_TOOL_PYTHON may name another"
        PYTHON=$(find_interpreter "$wanted")
    fi
    "$PYTHON" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$PYTHON is too old: rlm needs Python 3.11 or newer (RLM_TOOL_PYTHON chooses)"
}

# From the root folder, so that uv reads no project's settings or environment.
find_interpreter() { (cd / && "$UV" python find --system --no-project "$1"); }

# --- skills ----------------------------------------------------------------------------------------------------------

choose_skills() {
    local found=() folder verdict name detail
    [ -d "${RLM_SKILLS_DIR:-/}" ] || fail_usage "RLM_SKILLS_DIR names no folder: $RLM_SKILLS_DIR"
    while IFS= read -r -d '' folder; do found+=("$folder"); done < <(list_skill_folders)
    : >"$STAGE/skills"
    mkdir -- "$STAGE/instructions"
    [ ${#found[@]} -gt 0 ] || return 0
    check_skills "${found[@]}" >"$STAGE/verdicts" 2>"$STAGE/log"
    while IFS=$'\t' read -r verdict name detail; do
        case $verdict in
            ok) accept "$name" "$detail" ;;
            instructions) accept_instructions "$detail" ;;
            refused) refuse "$name" "$detail" ;;
            *) fail_with_log "the check of the skills ended badly: $verdict" ;;
        esac
    done <"$STAGE/verdicts"
    [ "$(wc -l <"$STAGE/verdicts")" -eq ${#found[@]} ] ||
        fail_with_log "the check of the skills did not answer for each of them"
}

list_skill_folders() {
    local root folder
    root=$(cd -- "${RLM_SKILLS_DIR:-$USUAL_SKILLS}" 2>/dev/null && pwd) || return 0
    for folder in "$root"/[!._]*/; do
        if [ -d "$folder" ]; then
            printf '%s\0' "${folder%/}"
        fi
    done
}

# Print a line for each folder, without control characters: ok<TAB>NAME<TAB>FOLDER, instructions<TAB>NAME<TAB>FOLDER or
# refused<TAB>FOLDER<TAB>REASON.
check_skills() {
    # The exit status is ignored: it is 1 for a refused skill too. After a crash, lines are missing.
    "$PYTHON" -I -B "$CHECKOUT/packages/rlm-skill/src/rlm/skill/check.py" --lines "$@" || true
}

accept() {
    if [[ " ${SKILLS[*]-} " == *" $1 "* ]]; then
        refuse "$2" "another folder holds a skill of that name"
    elif is_foreign "$UV_TOOL_BIN_DIR/$1"; then
        refuse "$2" "$UV_TOOL_BIN_DIR/$1 is there already and is not ours"
    else
        SKILLS+=("$1")
        printf '%s\n%s\n' "rlm-skill-${1//_/-}" "$2" >>"$STAGE/skills"
    fi
}

# Links are copied as links: targets outside of the folder are not copied.
accept_instructions() {
    if cp -RP -- "$1" "$STAGE/instructions/" 2>"$STAGE/log"; then
        INSTRUCTIONS+=("${1##*/}")
    else
        rm -rf -- "$STAGE/instructions/${1##*/}"
        refuse "$1" "it cannot be copied: $(head -n 1 "$STAGE/log")"
    fi
}

refuse() {
    REFUSED=yes
    say "skill ${1##*/} refused: $2"
}

stop_if_strict() {
    if [ -n "$STRICT" ] && [ -n "$REFUSED" ]; then
        fail "nothing changed: --strict (RLM_SKILLS_STRICT=1) allows no refused skill"
    fi
}

# Bind each of our names to its folder, because somebody else could own these names on an index. A skill takes precedence
# over a workspace member of the same name.
write_constraints() {
    local member
    {
        cat "$STAGE/skills"
        printf 'rlm\n%s\n' "$CHECKOUT"
        for member in "$CHECKOUT"/packages/*/; do
            member=${member%/}
            printf '%s\n%s\n' "${member##*/}" "$member"
        done
    } >"$STAGE/names"
    "$PYTHON" -I - "$STAGE/names" >"$STAGE/constraints.txt" <<'END'
import pathlib, sys

lines = pathlib.Path(sys.argv[1]).read_text("utf-8", "surrogateescape").splitlines()
folders = {}
for name, folder in zip(lines[::2], lines[1::2]):
    folders.setdefault(name, pathlib.Path(folder).resolve().as_uri())
for name, url in folders.items():
    print(f"{name} @ {url}")
END
}

requirement() { grep -- "^$1 @ " "$STAGE/constraints.txt"; }

# --- installing ------------------------------------------------------------------------------------------------------

install() {
    settle_tool_dirs
    forget_other_environments
    take_lock
    fix_killed_install
    STAGE=$(mktemp -d "$UV_TOOL_DIR/.rlm-install.XXXXXX")
    find_uv
    find_python
    if is_foreign "$UV_TOOL_BIN_DIR/rlm"; then
        fail "$UV_TOOL_BIN_DIR/rlm is there already and is not ours: move it away, or set UV_TOOL_BIN_DIR"
    fi
    choose_skills
    recall_packages
    write_constraints
    : >"$STAGE/built"
    say "installing from $CHECKOUT"
    rehearse_all
    stop_if_strict
    replace
    clear_stage
    report
}

# At the end, the rehearsal folder holds rlm and the skills that remain in SKILLS.
rehearse_all() {
    local wanted=(${SKILLS[@]+"${SKILLS[@]}"}) name
    if rehearse; then
        return
    fi
    SKILLS=()
    if [ ${#wanted[@]} -eq 0 ] || ! rehearse; then
        fail_with_log "nothing changed: rlm does not install${WITH[*]+ (with ${WITH[*]}; --with '' drops these)}"
    fi
    for name in "${wanted[@]}"; do
        rehearse_skill "$name"
    done
    [ -e "$STAGE/tools/rlm" ] || rehearse ||
        fail_with_log "nothing changed: rlm does not install with the skills that did: ${SKILLS[*]}"
}

rehearse_skill() {
    local before=(${SKILLS[@]+"${SKILLS[@]}"})
    SKILLS+=("$1")
    if ! rehearse; then
        SKILLS=(${before[@]+"${before[@]}"})
        refuse "$1" "it does not install: $(reason)"
    fi
}

# Install rlm with the skills of SKILLS into the rehearsal folder. The log has the errors. uv updates the environment that
# the last successful rehearsal left. Its status is 1 if it cannot resolve or build something: then it has changed nothing.
# After any other failure the environment is removed.
rehearse() {
    local status=0
    call_uv || status=$?
    if [ "$status" -eq 0 ] && add_instructions "$STAGE/tools/rlm/share/rlm" &&
        verify_origins "$STAGE/tools/rlm" && verify_commands "$STAGE/tools/rlm" "$STAGE/bin"; then
        return
    fi
    if [ "$status" -ne 1 ]; then
        rm -rf -- "${STAGE:?}/tools" "${STAGE:?}/bin"
    fi
    return 1
}

reason() {
    local text
    text=$(sed -n '/×\|^error\|^rlm:/,$p' "$STAGE/log" | tr -s '[:space:]' ' ')
    printf '%s' "${text:0:400}"
}

# Put the instructions and the packages of --with into the environment, which is always replaced as a whole.
add_instructions() {
    mkdir -p -- "$1/skills" &&
        cp -RP -- "$STAGE/instructions/." "$1/skills/" &&
        printf '%s\n' ${WITH[@]+"${WITH[@]}"} >"$1/with"
} >"$STAGE/log" 2>&1

# The packages of --with: those of earlier runs, unless --with '' drops them, and those of this run.
recall_packages() {
    local package
    if [ -z "$FORGET" ] && [ -f "$TOOL/share/rlm/with" ]; then
        while IFS= read -r package; do add_once "$package"; done <"$TOOL/share/rlm/with"
    fi
    for package in ${ADDED[@]+"${ADDED[@]}"}; do add_once "$package"; done
}

add_once() {
    local known
    for known in '' ${WITH[@]+"${WITH[@]}"}; do
        [ "$known" != "$1" ] || return 0
    done
    WITH+=("$1")
}

call_uv() {
    local name words=()
    read -r -d '' -a words <<<"${RLM_EXTRA_UV_ARGS:-}" || true # split into words, never evaluated
    case " ${words[*]-} " in
        *' --python '* | *' --python='* | *' -p'*) ;;
        *) words+=(--python "$PYTHON") ;;
    esac
    while read -r name _; do # uv does not see that a source has changed, so everything is built once
        grep -qxF -- "$name" "$STAGE/built" || words+=(--reinstall-package "$name")
    done <"$STAGE/constraints.txt"
    for name in ${WITH[@]+"${WITH[@]}"}; do
        words+=(--with "$name")
    done
    for name in ${SKILLS[@]+"${SKILLS[@]}"}; do
        words+=(--with-executables-from "$(requirement "rlm-skill-${name//_/-}")")
    done
    run env UV_TOOL_DIR="$STAGE/tools" UV_TOOL_BIN_DIR="$STAGE/bin" PYTHONDONTWRITEBYTECODE=1 \
        "$UV" tool install --constraints "$STAGE/constraints.txt" "${words[@]}" "$(requirement rlm)"
} >"$STAGE/log" 2>&1

# Every distribution with one of our names must be a wheel from the folder that is bound to the name. The names of those
# that are go into a list: they are built.
verify_origins() {
    "$1/bin/python" -I -B - "$STAGE/constraints.txt" >"$STAGE/built" 2>"$STAGE/log" <<'END'
import json, os, pathlib, re, sys
from importlib.metadata import distributions
from urllib.parse import unquote, urlsplit


def folder(url):
    return os.path.realpath(unquote(urlsplit(url).path))


tied = dict(line.split(" @ ") for line in pathlib.Path(sys.argv[1]).read_text().splitlines())
strangers = []
for found in distributions():
    name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
    if name in tied or name == "rlm" or name.startswith("rlm-"):
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        here = name in tied and "url" in origin and folder(origin["url"]) == folder(tied[name])
        if not here or origin.get("dir_info", {}).get("editable"):
            strangers.append(f"{name} {found.version} (from {origin.get('url', 'a package index')})")
        else:
            print(name)
if strangers:
    sys.exit("rlm: not a wheel of this checkout or of a skill here: " + ", ".join(strangers))
END
}

# verify_commands ENVIRONMENT BIN_DIR: the commands are rlm and one for each skill, no more and no fewer, and rlm starts.
verify_commands() {
    links_into "$1" "$2" >"$STAGE/commands"
    if [ "$(sed 's:.*/::' "$STAGE/commands" | sort)" != "$(printf '%s\n' rlm ${SKILLS[@]+"${SKILLS[@]}"} | sort)" ]; then
        say "not the commands expected: $(tr '\n' ' ' <"$STAGE/commands")"
        return 1
    fi
    if ! run "$2/rlm" --version; then
        say "rlm does not start"
        return 1
    fi
} >"$STAGE/log" 2>&1

# --- replacing the previous environment -----------------------------------------------------------------------------

replace() {
    links_into "$TOOL" "$UV_TOOL_BIN_DIR" >"$STAGE/links"
    if [ -e "$TOOL" ]; then
        mv -- "$TOOL" "$STAGE/previous"
    else
        : >"$STAGE/none"
    fi
    remove_links <"$STAGE/links"
    move_in || fail_with_log "installing failed after a rehearsal that worked; what was there before is back"
    VERSION=$(tail -n 1 "$STAGE/log")
    if [ -e "$STAGE/previous" ]; then
        mv -- "$STAGE/previous" "$STAGE/old" # from here on nothing must be restored
    else
        rm -- "$STAGE/none"
    fi
}

# A virtual environment can be moved if its path is replaced where it is written: in the first lines of its commands and in
# uv's receipt. Another `uv tool install` would link ten thousand files again, and could resolve to other versions.
move_in() {
    local link
    mv -- "$STAGE/tools/rlm" "$TOOL" && readdress || return 1
    while IFS= read -r link; do
        ln -s -- "$TOOL/bin/${link##*/}" "$UV_TOOL_BIN_DIR/${link##*/}" || return 1
    done <"$STAGE/commands"
    verify_commands "$TOOL" "$UV_TOOL_BIN_DIR"
}

# Only the end of the path changes, and it has no character that a shell or TOML would quote. The folder of the commands is
# written as a JSON string, which TOML reads, too. Files are replaced, not written, because a file can be a link into uv's
# cache.
readdress() {
    "$TOOL/bin/python" -I -B - "$TOOL" "${STAGE##*/}" "$UV_TOOL_BIN_DIR" >"$STAGE/log" 2>&1 <<'END'
import json, os, pathlib, re, sys

tool, stage, commands = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
receipt = tool / "uv-receipt.toml"
for path in [receipt, *(tool / "bin").iterdir()]:
    old = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    new = old.replace(f"/{stage}/tools/rlm".encode(), b"/rlm")
    if path == receipt:
        folder = re.compile(rf"""install-path = ["'].*?/{re.escape(stage)}/bin/([^/"']+)["']""")
        written = lambda found: f"install-path = {json.dumps(f'{commands}/{found[1]}', ensure_ascii=False)}"
        new = folder.sub(written, new.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if new != old:
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(new)
        fresh.chmod(path.stat().st_mode)
        os.replace(fresh, path)
END
}

# put_back STAGE: undoes a replacement that did not come to its end; may itself be killed and called again.
put_back() {
    local link
    if [ ! -e "$1/previous" ] && [ ! -e "$1/none" ]; then
        return 0
    fi
    links_into "$TOOL" "$UV_TOOL_BIN_DIR" | remove_links
    while IFS= read -r link; do
        [ -L "$link" ] || ln -s -- "$TOOL/bin/${link##*/}" "$link"
    done <"$1/links"
    rm -rf -- "$TOOL"
    if [ -e "$1/previous" ]; then
        mv -- "$1/previous" "$TOOL"
    fi
}

remove_links() {
    local link
    while IFS= read -r link; do
        rm -f -- "$link" # a link is listed twice if its folder has two names
    done
}

# links_into ENVIRONMENT BIN_DIR: list the links into the environment, in BIN_DIR and at the paths of its receipt.
links_into() {
    local link
    {
        printf '%s\n' "$2"/*
        grep -o 'install-path = "[^"]*"' "$1/uv-receipt.toml" 2>/dev/null | cut -d '"' -f 2 || true
    } | sort -u | while IFS= read -r link; do
        if leads_into "$1" "$link"; then
            printf '%s\n' "$link"
        fi
    done
}

leads_into() {
    [ -L "$2" ] || return 1
    case $(readlink -- "$2") in
        "$1/bin/"*) ;;
        *) [ "$2" -ef "$1/bin/${2##*/}" ] ;; # the same file by another path
    esac
}

is_foreign() {
    { [ -e "$1" ] || [ -L "$1" ]; } && ! leads_into "$TOOL" "$1"
}

# The lock is held until this process and its children end, for whatever reason.
take_lock() {
    exec 9>>"$UV_TOOL_DIR/.rlm-install.lock"
    if command -v flock >/dev/null && ! flock --nonblock 9; then
        say "waiting for another installation to end"
        run flock 9
    fi
}

fix_killed_install() {
    local left
    for left in "$UV_TOOL_DIR"/.rlm-install.*/; do
        if [ -d "$left" ]; then
            put_back "$left"
            rm -rf -- "$left"
        fi
    done
}

# --- the end ---------------------------------------------------------------------------------------------------------

# Run the command in the background and wait for it: bash then handles a signal at once, not after the command's end.
run() {
    local status=0
    "$@" &
    CHILD=$!
    wait "$CHILD" || status=$?
    CHILD=''
    return "$status"
}

leave() {
    local status=$?
    trap - EXIT
    trap '' HUP INT TERM
    if [ -n "$CHILD" ]; then
        kill "$CHILD" 2>/dev/null || true
        wait "$CHILD" 2>/dev/null || true
    fi
    clear_stage
    [ -z "$SCRATCH" ] || rm -rf -- "$SCRATCH"
    exit "$status"
}

clear_stage() {
    if [ -n "$STAGE" ]; then
        put_back "$STAGE"
        rm -rf -- "$STAGE"
        STAGE=''
    fi
}

report() {
    local found command=rlm
    say "installed $VERSION${SKILLS[*]+ with the skills: ${SKILLS[*]}}"
    [ ${#INSTRUCTIONS[@]} -eq 0 ] || say "instructions (a SKILL.md alone): ${INSTRUCTIONS[*]}"
    [ ${#WITH[@]} -eq 0 ] || say "packages for cells: ${WITH[*]}"
    tell_broken_skills
    found=$(command -v rlm || true)
    if ! [ "$found" -ef "$UV_TOOL_BIN_DIR/rlm" ]; then
        [ -z "$found" ] || say "another rlm comes first on your PATH: $found"
        say "$UV_TOOL_BIN_DIR must come first on your PATH; write into ~/.profile:"
        say "  export PATH=\"$UV_TOOL_BIN_DIR:\$PATH\""
        command=$UV_TOOL_BIN_DIR/rlm
    fi
    [ "$ACTION" = demo ] || say "now run:  $command demo"
    if [ -n "$REFUSED" ] && [ "$ACTION" != demo ]; then
        say "a skill was left out, as said above; the rest is installed"
        exit "$LEFT_OUT"
    fi
}

# Report skills that were built and installed, but cannot be imported.
tell_broken_skills() {
    [ ${#SKILLS[@]} -gt 0 ] || return 0
    "$TOOL/bin/python" -I -m rlm.skill.importing "${SKILLS[@]}" 2>/dev/null | while IFS= read -r reason; do
        say "$reason; agents are not offered it"
    done || true
}

run_demo() {
    exec 9>&-
    exec "$UV_TOOL_BIN_DIR/rlm" demo
}

run_tests() {
    find_uv
    cd -- "$CHECKOUT"
    unset VIRTUAL_ENV
    "$UV" sync --frozen --python "${RLM_TOOL_PYTHON:-$PYTHON_RANGE}"
    exec "$UV" run --no-sync pytest -n 4 --dist worksteal ${PYTEST_ARGS[@]+"${PYTEST_ARGS[@]}"}
}

uninstall() {
    settle_tool_dirs
    take_lock
    fix_killed_install
    links_into "$TOOL" "$UV_TOOL_BIN_DIR" | remove_links
    rm -rf -- "$TOOL" "$DATA/rlm/uv" "$UV_TOOL_DIR/.rlm-install.lock"
    say "removed rlm, its skills and its commands; sessions (.rlm folders) stay where they are"
}

main "$@"
