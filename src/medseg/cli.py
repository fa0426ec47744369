"""``medseg VERB key=value ...``: answers help at once and reports bad input in one line each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from medseg import __version__
from medseg.errors import UserError


class Words:
    """The command line, taken apart. (No dataclass: importing those would take half of the time of help.)"""

    def __init__(self) -> None:
        self.verb: str | None = None
        self.subject: str | None = None
        self.overrides: list[str] = []
        self.config_dirs: list[str] = []
        self.allowed: list[str] = []
        self.multirun = self.show = self.help = self.version = False


_SWITCHES = {
    "-m": "multirun",
    "--multirun": "multirun",
    "--print": "show",
    "--cfg": "show",
    "-h": "help",
    "--help": "help",
    "--version": "version",
}
_WITH_VALUE = {"--config-dir": "config_dirs", "-cd": "config_dirs", "--allow": "allowed"}


def read(arguments: Sequence[str]) -> Words:
    """Takes the command line apart.

    Raises:
        UserError: an unknown flag, or one that lacks its value.
    """
    words = Words()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if word in _SWITCHES:
            setattr(words, _SWITCHES[word], True)
        elif flag in _WITH_VALUE:
            if not equals and not rest:
                raise UserError(flag, "needs a value", f"write {flag} VALUE")
            getattr(words, _WITH_VALUE[flag]).append(value if equals else rest.pop(0))
        elif word.startswith("-"):
            raise UserError(word, "is not a flag of medseg", "see medseg --help")
        elif words.verb is None:
            words.verb = word
            if rest and not rest[0].startswith("-") and "=" not in rest[0]:
                words.subject = rest.pop(0)
        else:
            words.overrides.append(word)
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Returns:
        0, or 1 where the verb found faults, 2 for bad input, 130 when interrupted.
    """
    try:
        return _main(read(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _main(words: Words) -> int:
    if words.version:
        print(f"medseg {__version__}")
        return 0
    if words.verb is None or words.help:
        print(_help(words))
        return 0 if words.help else 2
    _known(words.verb)
    _admit(words.allowed)
    from medseg.config.run import run

    return run(words.verb, _overrides(words), words.config_dirs, multirun=words.multirun, show=words.show)


def _help(words: Words) -> str:
    from medseg.config.help import group_help, overview, verb_help

    if words.verb is None:
        return overview()
    _known(words.verb)
    groups = [word.partition("=")[0] for word in _after_subject(words)]
    return "\n".join(map(group_help, groups)) if groups else verb_help(words.verb)


def _after_subject(words: Words) -> list[str]:
    """The words behind the verb, without its subject where it takes one."""
    from medseg.config.verbs import VERBS

    takes = words.verb is not None and VERBS[words.verb].subject
    return words.overrides if words.subject is None or takes else [words.subject, *words.overrides]


def _overrides(words: Words) -> list[str]:
    """The overrides; a verb's subject sets the key that it stands for."""
    from medseg.config.verbs import VERBS

    key = VERBS[words.verb].subject if words.verb else None
    given = [f"{key}={words.subject}"] if key and words.subject is not None else []
    return [*given, *_after_subject(words)]


def _known(verb: str) -> None:
    from medseg.config.verbs import VERBS

    if verb not in VERBS:
        import difflib

        guess = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"did you mean {guess[0]!r}?" if guess else f"choose one of {', '.join(VERBS)}"
        raise UserError(verb, "is not a verb of medseg", hint)


def _admit(packages: Sequence[str]) -> None:
    """Admits the user's packages, here and, through the environment, in the jobs of a sweep."""
    from medseg.targets import allow

    for package in packages:
        allow(package)
    known = filter(None, os.environ.get("MEDSEG_ALLOW", "").split(","))
    if packages:
        os.environ["MEDSEG_ALLOW"] = ",".join(dict.fromkeys([*known, *packages]))


if __name__ == "__main__":
    sys.exit(main())
