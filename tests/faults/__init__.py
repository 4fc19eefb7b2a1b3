"""The service under faults: a stream of uploads through real processes and servers, while all of them are mistreated.

`python -m tests.faults` runs it and writes docs/reliability.md; `test_faults.py` runs a short one. Data flows one way:
kinds of images -> the stream of uploads -> a site (broker, database, stores, the cast of processes) -> the judgement.
Beside it the schedule draws faults from `families/`, one module a family.
"""
