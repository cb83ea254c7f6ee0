-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.prometheus_client": mark_process_dead() for every worker that has ended, in the master, so that gauges
-- of the dead are not counted any more. For the multiprocess mode: PROMETHEUS_MULTIPROC_DIR names its directory.
local recipe = require "forksafe.recipe"

local SOURCE = [[
def repair_prometheus_client(pid):
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR") or os.environ.get("prometheus_multiproc_dir")
    if not directory or not os.path.isdir(directory):
        return None
    try:
        from prometheus_client import multiprocess
    except ImportError:
        return None

    def count():
        return sum(name.endswith("_%d.db" % pid) for name in os.listdir(directory))

    before = count()
    multiprocess.mark_process_dead(pid, directory)
    return before - count()
]]

return recipe.subscribe {
  name = "prometheus_client",
  what = "files of a dead worker removed",
  event = "ApplicationChildExit",
  on_error = "log", -- it runs in the master
  repair = function(event)
    return recipe.python(SOURCE, ("repair_prometheus_client(%d)"):format(event.child.pid))
  end,
}
