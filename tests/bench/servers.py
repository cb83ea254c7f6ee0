# SPDX-License-Identifier: MIT
"""Real servers for the rows about start and memory: nginx, uWSGI and gunicorn on loopback, each with forksafe, with a
peer, and plain.

Every server is a child of this process in a session of its own, pinned to one core, and is ended by its pid.
"""
import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import time

SERVERS_CORE = "0"  # this process has another
PATIENCE = 60.0  # seconds for anything to happen

NGINX = """
%(load)s
daemon off;
%(main)s
worker_processes %(workers)d;
pid nginx.pid;
error_log error.log notice;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary;
  uwsgi_temp_path temporary; scgi_temp_path temporary;
  %(http)s
  server { listen 127.0.0.1:%(port)d; return 200 $pid; }
}
"""

LUA_HOOK = """init_worker_by_lua_block {
    local form = "worker %s up as process %s, database %s"
    local line = string.format(form, ngx.worker.id(), ngx.worker.pid(), "10.0.0.5")
    ngx.log(ngx.INFO, line)
  }"""

APPLICATION = """
import logging, os
from pyramid.config import Configurator
log = logging.getLogger("bench")


def hello(request):
    request.response.text = str(os.getpid())
    return request.response


configurator = Configurator(settings={"db.host": "10.0.0.5"})
configurator.add_route("hello", "/")
configurator.add_view(hello, route_name="hello")
if os.environ.get("BENCH") == "theirs":
    from pyramid_forksafe.events import ApplicationPostFork

    def hook(event):
        line = "worker %s up as process %s, database %s" % (1, os.getpid(), event.registry.settings["db.host"])
        log.info(line)

    configurator.include("pyramid_forksafe")
    configurator.add_subscriber(hook, ApplicationPostFork)
application = configurator.make_wsgi_app()
"""

INI = """[app:main]
use = egg:myapp
db.host = 10.0.0.5
forksafe.scripts = %(hooks)s
forksafe.runtime_dir = %(run)s
forksafe.log_level = %(level)s
forksafe.audit = %(audit)s
"""


def write_ini(directory, hooks, audit="off", level="info"):
    """An ini; its path. With the level warning the hook's line is formatted and dropped: no log is measured."""
    os.makedirs(directory + "/run", mode=0o700, exist_ok=True)
    path = "%s/%s-audit-%s.ini" % (directory, level, audit)
    with open(path, "w", encoding="utf-8") as file:
        file.write(INI % {"hooks": hooks, "run": directory + "/run", "audit": audit, "level": level})
    return path


def free_port():
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until(what, condition, pause=0.001):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("tests/bench: waited %d s for %s" % (PATIENCE, what))
        time.sleep(pause)


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def title(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return file.read()
    except OSError:
        return b""


def private_kb(pid):
    """Kilobytes that this process alone has and has written."""
    total = 0
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as file:
        for line in file:
            if line.startswith("Private_Dirty:"):
                total += int(line.split()[1])
    return total


def usage():
    """Seconds of processor and minor faults of all processes that ended as children of this one."""
    all_of_them = resource.getrusage(resource.RUSAGE_CHILDREN)
    return all_of_them.ru_utime + all_of_them.ru_stime, all_of_them.ru_minflt


class Server:
    """A running server; seconds until all its workers were ready in `started`."""

    def __init__(self, argv, directory, environment=None, counting=()):
        self.log = open(directory + "/output", "wb")
        self.is_counted = bool(counting)
        self.before = usage()
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", SERVERS_CORE, *counting, *argv],
            cwd=directory,
            stdout=self.log,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        self.started = None

    def workers(self):
        """Pids of the children of the master, which is a child itself of what counts."""
        pids = children(self.process.pid)
        return [child for pid in pids for child in children(pid)] if self.is_counted else pids

    def ready(self):
        self.started = time.monotonic() - self.begun
        return self

    def end(self, how=signal.SIGTERM):
        """Ends it; the seconds of processor and the minor faults that it and its workers took."""
        self.process.send_signal(how)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()
        return tuple(after - before for after, before in zip(usage(), self.before))


def nginx(bench, arm, workers, counting=()):
    """nginx with all workers past their init_process: only then they take their title."""
    directory = bench.directory("nginx-" + arm)
    os.makedirs(directory + "/temporary", exist_ok=True)
    parts = {
        "plain": ("", "user root;", ""),
        "ours": (
            "load_module %s/adapters/nginx/ngx_forksafe_module.so;" % bench.build,
            "user root; forksafe %s;" % bench.ini_quiet,
            "",
        ),
        "lua": (
            "".join(
                "load_module /usr/lib/nginx/modules/%s_module.so;" % name for name in ("ndk_http", "ngx_http_lua")
            ),
            "user root;",
            LUA_HOOK,
        ),
    }
    load, main, http_part = parts[arm]
    port = free_port()
    with open(directory + "/nginx.conf", "w", encoding="utf-8") as file:
        file.write(NGINX % {"load": load, "main": main, "http": http_part, "workers": workers, "port": port})
    server = Server(["/usr/sbin/nginx", "-p", directory, "-c", "nginx.conf"], directory, None, counting)
    server.port = port
    wait_until(
        "nginx's workers",
        lambda: sum(b"worker process" in title(pid) for pid in server.workers()) == workers,
    )
    return server.ready()


def uwsgi(bench, arm, workers, counting=()):
    """uWSGI with all workers accepting: each says so with a byte into a pipe."""
    directory = bench.directory("uwsgi-" + arm)
    with open(directory + "/app.py", "w", encoding="utf-8") as file:
        file.write(APPLICATION)
    fifo = directory + "/accepting"
    if not os.path.exists(fifo):
        os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    port = free_port()
    argv = [
        "uwsgi",
        "--plugins-dir",
        bench.build + "/adapters/uwsgi",
        "--plugin",
        "/usr/lib/uwsgi/plugins/python3_plugin.so",
    ]
    if arm == "ours":
        argv += ["--plugin", bench.build + "/adapters/uwsgi/forksafe_plugin.so", "--forksafe", bench.ini_quiet]
    argv += [
        "--master",
        "--die-on-term",
        "--http-socket",
        "127.0.0.1:%d" % port,
        "--processes",
        str(workers),
        "--listen",
        "64",
        "--pythonpath",
        bench.site_packages,
        "--pythonpath",
        directory,
        "--module",
        "app",
        "--disable-logging",
        "--hook-accepting",
        "writefifo:%s 1" % fifo,
    ]
    server = Server(argv, directory, {"BENCH": arm}, counting)
    server.port, accepting = port, 0
    deadline = time.monotonic() + PATIENCE
    while accepting < workers and time.monotonic() < deadline and server.process.poll() is None:
        try:
            accepting += len(os.read(reader, 4096))
        except BlockingIOError:
            pass
        time.sleep(0.0005)
    os.close(reader)
    if accepting < workers:
        sys.exit("tests/bench: uWSGI (%s) has %d of %d workers; see %s/output" % (arm, accepting, workers, directory))
    return server.ready()


def gunicorn(bench, arm, workers, counting=()):
    """gunicorn with all workers past their initialisation: they have answered."""
    directory = bench.directory("gunicorn-" + arm)
    with open(directory + "/app.py", "w", encoding="utf-8") as file:
        file.write(APPLICATION)
    with open(directory + "/config.py", "w", encoding="utf-8") as file:
        module = {"ours": "forksafe", "theirs": "pyramid_forksafe"}.get(arm)
        file.write("from %s.containers.gunicorn import pre_fork, post_fork\n" % module if module else "")
    port = free_port()
    argv = [
        "/usr/bin/python3",
        "-m",
        "gunicorn",
        "--preload",
        "--config",
        "config.py",
        "--workers",
        str(workers),
        "--bind",
        "127.0.0.1:%d" % port,
        "app:application",
    ]
    path = ":".join([bench.build + "/python", bench.site_packages, directory])
    environment = {"BENCH": arm, "PYTHONPATH": path, "FORKSAFE_INI": bench.ini_quiet}
    server = Server(argv, directory, environment, counting)
    server.port = port
    wait_until("gunicorn's workers", lambda: len(server.workers()) == workers and pids_of(server, 1), 0.02)
    return server.ready()


def pids_of(server, requests):
    """Sends requests, each on a connection of its own; the pids that answered. Empty where nobody listens."""
    pids = set()
    for _ in range(requests):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/")
            pids.add(int(connection.getresponse().read()))
        except OSError:
            return set()
        finally:
            connection.close()
    return pids


def memory_after(server, requests):
    """Private kilobytes of a worker that served them; all of them, since there is one worker."""
    pids = pids_of(server, requests)
    if len(pids) != 1:
        sys.exit("tests/bench: %d workers answered instead of one" % len(pids))
    return private_kb(pids.pop())
