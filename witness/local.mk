# witness/ is the third voter: its record, and what keeps it.
# To add a file, add a line in its part; `make` notices by itself. A header without a .c file has a line of its own.

# L1, pure, and L2, ports: witness/*.c, witness/*.h:
# libringmaster_core_a_SOURCES += witness/x.c witness/x.h
libringmaster_core_a_SOURCES += witness/cause.c witness/cause.def
libringmaster_core_a_SOURCES += witness/port.h
libringmaster_core_a_SOURCES += witness/quorum.c witness/quorum.h
libringmaster_core_a_SOURCES += witness/record.c witness/record.h
libringmaster_core_a_SOURCES += witness/site.c witness/site.h

# L3, adapters: witness/io/*.c:
# libringmaster_io_a_SOURCES += witness/io/x.c witness/io/x.h
libringmaster_io_a_SOURCES += witness/io/answer.c witness/io/answer.h
libringmaster_io_a_SOURCES += witness/io/azure.c witness/io/azure.h
libringmaster_io_a_SOURCES += witness/io/azure-url.c witness/io/azure-url.h
libringmaster_io_a_SOURCES += witness/io/credentials.c witness/io/credentials.h
libringmaster_io_a_SOURCES += witness/io/file.c witness/io/file.h
libringmaster_io_a_SOURCES += witness/io/loop.h
libringmaster_io_a_SOURCES += witness/io/share.c witness/io/share.h
libringmaster_io_a_SOURCES += witness/io/sharedkey.c witness/io/sharedkey.h

EXTRA_DIST += witness/README.md
