"""Text of others, shown to a person."""

import pytest

from hsrv.common.visible import visible, visible_block


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("/items/7 Zoë 日本 👩‍🚀 C:\\new", "/items/7 Zoë 日本 👩‍🚀 C:\\new"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x1b]52;c;cm0gLXJm\x1b\\", "\\x1b]52;c;cm0gLXJm\\x1b\\"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J\x90\x9c", "\\x9b2J\\x90\\x9c"),
        ("a\nb\r\x0b\x0c\x1c\x85c\u2028\u2029", "a\\nb\\r\\x0b\\x0c\\x1c\\x85c\\u2028\\u2029"),
        ("a\tb\x00\x08\x7f", "a\\tb\\x00\\x08\\x7f"),
        ("\u202egnp.exe\u2066\u200f\u061c", "\\u202egnp.exe\\u2066\\u200f\\u061c"),
        ("\udce9", "\\udce9"),
    ],
)
def test_what_would_act_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown, "more than once is no more than once"


def test_no_character_of_all_reaches_a_terminal_as_a_command() -> None:
    control = {chr(code) for code in [*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029]}
    everything = "".join(map(chr, range(0x110000)))
    assert not control & set(visible(everything))
    assert not (control - {"\n"}) & set(visible_block(everything))
    visible(everything).encode()


def test_a_block_keeps_its_lines() -> None:
    assert visible_block("Traceback:\n\tFile\n  x\x1b[2J\r\n\n") == "Traceback:\n    File\n  x\\x1b[2J\\r"
    assert visible_block("a\nb", indent="  ") == "  a\n  b"
