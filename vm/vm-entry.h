/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Payloads of ENTRY_VM_*, read back: the other half of the encoders in vm/vm.h. Each returns 0 or ERR_MALFORMED. */
#pragma once

#include "vm/vm.h"

/* facts->xml is allocated: the caller frees it. */
int vm_entry_add_decode(struct slice payload, struct vm_facts *facts, char ret_node[NODE_NAME_MAX]);
int vm_entry_remove_decode(struct slice payload, char ret_name[VM_NAME_MAX]);
int vm_entry_op_decode(struct slice payload, struct vm_op_request *ret);
int vm_entry_report_decode(struct slice payload, struct vm_report *ret);
int vm_entry_set_decode(struct slice payload, struct vm_set_request *ret);
int vm_entry_version_decode(struct slice payload, struct vm_version_request *ret); /* ret->xml is the caller's */
int vm_entry_rollback_decode(struct slice payload, char ret_name[VM_NAME_MAX]);
int vm_entry_cancel_decode(struct slice payload, char ret_name[VM_NAME_MAX], struct uuid *ret_op_id);
