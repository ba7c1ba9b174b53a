/*
 * Preloaded into the libvirtd and the agent of a lab node: lets /shared pass for
 * a cluster file system (GFS2). A file-backed disk is one that can be moved only
 * if statfs(2) names a shared file system; the nodes do share the folder, but
 * the kernel of the one machine below them calls it ext4. Without this the agent would need
 * VIR_MIGRATE_UNSAFE, which no real cluster should need.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/vfs.h>

#define GFS2_MAGIC 0x01161970
#define SHARED "/shared"

static int is_shared(const char *path)
{
	size_t n = strlen(SHARED);

	return strncmp(path, SHARED, n) == 0 && (path[n] == '/' || !path[n]);
}

int statfs(const char *path, struct statfs *buf)
{
	int (*real)(const char *, struct statfs *) = dlsym(RTLD_NEXT, "statfs");
	int r = real(path, buf);

	if (r == 0 && is_shared(path))
		buf->f_type = GFS2_MAGIC;
	return r;
}

int statfs64(const char *path, struct statfs64 *buf)
{
	int (*real)(const char *, struct statfs64 *) =
		dlsym(RTLD_NEXT, "statfs64");
	int r = real(path, buf);

	if (r == 0 && is_shared(path))
		buf->f_type = GFS2_MAGIC;
	return r;
}
