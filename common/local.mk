# common/ is L0: errors, log sink, buffers, JSON, wire codec, IPC protocol, seeded PRNG.
# To add a file, add a line; `make` notices by itself. A header without a .c file has a line of its own.

libringmaster_base_a_SOURCES += common/buf.c
libringmaster_base_a_SOURCES += common/buf.h
libringmaster_base_a_SOURCES += common/calendar.c
libringmaster_base_a_SOURCES += common/calendar.h
libringmaster_base_a_SOURCES += common/entry.h
libringmaster_base_a_SOURCES += common/err.c
libringmaster_base_a_SOURCES += common/err.h
libringmaster_base_a_SOURCES += common/hash.c
libringmaster_base_a_SOURCES += common/hash.h
libringmaster_base_a_SOURCES += common/journal.c
libringmaster_base_a_SOURCES += common/journal.h
libringmaster_base_a_SOURCES += common/json.c
libringmaster_base_a_SOURCES += common/json.h
libringmaster_base_a_SOURCES += common/log.c
libringmaster_base_a_SOURCES += common/log.h
libringmaster_base_a_SOURCES += common/prng.c
libringmaster_base_a_SOURCES += common/prng.h
libringmaster_base_a_SOURCES += common/proto.c
libringmaster_base_a_SOURCES += common/proto.h
libringmaster_base_a_SOURCES += common/table.c
libringmaster_base_a_SOURCES += common/table.h
libringmaster_base_a_SOURCES += common/text.c
libringmaster_base_a_SOURCES += common/text.h
libringmaster_base_a_SOURCES += common/uuid.c
libringmaster_base_a_SOURCES += common/uuid.h
libringmaster_base_a_SOURCES += common/wire.c
libringmaster_base_a_SOURCES += common/wire.h
libringmaster_base_a_SOURCES += common/journal.h
