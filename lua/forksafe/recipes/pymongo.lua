-- SPDX-License-Identifier: MIT
--
-- require "forksafe.recipes.pymongo": every MongoClient of the worker gets a new topology: sockets, monitor threads, sessions and
-- locks of its own. Those of the parent stay as they are.
local recipe = require "forksafe.recipe"

local SOURCE = [[
def repair_pymongo():
    import threading

    module = sys.modules.get("pymongo.synchronous.mongo_client") or sys.modules.get("pymongo.mongo_client")
    if module is None:
        return None
    clients = recipe_instances(module.MongoClient)
    for client in clients:
        recipe_kept.append(client._topology)
        if hasattr(client, "_after_fork"):  # 4.3 and later, which uWSGI does not let it call by itself
            client._after_fork()
            continue
        client._MongoClient__lock = threading.Lock()
        client._topology = type(client._topology)(client._topology_settings)
    return len(clients)
]]

return recipe.subscribe {
  name = "pymongo",
  what = "clients with connections of their own",
  repair = function()
    return recipe.python(SOURCE, "repair_pymongo()")
  end,
}
