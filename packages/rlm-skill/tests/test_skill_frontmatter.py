from pathlib import Path

import pytest
from rlm.skill import FrontMatter, FrontMatterError, read_front_matter


def read(front: str) -> FrontMatter:
    return read_front_matter(f"---\n{front}\n---\n# Body\nname: not this\n")


def test_every_field_of_the_specification_is_read() -> None:
    front = read(
        "name: pdf\ndescription: Reads PDF files.\nlicense: Apache-2.0\ncompatibility: Needs poppler\n"
        'metadata:\n  author: "us: we"\n  version: 1.0\nallowed-tools: Bash(git add:*) Read'
    )
    assert (front.name, front.description, front.license) == ("pdf", "Reads PDF files.", "Apache-2.0")
    assert front.compatibility == "Needs poppler"
    assert dict(front.metadata) == {"author": "us: we", "version": "1.0"}
    assert front.allowed_tools == ("Bash(git add:*)", "Read")


def test_missing_fields_are_empty_and_unknown_ones_are_passed_over() -> None:
    front = read("name: pdf\nhooks:\n  - a: b\n    description: not this\n")
    assert (front.name, front.description, dict(front.metadata), front.allowed_tools) == ("pdf", "", {}, ())


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("description: plain words", "plain words"),
        ("description: plain # comment", "plain"),
        ("description: a C# reader, issue #5", "a C# reader, issue"),
        ("description: Use when: asked", "Use when: asked"),
        ("description: 'it''s # quoted'", "it's # quoted"),
        ('description: "a \\"b\\" \\u00e9\\n\\x41"', 'a "b" é\nA'),
        ('description: "\\UFFFFFFFF"', "\\UFFFFFFFF"),
        ('description: "over two\n  lines"', "over two lines"),
        ("description: over two\n  lines", "over two lines"),
        ("description:\n  on the next\n  lines", "on the next lines"),
        ("description: >\n  folded\n  words\n\n  and more", "folded words\n\nand more"),
        ("description: >-\n  folded\n  words", "folded words"),
        ("description: |\n  kept\n    deeper\n  lines\nlicense: MIT", "kept\n  deeper\nlines"),
        ("# comment\n\n'description' : spaced", "spaced"),
        ('description: "never closed', '"never closed'),
        ("description:", ""),
        ("description: # only a comment", ""),
    ],
)
def test_scalars_are_read_as_yaml_has_them(yaml: str, expected: str) -> None:
    assert read(yaml).description == expected


def test_the_summary_is_one_line() -> None:
    assert read("description: |\n  one\n  two").summary == "one two"


@pytest.mark.parametrize(
    "tools", ["Bash Read", "Bash, Read", "[Bash, Read]", '["Bash", "Read"]', "\n  - Bash\n  - Read"]
)
def test_allowed_tools_may_be_words_or_a_list(tools: str) -> None:
    assert read(f"allowed-tools: {tools}").allowed_tools == ("Bash", "Read")


def test_metadata_may_be_in_braces() -> None:
    assert dict(read("metadata: {author: us, version: '2'}").metadata) == {"author": "us", "version": "2"}


def test_a_byte_order_mark_and_crlf_are_fine() -> None:
    assert read_front_matter("\ufeff---\r\nname: pdf\r\ndescription: x\r\n---\r\n").description == "x"


@pytest.mark.parametrize("text", ["", "# Title\n", "---\nname: pdf\n", "text\n---\nname: x\n---\n"])
def test_without_both_fences_there_is_no_front_matter(text: str) -> None:
    with pytest.raises(FrontMatterError, match="---"):
        read_front_matter(text)


def test_the_template_has_front_matter() -> None:
    template = Path(__file__).parents[3] / "skills-template" / "SKILL.md"
    assert read_front_matter(template.read_text()).name == "myskill"
