"""Tiny models of random weights, one of each family that the exporters read, saved as their authors would save them."""

import importlib
import json
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

MAX_POSITIONS = 40
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.3,  # at the usual 0.02 an untrained model says the same of every text
}
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def texts(count: int = 120, seed: int = 5) -> list[str]:
    """Made-up names and places, no two alike."""
    chance = Random(seed)

    def word() -> str:
        return "".join(chance.choice(string.ascii_lowercase) for _ in range(chance.randrange(2, 8)))

    return list(dict.fromkeys(f"{word()} {word()}, {word()}" for _ in range(count)))


def bert(folder: Path, **config: Any) -> Path:
    """Words are single letters; WordPiece."""
    vocabulary = _wordpiece(folder)
    return _saved(folder, "Bert", vocab_size=vocabulary, max_position_embeddings=MAX_POSITIONS, **{**_SIZES, **config})


def distilbert(folder: Path) -> Path:
    """No token types."""
    sizes = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 48, "initializer_range": 0.3}
    return _saved(folder, "DistilBert", vocab_size=_wordpiece(folder), max_position_embeddings=MAX_POSITIONS, **sizes)


def roberta(folder: Path) -> Path:
    """Byte-level BPE, padding id 1, positions that begin after it."""
    tokenizers = importlib.import_module("tokenizers")
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts(), vocab_size=300, min_frequency=2, special_tokens=list(_SPECIAL))
    return _saved_with_offset(folder, "Roberta", tokenizer._tokenizer)


def xlm_roberta(folder: Path) -> Path:
    """A unigram model as sentencepiece makes it."""
    return _saved_with_offset(folder, "XLMRoberta", _unigram())


def mpnet(folder: Path) -> Path:
    """Takes a mask of two dimensions only."""
    return _saved_with_offset(folder, "MPNet", _unigram())


def sentence_transformer(folder: Path) -> Path:
    """A BERT, its first token, a dense layer, and a tokenizer that is asked for lowercase by the settings."""
    modules = importlib.import_module("sentence_transformers.sentence_transformer.modules")
    base = importlib.import_module("sentence_transformers.base.modules")
    encoder = base.Transformer(str(bert(folder / "plain")))
    layers = [encoder, modules.Pooling(32, pooling_mode="cls"), base.Dense(32, 24), base.Normalize()]
    saved = folder / "saved"
    importlib.import_module("sentence_transformers").SentenceTransformer(modules=layers, device="cpu").save(str(saved))
    (saved / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# A model card\n")
    return saved


TEXT: Mapping[str, Callable[[Path], Path]] = {
    "distilbert": distilbert,
    "roberta": roberta,
    "xlm-roberta": xlm_roberta,
    "mpnet": mpnet,
    "sentence-transformers": sentence_transformer,
}


def vit_mae(folder: Path) -> Path:
    """A masked autoencoder; squashed pictures."""
    _processor(folder, "ViTImageProcessor", size={"height": 32, "width": 32}, resample=2)
    decoder = {"decoder_num_attention_heads": 2, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1}
    return _saved(folder, "ViTMAE", image_size=32, patch_size=8, **decoder, **_SIZES)


def vit(folder: Path) -> Path:
    """A plain vision transformer."""
    _processor(folder, "ViTImageProcessor", size={"height": 32, "width": 32}, resample=2)
    return _saved(folder, "ViT", image_size=32, patch_size=8, **_SIZES)


def clip(folder: Path) -> Path:
    """Both towers, of which the one for pictures is wanted; cropped pictures."""
    size = {"shortest_edge": 32}
    crop = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    _processor(folder, "CLIPImageProcessor", size=size, resample=3, **crop)
    transformers = importlib.import_module("transformers")
    sizes = {name: value for name, value in _SIZES.items() if name != "initializer_range"}
    text = {**sizes, "vocab_size": 50, "max_position_embeddings": 16}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    _seeded()
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def resnet(folder: Path) -> Path:
    """Convolutions; the resize before the crop is told as a share."""
    _processor(folder, "ConvNextImageProcessor", size={"shortest_edge": 32}, crop_pct=0.875, resample=3)
    return _saved(folder, "ResNet", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")


VISION: Mapping[str, Callable[[Path], Path]] = {"vit-mae": vit_mae, "vit": vit, "clip": clip, "resnet": resnet}


def photos(folder: Path, count: int = 48, seed: int = 11) -> Path:
    """JPEGs of coloured blocks, no two alike, 60 by 44 pixels and up."""
    pil, draw = importlib.import_module("PIL.Image"), importlib.import_module("PIL.ImageDraw")
    chance = Random(seed)
    for number in range(count):
        width, height = chance.randrange(60, 120), chance.randrange(44, 100)
        image = pil.new("RGB", (width, height), tuple(chance.randrange(256) for _ in range(3)))
        pen = draw.Draw(image)
        for _ in range(6):
            left, top = chance.randrange(width - 20), chance.randrange(height - 20)
            corner = (left + chance.randrange(10, 40), top + chance.randrange(10, 40))
            pen.rectangle([(left, top), corner], fill=tuple(chance.randrange(256) for _ in range(3)))
        image.save(folder / f"{number:03}.jpg", quality=92)
    return folder


def _wordpiece(folder: Path) -> int:
    """Save a tokenizer of single letters; the size of its vocabulary."""
    tokenizers = importlib.import_module("tokenizers")
    letters = string.ascii_lowercase + string.digits + ",-"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: at for at, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    importlib.import_module("transformers").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return len(vocabulary)


def _unigram() -> Any:
    tokenizers = importlib.import_module("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.normalizer = tokenizers.normalizers.NFKC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=200, special_tokens=list(_SPECIAL), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def _saved_with_offset(folder: Path, family: str, tokenizer: Any) -> Path:
    tokenizers = importlib.import_module("tokenizers")
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    importlib.import_module("transformers").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), _SPECIAL, strict=True)),
    ).save_pretrained(folder)
    config = {"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return _saved(folder, family, max_position_embeddings=MAX_POSITIONS + 2, **config, **_SIZES)


def _saved(folder: Path, family: str, **config: Any) -> Path:
    transformers = importlib.import_module("transformers")
    _seeded()
    model = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**config))
    model.save_pretrained(folder)
    return folder


def _seeded() -> None:
    importlib.import_module("torch").manual_seed(3)


def _processor(folder: Path, kind: str, **settings: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "image_processor_type": kind,
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
        **settings,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
