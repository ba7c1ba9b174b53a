/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading XML that libvirt or an admin wrote, on libxml2. */
#pragma once

#include <libxml/tree.h>

#include "common/buf.h"
#include "common/err.h"

void xml_free_doc(xmlDoc **doc);
void xml_free_buffer(xmlBuffer **b);
void xml_free_text(xmlChar **s);

/* The encoding is forced: a declared one could hide a DOCTYPE from the look for it. Without XML_PARSE_HUGE libxml2
 * bounds the depth (256) and the length of names and texts. NULL: does not parse; *e says why. */
xmlDoc *xml_read(const char *xml, size_t len, const char *what, struct error *e);

bool xml_is(const xmlNode *n, const char *name);
/* The next element of that name from n on, in document order among siblings; NULL: none. */
xmlNode *xml_from(xmlNode *n, const char *name);
xmlNode *xml_child(const xmlNode *parent, const char *name); /* the first; parent may be NULL */
#define XML_FOREACH(n, parent, name) for (xmlNode *n = xml_child((parent), (name)); n; n = xml_from(n->next, (name)))

xmlChar *xml_attribute(const xmlNode *n, const char *name); /* NULL: none; the caller frees */
bool xml_attribute_is(const xmlNode *n, const char *name, const char *value);
/* The element's text without white space around it; false: too long, or there is no such element. */
bool xml_text(const xmlNode *n, char *dst, size_t size);
bool xml_copy_attribute(const xmlNode *n, const char *name, char *dst, size_t size);
