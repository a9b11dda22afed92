"""FLUX with a condition branch, said again as slowly and plainly as possible.

Written from the published architecture and the corrector's description, not from the code under
test: one sample at a time, one head at a time, three separate streams, float64. `Rules` holds what
the corrector decides, so that a test can break one rule and see that the comparison notices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from torch import Tensor

from reflectionflow_core.flux.branch import FluxInputs
from reflectionflow_core.flux.lora import CorrectorLora


@dataclass(frozen=True)
class Rules:
    condition_time: float = 0.0
    condition_guidance: float = 1.0
    everyone_sees_lora: bool = False
    condition_sees_itself_only: bool = False


class Reference:
    """The weights of a transformer and a LoRA by name, in float64."""

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        lora: CorrectorLora | None = None,
        rules: Rules = Rules(),
    ) -> None:
        self.config = dict(transformer.config)
        self.weights = {name: value.double() for name, value in transformer.state_dict().items()}
        self.additions = {}
        for path, layer in lora.items() if lora else ():
            change = layer.up.double() @ layer.down.double()
            self.additions[path] = change * (layer.alpha / layer.down.shape[0])
        self.rules = rules or Rules()

    def velocity(self, inputs: FluxInputs) -> Tensor:
        rows = [self._sample(inputs, row) for row in range(len(inputs.latents))]
        return torch.stack(rows)

    def _sample(self, inputs: FluxInputs, row: int) -> Tensor:
        pooled = inputs.pooled[row].double()
        time = self._time(float(inputs.timestep[row]), float(inputs.guidance[row]), pooled)
        rules = self.rules
        still = self._time(rules.condition_time, rules.condition_guidance, pooled)
        assert inputs.condition is not None and inputs.condition_ids is not None
        text = self._linear("context_embedder", inputs.text[row].double(), "text")
        image = self._linear("x_embedder", inputs.latents[row].double(), "image")
        condition = self._linear("x_embedder", inputs.condition[row].double(), "condition")
        angles = {
            "text": self._angles(torch.zeros(len(text), 3)),
            "image": self._angles(inputs.image_ids),
            "condition": self._angles(inputs.condition_ids),
        }
        streams = {"text": text, "image": image, "condition": condition}
        times = {"text": time, "image": time, "condition": still}
        for index in range(self.config["num_layers"]):
            streams = self._double(f"transformer_blocks.{index}", streams, times, angles)
        for index in range(self.config["num_single_layers"]):
            streams = self._single(f"single_transformer_blocks.{index}", streams, times, angles)
        scale, shift = self._linear("norm_out.linear", _silu(time), "image").chunk(2)
        return self._linear(
            "proj_out", _layer_norm(streams["image"]) * (1 + scale) + shift, "image"
        )

    def _double(self, block: str, streams: dict, times: dict, angles: dict) -> dict:
        words = {
            "norm": "norm1_context.linear",
            "qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
            "qk_norms": ("attn.norm_added_q", "attn.norm_added_k"),
            "out": "attn.to_add_out",
            "ff": ("ff_context.net.0.proj", "ff_context.net.2"),
        }
        picture = {
            "norm": "norm1.linear",
            "qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
            "qk_norms": ("attn.norm_q", "attn.norm_k"),
            "out": "attn.to_out.0",
            "ff": ("ff.net.0.proj", "ff.net.2"),
        }
        names = {"text": words, "image": picture, "condition": picture}
        parts, heads = {}, {}
        for who, x in streams.items():
            mine = names[who]
            parts[who] = self._linear(f"{block}.{mine['norm']}", _silu(times[who]), who).chunk(6)
            shift, scale = parts[who][:2]
            normed = _layer_norm(x) * (1 + scale) + shift
            heads[who] = self._heads(block, mine["qkv"], mine["qk_norms"], normed, angles[who], who)
        attended = self._attention(heads)
        result = {}
        for who, x in streams.items():
            mine = names[who]
            _, _, gate, ff_shift, ff_scale, ff_gate = parts[who]
            seen = x + gate * self._linear(f"{block}.{mine['out']}", attended[who], who)
            hidden = _layer_norm(seen) * (1 + ff_scale) + ff_shift
            hidden = _gelu(self._linear(f"{block}.{mine['ff'][0]}", hidden, who))
            result[who] = seen + ff_gate * self._linear(f"{block}.{mine['ff'][1]}", hidden, who)
        return result

    def _single(self, block: str, streams: dict, times: dict, angles: dict) -> dict:
        qkv = ("attn.to_q", "attn.to_k", "attn.to_v")
        gates, hidden, heads = {}, {}, {}
        for who, x in streams.items():
            modulation = self._linear(f"{block}.norm.linear", _silu(times[who]), who)
            shift, scale, gates[who] = modulation.chunk(3)
            normed = _layer_norm(x) * (1 + scale) + shift
            hidden[who] = _gelu(self._linear(f"{block}.proj_mlp", normed, who))
            norms = ("attn.norm_q", "attn.norm_k")
            heads[who] = self._heads(block, qkv, norms, normed, angles[who], who)
        attended = self._attention(heads)
        result = {}
        for who, x in streams.items():
            both = torch.cat([attended[who], hidden[who]], dim=1)
            result[who] = x + gates[who] * self._linear(f"{block}.proj_out", both, who)
        return result

    def _linear(self, name: str, x: Tensor, who: str) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        sees_lora = who == "condition" or self.rules.everyone_sees_lora
        if sees_lora and name in self.additions:
            weight = weight + self.additions[name]
        return x @ weight.T + self.weights[f"{name}.bias"]

    def _heads(
        self, block: str, qkv: tuple, norms: tuple, x: Tensor, angles: Tensor, who: str
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Query, key and value of each head, rotated."""
        width = self.config["attention_head_dim"]
        query, key, value = (self._linear(f"{block}.{name}", x, who) for name in qkv)
        scale_q, scale_k = (self.weights[f"{block}.{name}.weight"] for name in norms)
        heads = []
        for head in range(self.config["num_attention_heads"]):
            part = slice(head * width, (head + 1) * width)
            q = _rotate(_rms_norm(query[:, part]) * scale_q, angles)
            k = _rotate(_rms_norm(key[:, part]) * scale_k, angles)
            heads.append((q, k, value[:, part]))
        return heads

    def _attention(self, heads: dict) -> dict:
        """Every token looks at every token: text, image and condition; or at what it may."""
        result = {who: [] for who in heads}
        for head in range(self.config["num_attention_heads"]):
            for who, parts in heads.items():
                alone = who == "condition" and self.rules.condition_sees_itself_only
                seen = [parts] if alone else list(heads.values())
                keys = torch.cat([parts[head][1] for parts in seen])
                values = torch.cat([parts[head][2] for parts in seen])
                scores = parts[head][0] @ keys.T / math.sqrt(self.config["attention_head_dim"])
                result[who].append(torch.softmax(scores, dim=1) @ values)
        return {who: torch.cat(outputs, dim=1) for who, outputs in result.items()}

    def _time(self, time: float, guidance: float, pooled: Tensor) -> Tensor:
        def two_layers(name: str, x: Tensor) -> Tensor:
            hidden = _silu(self._linear(f"time_text_embed.{name}.linear_1", x, "text"))
            return self._linear(f"time_text_embed.{name}.linear_2", hidden, "text")

        total = two_layers("timestep_embedder", _sinusoid(time * 1000))
        total = total + two_layers("text_embedder", pooled)
        if self.config["guidance_embeds"]:
            total = total + two_layers("guidance_embedder", _sinusoid(guidance * 1000))
        return total

    def _angles(self, ids: Tensor) -> Tensor:
        """The angle of each pair of numbers of a head, (tokens, width / 2)."""
        columns = []
        for axis, width in enumerate(self.config["axes_dims_rope"]):
            for pair in range(width // 2):
                columns.append(ids[:, axis].double() / 10000 ** (2 * pair / width))
        return torch.stack(columns, dim=1)


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    even, odd = x[:, 0::2], x[:, 1::2]
    turned = torch.empty_like(x)
    turned[:, 0::2] = even * torch.cos(angles) - odd * torch.sin(angles)
    turned[:, 1::2] = odd * torch.cos(angles) + even * torch.sin(angles)
    return turned


def _sinusoid(value: float) -> Tensor:
    """256 numbers, cosines first; float32, whose rounding of large angles FLUX has inside."""
    steps = torch.arange(128, dtype=torch.float32)
    angles = torch.tensor(value, dtype=torch.float32) * torch.exp(-math.log(10000) * steps / 128)
    return torch.cat([torch.cos(angles), torch.sin(angles)]).double()


def _layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(dim=1, keepdim=True) + 1e-6)


def _rms_norm(x: Tensor) -> Tensor:
    return x / torch.sqrt((x**2).mean(dim=1, keepdim=True) + 1e-6)


def _silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def _gelu(x: Tensor) -> Tensor:
    return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
