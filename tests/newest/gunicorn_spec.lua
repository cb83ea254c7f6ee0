-- SPDX-License-Identifier: MIT
--
-- gunicorn's spec with the newest gunicorn.
local bin = require("support.paths").newest .. "/bin"

require("support.newest").again("gunicorn", { gunicorn = bin .. "/gunicorn", pserve = { bin .. "/python", "-m", "pyramid.scripts.pserve" } })
