# upgrade/ is the functional level, its gates, the rolling-upgrade run and its node steps.
# To add a file, add a line in its part; `make` notices by itself. A header without a .c file has a line of its own.

# L1, pure, and L2, ports: upgrade/*.c, upgrade/*.h:
# libringmaster_core_a_SOURCES += upgrade/x.c upgrade/x.h
libringmaster_core_a_SOURCES += upgrade/port.h
libringmaster_core_a_SOURCES += upgrade/level.c
libringmaster_core_a_SOURCES += upgrade/run.c
libringmaster_core_a_SOURCES += upgrade/run-apply.c
libringmaster_core_a_SOURCES += upgrade/run-step.c
libringmaster_core_a_SOURCES += upgrade/run-entry.h
libringmaster_core_a_SOURCES += upgrade/check.c
libringmaster_core_a_SOURCES += upgrade/feature.def
libringmaster_core_a_SOURCES += upgrade/level.def
libringmaster_core_a_SOURCES += upgrade/level.h
libringmaster_core_a_SOURCES += upgrade/run.h

# L3, adapters: upgrade/io/*.c:
# libringmaster_io_a_SOURCES += upgrade/io/x.c upgrade/io/x.h
libringmaster_io_a_SOURCES += upgrade/io/executor.c upgrade/io/executor.h
