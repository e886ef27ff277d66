"""Today's ClickHouse engine (chDB, in this process) behind ClickHouse's HTTP interface.

    python chdb_bridge.py --path DIR [--port N] [--config FILE.xml] [--port-file FILE] [--log FILE]
                          [--account NAME:PASSWORD[:readonly]]... [--profile NAME=VALUE]... [--user NAME --password PASSWORD]
                          [--uid N [--gid N]] [--ignore-query-id]

Prints "ready http://127.0.0.1:PORT" once it answers; SIGTERM ends it.

What it does as a server does:

* The SQL is the body, or the parameter `query`, or both (`query`, a line feed, the body: that is how
  data are inserted). Bytes in, bytes out: names and values need not be UTF-8. GET is read-only.
* The format is the statement's FORMAT, else `default_format` (or the header X-ClickHouse-Format),
  else TabSeparated.
* Every URL parameter that is not one of HTTP's own is a setting of that one query. Each request runs
  on a connection (a session) of its own, made in 0.2 ms; `SET` gives it the settings before the
  statement, so they work for every kind of statement (SYSTEM and KILL take no SETTINGS clause) and
  nothing outlives the request. An unknown one gives the engine's own error, code 115. `param_x` is
  a query parameter.
* Errors: status 500, "Code: N. DB::Exception: ...", and the header X-ClickHouse-Exception-Code.
  A wrong user or password: status 403, code 516.
* `query_id`: chDB gives every query an id of its own. The one asked for is kept in the setting
  `log_comment`, and a statement that reads `system.processes` or says `KILL QUERY` sees it as the
  `query_id` (so a `log_comment` of one's own takes its place). One that is running already is refused with code 216.

What differs: no compression, no `session_id` (every request stands alone), no progress headers; a
result is sent when it is complete. A query goes on when its client has gone.

Two things are set to what a server has: umask 027, and a database `default` of the engine Atomic
(chDB makes an Overlay, whose tables show neither uuid nor metadata_path).
"""

import argparse
import base64
import codecs
import contextlib
import ctypes
import hmac
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from urllib.parse import parse_qsl, urlsplit

import chdb
from chdb import ChdbError, _chdb

# What a server takes for itself. Others that concern HTTP (`send_progress_in_http_headers`) are
# settings like any: the engine knows them, and they mean nothing here.
HTTP_PARAMETERS = frozenset(
    """database default_format query query_id compress decompress user password quota_key session_id
    session_timeout session_check stacktrace wait_end_of_query buffer_size role close_session
    client_protocol_version""".split()
)
CONTENT_TYPES = {
    b"TabSeparated": "text/tab-separated-values; charset=UTF-8",
    b"JSON": "application/json; charset=UTF-8",
    b"JSONEachRow": "application/x-ndjson; charset=UTF-8",
    b"CSV": "text/csv; charset=UTF-8",
}
LAST_FORMAT = re.compile(rb"\bFORMAT\s+([A-Za-z0-9_]+)\s*;?\s*$", re.IGNORECASE)
INSERT = re.compile(rb"^\s*INSERT\s+INTO\b", re.IGNORECASE)
ERROR_CODE = re.compile(r"Code: (\d+)")
PROCESSES = re.compile(rb"(\b(?:FROM|JOIN)\s+)`?system`?\.`?processes`?", re.IGNORECASE)
KILL_QUERY = re.compile(rb"^\s*KILL\s+QUERY\b", re.IGNORECASE)
QUERY_ID_TAG = b"query_id="
QUERY_ID = (
    b"if(startsWith(Settings['log_comment'], 'query_id='), substring(Settings['log_comment'], 10), query_id)"
)

PR_SET_PDEATHSIG, PR_GET_PDEATHSIG = 1, 2


class QueryError(Exception):
    """An answer that is an error: its ClickHouse code and HTTP status."""

    def __init__(self, code, message, status=500):
        super().__init__(f"Code: {code}. DB::Exception: {message}")
        self.code = code
        self.status = status


class Account:
    """Settings are those of a profile: a request may change them, but not where they are fixed."""

    def __init__(self, password, readonly=False, settings=(), fixed=False):
        self.password = password
        self.readonly = readonly
        self.settings = list(settings)
        self.fixed = fixed


def literal(value):
    """A value as a string literal, whatever bytes it has."""
    return b"'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"


def name(value):
    return b"`" + value.replace(b"\\", b"\\\\").replace(b"`", b"\\`") + b"`"


def as_bytes(text):
    return text.encode("utf-8", "surrogateescape")


class Engine:
    """The engine of this process. Closing its last connection would close it, so one stays open."""

    def __init__(self, arguments):
        self.target = arguments.path
        if arguments.config:
            # chDB takes the log's level from here, not from the configuration, and its own is `trace`.
            self.target += f"?config-file={arguments.config}&log-level={arguments.log_level}"
        self.keeps_query_ids = not arguments.ignore_query_id
        self.running = set()
        self.lock = threading.Lock()
        self.connection = chdb.connect(self.target)
        self.make_default_database_atomic(arguments.path)

    def make_default_database_atomic(self, path):
        if self.ask("SELECT engine FROM system.databases WHERE name = 'default'") != "Overlay":
            return
        if self.ask("SELECT count() FROM system.tables WHERE database = 'default'") == "0":
            # New, or without a table at an earlier start: the engine cannot attach an empty one again.
            self.ask("DROP DATABASE default")
            self.ask("CREATE DATABASE default ENGINE = Atomic")
        elif os.path.exists(os.path.join(path, "metadata/default.sql")):
            # Made by an earlier start. chDB has laid its Overlay around it; this takes that off.
            self.ask("DETACH DATABASE default")
            self.ask("ATTACH DATABASE default")

    def ask(self, sql):
        return self.connection.query(sql, "TabSeparated").bytes().decode().strip()

    def run(self, sql, output_format, database, settings, readonly, query_id, query_parameters):
        if not sql.strip():
            raise QueryError(62, "Syntax error: failed at position 1 (end of query): Empty query. (SYNTAX_ERROR)", 400)
        if not (query_id and self.keeps_query_ids):
            return self.run_on_own_connection(sql, output_format, database, settings, readonly, query_parameters)
        with self.lock:
            if query_id in self.running:
                raise QueryError(
                    216,
                    f"Query with id = {query_id.decode('utf-8', 'replace')} is already running. "
                    "(QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)",
                )
            self.running.add(query_id)
        try:
            settings = [(b"log_comment", QUERY_ID_TAG + query_id)] + settings
            return self.run_on_own_connection(sql, output_format, database, settings, readonly, query_parameters)
        finally:
            with self.lock:
                self.running.discard(query_id)

    def run_on_own_connection(self, sql, output_format, database, settings, readonly, query_parameters):
        connection = chdb.connect(self.target)
        try:
            if database:
                connection.query(b"USE " + name(database), "TabSeparated")
            tag = [setting for setting in settings if setting[0] == b"log_comment"]
            rest = [setting for setting in settings if setting[0] != b"log_comment"]
            # The order matters: nothing may be set any more once readonly is 1.
            for batch in (tag, [(b"readonly", readonly)] if readonly else [], rest):
                if batch:
                    pairs = [name(key) + b" = " + literal(value) for key, value in batch]
                    connection.query(b"SET " + b", ".join(pairs), "TabSeparated")
            if self.keeps_query_ids:
                sql = self.show_query_ids(sql)
            options = {"params": query_parameters} if query_parameters else {}
            result = connection.query(sql, output_format, **options)
            return result.bytes() if result is not None else b""
        finally:
            connection.close()

    def show_query_ids(self, sql):
        if KILL_QUERY.match(sql):
            return re.sub(rb"\bquery_id\b", lambda _: QUERY_ID, sql)
        subquery = rb"\1(SELECT * REPLACE (" + QUERY_ID + rb" AS query_id) FROM system.processes) AS processes"
        # An alias that the statement gives itself stays valid only without ours.
        if re.search(PROCESSES.pattern + rb"\s+AS\b", sql, re.IGNORECASE):
            subquery = subquery[: -len(b" AS processes")]
        return PROCESSES.sub(subquery, sql)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "ClickHouse"
    timeout = 600
    # Headers and body are written at once, or Nagle and delayed ACK cost 40 ms an answer.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer_request(body=b"", reads_only=True)

    def do_HEAD(self):
        self.answer(200, b"Ok.\n")

    def do_POST(self):
        body = self.read_body()
        if body is not None:
            self.answer_request(body, reads_only=False)

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            chunks = []
            while True:
                size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
                if size == 0:
                    while self.rfile.readline().strip():
                        pass
                    return b"".join(chunks)
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return None
        return body

    def answer_request(self, body, reads_only):
        url = urlsplit(self.path)
        query_string = url.query
        # `surrogateescape` keeps bytes that are no UTF-8.
        pairs = parse_qsl(query_string, keep_blank_values=True, encoding="utf-8", errors="surrogateescape")
        parameters = [(as_bytes(key), as_bytes(value)) for key, value in pairs]
        known = dict(parameters)
        if url.path in ("/ping", "/replicas_status") or (url.path == "/" and reads_only and b"query" not in known):
            return self.answer(200, b"Ok.\n")
        if url.path not in ("", "/"):
            return self.answer(404, f"There is no handle {url.path}\n".encode())
        sql = known.get(b"query", b"")
        with rows_as_file(sql, body) as insert:
            self.answer_query(insert or (sql + b"\n" + body if sql and body else sql or body), parameters, reads_only)

    def answer_query(self, sql, parameters, reads_only):
        started, known = time.monotonic(), dict(parameters)
        headers = {"X-ClickHouse-Query-Id": known.get(b"query_id", b"").decode("latin-1")} if b"query_id" in known else {}
        status, code = 200, 0
        try:
            answer, output_format = self.execute(sql, parameters, known, reads_only)
            headers["X-ClickHouse-Format"] = output_format.decode("latin-1")
            content_type = CONTENT_TYPES.get(output_format, "application/octet-stream")
        except (QueryError, ChdbError, RuntimeError) as error:
            message = str(error)
            found = ERROR_CODE.search(message)
            code = int(found.group(1)) if found else 1002
            status = getattr(error, "status", 500)
            if not found:
                message = f"Code: 1002. DB::Exception: {message}"
            answer = message.encode("utf-8", "surrogateescape") + b"\n"
            content_type = "text/plain; charset=UTF-8"
            headers["X-ClickHouse-Exception-Code"] = str(code)
        except Exception as error:  # the bridge's own fault: say so, go on serving
            traceback.print_exc()
            status, code = 500, 1002
            answer = f"Code: 1002. DB::Exception: the bridge failed: {error!r}\n".encode()
            content_type = "text/plain; charset=UTF-8"
            headers["X-ClickHouse-Exception-Code"] = "1002"
        self.server.note(started, status, code, sql)
        self.answer(status, answer, content_type, headers)

    def execute(self, sql, parameters, known, reads_only):
        account = self.authenticate(known)
        for switch in (b"compress", b"decompress"):
            if known.get(switch, b"0") not in (b"0", b"", b"false"):
                raise QueryError(48, f"{switch.decode()}=1 is not supported by this bridge. (NOT_IMPLEMENTED)", 501)
        settings, query_parameters = [setting for setting in account.settings if setting[0] not in known], {}
        profile = dict(account.settings) if account.fixed else {}
        for key, value in parameters:
            if key.startswith(b"param_"):
                query_parameters[key[6:].decode()] = value.decode("utf-8", "replace")
            elif profile.get(key, value) != value:
                message = f"Setting {as_text(key)} should not be changed. (SETTING_CONSTRAINT_VIOLATION)"
                raise QueryError(452, message)
            elif as_text(key) not in HTTP_PARAMETERS:
                settings.append((key, value))
        database = known.get(b"database") or self.header("X-ClickHouse-Database")
        output_format = known.get(b"default_format") or self.header("X-ClickHouse-Format") or b"TabSeparated"
        stated = LAST_FORMAT.search(sql)
        readonly = b"1" if account.readonly else b"2" if reads_only else b""
        answer = self.server.engine.run(
            sql,
            as_text(output_format),
            database,
            settings,
            readonly,
            known.get(b"query_id", b""),
            query_parameters,
        )
        return answer, stated.group(1) if stated else output_format

    def header(self, key):
        value = self.headers.get(key)
        return value.encode("latin-1") if value else b""

    def authenticate(self, known):
        user, password = known.get(b"user"), known.get(b"password")
        authorization = self.headers.get("Authorization", "")
        if self.headers.get("X-ClickHouse-User") is not None:
            user, password = self.header("X-ClickHouse-User"), self.header("X-ClickHouse-Key")
        elif authorization.lower().startswith("basic "):
            try:
                decoded = base64.b64decode(authorization[6:])
            except ValueError:
                decoded = b""
            user, _, password = decoded.partition(b":")
        user = user or b"default"
        account = self.server.accounts.get(user)
        if account is None or not hmac.compare_digest(account.password, password or b""):
            raise QueryError(
                516,
                f"{as_text(user)}: Authentication failed: password is incorrect, "
                "or there is no user with such name. (AUTHENTICATION_FAILED)",
                403,
            )
        return account

    def answer(self, status, body, content_type="text/html; charset=UTF-8", headers=None):
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            for key, value in (headers or {}).items():
                self.send_header(key, value.replace("\r", " ").replace("\n", " "))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            pass


@contextlib.contextmanager
def rows_as_file(query, rows):
    """The INSERT that reads these rows from a file, if they have an empty line: after a statement's text the engine takes
    that for their end, and binary formats have such bytes anywhere. (From a file it takes no MATERIALIZED columns.)"""
    stated = LAST_FORMAT.search(query) if b"\n\n" in rows and INSERT.match(query) else None
    if not stated:
        yield None
        return
    with tempfile.NamedTemporaryFile(prefix="chdb-rows-") as file:
        file.write(rows)
        file.flush()
        source = f"FROM INFILE '{file.name}' COMPRESSION 'none' ".encode()
        yield query[: stated.start()] + source + query[stated.start() :]


def as_text(value):
    return value.decode("utf-8", "surrogateescape")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, port, engine, accounts, log):
        super().__init__(("127.0.0.1", port), Handler)
        self.engine = engine
        self.accounts = accounts
        self.log = log

    def server_bind(self):
        # HTTPServer's own asks the resolver for a host name.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def note(self, started, status, code, sql):
        if self.log:
            seconds = time.monotonic() - started
            moment = time.strftime("%H:%M:%S")
            shown = sql[:500].decode("utf-8", "backslashreplace").replace("\n", " ")
            self.log.write(f"{moment} {status} code={code} {seconds:.3f}s {shown}\n")


def become(uid, gid):
    """Goes on as another user. The interpreter and the engine are loaded by then: they may lie where
    that user cannot read."""
    for late in ("ascii", "latin-1", "utf-8", "idna"):
        codecs.lookup(late)
    libc = ctypes.CDLL(None)
    death_signal = ctypes.c_int()
    libc.prctl(PR_GET_PDEATHSIG, ctypes.byref(death_signal))
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # A change of user clears the signal.
    libc.prctl(PR_SET_PDEATHSIG, death_signal.value)


def accounts_of(arguments):
    accounts = {b"default": Account(b"")}
    for account in arguments.account:
        user, _, rest = account.partition(":")
        password, _, kind = rest.partition(":")
        accounts[os.fsencode(user)] = Account(os.fsencode(password), kind == "readonly")
    if arguments.profile:
        settings = [tuple(as_bytes(setting).split(b"=", 1)) for setting in arguments.profile]
        accounts[b"limited"] = Account(b"", settings=settings)
        accounts[b"bound"] = Account(b"", settings=settings, fixed=True)
    if arguments.user:
        accounts[os.fsencode(arguments.user)] = Account(os.fsencode(arguments.password))
    return accounts


def main():
    parser = argparse.ArgumentParser(description="ClickHouse's HTTP interface over chDB")
    parser.add_argument("--path", required=True, help="data directory")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--config", help="server configuration (XML)")
    parser.add_argument("--log-level", default="information", help="of the log that --config names")
    parser.add_argument("--port-file", help="the port is written here once the bridge answers")
    parser.add_argument("--log", help="one line for each request")
    parser.add_argument("--account", action="append", default=[], help="NAME:PASSWORD[:readonly]")
    parser.add_argument("--profile", action="append", default=[], help="NAME=VALUE of the users limited and bound")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--uid", type=int, help="serve as this numeric user")
    parser.add_argument("--gid", type=int, help="and group (default: as --uid)")
    parser.add_argument("--ignore-query-id", action="store_true")
    arguments = parser.parse_args()

    log = open(arguments.log, "a", buffering=1, encoding="utf-8", errors="backslashreplace") if arguments.log else None
    if arguments.uid is not None:
        become(arguments.uid, arguments.uid if arguments.gid is None else arguments.gid)
    os.umask(0o027)

    _chdb.set_signal_handlers_enabled(0)
    ends = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ends.set())

    engine = Engine(arguments)
    server = Server(arguments.port, engine, accounts_of(arguments), log)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    if arguments.port_file:
        with open(arguments.port_file + ".new", "wb") as file:
            file.write(b"%d\n" % server.server_port)
        os.rename(arguments.port_file + ".new", arguments.port_file)
    print(f"ready http://127.0.0.1:{server.server_port}", flush=True)

    ends.wait()
    server.socket.close()
    # The engine writes each part before it answers, so nothing is lost by not waiting for what runs.
    closing = threading.Thread(target=engine.connection.close, daemon=True)
    closing.start()
    closing.join(2)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
