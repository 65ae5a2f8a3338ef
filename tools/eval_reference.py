# SPDX-License-Identifier: MIT
"""The twin of tools/eval.sh: asks transformers the same questions about the same pictures.

    eval_reference.py --model models/smolscene --scenes DIR [--verbose]

DIR is what build/scenes wrote. Weights are upcast to float32, pictures go through the Pillow image
processor, decoding is greedy; the answer must be exact. The last line is `reference: N of M`.
"""

import argparse
import pathlib

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil


def answers(model, processor, pictures, questions):
    chats = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": q}]}] for q in questions
    ]
    prompts = [processor.apply_chat_template(c, add_generation_prompt=True) for c in chats]
    inputs = processor(
        text=prompts, images=[[p] for p in pictures], padding=True, padding_side="left", return_tensors="pt"
    )
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=48, do_sample=False)
    return processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--scenes", type=pathlib.Path, required=True)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--verbose", action="store_true", help="print the wrong answers")
    args = parser.parse_args()

    processor = AutoProcessor.from_pretrained(args.model)
    processor.image_processor = Idefics3ImageProcessorPil.from_pretrained(args.model)
    model = AutoModelForImageTextToText.from_pretrained(args.model, dtype=torch.float32).eval()
    table = [line.split("\t") for line in (args.scenes / "questions.tsv").read_text().splitlines()]
    right, asked = {}, {}
    for at in range(0, len(table), args.batch):
        part = table[at : at + args.batch]
        pictures = [Image.open(args.scenes / name).convert("RGB") for name, *_ in part]
        for (name, task, question, expected), answer in zip(
            part, answers(model, processor, pictures, [row[2] for row in part])
        ):
            asked[task] = asked.get(task, 0) + 1
            right[task] = right.get(task, 0) + (answer == expected)
            if args.verbose and answer != expected:
                print(f"{name}: {question} expected {expected!r}, answered {answer!r}")
    for task in asked:
        print(f"{task:9} {right[task]:4} of {asked[task]}  {100 * right[task] / asked[task]:.1f} %")
    print(f"reference: {sum(right.values())} of {sum(asked.values())}")


if __name__ == "__main__":
    main()
