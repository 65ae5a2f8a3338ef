# SPDX-License-Identifier: MIT
"""Trains the bundled model: transformers' own Idefics3 classes on generated scenes.

    train_bundled.py prepare --lib LIB --model DIR            tokenizer, processor, chat template
    train_bundled.py train --lib LIB --model DIR --checkpoint FILE --seconds N [--decay-seconds N]
    train_bundled.py export --model DIR --checkpoint FILE     bfloat16 weights into DIR

LIB is the generator as a shared library (target scenes_train of CMake). `train` goes on from the
checkpoint when there is one; the learning rate is warmed up, held, and falls to zero over the last
--decay-seconds of the call that is to be the last. Scenes are drawn by --workers processes in an
order that does not depend on their speed; a scene is never seen twice.
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import queue
import threading
import time

import numpy as np

from bundled_common import (
    END, HELD_OUT, IMAGE, SIDE, TASKS, TRAIN, Rows, Scenes, load_tokenizer, make_tokenizer,
    write_processor,
)

TEXT_LENGTH = 154  # after 70 tokens for the picture: rows of 224
QUESTIONS = 9
SLOTS = 3


def configuration(tokenizer):
    from transformers import Idefics3Config

    end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id("<|im_end|>")
    start = tokenizer.token_to_id("<|im_start|>")
    return Idefics3Config(
        image_token_id=tokenizer.token_to_id(IMAGE),
        scale_factor=2,
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=start,
        eos_token_id=end,
        vision_config=dict(
            hidden_size=160, intermediate_size=640, num_hidden_layers=6, num_attention_heads=5,
            image_size=SIDE, patch_size=8,
        ),
        text_config=dict(
            model_type="llama", hidden_size=192, intermediate_size=512, num_hidden_layers=5,
            num_attention_heads=6, num_key_value_heads=2, head_dim=32,
            vocab_size=(tokenizer.get_vocab_size() + 31) // 32 * 32, max_position_embeddings=2048,
            rms_norm_eps=1e-5, tie_word_embeddings=True, pad_token_id=pad, bos_token_id=start,
            eos_token_id=end,
        ),
    )


# ---- data ----


class Buffers:
    """Shared memory for one worker: SLOTS batches of pixels and rows."""

    def __init__(self, batch):
        import torch

        shared = lambda *shape, dtype: torch.zeros(SLOTS, batch, *shape, dtype=dtype).share_memory_()
        self.pixels = shared(SIDE, SIDE, 3, dtype=torch.uint8)
        self.ids = shared(TEXT_LENGTH, dtype=torch.int16)
        self.segment = shared(TEXT_LENGTH, dtype=torch.int16)
        self.position = shared(TEXT_LENGTH, dtype=torch.int16)
        self.answer = shared(TEXT_LENGTH, dtype=torch.int16)

    def all(self):
        return self.pixels, self.ids, self.segment, self.position, self.answer


def work(lib, model, seed, number, step, stride, buffers, free, ready):
    """Draws batches step, step + stride, ... into whichever slot is free."""
    os.environ["OMP_NUM_THREADS"] = "1"
    scenes, rows = Scenes(lib), Rows(load_tokenizer(model), TEXT_LENGTH)
    pixels, *text = [t.numpy() for t in buffers.all()]
    batch = pixels.shape[1]
    while True:
        slot = free.get()
        questions = scenes.draw(TRAIN, seed, step * batch, pixels[slot], QUESTIONS)
        rows.fill(questions, *[t[slot] for t in text], rng=np.random.default_rng([seed, step]))
        ready.put(slot)
        step += stride


class Loader:
    """Batches on the device, in order whichever worker finishes first, copied ahead by a thread."""

    def __init__(self, args, first_step):
        import torch.multiprocessing as mp

        context = mp.get_context("fork")
        self.workers, self.waited = [], 0.0
        for n in range(args.workers):
            buffers, free, ready = Buffers(args.batch), context.SimpleQueue(), context.SimpleQueue()
            for slot in range(SLOTS):
                free.put(slot)
            process = context.Process(
                target=work, daemon=True,
                args=(args.lib, args.model, args.seed, n, first_step + n, args.workers, buffers, free, ready),
            )
            process.start()
            self.workers.append((buffers, free, ready))

    def start(self, device):
        self.device = device
        self.ahead = queue.Queue(3)
        threading.Thread(target=self.copy, daemon=True).start()

    def copy(self):
        import torch

        cuda = self.device.type == "cuda"
        stream = torch.cuda.Stream() if cuda else None
        for buffers, free, ready in itertools.cycle(self.workers):
            slot = ready.get()
            batch = [t[slot].pin_memory() if cuda else t[slot].clone() for t in buffers.all()]
            free.put(slot)
            with torch.cuda.stream(stream) if cuda else contextlib.nullcontext():
                batch = [t.to(self.device, non_blocking=True) for t in batch]
            self.ahead.put((batch, stream.record_event() if cuda else None))

    def next(self):
        import torch

        begin = time.time()
        batch, copied = self.ahead.get()
        self.waited += time.time() - begin
        if copied is not None:
            current = torch.cuda.current_stream()
            current.wait_event(copied)
            for t in batch:
                t.record_stream(current)
        return batch


def held_out(args, tokenizer, count=1000, grey=False):
    import torch

    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    questions = Scenes(args.lib).draw(HELD_OUT, args.held_out_seed, 0, pixels, 1)
    if grey:
        pixels[:] = 128
    text = [np.zeros((count, TEXT_LENGTH), np.int16) for _ in range(4)]
    Rows(tokenizer, TEXT_LENGTH).fill(questions, *text)
    return [torch.from_numpy(a) for a in [pixels, *text]], [row[0][0] for row in questions]


# ---- the model's forward pass over packed rows ----


class Packed:
    """transformers' modules, called so that many questions share one picture."""

    def __init__(self, model, tokenizer):
        import torch

        rows = Rows(tokenizer, TEXT_LENGTH)
        self.model = model
        self.device = model.device
        self.prefix = torch.tensor(rows.picture, device=self.device)
        self.image_at = rows.image_at
        self.image_tokens = rows.picture.count(tokenizer.token_to_id(IMAGE))

    def image_features(self, pixels):
        """What Idefics3Model.get_image_features does for whole square pictures."""
        vision = self.model.model.vision_model
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        x = vision.embeddings.patch_embedding(x).flatten(2).transpose(1, 2)
        x = x + vision.embeddings.position_embedding.weight
        for layer in vision.encoder.layers:
            x = layer(x, None)
        return self.model.model.connector(vision.post_layernorm(x))

    def hidden(self, pixels, ids, segment, position):
        """Final hidden states of the text part of each row."""
        import torch

        text = self.model.model.text_model
        n, prefix = ids.shape[0], self.prefix.shape[0]
        features = self.image_features(pixels)
        lead = text.embed_tokens(self.prefix).expand(n, -1, -1).to(features.dtype)
        tail = text.embed_tokens(ids.int()).to(features.dtype)
        after = self.image_at + self.image_tokens
        x = torch.cat([lead[:, : self.image_at], features, lead[:, after:], tail], 1)
        ones = torch.arange(prefix, device=ids.device).expand(n, -1)
        position = torch.cat([ones, position.long()], 1)
        segment = torch.cat([torch.zeros_like(ones), torch.where(segment == 0, -1, segment.long())], 1)
        mask = (segment[:, None, :] == segment[:, :, None]) | (segment[:, None, :] == 0)
        mask = (mask & torch.ones_like(mask[0]).tril())[:, None]
        turn = text.rotary_emb(x, position)
        for layer in text.layers:
            x = layer(x, attention_mask=mask, position_ids=position, position_embeddings=turn)
        # the token before the first text token predicts it
        return text.norm(x)[:, prefix - 1 : -1]

    def loss(self, pixels, ids, segment, position, answer):
        import torch
        import torch.nn.functional as F

        logits = self.model.lm_head(self.hidden(pixels, ids, segment, position))
        labels = torch.where(answer > 0, ids.long(), -100)
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100)

    def exact(self, pixels, ids, segment, position, answer):
        """Per row: would greedy decoding give every answer of it? (Teacher forcing is the same
        thing: greedy decoding leaves the right answer at the first token it would not choose.)"""
        logits = self.model.lm_head(self.hidden(pixels, ids, segment, position))
        wrong = (logits.argmax(-1) != ids.long()) & (answer > 0)
        return ~wrong.any(1)


def evaluate(packed, data, tasks, device):
    import torch

    right = []
    with torch.no_grad():
        for at in range(0, len(tasks), 125):
            right += packed.exact(*[t[at : at + 125].to(device) for t in data]).tolist()
    per_task = [[r for r, t in zip(right, tasks) if t == task] for task in range(len(TASKS))]
    return sum(right) / len(right), [sum(p) / len(p) for p in per_task]


def report(name, result):
    total, per_task = result
    parts = "  ".join(f"{t} {100 * a:.1f}" for t, a in zip(TASKS, per_task))
    print(f"{name}: {100 * total:.1f} % exact  ({parts})", flush=True)


# ---- training ----


def make_optimizer(model, args):
    import torch

    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [dict(params=matrices, weight_decay=args.weight_decay), dict(params=vectors, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), fused=model.device.type == "cuda")


def initialise(model):
    """Residual branches start small, in proportion to the depth."""
    import torch

    for name, p in model.named_parameters():
        layers = 5 if "text_model" in name else 6
        if name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight", "fc2.weight")):
            with torch.no_grad():
                p.mul_((2 * layers) ** -0.5)


def train(args):
    import torch
    from transformers import Idefics3ForConditionalGeneration

    begin = time.time()
    tokenizer = load_tokenizer(args.model)
    saved = None
    if args.checkpoint.exists():
        saved = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    step = saved["step"] if saved else 0
    loader = Loader(args, step)  # before CUDA starts: the workers are forked
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    model = Idefics3ForConditionalGeneration._from_config(configuration(tokenizer), attn_implementation="sdpa")
    initialise(model)
    model.to(device).train()
    print(f"{sum(p.numel() for p in model.parameters())} parameters, torch {torch.__version__}", flush=True)
    optimizer = make_optimizer(model, args)
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    loader.start(device)
    packed = Packed(model, tokenizer)
    loss_of = torch.compile(packed.loss) if device.type == "cuda" and not args.eager else packed.loss
    data, tasks = held_out(args, tokenizer)
    grey, _ = held_out(args, tokenizer, grey=True)

    def save():
        part = args.checkpoint.with_suffix(".part")
        torch.save(dict(model=model.state_dict(), optimizer=optimizer.state_dict(), step=step), part)
        part.rename(args.checkpoint)

    first_step, shown, losses, next_show, next_save = step, step, [], begin, begin + args.save_every
    deadline = begin + args.seconds
    clock = begin
    while time.time() < deadline and (args.steps is None or step < args.steps):
        now = time.time()
        left = (deadline - now) / args.decay_seconds if args.decay_seconds else 1.0
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, (step + 1) / args.warmup) * max(0.0, min(1.0, left))
        batch = loader.next()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        step += 1
        if step % 64 == 0 and device.type == "cuda":
            torch.cuda.synchronize()
        if time.time() > next_show:
            mean = torch.stack(losses).mean().item()
            spent, clock = time.time() - clock, time.time()
            rate = (step - shown) * args.batch / spent
            print(f"{clock - begin:6.1f} s  step {step}  loss {mean:.4f}  {rate:.0f} scenes/s  "
                  f"waited {loader.waited:.1f} s  lr {optimizer.param_groups[0]['lr']:.2e}", flush=True)
            losses, shown, next_show, loader.waited = [], step, clock + args.show_every, 0.0
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                report("  held out", evaluate(packed, data, tasks, device))
        if time.time() > next_save:
            save()
            next_save = time.time() + args.save_every
    save()
    print(f"{step - first_step} steps in this call, {step} in all, {step * args.batch} scenes", flush=True)
    with torch.no_grad():  # as exported: bfloat16 weights, float32 arithmetic
        for p in model.parameters():
            p.copy_(p.bfloat16().float())
    torch.backends.cuda.matmul.allow_tf32 = False
    report("final, held out", evaluate(packed, data, tasks, device))
    report("final, grey", evaluate(packed, grey, tasks, device))


def prepare(args):
    scenes = Scenes(args.lib)
    tokenizer = make_tokenizer(scenes)
    write_processor(args.model, tokenizer)
    # The table of words must say what the tokenizer says of whole texts.
    rows = Rows(tokenizer, TEXT_LENGTH)
    pixels = np.empty((64, SIDE, SIDE, 3), np.uint8)
    lengths = []
    for row in scenes.draw(TRAIN, 3, 0, pixels, 12):
        for turn in row:
            ids, _ = rows.segment([turn])
            text = turn[1] + END + "\nAssistant:" + turn[2] + END
            if ids != tokenizer.encode(text, add_special_tokens=False).ids or tokenizer.decode(
                ids, skip_special_tokens=False) != text:
                raise RuntimeError(f"tokenizer disagrees on {text!r}")
            lengths.append(len(ids))
    print(f"vocabulary {tokenizer.get_vocab_size()}, {np.mean(lengths):.1f} tokens per question, "
          f"at most {max(lengths)}")


def export(args):
    import torch
    from transformers import Idefics3ForConditionalGeneration

    tokenizer = load_tokenizer(args.model)
    model = Idefics3ForConditionalGeneration(configuration(tokenizer))
    model.load_state_dict(torch.load(args.checkpoint, map_location="cpu", weights_only=True)["model"])
    model.tie_weights()
    model.bfloat16().save_pretrained(args.model)
    write_processor(args.model, tokenizer)  # generation_config.json as we want it
    print(f"{model.num_parameters()} parameters")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "train", "export"])
    parser.add_argument("--lib", default="build/tools/scenes/libscenes_train.so")
    parser.add_argument("--model", default="models/smolscene")
    parser.add_argument("--checkpoint", type=pathlib.Path, default=pathlib.Path("build/bundled.pt"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held-out-seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--decay-seconds", type=float, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--warmup", type=int, default=500)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--show-every", type=float, default=30)
    parser.add_argument("--save-every", type=float, default=120)
    parser.add_argument("--eager", action="store_true", help="do not compile")
    args = parser.parse_args()
    {"prepare": prepare, "train": train, "export": export}[args.command](args)


if __name__ == "__main__":
    main()
