/* SPDX-License-Identifier: MIT */
/* Tensors that are missing, left over or of other shapes and types, and quantized ones. */
#include "hostile/hostile.h"

#define LAYER "model.text_model.layers.0."
#define TOWER "model.vision_model."
#define TOWER_LAYER TOWER "encoder.layers.1."

static const hostile bad_tensors[] = {
    /* Missing, one of every kind of row. */
    { "missing: a linear layer's weight", { DROP(WEIGHTS, LAYER "self_attn.q_proj.weight") }, { "'" LAYER "self_attn.q_proj.weight'", "missing" } },
    { "missing: a linear layer's bias", { DROP(WEIGHTS, TOWER_LAYER "mlp.fc1.bias") }, { "'" TOWER_LAYER "mlp.fc1.bias'", "missing" } },
    { "missing: a norm's weight", { DROP(WEIGHTS, "model.text_model.norm.weight") }, { "'model.text_model.norm.weight'", "missing" } },
    { "missing: a norm's bias", { DROP(WEIGHTS, TOWER "post_layernorm.bias") }, { "'" TOWER "post_layernorm.bias'", "missing" } },
    { "missing: an embedding", { DROP(WEIGHTS, "model.text_model.embed_tokens.weight") }, { "'model.text_model.embed_tokens.weight'", "missing" } },
    { "missing: a convolution", { DROP(WEIGHTS, TOWER "embeddings.patch_embedding.weight") }, { "'" TOWER "embeddings.patch_embedding.weight'", "missing" } },
    { "missing: a convolution's bias", { DROP(WEIGHTS, TOWER "embeddings.patch_embedding.bias") }, { "'" TOWER "embeddings.patch_embedding.bias'", "missing" } },
    { "missing: positions", { DROP(WEIGHTS, TOWER "embeddings.position_embedding.weight") }, { "'" TOWER "embeddings.position_embedding.weight'", "missing" } },
    { "missing: the connector", { DROP(WEIGHTS, "model.connector.modality_projection.proj.weight") }, { "'model.connector.modality_projection.proj.weight'", "missing" } },
    { "missing: the untied head", { DROP(WEIGHTS, "lm_head.weight") }, { "'lm_head.weight'", "missing" } },
    { "missing: two, both named", { DROP(WEIGHTS, "lm_head.weight"), DROP(WEIGHTS, LAYER "mlp.up_proj.weight") }, { "'lm_head.weight'", "'" LAYER "mlp.up_proj.weight'", "2 tensors" } },
    { "missing: renamed", { RENAME(WEIGHTS, LAYER "mlp.up_proj.weight", LAYER "mlp.pu_proj.weight") }, { "'" LAYER "mlp.up_proj.weight'", "'" LAYER "mlp.pu_proj.weight'" } },
    { "missing: a bias of the projector", { DROP(WEIGHTS, "multi_modal_projector.linear.bias") }, { "multi_modal_projector.linear.bias'", "missing" }, PALI },
    { "missing: a bias of the keys", { DROP(WEIGHTS, "model.layers.1.self_attn.k_proj.bias") }, { "layers.1.self_attn.k_proj.bias'", "missing" }, QWEN },
    { "missing: the merger", { DROP(WEIGHTS, "visual.merger.mlp.0.weight") }, { "visual.merger.mlp.0.weight'", "missing" }, QWEN },
    { "missing: a sandwich norm", { DROP(WEIGHTS, "language_model.model.layers.2.pre_feedforward_layernorm.weight") }, { "layers.2.pre_feedforward_layernorm.weight'", "missing" }, PALI2 },
    { "missing: from a shard", { DROP(SHARD(2), "model.text_model.embed_tokens.weight") }, { "model.text_model.embed_tokens.weight" }, SHARDED },
    { "missing: MLX's fused name", { RENAME(WEIGHTS, "language_model.layers.0.self_attn.q_proj.weight", "language_model.layers.0.self_attn.qkv_proj.weight") }, { "layers.0.self_attn.q_proj.weight'", "missing" }, MLX },

    /* Left over. */
    { "left over: a layer too many", { TENSOR(WEIGHTS, "model.text_model.layers.3.input_layernorm.weight", "F32 64") }, { "/" WEIGHTS, "'model.text_model.layers.3.input_layernorm.weight'" } },
    { "left over: a bias that the config denies", { TENSOR(WEIGHTS, LAYER "self_attn.q_proj.bias", "F32 64") }, { "/" WEIGHTS, "'" LAYER "self_attn.q_proj.bias'" } },
    { "left over: an adapter's tensors", { TENSOR(WEIGHTS, LAYER "self_attn.q_proj.lora_A.weight", "F32 8 64") }, { "/" WEIGHTS, "'" LAYER "self_attn.q_proj.lora_A.weight'" } },
    { "left over: a tensor of no model", { TENSOR(WEIGHTS, "optimizer.state", "F32 1") }, { "/" WEIGHTS, "'optimizer.state'" } },
    { "left over: an empty tensor", { TENSOR(WEIGHTS, "nothing", "F32 0") }, { "/" WEIGHTS, "'nothing'" } },
    { "left over: scales of what is not packed", { TENSOR(WEIGHTS, TOWER "embeddings.patch_embedding.scales", "F32 48 1") }, { "/" WEIGHTS, "patch_embedding" } },

    /* Shapes. */
    { "shape: a linear layer, transposed", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "F32 64 112") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "[112, 64]" } },
    { "shape: a linear layer, flat", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "F32 7168") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "[7168]" } },
    { "shape: a linear layer of three dimensions", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "F32 1 112 64") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "[1, 112, 64]" } },
    { "shape: a scalar", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "F32") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "[]" } },
    { "shape: an empty matrix", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "F32 0 64") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "[0, 64]" } },
    { "shape: a bias", { TENSOR(WEIGHTS, TOWER_LAYER "mlp.fc1.bias", "F32 81") }, { "/" WEIGHTS, "'" TOWER_LAYER "mlp.fc1.bias'", "[81]" } },
    { "shape: a norm", { TENSOR(WEIGHTS, "model.text_model.norm.weight", "F32 63") }, { "/" WEIGHTS, "'model.text_model.norm.weight'", "[63]" } },
    { "shape: an embedding of fewer tokens", { TENSOR(WEIGHTS, "model.text_model.embed_tokens.weight", "F32 543 64") }, { "/" WEIGHTS, "'model.text_model.embed_tokens.weight'", "[543, 64]" } },
    { "shape: a head of more tokens", { TENSOR(WEIGHTS, "lm_head.weight", "F32 576 64") }, { "/" WEIGHTS, "'lm_head.weight'", "[576, 64]" } },
    { "shape: a convolution, channels last", { TENSOR(WEIGHTS, TOWER "embeddings.patch_embedding.weight", "F32 48 16 16 3") }, { "/" WEIGHTS, "patch_embedding.weight'", "[48, 16, 16, 3]" } },
    { "shape: a convolution, flat", { TENSOR(WEIGHTS, TOWER "embeddings.patch_embedding.weight", "F32 48 768") }, { "/" WEIGHTS, "patch_embedding.weight'", "[48, 768]" } },
    { "shape: MLX's convolution, channels first", { TENSOR(WEIGHTS, "vision_model.embeddings.patch_embedding.weight", "BF16 48 3 16 16") }, { "/" WEIGHTS, "patch_embedding.weight'", "[48, 3, 16, 16]" }, MLX },
    { "shape: a video convolution of one frame", { TENSOR(WEIGHTS, "visual.patch_embed.proj.weight", "F32 48 3 1 14 14") }, { "/" WEIGHTS, "patch_embed.proj.weight'", "[48, 3, 1, 14, 14]" }, QWEN },
    { "shape: queries and keys fused in another order", { TENSOR(WEIGHTS, "visual.blocks.0.attn.qkv.weight", "F32 48 144") }, { "/" WEIGHTS, "attn.qkv.weight'", "[48, 144]" }, QWEN },

    /* Types. */
    { "type: F64", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "F64 112 64") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "F64" } },
    { "type: I64", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "I64 112 64") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "I64" } },
    { "type: BOOL", { TENSOR(WEIGHTS, "model.text_model.norm.weight", "BOOL 64") }, { "/" WEIGHTS, "'model.text_model.norm.weight'", "BOOL" } },
    { "type: I8 without scales", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "I8 112 64") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "I8" } },
    { "type: F8_E4M3 without scales", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "F8_E4M3 112 64") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "F8_E4M3" } },
    { "type: U32 without scales", { TENSOR(WEIGHTS, LAYER "mlp.up_proj.weight", "U32 112 8") }, { "/" WEIGHTS, "'" LAYER "mlp.up_proj.weight'", "U32" } },
};

/* A linear layer of 64 rows and columns, as MLX quantizes it, and what the config says of it. */
#define PACKED LAYER "self_attn.q_proj"
#define TRIPLE(w, s, b)                                                                            \
    TENSOR(WEIGHTS, PACKED ".weight", w), TENSOR(WEIGHTS, PACKED ".scales", s), TENSOR(WEIGHTS, PACKED ".biases", b)
#define PAIR(w, s, byte)                                                                           \
    TENSOR(WEIGHTS, PACKED ".weight", w), FILLED(WEIGHTS, PACKED ".scales", s, byte)
#define MODE(group, bits, mode) SET(CONFIG, "quantization", "{\"group_size\": " #group ", \"bits\": " #bits ", \"mode\": \"" mode "\"}")
#define GOOD_TRIPLE TRIPLE("U32 64 8", "F32 64 1", "F32 64 1")
#define QUANTIZED SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4}")
#define PACKED_SAYS(what) { "/" WEIGHTS, "'" PACKED, what }

static const hostile bad_quantized[] = {
    { "quantized: a dense weight beside scales", { QUANTIZED, TENSOR(WEIGHTS, PACKED ".scales", "F32 64 1"), TENSOR(WEIGHTS, PACKED ".biases", "F32 64 1") }, PACKED_SAYS("U32") },
    { "quantized: no biases", { QUANTIZED, TENSOR(WEIGHTS, PACKED ".weight", "U32 64 8"), TENSOR(WEIGHTS, PACKED ".scales", "F32 64 1") }, PACKED_SAYS("biases") },
    { "quantized: no scales", { QUANTIZED, TENSOR(WEIGHTS, PACKED ".weight", "U32 64 8"), TENSOR(WEIGHTS, PACKED ".biases", "F32 64 1") }, PACKED_SAYS("U32") },
    { "quantized: packed in I32", { QUANTIZED, TRIPLE("I32 64 8", "F32 64 1", "F32 64 1") }, PACKED_SAYS("U32") },
    { "quantized: packed in U8", { QUANTIZED, TRIPLE("U8 64 32", "F32 64 1", "F32 64 1") }, PACKED_SAYS("U32") },
    { "quantized: too few words", { QUANTIZED, TRIPLE("U32 64 7", "F32 64 1", "F32 64 1") }, PACKED_SAYS("[64, 7]") },
    { "quantized: too many words", { QUANTIZED, TRIPLE("U32 64 16", "F32 64 1", "F32 64 1") }, PACKED_SAYS("[64, 16]") },
    { "quantized: too few rows", { QUANTIZED, TRIPLE("U32 63 8", "F32 63 1", "F32 63 1") }, PACKED_SAYS("[63, 8]") },
    { "quantized: flat words", { QUANTIZED, TRIPLE("U32 512", "F32 64 1", "F32 64 1") }, PACKED_SAYS("[512]") },
    { "quantized: no words", { QUANTIZED, TRIPLE("U32 64 0", "F32 64 1", "F32 64 1") }, PACKED_SAYS("[64, 0]") },
    { "quantized: scales of more groups", { QUANTIZED, TRIPLE("U32 64 8", "F32 64 2", "F32 64 2") }, PACKED_SAYS("[64, 2]") },
    { "quantized: scales of fewer rows", { QUANTIZED, TRIPLE("U32 64 8", "F32 32 1", "F32 64 1") }, PACKED_SAYS("[32, 1]") },
    { "quantized: scales of one dimension", { QUANTIZED, TRIPLE("U32 64 8", "F32 64", "F32 64 1") }, PACKED_SAYS("[64]") },
    { "quantized: scales of integers", { QUANTIZED, TRIPLE("U32 64 8", "I32 64 1", "F32 64 1") }, PACKED_SAYS("I32") },
    { "quantized: empty scales", { QUANTIZED, TRIPLE("U32 64 8", "F32 64 0", "F32 64 0") }, PACKED_SAYS("[64, 0]") },
    { "quantized: biases of another shape", { QUANTIZED, TRIPLE("U32 64 8", "F32 64 1", "F32 64 2") }, PACKED_SAYS("[64, 2]") },
    { "quantized: biases of bytes", { QUANTIZED, TRIPLE("U32 64 8", "F32 64 1", "U8 64 1") }, PACKED_SAYS("U8") },
    { "quantized: groups that do not divide the columns", { SET(CONFIG, "quantization", "{\"group_size\": 128, \"bits\": 4}"), GOOD_TRIPLE }, PACKED_SAYS("128") },
    { "quantized: other bits than the config's", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 8}"), GOOD_TRIPLE }, PACKED_SAYS("[64, 8]") },
    { "quantized: a module that the config denies", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4, \"" PACKED "\": false}"), GOOD_TRIPLE }, PACKED_SAYS("not quantized") },
    { "quantized: no word in the config, odd groups", { TRIPLE("U32 64 8", "F32 64 3", "F32 64 3") }, PACKED_SAYS("groups") },
    { "quantized: no word in the config, 1 bit", { TRIPLE("U32 64 2", "F32 64 1", "F32 64 1") }, PACKED_SAYS("bits") },
    { "quantized: no word in the config, groups of 8", { TRIPLE("U32 64 8", "F32 64 8", "F32 64 8") }, PACKED_SAYS("group") },
    { "quantized: NaN scales", { QUANTIZED, GOOD_TRIPLE, FILLED(WEIGHTS, PACKED ".scales", "F32 64 1", 0xFF) }, PACKED_SAYS("scales': holds what is no finite number") },
    { "quantized: NaN biases", { QUANTIZED, GOOD_TRIPLE, FILLED(WEIGHTS, PACKED ".biases", "F16 64 1", 0x7F) }, PACKED_SAYS("biases': holds what is no finite number") },
    { "quantized: mxfp4 with groups of 64", { MODE(32, 4, "mxfp4"), PAIR("U32 64 8", "U8 64 1", 127) }, PACKED_SAYS("[64, 1], mxfp4 of 4 bits in groups of 32") },
    { "quantized: mxfp4 with scales of floats", { MODE(32, 4, "mxfp4"), PAIR("U32 64 8", "F16 64 2", 0) }, PACKED_SAYS("single bytes") },
    { "quantized: mxfp4 with a NaN scale", { MODE(32, 4, "mxfp4"), PAIR("U32 64 8", "U8 64 2", 0xFF) }, PACKED_SAYS("scales': holds what is no finite number") },
    { "quantized: mxfp8 of four bits", { MODE(32, 8, "mxfp8"), PAIR("U32 64 8", "U8 64 2", 127) }, PACKED_SAYS("[64, 8], mxfp8 of 8 bits in groups of 32") },
    { "quantized: mxfp8 with a NaN scale", { MODE(32, 8, "mxfp8"), PAIR("U32 64 16", "U8 64 2", 0xFF) }, PACKED_SAYS("scales': holds what is no finite number") },
    { "quantized: nvfp4 with groups of 32", { MODE(16, 4, "nvfp4"), PAIR("U32 64 8", "U8 64 2", 0x38) }, PACKED_SAYS("[64, 2], nvfp4 of 4 bits in groups of 16") },
    { "quantized: nvfp4 with a NaN scale", { MODE(16, 4, "nvfp4"), PAIR("U32 64 8", "U8 64 4", 0x7F) }, PACKED_SAYS("scales': holds what is no finite number") },
    { "quantization: mxfp4 in groups of 64", { MODE(64, 4, "mxfp4") }, { "config.json: quantization", "mxfp4 of 4 bits in groups of 64 is no quantization" } },
    { "quantization: nvfp4 of 8 bits", { MODE(16, 8, "nvfp4") }, { "config.json: quantization", "nvfp4 of 8 bits in groups of 16 is no quantization" } },
    { "quantized: a norm", { QUANTIZED, TENSOR(WEIGHTS, "model.text_model.norm.weight", "U32 8"), TENSOR(WEIGHTS, "model.text_model.norm.scales", "F32 1") }, { "/" WEIGHTS, "'model.text_model.norm.weight'", "U32" } },

    /* What config.json says of it. */
    { "quantization: a number", { SET(CONFIG, "quantization", "4") }, { "config.json: quantization", "object" } },
    { "quantization: a string", { SET(CONFIG, "quantization", "\"4bit\"") }, { "config.json: quantization", "object", "string" } },
    { "quantization: a list", { SET(CONFIG, "quantization", "[4, 64]") }, { "config.json: quantization", "object", "array" } },
    { "quantization: true", { SET(CONFIG, "quantization", "true") }, { "config.json: quantization", "object" } },
    { "quantization: no bits", { SET(CONFIG, "quantization", "{\"group_size\": 64}") }, { "config.json: quantization.bits" } },
    { "quantization: no group_size", { SET(CONFIG, "quantization", "{\"bits\": 4}") }, { "config.json: quantization.group_size" } },
    { "quantization: bits is a string", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": \"4\"}") }, { "config.json: quantization.bits" } },
    { "quantization: bits is 0", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 0}") }, { "config.json: quantization.bits" } },
    { "quantization: bits is 7", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 7}") }, { "config.json: quantization", "7 bits" } },
    { "quantization: bits is 2^62", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4611686018427387904}") }, { "config.json: quantization.bits" } },
    { "quantization: bits is a fraction", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4.5}") }, { "config.json: quantization.bits" } },
    { "quantization: group_size is 0", { SET(CONFIG, "quantization", "{\"group_size\": 0, \"bits\": 4}") }, { "config.json: quantization.group_size" } },
    { "quantization: group_size is negative", { SET(CONFIG, "quantization", "{\"group_size\": -64, \"bits\": 4}") }, { "config.json: quantization.group_size" } },
    { "quantization: group_size is 48", { SET(CONFIG, "quantization", "{\"group_size\": 48, \"bits\": 4}") }, { "config.json: quantization", "48" } },
    { "quantization: group_size is NaN", { SET(CONFIG, "quantization", "{\"group_size\": NaN, \"bits\": 4}") }, { "config.json: quantization.group_size" } },
    { "quantization: an unknown mode", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4, \"mode\": \"ternary\"}") }, { "config.json: quantization.mode", "'ternary'" } },
    { "quantization: mode is a number", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4, \"mode\": 1}") }, { "config.json: quantization.mode" } },
    { "quantization: a module is a string", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4, \"lm_head\": \"no\"}") }, { "config.json: quantization.lm_head", "string" } },
    { "quantization: a module's bits are 9", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4, \"lm_head\": {\"group_size\": 64, \"bits\": 9}}") }, { "config.json: quantization.lm_head", "9" } },
    { "quantization: a module's mode is unknown", { SET(CONFIG, "quantization", "{\"group_size\": 64, \"bits\": 4, \"lm_head\": {\"mode\": \"x\"}}") }, { "config.json: quantization.lm_head.mode", "'x'" } },
    { "quantization_config: a string", { SET(CONFIG, "quantization_config", "\"awq\"") }, { "config.json: quantization_config", "object", "string" } },
    { "quantization_config: AWQ of 3 bits", { SET(CONFIG, "quantization_config", "{\"quant_method\": \"awq\", \"bits\": 3, \"group_size\": 128}") }, { "config.json: quantization_config.bits", "4 bits" } },
    { "quantization_config: AWQ's other layout", { SET(CONFIG, "quantization_config", "{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 128, \"version\": \"gemv\"}") }, { "config.json: quantization_config.version", "'gemv'" } },
    { "quantization_config: GPTQ without groups", { SET(CONFIG, "quantization_config", "{\"quant_method\": \"gptq\", \"bits\": 4}") }, { "config.json: quantization_config.group_size", "groups" } },
    { "quantization_config: bitsandbytes", { SET(CONFIG, "quantization_config", "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}") }, { "config.json: quantization_config", "'bitsandbytes'" } },
    { "quantization_config: of no method", { SET(CONFIG, "quantization_config", "{}") }, { "config.json: quantization_config", "quant_method" } },
    { "quantization_config: in text_config", { SET(CONFIG, "text_config/quantization_config", "{\"quant_method\": \"hqq\"}") }, { "config.json: text_config.quantization_config", "'hqq'" } },
    { "quantization_config: compressed-tensors of an unknown format", { SET(CONFIG, "quantization_config", "{\"quant_method\": \"compressed-tensors\", \"format\": \"marlin-24\"}") }, { "config.json: quantization_config", "'marlin-24'" } },
    { "hf_quant_config.json: no JSON", { WRITE("hf_quant_config.json", "{\"quantization\": ") }, { "/hf_quant_config.json", "line 1" } },
    { "hf_quant_config.json: an array", { WRITE("hf_quant_config.json", "[]") }, { "/hf_quant_config.json", "object", "array" } },
    { "hf_quant_config.json: a FIFO", { WRITE("hf_quant_config.json", ""), FIFO("hf_quant_config.json") }, { "/hf_quant_config.json", "regular" } },
    { "hf_quant_config.json: too large", { WRITE("hf_quant_config.json", "{}"), GROW("hf_quant_config.json", 1 << 20) }, { "/hf_quant_config.json", "1048576" } },
    { "hf_quant_config.json: an unknown algorithm", { WRITE("hf_quant_config.json", "{\"quantization\": {\"quant_algo\": \"W3A3\"}}") }, { "hf_quant_config.json: quantization.quant_algo", "'W3A3'" } },
};
