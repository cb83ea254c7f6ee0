# SPDX-License-Identifier: MIT
"""The panel of a debug toolbar, as HTML: what all workers did, from the journal, at the moment of the request.

Runs in the worker that answers. Never raises, since it is in somebody else's page, and whatever comes from a
journal is text to be escaped, of any type: _text() is the only way into the page.
"""
import html

from forksafe._debug import debug, journal

MOST_ROWS = 200  # of a table
MOST_RECORDS = 50

STYLE = """<style>
.forksafe-panel table { border-collapse: collapse; margin: 0 0 1em; }
.forksafe-panel th, .forksafe-panel td { padding: 1px 10px 1px 0; text-align: left; vertical-align: top; }
.forksafe-panel pre { white-space: pre-wrap; }
.forksafe-panel .forksafe-failed { color: #b00020; }
</style>"""


def snapshot():
    """(summary, content): a few words in plain text for the toolbar's side bar, and HTML for the panel."""
    try:
        return _snapshot()
    except Exception as error:  # whatever it is, the host's page does not break on it
        return "not available", _page(_line("forksafe cannot be shown: %s: %s" % (type(error).__name__, error)))


def _snapshot():
    try:
        found = journal()
        missing = "There is no journal in this process: forksafe is not open here."
    except OSError as error:
        found, missing = None, str(error)
    if found is not None:
        return summary(found), render(found)
    noted = debug()
    known = _setup(noted) if noted["autoconfigure.log"] else ""  # else no application has asked for more
    return "no journal", _page(_line(missing), known)


def summary(found):
    """ "3 workers, 1 failed": the live workers of a debug object, and the runs of subscribers that failed in it."""
    workers = sum(1 for one in _rows(found, "processes") if one.get("alive") is True and one.get("role") == "worker")
    failed = sum(_failed(one) for one in _rows(found, "subscribers"))
    text = "%d worker%s" % (workers, "" if workers == 1 else "s")
    return "%s, %d failed" % (text, failed) if failed else text


def render(found):
    """A debug object as HTML."""
    processes = sorted(_rows(found, "processes"), key=lambda one: one.get("alive") is not True)
    records = list(reversed(_rows(found, "records")))
    return _page(
        _setup(found),
        _table("Masters", MASTERS, _rows(found, "masters")),
        _table("Processes", PROCESSES, processes),
        _table("Subscribers", SUBSCRIBERS, _rows(found, "subscribers")),
        _errors(processes),
        _table("Last records", RECORDS, records, MOST_RECORDS),
        _line("As of %s." % _shown(found.get("generated_at"))),
    )


# The tables: a heading, and the key of a row or what makes a cell of the row.


def _state(process):
    state = _shown(process.get("state"))
    for key, name in (("exit_status", "status"), ("exit_signal", "signal")):
        if process.get(key) is not None:
            state += ", %s %s" % (name, _shown(process[key]))
    return state


def _outcomes(subscriber):
    """ "ok 3, error 1" """
    outcomes = subscriber.get("outcomes")
    counts = [(name, count) for name, count in outcomes.items() if count] if isinstance(outcomes, dict) else []
    if subscriber.get("unfinished"):
        counts.append(("unfinished", subscriber["unfinished"]))
    return ", ".join("%s %s" % (_shown(name), _shown(count)) for name, count in counts)


def _failed(subscriber):
    outcomes = subscriber.get("outcomes")
    if not isinstance(outcomes, dict):
        return 0
    return sum(outcomes[name] for name in FAILURES if isinstance(outcomes.get(name), int))


def _seconds(key):
    """A column of seconds, in milliseconds."""

    def cell(row):
        value = row.get(key)
        return "%.3f ms" % (value * 1e3) if isinstance(value, (int, float)) else _shown(value)

    return cell


FAILURES = ("error", "timeout", "memory", "abandoned", "refused")

HOOKS = (
    ("hook", "hook"),
    ("event", "event"),
    ("runs", "runs"),
)
MASTERS = (
    ("pid", "pid"),
    ("alive", "alive"),
    ("server", "container"),
    ("version", "server_version"),
    ("generation", "generation"),
    ("opened", "opened"),
    ("ini", "ini"),
    ("application", "app"),
)
PROCESSES = (
    ("pid", "pid"),
    ("role", "role"),
    ("worker", "worker"),
    ("state", _state),
    ("since", "since"),
    ("generation", "generation"),
    ("runs", "runs"),
    ("failed", "failed"),
    ("slowest", _seconds("slowest")),
)
SUBSCRIBERS = (
    ("name", "name"),
    ("event", "event"),
    ("script", "path"),
    ("begun", "begun"),
    ("outcomes", _outcomes),
    ("slowest", _seconds("max")),
    ("active", "active"),
)
RECORDS = (
    ("at", "at"),
    ("pid", "pid"),
    ("worker", "worker"),
    ("event", "event"),
    ("subscriber", "subscriber"),
    ("outcome", "outcome"),
    ("duration", _seconds("duration")),
)


# Pieces of HTML.


def _setup(found):
    """Status, autoconfigure log and executed hooks: what there is without a journal too."""
    environment = _shown(found.get("environment"))
    log = "".join("<li>%s</li>" % _text(line) for line in _list(found, "autoconfigure.log"))
    hooks = _rows(found, "hooks")
    if "hooks" in found:
        hooks = [one for one in hooks if one.get("runs")]
    else:  # without a journal nobody counts
        hooks = [{"hook": hook, "event": event} for hook, event in found["executed_hooks"]]
    return (
        _line("%s%s" % (_shown(found.get("status")), " (%s)" % environment if environment else ""))
        + ("<h4>Autoconfigure log</h4>\n<ol>%s</ol>\n" % log if log else "")
        + _table("Executed hooks", HOOKS, hooks)
    )


def _errors(processes):
    """The last error of each process, with its traceback."""
    failed = [one for one in processes if one.get("error")][:MOST_ROWS]
    parts = (
        "<p>%s %s</p>\n<pre class='forksafe-failed'>%s</pre>\n"
        % (_text(one.get("role")), _text(one.get("pid")), _text(one["error"]))
        for one in failed
    )
    return "<h4>Errors</h4>\n%s" % "".join(parts) if failed else ""


def _table(title, columns, rows, most=MOST_ROWS):
    if not rows:
        return ""
    head = "".join("<th>%s</th>" % _text(heading) for heading, _ in columns)
    body = "".join("<tr>%s</tr>\n" % _cells(columns, row) for row in rows[:most])
    more = _line("%d more are not shown." % (len(rows) - most)) if len(rows) > most else ""
    return "<h4>%s</h4>\n<table><thead><tr>%s</tr></thead>\n<tbody>\n%s</tbody></table>\n%s" % (
        _text(title),
        head,
        body,
        more,
    )


def _cells(columns, row):
    values = (content(row) if callable(content) else row.get(content) for _, content in columns)
    return "".join("<td>%s</td>" % _text(value) for value in values)


def _line(text):
    return "<p>%s</p>\n" % _text(text)


def _page(*parts):
    return "<div class='forksafe-panel'>\n%s\n%s</div>\n" % (STYLE, "".join(parts))


# What comes from a journal.


def _list(found, key):
    value = found.get(key)
    return value if isinstance(value, list) else []


def _rows(found, key):
    """A list of the debug object, without what is no object in it."""
    return [row for row in _list(found, key) if isinstance(row, dict)]


def _shown(value):
    if value is None:
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _text(value):
    """A value as text that cannot be markup. Characters that nobody can see (controls, marks that turn the direction of
    writing, halves of pairs) become their numbers."""
    shown = (c if c.isprintable() or c in "\n\t" else "\\u%04x" % ord(c) for c in _shown(value))
    return html.escape("".join(shown))
