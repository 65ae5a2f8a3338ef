/* SPDX-License-Identifier: MIT */
/* SentencePiece's tokenizer.model: a protobuf of pieces, trainer and normalizer. Owns the reader of
 * the wire format, which knows nothing but varints, lengths and fixed sizes: every length is held
 * against the bytes that are left, messages are two deep, and a field that is known must have the
 * wire type of its kind. */
#include "text/tokenizer/files/files.h"

/* ---- the wire format ------------------------------------------------------------------------- */
typedef enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 } wire;
typedef struct reader {
    const uint8_t *p, *end;
    const char *name; /* of the file */
    const char *message;
} reader;
typedef struct field {
    uint32_t number;
    wire wire;
    uint64_t value; /* of a varint or fixed size */
    vcore_str bytes;
} field;

static vlm_status bad(const reader *r, const char *what, vlm_error *err) {
    return vcore_fail_field(err, VLM_ERR_FORMAT, r->name, r->message, "%s", what);
}

static bool varint(reader *r, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 70 && r->p < r->end; shift += 7) {
        uint8_t byte = *r->p++;
        if (shift == 63 && byte > 1) return false;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

static bool fixed(reader *r, int bytes, uint64_t *out) {
    *out = 0;
    if (r->end - r->p < bytes) return false;
    for (int i = 0; i < bytes; i++) *out |= (uint64_t)r->p[i] << (8 * i);
    r->p += bytes;
    return true;
}

static vlm_status next_field(reader *r, field *f, vlm_error *err) {
    uint64_t tag, n;
    *f = (field) { 0 };
    if (!varint(r, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
        return bad(r, "a field's tag is broken", err);
    f->number = (uint32_t)(tag >> 3);
    f->wire = (wire)(tag & 7);
    switch (tag & 7) {
    case WIRE_VARINT:
        if (varint(r, &f->value)) return VLM_OK;
        return bad(r, "a number is cut off or too long", err);
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        if (fixed(r, f->wire == WIRE_FIXED64 ? 8 : 4, &f->value)) return VLM_OK;
        return bad(r, "a number is cut off", err);
    case WIRE_BYTES:
        if (!varint(r, &n) || n > (uint64_t)(r->end - r->p))
            return bad(r, "a length goes beyond the end", err);
        f->bytes = (vcore_str) { (const char *)r->p, (size_t)n };
        r->p += n;
        return VLM_OK;
    default: return bad(r, "a field has a wire type that does not exist", err);
    }
}

static vlm_status expect(const reader *r, const field *f, wire wanted, vlm_error *err) {
    if (f->wire == wanted) return VLM_OK;
    return vcore_fail_field(err, VLM_ERR_FORMAT, r->name, r->message,
                            "field %u has wire type %d, must have %d", (unsigned)f->number,
                            (int)f->wire, (int)wanted);
}

static vlm_status take_number(const reader *r, const field *f, int64_t *out, vlm_error *err) {
    VTRY(expect(r, f, WIRE_VARINT, err));
    *out = (int32_t)(uint32_t)f->value; /* as an int32 or enum is read */
    return VLM_OK;
}

static vlm_status take_text(const reader *r, const field *f, vcore_str *out, vlm_error *err) {
    VTRY(expect(r, f, WIRE_BYTES, err));
    if (!vcore_utf8_valid(f->bytes.p, f->bytes.n))
        return vcore_fail_field(err, VLM_ERR_ENCODING, r->name, r->message,
                                "field %u is not UTF-8 text", (unsigned)f->number);
    *out = f->bytes;
    return VLM_OK;
}

/* ---- the messages ---------------------------------------------------------------------------- */
static vlm_status read_piece(vtext_spm *spm, const reader *file, vcore_str bytes, vlm_error *err) {
    reader r = { (const uint8_t *)bytes.p, (const uint8_t *)bytes.p + bytes.n, file->name,
                 "pieces" };
    vtext_pieces *p = &spm->pieces;
    uint32_t id = p->count, cap = p->cap;
    vcore_str text = { "", 0 };
    int64_t type = VTEXT_SPM_NORMAL;
    float score = 0;
    field f;
    while (r.p < r.end) {
        VTRY(next_field(&r, &f, err));
        if (f.number == 1) VTRY(take_text(&r, &f, &text, err));
        if (f.number == 3) VTRY(take_number(&r, &f, &type, err));
        if (f.number == 2) {
            VTRY(expect(&r, &f, WIRE_FIXED32, err));
            uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, 4);
        }
    }
    if (type < VTEXT_SPM_NORMAL || type > VTEXT_SPM_BYTE)
        return bad(&r, "a piece has a type that does not exist", err);
    if (id > VTEXT_MAX_ID) return vcore_fail_limit(err, r.name, "pieces", VTEXT_MAX_ID, "pieces");
    VTRY(vtext_pieces_set(p, id, text, err));
    if (p->cap != cap) {
        float *scores = vcore_realloc_array(p->score, p->cap, sizeof *scores);
        if (scores) p->score = scores;
        uint8_t *types = vcore_realloc_array(p->type, p->cap, sizeof *types);
        if (types) p->type = types;
        if (!scores || !types) return vcore_no_memory(err, "pieces");
    }
    p->score[id] = score;
    p->type[id] = (uint8_t)type;
    return VLM_OK;
}

static vlm_status read_trainer(vtext_spm *spm, const reader *file, vcore_str bytes,
                               vlm_error *err) {
    reader r = { (const uint8_t *)bytes.p, (const uint8_t *)bytes.p + bytes.n, file->name,
                 "trainer_spec" };
    int64_t number = 0;
    field f;
    while (r.p < r.end) {
        VTRY(next_field(&r, &f, err));
        switch (f.number) {
        case 3:
            VTRY(take_number(&r, &f, &number, err));
            spm->model_type = (uint64_t)number;
            break;
        case 35:
            VTRY(expect(&r, &f, WIRE_VARINT, err));
            spm->byte_fallback = f.value != 0;
            break;
        case 40: VTRY(take_number(&r, &f, &spm->unk_id, err)); break;
        case 41: VTRY(take_number(&r, &f, &spm->bos_id, err)); break;
        case 42: VTRY(take_number(&r, &f, &spm->eos_id, err)); break;
        case 45: VTRY(take_text(&r, &f, &spm->unk_piece, err)); break;
        case 46: VTRY(take_text(&r, &f, &spm->bos_piece, err)); break;
        case 47: VTRY(take_text(&r, &f, &spm->eos_piece, err)); break;
        default: break;
        }
    }
    return VLM_OK;
}

static vlm_status read_normalizer(vtext_spm *spm, const reader *file, vcore_str bytes,
                                  vlm_error *err) {
    reader r = { (const uint8_t *)bytes.p, (const uint8_t *)bytes.p + bytes.n, file->name,
                 "normalizer_spec" };
    field f;
    while (r.p < r.end) {
        VTRY(next_field(&r, &f, err));
        if (f.number != 2) continue;
        VTRY(expect(&r, &f, WIRE_BYTES, err));
        spm->charsmap = f.bytes;
    }
    return VLM_OK;
}

static vlm_status read_model(vtext_spm *spm, reader *r, vlm_error *err) {
    field f;
    while (r->p < r->end) {
        VTRY(next_field(r, &f, err));
        if (f.number < 1 || f.number > 3) continue;
        VTRY(expect(r, &f, WIRE_BYTES, err));
        if (f.number == 1) VTRY(read_piece(spm, r, f.bytes, err));
        if (f.number == 2) VTRY(read_trainer(spm, r, f.bytes, err));
        if (f.number == 3) VTRY(read_normalizer(spm, r, f.bytes, err));
    }
    if (!spm->pieces.count) return bad(r, "has no pieces", err);
    if (spm->model_type != 1 && spm->model_type != 2)
        return vcore_fail_field(err, VLM_ERR_UNSUPPORTED, r->name, "trainer_spec.model_type",
                                "%s is not supported",
                                spm->model_type == 3   ? "WORD"
                                : spm->model_type == 4 ? "CHAR"
                                                       : "an unknown type");
    if (spm->unk_id >= (int64_t)spm->pieces.count)
        return vcore_fail_field(err, VLM_ERR_FORMAT, r->name, "trainer_spec.unk_id",
                                "%lld is beyond the last piece", (long long)spm->unk_id);
    return VLM_OK;
}

vlm_status vtext_spm_parse(vtext_spm *out, const char *p, size_t n, const char *name,
                           vlm_error *err) {
    reader r = { (const uint8_t *)p, (const uint8_t *)p + n, name, NULL };
    *out = (vtext_spm) { .model_type = 1,
                         .bos_id = 1,
                         .eos_id = 2,
                         .unk_piece = vcore_str_of("<unk>"),
                         .bos_piece = vcore_str_of("<s>"),
                         .eos_piece = vcore_str_of("</s>") };
    vlm_status status = read_model(out, &r, err);
    if (status < 0) vtext_spm_free(out);
    return status;
}

void vtext_spm_free(vtext_spm *spm) {
    vtext_pieces_free(&spm->pieces);
    *spm = (vtext_spm) { 0 };
}
