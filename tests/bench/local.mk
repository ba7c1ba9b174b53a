# tests/bench: measurements beside a peer, and the load programs that they need. `make check` builds the programs and
# tests the frame; tests/bench/bench measures.

check_PROGRAMS += tests/bench/big-cluster
tests_bench_big_cluster_SOURCES = tests/bench/big_cluster.c
tests_bench_big_cluster_CPPFLAGS = $(AM_CPPFLAGS) $(IO_CFLAGS)
tests_bench_big_cluster_LDADD = $(IO_LIBS)

check_PROGRAMS += tests/bench/placement
tests_bench_placement_SOURCES = tests/bench/placement.c tests/unit/plan_reference.h

check_PROGRAMS += tests/bench/agent-load
tests_bench_agent_load_SOURCES = tests/bench/agent_load.c tests/bench/load.h
tests_bench_agent_load_LDADD = $(CLI_LIBS)

check_PROGRAMS += tests/bench/sqlite-load
tests_bench_sqlite_load_SOURCES = tests/bench/sqlite_load.c tests/bench/load.h
tests_bench_sqlite_load_CPPFLAGS = $(AM_CPPFLAGS) $(SQLITE_CFLAGS)
tests_bench_sqlite_load_LDADD = $(SQLITE_LIBS)

check_PROGRAMS += tests/bench/quorum-watch
tests_bench_quorum_watch_SOURCES = tests/bench/quorum_watch.c
tests_bench_quorum_watch_CPPFLAGS = $(AM_CPPFLAGS) $(COROSYNC_CFLAGS)
tests_bench_quorum_watch_LDADD = $(COROSYNC_LIBS)

# Where there is no libnghttp2, tests/bench/bench says that etcd, the peer, is missing.
if HAVE_NGHTTP2
check_PROGRAMS += tests/bench/etcd-load
tests_bench_etcd_load_SOURCES = tests/bench/etcd_load.c tests/bench/load.h
tests_bench_etcd_load_CPPFLAGS = $(AM_CPPFLAGS) $(NGHTTP2_CFLAGS)
tests_bench_etcd_load_LDADD = $(NGHTTP2_LIBS)
endif

TESTS += tests/bench/test_frame.py tests/bench/test_large_node.py
EXTRA_DIST += tests/bench/bench tests/bench/fence_bench_bmc tests/bench/rmbench tests/bench/test_frame.py tests/bench/README.md \
	tests/bench/test_large_node.py
