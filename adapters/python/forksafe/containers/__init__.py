# SPDX-License-Identifier: MIT
"""The servers, one module each."""
