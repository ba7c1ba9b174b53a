# backup/ holds no code yet, see its README.md.
# To add a file, add a line in its part; `make` notices by itself. A header without a .c file has a line of its own.

# L1, pure, and L2, ports: backup/*.c, backup/*.h:
# libringmaster_core_a_SOURCES += backup/x.c backup/x.h

# L3, adapters: backup/io/*.c:
# libringmaster_io_a_SOURCES += backup/io/x.c backup/io/x.h

EXTRA_DIST += backup/README.md
