"""More than 200 strings that must never reach a terminal or browser unchanged."""

from __future__ import annotations

import random

ESC, CSI, OSC, BEL, ST = "\x1b", "\x1b[", "\x1b]", "\x07", "\x1b\\"

TERMINAL = [
    f"{CSI}31mred{CSI}0m", f"{CSI}2J{CSI}H", f"{CSI}1A{CSI}2Khidden", f"{CSI}?1049h", f"{CSI}?25l", f"{CSI}6n", f"{CSI}c",
    f"{CSI}999;999H", f"{CSI}38;5;196mx", f"{CSI}38:2::1:2:3mx", f"{CSI}8mhidden{CSI}28m", f"{CSI}!p", f"{CSI}5i", f"{CSI}4i",
    f"{CSI}20t", f"{CSI}21t", f"{CSI}8;50;50t", f"{CSI}3g", f"{CSI}>0q", f"{CSI}?2004h", f"{CSI}?1000h", f"{CSI}200~rm -rf /\n{CSI}201~",
    f"{CSI}", f"{CSI}3", f"{CSI}3;", f"{CSI}\x18", f"{CSI}31\x1b[32m", "\x9b31mred", "\x9b2J", "\x9b", "\x9b\x9b\x9b",
    f"{OSC}0;title{BEL}", f"{OSC}2;title{ST}", f"{OSC}8;;https://evil.example{ST}click{OSC}8;;{ST}", f"{OSC}52;c;cm0gLXJmIC8={BEL}",
    f"{OSC}52;c;?{BEL}", f"{OSC}4;1;rgb:00/00/00{ST}", f"{OSC}10;#000000{BEL}", f"{OSC}11;?{BEL}", f"{OSC}50;font{BEL}", f"{OSC}777;notify;a;b{BEL}",
    f"{OSC}9;done{BEL}", f"{OSC}1337;File=inline=1:AAAA{BEL}", f"{OSC}133;A{BEL}", f"{OSC}7;file:///etc{BEL}", f"{OSC}never ends", f"{OSC}ends\nhere{BEL}",
    f"{OSC}0;a\x1bb{BEL}", "\x9d0;title\x9c", "\x9d0;title\x07", "\x9d", f"{ESC}P1$q\"p{ST}", f"{ESC}Pq#0;2;0;0;0#0~~@@vv{ST}", f"{ESC}P+q544e{ST}",
    f"{ESC}P{CSI}31m", "\x90q~\x9c", "\x90", f"{ESC}_Ga=T,f=100;AAAA{ST}", f"{ESC}_x", "\x9fx\x9c", f"{ESC}^pm{ST}", "\x9epm\x9c", f"{ESC}Xsos{ST}", "\x98sos\x9c",
    f"{ESC}c", f"{ESC}7{ESC}8", f"{ESC}(0lqk{ESC}(B", f"{ESC})0", f"{ESC}#8", f"{ESC}%G", f"{ESC}%@", f"{ESC}N{ESC}O", f"{ESC}n{ESC}o", f"{ESC}|", f"{ESC}=", f"{ESC}>",
    f"{ESC}D{ESC}E{ESC}M", f"{ESC}H", f"{ESC}Z", f"{ESC} F", f"{ESC}", f"{ESC}{ESC}", f"{ESC}{ESC}[0m[31m", f"{ESC}\n[31m", f"{ESC}\x00[31m", f"[{ESC}[0m31m",
    "\x00", "\x01\x02\x03", "\x05", "\x07\x07", "abc\x08\x08\x08xyz", "\x0b\x0c", "\x0e\x0f", "safe\revil", "a\r\nb", "\r\r\r", "\x11\x13", "\x1a", "\x1c\x1d\x1e\x1f",
    "\x7f\x7f", "\x80\x81", "\x84\x85", "\x88\x8d", "\x8e\x8f", "\x99\x9a", "".join(map(chr, range(0x20))), "".join(map(chr, range(0x7F, 0xA0))),
    "\u202egnp.exe", "\u202d\u202c", "\u202a\u202b", "if a:\u2066 # \u2069\u2066 return", "\u2067x\u2068", "\u061cx", "user\u202e\u2066// admin\u2069\u2066",
    "\U000e0041\U000e0042", "\U000e0001", "a\U000e007f", "\U0001f3f4\U000e0068\U000e0069\U000e0064\U000e0065\U000e007f", "\ufff9a\ufffab\ufffb",
    "\u2061\u2062\u2063\u2064", "\u206a\u206f", "rm\u200b -rf", "a\u200db", "a\u200cb", "a\u2060b", "\ufeffls", "\u200b", "\ud800", "\udfff", "\ude00\ud83d", "x\ud83dy",
    "line\u2028line\u2029line", "a\tb\nc",
]  # fmt: skip

MARKUP = [
    "<script>pwn()</script>", "</script><script>pwn()</script>", "</style><script>pwn()</script>", "</title><script>pwn()</script>",
    "</pre><img src=x onerror=pwn()>", "<img src=x onerror=pwn()>", "<svg onload=pwn()>", "<svg><script>pwn()</script></svg>", "<body onload=pwn()>",
    "<iframe src=javascript:pwn()></iframe>", "<iframe srcdoc='<script>parent.pwn()</script>'></iframe>", "<a href=javascript:pwn()>x</a>", "<details open ontoggle=pwn()>",
    "<input autofocus onfocus=pwn()>", "<video><source onerror=pwn()></video>", "<math><mi//xlink:href='data:x,<script>pwn()</script>'>", "<object data=javascript:pwn()>",
    "<embed src=javascript:pwn()>", "<form action=javascript:pwn()><button>x", "<base href=https://evil.example/>", "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example/x.css>", "<style>*{background:url(https://evil.example)}</style>", "<!--", "-->", "<![CDATA[", "]]>", "<?php", "<plaintext>",
    "<textarea>", "<noscript><img src=x onerror=pwn()></noscript>", "<template><script>pwn()</script></template>", "\"><script>pwn()</script>", "' onmouseover='pwn()", "` onmouseover=pwn()",
    "{{7*7}}", "${pwn()}", "{% include 'x' %}", "&lt;script&gt;", "&#60;script&#62;pwn()&#60;/script&#62;", "<scr\x00ipt>pwn()</scr\x00ipt>", "<a\x0bhref=javascript:pwn()>",
    "[x](javascript:pwn())", "[x](JaVaScRiPt:pwn())", "[x](https://evil.example)", "![x](https://evil.example/x.png)", "![x](data:image/svg+xml,<svg onload=pwn()>)", "<https://evil.example>",
    "[x]: javascript:pwn()\n[x]", "```html\n<script>pwn()</script>\n```", "```\"><script>pwn()</script>\nx\n```", "| a |\n|---|\n| <script>pwn()</script> |", "# <script>pwn()</script>",
    "`<script>pwn()</script>`", "[<img src=x onerror=pwn()>](x)", "[a](<x\" onmouseover=\"pwn()>)", "![x](x \"onerror=pwn()\")", "data:text/html,<script>pwn()</script>", "javascript:pwn()",
    "\u2028<script>pwn()</script>", "\ud800<script>pwn()</script>", "<\u200bscript>pwn()</script>", "\ufeff<script>pwn()</script>",
]  # fmt: skip

_PIECES = [
    *"ab \n\t[]0;m",
    ESC,
    CSI,
    OSC,
    ST,
    BEL,
    "\x9b",
    "\x9c",
    "\x9d",
    "\x90",
    "\r",
    "\x00",
    "\u202e",
    "\u200b",
    "\ud800",
    "\U000e0041",
    "é",
    "漢",
]


def generated(number: int) -> list[str]:
    """Additional strings, combined from pieces; the same ones each time."""
    dice = random.Random(20)
    return ["".join(dice.choices(_PIECES, k=dice.randint(2, 12))) for _ in range(number)]


CORPUS = [*TERMINAL, *MARKUP, *generated(60)]
