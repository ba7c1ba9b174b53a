# cli/ is clusterctl: the verb table, one file per noun; cli/io/ holds the libqb client and the tables.
# To add a file, add a line; `make` notices by itself. A header without a .c file has a line of its own.
# All but main.c is a library, which the unit tests link too.

noinst_LIBRARIES += libringmaster-cli.a
libringmaster_cli_a_SOURCES =
libringmaster_cli_a_CPPFLAGS = $(AM_CPPFLAGS) $(QB_CFLAGS) $(SMARTCOLS_CFLAGS)

clusterctl_SOURCES += cli/main.c

libringmaster_cli_a_SOURCES += cli/call.c cli/call.h
libringmaster_cli_a_SOURCES += cli/env.h
libringmaster_cli_a_SOURCES += cli/follow.c cli/follow.h
libringmaster_cli_a_SOURCES += cli/goal.c cli/goal.h
libringmaster_cli_a_SOURCES += cli/invocation.c
libringmaster_cli_a_SOURCES += cli/metrics.c cli/metrics.h
libringmaster_cli_a_SOURCES += cli/print.c cli/print.h
libringmaster_cli_a_SOURCES += cli/verb.c cli/verb.h
libringmaster_cli_a_SOURCES += cli/watch.c cli/watch.h

# Nouns.
libringmaster_cli_a_SOURCES += cli/noun.c cli/noun.h
libringmaster_cli_a_SOURCES += cli/backup.c
libringmaster_cli_a_SOURCES += cli/bundle.c
libringmaster_cli_a_SOURCES += cli/check.c
libringmaster_cli_a_SOURCES += cli/cluster.c
libringmaster_cli_a_SOURCES += cli/events.c
libringmaster_cli_a_SOURCES += cli/job.c
libringmaster_cli_a_SOURCES += cli/level.c
libringmaster_cli_a_SOURCES += cli/node.c
libringmaster_cli_a_SOURCES += cli/plan.c
libringmaster_cli_a_SOURCES += cli/quorum.c
libringmaster_cli_a_SOURCES += cli/status.c
libringmaster_cli_a_SOURCES += cli/task.c
libringmaster_cli_a_SOURCES += cli/upgrade.c
libringmaster_cli_a_SOURCES += cli/version.c
libringmaster_cli_a_SOURCES += cli/vm.c
libringmaster_cli_a_SOURCES += cli/witness.c

# L3, adapters.
libringmaster_cli_a_SOURCES += cli/io/archive.c cli/io/archive.h
libringmaster_cli_a_SOURCES += cli/io/client.c cli/io/client.h
libringmaster_cli_a_SOURCES += cli/io/file.c cli/io/file.h
libringmaster_cli_a_SOURCES += cli/io/program.c cli/io/program.h
libringmaster_cli_a_SOURCES += cli/io/scrub.c cli/io/scrub.h
libringmaster_cli_a_SOURCES += cli/io/table.c cli/io/table.h
libringmaster_cli_a_SOURCES += cli/io/terminal.c cli/io/terminal.h

# What --output json prints: a contract, installed for those who read it.
schemadir = $(datadir)/ringmaster/schemas
dist_schema_DATA =
dist_schema_DATA += cli/schemas/backup-cancel.schema.json
dist_schema_DATA += cli/schemas/backup-list.schema.json
dist_schema_DATA += cli/schemas/backup-restore.schema.json
dist_schema_DATA += cli/schemas/backup-schedule-add.schema.json
dist_schema_DATA += cli/schemas/backup-schedule-list.schema.json
dist_schema_DATA += cli/schemas/backup-schedule-remove.schema.json
dist_schema_DATA += cli/schemas/backup-start.schema.json
dist_schema_DATA += cli/schemas/backup-verify.schema.json
dist_schema_DATA += cli/schemas/check.schema.json
dist_schema_DATA += cli/schemas/cluster-config-apply.schema.json
dist_schema_DATA += cli/schemas/cluster-config-set.schema.json
dist_schema_DATA += cli/schemas/cluster-config-show.schema.json
dist_schema_DATA += cli/schemas/cluster-init.schema.json
dist_schema_DATA += cli/schemas/cluster-join-token.schema.json
dist_schema_DATA += cli/schemas/common.schema.json
dist_schema_DATA += cli/schemas/error.schema.json
dist_schema_DATA += cli/schemas/events.schema.json
dist_schema_DATA += cli/schemas/job-cancel.schema.json
dist_schema_DATA += cli/schemas/job-list.schema.json
dist_schema_DATA += cli/schemas/job-show.schema.json
dist_schema_DATA += cli/schemas/level-raise.schema.json
dist_schema_DATA += cli/schemas/level-show.schema.json
dist_schema_DATA += cli/schemas/line.schema.json
dist_schema_DATA += cli/schemas/node-drain.schema.json
dist_schema_DATA += cli/schemas/node-evict.schema.json
dist_schema_DATA += cli/schemas/node-join.schema.json
dist_schema_DATA += cli/schemas/node-list.schema.json
dist_schema_DATA += cli/schemas/node-resume.schema.json
dist_schema_DATA += cli/schemas/node-set.schema.json
dist_schema_DATA += cli/schemas/node-show.schema.json
dist_schema_DATA += cli/schemas/quorum-force.schema.json
dist_schema_DATA += cli/schemas/quorum-prevent.schema.json
dist_schema_DATA += cli/schemas/quorum-show.schema.json
dist_schema_DATA += cli/schemas/reference-delete.schema.json
dist_schema_DATA += cli/schemas/reference-list.schema.json
dist_schema_DATA += cli/schemas/reference-show.schema.json
dist_schema_DATA += cli/schemas/repository-add.schema.json
dist_schema_DATA += cli/schemas/repository-list.schema.json
dist_schema_DATA += cli/schemas/repository-remove.schema.json
dist_schema_DATA += cli/schemas/status.schema.json
dist_schema_DATA += cli/schemas/support-bundle.schema.json
dist_schema_DATA += cli/schemas/task-add.schema.json
dist_schema_DATA += cli/schemas/task-list.schema.json
dist_schema_DATA += cli/schemas/task-remove.schema.json
dist_schema_DATA += cli/schemas/task-run.schema.json
dist_schema_DATA += cli/schemas/task-show.schema.json
dist_schema_DATA += cli/schemas/upgrade-abort.schema.json
dist_schema_DATA += cli/schemas/upgrade-approve.schema.json
dist_schema_DATA += cli/schemas/upgrade-check.schema.json
dist_schema_DATA += cli/schemas/upgrade-pause.schema.json
dist_schema_DATA += cli/schemas/upgrade-plan.schema.json
dist_schema_DATA += cli/schemas/upgrade-report.schema.json
dist_schema_DATA += cli/schemas/upgrade-resume.schema.json
dist_schema_DATA += cli/schemas/upgrade-retry.schema.json
dist_schema_DATA += cli/schemas/upgrade-rollback.schema.json
dist_schema_DATA += cli/schemas/upgrade-start.schema.json
dist_schema_DATA += cli/schemas/upgrade-status.schema.json
dist_schema_DATA += cli/schemas/version.schema.json
dist_schema_DATA += cli/schemas/vm-add.schema.json
dist_schema_DATA += cli/schemas/vm-list.schema.json
dist_schema_DATA += cli/schemas/vm-migrate.schema.json
dist_schema_DATA += cli/schemas/vm-remove.schema.json
dist_schema_DATA += cli/schemas/vm-rollback-version.schema.json
dist_schema_DATA += cli/schemas/vm-set.schema.json
dist_schema_DATA += cli/schemas/vm-show.schema.json
dist_schema_DATA += cli/schemas/vm-start.schema.json
dist_schema_DATA += cli/schemas/vm-stop.schema.json
dist_schema_DATA += cli/schemas/vm-upgrade-version.schema.json
dist_schema_DATA += cli/schemas/witness-remove.schema.json
dist_schema_DATA += cli/schemas/witness-set.schema.json
dist_schema_DATA += cli/schemas/witness-show.schema.json
dist_schema_DATA += cli/schemas/witness-test.schema.json
