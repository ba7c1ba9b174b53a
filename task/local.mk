# task/ is the cluster tasks: programs that run on one member, at the times of a calendar or by hand.
# To add a file, add a line in its part; `make` notices by itself. A header without a .c file has a line of its own.

# L1, pure, and L2, ports: task/*.c, task/*.h:
# libringmaster_core_a_SOURCES += task/x.c task/x.h
libringmaster_core_a_SOURCES += task/port.h
libringmaster_core_a_SOURCES += task/task.c task/task.h task/task-entry.h
libringmaster_core_a_SOURCES += task/task-apply.c
libringmaster_core_a_SOURCES += task/task-step.c
libringmaster_core_a_SOURCES += task/task-local.c

# L3, adapters: task/io/*.c:
# libringmaster_io_a_SOURCES += task/io/x.c task/io/x.h
libringmaster_io_a_SOURCES += task/io/runner.c task/io/runner.h
