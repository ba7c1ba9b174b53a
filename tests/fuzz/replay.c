/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs one target over files: its committed corpus (tests/fuzz/corpus/NAME of fuzz_NAME), or those that are named. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

enum { FILE_MAX = 1 << 20, SKIPPED = 77 };

static bool replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    uint8_t *bytes = xmalloc(FILE_MAX);
    size_t n = fread(bytes, 1, FILE_MAX, f);
    fclose(f);
    uint8_t *exact = input_block((struct slice){bytes, n});
    free(bytes);
    printf("%s\n", path); /* before: the last line says what it died of */
    fflush(stdout);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    return true;
}

static int is_visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static int replay_corpus(const char *program)
{
    const char *tree = getenv("top_srcdir"), *name = strstr(program, "fuzz_");
    for (const char *next = name; next; next = strstr(next + 1, "fuzz_"))
        name = next;
    char dir[512], path[1024];
    if (!name || snprintf(dir, sizeof(dir), "%s/tests/fuzz/corpus/%s", tree ? tree : ".", name + 5) >= (int)sizeof(dir))
        return SKIPPED;
    struct dirent **files = NULL;
    int n = scandir(dir, &files, is_visible, alphasort), failed = n <= 0;
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]->d_name);
        failed |= !replay(path);
        free(files[i]);
    }
    free(files);
    printf("%d inputs of %s\n", n, dir);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    if (argc < 2)
        return replay_corpus(argv[0]);
    for (int i = 1; i < argc; i++)
        failed |= !replay(argv[i]);
    return failed;
}
