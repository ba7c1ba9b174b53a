# tests/lint: checks of the tree itself.
# To add one, add its name; it runs by bash, with top_srcdir and top_builddir set; 0 good, 77 could not look, else bad.

dist_check_SCRIPTS += tests/lint/check-includes.sh
dist_check_SCRIPTS += tests/lint/check-pure.sh
dist_check_SCRIPTS += tests/lint/check-same-core.sh
dist_check_SCRIPTS += tests/lint/check-lists.sh
dist_check_SCRIPTS += tests/lint/check-text.sh
dist_check_SCRIPTS += tests/lint/check-unit.sh
dist_check_SCRIPTS += tests/lint/check-man.sh
dist_check_SCRIPTS += tests/lint/check-metrics.sh
dist_check_SCRIPTS += tests/lint/check-schemas.sh
dist_check_SCRIPTS += tests/lint/check-completion.sh
dist_check_SCRIPTS += tests/lint/check-packages.sh
dist_check_SCRIPTS += tests/lint/check-mutations.sh
TESTS += $(dist_check_SCRIPTS)
EXTRA_DIST += tests/lint/mixed-mode.rules-test.yml
EXTRA_DIST += tests/lint/validate-answers.py
EXTRA_DIST += tests/lint/layers.table tests/lint/pure-symbols.allow
