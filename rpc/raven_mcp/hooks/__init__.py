"""What a host's hooks hear of mail: answers in each host's form, the command `raven hook`, and its waiting form.

Imported by `tools`, `command` and `install`; `hook` imports neither click nor the
client, for each is a process of its own.
"""
