# cli/ is clusterctl: the verb table, one file per noun; cli/io/ holds the libqb client and the tables.
# To add a file, add a line; `make` notices by itself. A header without a .c file has a line of its own.

clusterctl_SOURCES += cli/main.c
