# tests/witness: what stands between a witness adapter and its store, for tests/unit/test_witness_* and the lab.

check_PROGRAMS += tests/witness/witness-proxy
tests_witness_witness_proxy_SOURCES = tests/witness/proxy.c
tests_witness_witness_proxy_CPPFLAGS = $(AM_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_witness_witness_proxy_LDADD = libringmaster-base.a $(OPENSSL_LIBS) $(JANSSON_LIBS) -lpthread
