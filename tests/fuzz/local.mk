# tests/fuzz: one target a file, each a LLVMFuzzerTestOneInput.
# To add fuzz_x.c, add `fuzz_targets += tests/fuzz/fuzz_x` and its _SOURCES; what it found goes to tests/fuzz/corpus/x.
# `make check` replays the corpus with every target. Configured with --enable-fuzz (clang) the same programs are libFuzzer's:
# tests/fuzz/run FOLDER SECONDS.

fuzz_targets =
fuzz_targets += tests/fuzz/fuzz_answer
fuzz_targets += tests/fuzz/fuzz_apply
fuzz_targets += tests/fuzz/fuzz_calendar
fuzz_targets += tests/fuzz/fuzz_config
fuzz_targets += tests/fuzz/fuzz_credentials
fuzz_targets += tests/fuzz/fuzz_decode
fuzz_targets += tests/fuzz/fuzz_domxml
fuzz_targets += tests/fuzz/fuzz_join
fuzz_targets += tests/fuzz/fuzz_json
fuzz_targets += tests/fuzz/fuzz_manifest
fuzz_targets += tests/fuzz/fuzz_message
fuzz_targets += tests/fuzz/fuzz_qcow2
fuzz_targets += tests/fuzz/fuzz_refpoint
fuzz_targets += tests/fuzz/fuzz_request
fuzz_targets += tests/fuzz/fuzz_snapshot
fuzz_targets += tests/fuzz/fuzz_spec
fuzz_targets += tests/fuzz/fuzz_witness
EXTRA_DIST += tests/fuzz/run tests/fuzz/corpus

fuzz_main =
fuzz_link = $(AM_LDFLAGS)
if ENABLE_FUZZ
noinst_PROGRAMS += $(fuzz_targets)
fuzz_link += -fsanitize=fuzzer
else
check_PROGRAMS += $(fuzz_targets)
TESTS += $(fuzz_targets)
fuzz_main += tests/fuzz/replay.c
endif

tests_fuzz_fuzz_answer_SOURCES = tests/fuzz/fuzz_answer.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_answer_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_answer_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_apply_SOURCES = tests/fuzz/fuzz_apply.c $(fuzz_main) tests/fuzz/fuzz.h tests/fuzz/fuzz_core.h
tests_fuzz_fuzz_apply_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_apply_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_calendar_SOURCES = tests/fuzz/fuzz_calendar.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_calendar_LDADD = $(BASE_LIBS)
tests_fuzz_fuzz_calendar_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_config_SOURCES = tests/fuzz/fuzz_config.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_config_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_config_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_credentials_SOURCES = tests/fuzz/fuzz_credentials.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_credentials_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_credentials_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_decode_SOURCES = tests/fuzz/fuzz_decode.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_decode_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_decode_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_domxml_SOURCES = tests/fuzz/fuzz_domxml.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_domxml_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_domxml_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_join_SOURCES = tests/fuzz/fuzz_join.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_join_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_join_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_json_SOURCES = tests/fuzz/fuzz_json.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_json_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_json_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_message_SOURCES = tests/fuzz/fuzz_message.c $(fuzz_main) tests/fuzz/fuzz.h tests/fuzz/fuzz_core.h
tests_fuzz_fuzz_message_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_message_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_request_SOURCES = tests/fuzz/fuzz_request.c $(fuzz_main) tests/fuzz/fuzz.h tests/fuzz/fuzz_core.h
tests_fuzz_fuzz_request_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_request_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_snapshot_SOURCES = tests/fuzz/fuzz_snapshot.c $(fuzz_main) tests/fuzz/fuzz.h tests/fuzz/fuzz_core.h
tests_fuzz_fuzz_snapshot_LDADD = $(IO_LIBS)
tests_fuzz_fuzz_snapshot_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_witness_SOURCES = tests/fuzz/fuzz_witness.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_witness_LDADD = $(CORE_LIBS)
tests_fuzz_fuzz_witness_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_manifest_SOURCES = tests/fuzz/fuzz_manifest.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_manifest_LDADD = $(CORE_LIBS)
tests_fuzz_fuzz_manifest_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_qcow2_SOURCES = tests/fuzz/fuzz_qcow2.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_qcow2_LDADD = $(CORE_LIBS)
tests_fuzz_fuzz_qcow2_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_refpoint_SOURCES = tests/fuzz/fuzz_refpoint.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_refpoint_LDADD = $(CORE_LIBS)
tests_fuzz_fuzz_refpoint_LDFLAGS = $(fuzz_link)
tests_fuzz_fuzz_spec_SOURCES = tests/fuzz/fuzz_spec.c $(fuzz_main) tests/fuzz/fuzz.h
tests_fuzz_fuzz_spec_LDADD = $(CORE_LIBS)
tests_fuzz_fuzz_spec_LDFLAGS = $(fuzz_link)
