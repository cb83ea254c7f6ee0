-- SPDX-License-Identifier: MIT
--
-- Celery's spec with the newest Celery.
local bin = require("support.paths").newest .. "/bin"

require("support.newest").again("celery", { celery = { bin .. "/python", bin .. "/celery" }, interpreter = bin .. "/python" })
