/* Preloaded into a process, lets the k-th write or fsync of a file below a directory fail, as a dying disk does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char armed[16];
static char directory[4096];
static int left;
static int fired;

void fault_arm(const char *call, int number, const char *below)
{
    snprintf(armed, sizeof armed, "%s", call);
    snprintf(directory, sizeof directory, "%s", below);
    left = number;
    fired = 0;
}

int fault_fired(void)
{
    return fired;
}

static int is_due(const char *call, int descriptor)
{
    char link[64], path[4096];
    ssize_t length;

    if (strcmp(armed, call) != 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    if (strncmp(path, directory, strlen(directory)) != 0 || --left != 0)
        return 0;
    fired = 1;
    errno = EIO;
    return 1;
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    static ssize_t (*real)(int, const void *, size_t);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "write");
    return is_due("write", descriptor) ? -1 : real(descriptor, data, size);
}

int fsync(int descriptor)
{
    static int (*real)(int);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    return is_due("fsync", descriptor) ? -1 : real(descriptor);
}
