"""Fakes and contract suites that users of flashtrial may use in their own tests."""
