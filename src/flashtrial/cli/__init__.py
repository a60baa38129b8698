"""The `flashtrial` command: composes the one-port app and speaks to the person at the terminal.

The only package that prints. Each module is one noun; `main` maps the command line to them and holds no logic.
"""
