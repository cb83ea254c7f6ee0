-- SPDX-License-Identifier: MIT
--
-- The page of `forksafe serve` in a real browser, against a server that forks, fails hooks and loses workers while it is
-- watched: what its rows and bars say is what `forksafe debug` says at that moment.
local cjson = require "cjson"
local http = require "socket.http"
local ltn12 = require "ltn12"
local signal = require "posix.signal"
local socket = require "socket"
local prefork = require "containers.prefork_server"
local support = require "support"

local INI = "<script>document.title='broken'<script>.ini"
local OVERRIDE = "\226\128\174" -- U+202E: what follows is shown from right to left
local IMAGE = "<img src=x onerror=alert(1)>\27[2J" .. OVERRIDE
local ERROR = "\27[31mred\27[0m " .. OVERRIDE .. "gnp.exe <b>bold</b>"

local HOOKS = {
  -- Subscribers that begin a good millisecond apart; more, where the machine was busy.
  ["10-apart.lua"] = [[
    for i = 1, 6 do
      forksafe.subscribe("ApplicationPostFork", function()
        local till = os.clock() + 0.0011
        while os.clock() < till do end
      end, { name = "spin " .. i, order = i })
    end]],
  ["20-names.lua"] = ("forksafe.subscribe('ApplicationPostWorkerInit', function() end, { name = %q })"):format(IMAGE),
  ["30-fails.postfork.lua"] = ("return function(event) if event.worker == 2 then error(%q) end end"):format(ERROR),
}

-- A browser that shows nothing yet; options: width, height, scheme. In a PID namespace: all of it ends with its first process,
-- also what it daemonises.
local function open_browser(options)
  options = options or {}
  local home = support.tmpdir()
  local process = support.spawn { "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "node", support.paths.support .. "/page.mjs", support.paths.build .. "/npm/node_modules/playwright-core",
    tostring(options.width or 1280), tostring(options.height or 900), options.scheme or "light",
    env = { HOME = home, XDG_CONFIG_HOME = home, XDG_CACHE_HOME = home, TMPDIR = home } }
  local port = process:wait_for("port (%d+)\n", 60)
  local browser = {}

  -- Runs JavaScript, the body of an async function of `page` and `seen`, and returns what it returns.
  function browser.run(script)
    local answer = {}
    local _, status = http.request {
      url = "http://127.0.0.1:" .. port .. "/", method = "POST", source = ltn12.source.string(script), sink = ltn12.sink.table(answer),
      headers = { ["Content-Length"] = #script },
      create = function()
        local connection = socket.tcp()
        connection:settimeout(40)
        return connection
      end,
    }
    local text = table.concat(answer)
    if status ~= 200 then
      support.fail(("the browser says %s: %s\n%s"):format(tostring(status), text, process:output()), 2)
    end
    return cjson.decode(text).value
  end

  function browser.press(...)
    for _, key in ipairs { ... } do
      browser.run(("await page.locator('#grid').focus(); await page.keyboard.press(%q);"
        .. "await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))))"):format(key))
    end
  end

  return browser
end

local function serve(port, target)
  local process = support.spawn { support.paths.command, "serve", "--listen=127.0.0.1:" .. port, tostring(target) }
  support.http_wait(port, "/healthz")
  return process
end

-- What the page shows: every row and, with the window on everything, every bar.
local ROWS = [[
  return page.evaluate(() => [...document.querySelectorAll("#space > .process")].map((row) => ({
    ...row.dataset, level: row.getAttribute("aria-level"),
    bars: [...row.querySelectorAll(".bar")].map((bar) => ({ ...bar.dataset, label: bar.getAttribute("aria-label") })),
  })));]]

-- A line for each process and each of its records, from the debug object and from the page: to be compared as lists.
local function line_of_process(pid, role, alive)
  return ("%d %s %s"):format(pid, role, alive and "runs" or "ended")
end

local function line_of_record(pid, event, subscriber, outcome, seconds)
  return ("%d %s %s %s %.9f"):format(pid, event, subscriber, outcome, seconds)
end

local function told(object)
  local lines = {}
  for _, process in ipairs(object.processes) do
    table.insert(lines, line_of_process(process.pid, process.role, process.alive))
  end
  for _, record in ipairs(object.records) do
    local subscriber = record.subscriber ~= cjson.null and record.subscriber or "-"
    table.insert(lines, line_of_record(record.pid, record.event, subscriber, record.outcome, record.duration))
  end
  return prefork.sorted(lines)
end

local RUNNING = { starting = true, ready = true, exiting = true }

local function shown(rows)
  local lines = {}
  for _, row in ipairs(rows) do
    table.insert(lines, line_of_process(row.pid, row.role, RUNNING[row.state]))
    for _, bar in ipairs(row.bars) do
      assert.equal(row.pid, bar.pid)
      table.insert(lines, line_of_record(bar.pid, bar.event, bar.subscriber or "-", bar.outcome, tonumber(bar.duration)))
    end
  end
  return prefork.sorted(lines)
end

describe("the page of forksafe serve", function()
  local server, port, browser

  -- Waits until the page says what the command says; returns the page's rows and the debug object.
  local function agrees()
    local rows, object
    support.eventually("the page shows what forksafe debug tells", function()
      object = support.debug(server.pid)
      rows = browser.run(ROWS)
      local wanted, got = told(object), shown(rows)
      return table.concat(wanted, "\n") == table.concat(got, "\n"), { wanted = wanted, got = got }
    end, 20)
    return rows, object
  end

  local function row_of(rows, pid)
    for _, row in ipairs(rows) do
      if tonumber(row.pid) == pid then
        return row
      end
    end
    support.fail("no row of process " .. pid, 2)
  end

  -- The window of time that is shown, in microseconds: from, and how long.
  local function window()
    local from, to = unpack(browser.run "return page.evaluate(() => [document.getElementById('grid').dataset.from, document.getElementById('grid').dataset.to])")
    return tonumber(from), to - from
  end

  lazy_setup(function()
    local plain, directory = prefork.application(HOOKS, { "lua_libs = full", "instance = page" })
    local ini = support.write(directory .. "/" .. INI, support.read(plain))
    server = prefork.start { ini = ini, workers = 3 }
    prefork.wait_said(server, "PostWorkerInit")
    port = support.free_port()
    serve(port, server.pid)
    browser = open_browser()
    browser.run(("await page.goto('http://127.0.0.1:%d/'); await page.waitForSelector('[data-connection=live]');"):format(port))
    browser.press "0"
  end)

  it("shows each process's pid and each hook's outcome and duration as forksafe debug tells them", function()
    local rows, object = agrees()
    assert.equal(4, #rows)
    assert.same({ tostring(server.pid), "1", "ready" }, { rows[1].pid, rows[1].level, rows[1].state })
    for i, pid in ipairs(server:children()) do
      local row = row_of(rows, pid)
      assert.same({ "2", "worker" }, { row.level, row.role })
      assert.equal(i == 2 and 1 or 0, tonumber(row.failed))
    end
    local outcomes = {}
    for _, bar in ipairs(row_of(rows, server:children()[2]).bars) do
      outcomes[bar.subscriber] = bar.outcome
    end
    assert.same({ "ok", "ok", "error", "ok" }, { outcomes["spin 1"], outcomes["spin 6"], outcomes["30-fails.postfork"], outcomes[IMAGE] })
    assert.equal(object.status, browser.run "return page.textContent('#status-text')")
    assert.same(object["autoconfigure.log"], browser.run "return page.locator('#log li').allTextContents()")
  end)

  it("shows of each subscriber its counts, and latencies that its histogram allows", function()
    local object = support.debug(server.pid)
    local rows = browser.run [[return page.evaluate(() => [...document.querySelectorAll("#subscribers tbody tr")].map((row) => ({ ...row.dataset })))]]
    assert.equal(#object.subscribers, #rows)
    for i, subscriber in ipairs(object.subscribers) do
      local row = rows[i]
      assert.same({ subscriber.name, subscriber.event, subscriber.begun, subscriber.outcomes.error, subscriber.max },
        { row.subscriber, row.event, tonumber(row.begun), tonumber(row.failed), tonumber(row.max) })
      for share, value in pairs { [0.5] = row.p50, [0.95] = row.p95 } do
        local passed, lower = 0, 0
        for _, bucket in ipairs(subscriber.buckets) do
          passed = passed + bucket[2]
          if passed >= share * subscriber.begun and bucket[2] > 0 then
            assert.is_true(tonumber(value) >= math.min(lower, subscriber.max) and tonumber(value) <= math.min(bucket[1], subscriber.max))
            break
          end
          lower = bucket[1]
        end
      end
    end
  end)

  it("changes a killed worker's row and shows its successor's hooks, without navigation", function()
    local victim = prefork.by_worker(prefork.wait_said(server, "PostWorkerInit", 3))[2]
    local navigations = browser.run "return seen.navigations"
    browser.run(("await page.evaluate(() => { window.watched = document.querySelector('[data-row=p%d]'); })"):format(victim))
    signal.kill(victim, signal.SIGKILL)
    prefork.wait_said(server, "PostWorkerInit", 4)
    local rows, object = agrees()
    local row = row_of(rows, victim)
    assert.same({ "killed", "3" }, { row.state, row.level })
    local gone = prefork.process_of(object, victim)
    assert.same({ false, 9 }, { gone.alive, gone.exit_signal })
    local successor = row_of(rows, prefork.by_worker(prefork.said(server, "PostWorkerInit"))[2])
    assert.same({ "ready", "2", "2" }, { successor.state, successor.worker, successor.level })
    assert.same({ true, navigations }, browser.run "return [await page.evaluate(() => window.watched.isConnected && window.watched.dataset.state === 'killed'), seen.navigations]")
    assert.matches(victim .. ": killed by signal 9", browser.run "return page.textContent('#announcer')", 1, true)
  end)

  -- The two hooks of one process that began closest to each other, { pid, subscriber, other }, and the seconds between them.
  local function closest(object)
    local began, found, least = {}, nil, math.huge
    for _, record in ipairs(object.records) do
      began[record.pid .. " " .. tostring(record.subscriber)] = tonumber(record.at:match "([%d.]+)Z")
    end
    for _, one in ipairs { unpack(prefork.said(server, "PostFork"), 1, 3) } do
      for i = 1, 5 do
        local apart = began[one.pid .. " spin " .. i + 1] - began[one.pid .. " spin " .. i]
        if apart > 0 and apart < least then -- below 0: a minute ended between them
          found, least = { one.pid, "spin " .. i, "spin " .. i + 1 }, apart
        end
      end
    end
    return found, least
  end

  -- Where the bars of such a pair are: [left, right] of each, null where it is not drawn.
  local function boxes(pair)
    return browser.run(([[
      const box = async (name) => {
        const bar = page.locator(`.bar[data-pid="%d"][data-subscriber="${name}"]`);
        const box = await bar.count() ? await bar.boundingBox() : null;
        return box && [box.x, box.x + box.width];
      };
      return [await box("%s"), await box("%s")];]]):format(unpack(pair)))
  end

  -- Whether both can be seen, one right of the other.
  local function parted(pair)
    local first, second = unpack(boxes(pair))
    if first == cjson.null or second == cjson.null then
      return false, { first, second }
    end
    return second[1] >= first[2] - 1 and first[2] - first[1] > 20 and second[2] - second[1] > 20, { first, second }
  end

  it("tells two hooks a millisecond apart from each other, zoomed by wheel or by keys", function()
    local pair, apart = closest(support.debug(server.pid))
    assert.is_true(apart > 0.00099 and apart < 0.002, apart)

    browser.press "0"
    local before = boxes(pair)
    assert.is_true(before[2][1] - before[1][1] < 2, "they are in one place at first")

    support.eventually("the wheel has parted them", function()
      browser.run(([[
        const box = await page.locator('.bar[data-pid="%d"][data-subscriber="%s"]').boundingBox();
        await page.mouse.move(Math.max(box.x, 0) + 1, box.y + 5);
        await page.mouse.wheel(0, -200);]]):format(unpack(pair)))
      return parted(pair)
    end)

    browser.press "0"
    browser.run(([[
      await page.locator('[data-row=p%d] .who').click();
      await page.locator('#details tr', { hasText: '%s' }).click();]]):format(unpack(pair)))
    support.eventually("the keys have parted them", function()
      browser.press "+"
      return parted(pair)
    end)
    assert.matches(pair[2], browser.run "return page.textContent('#details .chosen')", 1, true)
    browser.press("Escape", "n", "0")
  end)

  it("zooms and moves by keyboard", function()
    browser.press "0"
    local from, span = window()
    browser.press("+", "+")
    local inside, closer = window()
    assert.is_true(closer < span / 2 and inside > from and inside + closer < from + span)
    browser.press "ArrowRight"
    local later, same = window()
    assert.is_true(later > inside and math.abs(same - closer) <= 2)
    browser.press "ArrowLeft"
    assert.is_true(math.abs(window() - inside) <= 2)
    browser.press("-", "-", "-")
    assert.is_true(select(2, window()) > span)
    browser.press("+", "0")
    assert.same({ from, span }, { window() })
  end)

  it("zooms by its buttons, and moves with what is dragged", function()
    browser.press "0"
    local _, span = window()
    browser.run "await page.click('#closer'); await page.click('#closer');"
    support.eventually("it is closer", function() return select(2, window()) < span / 2 end)
    browser.run "await page.click('#all')"
    support.eventually("everything is shown", function() return select(2, window()) == span end)
    local before = browser.run "return page.evaluate(() => parseFloat(document.querySelector('.bar').style.left))"
    browser.run [[
      const box = await page.locator("#axis").boundingBox();
      await page.mouse.move(box.x + 300, box.y + 60);
      await page.mouse.down();
      await page.mouse.move(box.x + 350, box.y + 60, { steps: 5 });
      await page.mouse.move(box.x + 400, box.y + 60, { steps: 5 });
      await page.mouse.up();]]
    support.eventually("the bars went with the pointer", function()
      local now = browser.run "return page.evaluate(() => parseFloat(document.querySelector('.bar').style.left))"
      return math.abs(now - before - 100) < 8, now
    end)
    browser.press "0"
  end)

  it("shows markup, terminal escapes and direction marks as text", function()
    local pid = prefork.by_worker(prefork.said(server, "PostWorkerInit"))[2]
    browser.run(([[await page.locator('[data-row=p%d] .who').click(); await page.waitForSelector('#details .traceback');]]):format(pid))
    local page = browser.run [[return page.evaluate(() => ({
      text: document.body.innerText, title: document.title,
      attributes: [...document.querySelectorAll("*")].map((one) => [one.title, one.ariaLabel].join(" ")).join("\n"),
      made: document.querySelectorAll("main img, main script, main b[onclick], .traceback b, [onerror]").length,
      ini: document.getElementById("masters").textContent,
      subscribers: [...document.querySelectorAll("#subscribers tbody th > bdi:first-child")].map((one) => one.textContent),
      traceback: document.querySelector("#details .traceback").textContent,
    }))]]
    assert.equal(0, page.made)
    assert.matches("/" .. INI, page.ini, 1, true)
    assert.matches(" \194\183 forksafe$", page.title)
    local names = table.concat(page.subscribers, "\n")
    assert.matches("<img src=x onerror=alert(1)>\226\144\155[2J\226\159\168U+202E\226\159\169", names, 1, true)
    assert.matches("\226\144\155[31mred\226\144\155[0m \226\159\168U+202E\226\159\169gnp.exe <b>bold</b>", page.traceback, 1, true)
    assert.matches("\nstack traceback:\n\t", page.traceback, 1, true)
    assert.matches("<img src=x onerror=alert(1)>\226\144\155[2J", page.attributes, 1, true)
    for _, text in ipairs { page.text, page.attributes } do
      assert.is_nil(text:find("\27", 1, true))
      assert.is_nil(text:find(OVERRIDE, 1, true))
    end
    assert.equal(0, browser.run "return seen.dialogs")
    browser.press "Escape"
  end)

  it("finds processes by words", function()
    browser.run "await page.fill('#filter', 'killed Say')"
    support.eventually("the one that was killed, and its master", function()
      local rows = browser.run(ROWS)
      return #rows == 2 and rows[2].worker == "2", rows
    end)
    browser.run "await page.fill('#filter', 'nobody is called so')"
    support.eventually("no row, and it says so", function()
      return #browser.run(ROWS) == 0 and browser.run "return page.isVisible('#empty')"
    end)
    browser.run "await page.fill('#filter', '')"
    agrees()
  end)

  it("can be read by who does not see it", function()
    local broken = browser.run [[
      return page.evaluate(() => {
        const named = (element) => element.getAttribute("aria-label") || element.textContent.trim() || element.labels?.length;
        const grid = document.getElementById("grid");
        return {
          levels: [...document.querySelectorAll("h1, h2")].map((one) => one.tagName).join(" "),
          nameless: [...document.querySelectorAll("button, input, select, a[href], [role=region], [role=img]")]
            .filter((one) => !named(one) && !one.getAttribute("aria-labelledby")).map((one) => one.outerHTML),
          rows: [...grid.querySelectorAll("[role=row]")].filter((row) => !row.querySelector("[role=rowheader], [role=columnheader]")).length,
          bare: [...document.querySelectorAll("th")].filter((cell) => !cell.scope).length,
          focusable: grid.tabIndex, count: Number(grid.getAttribute("aria-rowcount")),
        };
      });]]
    assert.matches("^H1 H2 H2", broken.levels)
    assert.same({ {}, 0, 0, 0 }, { broken.nameless, broken.rows, broken.bare, broken.focusable })
    assert.equal(1 + 1 + 3 + 1 + 1, broken.count) -- head, master, workers, "ended", the one that was killed
  end)

  it("asks nothing of anybody else, and breaks no policy", function()
    local seen = browser.run "return seen"
    local own = ("http://127.0.0.1:%d/"):format(port)
    local paths = {}
    for _, url in ipairs(seen.requests) do
      assert.is_true(url:sub(1, #own) == own or url:sub(1, 5) == "data:", url)
      paths[url:sub(#own + 1):match "^[^?]*"] = true
    end
    assert.is_true(paths["page.js"] and paths["page.css"] and paths["debug.json"] and paths.events)
    assert.same({}, seen.console)
    assert.same({}, seen.errors)
  end)
end)

describe("the page of forksafe serve, by itself,", function()
  local function start(options, browser_options)
    local server = prefork.start(options)
    prefork.wait_said(server, "PostWorkerInit")
    local port = support.free_port()
    local serving = serve(port, server.ini)
    local browser = open_browser(browser_options)
    browser.run(("await page.goto('http://127.0.0.1:%d/'); await page.waitForSelector('[data-connection=live]'); await page.waitForSelector('[data-pid].row');"):format(port))
    return server, port, serving, browser
  end

  it("says that the connection is lost, and goes on when it is back", function()
    local server, port, serving, browser = start { workers = 1 }
    serving:stop()
    browser.run "await page.waitForSelector('[data-connection=lost]'); await page.waitForSelector('#banner:visible');"
    assert.matches("trying again", browser.run "return page.textContent('#banner')", 1, true)
    local victim = server:children()[1]
    signal.kill(victim, signal.SIGKILL)
    prefork.wait_said(server, "PostWorkerInit", 2)
    serve(port, server.ini)
    browser.run(([[
      await page.waitForSelector("[data-connection=live]", { timeout: 20000 });
      await page.waitForSelector("#banner", { state: "hidden" });
      await page.waitForSelector("[data-pid='%d'][data-state=killed].row");
      await page.waitForSelector("[data-pid='%d'][data-state=ready].row");]]):format(victim, server:children()[1]))
    assert.equal(1, browser.run "return seen.navigations")
  end)

  it("draws what is in sight of many workers, and asks for the hooks of those alone", function()
    local server, _, _, browser = start({ workers = 80, keys = { "records = 32" } }, { height = 700 })
    browser.press "0"
    local count = browser.run "return page.locator('#space > .row').count()"
    assert.is_true(count > 15 and count < 50, count)
    assert.equal("82", browser.run "return page.getAttribute('#grid', 'aria-rowcount')") -- its head, the master, 80 workers
    browser.run "await page.evaluate(() => { document.getElementById('rows').scrollTop = 1e6; })"
    support.eventually("the last worker's row and its hooks", function()
      local rows = browser.run(ROWS)
      local last = rows[#rows]
      return last.worker == "80" and #last.bars == 2 and #rows < 50, last
    end)
    assert.equal(80, #server:children())
  end)

  it("fits on a small screen, and is dark where that is wanted", function()
    local _, _, _, browser = start({ workers = 2 }, { width = 360, height = 740, scheme = "dark" })
    local page = browser.run [[return page.evaluate(() => ({
      width: document.documentElement.scrollWidth, back: getComputedStyle(document.body).backgroundColor,
      lane: document.getElementById("axis").clientWidth, bars: document.querySelectorAll(".bar").length,
    }))]]
    assert.equal(360, page.width)
    assert.is_true(page.lane > 120 and page.bars > 0)
    local red = tonumber(page.back:match "rgb%((%d+)")
    assert.is_true(red < 60, page.back)
  end)
end)
