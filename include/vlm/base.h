/* SPDX-License-Identifier: MIT */
/**
 * @file base.h
 * @brief What every part of libvlm shares: status codes, errors, limits, log and version.
 *
 * Included by every other public header; it is rarely included on its own.
 */
#ifndef VLM_BASE_H
#define VLM_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VLM_API __attribute__((visibility("default")))
#define VLM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define VLM_API
#define VLM_PRINTF(fmt, args)
#endif

/** Version of the release. */
#define VLM_VERSION_MAJOR 0
#define VLM_VERSION_MINOR 1
#define VLM_VERSION_PATCH 0
/** Version of the binary interface: the SONAME, and the version lock of `vlm/extend.h`. */
#define VLM_API_VERSION 0

/**
 * Every status of the library, once: name, value, meaning. Negative is an error, zero is fine,
 * positive is a normal condition. The enum, vlm_status_name() and the documentation feed on it.
 */
#define VLM_STATUS_MAP(X)                                                                          \
    X(OK, 0, "success")                                                                            \
    X(DONE, 1, "nothing more to come")                                                             \
    X(DAMAGED, 2, "done, but what was given is broken and part of it lost")                        \
    X(ERR_ARGUMENT, -1, "wrong use of a function: a null, a value out of its range")               \
    X(ERR_MEMORY, -2, "out of memory")                                                             \
    X(ERR_LIMIT, -3, "larger than a limit allows")                                                 \
    X(ERR_IO, -4, "a file cannot be read or written")                                              \
    X(ERR_NOT_FOUND, -5, "a file or directory does not exist")                                     \
    X(ERR_FORMAT, -6, "malformed file or text")                                                    \
    X(ERR_CONFIG, -7, "a configuration value is missing, of a wrong type or out of range")         \
    X(ERR_WEIGHTS, -8, "a tensor is missing, unknown or of a wrong shape")                         \
    X(ERR_UNSUPPORTED, -9, "valid, but not something this build can do")                           \
    X(ERR_UNKNOWN_MODEL_TYPE, -10, "no such model type is registered")                             \
    X(ERR_UNKNOWN_PROCESSOR, -11, "no such processor class is registered")                         \
    X(ERR_IMAGE_REQUIRED, -12, "this model needs an image")                                        \
    X(ERR_MASK_REQUIRED, -13, "this model needs an image mask")                                    \
    X(ERR_SINGLE_IMAGE_ALLOWED, -14, "this model takes a single image")                            \
    X(ERR_SINGLE_VIDEO_ALLOWED, -15, "this model takes a single video")                            \
    X(ERR_SINGLE_MEDIA_TYPE_ALLOWED, -16, "this model takes images or videos, not both")           \
    X(ERR_IMAGE_PROCESSING, -17, "an image cannot be decoded or processed")                        \
    X(ERR_VIDEO_PROCESSING, -18, "a video cannot be processed")                                    \
    X(ERR_PROCESSING, -19, "the input cannot be prepared for this model")                          \
    X(ERR_NO_VIDEO_TRACK, -20, "a video file holds no video track")                                \
    X(ERR_VIDEO_NOT_DECODABLE, -21, "a video cannot be decoded")                                   \
    X(ERR_MEDIA_COUNT, -22, "images or videos and their places in the prompt differ in number")    \
    X(ERR_CONTEXT_FULL, -23, "the prompt does not fit the context")                                \
    X(ERR_CANCELLED, -24, "the caller asked to stop")                                              \
    X(ERR_BACKEND, -25, "the compute backend failed")                                              \
    X(ERR_TEMPLATE, -26, "the chat template failed")                                               \
    X(ERR_PARSE, -27, "text that is not JSON")                                                     \
    X(ERR_ENCODING, -28, "text that is not UTF-8")                                                 \
    X(ERR_MISSING_FIELD, -29, "a required field is in none of its places")                         \
    X(ERR_NETWORK, -40, "a server cannot be reached, or fails")                                    \
    X(ERR_ACCESS, -41, "a server wants a token, or another one")                                   \
    X(ERR_NO_REPOSITORY, -42, "the hub has no such repository")                                    \
    X(ERR_NO_REVISION, -43, "the repository has no such revision")                                 \
    X(ERR_CHECKSUM, -44, "what arrived is not what its checksum says")

/** Result of every function that can fail. */
typedef enum vlm_status {
#define VLM_STATUS_ENUM(name, value, text) VLM_##name = value,
    VLM_STATUS_MAP(VLM_STATUS_ENUM)
#undef VLM_STATUS_ENUM
} vlm_status;

/** Name of a status as in the enum, e.g. "VLM_ERR_FORMAT"; borrowed, static. Thread-safe. */
VLM_API const char *vlm_status_name(vlm_status status);
/** Meaning of a status in a few words; borrowed, static. Thread-safe. */
VLM_API const char *vlm_status_text(vlm_status status);

/** Why a call failed: the code, one line that names the file and the field, and what the line says as data.
 * Only a call that fails writes to it: after one that succeeds it holds what it held before. */
typedef struct vlm_error {
    vlm_status code;
    char message[500];
    char file[256];        /**< the file concerned, its end where the path is longer; "": none */
    char field[128];       /**< the key, tensor or option concerned; "": none */
    const char *operation; /**< of a file: "open", "stat", "read", "map", "write"; static; NULL: none */
    int os_error;          /**< errno of the operation; 0: none */
    uint32_t line, column; /**< of text, from 1: VLM_ERR_PARSE, VLM_ERR_TEMPLATE; 0: none */
    uint64_t limit;        /**< the bound that was crossed: of VLM_ERR_LIMIT, VLM_ERR_CONTEXT_FULL; 0: none */
} vlm_error;

/** Starting value of a vlm_error. */
#define VLM_ERROR_INIT { VLM_OK, { 0 }, { 0 }, { 0 }, NULL, 0, 0, 0, 0 }

/** Severity of a log line. */
typedef enum vlm_log_level { VLM_LOG_DEBUG, VLM_LOG_INFO, VLM_LOG_WARNING } vlm_log_level;

/** Receives one line without its line end. May be called from the loading thread only. */
typedef void (*vlm_log_fn)(void *user, vlm_log_level level, const char *line);

/** Is told of a file or folder (its path as used) just before the library opens it, on the loading thread. */
typedef void (*vlm_open_fn)(void *user, const char *path);

/**
 * Bounds on everything that a file can ask for. Zero means the default named beside it.
 * Set `struct_size` through VLM_LIMITS_INIT.
 */
typedef struct vlm_limits {
    size_t struct_size;
    uint64_t config_bytes;      /**< config, generation and processor configs: 1 MiB */
    uint64_t index_bytes;       /**< model.safetensors.index.json: 16 MiB */
    uint64_t tokenizer_bytes;   /**< tokenizer.json and its companions: 64 MiB */
    uint64_t template_bytes;    /**< a chat template: 1 MiB */
    uint64_t header_bytes;      /**< header of a safetensors file: 100 MB */
    uint64_t image_file_bytes;  /**< a picture file: 256 MiB */
    uint64_t image_pixels;      /**< pixels of a decoded picture: 178,956,970 */
    uint64_t image_side;        /**< either side of a picture: 65,535 */
    uint64_t template_steps;    /**< evaluation steps of a chat template: 10,000,000 */
    uint64_t template_output;   /**< bytes a chat template may produce: 4 MiB */
    uint64_t context_tokens;    /**< tokens of one session: 1,048,576 */
    uint64_t end_tokens;        /**< ids of an eos_token_id, and end tokens in all: 4,096 */
    uint64_t image_scans;       /**< scans of a JPEG: 500 */
    uint64_t image_decode_bytes; /**< memory that decoding a picture takes, the picture included and
                                      its file not: 4 for each of image_pixels, at least 64 MiB */
    uint64_t video_file_bytes;  /**< a video file: 64 GiB */
    uint64_t video_pixels;      /**< pixels of a video's frame: 67,108,864 */
    uint64_t video_frames;      /**< frames of a video file: 4,194,304 */
    uint64_t video_kept_bytes;  /**< pixels of the frames that one read keeps: 8 GiB */
} vlm_limits;

#define VLM_LIMITS_INIT { sizeof(vlm_limits), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/**
 * A pool of threads, for calls that take one: whatever their number, results are the same. Thread-safe: callers take
 * turns. A context has a pool of its own.
 */
typedef struct vlm_threads vlm_threads;
/** Starts a pool; fewer threads where the system starts no more. @param out owned @param threads the caller's
 * included; 0: one for each usable CPU */
VLM_API vlm_status vlm_threads_new(vlm_threads **out, int threads, vlm_error *err);
/** Ends its threads; NULL is fine. No call may be using it. */
VLM_API void vlm_threads_free(vlm_threads *threads);
/** How many there are, the caller's included. NULL: 1. */
VLM_API int vlm_threads_count(const vlm_threads *threads);
/**
 * Runs fn(arg, i, worker) for every i in [0, n), on whichever thread is free: results must not depend on which.
 * `worker` is in [0, vlm_threads_count()). fn must not run the same pool. @param threads NULL: the caller's thread
 */
VLM_API void vlm_threads_run(vlm_threads *threads, size_t n,
                             void (*fn)(void *arg, size_t i, int worker), void *arg);

/** A value of a parsed JSON document; borrowed from whoever owns the document. vlm/extend/config.h reads it. */
typedef struct vcore_json vlm_json;

/** Frees a string that the library gave as owned; NULL is fine. */
VLM_API void vlm_string_free(char *string);

/** Release version as "major.minor.patch"; borrowed, static. Thread-safe. */
VLM_API const char *vlm_version(void);

#ifdef __cplusplus
}
#endif
#endif
