"""CNTK's configuration files: `name = value`, sections in [] or {}, $variables$, comments."""

import re

OPEN, CLOSE = "[{(", "]})"


class Failure(Exception):
    """What is wrong."""


def read_file(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        raise Failure(f"cannot read the configuration file {path}: {error.strerror}")


def without_comments(text):
    lines = []
    for line in text.split("\n"):
        quoted = None
        for at, letter in enumerate(line):
            if quoted:
                quoted = None if letter == quoted else quoted
            elif letter in "\"'":
                quoted = letter
            elif letter == "#" or line.startswith("//", at):
                line = line[:at]
                break
        lines.append(line)
    return "\n".join(lines)


def split(text):
    """The pairs of name and raw value of a section, in order."""
    pairs, at = [], 0
    while True:
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n;"))
        if at >= len(text):
            return pairs
        found = re.compile(r"([A-Za-z_][\w.]*)\s*=[ \t]*").match(text, at)
        if not found:
            line = text[at:].split("\n")[0]
            raise Failure(f"expected NAME = VALUE at {line.strip()!r}")
        start = at = found.end()
        depth, quoted = [], None
        while at < len(text):
            letter = text[at]
            if quoted:
                quoted = None if letter == quoted else quoted
            elif letter in "\"'":
                quoted = letter
            elif letter in OPEN:
                depth.append(CLOSE[OPEN.index(letter)])
            elif letter in CLOSE:
                if not depth or depth.pop() != letter:
                    raise Failure(f"{found.group(1)}: a {letter} too many")
            elif letter in "\n;" and not depth:
                # A value may begin with its bracket on the next line.
                if text[start:at].strip() or not text[at:].lstrip().startswith(tuple(OPEN)):
                    break
            at += 1
        if depth or quoted:
            raise Failure(f"{found.group(1)}: {quoted or depth[-1]} is missing")
        pairs.append((found.group(1), text[start:at].strip()))


def expand(text, given):
    """The text without comments; `given` is what the command line says."""
    text = without_comments(text)
    return text + "\n" + "\n".join(f"{name} = {value}" for name, value in given.items())


class Config:
    """A section; what it does not say, those around it do."""

    def __init__(self, text, given=None, outer=None):
        self.outer, self.members, self.spelt = outer, {}, {}
        known = {name.lower() for name in given or {}}
        for name, value in split(text):
            if name.lower() in self.members and name.lower() not in known:
                raise Failure(f"{name} is given twice")
            self.members[name.lower()], self.spelt[name.lower()] = value, name

    def names(self):
        return list(self.spelt.values())

    def has(self, name):
        return name.lower() in self.members

    def only(self, *names):
        allowed = {name.lower() for name in names}
        for name in self.spelt:
            if name not in allowed:
                raise Failure(f"no setting {self.spelt[name]} here; there are {', '.join(names)}")

    def find(self, name):
        if self.has(name):
            return self.members[name.lower()]
        return self.outer.find(name) if self.outer else None

    def raw(self, name):
        value = self.find(name)
        if value is None:
            raise Failure(f"required parameter missing: {name}")
        return self.replaced(value)

    def replaced(self, value, depth=0):
        """With the values of variables in the places of $their names$."""

        def of(found):
            inner = self.find(found.group(1))
            if inner is None or depth > 10:
                raise Failure(f"the variable ${found.group(1)}$ has no value")
            return unquoted(self.replaced(inner, depth + 1))

        return re.sub(r"\$(\w+)\$", of, value)

    def text(self, name, default=None):
        if default is not None and self.find(name) is None:
            return default
        return unquoted(self.raw(name))

    def section(self, name):
        value = self.raw(name)
        if not value or value[0] not in "[{" or value[-1] not in "]}":
            raise Failure(f"{name} must be a section in [] or {{}}")
        return Config(value[1:-1], outer=self)


def unquoted(value):
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def integer(text, name):
    try:
        return int(text)
    except ValueError:
        raise Failure(f"{name} must be an integer, not {text!r}")


def flag(text, name):
    if text.lower() not in ("true", "false"):
        raise Failure(f"{name} must be true or false, not {text!r}")
    return text.lower() == "true"


def numbers(text, count):
    """A schedule such as 0.1*10:0.01, a number for each epoch; the last one stays."""
    values = []
    for part in text.strip("()").split(":"):
        value, star, times = part.partition("*")
        try:
            values += [float(value)] * (int(times) if star else 1)
        except ValueError:
            raise Failure(f"{text!r} is no schedule of numbers")
    return (values + [values[-1]] * count)[:count]
