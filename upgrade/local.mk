# upgrade/ is the functional level, its gates, the rolling-upgrade run and its node steps.
# To add a file, add a line in its part; `make` notices by itself. A header without a .c file has a line of its own.

# L1, pure, and L2, ports: upgrade/*.c, upgrade/*.h:
# libringmaster_core_a_SOURCES += upgrade/x.c upgrade/x.h
libringmaster_core_a_SOURCES += upgrade/port.h
libringmaster_core_a_SOURCES += upgrade/level.c
libringmaster_core_a_SOURCES += upgrade/run.c
libringmaster_core_a_SOURCES += upgrade/run-apply.c
libringmaster_core_a_SOURCES += upgrade/run-step.c
libringmaster_core_a_SOURCES += upgrade/run-lead.c upgrade/run-lead.h
libringmaster_core_a_SOURCES += upgrade/run-executor.c
libringmaster_core_a_SOURCES += upgrade/run-canary.c
libringmaster_core_a_SOURCES += upgrade/run-entry.h
libringmaster_core_a_SOURCES += upgrade/report.c
libringmaster_core_a_SOURCES += upgrade/in-place.c
libringmaster_core_a_SOURCES += upgrade/check.c upgrade/check.h
libringmaster_core_a_SOURCES += upgrade/check-hosts.c
libringmaster_core_a_SOURCES += upgrade/check-vms.c
libringmaster_core_a_SOURCES += upgrade/platform.c upgrade/platform.h
libringmaster_core_a_SOURCES += upgrade/platform.def
libringmaster_core_a_SOURCES += upgrade/plan.c
libringmaster_core_a_SOURCES += upgrade/feature.def
libringmaster_core_a_SOURCES += upgrade/level.def
libringmaster_core_a_SOURCES += upgrade/level.h
libringmaster_core_a_SOURCES += upgrade/run.h

# The program of the executor in-place: a process of its own.
dist_pkglibexec_SCRIPTS = upgrade/io/upgrade-in-place

# L3, adapters: upgrade/io/*.c:
# libringmaster_io_a_SOURCES += upgrade/io/x.c upgrade/io/x.h
libringmaster_io_a_SOURCES += upgrade/io/executor.c upgrade/io/executor.h
