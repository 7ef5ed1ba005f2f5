"""Whether a command gives code to an interpreter, instead of the name of a file that holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import NamedTuple


class _Program(NamedTuple):
    """Programs that take code among their words. A word is held against `code` first, then `valued`, `end`.

    Attributes:
        name: how they are called.
        code: words that say that code comes, or hold it.
        valued: options whose value is the next word, which is then neither an option nor a script.
        end: words behind which all others belong to the script.
    """

    name: re.Pattern[str]
    code: re.Pattern[str]
    valued: re.Pattern[str]
    end: re.Pattern[str]


_SCRIPT = r"(?![-+]).*[./\\].*"
"""A plain word with neither of these could be the value of an option that no table has."""
_FIRST = r"[^-+/].*"
_PACKAGE_OPTIONS = r"-p|--package|-w|--workspace|-C|--dir|--prefix|--cache|--registry|--userconfig"
_NODE_OPTIONS = (
    "-r|-C|-P|-O|--(require|preload|import|(experimental-)?loader|env-file(-if-exists)?|conditions|title|input-type"
    "|experimental-default-type|icu-data-dir|openssl-config|diagnostic-dir|redirect-warnings|disable-warning"
    "|report-(directory|dir|filename|signal)|(cpu|heap)-prof-(dir|name)|trace-event-(categories|file-pattern)"
    "|inspect-port|watch-path|allow-fs-(read|write)|test-(reporter(-destination)?|name-pattern)|tls-(keylog"
    "|cipher-list)|snapshot-blob|build-snapshot-config|localstorage-file|dns-result-order|unhandled-rejections"
    "|tsconfig|project|compiler(-?options)?|cwd|dir|scope-?dir|config|filter|define|loader)"
)

_PROGRAMS = tuple(
    _Program(
        re.compile(rf"(?:{name})$", re.IGNORECASE),
        # Of any program: an address that is itself the code.
        re.compile(rf"(?:{code}|(--?[\w-]+=)?(?i:data):.*)$", re.DOTALL),
        re.compile(rf"(?:{valued})$"),
        re.compile(rf"(?:{end})$", re.DOTALL),
    )
    for name, code, valued, end in (
        # The letter for code may stand in a cluster (`python -Ic`, `bash -lc`) or have its code joined on.
        (
            r"(python|pypy)[\d.]*w?",
            r"-[bBdEhiIOPqRsSuvVx]*c.*",
            r"-[bBdEhiIOPqRsSuvVx]*[WX]|--check-hash-based-pycs",
            rf"-[bBdEhiIOPqRsSuvVx]*m.*|{_SCRIPT}",
        ),
        (
            r"ipython[\d.]*",
            r"-c.*|--[\w.]*(code_to_run|exec_lines)(=.*)?",
            r"--(profile(-dir)?|ipython-dir|config|ext|log-level|logfile|logappend|colors|gui)",
            rf"-m.*|{_SCRIPT}",
        ),
        (
            r"(ba|z|da|k|mk|a|c|tc)?sh|rbash",
            r"-[A-Za-z]*c.*|--command(=.*)?",
            r"[-+][A-Za-z]*[oO]|--rcfile|--init-file",
            _SCRIPT,
        ),
        (
            r"fish",
            r"-[A-Za-z]*[cC].*|--(init-)?command(=.*)?",
            r"-[dDfop]|--(debug(-output)?|features|profile(-startup)?)",
            _SCRIPT,
        ),
        (
            r"node(js)?\d*|bun|tsx|ts-node(-\w+)?",
            r"-[a-z]*[ep].*|--eval(=.*)?|--print(=.*)?",
            _NODE_OPTIONS,
            _SCRIPT,
        ),
        # Behind these letters stands no cluster but a value: `-Isome/where`.
        (r"perl[\d.]*", r"-(?!I)[A-Za-z\d]*[eE].*", r"-[A-Za-z\d]*I", _SCRIPT),
        (
            r"ruby[\d.]*",
            r"-(?![IrCE])[A-Za-z\d]*e.*",
            r"-[A-Za-z\d]*[IrCE]|--(encoding|external-encoding|internal-encoding)",
            _SCRIPT,
        ),
        (r"lua[\d.]*|luajit", r"-e.*", r"-l", _SCRIPT),
        (
            r"julia",
            r"-[A-Za-z]*[eE].*|--(eval|print)(=.*)?",
            r"-[ptJLCH]|--(procs|threads|sysimage|load|cpu-target|home|machine-file)",
            _SCRIPT,
        ),
        (
            r"rscript|osascript|elixir|guile|racket",
            r"-[A-Za-z]*[eEc].*|--(rpc-)?eval(=.*)?",
            r"-([lsLCxrSftuIdGAX]|p[arz])|--(erl|name|sname|cookie|language)",
            _SCRIPT,
        ),
        (
            r"php[\d.]*",
            r"-(?![dczFSt])[A-Za-z]*[rBRE].*|--(run|process-(begin|code|end))(=.*)?",
            r"-[A-Za-z]*[dczFSt]|--(define|php-ini|zend-extension|process-file|server|docroot)",
            rf"-f.*|--file(=.*)?|{_SCRIPT}",
        ),
        # Of awk the first plain word is the code, unless a file is named; gawk takes both.
        (
            r"[gmn]?awk",
            r"[^-].*",
            r"-[FvilW]|--(field-separator|assign|include|load)",
            r"-[fE].*|--(file|exec)(=.*)?",
        ),
        (
            r"[gmn]?awk",
            r"-e.*|--source(=.*)?",
            r"-[fFvilW]|--(file|field-separator|assign|include|load)",
            r"[^-].*",
        ),
        (
            r"powershell|pwsh",
            r"(?i:[-/](c|co|com\w*|cwa|e|ec|en\w*)([:=].*)?)",
            r"(?i:[-/](ex\w*|ep|wo\w*|wd|con\w*|set\w*|ps\w*|cus\w*|v\w*))",
            rf"(?i:[-/]f\w*)|(?!/){_SCRIPT}",
        ),
        (r"cmd", r"/[ckrCKR].*", r"(?!)", r"[^/].*"),
        (r"nu|xonsh|elvish|su|script", r"-[A-Za-z]*c.*|--commands?(=.*)?", r"(?!)", _SCRIPT),
        (r"scala|swift|groovy|bb|erl|nix-shell|gdb", r"--?(e|ex|eval|run|command)(=.*)?", r"(?!)", _SCRIPT),
        # Launchers: what follows their first plain word belongs to the program they launch.
        (
            r"deno",
            r"eval",
            r"-[cL]|--(config|import-map|lock|cert|env-file|location)",
            r"(?!(eval|run)$)[^-].*",
        ),
        (r"npx|pnpx|bunx", r"-c(=.*)?|--call(=.*)?|--shell-mode", _PACKAGE_OPTIONS, _FIRST),
        (
            r"npm|pnpm|yarn",
            r"-c(=.*)?|--call(=.*)?|--shell-mode",
            _PACKAGE_OPTIONS,
            rf"(?!(?:exec|x|dlx)$){_FIRST}",
        ),
        (r"env", r"-\w*S.*|--split-string(=.*)?", r"-[uC]|--(unset|chdir)", _FIRST),
    )
)


def inline_code(words: Sequence[str]) -> str | None:
    """The interpreter that a command gives code to, instead of the name of a file; None if it gives none.

    Interpreters are looked for at every place, because launchers pass commands on (`npx`, `uv run`, `env`,
    `docker run`). Code in a file is no inline code.
    """
    for place, word in enumerate(words):
        called = re.sub(r"\.(exe|cmd|bat)$", "", PurePath(word.replace("\\", "/")).name, flags=re.IGNORECASE)
        for program in _PROGRAMS:
            if program.name.match(called) and _takes_code(program, words[place + 1 :]):
                return called
    return None


def _takes_code(program: _Program, words: Iterable[str]) -> bool:
    rest = iter(words)
    for word in rest:
        if program.code.match(word):
            return True
        if program.valued.match(word):
            if next(rest, "").lower().startswith("data:"):
                return True
        elif program.end.match(word):
            return False
    return False
