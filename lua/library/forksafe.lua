---@meta forksafe
-- SPDX-License-Identifier: MIT
--
-- Types of what scripts see, for editors (the Lua language server: add this directory to `workspace.library`). Never
-- run; lua/forksafe/init.lua is the code.

---@alias forksafe.EventName
---| "ApplicationMasterReady" # master: it is up, before the first fork
---| "ApplicationPreFork" # the forking process: a worker is about to be forked
---| "ApplicationPostFork" # worker: just forked
---| "ApplicationPostWorkerInit" # worker: it has loaded the application
---| "ApplicationWorkerExit" # worker: about to exit in an orderly way
---| "ApplicationChildExit" # master: a worker was reaped
---| "ApplicationReload" # master: an in-place reload
---| "ApplicationShutdown" # master: orderly end

---@alias forksafe.Role
---| "worker" # serves requests or jobs
---| "master" # forks the workers
---| "helper" # forked, but serves nothing
---| "single" # no master: the one process does the work
---| "mold" # a worker from which other workers are forked

---@alias forksafe.OnError
---| "log" # say it and go on
---| "retire_worker" # the worker ends and is replaced
---| "stop_server" # the server shuts down in an orderly way

---How a child of the master ended.
---@class forksafe.Child
---@field pid integer
---@field worker? integer its slot, 1..N
---@field exit? integer exit status; nil where a signal ended it
---@field signal? integer nil where it exited

---What every event carries.
---@class forksafe.Registry
---@field settings table<string, string> the application's ini section as PasteDeploy gives it; read-only
---@field global_conf table<string, string> the rest that PasteDeploy gives: [DEFAULT], `set`, here, __file__; read-only
---@field forksafe? forksafe.Debug the debug object, built when first looked at

---One firing of an event. The same table serves the next firing: keep its values, not the table.
---@class forksafe.Event
---@field name forksafe.EventName
---@field registry forksafe.Registry
---@field container string "uwsgi", "gunicorn", "prefork", ...
---@field hook string "containers.uwsgi.post_fork_hook"
---@field pid integer
---@field ppid integer
---@field worker? integer stable slot 1..N; nil where the server has none
---@field role forksafe.Role
---@field generation integer 1, and up by one at each reload
---@field forked boolean false where the process is the original one
---@field app_loaded boolean the application is loaded in this process by now
---@field child? forksafe.Child ApplicationChildExit only
---@field process forksafe.Process

---The calling process, as the audit sees it. Remedies throw where it is no forked worker, and block nothing.
---@class forksafe.Process
---What was found not safe to fork so far, in this generation. Any process.
---@field findings fun(self: forksafe.Process): forksafe.debug.Finding[]
---Replaces inherited connections out of the server by dead sockets with the same descriptors: the library that has one
---sees a clean disconnect and connects anew. The master's own connection is not touched, nor is one that was opened
---since the fork. Takes peer (":5432", "10.0.0.5:5432", "/run/x.sock", * for any text) or all = true; returns how many.
---@field quarantine fun(self: forksafe.Process, options: { peer?: string, all?: boolean }): integer
---Gives the process private copies of inherited kernel objects under their descriptors: epoll sets with all they watch,
---eventfds with their count, timers with what is left, the socketpairs of event loops. Returns how many.
---@field unshare fun(self: forksafe.Process, kinds: ("epoll"|"eventfd"|"timerfd"|"socketpair")[]): integer

---A subscriber. What it throws is recorded with file, line and traceback; those after it still run.
---@alias forksafe.Subscriber fun(event: forksafe.Event)

---@class forksafe.SubscribeOptions
---@field order? integer 50; lower runs earlier, equal ones in the order in which they subscribed
---@field name? string unique for its event; by default the file's name and the line
---@field on_error? forksafe.OnError by default forksafe.on_error of the ini
---@field leader? string|true run only in the worker that leads under this name (true: the subscriber's own). At PostFork
---and PostWorkerInit a worker takes the lead if no living one of this master has it, and keeps it until it ends; at
---WorkerExit the subscriber runs if this worker has it. A run that fails at the taking gives it up again

---@alias forksafe.Outcome
---| "running" # begun
---| "unfinished" # begun, and its process has ended
---| "ok"
---| "error"
---| "timeout"
---| "memory"
---| "abandoned"
---| "queued"
---| "refused"

---One master and its journal. Times are RFC 3339 in UTC, here and below.
---@class forksafe.debug.Master
---@field pid integer
---@field journal? string path
---@field alive boolean
---@field generation integer
---@field created string
---@field opened string
---@field container string
---@field server_version? string
---@field forksafe_version string
---@field ini? string
---@field app? string
---@field forks table<forksafe.Role, integer>
---@field exits { clean: integer, failed: integer, signal: integer }
---@field records_overwritten integer
---@field slots_refused integer processes whose records were lost
---@field subscribers_refused integer
---@field retired integer workers that a subscriber's failure ended
---@field last_fork? string

---One process of a server.
---@class forksafe.debug.Process
---@field master integer pid
---@field pid integer
---@field ppid? integer
---@field role forksafe.Role
---@field worker? integer
---@field generation integer
---@field state "starting"|"ready"|"exiting"|"exited"|"gone"|"dead"
---@field alive boolean
---@field forked boolean
---@field app_loaded boolean
---@field since string
---@field ended? string
---@field exit_status? integer
---@field exit_signal? integer
---@field runs integer subscribers run
---@field failed integer of those, not ok
---@field slowest number seconds
---@field records integer
---@field error? string the newest error with its traceback

---What one worker of all does.
---@class forksafe.debug.Leader
---@field master integer pid
---@field name string
---@field pid? integer of the worker that leads; nil: none does
---@field worker? integer
---@field since? string
---@field taken integer how often the lead was taken

---@class forksafe.debug.Hook
---@field hook string "containers.uwsgi.post_fork_hook"
---@field event forksafe.EventName
---@field runs integer
---@field first_run? string

---One function that a script registered, with its exact counters.
---@class forksafe.debug.Subscriber
---@field name string
---@field event forksafe.EventName
---@field hook? string nil where this container never fires the event
---@field path? string
---@field line? integer nil: by its file name
---@field order integer
---@field on_error forksafe.OnError
---@field hash string of the script's text
---@field loaded_at string
---@field generation integer
---@field active boolean still subscribed
---@field stale? boolean the file is another by now
---@field begun integer
---@field outcomes table<forksafe.Outcome, integer>
---@field unfinished integer begun, and not ended
---@field total number seconds
---@field max number seconds
---@field buckets any[][] pairs of upper bound in seconds and runs

---One run of a subscriber, or one firing of a hook that has none.
---@class forksafe.debug.Record
---@field at string
---@field pid integer
---@field worker? integer
---@field role forksafe.Role
---@field generation integer
---@field hook string
---@field event forksafe.EventName
---@field subscriber? string
---@field outcome forksafe.Outcome
---@field duration? number seconds; nil where it has not ended
---@field forked boolean
---@field app_loaded boolean
---@field child? forksafe.Child

---Something the master had when it forked, which its children cannot safely use.
---@class forksafe.debug.Finding
---@field id string the same after a restart: a line of a baseline
---@field kind string "shared-connection", "shared-epoll", "lost-thread", ...
---@field severity "high"|"medium"|"low"
---@field what string
---@field fix string a line for postfork.lua
---@field peer? string of a connection: "10.0.0.5:5432", "[::1]:5432", a path
---@field thread? string name, with * for digits
---@field path? string
---@field object string the first of several
---@field descriptor? integer its number in the master
---@field count integer how many of this name the master had
---@field shared_by integer processes forked with it
---@field repaired_in integer of those, processes in which a remedy was used on it
---@field repairs integer objects that remedies have replaced, in all of them
---@field state "open"|"repaired"
---@field master integer pid
---@field generation integer
---@field first_seen string

---The debug object, schema forksafe.debug/1, as `forksafe debug` prints it.
---@class forksafe.Debug
---@field schema string
---@field generated_at string
---@field instance string
---@field status string "uWSGI hook configured"
---@field environment? string "uWSGI"; nil where no container was seen
---@field ["autoconfigure.log"] string[]
---@field executed_hooks string[][] pairs of hook and event, in order of first execution
---@field enabled boolean
---@field masters forksafe.debug.Master[]
---@field processes forksafe.debug.Process[]
---@field hooks forksafe.debug.Hook[]
---@field subscribers forksafe.debug.Subscriber[]
---@field leaders forksafe.debug.Leader[]
---@field records forksafe.debug.Record[]
---@field findings forksafe.debug.Finding[]

---@class forksafe
---@field version string "0.1.0"
forksafe = {}

---Runs `fn` at every firing of the event, within time_limit and memory_limit. Where it runs over its time inside one long
---call (a string pattern, table.sort), the Lua state is given up: subscribers and modules start anew in this process, as if
---the scripts had just been loaded. Only while scripts load: in the master, before the first fork. Throws for an unknown
---event or option, and for a name that is taken.
---@param event forksafe.EventName
---@param fn forksafe.Subscriber
---@param options? forksafe.SubscribeOptions
function forksafe.subscribe(event, fn, options) end

---Whether this very process leads under that name: the worker that took the lead, and no child that it forked.
---@param name string as in the option `leader` of subscribe
---@return boolean
function forksafe.is_leader(name) end

---One line each in the container's own log. With more arguments `text` is a format as of string.format. Any process.
---@class forksafe.Log
---@field debug fun(text: any, ...: any)
---@field info fun(text: any, ...: any)
---@field warning fun(text: any, ...: any)
---@field error fun(text: any, ...: any)
forksafe.log = {}

---Whether a setting says yes: true, yes, y, t, on or 1 in any case. Everything else is false, nil too; never an error.
---@param value any
---@return boolean
function forksafe.asbool(value) end

---The words of a setting, split at white space (commas stay), or with `flatten` false its lines.
---@param value string|string[]
---@param flatten? boolean true
---@return string[]
function forksafe.aslist(value, flatten) end

---An environment variable as it was in the master when the scripts were loaded; nil where it was not set. Its value is
---taken for a secret: it is cut out of error texts.
---@param name string
---@return string?
function forksafe.env(name) end

---Code of the application, in its own language and in this process: that of the interpreter that is here already (gunicorn's
---Python, that of uWSGI's plugin; Puma's Ruby). Strings (any bytes), numbers, booleans, nil and flat tables of them (a list, or
---strings as keys) cross both ways; what comes back and is none of these comes as its repr or inspect, as a string. Any process,
---in a subscriber or while scripts load; blocks as long as the called code does: `time_limit` does not count it, and the log says
---when it took longer.
---
---Nothing is called, and nil and a message come back, where there is nothing to call: "not loaded" (the application has not
---imported the module, or not defined the constant), "no python here", "no ruby here". (None comes back as nil alone.) What the
---called code raises is thrown as an error with its traceback; so is a refusal, where the interpreter must not be entered ("python
---is not in a sane state here: ...": in the middle of a fork, or where a thread that did not come along holds its lock). Of several
---Python interpreters in one process (uWSGI with several applications) it is the first.
---@class forksafe.Bridge
forksafe.python = {}

---Calls what `target` names: "package.module:name.name" in Python, "Some::Constant.method.method!" in Ruby, with the arguments. A
---last table with strings as keys (or an empty one) is keyword arguments; to hand such a table over as the last argument, put {}
---behind it. In Python the keyword `import = true` imports the module; else only what is imported already is found.
---@param target string
---@param ... string|number|boolean|table|nil
---@return string|number|boolean|table|nil value
---@return string? why
function forksafe.python.call(target, ...) end

---Runs statements. Names that it sets are there in the next exec and eval of the process, and nowhere else.
---@param source string
---@return nil
---@return string? why
function forksafe.python.exec(source) end

---The value of an expression.
---@param expression string
---@return string|number|boolean|table|nil value
---@return string? why
function forksafe.python.eval(expression) end

---@type forksafe.Bridge
forksafe.ruby = {}

---Gives a random number generator of the process a fresh seed: "libc" (random, rand, drand48), "openssl" (where OpenSSL is
---loaded). Does not block.
---@param generator "libc"|"openssl"
---@return integer 1, or 0 where there is none
function forksafe.reseed(generator) end

---What is known and safe, for the audit: it is no finding then. `*` stands for any text. Only while scripts load.
---@param mark { peer?: string, thread?: string, path?: string, kind?: string } one of peer, thread and path, or kind, or both
function forksafe.mark_safe(mark) end

---The debug object as JSON text, from this process's journal; nil where there is none. Does not block.
---@return string?
function forksafe.debug_json() end
