/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of local clients (clusterctl): the verbs, who may use them, their arguments and answers.
 *
 * verb                access  args                                      data of the answer
 * status              read    {all_vms?}                                see status.h
 * cluster.init        admin   {name}                                    {cluster, node}
 * cluster.join-token  admin   {node, address, valid_seconds?=3600}      {node, expires, token}; token is the text of
 *                                                                       the token file, a secret: clusterctl writes it
 *                                                                       to a 0600 file and never prints it
 * cluster.config.show read    {}                                        {settings: {name: value}}
 * cluster.config.set  admin   {name, value}                             {}
 * node.list           read    {}                                        {nodes: [...]}
 * node.show           read    {name}                                    {node: {...}}
 * node.drain          admin   {name}                                    {job}
 * node.resume         admin   {name, failback}                          {job}
 * node.evict          admin   {name, keep_slot, force}                  {job}
 * node.join           admin   {token: text of the token file}           {cluster, node}   (an unconfigured agent)
 * vm.list             read    {}                                        {vms: [...]}
 * vm.show             read    {name}                                    {vm: {...}, xml}
 * vm.add              admin   {xml, node?=this node}                    {vm: {...}}
 * vm.remove           admin   {name}                                    {}
 * vm.start            admin   {name, node?}                             {job}
 * vm.stop             admin   {name, hard?, timeout_ms?}                {job}
 * vm.migrate          admin   {name, target?}                           {job, target}
 * vm.set              admin   {name, priority?, policy?, home?, preferred?, group?, postcopy?}  {vm: {...}}
 * level.show          read    {}                                        {level: {...}}
 * level.raise         admin   {dry_run?}                                {job}; dry_run or refused: {findings: [...]}
 * upgrade.check       read    {target}                                  {findings: [...], result: 0|1|2}
 * upgrade.plan        read    {target}                                  {plan: {...}, findings: [...], result}
 * upgrade.start       admin   {target, accept_warnings}                 {run: {...}}
 * upgrade.status      read    {}                                        {run: {...} or null}
 * upgrade.pause|resume|retry|abort  admin {}                            {run: {...}}
 * job.list            read    {}                                        {jobs: [...]}
 * job.show            read    {id}                                      {job: {...}}
 * job.cancel          admin   {id}                                      {job: {...}}: the wish is recorded
 * events              read    {since?: seq, limit?}                     {events: [...], last: seq}: the first after
 *                                                                       since; without it the newest
 *
 * node.join of a member is done, if the token is of its cluster and its name: a first boot may say it again.
 * {job} is empty where nothing was left to do. A wrong argument is refused, one that no verb knows is ignored.
 * A write answers after its entry was applied here (committed by a majority before); a long operation then goes on as a
 * job, whose id the answer gives in `job`. Without quorum reads answer with data.quorum.quorate false (status: 106). */
#pragma once

#include "agent/core.h"

struct core;

/* The verbs, for the tests that ask each of them: the name of the i-th; NULL: there are no more. */
const char *request_verb(size_t i, enum core_access *ret_access);

/* Takes the event; answers now or later through ACT_REPLY, exactly once. */
void request_take(struct core *c, const struct core_event *ev);
