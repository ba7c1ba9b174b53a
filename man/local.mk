# man/: a page per program, file and noun.
# To add one, add a line.

dist_man_MANS =
dist_man_MANS += man/clusterctl.8
dist_man_MANS += man/clusterctl-backup.8
dist_man_MANS += man/clusterctl-check.8
dist_man_MANS += man/clusterctl-cluster.8
dist_man_MANS += man/clusterctl-events.8
dist_man_MANS += man/clusterctl-job.8
dist_man_MANS += man/clusterctl-level.8
dist_man_MANS += man/clusterctl-node.8
dist_man_MANS += man/clusterctl-quorum.8
dist_man_MANS += man/clusterctl-reference.8
dist_man_MANS += man/clusterctl-repository.8
dist_man_MANS += man/clusterctl-status.8
dist_man_MANS += man/clusterctl-support-bundle.8
dist_man_MANS += man/clusterctl-task.8
dist_man_MANS += man/clusterctl-upgrade.8
dist_man_MANS += man/clusterctl-vm.8
dist_man_MANS += man/clusterctl-witness.8
dist_man_MANS += man/ringmasterd.8
dist_man_MANS += man/ringmaster.conf.5
dist_man_MANS += man/ringmaster-backup.7
dist_man_MANS += man/ringmaster-quorum.7
dist_man_MANS += man/ringmaster-upgrade.7
