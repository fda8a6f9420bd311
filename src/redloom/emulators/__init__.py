"""Stand-ins for the services: one file each, beside the provider of the same name.

An emulator speaks the service's protocol on a local port, keeps its limits, sets its traps and
writes down everything that it would have billed, so that the promise "paid once" can be tested
and a run can be tried without money. Shared parts: `service_time`, `faults`, `ledger`,
`pictures`, `server`; what belongs to one service is named for it (`dashscope_models`, …).

May import: errors, lang, clock (and aiohttp, Pillow).
"""
