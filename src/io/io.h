/* SPDX-License-Identifier: MIT */
/* Files of a checkpoint: bounded reads, memory maps, safetensors, shards and index, and the tables
 * through which configs are read. Owns no meaning: what a tensor or a key is for is said above. */
#ifndef VLM_IO_H
#define VLM_IO_H

#include "core/core.h"

/* ---- where the files of a load come from (read.c) ------------------------------------------------
 * What may be read, who is told of it. Borrowed by everything that opens a file; NULL: default limits,
 * nobody. */
typedef struct vio_source {
    vlm_limits limits; /* zeros replaced by the defaults */
    vcore_log log;
    vlm_open_fn opened; /* told of every file and folder just before it is opened; may be NULL */
    void *opened_user;
    bool in_memory; /* weights are read into memory instead of mapped */
    bool lenient;   /* an index that names tensors which no file has is a warning, not an error */
} vio_source;
vio_source vio_source_of(const vlm_limits *limits); /* limits as a caller gives them; NULL: defaults */
/* Tells of an open that vio_open_regular does not make (a folder). */
void vio_source_tell(const vio_source *from, const char *path);

/* ---- bounded reads (read.c) ---------------------------------------------------------------------
 * One open (O_NONBLOCK|O_CLOEXEC), fstat on the descriptor, regular files only, at most cap + 1
 * bytes: a FIFO, device or directory is refused at once. */
typedef struct vio_bytes {
    char *p; /* owned, NUL-terminated behind n; free with vcore_free */
    size_t n;
} vio_bytes;
/* ERR_NOT_FOUND when absent, ERR_LIMIT above cap, ERR_IO otherwise; the path is in the message. On
 * an error out->p is NULL. */
vlm_status vio_read(vio_bytes *out, const char *path, uint64_t cap, const vio_source *from,
                    vlm_error *err);
/* Same, but an absent file is fine: out->p is NULL then. */
vlm_status vio_read_optional(vio_bytes *out, const char *path, uint64_t cap, const vio_source *from,
                             vlm_error *err);
/* Same, and the bytes must be UTF-8 (ERR_ENCODING). A UTF-8 byte order mark is skipped. */
vlm_status vio_read_text(vio_bytes *out, const char *path, uint64_t cap, const vio_source *from,
                         vlm_error *err);
/* Both at once. */
vlm_status vio_read_text_optional(vio_bytes *out, const char *path, uint64_t cap,
                                  const vio_source *from, vlm_error *err);
/* vio_read_text, parsed. The text is handed over too where text_or_null is given. */
vlm_status vio_read_json(vcore_json_doc **doc, vio_bytes *text_or_null, const char *path,
                         uint64_t cap, const vio_source *from, vlm_error *err);
/* Opens a regular file to read, under the same rule. */
vlm_status vio_open_regular(int *fd, uint64_t *size, const char *path, const vio_source *from,
                            vlm_error *err);
/* "<path>: cannot <operation>: <errno's text>"; ERR_NOT_FOUND where file or folder is absent, else
 * ERR_IO. operation: static. */
vlm_status vio_fail_errno(vlm_error *err, const char *path, const char *operation, int number);
char *vio_join(const char *dir, const char *name); /* owned; NULL: no memory */
bool vio_is_dir(const char *path);

/* ---- memory maps (map.c) --------------------------------------------------------------------- */
/* A whole regular file, read-only, page-aligned: mapped, or read where from->in_memory says so.
 * A mapped file may be unlinked or replaced by a rename. If another process truncates it, touching
 * what is gone raises SIGBUS: the library installs no handler for that (the command does). */
typedef struct vio_map vio_map;
vlm_status vio_map_open(vio_map **out, const char *path, const vio_source *from, vlm_error *err);
const uint8_t *vio_map_data(const vio_map *m); /* NULL when the file is empty */
size_t vio_map_size(const vio_map *m);
void vio_map_close(vio_map *m);

/* ---- safetensors (safetensors.c) ------------------------------------------------------------- */
typedef enum vio_dtype {
    VIO_BOOL, VIO_U8, VIO_I8, VIO_I16, VIO_U16, VIO_F16, VIO_BF16, VIO_I32, VIO_U32, VIO_F32,
    VIO_I64, VIO_U64, VIO_F64, VIO_F8_E4M3, VIO_F8_E5M2, VIO_F8_E8M0
} vio_dtype;
size_t vio_dtype_size(vio_dtype t);
const char *vio_dtype_name(vio_dtype t); /* "BF16", as in the file */
#define VIO_MAX_RANK 8
typedef struct vio_tensor {
    const char *name;             /* borrowed from the directory */
    vio_dtype dtype;
    int rank;
    uint64_t shape[VIO_MAX_RANK]; /* outermost first */
    const uint8_t *data;          /* into the map; not aligned beyond what the file gives */
    uint64_t bytes;
    const char *file;             /* path of the file it lies in, for messages */
    bool mlx;                     /* the file's metadata says format: mlx */
} vio_tensor;
/* Every tensor of a checkpoint by name: of one file or of several. Immutable. */
typedef struct vio_tensors vio_tensors;
/* One safetensors file. Header <= limits->header_bytes; offsets must tile the data without holes or
 * overlap; every size is checked before use. */
vlm_status vio_tensors_open_file(vio_tensors **out, const char *path, const vio_source *from,
                                 vlm_error *err);
/* The same from memory, which is borrowed and must outlive *out; name: what messages call it. */
vlm_status vio_tensors_open_memory(vio_tensors **out, const void *data, size_t size,
                                   const char *name, const vio_source *from, vlm_error *err);
/* Several files together: those a directory's weights are in (vio_tensors_open_dir finds them). dir
 * NULL: names are paths. A tensor that is in two files is ERR_FORMAT. */
typedef struct vio_selection {
    const char *const *names; /* sorted */
    size_t n;
    bool indexed;        /* the index chose them */
    bool partial;        /* what is left was chosen, an incomplete numbered set among it */
    const char *missing; /* first file that an index or a numbered set lacks; NULL: none */
} vio_selection;
vlm_status vio_tensors_open_files(vio_tensors **out, const char *dir, const vio_selection *files,
                                  const vio_source *from, vlm_error *err);
size_t vio_tensors_count(const vio_tensors *t);
const vio_tensor *vio_tensors_at(const vio_tensors *t, size_t i); /* sorted by name, one array */
const vio_tensor *vio_tensors_find(const vio_tensors *t, const char *name); /* NULL: none */
/* Path of the first file that should be there and is not (a stale index, an incomplete set): why a
 * tensor may be missing. NULL: none. */
const char *vio_tensors_missing_file(const vio_tensors *t);
/* Of the first file; NULL: none. */
const char *vio_tensors_metadata(const vio_tensors *t, const char *key);
uint64_t vio_tensors_bytes(const vio_tensors *t); /* sum over tensors */
void vio_tensors_close(vio_tensors *t);

/* ---- which files hold the weights (shards.c) ----------------------------------------------------
 * In this order: what the index names, if all of it is there; model.safetensors alone; the one
 * complete set model-K-of-N.safetensors; whatever else ends .safetensors, but for names that say
 * consolidated or adapter. docs/LOADING.md has the cases. A pure function: index is the JSON of
 * model.safetensors.index.json (NULL: there is none), names the *.safetensors of the folder,
 * sorted. ERR_FORMAT: the index is malformed, or two complete sets are there; ERR_NOT_FOUND: no
 * weights. The selection lies in the arena and borrows from names. */
vlm_status vio_select_weights(vio_selection *out, vcore_arena *arena, const char *dir,
                              const vcore_json *index, const char *const *names, size_t n,
                              const vcore_log *log, vlm_error *err);
/* Selects, opens, and holds the index against what the files say. */
vlm_status vio_tensors_open_dir(vio_tensors **out, const char *dir, const vio_source *from,
                                vlm_error *err);

/* Writing (safetensors_write.c): for `vlm dump` and `vlm convert`. */
typedef struct vio_out_tensor {
    const char *name;
    vio_dtype dtype;
    int rank;
    uint64_t shape[VIO_MAX_RANK];
    const void *data;
} vio_out_tensor;
/* Bytes in front of the data, and where in the file each tensor's begin; data is not looked at. */
vlm_status vio_safetensors_header(vcore_buf *head, uint64_t *offsets, const vio_out_tensor *tensors,
                                  size_t n, const char *format_or_null, const char *path,
                                  vlm_error *err);
vlm_status vio_out_tensor_bytes(uint64_t *out, const vio_out_tensor *t, const char *path,
                                vlm_error *err);
/* All of it at the offset; "write" fails with ERR_IO. Any thread. */
vlm_status vio_write_at(int fd, const void *data, size_t n, uint64_t offset, const char *path,
                        vlm_error *err);
/* Asks that the names in a directory outlive a power failure, as fsync asks for a file's bytes. There are file systems
 * that cannot, which is no error. */
void vio_sync_dir(const char *path);
/* A whole file, written to a temporary name and renamed. */
vlm_status vio_safetensors_write(const char *path, const vio_out_tensor *tensors, size_t n,
                                 const char *format_or_null, vlm_error *err);

/* Config tables (config.c): the page is vlm/extend/config.h; model authors write such tables. */

#endif
