"""``medseg VERB key=value ...``: answers help at once and reports bad input in one line each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from medseg import __version__
from medseg.errors import UserError, explained


class Words:
    """The command line, taken apart. (No dataclass: importing those would take half of the time of help.)"""

    def __init__(self) -> None:
        self.verb: str | None = None
        self.subjects: list[str] = []
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
            while rest and not rest[0].startswith("-") and "=" not in rest[0]:
                words.subjects.append(rest.pop(0))
        else:
            words.overrides.append(word)
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Returns:
        0, or 1 where the verb found faults, 2 for bad input, 75 where a run was asked to stop and can go
        on, 130 when interrupted.
    """
    try:
        return _main(read(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        print(told, file=sys.stderr)
        return 2


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
    """The words behind the verb, without its subject where it takes one, or its subjects."""
    return [*words.subjects[len(_subjects(words)) :], *words.overrides]


def _subjects(words: Words) -> list[str]:
    """The bare words right after the verb that it takes."""
    from medseg.config.verbs import VERBS

    verb = VERBS[words.verb] if words.verb else None
    if verb is None or verb.subject is None:
        return []
    return words.subjects if verb.many else words.subjects[:1]


def _overrides(words: Words) -> list[str]:
    """The overrides; a verb's subject sets the key that it stands for."""
    from medseg.config.verbs import VERBS

    given = _subjects(words)
    if words.verb and given:
        verb = VERBS[words.verb]
        value = "[" + ",".join(map(_quoted, given)) + "]" if verb.many else given[0]
        given = [f"{verb.subject}={value}"]
    return [*given, *_after_subject(words)]


def _quoted(text: str) -> str:
    """A text that the grammar of overrides takes as it stands."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


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
