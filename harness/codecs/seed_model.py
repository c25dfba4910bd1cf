"""The networks of the SEED-2 tokenizer: picture -> 32 codes -> CLIP image embedding.

Vision tower and Q-former are transformers' BLIP-2, with what SEED changed: the Q-former attends causally, and ln_vision
has an eps of its own. The rest has no counterpart there. Names of parameters outside BLIP-2 are the published ones, so
that `seed_weights` need only translate the two. Source: AILab-CVC/SEED at 93b3cf4, models/seed_qformer.
"""

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel, Blip2VisionConfig, Blip2VisionModel

from harness.codecs.seed_config import SeedConfig

# Pinned here: transformers has given the layers, the tower's last norm and its configuration different ones in turn.
_VISION_EPS = 1e-6
_LN_VISION_EPS = 1e-5
_QFORMER_EPS = 1e-12
_BLOCK_EPS = 1e-6


class Codebook(nn.Module):
    """The codes' vectors."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, dim)

    def nearest(self, latents: Tensor) -> Tensor:
        """Latents (N, T, D) to the codes of the nearest rows (N, T): |z - e|² without |z - e|, as published."""
        flat, rows = latents.flatten(0, 1), self.embedding.weight
        squared = flat.square().sum(1, keepdim=True) + rows.square().sum(1) - 2 * flat @ rows.T  # (N * T, codes)
        return squared.argmin(dim=1).reshape(latents.shape[:2])


class SeedEncoder(nn.Module):
    """Normalised pictures to codes."""

    def __init__(self, config: SeedConfig) -> None:
        super().__init__()
        c = config
        self.vision = Blip2VisionModel(
            Blip2VisionConfig(
                hidden_size=c.vision_width, intermediate_size=c.vision_mlp, num_hidden_layers=c.vision_layers,
                num_attention_heads=c.vision_heads, image_size=c.image_size, patch_size=c.patch_size,
                hidden_act="gelu", layer_norm_eps=_VISION_EPS, attention_dropout=0.0, qkv_bias=True,
            )
        )  # fmt: skip
        self.vision.post_layernorm.eps = _LN_VISION_EPS
        self.query_tokens = nn.Parameter(torch.zeros(1, c.n_tokens, c.hidden))
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=c.hidden, num_hidden_layers=c.qformer_layers, num_attention_heads=c.heads,
                intermediate_size=c.qformer_mlp, cross_attention_frequency=c.cross_attention_every,
                encoder_hidden_size=c.vision_width, layer_norm_eps=_QFORMER_EPS, hidden_act="gelu",
                use_qformer_text_input=False,
            )
        )  # fmt: skip
        self.encode_task_layer = nn.Sequential(
            nn.Linear(c.hidden, c.hidden), nn.Tanh(), nn.Linear(c.hidden, c.code_dim)
        )
        self.quantize = Codebook(c.codebook_size, c.code_dim)

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised pictures (N, 3, S, S) to codes (N, T)."""
        seen = self.vision(pixel_values=pictures).last_hidden_state  # (N, 1 + patches, W); ln_vision applied
        queries = self.query_tokens.expand(len(pictures), -1, -1)
        latents = self.qformer(
            query_embeds=queries, attention_mask=_causal(queries), encoder_hidden_states=seen
        ).last_hidden_state  # (N, T, H)
        return self.quantize.nearest(self.encode_task_layer(latents))


class SeedDecoder(nn.Module):
    """Codes to CLIP image embeddings."""

    def __init__(self, config: SeedConfig) -> None:
        super().__init__()
        c = config
        self.quantize = Codebook(c.codebook_size, c.code_dim)
        self.decode_task_layer = nn.Sequential(
            nn.Linear(c.code_dim, c.code_dim), nn.Tanh(), nn.Linear(c.code_dim, c.hidden)
        )
        self.pos_embed_image = nn.Parameter(torch.zeros(1, c.n_tokens, c.hidden))
        self.blocks_image = nn.Sequential(*(Block(c.hidden, c.heads, c.image_mlp) for _ in range(c.image_layers)))
        self.image_down = nn.Sequential(
            nn.Linear(c.hidden, 256, bias=False), nn.ReLU(), nn.Linear(256, 128, bias=False), nn.ReLU(),
            nn.Linear(128, 32, bias=False),
        )  # fmt: skip
        self.distill_image_proj = nn.Linear(c.n_tokens * 32, c.embed_dim)

    def hidden(self, codes: Tensor) -> Tensor:
        """Codes (N, T) to hidden states (N, T, H)."""
        return self.decode_task_layer(self.quantize.embedding(codes))

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (N, T) to CLIP image embeddings (N, E)."""
        states = self.blocks_image(self.hidden(codes) + self.pos_embed_image)
        return self.distill_image_proj(self.image_down(states).flatten(1))


class Block(nn.Module):
    """A pre-norm transformer block that attends in both directions, as timm's ViT has it."""

    def __init__(self, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_BLOCK_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=_BLOCK_EPS)
        self.mlp = MLP(width, mlp)

    def forward(self, states: Tensor) -> Tensor:
        """(N, T, H) to (N, T, H)."""
        states = states + self.attn(self.norm1(states))
        return states + self.mlp(self.norm2(states))


class Attention(nn.Module):
    """Self-attention with query, key and value in one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        """(N, T, H) to (N, T, H)."""
        query, key, value = self.qkv(states).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (N, h, T, d)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, width: int, mlp: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, mlp)
        self.fc2 = nn.Linear(mlp, width)

    def forward(self, states: Tensor) -> Tensor:
        """(N, T, H) to (N, T, H)."""
        return self.fc2(nn.functional.gelu(self.fc1(states)))


def _causal(queries: Tensor) -> Tensor:
    """Which query may attend to which, (N, 1, T, T): BLIP-2 takes a mask of four axes as it is.

    BLIP-2's own Q-former lets every query see every other; with that, two thirds of the codes come out wrong.
    """
    n, t = queries.shape[:2]
    return torch.ones(t, t, dtype=torch.bool, device=queries.device).tril().expand(n, 1, t, t)
