-- SPDX-License-Identifier: MIT
--
-- The arm without: the same server, the same event, and nothing is repaired.
return function() end
