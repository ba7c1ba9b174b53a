# tests/sim: the simulator, a second interpreter of the core's actions. It links core and base, nothing else.
# To add a file, add a line.

noinst_PROGRAMS += tests/sim/ringmaster-sim
tests_sim_ringmaster_sim_SOURCES =
tests_sim_ringmaster_sim_LDADD = $(CORE_LIBS)
tests_sim_ringmaster_sim_LDFLAGS = $(AM_LDFLAGS) -Wl,-Map=tests/sim/ringmaster-sim.map
CLEANFILES += tests/sim/ringmaster-sim.map

tests_sim_ringmaster_sim_SOURCES += tests/sim/ask.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/backups.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/blob.c tests/sim/blob.h
tests_sim_ringmaster_sim_SOURCES += tests/sim/bmc.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/check.c tests/sim/check.h
tests_sim_ringmaster_sim_SOURCES += tests/sim/coresim.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/dbsim.c tests/sim/sim.h
tests_sim_ringmaster_sim_SOURCES += tests/sim/diff.c tests/sim/diff.h
tests_sim_ringmaster_sim_SOURCES += tests/sim/disk.c tests/sim/disk.h
tests_sim_ringmaster_sim_SOURCES += tests/sim/host.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/in-place.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/main.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/matrix.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/net.c tests/sim/net.h
tests_sim_ringmaster_sim_SOURCES += tests/sim/perform.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/scenario.c tests/sim/scenario.h
tests_sim_ringmaster_sim_SOURCES += tests/sim/tasks.c
tests_sim_ringmaster_sim_SOURCES += tests/sim/world.c tests/sim/world.h
dist_check_SCRIPTS += tests/sim/run-core-seeds.sh
dist_check_SCRIPTS += tests/sim/run-matrix.sh
dist_check_SCRIPTS += tests/sim/run-seeds.sh
