# tests/sim: the simulator, a second interpreter of the core's actions. It links core and base, nothing else.
# To add a file, add a line.
#
# noinst_PROGRAMS += tests/sim/ringmaster-sim
# tests_sim_ringmaster_sim_SOURCES =
# tests_sim_ringmaster_sim_LDADD = $(CORE_LIBS)
# tests_sim_ringmaster_sim_SOURCES += tests/sim/main.c
# TESTS += tests/sim/run-seeds.sh
