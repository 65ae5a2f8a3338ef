/* SPDX-License-Identifier: MIT */
/* vlm_convert: the source is loaded as far as it takes to check it, the plan is made, and a folder
 * beside the target is filled and renamed. Owns the target: what is refused, and that nothing is
 * left behind. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/convert/convert.h"

/* ---- the target ----------------------------------------------------------------------------------- */
/* Where a path lies, its last part not followed; owned by malloc. */
static char *parent_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *parent = slash ? vcore_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : vcore_strdup(".");
    char *real = parent ? realpath(parent, NULL) : NULL;
    int number = parent ? errno : ENOMEM;
    vcore_free(parent);
    errno = number;
    return real;
}

static bool lies_in(const char *path, const char *dir) {
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/' || dir[n - 1] == '/');
}

static vlm_status check_target(const char *target, const char *source, vlm_error *err) {
    struct stat st;
    if (lstat(target, &st) == 0)
        return vcore_fail_at(err, VLM_ERR_ARGUMENT, (vcore_where) { .file = target },
                             "%s: exists already", target);
    char *parent = parent_of(target);
    if (!parent) return vio_fail_errno(err, target, "create", errno);
    char *from = realpath(source, NULL);
    vlm_status status = VLM_OK;
    if (from && lies_in(parent, from))
        status = vcore_fail_at(err, VLM_ERR_ARGUMENT, (vcore_where) { .file = target },
                               "%s: lies in the checkpoint that is converted", target);
    free(parent);
    free(from);
    return status;
}

/* A system that does not say how much room there is says nothing here. */
static vlm_status check_room(const char *folder, uint64_t bytes, vlm_error *err) {
    struct statvfs st;
    if (statvfs(folder, &st) != 0 || st.f_blocks == 0) return VLM_OK;
    uint64_t room;
    if (__builtin_mul_overflow((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, &room) || room >= bytes)
        return VLM_OK;
    return vcore_fail_at(err, VLM_ERR_IO, (vcore_where) { .file = folder, .operation = "write", .os_error = ENOSPC },
                         "%s: %llu bytes are to be written, %llu are free", folder,
                         (unsigned long long)bytes, (unsigned long long)room);
}

/* A folder of ours: files, and folders with files. */
static void remove_folder(const char *path, int depth) {
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        char *below = vio_join(path, e->d_name);
        if (below && unlink(below) != 0 && depth > 0) remove_folder(below, depth - 1);
        vcore_free(below);
    }
    if (dir) closedir(dir);
    rmdir(path);
}

/* ---- the conversion --------------------------------------------------------------------------------- */
static vlm_status fill(const vengine_plan *p, const char *folder, vlm_error *err) {
    enum { SMALL_FILES = 1 << 20 };
    VTRY(check_room(folder, p->bytes + SMALL_FILES, err));
    VTRY(vengine_write_files(p, folder, err));
    return vengine_write_shards(p, folder, err);
}

static vlm_status fill_and_rename(const vengine_plan *p, const char *target, vlm_error *err) {
    vcore_buf folder = { 0 };
    vcore_buf_printf(&folder, "%s.%ld.tmp", target, (long)getpid());
    if (folder.failed) return vcore_no_memory(err, target);
    vlm_status status = VLM_OK;
    bool made = mkdir(folder.p, 0777) == 0;
    if (!made) status = vio_fail_errno(err, folder.p, "create", errno);
    if (made) status = fill(p, folder.p, err);
    if (status >= 0) vio_sync_dir(folder.p); /* a name is taken by what is whole only */
    if (status >= 0 && rename(folder.p, target) != 0)
        status = vio_fail_errno(err, target, "rename to it", errno);
    char *parent = status >= 0 ? parent_of(target) : NULL;
    if (parent) vio_sync_dir(parent);
    free(parent);
    if (status < 0 && made) remove_folder(folder.p, 1);
    vcore_buf_free(&folder);
    return status;
}

static vlm_status convert(const char *dir_or_id, const char *target, const vlm_convert_options *options,
                          vlm_error *err) {
    vlm_context *c;
    vengine_plan plan = { 0 };
    VTRY(vengine_load(&c, dir_or_id, options->load, VENGINE_CONVERT, err));
    vlm_status status = check_target(target, c->dir, err);
    if (status >= 0) status = vengine_plan_make(&plan, c, options, err);
    if (status >= 0) status = fill_and_rename(&plan, target, err);
    vengine_plan_free(&plan);
    vlm_context_free(c);
    return status;
}

vlm_status vlm_convert(const char *dir_or_id, const char *target, const vlm_convert_options *options,
                       vlm_error *err) {
    vlm_convert_options given = VLM_CONVERT_OPTIONS_INIT;
    vlm_load_options load = VLM_LOAD_OPTIONS_INIT;
    if (!dir_or_id || !target || !*target)
        return vcore_fail(err, VLM_ERR_ARGUMENT, "vlm_convert: a null argument");
    if (options) VTRY(vengine_take_options(&given, sizeof given, options, "convert options", err));
    if (given.load) VTRY(vengine_take_options(&load, sizeof load, given.load, "load options", err));
    load.struct_size = sizeof load;
    given.load = &load;
    size_t n = strlen(target);
    while (n > 1 && target[n - 1] == '/') n--;
    char *name = vcore_strndup(target, n);
    if (!name) return vcore_no_memory(err, target);
    vlm_status status = convert(dir_or_id, name, &given, err);
    vcore_free(name);
    return status;
}
