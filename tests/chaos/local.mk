# tests/chaos: the clients whose history tests/lab/chaos records and judges.

check_PROGRAMS += tests/chaos/chaos-client
tests_chaos_chaos_client_SOURCES = tests/chaos/client.c
tests_chaos_chaos_client_CPPFLAGS = $(AM_CPPFLAGS) $(COROSYNC_CFLAGS)
tests_chaos_chaos_client_LDADD = $(CLI_LIBS) $(COROSYNC_LIBS) -lpthread
