#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What PasteDeploy itself makes of an ini: the answers that settings_spec.lua compares `forksafe settings` with.

    paste_oracle.py generate --seed 7 --count 2000 DIRECTORY    random inis below DIRECTORY, answered
    paste_oracle.py answer DIRECTORY < CASES                    the cases of a JSON file, written below DIRECTORY and answered

Each case is a directory of its own, DIRECTORY/NAME, in which the loader runs. Standard output is one JSON list of
{"name", "uri", "app", "options", "settings", "global_conf"} or, refused, {..., "error": type}. Needs python3-pastedeploy
only: the loader is called as plaster and pyramid.paster.get_appsettings call it.
"""

import argparse
import base64
import itertools
import json
import os
import random
import sys
import tempfile

from paste.deploy import appconfig

ENTRY_POINTS = """\
[paste.app_factory]
main = fs_demo:main
admin = fs_demo:main
[paste.composite_factory]
urlmap = fs_demo:main
[paste.filter_factory]
main = fs_demo:main
filt = fs_demo:main
"""


def install_egg(directory):
    """An egg of the name that all inis here use, found on sys.path as an installed one would be."""
    info = os.path.join(directory, "fs_demo-1.0.dist-info")
    os.mkdir(info)
    for path, text in (
        (os.path.join(directory, "fs_demo.py"), "def main(*arguments, **settings):\n    return None\n"),
        (os.path.join(info, "METADATA"), "Metadata-Version: 2.1\nName: fs-demo\nVersion: 1.0\n"),
        (os.path.join(info, "entry_points.txt"), ENTRY_POINTS),
    ):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    sys.path.insert(0, directory)


def is_about_python(refused):
    """Whether an egg, an entry point or a module is not there: what a loader without Python cannot know."""
    lookup = type(refused) is LookupError and "ntry point" in str(refused)
    return lookup or isinstance(refused, (ImportError, AttributeError))


def answer(case):
    """Loads a case in the present directory. None: only Python can tell."""
    path, _, fragment = case["uri"].partition("#")
    absolute = os.path.abspath(path)
    given = {"__file__": absolute, "here": os.path.dirname(absolute), **case["options"]}
    name = case["app"] if case["app"] is not None else fragment or None
    try:
        conf = appconfig("config:" + path, name=name, relative_to=os.getcwd(), global_conf=given)
    except Exception as refused:  # whatever it raises is a refusal, RecursionError too
        return None if is_about_python(refused) else {"error": type(refused).__name__}
    return {"settings": dict(conf.local_conf), "global_conf": dict(conf.global_conf)}


def content_of(text):
    return base64.b64decode(text[4:]) if text.startswith("b64:") else text.encode("utf-8")


def answer_all(cases, root):
    for case in cases:
        home = os.path.join(root, case["name"])
        for name, text in case["files"].items():
            path = os.path.join(home, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(text if isinstance(text, bytes) else content_of(text))
        os.chdir(home)
        answered = answer(case)
        if answered is not None:
            yield {**{key: case[key] for key in ("name", "uri", "app", "options")}, **answered}


class Generator:
    """Random inis: mostly right ones, over the whole grammar, with every kind of mistake now and then."""

    NAMES = ["a", "b", "c", "d", "Key", "key", "x.y", "my key", "pyramid.includes", "clé", "ключ", "k" * 260]
    REFERENCES = NAMES + ["here", "__file__", "v", "http_port", "nope", "missing one"]
    APPS = ["main", "other", "home", "app", "ü", "s" * 70]
    FILTERS = ["f1", "f2"]
    SPACES = [" ", "  ", "\t", "\u00a0", "\u2003", "\u3000", "\u0085", "\x0b", "\x0c", "\x1c", "\x1f", ""]
    WORDS = ["x", "1", "true", "/srv/x", "a=b", "a:b", "; no", "# no", "'q'", '"q"', "\\n", "$HOME", "${a}", "é€", "𝄞",
             "[b]", "]", "=", ":", "\u200b", "\ufeff", "w" * 300, "postgresql://u:p@h/d?x=1", "\x01", "\x7f", ","]

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.known = ["here"]  # names that a value may refer to without being refused

    def chance(self, percent):
        return self.random.random() * 100 < percent

    def one(self, items):
        return self.random.choice(items)

    def space(self):
        return "".join(self.one(self.SPACES) for _ in range(self.random.choice((0, 1, 1, 1, 2))))

    def piece(self):
        kind = self.random.randrange(100)
        if kind < 60:
            return self.one(self.WORDS)
        if kind < 84:
            return "%(" + self.one(self.REFERENCES if self.chance(4) else self.known) + ")s"
        if kind < 99:
            return "%%"
        return self.one(["%(a)s", "%(a)s", "%%(a)s", "%", "%d", "%(a)", "%()s", "%(a)d", "%( a )s", "%(%(a)s)s", "% (a)s"])

    def text(self):
        pieces = [self.piece() for _ in range(self.random.choice((0, 1, 1, 1, 2, 3)))]
        return self.one(["", " ", " ", self.space()]).join(pieces)

    def value_lines(self):
        """The first line of a value and those that continue it."""
        lines = [self.text()]
        if self.chance(25):
            for _ in range(self.random.randrange(1, 4)):
                kind = self.random.randrange(10)
                if kind < 5:
                    lines.append(self.one(["  ", "\t", "   ", "      ", "\u00a0\u00a0", "\x0b\x0b"]) + self.text() + self.space())
                elif kind < 7:
                    lines.append(self.one(["", " ", "   ", "\t", "\u00a0"]))
                else:
                    lines.append(self.one(["", "  ", "\u2003"]) + self.one("#;") + self.text())
        return lines

    def option(self, name, value=None):
        delimiter = self.one([" = ", "=", " : ", ":", self.space() + "=" + self.space(), self.space() + ":" + self.space()])
        lines = [value] if value is not None else self.value_lines()
        lines[0] = name + delimiter + lines[0] + (self.space() if self.chance(10) else "")
        return lines

    def use_of_application(self):
        kind = self.random.randrange(100)
        if kind < 70:
            return self.one(["egg:fs-demo", "egg:fs-demo#main", "egg:fs-demo#admin", "egg:fs-demo#urlmap", "EGG:fs-demo"])
        if kind < 76:
            return self.one(["call:fs_demo:main", "CALL:fs_demo:main#x"] * 3 + [self.one(["call:fs_demo", "egg:", "egg: fs-demo", "call:", "foo:x"])])
        if kind < 84:
            return self.one(self.present[1:] * 3 + self.present[:1])
        return self.one(["config:base.ini", "config:base.ini#main", "config:sub/base.ini",
                         "config:%(here)s/base.ini", "config:my%%20base.ini", "config:sub\\base.ini", "config:./sub/../base.ini",
                         "Config:base.ini", "config:base.ini#" + self.one(self.present)] * 4 +
                        ["config:nope.ini", "config:base.ini#", "config:", "config:production.ini#other"])

    def use(self, kind):
        if kind == "filter" or kind == "filter-app":
            return self.one(["egg:fs-demo#main", "egg:fs-demo#filt", "egg:fs-demo", "call:fs_demo:main"] * 2 + ["f1", "f2"])
        return self.use_of_application()

    def special_option(self, kind):
        which = self.random.randrange(100)
        if which < 30:
            name = self.one(self.NAMES[:2] * 3 + self.NAMES[2:6] + ["here", "__file__", "__file__", "v"])
            return self.option("set" + self.one([" ", "  ", " ", "\t", " \u00a0"]) + name)
        if which < 55:
            known = self.one(self.in_default * 5 + ["here", "__file__"] * 4 + ["a", "v"])
            return self.option("get" + self.one([" ", "   ", " \t"]) + self.one(self.NAMES[:6]), known)
        if which < 65:
            return self.option("require", self.one(["fs-demo", "fs-demo  fs-demo", ""]))
        if which < 72 and kind in ("app", "filter"):
            return self.option("filter-with", self.one(self.FILTERS))
        if which < 76:
            return self.option(self.one(["paste.app_factory", "paste.composite_factory"]), "fs_demo:main")
        return self.option(self.one(["settings", "getter", "rem", "useful", "pipelines", "set", "get", "here", "__file__"]))

    def own_options(self, kind):
        """Options that refer to those before them and to [DEFAULT], and so are mostly right."""
        names = self.random.sample(self.NAMES, self.random.randrange(5))
        options = []
        for count, name in enumerate(names):
            seen = self.in_default + ["here"]
            self.known = [other for other in seen if other not in names[count:]] + names[:count]
            options.append(self.option(name))
        self.known = self.known + names[-1:]
        if kind == "default":
            self.in_default = names
        return options

    def chain(self, length):
        """Values that refer to each other: ten deep are allowed."""
        names = ["chain%d" % number for number in range(length)]
        return [self.option(name, "%(" + inner + ")s%%") for name, inner in zip(names, names[1:])] + [self.option(names[-1], "%%")]

    def section(self, header, kind):
        lines = ["[" + header + "]" + self.one(["", "", "", "", "", " ", " ; x", "x", " ; [x]" if self.chance(15) else ""])]
        if self.chance(2):
            lines[0] = self.one(["  ", "\t"]) + lines[0]
        used = []
        if kind == "pipeline":
            words = [self.one(self.FILTERS) for _ in range(self.random.randrange(3))] + [self.one(self.present)]
            used.append(self.option("pipeline", self.one([" ", "  ", "\t"]).join(words) if self.chance(95) else ""))
        elif kind in ("app", "composite", "filter", "filter-app") and self.chance(99):
            used.append(self.option("use", self.use(kind)) if self.chance(92) else
                        self.option("paste.filter_factory" if kind.startswith("filter") else "paste.app_factory", "fs_demo:main"))
        if kind == "filter-app" and self.chance(96):
            used.append(self.option("next", self.one(self.present[-2:])))
        if kind != "pipeline" or self.chance(6):
            used += self.own_options(kind)
            if self.chance(30):
                used.append(self.special_option(kind))
            if self.chance(3):
                used += self.chain(self.random.randrange(7, 13))
        self.random.shuffle(used)
        indent = self.one(["", "", "", "", "", "  ", "\t"])
        for option in used:
            while self.chance(8):
                lines.append(self.one(["", " ", "# comment", "; comment", "   # comment", "\u00a0; x"]))
            lines += [indent + line for line in option] if self.chance(85) else option
        return lines

    def header(self, kind, name):
        spelling = {"app": ["app", "app", "app", "application"], "composite": ["composite", "composit"]}.get(kind, [kind])
        space = self.one(["", "", "", "", "", "", " ", "\u00a0"])
        return self.one(spelling) + ":" + space + name

    def file_lines(self, base):
        sections = []
        self.present = self.APPS[: self.random.randrange(1, 6)]
        if self.chance(60):
            sections.append(("DEFAULT", "default"))
        for app in self.present:
            kind = self.one(["app"] * 12 + ["composite", "pipeline", "pipeline", "filter-app"])
            sections.append((self.header("app" if base else kind, app), "app" if base else kind))
        for name in self.FILTERS:
            if self.chance(75):
                sections.append((self.header("filter", name), "filter"))
        if self.chance(15):
            sections.append((self.one(["loggers", "App:main", "app", "default", "server:main", "app :main", "[x]", "formatter",
                                       "app:main", "application:main", "DEFAULT", " app:main", "x" * 120]), "other"))
        self.in_default = []
        sections.sort(key=lambda section: section[1] != "default" or self.chance(20))
        lines = []
        for header, kind in sections:
            lines += self.section(header, kind)
            if self.chance(40):
                lines.append("")
        return lines

    def spoil(self, lines):
        """One mistake."""
        kind = self.random.randrange(8)
        at = self.random.randrange(len(lines) + 1)
        if kind == 0:
            lines.insert(at, self.one(["no delimiter", "= empty", ": empty", "[]", "[unclosed", "]", "[app:main"]))
        elif kind == 1:
            lines.insert(0, self.one(["early = 1", "\ufeff", "\ufeff# x", "x"]))
        elif kind == 2 and lines:
            lines.insert(at, self.one(lines))
        elif kind == 3 and lines:
            lines.pop(self.random.randrange(len(lines)))
        elif kind == 4 and lines:
            line = self.random.randrange(len(lines))
            lines[line] = self.one([" ", "\t", "    "]) + lines[line]
        elif kind == 5 and lines:
            line = self.random.randrange(len(lines))
            cut = self.random.randrange(len(lines[line]) + 1)
            lines[line] = lines[line][:cut] + self.one(self.WORDS + self.SPACES) + lines[line][cut:]
        elif kind == 6:
            lines.insert(at, self.one(["a = bad \udce9", "\udcff", "# \udcc3", "b = \udced\udca0\udc80", "\udcf4\udc90\udc80\udc80"]))
        else:
            lines[at:at] = self.option(self.one(self.NAMES))

    def file(self, base):
        lines = self.file_lines(base)
        while self.chance(6):
            self.spoil(lines)
        newline = self.one(["\n"] * 8 + ["\r\n", "\r"])
        text = "".join(line + (newline if self.chance(97) else self.one(["\n", "\r\n", "\r"])) for line in lines)
        if self.chance(10):
            text = text.rstrip("\r\n")
        return text.encode("utf-8", "surrogateescape")

    def case(self, number):
        directory = self.one([""] * 40 + ["sub dir/"] * 4 + ["ünï/", "d%x/", "d%%x/"])
        files = {directory + "production.ini": self.file(False)}
        present = self.one(self.present)
        for name in ("base.ini", "sub/base.ini", "my base.ini"):
            if self.chance(60):
                files[directory + name] = self.file(True)
        if "sub/base.ini" in files:
            directory = self.one([""] * 8 + ["./", ".//sub/../", "sub/./..//"])
        options = {}
        while self.chance(12):
            options[self.one(["v", "http_port", "a", "Key", "here", "set v", "get c"])] = self.one(["8080", "8081", "", "é", "a", "a b", "%%", self.one(["50%", "%(a)s"])])
        fragment = self.one([""] * 8 + ["#main", "#" + present, "#" + present, "#", "#ü"])
        app = self.one([None] * 40 + ["main", present, "nope", "egg:fs-demo"])
        # A percent sign in the path given is url-decoded by the loader, and is no more than a path to forksafe: "%x" and "%%x" mean
        # the same to both.
        return {"name": "g%05d" % number, "files": files, "uri": directory + "production.ini" + fragment,
                "app": app, "options": options}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("generate", "answer"))
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    root = os.path.realpath(arguments.directory)
    with tempfile.TemporaryDirectory() as eggs:
        install_egg(eggs)
        if arguments.what == "answer":
            cases = json.load(sys.stdin)["cases"]
            arguments.count = len(cases)
        else:
            generator = Generator(arguments.seed)
            cases = (generator.case(number) for number in itertools.count())
        answers = list(itertools.islice(answer_all(cases, root), arguments.count))
        os.chdir("/")
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
