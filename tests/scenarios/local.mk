# tests/scenarios: folders that an operator can read. A new one needs no line here.

dist_check_SCRIPTS += tests/scenarios/run
EXTRA_DIST += tests/scenarios
