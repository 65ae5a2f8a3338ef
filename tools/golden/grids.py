# SPDX-License-Identifier: MIT
"""What the later families over grids of patches share: video frames through Pillow, within a budget of all frames."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import torch
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import SizeDict


def frames_with_pillow(smart_resize: Callable) -> Callable[[Any], None]:
    """A processor patch: the video class itself exists for torchvision only (docs/REFERENCE.md). smart_resize is the class's own."""

    def patch(processor: Any) -> None:
        images, clips = processor.image_processor, processor.video_processor

        def preprocess(videos, size, rescale_factor, image_mean, image_std, patch_size, temporal_patch_size, merge_size, **kwargs):
            rows, grids = [], []
            for video in videos:
                height, width = smart_resize(
                    num_frames=video.shape[0],
                    height=video.shape[-2],
                    width=video.shape[-1],
                    temporal_factor=temporal_patch_size,
                    factor=patch_size * merge_size,
                    min_pixels=size.shortest_edge,
                    max_pixels=size.longest_edge,
                )
                frames = []
                for frame in video.numpy():
                    frame = PilBackend.resize(images, frame, SizeDict(height=height, width=width), resample=images.resample)
                    frame = images.normalize(images.rescale(frame, rescale_factor), image_mean, image_std)
                    frames.append(torch.from_numpy(np.ascontiguousarray(frame)))
                patches, *grid = clips.patchify(torch.stack(frames)[None], patch_size, merge_size, temporal_patch_size)
                rows.append(patches[0])
                grids.append(grid)
            data = {"pixel_values_videos": torch.cat(rows), "video_grid_thw": torch.tensor(grids)}
            return BatchFeature(data, tensor_type=kwargs.get("return_tensors"))

        clips._preprocess = preprocess

    return patch
