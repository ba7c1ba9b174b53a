/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The answer to `status` as OpenMetrics text (pure). Names are those of ha_cluster_exporter where it has the same,
 * below ringmaster_. All are gauges: a counter's name and type are written differently in OpenMetrics and in the older
 * Prometheus format, and this text is to be good in both. */
#pragma once

#include "common/json.h"

/* data: of the answer; NULL: there was none, and the only thing to tell is that the agent is not up. */
void metrics_text(const struct json *data, int64_t wall_ms, struct buf *b);
