/* SPDX-License-Identifier: MIT */
/* Which tokenizer class the files of a folder make, as AutoTokenizer of transformers 5.17 decides
 * it: by the model type of config.json and the class that tokenizer_config.json names. Owns the two
 * tables that this takes; what a class then builds is pipeline.c's. */
#include "text/tokenizer/files/files.h"

/* Classes that build their pipeline themselves, and the files they ask for. Not in the table:
 * classes that no vision-language model's checkpoint names; they count as unknown. */
static const struct {
    const char *name;
    vtext_tokenizer_class class;
} classes[] = {
    { "LlamaTokenizer", VTEXT_CLASS_LLAMA },     { "GemmaTokenizer", VTEXT_CLASS_GEMMA },
    { "Siglip2Tokenizer", VTEXT_CLASS_SIGLIP2 }, { "T5Tokenizer", VTEXT_CLASS_T5 },
    { "GPT2Tokenizer", VTEXT_CLASS_GPT2 },       { "GPTNeoXTokenizer", VTEXT_CLASS_GPT_NEOX },
    { "CohereTokenizer", VTEXT_CLASS_COHERE },   { "Qwen2Tokenizer", VTEXT_CLASS_QWEN2 },
    { "Qwen3_5Tokenizer", VTEXT_CLASS_QWEN3_5 }, { "RobertaTokenizer", VTEXT_CLASS_ROBERTA },
    { "BartTokenizer", VTEXT_CLASS_ROBERTA },    { "CLIPTokenizer", VTEXT_CLASS_CLIP },
    { "BertTokenizer", VTEXT_CLASS_BERT },
};

/* Classes registered for model types, which count where no file names one. BACKEND goes before any
 * class that a file names. Other types: the file's class. */
static const struct {
    vtext_tokenizer_class class;
    const char *types; /* each between blanks */
} registered[] = {
    { VTEXT_CLASS_BACKEND,
      " EvollaModel arctic aria bigbird_pegasus camembertv2-base canary chameleon chatlm "
      "cohere_asr "
      "deepseek_ocr deepseek_ocr2 deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 deepseek_vl "
      "deepseek_vl_hybrid deepseek_vl_v2 ernie4_5 ernie4_5_moe flex_olmo fuyu glm glm4 glm4_moe "
      "glm4_moe_lite glm4v glm4v_moe glm_image glmasr got_ocr2 gpt_bigcode granite granitemoe "
      "granitemoehybrid granitemoeshared h2ovl_chat hyperclovax hyperclovax_vlm internlm2 jamba "
      "janus "
      "kimi_k25 kimi_linear kosmos-2 llava llava_next mimo_v2_flash minicpm3 minicpmv minicpmv4_6 "
      "minimax_m2 ministral ministral3 mistral mistral3 mixtral modernbert molmo molmo2 nemotron "
      "nvfp4 "
      "nystromformer olmo2 olmo3 olmo_hybrid opencua openvla paddleocr_vl pegasus_x persimmon phi3 "
      "phi3_v phimoe pix2struct pixtral smolvlm stablelm step3_vl step3p5 umt5 vipllava "
      "vision-encoder-decoder voxtral voxtral_realtime xlm-roberta-xl " },
    { VTEXT_CLASS_BERT,
      " align bark bert blip bros chinese_clip convbert distilbert electra ernie flava git "
      "grounding-dino layoutlm megatron-bert mm-grounding-dino nezha nomic_bert qdqbert realm "
      "retribert "
      "squeezebert tvp vilt visual_bert " },
    { VTEXT_CLASS_QWEN2,
      " audioflamingo3 colqwen2 cosmos3_omni fun_asr_nano hunyuan_vl internvl lighton_ocr ovis2 "
      "qianfan_ocr qwen2 qwen2_5_omni qwen2_5_vl qwen2_audio qwen2_moe qwen2_vl qwen3 qwen3_asr "
      "qwen3_moe qwen3_next qwen3_omni_moe qwen3_vl qwen3_vl_moe vibevoice " },
    { VTEXT_CLASS_QWEN3_5, " qwen3_5 qwen3_5_moe qwen3_5_text qwen4_exp " },
    { VTEXT_CLASS_GPT2,
      " blip-2 codegen dbrx emu3 gpt2 gpt_neo gptj instructblip instructblipvideo jais2 opt phi "
      "starcoder2 " },
    { VTEXT_CLASS_CLIP,
      " aimv2 clip clipseg groupvit omdet-turbo oneformer owlv2 owlvit sam3 sam3_video xclip " },
    { VTEXT_CLASS_ROBERTA,
      " bart bridgetower clap data2vec-text florence2 ibert lilt longformer mega mra roberta "
      "roberta-prelayernorm " },
    { VTEXT_CLASS_GEMMA,
      " diffusion_gemma gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma "
      "shieldgemma2 t5gemma zaya " },
    { VTEXT_CLASS_GPT_NEOX, " falcon_mamba gpt_neox mamba mamba2 mpt olmo olmoe rwkv xlstm " },
    { VTEXT_CLASS_T5, " mt5 musicgen musicgen_melody switch_transformers t5 " },
    { VTEXT_CLASS_COHERE, " aya_vision cohere cohere2 " },
    { VTEXT_CLASS_LLAMA, " idefics idefics2 " },
    { VTEXT_CLASS_SIGLIP2, " siglip2 " },
};

static bool class_named(vcore_str name, vtext_tokenizer_class *out) {
    if (name.n > 4 && memcmp(name.p + name.n - 4, "Fast", 4) == 0) name.n -= 4;
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (vcore_str_eq(name, vcore_str_of(classes[i].name))) {
            *out = classes[i].class;
            return true;
        }
    return false;
}

static bool type_listed(const char *types, vcore_str type) {
    for (const char *p = types; (p = strchr(p, ' ')) && p[1]; p++)
        if (strncmp(p + 1, type.p, type.n) == 0 && p[1 + type.n] == ' ') return true;
    return false;
}

static bool class_registered(vcore_str type, vtext_tokenizer_class *out) {
    if (!type.n || memchr(type.p, ' ', type.n) || memchr(type.p, 0, type.n)) return false;
    for (size_t i = 0; i < sizeof registered / sizeof registered[0]; i++)
        if (type_listed(registered[i].types, type)) {
            *out = registered[i].class;
            return true;
        }
    return false;
}

vtext_tokenizer_class vtext_auto_class(const vcore_json *tokenizer, const vcore_json *config) {
    vcore_str name = { NULL, 0 }, type = { NULL, 0 };
    vtext_tokenizer_class known = VTEXT_CLASS_BACKEND, by_type = VTEXT_CLASS_BACKEND;
    if (!vcore_json_string(vcore_json_get(tokenizer, "tokenizer_class"), &name) || !name.n)
        vcore_json_string(vcore_json_get(config, "tokenizer_class"), &name);
    vcore_json_string(vcore_json_get(config, "model_type"), &type);
    class_named(name, &known);
    bool has_type = class_registered(type, &by_type);
    if (!name.n) return has_type ? by_type : VTEXT_CLASS_BACKEND;
    bool own_code =
        vcore_json_kind_of(vcore_json_path(tokenizer, "auto_map.AutoTokenizer")) != VCORE_JSON_NULL;
    if (own_code || !has_type) return known;
    if (by_type == VTEXT_CLASS_BACKEND) return VTEXT_CLASS_BACKEND;
    /* the one registered class that goes before what the hub says */
    return vcore_str_eq(type, vcore_str_of("qwen2")) ? by_type : known;
}
