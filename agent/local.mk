# agent/ is the daemon.
# To add a file, add a line in its part; `make` notices by itself. A header without a .c file has a line of its own.

# L1, pure: agent/*.c (core, cluster, request, status …) and agent/db/*.c:
# libringmaster_core_a_SOURCES += agent/x.c agent/x.h
libringmaster_core_a_SOURCES += agent/core.c agent/core.h agent/core-internal.h
libringmaster_core_a_SOURCES += agent/core-copy.c
libringmaster_core_a_SOURCES += agent/core-fence.c
libringmaster_core_a_SOURCES += agent/core-quorum.c
libringmaster_core_a_SOURCES += agent/core-steps.c
libringmaster_core_a_SOURCES += agent/core-backups.c
libringmaster_core_a_SOURCES += agent/core-tasks.c
libringmaster_core_a_SOURCES += agent/core-vitals.c
libringmaster_core_a_SOURCES += agent/core-witness.c
libringmaster_core_a_SOURCES += agent/request.c agent/request.h
libringmaster_core_a_SOURCES += agent/status.c agent/status.h
libringmaster_core_a_SOURCES += agent/cluster.c agent/cluster.h agent/cluster-internal.h
libringmaster_core_a_SOURCES += agent/cluster-apply.c
libringmaster_core_a_SOURCES += agent/cluster-step.c
libringmaster_core_a_SOURCES += agent/corosync-conf.c
libringmaster_core_a_SOURCES += agent/guard.c agent/guard.h
libringmaster_core_a_SOURCES += agent/guard-step.c
libringmaster_core_a_SOURCES += agent/lease.c agent/lease.h
libringmaster_core_a_SOURCES += agent/port.h
libringmaster_core_a_SOURCES += agent/progress.c agent/progress.h
libringmaster_core_a_SOURCES += agent/retry.c agent/retry.h
libringmaster_core_a_SOURCES += agent/settings.c
libringmaster_core_a_SOURCES += agent/vitals.c agent/vitals.h
libringmaster_core_a_SOURCES += agent/witness-call.c agent/witness-call.h
libringmaster_core_a_SOURCES += agent/db/db.h agent/db/port.h agent/db/internal.h
libringmaster_core_a_SOURCES += agent/db/apply.c
libringmaster_core_a_SOURCES += agent/db/db.c
libringmaster_core_a_SOURCES += agent/db/force.c
libringmaster_core_a_SOURCES += agent/db/election.c
libringmaster_core_a_SOURCES += agent/db/log.c
libringmaster_core_a_SOURCES += agent/db/message.c
libringmaster_core_a_SOURCES += agent/db/persist.c
libringmaster_core_a_SOURCES += agent/db/propose.c
libringmaster_core_a_SOURCES += agent/db/replicate.c
libringmaster_core_a_SOURCES += agent/db/requests.c
libringmaster_core_a_SOURCES += agent/db/snapshot.c
libringmaster_core_a_SOURCES += agent/db/verdict.c
libringmaster_core_a_SOURCES += agent/db/votes.c
libringmaster_core_a_SOURCES += agent/db/witness.c

# L3, adapters: agent/io/*.c:
# libringmaster_io_a_SOURCES += agent/io/x.c agent/io/x.h
libringmaster_io_a_SOURCES += agent/io/access.c agent/io/access.h
libringmaster_io_a_SOURCES += agent/io/config.c agent/io/config.h
libringmaster_io_a_SOURCES += agent/io/copies.c agent/io/copies.h
libringmaster_io_a_SOURCES += agent/io/corosync.c agent/io/corosync.h
libringmaster_io_a_SOURCES += agent/io/cpg.c agent/io/cpg.h
libringmaster_io_a_SOURCES += agent/io/files.c agent/io/files.h
libringmaster_io_a_SOURCES += agent/io/host.c agent/io/host.h
libringmaster_io_a_SOURCES += agent/io/ipc.c agent/io/ipc.h
libringmaster_io_a_SOURCES += agent/io/joinmsg.c agent/io/joinmsg.h
libringmaster_io_a_SOURCES += agent/io/membership.c agent/io/membership.h
libringmaster_io_a_SOURCES += agent/io/paths.h
libringmaster_io_a_SOURCES += agent/io/pieces.c agent/io/pieces.h
libringmaster_io_a_SOURCES += agent/io/pki.c agent/io/pki.h
libringmaster_io_a_SOURCES += agent/io/process.c agent/io/process.h
libringmaster_io_a_SOURCES += agent/io/quorum.c agent/io/quorum.h
libringmaster_io_a_SOURCES += agent/io/runnable.c agent/io/runnable.h
libringmaster_io_a_SOURCES += agent/io/store.c agent/io/store.h
libringmaster_io_a_SOURCES += agent/io/tls.c agent/io/tls.h
libringmaster_io_a_SOURCES += agent/io/tlsconn.c agent/io/tlsconn.h
libringmaster_io_a_SOURCES += agent/io/units.c agent/io/units.h
libringmaster_io_a_SOURCES += agent/io/vitals.c agent/io/vitals.h
libringmaster_io_a_SOURCES += agent/io/watchdog.c agent/io/watchdog.h
libringmaster_io_a_SOURCES += agent/io/worker.c agent/io/worker.h

# L4, composition: exec.c, loop.c, main.c:
ringmasterd_SOURCES += agent/exec.c agent/exec.h
ringmasterd_SOURCES += agent/exec-witness.c agent/exec-witness.h
ringmasterd_SOURCES += agent/loop.c agent/loop.h
ringmasterd_SOURCES += agent/main.c
