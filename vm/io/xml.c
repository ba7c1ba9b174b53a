/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/io/xml.h"

#include <libxml/parser.h>

void xml_free_doc(xmlDoc **doc)
{
    xmlFreeDoc(*doc);
}

void xml_free_buffer(xmlBuffer **b)
{
    if (*b)
        xmlBufferFree(*b);
}

void xml_free_text(xmlChar **s)
{
    xmlFree(*s);
}

xmlDoc *xml_read(const char *xml, size_t len, const char *what, struct error *e)
{
    xmlInitParser();
    xmlParserCtxt *ctxt = xmlNewParserCtxt();
    if (!ctxt)
        abort();
    const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
    xmlDoc *doc = xmlCtxtReadMemory(ctxt, xml, (int)len, NULL, "UTF-8", options);
    const xmlError *fault = xmlCtxtGetLastError(ctxt);
    if (!doc)
        error_set(e, ERR_USAGE, "%s: line %d: %.*s", what, fault ? fault->line : 0,
                  fault && fault->message ? (int)strcspn(fault->message, "\n") : 13,
                  fault && fault->message ? fault->message : "does not parse");
    xmlFreeParserCtxt(ctxt);
    return doc;
}

bool xml_is(const xmlNode *n, const char *name)
{
    return n->type == XML_ELEMENT_NODE && !n->ns && str_eq((const char *)n->name, name);
}

xmlNode *xml_from(xmlNode *n, const char *name)
{
    while (n && !xml_is(n, name))
        n = n->next;
    return n;
}

xmlNode *xml_child(const xmlNode *parent, const char *name)
{
    return parent ? xml_from(parent->children, name) : NULL;
}

xmlChar *xml_attribute(const xmlNode *n, const char *name)
{
    return n ? xmlGetNoNsProp(n, (const xmlChar *)name) : NULL;
}

bool xml_attribute_is(const xmlNode *n, const char *name, const char *value)
{
    AUTO(xml_free_text) xmlChar *s = xml_attribute(n, name);
    return s && str_eq((const char *)s, value);
}

bool xml_text(const xmlNode *n, char *dst, size_t size)
{
    AUTO(xml_free_text) xmlChar *s = n ? xmlNodeGetContent(n) : NULL;
    if (!s)
        return false;
    static const char space[] = " \t\r\n";
    const char *from = (const char *)s + strspn((const char *)s, space);
    size_t len = strlen(from);
    while (len > 0 && strchr(space, from[len - 1]))
        len--;
    if (len >= size)
        return false;
    memcpy(dst, from, len);
    dst[len] = '\0';
    return true;
}

bool xml_copy_attribute(const xmlNode *n, const char *name, char *dst, size_t size)
{
    AUTO(xml_free_text) xmlChar *s = xml_attribute(n, name);
    return s && str_copy(dst, size, (const char *)s);
}
