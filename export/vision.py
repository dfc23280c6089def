"""The image encoder in torch: a small vision transformer, its pre-training as a masked autoencoder, and its tuning
to copies. Pixels are uint8 [n, 128, 128, 3] throughout; what happens to them is part of the network, hence of the file.
"""

import copy
import math
from dataclasses import dataclass
from random import Random

import torch
from torch import nn
from torch.nn import functional

from export.views import Supply

SIZE = 128
"""Pixels along each edge."""
_GRID, _PATCH = 8, 16
_TOKENS = _GRID * _GRID
_CELL = 4
_HEADS = 4
_COLOURS = 32
_LOCAL = 8
_LAYOUT = 3 * 16 * 16
_STEPS = 3 * 2 * (16 * 15 + 8 * 7)
_TEMPERATURE = 0.06
_MEMORY = 0.99


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the network is."""

    dim: int = 128
    width: int = 128
    depth: int = 4
    units: int = 1024
    """That look at the thumbnail, in all its hangs."""


class Block(nn.Module):
    """Attention, then two layers, each on what was normalised before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        width = tokens.shape[2]
        heads = self.mix(self.before(tokens)).unflatten(2, (3, _HEADS, width // _HEADS))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4).unbind(0)
        # Written out: for rows this short torch's fused attention is several times slower on a CPU.
        shares = functional.softmax(queries @ keys.transpose(2, 3) * (width // _HEADS) ** -0.5, 3)
        tokens = tokens + self.join((shares @ values).transpose(1, 2).flatten(2))
        return tokens + self.narrow(functional.gelu(self.widen(self.after(tokens))))


class Encoder(nn.Module):
    """Unit rows [n, dim] from pixels. 64 patches, each through a stem that sees no other, and one token of colours."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.whole = False
        """Whether all eight hangs are looked at. Tuning begins without, so that the transformer learns its part."""
        small = 3 * _CELL * _CELL
        self.stem = nn.ModuleList(
            [nn.Linear(small, width // 2), nn.Linear(2 * width, width), nn.Linear(4 * width, width)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width // 2), nn.LayerNorm(width)])
        self.place = nn.Parameter(torch.randn(_TOKENS, width) * 0.02)
        self.palette = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, _COLOURS))
        self.colours = nn.Linear(_COLOURS, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(width)
        self.local = nn.Linear(width, _LOCAL)
        self.project = nn.Linear(2 * width + _TOKENS * _LOCAL + _LAYOUT, shape.dim)
        self.hangs = nn.Linear(_STEPS, shape.units)
        self.centre = nn.BatchNorm1d(2 * shape.units)
        self.join = nn.Linear(2 * width + 2 * shape.units, shape.dim)
        # Units that seldom fire: what two hangs of one picture have in common is then more than what two pictures have.
        nn.init.normal_(self.hangs.weight, std=2 * _STEPS**-0.5)
        nn.init.constant_(self.hangs.bias, -1.0)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.embed(*cells(pixels))

    def embed(self, seen: torch.Tensor, colours: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """From what `cells` gives. `kept` [n, k]: the patches to look at; None means all."""
        if self.whole:
            return functional.normalize(self.join(self.features(seen, colours, kept)), dim=1)
        tokens = self.norm(self.tokens(seen, colours, kept))
        local = self.local(tokens[:, 1:])
        if kept is not None:
            every = local.new_zeros(len(local), _TOKENS, _LOCAL)
            every[torch.arange(len(kept))[:, None], kept] = local
            local = every
        found = [tokens[:, 0], tokens[:, 1:].mean(1), local.flatten(1), _thumbnail(colours).flatten(1)]
        return functional.normalize(self.project(torch.cat(found, 1)), dim=1)

    def features(self, seen: torch.Tensor, colours: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """What the last layer is fed once all hangs are looked at: [n, 2 · width + 2 · units]."""
        tokens = self.norm(self.tokens(seen, colours, kept))
        hung = self.centre(self._hung(_thumbnail(colours)))
        return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1), hung], 1)

    def _hung(self, layout: torch.Tensor) -> torch.Tensor:
        """[n, 2 · units], the same for all eight ways to hang a picture, from its thumbnail [n, 256, 3].

        `upright` decides on one of the eight, and a line of text can change its mind; this looks at all of them.
        """
        square = layout.reshape(-1, _GRID, _GRID, 2, 2, 3).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
        turned = [square, square.transpose(1, 2)]
        turned += [one.flip(1) for one in turned]
        turned += [one.flip(2) for one in turned]
        fine = torch.stack(turned, 1)
        coarse = fine.unflatten(3, (_GRID, 2)).unflatten(2, (_GRID, 2)).mean((3, 5))
        units = functional.relu(self.hangs(torch.cat([_steps(fine), _steps(coarse)], 2)))
        return torch.cat([units.mean(1), units.amax(1)], 1)

    def tokens(self, seen: torch.Tensor, colours: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
        """[n, 1 + k, width] from what `cells` gives, before the last norm."""
        shares = functional.softmax(self.palette(colours), 2).mean(1)
        first = self.colours(shares * _COLOURS)[:, None]
        patches, place = seen.flatten(1, 2), self.place[None]
        if kept is not None:
            patches = patches[torch.arange(len(kept))[:, None], kept]
            place = self.place[kept]
        tokens = functional.gelu(self.norms[0](self.stem[0](patches)))
        tokens = functional.gelu(self.norms[1](self.stem[1](tokens.flatten(3))))
        tokens = self.stem[2](tokens.flatten(2)) + place
        tokens = torch.cat([first, tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class Autoencoder(nn.Module):
    """He et al. 2022: an encoder that sees a quarter of the patches, and a small decoder that paints the others."""

    def __init__(self, encoder: Encoder, width: int = 96, depth: int = 2) -> None:
        super().__init__()
        self.encoder = encoder
        self.enter = nn.Linear(encoder.shape.width, width)
        self.hidden = nn.Parameter(torch.zeros(width))
        self.place = nn.Parameter(torch.randn(1 + _TOKENS, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.norm, self.paint = nn.LayerNorm(width), nn.Linear(width, 3 * _PATCH * _PATCH)

    def forward(self, seen: torch.Tensor, colours: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        """The mean squared error of the hidden patches, each scaled to mean 0 and variance 1. `order` [n, 64]: a
        permutation of the patches; the first quarter is seen.
        """
        kept, hidden = order[:, : _TOKENS // 4], order[:, _TOKENS // 4 :]
        known = self.enter(self.encoder.norm(self.encoder.tokens(seen, colours, kept)))
        tokens = torch.cat([known, self.hidden.expand(*hidden.shape, -1)], 1)
        at = torch.cat([torch.zeros_like(order[:, :1]), 1 + order], 1)
        tokens = tokens + self.place[at]
        for block in self.blocks:
            tokens = block(tokens)
        painted = self.paint(self.norm(tokens[:, -hidden.shape[1] :]))
        truth = seen.flatten(1, 2).flatten(2)[torch.arange(len(hidden))[:, None], hidden]
        truth = (truth - truth.mean(2, keepdim=True)) / (truth.var(2, keepdim=True) + 1e-4).sqrt()
        return functional.mse_loss(painted.float(), truth)


def _thumbnail(colours: torch.Tensor) -> torch.Tensor:
    """[n, 256, 3] in the order of patches and their quarters, from the colours of `cells`."""
    return colours.unflatten(1, (4 * _TOKENS, 4)).mean(2)[..., 3:]


def _steps(hung: torch.Tensor) -> torch.Tensor:
    """[n, 8, all differences of neighbours], squeezed to ±1, from [n, 8, s, s, 3].

    As in dHash: a line of text or a plate changes a few of them, however bright it is, and colours hardly any.
    """
    across, down = hung[:, :, :, 1:] - hung[:, :, :, :-1], hung[:, :, 1:] - hung[:, :, :-1]
    return torch.tanh(8 * torch.cat([across.flatten(2), down.flatten(2)], 2))


def cells(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[n, 8, 8, 4, 4, 48]: patches, quarters of patches, quarters of those, 4 by 4 pixels of 3 channels, with the
    picture's own mean and contrast taken out; and [n, 1024, 6], the mean colours of the latter with and without that.
    """
    halves = (_GRID, 2, 2, _CELL)
    split = upright(pixels).reshape(-1, *halves, *halves, 3).permute(0, 1, 5, 2, 6, 3, 7, 4, 8, 9)
    small = 3 * _CELL * _CELL
    plain = split.reshape(-1, 16 * _TOKENS, small).float()
    # Means as products, and scaling in one step: these passes over every pixel would else cost as much as two blocks.
    colours = plain @ torch.eye(3).repeat(_CELL * _CELL, 1) / (_CELL * _CELL * 127.5) - 1
    mean = colours.mean(1, keepdim=True)
    power = (plain.square() @ torch.ones(small, 1)).mean((1, 2))[:, None, None] / (small * 127.5**2)
    # The mean square of the scaled pixels, from that of the raw ones: (x / 127.5 - 1)² = x² / 127.5² - 2 x / 127.5 + 1.
    power = power - 2 * mean.mean(2, keepdim=True) - 1
    scale = 0.5 / (power - mean.square().mean(2, keepdim=True) + 1e-3).sqrt()
    shift = (-(1 + mean) * scale).repeat(1, 1, _CELL * _CELL)
    scaled = plain * (scale / 127.5) + shift
    both = torch.cat([colours, (colours - mean) * scale], 2)
    return scaled.reshape(-1, _GRID, _GRID, 4, 4, small), both


def upright(pixels: torch.Tensor) -> torch.Tensor:
    """The pixels turned and flipped so that the right half is the lighter one, then the lower, and the difference
    between right and left is the larger: of the eight ways to hang a picture one, whichever of them comes in.

    Near a tie noise decides, so training shows all eight all the same. The edges weigh little: frames come and go.
    """
    line = torch.linspace(-1, 1, SIZE)
    bell = torch.exp(-3 * line.square())
    both = torch.stack([bell, bell * line], 1)
    sums = pixels.flatten(2).float() @ both.repeat_interleave(3, 0)
    sums = sums.transpose(1, 2) @ both
    across, down = sums[:, 1, 0][:, None, None, None], sums[:, 0, 1][:, None, None, None]
    pixels = torch.where(across < 0, pixels.flip(2), pixels)
    pixels = torch.where(down < 0, pixels.flip(1), pixels)
    return torch.where(down.abs() > across.abs(), pixels.transpose(1, 2), pixels)


def contrast(first: torch.Tensor, second: torch.Tensor, spread: float) -> torch.Tensor:
    """InfoNCE over the unit rows of both views, each row's copy against all other rows, and a Kozachenko-Leonenko term
    that pushes the originals apart from their nearest, as in SSCD (Pizzi et al. 2022).
    """
    count = len(first)
    rows = torch.cat([first, second]).float()
    own = torch.eye(2 * count, dtype=torch.bool)
    similarity = (rows @ rows.T / _TEMPERATURE).masked_fill(own, -math.inf)
    copies = torch.arange(2 * count).roll(count)
    loss = functional.cross_entropy(similarity, copies)
    originals = rows[:count]
    nearest = (originals @ originals.T).masked_fill(own[:count, :count], -1).max(1).values
    return loss - spread * (2 - 2 * nearest).clamp_min(1e-6).sqrt().log().mean()


def pretrain(encoder: Encoder, supply: Supply, steps: int, seed: int, batch: int = 256) -> float:
    """Train as a masked autoencoder, in place. The mean loss of the last tenth."""
    torch.manual_seed(seed)
    network, chance = Autoencoder(encoder), Random(seed)
    optimiser = _optimiser(network, 1.5e-3)
    losses = []
    for step in range(steps):
        _pace(optimiser, step, steps)
        pixels = torch.from_numpy(supply.originals(batch, chance))
        order = torch.rand(batch, _TOKENS).argsort(1)
        seen = cells(pixels)
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(*seen, order)
        losses.append(_descend(optimiser, network, loss))
        _report("pre-training", step, steps, losses)
    return _late(losses)


def tune(encoder: Encoder, supply: Supply, steps: int, seed: int, batch: int = 128, spread: float = 0.1) -> float:
    """Train on copies, in place; what remains is the running mean of the weights. The mean loss of the last tenth."""
    torch.manual_seed(seed)
    chance, mean = Random(seed), copy.deepcopy(encoder)
    optimiser = _optimiser(encoder, 1.2e-3)
    losses = []
    for step in range(steps):
        _pace(optimiser, step, steps)
        first, second = (torch.from_numpy(view) for view in supply.pairs(batch, chance))
        # Looking at half of the patches costs half, and forgives what hides a part; the end looks at all.
        kept = torch.rand(2 * len(first), _TOKENS).argsort(1)[:, : _TOKENS // 2] if step < 0.8 * steps else None
        seen = cells(torch.cat([first, second]))
        with torch.autocast("cpu", torch.bfloat16):
            rows = encoder.embed(*seen, kept)
        losses.append(_descend(optimiser, encoder, contrast(rows[: len(first)], rows[len(first) :], spread)))
        keep = min(_MEMORY, (1 + step) / (10 + step))
        for old, new in zip(mean.parameters(), encoder.parameters(), strict=True):
            old.data.lerp_(new.data, 1 - keep)
        for old, new in zip(mean.buffers(), encoder.buffers(), strict=True):
            old.copy_(new)
        _report("tuning", step, steps, losses)
    encoder.load_state_dict(mean.state_dict())
    return _late(losses)


def _optimiser(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.05)


def _pace(optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Up to the full rate over a twentieth, then down to nothing along a cosine."""
    warm = max(1, steps // 20)
    share = min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / max(1, steps - warm)))
    for group in optimiser.param_groups:
        group["lr"] = share * group.setdefault("full", group["lr"])


def _descend(optimiser: torch.optim.Optimizer, network: nn.Module, loss: torch.Tensor) -> float:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


def _report(what: str, step: int, steps: int, losses: list[float]) -> None:
    if (step + 1) % 20 == 0 or step + 1 == steps:
        print(f"{what} {step + 1}/{steps}: loss {sum(losses[-20:]) / len(losses[-20:]):.4f}", flush=True)


def _late(losses: list[float]) -> float:
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last) if last else math.nan
