# SPDX-License-Identifier: MIT
"""What transformers' image processors make of sizes: `python -m golden.plans` writes tests/data/plans/.

The reference's own methods run on pictures that have a shape and no memory; only the resampling itself is replaced, by one that
gives another such picture and keeps the size it was asked for. sizes.txt lists the pictures, one `width height` a line; line i of
<processor>.txt is what its rule makes of picture i (tests/test_media_geometry.c says which numbers), `x` where it raises, `-` where it was not asked.
"""

from __future__ import annotations

import numpy as np
import torch
from transformers import image_processing_backends as backends
from transformers.image_processing_utils import select_best_resolution
from transformers.image_utils import SizeDict
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.deepseek_ocr2.image_processing_pil_deepseek_ocr2 import DeepseekOcr2ImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.gemma4 import image_processing_pil_gemma4 as gemma4
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.lfm2_vl.image_processing_lfm2_vl import Lfm2VlImageProcessor
from transformers.models.lfm2_vl.processing_lfm2_vl import Lfm2VlProcessor
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import unpad_image
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.muse_glimmer import image_processing_muse_glimmer as muse
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.models.siglip2 import image_processing_pil_siglip2 as siglip2
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.utils import logging
from transformers.video_processing_utils import BaseVideoProcessor

from .common import ROOT
from .geometry import EXTREMES, SIDES

# Photographs, screens, pages; sides just beside a view's, a tile's and a budget's; shapes at the limits of aspect ratios.
PHOTOS = [(4032, 3024), (3024, 4032), (1920, 1080), (1080, 1920), (640, 480), (480, 640), (800, 600), (1280, 720), (2480, 3508), (3508, 2480), (1024, 1024),
          (2048, 1536), (6000, 4000), (12000, 9000), (16000, 12000), (65535, 65535), (65535, 2731), (720, 1280), (1366, 768), (2560, 1440), (3840, 2160)]
EDGES = [223, 224, 225, 335, 336, 337, 363, 364, 365, 447, 448, 449, 511, 512, 513, 671, 672, 673, 767, 768, 769, 1023, 1024, 1025, 1455, 1456, 1457, 1540,
         1541, 2047, 2048, 2049, 4095, 4096, 4097]
SHAPES = [(5600, 28), (5601, 28), (28, 5600), (28, 5601), (2000, 10), (2001, 10), (10, 2000), (10, 2001), (6400, 32), (6401, 32), (1200, 1000), (1000, 1199),
          (1250, 1000), (1000, 1250), (1500, 1000), (3000, 1000), (1000, 3000), (2400, 1000), (1000, 2500), (65535, 1), (1, 65535), (65535, 3),
          (5000, 250), (42, 42), (70, 98), (98, 70), (1001, 1001), (3001, 1999), (777, 333)]


def sizes() -> list[tuple[int, int]]:
    squares = [(e, e) for e in EDGES]
    oblongs = [(EDGES[i], EDGES[-1 - i]) for i in range(len(EDGES))] + [(e, 517) for e in EDGES] + [(389, e) for e in EDGES]
    return list(dict.fromkeys([(w, h) for w in SIDES for h in SIDES] + EXTREMES + PHOTOS + SHAPES + squares + oblongs))


def picture(width: int, height: int) -> np.ndarray:
    return np.broadcast_to(np.uint8(1), (3, height, width))


asked: list[tuple[int, int]] = []


def resized(height: int, width: int) -> None:
    if height <= 0 or width <= 0:
        raise ValueError("height and width must be > 0")
    asked.append((width, height))


def resize_array(image, size, **kwargs):
    resized(*size)
    return picture(size[1], size[0])


def resize_tensor(self, image, size, **kwargs):
    resized(size.height, size.width)
    return torch.empty((*image.shape[:-2], size.height, size.width), dtype=torch.uint8, device="meta")


def to(size: dict):
    """Whatever a processor of the Pillow backend makes of `size`."""
    processor = CLIPImageProcessorPil()
    return lambda w, h: processor.resize(picture(w, h), SizeDict(**size)).shape[:0:-1]


def pixtral(longest: int, patch: int):
    processor = PixtralImageProcessorPil()

    def plan(w, h):
        image = processor.resize(picture(w, h), SizeDict(longest_edge=longest), SizeDict(height=patch, width=patch))
        return *image.shape[:0:-1], image.shape[2] // patch, image.shape[1] // patch

    return plan


def naflex(patch: int, most: int):
    return lambda w, h: siglip2.get_image_size_for_max_num_patches(h, w, patch, most)[::-1]


def gemma4_size(tokens: int):
    processor = gemma4.Gemma4ImageProcessorPil(max_soft_tokens=tokens)

    def plan(w, h):
        image = processor.aspect_ratio_preserving_resize(picture(w, h), 16, tokens * 9, 3, resample=3)
        return image.shape[:0:-1]

    return plan


def muse_glimmer(tokens: int):
    return lambda w, h: muse.smart_resize(h, w, 28, tokens)[::-1]


def smart(kind, patch: int, least: int, most: int, **more):
    processor = kind()
    size = SizeDict(shortest_edge=least, longest_edge=most)
    return lambda w, h: processor.resize(picture(w, h), size=size, resample=3, factor=2 * patch, **more).shape[:0:-1]


def smart_video(kind, frames: int, patch: int, least: int, most: int):
    processor = kind()
    size = SizeDict(shortest_edge=least, longest_edge=most)

    def plan(w, h):
        clip = torch.empty((1, frames, 3, h, w), dtype=torch.uint8, device="meta")
        return processor.resize(clip, size=size, resample=3, factor=2 * patch, temporal_factor=2, cap_pixels_per_frame=False).shape[:-3:-1]

    return plan


def splits(kind, edge: int, view: int):
    processor = kind()

    def plan(w, h):
        first = processor.resize(picture(w, h), SizeDict(longest_edge=edge))
        second = processor.resize_for_vision_encoder(first, view)
        views, rows, columns = processor.split_images(second, {"longest_edge": view})
        return *first.shape[:0:-1], *second.shape[:0:-1], columns, rows, len(views)

    return plan


def anyres(w, h):
    processor = LlavaNextImageProcessorPil()
    text = object.__new__(LlavaNextProcessor)
    text.image_processor, text.patch_size, text.num_additional_image_tokens = processor, 14, 0
    asked.clear()
    patches = processor.get_image_patches(picture(w, h), processor.image_grid_pinpoints, (336, 336), 336, 3)
    new = asked[0]
    height, width = select_best_resolution((h, w), processor.image_grid_pinpoints)
    (y, _), (x, _) = processor._get_padding_size(new[::-1], (height, width))
    shown = unpad_image(torch.empty((1, height // 14, width // 14), device="meta"), (h, w))
    tokens = text._get_number_of_features(h, w, 336, 336)
    return width, height, *new, x, y, len(patches) - 1, shown.shape[2], shown.shape[1], tokens


def tiles(least: int, most: int):
    processor = GotOcr2ImageProcessorPil()
    size = SizeDict(height=448, width=448)

    def plan(w, h):
        asked.clear()
        views = processor.crop_image_to_patches(picture(w, h), least, most, patch_size=size)
        return *asked[0], len(views)

    return plan


def ocr(w, h):
    processor = DeepseekOcr2ImageProcessorPil()
    asked.clear()
    out = processor._preprocess([picture(w, h)], do_resize=True, size=SizeDict(height=1024, width=1024), resample=3, do_rescale=False,
                                rescale_factor=1.0, do_normalize=False, image_mean=None, image_std=None, return_tensors=None, crop_to_patches=True,
                                min_patches=2, max_patches=6, tile_size=768, background_color=[127, 127, 127])
    local = out["num_local_patches"][0]
    return *(asked[0] if local else (0, 0)), local, *asked[-1]


def lfm2(**options):
    processor = Lfm2VlImageProcessor(**options)
    text = object.__new__(Lfm2VlProcessor)
    text.image_processor, text.image_token = processor, "."
    split = processor.do_image_splitting
    least, most = (processor.min_tiles, processor.max_tiles) if split else (1, 1)

    def plan(w, h):
        image = torch.empty((1, 3, h, w), dtype=torch.uint8, device="meta")
        _, rows, columns, whole = processor.resize_and_split(
            image, downsample_factor=processor.downsample_factor, min_tiles=least, max_tiles=most, use_thumbnail=processor.use_thumbnail,
            min_image_tokens=processor.min_image_tokens, max_image_tokens=processor.max_image_tokens,
            encoder_patch_size=processor.encoder_patch_size, tile_size=processor.tile_size,
            max_pixels_tolerance=processor.max_pixels_tolerance, resample=None)
        tile, one = text._get_image_num_tokens(whole[0])
        return *whole[0][::-1], columns[0], rows[0], len(text._build_image_tokens(rows[0], columns[0], tile, one, processor.use_thumbnail, False))

    return plan


def pan_and_scan(least: int, most: int, ratio: float):
    processor = Gemma3ImageProcessorPil()

    def plan(w, h):
        crops = processor.pan_and_scan(picture(w, h), least, most, ratio)
        if any(0 in crop.shape for crop in crops):
            raise ValueError("a crop without pixels cannot be resized")
        return (len(crops), *crops[0].shape[:0:-1], *crops[-1].shape[:0:-1]) if crops else (0,)

    return plan


def in_square(w, h):
    if max(w, h) > 2100:
        return None
    square = LlavaImageProcessorPil().pad_to_square(picture(w, h)[:1])
    y, x = np.argwhere(square[0])[0]
    return *square.shape[:0:-1], x, y


MEGA = 1024 * 1024
PLANS = {
    "clip": to({"shortest_edge": 224}),
    "edges": to({"shortest_edge": 800, "longest_edge": 1333}),
    "into": to({"max_height": 600, "max_width": 1000}),
    "pixtral": pixtral(1024, 16),
    "mistral3": pixtral(1540, 28),
    "siglip2": naflex(16, 256),
    "siglip2-14": naflex(14, 729),
    "gemma4": gemma4_size(280),
    "gemma4-70": gemma4_size(70),
    "muse_glimmer": muse_glimmer(4096),
    "muse_glimmer-64": muse_glimmer(64),
    "qwen2_vl": smart(Qwen2VLImageProcessorPil, 14, 56 * 56, 28 * 28 * 1280),
    "qwen3_vl": smart(Qwen2VLImageProcessorPil, 16, 65536, 16 * MEGA),
    "glm_ocr": smart(Glm46VImageProcessorPil, 14, 112 * 112, 28 * 28 * 15000, temporal_factor=2),
    "qwen2_5_vl-video": smart_video(Qwen2VLVideoProcessor, 7, 14, 128 * 28 * 28, 768 * 28 * 28),
    "qwen3_vl-video-3": smart_video(Qwen3VLVideoProcessor, 3, 16, 128 * 32 * 32, 768 * 32 * 32),
    "qwen3_vl-video-16": smart_video(Qwen3VLVideoProcessor, 16, 16, 4096, 25165824),
    "idefics3": splits(Idefics3ImageProcessorPil, 1456, 364),
    "smolvlm": splits(SmolVLMImageProcessorPil, 2048, 512),
    "llava_next": anyres,
    "internvl": tiles(1, 12),
    "internvl-6": tiles(3, 6),
    "deepseek_ocr2": ocr,
    "lfm2_vl": lfm2(),
    "lfm2_vl-whole": lfm2(do_image_splitting=False),
    "lfm2_vl-4": lfm2(min_tiles=1, max_tiles=4, use_thumbnail=False),
    "gemma3": pan_and_scan(256, 4, 1.2),
    "gemma3-small": pan_and_scan(2, 7, 1.0),
    "fastvlm": in_square,
}


def row(plan, width: int, height: int) -> str:
    try:
        numbers = plan(width, height)
    except (ValueError, TypeError, ZeroDivisionError):
        return "x"
    return "-" if numbers is None else " ".join(str(int(n)) for n in numbers)


def main() -> None:
    logging.set_verbosity_error()
    backends.np_resize = resize_array
    gemma4.resize = resize_array
    backends.TorchvisionBackend.resize = resize_tensor
    BaseVideoProcessor.resize = resize_tensor
    folder = ROOT / "tests" / "data" / "plans"
    folder.mkdir(exist_ok=True)
    pictures = sizes()
    (folder / "sizes.txt").write_text("".join(f"{w} {h}\n" for w, h in pictures))
    for name, plan in PLANS.items():
        rows = [row(plan, w, h) for w, h in pictures]
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")
        print(f"{name}: {len(rows)} sizes, {rows.count('x')} refused")


if __name__ == "__main__":
    main()
