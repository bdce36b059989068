"""The training command of a script: its variables, arrays and plain conditions followed, nothing run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from core.config.shell_sums import calculated
from core.config.shell_words import Dialect, Part, Statement, Word, dialect_of, statements

SCRIPT = re.compile(r"(?:^|[/\\])((?:\w+_)?train_network\.py)$")
_OTHER_SCRIPT = re.compile(
    r"(?:^|[/\\])(train_db|fine_tune|sdxl_train|flux_train|sd3_train|lumina_train|anima_train|\w*train_textual_inversion"
    r"|\w*train_control_net\w*)\.py$"
)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_REFERENCE = re.compile(
    r"\$\{(?P<braced>[A-Za-z_]\w*)(?P<array>\[[@*]\])?(?::?[-=](?P<default>[^}]*))?\}|\$(?:env:)?(?P<plain>[A-Za-z_]\w*)"
)
_PERCENT = re.compile(r"%(\w+)%|!(\w+)!")
_WHERE = re.compile(
    r"\$\((?!\().*(?:dirname|pwd|Get-Location).*\)|%~dp0(?!\\)|%~dp0|%cd%|\$PSScriptRoot|\$PWD\b|\$\{PWD\}", re.I | re.S
)
_ARITHMETIC = re.compile(r"\$\(\((.*?)\)\)", re.DOTALL)
_REDIRECT = re.compile(r"[\d&]?>>?(?:&\d|.+)?|<.*")
_DECLARATIONS = frozenset({"export", "local", "declare", "readonly", "typeset", "set"})
_NUMBERS = {"-eq": "==", "-ne": "!=", "-lt": "<", "-gt": ">", "-le": "<=", "-ge": ">="}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a training script."""

    script: str
    words: tuple[str, ...]
    """What follows the script."""
    launcher: tuple[str, ...]
    """The options of accelerate, and `NAME=value` of the environment that matter to it."""
    folder: str | None
    """Where the script changed to before."""
    line: int


@dataclass(slots=True)
class Script:
    """What a script says; made by `read_script`."""

    calls: list[Call] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Files that it writes itself (`cat > name <<EOF`)."""
    others: list[str] = field(default_factory=list)
    """Scripts of sd-scripts that it calls and that train no network."""
    undecided: list[str] = field(default_factory=list)
    """Conditions that cannot be told without running it; they were taken as true."""


def read_script(text: str, *, variables: Mapping[str, str] | None = None, dialect: Dialect | None = None) -> Script:
    """Follow `text` (lines end in \\n) and find the calls of `…train_network.py`.

    Raises UserError, with the line, for a quote that is not closed.
    """
    return _Follower(dialect or dialect_of(text), dict(variables or {})).follow(text)


class _Follower:
    def __init__(self, dialect: Dialect, variables: dict[str, str]) -> None:
        self._dialect = dialect
        self._arrays: dict[str, list[str]] = {}
        self._found = Script(variables=variables)
        self._folder: str | None = None
        self._branches: list[tuple[bool, bool]] = []
        """Of each open condition: whether its branch runs, whether one of its branches ran."""
        self._last: bool | None = None

    def follow(self, text: str) -> Script:
        for statement in statements(text, self._dialect):
            if not self._condition(statement) and self._runs(statement):
                self._do(statement)
        return self._found

    # Conditions

    def _runs(self, statement: Statement) -> bool:
        if not all(active for active, _ in self._branches):
            return False
        if statement.before == "&&" and self._last is not None:
            return self._last
        if statement.before == "||" and self._last is not None:
            return not self._last
        self._last = None
        return True

    def _condition(self, statement: Statement) -> bool:
        """Whether the statement was about what runs; what stands behind `then` in it is done here."""
        first = statement.plain(0).lower()
        if self._dialect == "powershell":
            return self._block(statement, first)
        if self._dialect == "batch":
            return self._batch_if(statement, first)
        if first in {"if", "elif"}:
            truth = self._truth(statement.words[1:])
            if first == "if":
                self._branches.append((truth, truth))
            elif self._branches:
                done = self._branches[-1][1]
                self._branches[-1] = (truth and not done, done or truth)
        elif first == "else" and self._branches:
            done = self._branches[-1][1]
            self._branches[-1] = (not done, True)
            self._rest(statement, 1)
        elif first == "fi":
            if self._branches:
                self._branches.pop()
        elif first in {"then", "do", "{"}:
            self._rest(statement, 1)
        elif first in {"[[", "[", "test"}:
            if all(active for active, _ in self._branches):
                self._last = self._truth(statement.words)
        elif first in {"for", "while", "until", "done", "}", "case", "esac"}:
            if first == "for" and statement.plain(2) == "in" and len(statement.words) > 3:
                self._found.variables.setdefault(statement.plain(1), "".join(self._expand(statement.words[3])[:1]))
        else:
            return False
        return True

    def _rest(self, statement: Statement, count: int) -> None:
        rest = Statement(statement.words[count:], "\n", statement.line, statement.heredoc)
        if rest.words and not self._condition(rest) and self._runs(rest):
            self._do(rest)

    def _block(self, statement: Statement, first: str) -> bool:
        """PowerShell: if (…) { … } elseif (…) { … } else { … }, its parts as they come, on one line or on several."""
        words = [self._plain(word) for word in statement.words]
        if first in {"if", "elseif", "else"}:
            end = words.index("{") if "{" in words else len(words)
            truth = self._truth(statement.words[1:end]) if first != "else" else True
            if first == "if":
                self._branches.append((truth, truth))
            elif self._branches:
                done = self._branches[-1][1]
                self._branches[-1] = (truth and not done, done or truth)
            self._rest(statement, end + 1)
            return True
        if words and words[0] == "}":
            following = words[1].lower() if len(words) > 1 else ""
            if following not in {"else", "elseif"} and self._branches:
                self._branches.pop()
            self._rest(statement, 1)
            return True
        if "}" in words and words.count("{") < words.count("}"):
            at = words.index("}")
            inner = Statement(statement.words[:at], statement.before, statement.line)
            if self._runs(inner):
                self._do(inner)
            self._rest(statement, at)
            return True
        return False

    def _batch_if(self, statement: Statement, first: str) -> bool:
        """cmd: if [not] "a"=="b" command; others are undecided."""
        if first != "if":
            return False
        words = ["".join(self._expand(word)) for word in statement.words]
        negated = len(words) > 1 and words[1].lower() == "not"
        at = 2 if negated else 1
        text = words[at] if at < len(words) else ""
        if "==" in text:
            left, _, right = text.partition("==")
            truth = (left == right) != negated
            at += 1
        else:
            self._found.undecided.append(" ".join(words[:3]))
            truth, at = True, at + 2
        if truth and all(active for active, _ in self._branches):
            self._rest(statement, at)
        return True

    def _truth(self, words: list[Word]) -> bool:
        """Of [[ … ]] and (…), when variables decide it; else true, which is noted."""
        texts = [text for word in words for text in (self._expand(word) or [""])]
        texts = [text for text in texts if text not in {"[[", "]]", "[", "]", "test", "(", ")"}]
        negated = texts[:1] == ["!"]
        texts = texts[negated:]
        operator = texts[1].lower() if len(texts) == 3 else ""
        operator = _NUMBERS.get(operator, operator)
        if len(texts) <= 1:
            text = texts[0].lower() if texts else ""
            known = not text.startswith("$")
            truth = bool(text) and (self._dialect == "bash" or text not in {"$false", "0", "false"})
        elif len(texts) == 2 and texts[0] in {"-n", "-z"}:
            known, truth = True, (texts[0] == "-n") == bool(texts[1])
        elif operator in {"=", "==", "!="}:
            known, truth = True, (_same(texts[0], texts[2])) == (operator != "!=")
        elif operator in {"<", ">", "<=", ">="} and all(re.fullmatch(r"-?\d+", text) for text in texts[::2]):
            left, right = int(texts[0]), int(texts[2])
            known, truth = (
                True,
                {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[operator],
            )
        else:
            known = truth = False
        if not known:
            self._found.undecided.append(" ".join(texts))
            return True
        return truth != negated

    # Commands

    def _do(self, statement: Statement) -> None:
        if self._assign(statement):
            return
        words: list[str] = []
        for word in statement.words:
            words += self._expand(word)
        first = words[0].lower() if words else ""
        if first in {"cd", "pushd", "set-location"} and len(words) > 1:
            place = next((word for word in words[1:] if word.lower() not in {"/d", "--"}), "")
            self._folder = _joined(self._folder, place)
        elif first in {"cat", "tee"} and statement.heredoc is not None:
            name = next((word.lstrip(">") for word in words[1:] if word.strip("->")), None)
            if name:
                self._found.files[name] = "".join(self._texts_of(statement.heredoc))
        for index, text in enumerate(words):
            script = SCRIPT.search(text)
            if script is not None:
                launcher = tuple(self._launcher(words[:index]))
                options = tuple(_without_redirects(words[index + 1 :]))
                self._found.calls.append(Call(script[1], options, launcher, self._folder, statement.line))
                return
            if (other := _OTHER_SCRIPT.search(text)) is not None:
                self._found.others.append(f"{other[1]}.py")
                return

    def _texts_of(self, text: str) -> list[str]:
        return self._expand((Part(text, '"'),))

    def _launcher(self, words: list[str]) -> list[str]:
        """What accelerate gets, and the environment in front of a command or exported before."""
        found = [word for word in words if re.match(r"(?:CUDA_VISIBLE_DEVICES|HF_\w+|WANDB_\w+)=", word)]
        said = {word.partition("=")[0] for word in found}
        for name in ("CUDA_VISIBLE_DEVICES",):
            if name in self._found.variables and name not in said:
                found.append(f"{name}={self._found.variables[name]}")
        at = next(
            (index for index, word in enumerate(words) if word == "launch" or word.endswith("commands.launch")), -1
        )
        return found + (words[at + 1 :] if at >= 0 else [])

    def _assign(self, statement: Statement) -> bool:
        """Take up NAME=value, arrays, and what PowerShell and cmd write for them; False when it is none of these."""
        words = list(statement.words)
        if self._dialect == "powershell":
            return self._assign_powershell(statement)
        while words and self._plain(words[0]).lower() in _DECLARATIONS | {"-x", "-a", "/a"}:
            words.pop(0)
        is_declaration = len(words) < len(statement.words)
        if not words:
            return is_declaration
        found = _ASSIGNMENT.fullmatch(self._plain(words[0]))
        if found is None:
            return is_declaration
        rest = words[1:]
        name, adds = found[1], found[2] == "+"
        if rest and rest[0] == (Part("("),) and not found[3]:
            items = [item for word in rest[1:] if word != (Part(")"),) for item in self._expand(word)]
            self._arrays[name] = [*self._arrays.get(name, []), *items] if adds else items
            return True
        if rest and not is_declaration and self._dialect == "bash":
            return False  # NAME=value command: of that command only
        if self._dialect == "batch":  # set NAME=a b c
            value = " ".join("".join(self._expand(word)) for word in words).partition("=")[2]
            self._found.variables[name] = value.strip()
            return True
        for word in words:
            each = _ASSIGNMENT.fullmatch(self._plain(word))
            if each is not None:
                value = "".join(self._expand(word, whole=True)).partition("=")[2]
                before = self._found.variables.get(each[1], "") if each[2] else ""
                self._found.variables[each[1]] = before + value
        return True

    def _assign_powershell(self, statement: Statement) -> bool:
        words = [self._plain(word) for word in statement.words]
        line = " ".join(words)
        adding = re.match(r"(?:\[void\]\s*)?\$(\w+)\.Add ?\(", line, re.IGNORECASE)
        if adding is not None:
            at = words.index("(")
            items = [item for word in statement.words[at + 1 :] if word != (Part(")"),) for item in self._expand(word)]
            self._arrays.setdefault(adding[1], []).append("".join(item for item in items if item != "+"))
            return True
        found = re.match(r"\$(?:env:)?(\w+) ?(\+?)= ?", line, re.IGNORECASE)
        if found is None:
            return False
        tail = statement.words[next(index for index, word in enumerate(words) if word.endswith("=")) + 1 :]
        if not tail:
            return True
        head = self._plain(tail[0])
        if head.startswith(("@", "[")) or found[2]:
            items = [item for word in tail for item in self._expand(word) if self._plain(word) not in {"(", ")", "@"}]
            items = [item.strip(",") for item in items if item.strip(",") and not head.startswith("[")]
            self._arrays[found[1]] = [*self._arrays.get(found[1], []), *items] if found[2] else items
            return True
        self._found.variables[found[1]] = " ".join("".join(self._expand(word, whole=True)) for word in tail)
        return True

    # Words

    def _plain(self, word: Word) -> str:
        return "".join(part.text for part in word)

    def _expand(self, word: Word, *, whole: bool = False) -> list[str]:
        """The words that one becomes: an unquoted variable with blanks becomes several, one with nothing none."""
        pieces = [""]
        is_quoted = False
        for part in word:
            if part.quote:
                is_quoted = True
            if part.quote == "'":
                pieces[-1] += part.text
                continue
            array = _REFERENCE.fullmatch(part.text)
            name = (array["braced"] or array["plain"]) if array is not None else None
            if (
                name in self._arrays
                and array is not None
                and (array["array"] or self._dialect == "powershell" or not whole)
            ):
                items = self._arrays[name]
                if not part.quote and self._dialect == "bash":  # kept together only by quotes
                    items = [item for text in items for item in text.split()]
                pieces[-1] += "".join(items[:1])
                pieces += items[1:]
                is_quoted = is_quoted or bool(items)
                continue
            text = self._filled(part.text)
            if part.quote or whole or text == part.text:
                pieces[-1] += text
                continue
            split = text.split()
            if split:
                pieces[-1] += split[0]
                pieces += split[1:]
        found = [piece for piece in pieces if piece] or ([""] if is_quoted else [])
        return found if found != [""] or self._dialect != "powershell" else [""]

    def _filled(self, text: str) -> str:
        """`text` with the variables that are known in their place."""
        text = _WHERE.sub(lambda found: "./" if found[0] == "%~dp0" and not text.endswith(found[0]) else ".", text)
        if self._dialect == "batch":
            return _PERCENT.sub(lambda found: self._found.variables.get(found[1] or found[2], found[0]), text)

        def value(found: re.Match[str]) -> str:
            name = found["braced"] or found["plain"]
            if name in self._arrays:
                return " ".join(self._arrays[name])
            known = self._found.variables.get(name)
            default = found["default"]
            return known if known else default if default is not None else found[0] if known is None else ""

        if self._dialect == "bash":
            text = _ARITHMETIC.sub(self._counted, text)
        if self._dialect == "powershell" and text.lower() in {"$true", "$false", "$null"}:
            return text
        return _REFERENCE.sub(value, text)

    def _counted(self, found: re.Match[str]) -> str:
        """$((DIM / 2)): names with or without $."""
        text = re.sub(r"\$?\{?([A-Za-z_]\w*)\}?", lambda name: self._found.variables.get(name[1], name[0]), found[1])
        number = calculated(text)
        return found[0] if number is None else str(number)


def _without_redirects(words: list[str]) -> list[str]:
    found: list[str] = []
    skips = False
    for word in words:
        if skips:
            skips = False
        elif _REDIRECT.fullmatch(word):
            skips = word.rstrip("&").endswith((">", "<")) and not word.endswith("&")
        else:
            found.append(word)
    return found


def _same(left: str, right: str) -> bool:
    left, right = left.lower(), right.lower()
    return left == right or {left, right} in ({"$true", "1"}, {"$false", "0"})


def _joined(folder: str | None, place: str) -> str:
    if folder is None or place.startswith(("/", "~", "$")) or re.match(r"[A-Za-z]:", place):
        return place
    return str(PurePosixPath(folder, place))
