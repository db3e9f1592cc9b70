"""Thousands of clients that hold on to what they get, and one that only wants to be served.

Read `besiegers` (who they are), then `siege` (what is measured), then `test_siege`, which is the small one.
"""
