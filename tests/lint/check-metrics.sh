#!/bin/bash
# Metrics and alert rules are clean. tests/unit/test_cli_monitor holds clusterctl to the text that is checked here.
set -u -o pipefail
tree=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
metrics=$tree/tests/unit/data/status-mixed.metrics
rules=$tree/contrib/monitoring/ringmaster.rules.yml
dashboard=$tree/contrib/monitoring/ringmaster.dashboard.json
[[ $(tail -n 1 "$metrics") == '# EOF' ]] || { echo "$metrics does not end in # EOF"; exit 1; }

# A rule about a metric that there is not would never fire, a panel would stay empty.
wrong=0
while read -r name; do
    grep -q "^# TYPE $name gauge$" "$metrics" || { echo "rules or dashboard: there is no metric $name"; wrong=1; }
done < <({ sed -n 's/#.*//; /^ *expr:/p' "$rules"; sed -n '/"expr":/p' "$dashboard"; } |
    grep -o 'ringmaster_[a-z_]*' | sort -u)
[[ $wrong -eq 0 ]] || exit 1

command -v promtool > /dev/null || { echo "METRICS NOT CHECKED: no promtool (Debian package prometheus)"; exit 77; }
# promtool says what it finds and yet may end with 0.
found=$(promtool check metrics < "$metrics" 2>&1) && [[ -z $found ]] || { echo "$found"; exit 1; }
promtool check rules "$rules" || exit 1
promtool test rules "$tree/tests/lint/mixed-mode.rules-test.yml"
