# tests/mutations: planted defects that the tests must catch, a file each. A new one needs no line here.

EXTRA_DIST += tests/mutations tests/sim/many-seeds.py

# What is linked anew for a mutation, or runs unmutated beside it.
mutation_programs = tests/sim/ringmaster-sim tests/faults/faults-node ringmaster-backup $(unit_tests)
.PHONY: check-mutations check-seeds check-long
check-mutations: $(mutation_programs)
	$(AM_V_at)$(AM_TESTS_ENVIRONMENT) $(top_srcdir)/tests/mutations/run

# 10,000 seeds; check-long: 200,000, beside the mutations and every case of the upgrade matrix. A core seed costs twenty
# times as much as one of the database, a case ten times.
check-seeds: tests/sim/ringmaster-sim
	$(AM_V_at)$(top_srcdir)/tests/sim/many-seeds.py db=9000 core=1000
check-long: check-mutations
	$(AM_V_at)$(top_srcdir)/tests/sim/many-seeds.py db=195000 core=5000 upgrade-matrix=all

clean-local: clean-mutations
clean-mutations:
	rm -rf mutations
