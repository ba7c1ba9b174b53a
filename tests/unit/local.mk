# tests/unit: cmocka programs, one per module.
# To add test_x.c, add `unit_tests += tests/unit/test_x` (its source is tests/unit/test_x.c). It links core and base.
# A header of the tests: `EXTRA_DIST += tests/unit/x.h`.
# A test of an adapter sees the adapters too when it says `tests_unit_test_x_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)`.

unit_tests =
unit_tests += tests/unit/test_access
unit_tests += tests/unit/test_buf
unit_tests += tests/unit/test_cluster_apply
unit_tests += tests/unit/test_cluster_step
unit_tests += tests/unit/test_corosync_conf
unit_tests += tests/unit/test_daemon
unit_tests += tests/unit/test_db_cluster
unit_tests += tests/unit/test_db_message
unit_tests += tests/unit/test_db_votes
unit_tests += tests/unit/test_db_witness
unit_tests += tests/unit/test_domxml
unit_tests += tests/unit/test_cli_bundle
unit_tests += tests/unit/test_cli_client
unit_tests += tests/unit/test_cli_man
unit_tests += tests/unit/test_cli_monitor
unit_tests += tests/unit/test_cli_request
unit_tests += tests/unit/test_cli_text
unit_tests += tests/unit/test_cli_wait
unit_tests += tests/unit/test_commands
unit_tests += tests/unit/test_err
unit_tests += tests/unit/test_executor
unit_tests += tests/unit/test_full_disk
unit_tests += tests/unit/test_hash
unit_tests += tests/unit/test_journal
unit_tests += tests/unit/test_json
unit_tests += tests/unit/test_level
unit_tests += tests/unit/test_membership
unit_tests += tests/unit/test_pki
unit_tests += tests/unit/test_place
unit_tests += tests/unit/test_prng_uuid
unit_tests += tests/unit/test_proto
unit_tests += tests/unit/test_progress
unit_tests += tests/unit/test_quorum
unit_tests += tests/unit/test_request
unit_tests += tests/unit/test_retry
unit_tests += tests/unit/test_run_apply
unit_tests += tests/unit/test_run_step
unit_tests += tests/unit/test_status
unit_tests += tests/unit/test_table
unit_tests += tests/unit/test_tls
unit_tests += tests/unit/test_upgrade_check
unit_tests += tests/unit/test_vm_apply
unit_tests += tests/unit/test_vm_local
unit_tests += tests/unit/test_vm_step
unit_tests += tests/unit/test_wire
unit_tests += tests/unit/test_config
unit_tests += tests/unit/test_host
unit_tests += tests/unit/test_ipc
unit_tests += tests/unit/test_pieces
unit_tests += tests/unit/test_process
unit_tests += tests/unit/test_store
unit_tests += tests/unit/test_witness_azure
unit_tests += tests/unit/test_witness_azurite
unit_tests += tests/unit/test_witness_file
unit_tests += tests/unit/test_witness_record
unit_tests += tests/unit/test_worker
check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)
LDADD = $(CORE_LIBS) $(CMOCKA_LIBS)
EXTRA_DIST += tests/unit/cli_world.h
EXTRA_DIST += tests/unit/data/status-mixed.json tests/unit/data/status-mixed.txt tests/unit/data/status-mixed.metrics
EXTRA_DIST += tests/unit/membernode.h
EXTRA_DIST += tests/unit/one_core.h
EXTRA_DIST += tests/unit/tempdir.h
EXTRA_DIST += tests/unit/unit.h
EXTRA_DIST += tests/unit/users.h
EXTRA_DIST += tests/unit/upgrade_world.h
EXTRA_DIST += tests/unit/db_cluster.h
EXTRA_DIST += tests/unit/vm_world.h
EXTRA_DIST += tests/unit/witness_certs.h
EXTRA_DIST += tests/unit/witness_world.h

# The store of its nodes is the simulator's.
tests_unit_test_db_cluster_SOURCES = tests/unit/test_db_cluster.c tests/sim/disk.c tests/sim/disk.h
tests_unit_test_db_witness_SOURCES = tests/unit/test_db_witness.c tests/sim/disk.c tests/sim/disk.h

# Of adapters.
tests_unit_test_domxml_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
# clusterctl and the core in one.
tests_unit_test_commands_LDADD = libringmaster-cli.a $(CORE_LIBS) $(QB_LIBS) $(SMARTCOLS_LIBS) $(CMOCKA_LIBS)
tests_unit_test_cli_bundle_LDADD = $(CLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_cli_man_LDADD = $(CLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_cli_monitor_LDADD = $(CLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_cli_client_LDADD = $(CLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_cli_request_LDADD = $(CLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_cli_text_LDADD = $(CLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_cli_wait_LDADD = $(CLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_executor_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_membership_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_pki_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_tls_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)

# Adapters of agent/io.
tests_unit_test_full_disk_LDADD = $(CLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_daemon_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_access_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_access_CPPFLAGS = $(AM_CPPFLAGS) $(QB_CFLAGS)
tests_unit_test_config_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_host_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_ipc_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_pieces_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_process_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_store_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_worker_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_ipc_CPPFLAGS = $(AM_CPPFLAGS) $(QB_CFLAGS)

# Adapters of witness/io.
tests_unit_test_witness_azure_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_witness_azure_CPPFLAGS = $(AM_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_witness_azurite_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
tests_unit_test_witness_azurite_CPPFLAGS = $(AM_CPPFLAGS) $(OPENSSL_CFLAGS) $(CURL_CFLAGS)
tests_unit_test_witness_file_LDADD = $(IO_LIBS) $(CMOCKA_LIBS)
