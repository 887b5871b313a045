# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""A program of its own that reads a ZKTeco terminal by pyzk, which is GPL-2.0.

Nothing of Punchstream imports it or pyzk, and it imports nothing of Punchstream: they talk by standard input and
output.
"""
