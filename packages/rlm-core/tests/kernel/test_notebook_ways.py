"""Habits of notebook users either work here, or fail with a line that says why. All of them in one kernel."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from rlm_testkit.found_uv import UV
from rlm_testkit.kernel_bench import KernelBench, OpenKernel

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTML = (
    "<style>td {}</style><table><thead><tr><th></th><th>a &amp; b</th></tr></thead><tr><td>1</td><td> 2\\n3</td></tr>"
    "</table><ul><li>one<li><b>t</b>wo</ul><pre>x\\n  y</pre><script>run()</script><img src=p.png>"
)
EMPTY = re.escape("[no output]")
REFUSED = [
    ("%edit", "%edit opens an editor.*"),
    ("%ed x", "%ed opens an editor.*"),
    ("%pdb on", "%pdb opens a debugger.*"),
    ("%store x", "%store saves nothing here.*"),
    ("%store -r", "%store saves nothing here.*"),
    ("%subshell", "%subshell: .*"),
    ("%connect_info", "%connect_info: .*"),
    ("%qtconsole", "%qtconsole .*"),
]

EXAMPLES = [
    *((code, f"UsageError: {why}\n") for code, why in REFUSED),
    ("%debug", ".*nothing to debug.*|No traceback.*"),
    ("1/0", ".*ZeroDivisionError.*"),
    ("%store x", "UsageError: .*"),
    ("%tb", ".*ZeroDivisionError.*"),
    ("import sys; sys.last_type", "<class 'ZeroDivisionError'>\n|ZeroDivisionError\n"),
    # code that a notebook would write into the next cell
    ("%%writefile mod.py\nprint('ran'); V = 5", "Writing mod.py\n"),
    ("%load mod.py", r"# %load mod.py\nprint\('ran'\); V = 5\n+"),
    ("6 * 7", "42\n"),
    ("%recall", "42\n"),
    ("%rep", "42\n"),
    ("get_ipython().set_next_input('x = 99')", "x = 99\n"),
    # code
    ("%run mod.py", "ran\n"),
    ("V", "5\n"),
    ("%macro again 3-3", "Macro `again` created.*"),
    ("%history -n 1-1", " +1: .*\n"),
    ("%save -f saved.py 1", "The following commands were written to file `saved.py`:.*"),
    ("%notebook out.ipynb", EMPTY),
    ("%timeit -n 2 -r 2 pass", ".* per loop .*"),
    ("%%timeit -n 2 -r 2\npass", ".* per loop .*"),
    ("%time x = 2", "CPU times: .*Wall time: .*"),
    ("%%time\nx = 3", "CPU times: .*Wall time: .*"),
    ("%prun -q x", " \n?|.*function calls.*|" + EMPTY),
    ("%load_ext autoreload\n%autoreload 2", EMPTY),
    ("%pdb off", EMPTY),
    ("%who int", ".*x.*"),
    ("%pinfo len", ".*number of items.*"),
    ("%psearch le*", ".*len\n.*"),
    ("%pycat mod.py", ".*V = 5.*"),
    ("%more mod.py", ".*V = 5.*"),
    ("%page V", "5\n"),
    ("%lsmagic", ".*Available line magics.*"),
    # files and folders
    ("import os; here = os.getcwd()\n%cd /\n%cd -q -\nos.getcwd() == here", "/\nTrue\n"),
    ("%env NEW=1", "env: NEW=1\n"),
    ("!echo $NEW", "1\n"),
    # commands
    ("%sx echo hi", r"\['hi'\]\n"),
    ("%system echo hi", r"\['hi'\]\n"),
    ("!!echo hi", r"\['hi'\]\n"),
    ("%alias say_it echo\n%say_it so", "so\n"),
    ("%%script sh\necho in sh", "in sh\n"),
    ("%%bash --out found\necho it", EMPTY),
    ("found", r"'it\\n'\n"),
    # captures
    ("%%capture kept\n!echo out; echo err >&2\nprint('said')", EMPTY),
    ("kept.stdout, kept.stderr", r"\('out\\nsaid\\n', 'err\\n'\)\n"),
    ("%%capture kept\n%%bash\necho script; exit 3", r"\[exit code: 3\]\n"),
    ("kept.stdout", r"'script\\n'\n"),
    (
        "from IPython.utils.capture import capture_output\nwith capture_output() as kept:\n    !echo in\nkept.stdout",
        r"'in\\n'\n",
    ),
    (
        "import contextlib, io\nboth = io.StringIO()\nwith contextlib.redirect_stdout(both), "
        "contextlib.redirect_stderr(both):\n    !echo 1; echo 2 >&2; echo 3\nboth.getvalue()",
        r"'1\\n2\\n3\\n'\n",
    ),
    # output that is shown and cleared
    ("from IPython.display import clear_output, display, HTML, JSON, Javascript, SVG, Image", EMPTY),
    ("for i in range(100):\n    clear_output(wait=True); print('step', i)", "step 99\n"),
    ("print('first'); clear_output(); print('then')", "then\n"),
    ("print('gone'); clear_output()", EMPTY),
    # widgets: their state at the end
    ("from tqdm.notebook import tqdm\nfor i in tqdm(range(50)): pass", "100%.* 50/50 .*"),
    ("for i in tqdm(range(2), desc='gone', leave=False): pass\nprint('end')", "end\n"),
    ("for i in tqdm(range(3)): assert i == 0", ".* 1/3 .*"),
    ("import gc\nfor i in tqdm(range(4)): pass\n_ = gc.collect()", "100%.* 4/4 .*"),
    ("from ipywidgets import HBox, IntSlider, interact\nIntSlider(value=3)", r"IntSlider\(value=3\)\n"),
    ("slider = IntSlider()\ndisplay(HBox([slider]))\nslider.value = 7", r"HBox\(.*IntSlider\(value=7\).*\)\n"),
    ("display(slider); clear_output(); print('alone')", "alone\n"),
    (
        "class Odd(IntSlider):\n    def __repr__(self): return 'odd' if self.value == 0 else 1 / 0\n"
        "odd = Odd()\ndisplay(odd)\nodd.value = 1",
        "<Odd>\n",
    ),
    ("print('stays'); clear_output(wait=True)", "stays\n"),
    ("h = display('a', display_id=True); h.update('b'); clear_output(); print('c')", "c\n"),
    ("print('gone')\n%clear\nprint('there')", "there\n"),
    # objects without an informative text
    (f"HTML('{HTML}')", re.escape("| a & b\n1 | 2 3\n- one\n- two\nx\n  y\n[img: p.png]\n")),
    ("class H:\n    def _repr_html_(self): return '<p>hi</p>'\nH()", "hi\n"),
    (
        "def local():\n    class M:\n        def _repr_markdown_(self): return '**m**'\n    return M()\nlocal()",
        re.escape("**m**\n"),
    ),
    ("class L:\n    def _repr_latex_(self): return '$x$'\nL()", re.escape("$x$\n")),
    ("class J:\n    def _repr_json_(self): return {'a': 1}\nJ()", re.escape('{\n "a": 1\n}\n')),
    ("JSON([1])", re.escape("[\n 1\n]\n")),
    ("class T:\n    def _repr_html_(self): return '<p>'\n    def __repr__(self): return '<T of 3>'\nT()", "<T of 3>\n"),
    ("Javascript('run()')", r"\[JavaScript, which no browser runs here\]\n"),
    ("%%html\n<i>x</i>", "x\n"),
    ("%%markdown\n*x*", re.escape("*x*\n")),
    ("%%svg\n<svg xmlns='http://www.w3.org/2000/svg'/>", r"\[picture: .*\.svg\]\n"),
    # windows
    ("%gui", EMPTY),
    ("%gui qt", "%gui qt does nothing: .*"),
    # errors
    ("x = " + "+".join(["1"] * 20_000), ".*Error.* is nested too deeply.*"),
    ("x = " + "-" * 20_000 + "1", ".*Error.* is nested too deeply.*|.*SyntaxError.*"),
    ("x = 'a" + "b" * 50_000, r".{1,3000}\[… [\d,]+ characters left out …\].*SyntaxError.*\[the full traceback: .*"),
    ("V", "5\n"),
]


async def test_the_ways_of_notebooks(shared: KernelBench) -> None:
    """In order: some of them use the results of earlier ones."""
    differing = []
    for code, seen in EXAMPLES:
        text = await shared.run(code)
        if not re.fullmatch(seen, text, re.DOTALL) or len(text) > 6_000:
            differing.append((code[:200], seen, text[:2_000]))
    assert not differing


@pytest.mark.parametrize(
    "code",
    [
        "def rec(n): return rec(n + 1)\nrec(0)",
        "class A:\n    @property\n    def x(self): return self.x\nA().x",
        "def a(n): return b(n)\ndef b(n): return a(n)\na(0)",
        "import sys\nsys.setrecursionlimit(60_000)\ndef deep(n): return deep(n - 1) if n else 1 / 0\ndeep(20_000)",
    ],
)
async def test_a_traceback_of_a_deep_stack_is_short_and_quick(shared: KernelBench, code: str) -> None:
    text = await shared.run(code)
    await shared.run("import sys; sys.setrecursionlimit(3_000)")
    assert "RecursionError" in text or "ZeroDivisionError" in text
    assert "[... skipping similar frames: " in text
    assert len(text) < 3_000


async def test_a_long_traceback_is_head_and_tail_and_the_whole_is_in_a_file(shared: KernelBench) -> None:
    text = await shared.run(
        "error = None\nfor n in range(60):\n    try:\n        raise ValueError(n) from error\n"
        "    except ValueError as caught: error = caught\nraise RuntimeError('last') from error"
    )
    found = re.search(
        r"\[… (\d+) lines left out …\]\n.*RuntimeError: last\n.*\[the full traceback: (.*)\]", text, re.DOTALL
    )
    assert found, text
    assert text.count("\n") < 210
    assert Path(found[2]).read_text().count("\n") > 200 + int(found[1]) - 5


async def test_cleared_output_leaves_no_pictures_and_earlier_output_stays(shared: KernelBench) -> None:
    await shared.run(
        "import threading, sys\ngo = threading.Event()\n"
        "late = threading.Thread(target=lambda: (go.wait(), sys.stdout.write('late\\n')))\nlate.start()"
    )
    await shared.run("asyncio.get_running_loop  # nothing\nasyncio.create_task(asyncio.to_thread(go.set)); None")
    svg = "SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')"
    result = await shared.execute(
        f"from IPython.display import SVG, display, clear_output\nlate.join()\n"
        f"for _ in range(3):\n    clear_output(wait=True); display({svg})\nprint('end')"
    )
    (picture,) = result.pictures
    assert picture.exists()
    assert result.text.endswith(f"[picture: {picture}]\nend\n")
    assert result.text.count("[picture: ") == 1
    handle = f"h = display({svg}, display_id=True)\nfor _ in range(3): h.update({svg})"
    assert len((await shared.execute(handle)).pictures) == 2


# ---- packages


async def test_packages_from_pip_are_there_now_and_in_later_kernels_and_shadow_nothing(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert bench.spec
        for name, module in (("rlmtestpackage", "rlmtestpackage"), ("ipython", "IPython")):
            wheel(bench.spec.run_dir, name, module)
        pip = f"%pip install --user --no-index --find-links {bench.spec.run_dir}"
        reported = await bench.run(f"{pip} rlmtestpackage")
        folder = f"{bench.spec.env['HOME']}/.local/share/rlm/packages/{sys.version_info[0]}.{sys.version_info[1]}"
        assert f"[for rlm's kernels, this one and later ones, in {folder}]" in reported
        assert await bench.run("import rlmtestpackage; rlmtestpackage.V") == "7\n"
        assert "[exit code: " in await bench.run(f"{pip} ipython==1.0")
        assert "1\n" == (await bench.run("%pip list 2>/dev/null | grep -c rlmtest"))
        reported = await bench.run("%pip show ipython rlmtestpackage")
        assert ["Name: ipython", "Name: rlmtestpackage"] == re.findall(
            "(?m)^Name: .*", reported.replace("IPython", "ipython")
        )
        assert "ound" not in reported
        assert "exit code" not in reported
        reported = await bench.run("%pip -q show rlmtestpackage no-such-package  # it's not")
        assert reported.endswith("Package(s) not found: no-such-package\n[exit code: 1]\n")
        await bench.run(
            f"import os; os.environ['PATH'] += {os.pathsep + str(UV.parent)!r}"
        )  # `uv pip` has the subcommand tree; pip does not
        assert "ipykernel" in await bench.run("%pip tree")
        assert sys.prefix in await bench.run("%pip check")
    async with open_kernel() as bench:
        assert await bench.run("import rlmtestpackage; rlmtestpackage.V") == "7\n"
        assert await bench.run("import IPython; IPython.__version__ == '1.0'") == "False\n"
        assert await bench.run("!echo pip install") == "pip install\n"
        assert "%pip install" in await bench.run("!pip install --no-index no-such-package")
        assert "rlmtestpackage" in await bench.run("%pip uninstall rlmtestpackage")


def wheel(folder: Path, name: str, module: str) -> None:
    version = "1.0"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        info = f"{name}-{version}.dist-info"
        file.writestr(f"{module}/__init__.py", f"V = 7\n__version__ = '{version}'\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"{module}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


# ---- the environment of commands


async def test_variables_for_the_kernel_do_not_reach_its_commands(open_kernel: OpenKernel, folder: Path) -> None:
    """A fake matplotlib, because only the moment in which its backend is set matters."""
    library = folder / "library"
    (library / "matplotlib").mkdir(parents=True)
    (library / "matplotlib" / "__init__.py").write_text("rcParams = {'backend': 'agg'}\n")
    inline = "module://matplotlib_inline.backend_inline"
    of_jupyter = {"JPY_PARENT_PID": "1", "PYDEVD_USE_FRAME_EVAL": "NO", "FORCE_COLOR": "1", "MPLBACKEND": inline}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(library)}
    async with open_kernel(env=environment | of_jupyter) as bench:
        seen = await bench.run("import matplotlib, os; os.system('env'); matplotlib.rcParams['backend']")
        assert seen.endswith(f"'{inline}'\n")
        assert not re.search(r"MPL|JPY|PYDEVD|COLOR=", seen)
        spawned = "import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', {!r}]))"
        assert await bench.run(spawned.format("import matplotlib as m; print(m.rcParams)")) == (
            "b\"{'backend': 'agg'}\\n\"\n"
        )
    async with open_kernel(env=environment | {"MPLBACKEND": "svg"}) as bench:
        assert await bench.run("import matplotlib; matplotlib.rcParams['backend']\n") == "'agg'\n"
        assert await bench.run("!echo $MPLBACKEND") == "svg\n"


GIT = "git -c user.name=n -c user.email=e"
EDITORS = [
    (f"{GIT} commit --allow-empty", "No editor is available"),
    (f"{GIT} commit --amend --allow-empty", "No editor is available"),
    (f"{GIT} rebase -i --root", "No editor is available"),
    (f"{GIT} tag -a v1", "No editor is available"),
    ("git config -e", "No editor is available"),
    ("$EDITOR file", "No editor is available"),
    ("vim --not-a-term file", "[exit code: 1]"),
    ("man ls | head -1", "LS(1)"),
    ("less file; more <file", "x\nx\n"),
    ("python3 -c 'open(\"/dev/tty\")'", "No such device or address"),
    (f"{GIT} commit --allow-empty -qm given", "[no output]"),
    (f"GIT_EDITOR=true {GIT} commit --allow-empty --amend -q", "[no output]"),
    (f"{GIT} -c core.editor=true commit --allow-empty --amend -q", "[no output]"),
    (f"VISUAL='echo by visual >' {GIT} commit --allow-empty -q; git log -1 --format=%s", "by visual"),
    (f"EDITOR='echo \"by editor\" >' {GIT} commit --allow-empty -q; git log -1 --format=%s", "by editor"),
    (f"GIT_EDITOR='sed -i s/pick/drop/' {GIT} rebase -q -i HEAD~1; git log -1 --format=%s", "by visual"),
]


async def test_programs_that_wait_for_a_person_fail_at_once_and_a_configured_editor_is_used(
    editor_kernel: KernelBench,
) -> None:
    differing = []
    for command, seen in EDITORS:
        text = await editor_kernel.run(f"!{command}")
        if seen not in text or "timed out" in text:
            differing.append((command, seen, text))
    assert not differing
    await editor_kernel.run("import os; os.environ['EDITOR'] = 'echo chosen >'")
    assert await editor_kernel.run(f"!{GIT} commit --allow-empty -q; git log -1 --format=%s") == "chosen\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def editor_kernel(open_kernel: OpenKernel, folder: Path) -> AsyncIterator[KernelBench]:
    """A kernel in a repository, whose user has configured editors in every possible place."""
    home, work = folder / "of-editors", folder / "repository"
    home.mkdir()
    work.mkdir()
    (home / ".gitconfig").write_text("[core]\neditor = vim\n[sequence]\neditor = vim\n[init]\ndefaultBranch = main\n")
    names = ("EDITOR", "VISUAL", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "SSH_ASKPASS")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)} | dict.fromkeys(names, "vim")
    async with open_kernel(env=environment, cwd=work) as bench:
        await bench.run(f"!git init -q . && {GIT} commit -q --allow-empty -m one && echo x > file")
        yield bench
