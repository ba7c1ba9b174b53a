# backup/ is the backup of virtual machines: formats and rules (pure), the repository's files, and the worker program.
# To add a file, add a line in its part; `make` notices by itself. A header without a .c file has a line of its own.

# L1, pure, and L2, ports: backup/*.c, backup/*.h:
# libringmaster_core_a_SOURCES += backup/x.c backup/x.h
libringmaster_core_a_SOURCES += backup/chain.c backup/chain.h
libringmaster_core_a_SOURCES += backup/engine.c backup/engine.h
libringmaster_core_a_SOURCES += backup/extents.c backup/extents.h
libringmaster_core_a_SOURCES += backup/job-apply.c
libringmaster_core_a_SOURCES += backup/job-local.c
libringmaster_core_a_SOURCES += backup/job-point.c
libringmaster_core_a_SOURCES += backup/job-port.h
libringmaster_core_a_SOURCES += backup/job-step.c
libringmaster_core_a_SOURCES += backup/job.c backup/job.h backup/job-entry.h
libringmaster_core_a_SOURCES += backup/layout.c backup/layout.h
libringmaster_core_a_SOURCES += backup/manifest.c backup/manifest.h
libringmaster_core_a_SOURCES += backup/port.h
libringmaster_core_a_SOURCES += backup/qcow2.c backup/qcow2.h
libringmaster_core_a_SOURCES += backup/refpoint.c backup/refpoint.h
libringmaster_core_a_SOURCES += backup/retention.c backup/retention.h
libringmaster_core_a_SOURCES += backup/spec.c backup/spec.h

# L3, adapters: backup/io/*.c:
# libringmaster_io_a_SOURCES += backup/io/x.c backup/io/x.h
libringmaster_io_a_SOURCES += backup/io/checkpoint.c backup/io/checkpoint.h
libringmaster_io_a_SOURCES += backup/io/domain.c backup/io/domain.h
libringmaster_io_a_SOURCES += backup/io/folder.c backup/io/folder.h
libringmaster_io_a_SOURCES += backup/io/image-read.c backup/io/image-write.c backup/io/image.h
libringmaster_io_a_SOURCES += backup/io/manifest-file.c backup/io/manifest-file.h
libringmaster_io_a_SOURCES += backup/io/nbd.c backup/io/nbd.h
libringmaster_io_a_SOURCES += backup/io/pump.c backup/io/pump.h
libringmaster_io_a_SOURCES += backup/io/qemu-nbd.c backup/io/qemu-nbd.h
libringmaster_io_a_SOURCES += backup/io/runner.c backup/io/runner.h

# L4, the worker: a process of its own for each piece of work.
pkglibexec_PROGRAMS = ringmaster-backup
ringmaster_backup_SOURCES = backup/worker/main.c backup/worker/worker.h
ringmaster_backup_SOURCES += backup/worker/check.c backup/worker/check.h
ringmaster_backup_SOURCES += backup/worker/export.c backup/worker/export.h
ringmaster_backup_SOURCES += backup/worker/options.c
ringmaster_backup_SOURCES += backup/worker/points.c
ringmaster_backup_SOURCES += backup/worker/replay.c
ringmaster_backup_SOURCES += backup/worker/repository.c
ringmaster_backup_SOURCES += backup/worker/run-live.c
ringmaster_backup_SOURCES += backup/worker/run-off.c
ringmaster_backup_SOURCES += backup/worker/run-restore.c
ringmaster_backup_SOURCES += backup/worker/run.c backup/worker/run.h
ringmaster_backup_SOURCES += backup/worker/settle.c
ringmaster_backup_SOURCES += backup/worker/status.c backup/worker/status.h
ringmaster_backup_SOURCES += backup/worker/verb-export.c
ringmaster_backup_SOURCES += backup/worker/verb-prune.c
ringmaster_backup_SOURCES += backup/worker/verb-restore.c
ringmaster_backup_SOURCES += backup/worker/verb-verify.c
ringmaster_backup_CPPFLAGS = $(AM_CPPFLAGS) $(UUID_CFLAGS) $(LIBVIRT_CFLAGS)
ringmaster_backup_LDADD = libringmaster-io.a $(CORE_LIBS) $(NBD_LIBS) $(OPENSSL_LIBS) $(UUID_LIBS) \
	$(LIBVIRT_LIBS) $(LIBXML_LIBS) -lpthread

EXTRA_DIST += backup/README.md
