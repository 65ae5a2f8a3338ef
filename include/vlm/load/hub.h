/* SPDX-License-Identifier: MIT */
/**
 * @file hub.h
 * @brief Checkpoints from the Hugging Face hub, kept in the standard cache that Python's tools
 * share.
 *
 * vlm_hub_pull() brings a repository's snapshot into the cache, or completes it, and says where it
 * lies; vlm_hub_find() looks into the cache only. What either gives is a directory for
 * vlm_context_load().
 *
 * Only what a model needs is fetched: configs, tokenizer files, chat templates, and the safetensors
 * files that the index names (without an index: one complete set). Files arrive in parallel, go on
 * where an earlier call stopped, are checked against size and hash before they get their name, and
 * are locked while they arrive, so that several processes and threads may pull the same repository
 * at once.
 *
 * The library reads neither environment nor home directory; libcurl, which carries the bytes, reads
 * the usual proxy variables (docs/HUB.md). Both functions may be called from any number of threads.
 */
#ifndef VLM_LOAD_HUB_H
#define VLM_LOAD_HUB_H

#include <stdbool.h>

#include "vlm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Where a pull stands. All sizes in bytes. */
typedef struct vlm_hub_progress {
    const char *file;    /**< in the repository: what moved last; borrowed; NULL: nothing yet */
    uint64_t file_bytes; /**< of it, on disk */
    uint64_t file_size;
    uint64_t bytes;    /**< of all files of this pull, on disk */
    uint64_t size;     /**< of all files of this pull, as far as known: the index may change it */
    uint64_t received; /**< of `bytes`, over the network in this call */
    size_t files_done;
    size_t files; /**< likewise as far as known */
} vlm_hub_progress;

/**
 * Told of progress on the calling thread, whenever bytes came and ten times a second at least.
 * Nonzero cancels: the call ends with VLM_ERR_CANCELLED and keeps what has arrived for the next
 * one.
 */
typedef int (*vlm_hub_progress_fn)(void *user, const vlm_hub_progress *progress);

/** Which hub, which cache, how. Zero or NULL means the default named beside a field. All borrowed
 * for the call. */
typedef struct vlm_hub_options {
    size_t struct_size;
    const char *cache_dir; /**< the cache ("~/.cache/huggingface/hub" for most users); required */
    const char *endpoint;  /**< "https://huggingface.co"; http:// or https://, maybe with a path */
    const char *token;     /**< sent to the endpoint's host only; NULL or "": none */
    const char *revision;  /**< branch, tag or commit: "main" */
    bool offline;          /**< no network: what the cache holds, or an error */
    bool without_weights;  /**< everything but the weights: for tokenizers and templates */
    int parallel;          /**< files at a time: 8, at most 64 */
    int retries;           /**< further attempts after a passing failure: 5; negative: none */
    uint32_t retry_wait_ms;      /**< before the first of them; twice as long each time: 1,000 */
    uint32_t retry_wait_max_ms;  /**< longest wait, also when the server asks for more: 60,000 */
    uint32_t connect_timeout_ms; /**< 10,000 */
    uint32_t idle_timeout_ms;    /**< without a byte from the server: 30,000 */
    uint64_t listing_bytes;      /**< largest list of a repository's files: 64 MiB */
    uint64_t listing_files;      /**< most files in it: 100,000 */
    uint64_t total_bytes;     /**< most that one pull may put on the disk; 0: what is free there */
    const vlm_limits *limits; /**< for the index; NULL: defaults */
    vlm_hub_progress_fn progress; /**< may be NULL */
    void *progress_user;
    vlm_log_fn log; /**< warnings (the cache used for want of a network); may be NULL */
    void *log_user;
    const char *ca_file; /**< certificates to trust, PEM; NULL: the system's */
} vlm_hub_options;
/** Starting value of vlm_hub_options. */
#define VLM_HUB_OPTIONS_INIT                                                                       \
    {                                                                                              \
        sizeof(vlm_hub_options), NULL, NULL, NULL, NULL, false, false, 0, 0, 0, 0, 0, 0, 0, 0, 0,  \
            NULL, NULL, NULL, NULL, NULL, NULL                                                     \
    }

/** True where id has the form of a hub id: "name" or "org/name" of letters, digits, '-', '_' and
 * '.'. */
VLM_API bool vlm_hub_is_id(const char *id);

/**
 * Brings the snapshot of a revision into the cache: asks the hub which commit it is and which files
 * it has, fetches those that a model needs and that are not there yet.
 *
 * With `offline`, and when the hub cannot be reached, a complete snapshot in the cache is given
 * instead (the latter with a warning to the log).
 *
 * @param snapshot_dir owned; free with vlm_string_free()
 * @param id "org/name"
 * @return VLM_ERR_NETWORK: not reached, or failing beyond the retries; VLM_ERR_ACCESS: a token is
 * missing, wrong, or not allowed in (a gated repository); VLM_ERR_NO_REPOSITORY,
 * VLM_ERR_NO_REVISION; VLM_ERR_NOT_FOUND: a file that should be there is not, or none that this
 * library loads; VLM_ERR_CHECKSUM; VLM_ERR_LIMIT: larger than the options allow; VLM_ERR_FORMAT: an
 * answer that is no answer, or a file name that leaves the snapshot; VLM_ERR_IO: the cache;
 * VLM_ERR_CANCELLED
 */
VLM_API vlm_status vlm_hub_pull(char **snapshot_dir, const char *id, const vlm_hub_options *options,
                                vlm_error *err);

/**
 * The snapshot of a revision that is in the cache already, whoever put it there. Touches no network
 * and writes nothing.
 *
 * @param snapshot_dir owned; free with vlm_string_free()
 * @return VLM_ERR_NOT_FOUND where the revision is not in the cache or, by name, a file of it is
 * missing
 */
VLM_API vlm_status vlm_hub_find(char **snapshot_dir, const char *id, const vlm_hub_options *options,
                                vlm_error *err);

#ifdef __cplusplus
}
#endif

#endif
