# SPDX-License-Identifier: MIT
"""Makes the reference data under tests/golden (see README.md in this folder)."""
