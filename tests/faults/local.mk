# tests/faults: a node that is killed at every write, on disks that lose power, fail and are full.

check_PROGRAMS += tests/faults/faults-node
tests_faults_faults_node_SOURCES = tests/faults/node.c
tests_faults_faults_node_CPPFLAGS = $(AM_CPPFLAGS) $(IO_CFLAGS)
tests_faults_faults_node_LDADD = $(IO_LIBS)

# RINGMASTER_TEST_LONG=1: all points, 200 power losses.
TESTS += tests/faults/kill_points.py tests/faults/power_loss.py
EXTRA_DIST += tests/faults/faultlib.py tests/faults/kill_points.py tests/faults/power_loss.py
