/* SPDX-License-Identifier: MIT */
/* Directories that look wrong and are good all the same: they load, some with a warning. */
#include "hostile/hostile.h"

#define GENERATION_SAYS(what) { GENERATION, what, "ignored" }

static const hostile odd_but_good[] = {
    /* Nothing is changed. */
    { "good: tiles", { { 0 } }, { 0 }, SPLIT },
    { "good: shards", { { 0 } }, { 0 }, SHARDED },
    { "good: MLX", { { 0 } }, { 0 }, MLX },
    { "good: gemma", { { 0 } }, { 0 }, PALI },
    { "good: gemma2", { { 0 } }, { 0 }, PALI2 },
    { "good: qwen2_vl", { { 0 } }, { 0 }, QWEN2 },
    { "good: qwen3_vl", { { 0 } }, { 0 }, QWEN3 },
    { "good: qwen3_vl with experts", { { 0 } }, { 0 }, QWEN3_MOE },
    { "good: glm_ocr", { { 0 } }, { 0 }, GLM },
    { "good: gemma3", { { 0 } }, { 0 }, GEMMA3 },
    { "good: mistral3", { { 0 } }, { 0 }, MISTRAL3 },
    { "good: pixtral", { { 0 } }, { 0 }, PIXTRAL },
    { "good: llava", { { 0 } }, { 0 }, LLAVA },
    { "good: llava, its sizes as numbers", { SET(PRE, "size", "56"), SET(PRE, "crop_size", "56") }, { 0 }, LLAVA },
    { "good: llava that says nothing of tokens", { UNSET(PROC, "patch_size"), UNSET(PROC, "num_additional_image_tokens"), UNSET(PROC, "vision_feature_select_strategy") }, { 0 }, LLAVA },
    { "good: llava_next", { { 0 } }, { 0 }, LLAVA_NEXT },
    { "good: bunny", { { 0 } }, { 0 }, BUNNY },
    { "good: fastvlm", { { 0 } }, { 0 }, FASTVLM },
    { "good: fast_vlm", { { 0 } }, { 0 }, TIMM },
    { "good: bunny, as many heads for keys", { SET(CONFIG, "num_key_value_heads", "null") }, { 0 }, BUNNY },
    { "good: qwen", { { 0 } }, { 0 }, QWEN },
    { "good: qwen of transformers 5", { { 0 } }, { 0 }, QWEN_NEST },
    { "good: smolvlm", { { 0 } }, { 0 }, SMOL },

    /* JSON as the ecosystem writes it. */
    { "json: a BOM", { REPLACE(CONFIG, "{", "\xEF\xBB\xBF{") }, { 0 } },
    { "json: CRLF line ends", { REPLACE(CONFIG, "\n", "\r\n"), REPLACE(PRE, "\n", "\r\n") }, { 0 } },
    { "json: NaN and Infinity", { SET(CONFIG, "x", "[NaN, Infinity, -Infinity]") }, { 0 } },
    { "json: numbers of any size", { SET(CONFIG, "x", "[9223372036854775808, -18446744073709551616, 1e400, 1e-400]") }, { 0 } },
    { "json: \\u0000 in a string", { SET(CONFIG, "x", "\"a\\u0000b\"") }, { 0 } },
    { "json: half a surrogate pair", { SET(CONFIG, "x", "\"\\ud800\"") }, { 0 } },
    { "json: equal keys, the last wins", { SET(CONFIG, "model_type", "\"other\", \"model_type\": \"idefics3\"") }, { 0 } },

    { "json: nested 40 deep", { SET(CONFIG, "x", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]") }, { 0 } },
    { "json: keys that no one knows", { SET(CONFIG, "vision_config/future", "{\"a\": [1]}"), SET(PRE, "future", "1"), SET(TOKENIZER_CONFIG, "future", "[]") }, { 0 } },

    /* Links, as the hub cache is made of. */
    { "links: config.json", { MOVE(CONFIG, "blob"), LINK(CONFIG, "blob") }, { 0 } },
    { "links: the weights", { MOVE(WEIGHTS, "blob"), LINK(WEIGHTS, "./blob") }, { 0 } },
    { "links: a shard", { MOVE(SHARD(2), "blob"), LINK(SHARD(2), "blob") }, { 0 }, SHARDED },
    { "links: the tokenizer", { MOVE(TOKENIZER, "blob"), LINK(TOKENIZER, "blob") }, { 0 } },

    /* generation_config.json is not needed: a broken one is passed over, with a line. */
    { "generation: absent", { REMOVE(GENERATION) }, { 0 } },
    { "generation: empty", { WRITE(GENERATION, "") }, GENERATION_SAYS("line 1") },
    { "generation: no JSON", { WRITE(GENERATION, "{\"eos_token_id\": [") }, GENERATION_SAYS("line 1") },
    { "generation: an array", { WRITE(GENERATION, "[1]") }, GENERATION_SAYS("object") },
    { "generation: not UTF-8", { WRITE(GENERATION, "{\"a\": \"\xFF\"}") }, GENERATION_SAYS("UTF-8") },
    { "generation: too deep", { REPEAT(GENERATION, "[", 100000) }, GENERATION_SAYS("deep") },
    { "generation: too large", { GROW(GENERATION, 1 << 20) }, GENERATION_SAYS("1048576") },
    { "generation: a FIFO", { FIFO(GENERATION) }, GENERATION_SAYS("regular") },
    { "generation: a directory", { DIRECTORY(GENERATION) }, GENERATION_SAYS("directory") },
    { "generation: a device", { LINK(GENERATION, "/dev/zero") }, GENERATION_SAYS("regular") },
    { "generation: a link to itself", { LINK(GENERATION, GENERATION) }, GENERATION_SAYS("symbolic links") },
    { "generation: a link to nothing", { LINK(GENERATION, "no/such") }, { 0 } },
    { "generation: eos_token_id is a string", { SET(GENERATION, "eos_token_id", "\"</s>\"") }, { 0 } },
    { "generation: eos_token_id is negative", { SET(GENERATION, "eos_token_id", "-5") }, { 0 } },
    { "generation: eos_token_id is a list of junk", { SET(GENERATION, "eos_token_id", "[\"a\", null, 1.5, 4294967296]") }, { 0 } },

    /* End tokens. */
    { "eos: 0 at the top", { SET(CONFIG, "eos_token_id", "0") }, { 0 } },
    { "eos: [] at the top", { SET(CONFIG, "eos_token_id", "[]") }, { 0 } },
    { "eos: null at the top", { SET(CONFIG, "eos_token_id", "null") }, { 0 } },
    { "eos: a string, nested", { SET(CONFIG, "text_config/eos_token_id", "\"x\"") }, { 0 } },
    { "eos: an object, nested", { SET(CONFIG, "text_config/eos_token_id", "{}") }, { 0 } },
    { "eos: beyond the vocabulary", { SET(CONFIG, "eos_token_id", "4294967295") }, { 0 } },

    /* The processor's files. */
    { "processor: no second file", { REMOVE(PROC), SET(PRE, "image_seq_len", "4") }, { 0 } },
    { "processor: the class in the second file", { UNSET(PRE, "processor_class") }, { 0 } },
    { "processor: the class in neither", { UNSET(PRE, "processor_class"), UNSET(PROC, "processor_class") }, { 0 } },
    { "processor: a null class in the first", { SET(PRE, "processor_class", "null") }, { 0 } },
    { "processor: the first decides", { SET(PROC, "processor_class", "\"NoProcessor\"") }, { 0 } },
    { "processor: the second is no JSON, and not needed", { WRITE(PROC, "{") }, { PROC, "ignored" }, PALI },
    { "processor: nested null", { SET(PROC, "image_processor", "null") }, { 0 } },

    /* The tokenizer's. */
    { "tokenizer: no tokenizer_config.json", { REMOVE(TOKENIZER_CONFIG) }, { 0 } },
    { "tokenizer: an eos_token that is no token", { SET(TOKENIZER_CONFIG, "eos_token", "5") }, { 0 } },
    { "tokenizer: added_tokens null", { SET(TOKENIZER_CONFIG, "added_tokens_decoder", "null") }, { 0 } },
    { "template: the default of a list", { WRITE(TEMPLATE, "{\"chat_template\": [{\"name\": \"x\", \"template\": \"{% if %}\"}, {\"name\": \"default\", \"template\": \"<image>Hi\"}]}") }, { 0 } },

    /* Weights. */
    { "weights: another name", { MOVE(WEIGHTS, "weights.safetensors") }, { 0 } },
    { "weights: a set without an index", { REMOVE(INDEX) }, { 0 }, SHARDED },
    { "weights: Mistral's copy beside them", { COPY(WEIGHTS, "consolidated.safetensors") }, { 0 } },
    { "weights: an adapter beside them", { COPY(WEIGHTS, "adapter_model.safetensors") }, { 0 } },
    { "weights: junk beside an index", { WRITE("other.safetensors", "junk") }, { 0 }, SHARDED },
    { "weights: junk beside the one file", { WRITE("other.safetensors", "junk") }, { 0 } },
    { "weights: a stale index", { WRITE(INDEX, "{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}") }, { INDEX, "stale", "model-00001-of-00002.safetensors" } },
    { "header: no metadata", { HEADER(WEIGHTS, "__metadata__", NULL) }, { 0 } },
    { "header: null metadata", { HEADER(WEIGHTS, "__metadata__", "null") }, { 0 } },
    { "header: metadata that no one knows", { HEADER(WEIGHTS, "__metadata__/x", "\"\\u0000\"") }, { 0 } },
    { "tensors: rotary frequencies, which no one reads", { TENSOR(WEIGHTS, "model.text_model.layers.0.self_attn.rotary_emb.inv_freq", "F32 8") }, { 0 } },
    { "quantized: said, but nothing is", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4}") }, { 0 } },
    { "quantized: a linear layer", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4}"), TENSOR(WEIGHTS, "model.text_model.layers.0.self_attn.q_proj.weight", "U32 64 8"), TENSOR(WEIGHTS, "model.text_model.layers.0.self_attn.q_proj.scales", "F32 64 1"), TENSOR(WEIGHTS, "model.text_model.layers.0.self_attn.q_proj.biases", "F32 64 1") }, { 0 } },
};
