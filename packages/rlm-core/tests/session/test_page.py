"""The exported page in a real browser: it loads nothing, shows everything, and runs no code from its content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rlm.core.events import Replied
from rlm.present.export import Format, export
from rlm.sessions import Session
from rlm.sessions.store import SessionTree, read_tree
from rlm_testkit.chromium import Page, installed, open_page
from rlm_testkit.hostile import CORPUS
from rlm_testkit.journals import answer, cell, opening, reply
from rlm_testkit.sample import hostile_sample, sample

pytestmark = pytest.mark.xdist_group("browser")  # two cores are enough for one browser at a time only


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    if installed() is None and "CI" not in os.environ:
        pytest.skip("needs Chromium: apt-get install chromium")
    with open_page() as page:
        page.resize(1280, 900)
        yield page


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> SessionTree:
    return read_tree(sample(tmp_path_factory.mktemp("page") / "home"))


def show(browser: Page, folder: Path, tree: SessionTree, fragment: str = "") -> None:
    file = folder / "page.html"
    file.write_text("".join(export(tree, Format.HTML)), encoding="utf-8")
    browser.open("about:blank")
    browser.open(f"{file.as_uri()}{fragment and f'#{fragment}'}")


def texts(browser: Page, selector: str) -> list[str]:
    found = browser.eval(f"[...document.querySelectorAll({selector!r})].map(each => each.textContent)")
    assert isinstance(found, list)
    return found


def test_it_loads_without_console_output_and_without_a_request(
    browser: Page, tmp_path: Path, tree: SessionTree
) -> None:
    show(browser, tmp_path, tree)
    assert browser.messages == []
    assert browser.requests == [(tmp_path / "page.html").as_uri()]
    assert browser.eval("document.title") == "Is the slope in the paper right? · rlm"
    assert texts(browser, "h1") == ["Is the slope in the paper right?"]
    assert browser.eval("[...document.images].every(each => each.complete && each.naturalWidth === 320)")
    assert browser.eval("document.images.length") == 2


def test_the_call_tree_and_the_timeline_show_every_agent(browser: Page, tmp_path: Path, tree: SessionTree) -> None:
    show(browser, tmp_path, tree)
    assert len(texts(browser, ".row .name")) == 5
    assert texts(browser, ".row .name.d2") == ["●Is row 17 twice there?"]
    bars = "[...document.querySelectorAll('.row svg')[{}].querySelectorAll('.s-{}')].length"
    assert [browser.eval(bars.format(0, kind)) for kind in ("model", "tool", "wait")] == [5, 4, 1]
    assert browser.eval("document.querySelectorAll('rect.s-wait').length") == 2  # the root's, and that of one child
    left = "document.querySelectorAll('.row svg')[{}].querySelector('rect').getBoundingClientRect().left"
    assert browser.eval(left.format(2)) > browser.eval(left.format(0))


def test_each_sub_agent_is_shown_in_the_cell_that_called_it_and_unfolds(
    browser: Page, tmp_path: Path, tree: SessionTree
) -> None:
    show(browser, tmp_path, tree)
    inner = tree.children[1].children[0].agent
    nested = f"document.getElementById({inner!r})"
    assert browser.eval(f"{nested}.parentElement.closest('details.agent').id") == tree.children[1].agent
    assert browser.eval(f"{nested}.closest('.cell') !== null")
    assert browser.eval(f"{nested}.checkVisibility()") is False
    browser.eval("document.getElementById('open').click()")
    assert browser.eval(f"{nested}.open && {nested}.checkVisibility()") is True
    browser.eval("document.getElementById('close').click()")
    assert browser.eval("document.querySelectorAll('main details[open]').length") == 0


def test_a_link_to_a_folded_place_unfolds_it(browser: Page, tmp_path: Path, tree: SessionTree) -> None:
    inner = tree.children[1].children[0].agent
    show(browser, tmp_path, tree, inner)
    assert browser.eval(f"document.getElementById({inner!r}).checkVisibility()") is True
    show(browser, tmp_path, tree)
    browser.eval("document.querySelector('.row .name.d2').click()")
    browser.eval("new Promise(requestAnimationFrame)")
    assert browser.eval(f"document.getElementById({inner!r}).checkVisibility()") is True


def test_keys_move_between_turns(browser: Page, tmp_path: Path, tree: SessionTree) -> None:
    show(browser, tmp_path, tree)
    here = "document.activeElement.id"
    places = []
    for key in "jjjk":
        browser.press(key)
        places.append(browser.eval(here))
    assert places == ["root:1", "root:3", "root:5", "root:3"]
    browser.press("o")
    assert browser.eval("document.querySelectorAll('main details:not([open])').length") == 0
    browser.press("c")
    assert browser.eval("document.querySelectorAll('main details[open]').length") == 0


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1280, True)])
def test_it_fits_a_phone_in_light_and_dark(
    browser: Page, tmp_path: Path, tree: SessionTree, width: int, dark: bool
) -> None:
    browser.resize(width, 740, mobile=width < 500, dark=dark)
    try:
        show(browser, tmp_path, tree)
        browser.eval("document.getElementById('open').click()")
        assert browser.eval("document.documentElement.scrollWidth") <= width
        brightness = browser.eval("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        assert (int(brightness) < 60) == dark
    finally:
        browser.resize(1280, 900)


def test_no_text_of_a_model_or_program_is_executed(browser: Page, tmp_path: Path) -> None:
    browser.send("Page.addScriptToEvaluateOnNewDocument", source="globalThis.pwned = 0; globalThis.pwn = () => pwned++")
    show(browser, tmp_path, read_tree(hostile_sample(tmp_path / "home")))
    browser.eval("document.getElementById('open').click()")
    browser.eval(
        "for (const each of document.querySelectorAll('*'))"
        " for (const kind of ['click', 'mouseover', 'focus', 'toggle', 'error', 'load'])"
        " if (each.tagName !== 'A') each.dispatchEvent(new Event(kind))"
    )
    assert browser.eval("pwned") == 0
    assert (browser.messages, browser.dialogs) == ([], [])
    assert browser.requests == [(tmp_path / "page.html").as_uri()]
    assert browser.eval("document.scripts.length") == 1  # the page's own
    live = "style, link, meta, base, iframe, object, embed, form, input, textarea, video, math, template, img"
    assert browser.eval(f"document.body.querySelectorAll({live!r}).length") == 0
    assert browser.eval("[...document.links].every(each => each.getAttribute('href').startsWith('#root'))")
    written = "[...document.querySelectorAll('*')].flatMap(each => [...each.attributes].map(one => one.name))"
    assert browser.eval(f"{written}.filter(name => name.startsWith('on') || name === 'style')") == []
    assert browser.eval(f"{len(CORPUS)} <= document.querySelectorAll('.turn').length")


def test_5000_cells_are_all_there_and_only_visible_ones_are_laid_out(browser: Page, tmp_path: Path) -> None:
    with Session.create(Path("home"), model="m", cwd=tmp_path, prompt="long") as session:
        for event in opening("long"):
            session.record(event)
        for number in range(5_000):
            response = reply(None, cell(f"print({number})"))
            for event in (Replied(response), *answer(response.message.calls[0], f"{number}\n")):
                session.record(event)
    show(browser, tmp_path, read_tree(session.folder))
    assert browser.eval("document.querySelectorAll('.cell').length") == 5_000
    hidden = "each => !each.querySelector('.out').checkVisibility({contentVisibilityAuto: true})"
    assert browser.eval(f"[...document.querySelectorAll('.turn')].filter({hidden}).length") > 4_000
    assert browser.messages == []
