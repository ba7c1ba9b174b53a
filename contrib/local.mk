# contrib/: unit, sysusers, tmpfiles, completion, example configuration, clusterctl's second name, and the commands of
# the repository.

nodist_systemdsystemunit_DATA = contrib/systemd/ringmasterd.service
corosyncunitdir = $(systemdsystemunitdir)/corosync.service.d
dist_corosyncunit_DATA = contrib/systemd/corosync.service.d/ringmaster.conf
nodist_sysusers_DATA = contrib/systemd/sysusers.d/ringmaster.conf
nodist_tmpfiles_DATA = contrib/systemd/tmpfiles.d/ringmaster.conf
dist_bashcompletion_DATA = contrib/completion/clusterctl

CLEANFILES += $(nodist_systemdsystemunit_DATA) $(nodist_sysusers_DATA) $(nodist_tmpfiles_DATA)
EXTRA_DIST += contrib/systemd/ringmasterd.service.in contrib/systemd/ringmaster.sysusers \
	contrib/systemd/ringmaster.tmpfiles.in contrib/examples contrib/executors contrib/monitoring debian \
	contrib/packages.build contrib/packages.test contrib/setup contrib/run-tests .ci/run

contrib_subst = $(AM_V_GEN)$(MKDIR_P) $(@D) && sed -e 's|@sbindir[@]|$(sbindir)|g' \
	-e 's|@sysconfdir[@]|$(sysconfdir)|g' -e 's|@localstatedir[@]|$(localstatedir)|g'

contrib/systemd/ringmasterd.service: contrib/systemd/ringmasterd.service.in Makefile
	$(contrib_subst) $(top_srcdir)/contrib/systemd/ringmasterd.service.in > $@
contrib/systemd/sysusers.d/ringmaster.conf: contrib/systemd/ringmaster.sysusers Makefile
	$(contrib_subst) $(top_srcdir)/contrib/systemd/ringmaster.sysusers > $@
contrib/systemd/tmpfiles.d/ringmaster.conf: contrib/systemd/ringmaster.tmpfiles.in Makefile
	$(contrib_subst) $(top_srcdir)/contrib/systemd/ringmaster.tmpfiles.in > $@

# The admin's ringmaster.conf is theirs: installed when there is none, removed while it is as installed.
conf_example = $(top_srcdir)/contrib/examples/ringmaster.conf
conf_installed = $(DESTDIR)$(sysconfdir)/ringmaster/ringmaster.conf
install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(sysconfdir)/ringmaster/conf.d'
	test -e '$(conf_installed)' || $(INSTALL_DATA) '$(conf_example)' '$(conf_installed)'
uninstall-local:
	if cmp -s '$(conf_example)' '$(conf_installed)'; then rm -f '$(conf_installed)'; fi
	rm -f $(second_names)
	-rmdir '$(DESTDIR)$(sysconfdir)/ringmaster/conf.d' '$(DESTDIR)$(sysconfdir)/ringmaster' 2>/dev/null

AM_DISTCHECK_CONFIGURE_FLAGS = \
	--with-systemdsystemunitdir='$$dc_install_base/lib/systemd/system' \
	--with-sysusersdir='$$dc_install_base/lib/sysusers.d' \
	--with-tmpfilesdir='$$dc_install_base/lib/tmpfiles.d'

# Kubernetes has a tool named clusterctl, too (Cluster API): here it is also ringmasterctl.
second_names = '$(DESTDIR)$(sbindir)/ringmasterctl' '$(DESTDIR)$(man8dir)/ringmasterctl.8' \
	'$(DESTDIR)$(bashcompletiondir)/ringmasterctl'
install-exec-hook:
	ln -sf clusterctl '$(DESTDIR)$(sbindir)/ringmasterctl'
install-data-hook:
	ln -sf clusterctl.8 '$(DESTDIR)$(man8dir)/ringmasterctl.8'
	ln -sf clusterctl '$(DESTDIR)$(bashcompletiondir)/ringmasterctl'
