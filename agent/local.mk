# agent/ is the daemon.
# To add a file, add a line in its part; `make` notices by itself. A header without a .c file has a line of its own.

# L1, pure: agent/*.c (core, cluster, request, status …) and agent/db/*.c:
# libringmaster_core_a_SOURCES += agent/x.c agent/x.h
libringmaster_core_a_SOURCES += agent/core.h
libringmaster_core_a_SOURCES += agent/port.h
libringmaster_core_a_SOURCES += agent/db/db.h

# L3, adapters: agent/io/*.c:
# libringmaster_io_a_SOURCES += agent/io/x.c agent/io/x.h

# L4, composition: exec.c, loop.c, main.c:
ringmasterd_SOURCES += agent/main.c
