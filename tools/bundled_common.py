# SPDX-License-Identifier: MIT
"""What training, export and evaluation of the bundled model share: the scene generator through
ctypes, the tokenizer, and how a picture and its questions become one training row.

A row holds one picture and several questions about it. The picture's tokens come first and are
shared; each question with its answer sees them and itself, not its neighbours, and counts its
positions from the end of the picture, so that it reads exactly as it would on its own.
"""

import ctypes
import json
import pathlib
import re

import numpy as np

TASKS = ["describe", "count", "colour", "where", "yes/no", "read", "which"]
SIDE = 128
TEXT_BYTES = 416  # SCENES_BATCH_TEXT
TRAIN, HELD_OUT = 0, 1

IMAGE_TOKENS = 64
IMAGE = "<image>"
FAKE = "<fake_token_around_image>"
GLOBAL = "<global-img>"
END = "<end_of_utterance>"
FIRST_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LAST_SPECIAL = (
    [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)] + [GLOBAL, FAKE, IMAGE, END]
)

CHAT_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
PICTURE = "<|im_start|>User:" + FAKE + GLOBAL + IMAGE * IMAGE_TOKENS + FAKE
ASSISTANT = END + "\nAssistant:"
NEXT_USER = "\nUser:"


class Scenes:
    """The generator's shared library (tools/scenes)."""

    def __init__(self, path):
        self.batch = ctypes.CDLL(str(path)).scenes_batch
        self.batch.argtypes = [
            ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int, ctypes.c_int,
            ctypes.c_void_p, ctypes.c_void_p,
        ]

    def draw(self, split, seed, first, pixels, questions):
        """Fills pixels [n, 128, 128, 3] and returns, per picture, a list of (task, question, answer)."""
        n = pixels.shape[0]
        text = np.zeros((n, questions, TEXT_BYTES), np.uint8)
        if self.batch(split, seed, first, n, questions, pixels.ctypes.data, text.ctypes.data) != 0:
            raise RuntimeError(f"scenes {first}..{first + n - 1} of split {split} could not be drawn")
        raw, out = text.tobytes(), []
        for i in range(n):
            row = []
            for k in range(questions):
                at = (i * questions + k) * TEXT_BYTES
                line = raw[at : raw.index(b"\0", at)].decode()
                if line:
                    question, answer = line[1:].split("\n")
                    row.append((int(line[0]), question, answer))
            out.append(row)
        return out


class Words:
    """Token ids through a table of words: what the tokenizer says, asked once per word."""

    PIECES = re.compile(r"'s|[0-9]| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|\s")

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.table = {}

    def __call__(self, text):
        ids = []
        for piece in self.PIECES.findall(text):
            found = self.table.get(piece)
            if found is None:
                found = self.table[piece] = self.tokenizer.encode(piece, add_special_tokens=False).ids
            ids += found
        return ids


class Rows:
    """Lays out pictures' questions as rows of `length` tokens after the picture's own."""

    def __init__(self, tokenizer, length):
        self.words = Words(tokenizer)
        self.length = length
        encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        self.picture = encode(PICTURE)
        self.assistant, self.next_user = encode(ASSISTANT), encode(NEXT_USER)
        self.end = encode(END)
        self.image_at = self.picture.index(tokenizer.token_to_id(IMAGE))

    def segment(self, turns):
        """One conversation about the picture: ids, and which of them are to be predicted."""
        ids, answer = [], []
        for n, (_, question, reply) in enumerate(turns):
            asked = (self.next_user if n else []) + self.words(question) + self.assistant
            replied = self.words(reply) + self.end
            ids += asked + replied
            answer += [0] * len(asked) + [1] * len(replied)
        return ids, answer

    def fill(self, rows, ids, segment, position, answer, rng=None):
        """rows: per picture its questions. With rng, two questions are sometimes asked in turn."""
        for a in (ids, segment, position, answer):
            a[:] = 0
        for i, questions in enumerate(rows):
            at, number, k = 0, 1, 0
            while k < len(questions):
                turns = 2 if rng is not None and rng.random() < 0.1 else 1
                tokens, marks = self.segment(questions[k : k + turns])
                k += turns
                end = at + len(tokens)
                if end > self.length:
                    continue
                ids[i, at:end] = tokens
                answer[i, at:end] = marks
                segment[i, at:end] = number
                position[i, at:end] = np.arange(len(tokens)) + len(self.picture)
                at, number = end, number + 1


def load_tokenizer(directory):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(pathlib.Path(directory) / "tokenizer.json"))


def make_tokenizer(scenes):
    """Byte-level BPE over the generator's own wording; anything else falls apart into bytes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    corpus = ["User:", "Assistant:"] * 100
    pixels = np.empty((64, SIDE, SIDE, 3), np.uint8)
    for first in range(0, 8192, 64):
        for row in scenes.draw(TRAIN, 65535, first, pixels, 8):
            for task, question, answer in row:
                # The letters of a text stay single tokens: no merges from them.
                corpus.append(re.sub(r'"[^"]*"', ' ""', question))
                if TASKS[task] != "read":
                    corpus.append(re.sub(r'"[^"]*"', ' ""', answer))
    trainer = trainers.BpeTrainer(
        vocab_size=2000, min_frequency=2, show_progress=False, special_tokens=FIRST_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in LAST_SPECIAL])
    return tokenizer


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_processor(directory, tokenizer):
    """Everything of a checkpoint directory but the weights and config.json."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    write_json(directory / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "bos_token": "<|im_start|>",
        "eos_token": END,
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "extra_special_tokens": [FAKE, IMAGE, END],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "processor_class": "Idefics3Processor",
    })
    write_json(directory / "preprocessor_config.json", {
        "image_processor_type": "Idefics3ImageProcessor",
        "processor_class": "Idefics3Processor",
        "do_convert_rgb": True,
        "do_image_splitting": False,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "max_image_size": {"longest_edge": SIDE},
        "resample": 1,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": SIDE},
    })
    write_json(directory / "processor_config.json", {
        "image_seq_len": IMAGE_TOKENS, "processor_class": "Idefics3Processor",
    })
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    write_json(directory / "generation_config.json", {
        "bos_token_id": tokenizer.token_to_id("<|im_start|>"),
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id("<|im_end|>"),
        "do_sample": False,
    })
