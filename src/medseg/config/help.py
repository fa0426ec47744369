"""The help texts, made from the configuration's own comments."""

from __future__ import annotations

import os
import textwrap

from medseg.config.folders import conf_folder, options, read_root, summary_of
from medseg.config.verbs import VERBS
from medseg.errors import UserError

_FLAGS = """\
flags:
  -m, --multirun      one run per combination of comma-separated values
  --print, --cfg      print the checked configuration and stop
  --config-dir DIR    a folder with configuration groups of your own
  --allow PKG         admit the classes of your own package as parts; repeatable (also MEDSEG_ALLOW)
  -h, --help [GROUP]  this text, or the choices of one group
"""


def overview() -> str:
    """What ``medseg --help`` says."""
    rows = "\n".join(f"  {name:<12}{(*read_root(name).summary, '')[0]}" for name in VERBS)
    return (
        "usage: medseg VERB [key=value ...] [group=choice ...]\n\n"
        "Medical image segmentation, from raw scans to a deployed model.\n\n"
        f"verbs:\n{rows}\n\n{_FLAGS}  --version           print the version\n\n"
        "examples:\n"
        "  medseg train data.root=FOLDER\n"
        "  medseg train -m network=unet,residual_unet seed=0,1\n"
        "  medseg train --help network\n"
    )


def verb_help(verb: str) -> str:
    """What ``medseg VERB --help`` says: the verb's keys and groups with their choices."""
    root = read_root(verb)
    width = _width()
    subject = VERBS[verb].subject
    shown = "FOLDER ..." if VERBS[verb].many else (subject or "").upper()
    words = f"{verb} {shown}" if subject else verb
    lines = [f"usage: medseg {words} [key=value ...] [group=choice ...]", "", *root.summary, ""]
    if root.keys:
        lines += [
            "keys:",
            *(_row(k.name, f"{k.comment} [{k.default}]".strip(), width) for k in root.keys),
            "",
        ]
    if root.defaults:
        lines += ["groups (* is the default; every key inside is GROUP.KEY=VALUE):"]
        lines += [_row(g, _choices(g, default), width) for g, default in root.defaults.items()]
        lines += [""]
    return "\n".join(lines) + "\n" + _FLAGS


def group_help(group: str) -> str:
    """What ``medseg VERB --help GROUP`` says: each choice with its summary and its file's text."""
    choices = options(group)
    if not choices:
        raise UserError("--help", f"there is no group {group!r}", "see medseg train --help")
    rows = [f"  {group}={name:<20} {summary_of(group, name)}" for name in choices]
    files = [(conf_folder() / group / f"{name}.yaml").read_text(encoding="utf-8") for name in choices]
    texts = [
        f"{group}={name}\n{textwrap.indent(text, '  ')}" for name, text in zip(choices, files, strict=True)
    ]
    return "\n".join([*rows, "", *texts])


def _width() -> int:
    try:
        return max(60, min(os.get_terminal_size().columns, 110))
    except OSError:  # not a terminal
        return 100


def _choices(group: str, default: str) -> str:
    return ", ".join(f"{name}*" if name == default else name for name in options(group)) or "none yet"


def _row(name: str, text: str, width: int) -> str:
    lead = f"  {name:<16}"
    return textwrap.fill(lead + text, width, subsequent_indent=" " * len(lead), break_long_words=False)
