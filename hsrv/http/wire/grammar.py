"""The few rules of RFC 9110 that both requests and responses are checked by. Pure data."""

import re
from typing import Final

TCHAR: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
"""The inside of a regular expression's class: the characters of a token (RFC 9110 section 5.6.2)."""

TOKEN: Final = rb"[" + TCHAR + rb"]++"

VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
"""A field value: no control character but the tab (RFC 9110 section 5.5)."""

VALUE_BYTES: Final = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])

is_token: Final = re.compile(TOKEN).fullmatch
is_field_line: Final = re.compile(TOKEN + rb":" + VALUE).fullmatch
"""A field line without its CRLF; nothing stands between name and colon (RFC 9112 section 5.1)."""
