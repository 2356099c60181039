"""The look of report.html and its two building blocks, tables and trees; every value is escaped here."""

from html import escape
from typing import Any

from study.record import number
from study.reporting.wording import format_value


def text(value: Any) -> str:
    """Returns any value as HTML text, also fit for an attribute."""
    return escape(str(value))


def grid(head: list[str], rows: list[list[Any]]) -> str:
    """Returns a table that scrolls sideways on a narrow screen; every cell is escaped."""
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class='scroll' tabindex='0'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def tree(value: Any, depth: int = 0) -> str:
    """Returns nested dicts and lists as nested lists of terms, escaped; long lists are cut with a count."""
    if isinstance(value, dict):
        if not value:
            return "none" if depth else ""
        if depth and len(value) <= 8 and not any(isinstance(item, dict | list) for item in value.values()):
            return ", ".join(f"{text(key)} {tree(item, depth + 1)}" for key, item in value.items())
        terms = "".join(
            f"<dt>{text(str(k).replace('_', ' '))}</dt><dd>{tree(v, depth + 1)}</dd>" for k, v in value.items()
        )
        return f"<dl>{terms}</dl>"
    if isinstance(value, list | tuple):
        shown = [tree(item, depth + 1) for item in value[:20]]
        more = f"… and {len(value) - 20} more" if len(value) > 20 else ""
        if any(isinstance(item, dict | list) for item in value):
            return f"<ul>{''.join(f'<li>{item}</li>' for item in [*shown, more] if item)}</ul>"
        return ", ".join([*shown, more] if more else shown) or "none"
    decimal = number(value)
    return text(f"{decimal:.6g}" if isinstance(value, float) and decimal is not None else format_value(value))


CSS = """
:root{--ink:#1a1a1a;--quiet:#5c5c5c;--line:#dcdcdc;--ground:#fff;--raised:#f5f5f3}
@media(prefers-color-scheme:dark){:root{--ink:#ececec;--quiet:#a8a8a8;--line:#3c3c3c;--ground:#161616;--raised:#222}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:1rem 0 .2rem}
h2{font-size:1.2rem;margin:2.4rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
.quiet,dt{color:var(--quiet);font-size:.88rem}
.lead{font-size:1.3rem;margin:.4rem 0}
code{overflow-wrap:anywhere}
.banner{background:#b03a00;color:#fff;padding:.7rem 1rem;border-radius:6px;margin:0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.7rem;margin:1rem 0}
.card{background:var(--raised);border-radius:6px;padding:.7rem .9rem;display:flex;flex-direction:column}
.card b{font-size:1.25rem}
.card span{color:var(--quiet);font-size:.88rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td{white-space:nowrap}
td:nth-child(2){white-space:normal;min-width:4.5rem}
th{font-weight:600;min-width:3.5rem;vertical-align:bottom}
dl{display:grid;grid-template-columns:minmax(6rem,13rem) 1fr;gap:.25rem 1rem;margin:.4rem 0}
dd{margin:0;min-width:0;overflow-wrap:anywhere}
dd dl{grid-template-columns:minmax(4rem,9rem) 1fr;margin:0}
ul{margin:0;padding-left:1.1rem}
summary{cursor:pointer;padding:.3rem 0}
select{font:inherit;max-width:100%;background:var(--raised);color:var(--ink);border:1px solid var(--line);padding:.2rem}
h4{font-size:.95rem;margin:1.2rem 0 .2rem}
#detail{margin-bottom:1.5rem;border:1px solid var(--line);border-radius:6px;padding:.2rem 1rem 1rem}
#detail:empty{display:none}
.pair{display:flex;flex-wrap:wrap;gap:.5rem 2rem}
.matrix table{font-size:.75rem;border-collapse:separate;border-spacing:1px}
.matrix th,.matrix td{border:0;padding:.25rem .1rem;min-width:2.2rem;text-align:center}
.matrix p{margin:.2rem 0}
.bars{display:grid;grid-template-columns:6rem minmax(4rem,18rem) 4rem;gap:.2rem .6rem;align-items:center}
.bars,.part p{font-size:.88rem}
.track{background:var(--raised);height:.8rem;border-radius:3px;overflow:hidden}
.track i{display:block;height:100%;background:#0072b2}
.value{font-variant-numeric:tabular-nums;white-space:nowrap}
img{display:block;max-width:100%;width:40rem;height:auto;background:#fff;border-radius:6px;margin:1rem 0}
@media(max-width:600px){dl,dd dl{grid-template-columns:1fr;gap:0}dd{margin:0 0 .5rem}}
"""
