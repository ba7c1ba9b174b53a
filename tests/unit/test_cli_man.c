/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every verb of the verb table, and each of its options, stands in its page; every health code in clusterctl(8). */
#include "tests/unit/cli_world.h"

/* A file of the tree; NULL: there is none. The caller frees. */
static char *tree_file(const char *path)
{
    char full[4096], chunk[4096];
    const char *top = getenv("top_srcdir");
    snprintf(full, sizeof(full), "%s/%s", top ? top : ".", path);
    FILE *f = fopen(full, "r");
    struct buf b = {0};
    if (!f)
        return NULL;
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
        buf_add(&b, chunk, n);
    fclose(f);
    return buf_steal_str(&b);
}

/* The page of a verb: its noun's, or that of the program. */
static char *page_of(const struct verb *v, char name[128])
{
    char noun[64];
    STR_COPY(noun, v->words);
    noun[strcspn(noun, " ")] = '\0';
    snprintf(name, 128, "man/clusterctl-%s.8", noun);
    char *page = tree_file(name);
    if (page)
        return page;
    snprintf(name, 128, "man/clusterctl.8");
    return tree_file(name);
}

/* Where the verb's item begins: ".It Cm WORDS", or ".Cm WORDS" below an ".It Xo"; NULL: nowhere. */
static const char *item_of(const char *page, const char *words)
{
    size_t len = strlen(words);
    for (const char *p = page; (p = strstr(p, "Cm ")); p++) {
        bool is_item =
            (p >= page + 5 && memcmp(p - 5, "\n.It ", 5) == 0) || (p >= page + 8 && memcmp(p - 8, ".It Xo\n.", 8) == 0);
        char after = strncmp(p + 3, words, len) == 0 ? p[3 + len] : 'x';
        const char *rest = p + 3 + len;
        bool ends = after == '\n' || (after == ' ' && strchr("AFON", rest[1])); /* Ar, Fl, Op, Oo, Ns */
        if (is_item && ends)
            return p;
    }
    return NULL;
}

/* Until the next item of a verb. */
static bool item_has(const char *item, const char *option)
{
    char fl[64];
    snprintf(fl, sizeof(fl), "Fl -%s", option);
    const char *end = strstr(item, "\n.It Cm "), *xo = strstr(item, "\n.It Xo\n"), *section = strstr(item, "\n.Sh ");
    end = !end || (xo && xo < end) ? xo : end;
    end = !end || (section && section < end) ? section : end;
    const char *found = strstr(item, fl);
    return found && (!end || found < end);
}

static void check_verb(const struct verb *v)
{
    char name[128];
    AUTO(freep) char *page = page_of(v, name);
    assert_non_null(page);
    const char *item = item_of(page, v->words);
    if (!item)
        fail_msg("%s has no item for %s", name, v->words);
    for (enum opt o = OPT_ACCOUNT; o < OPT_COUNT; o++)
        if ((v->options & OPT_BIT(o)) && !item_has(item, option_name(o)))
            fail_msg("%s: the item of %s does not mention --%s", name, v->words, option_name(o));
    if (v->question && !item_has(item, "yes") && !str_eq(v->words, "vm stop"))
        fail_msg("%s: %s asks, and its item does not mention --yes", name, v->words);
}

static void test_every_verb_has_its_item(void **state)
{
    (void)state;
    size_t n = 0;
    for (const struct verb *v = verb_next(NULL); v; v = verb_next(v), n++)
        check_verb(v);
    assert_true(n >= 37);
}

static void test_common_options(void **state)
{
    (void)state;
    AUTO(freep) char *page = tree_file("man/clusterctl.8");
    for (enum opt o = OPT_OUTPUT; o < OPT_ACCOUNT; o++) {
        char fl[64];
        snprintf(fl, sizeof(fl), " -%s", option_name(o));
        assert_contains(page, fl);
    }
}

static void test_health_codes(void **state)
{
    (void)state;
    AUTO(freep) char *source = tree_file("agent/status.c");
    AUTO(freep) char *page = tree_file("man/clusterctl.8");
    size_t n = 0;
    for (const char *p = source; (p = strstr(p, "health_add(h, ")); p++) {
        const char *quote = strchr(p, '"');
        char code[64];
        assert_non_null(quote);
        snprintf(code, sizeof(code), "%.*s", (int)strcspn(quote + 1, "\""), quote + 1);
        assert_contains(page, code);
        n++;
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_verb_has_its_item),
        cmocka_unit_test(test_common_options),
        cmocka_unit_test(test_health_codes),
    };
    return cmocka_run_group_tests_name("cli_man", tests, NULL, NULL);
}
