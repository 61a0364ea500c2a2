"""Tokens that would run, hide, turn the line around, or are half a character."""

HOSTILE = [
    "<script>document.title='run'</script>", "<img src=x onerror=\"document.title='run'\">",
    "'\"><svg/onload=alert(1)>",
    "</script>", "javascript:alert(1)", "&lt;b&gt;", "\u202egnirts", "\u2066", "\x00", "\x1b[31m", "\n", "\t", "\u2028",
    "\u200b", " ", "", '"', "'", "`${x}`", "\\u003c", "]]>", "שלום", "日本",
    "caf\u00e9".encode()[:4], "caf\u00e9".encode()[4:], b"\xe2", b"\x82\xac", b"\xff",
]  # fmt: skip
