"""A profile: for one kind of record, its fields, the modality each feeds, the encoders, and how they are fused."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from consumer.errors import SettingsError
from consumer.fusion_spec import FusionSpec, LearnedSpec, WeightedSpec
from consumer.quality import QualitySpec
from consumer.strict import NOT_YAML, Strict, describe_faults, read_yaml

BUILT_IN = ("signup", "listing")


class FieldSpec(Strict):
    """How one key of the input JSON is read."""

    type: Literal["text", "number", "date", "timestamps", "image", "uri"]
    """`image` is a picture's file in base64, `uri` the address of one."""
    day_first: bool = True
    """Of a date: whether 3/7/1905 is the third of July. No matter where the year comes first, or one of the two is above 12."""

    @model_validator(mode="after")
    def _day_of_a_date(self) -> Self:
        if not self.day_first and self.type != "date":
            raise ValueError("day_first says how a date is read, and this is none")
        return self


class _Modality(Strict):
    weight: Annotated[float, Field(gt=0)]
    """Share of the fused score; only the ratios between modalities matter."""
    fields: Annotated[Sequence[str], Field(min_length=1)]


class LexicalModality(_Modality):
    """Keyed-hash character n-grams."""

    encoder: Literal["lexical"]
    dim: Annotated[int, Field(ge=8, le=4096)]
    words: Annotated[float, Field(ge=0)] = 1.0
    """Weight of a whole word beside an n-gram's 1."""
    digits: Annotated[float, Field(gt=0)] = 1.0
    """Factor for n-grams that hold a digit."""


class TextModality(_Modality):
    """A sentence encoder: a folder of `models.directory`."""

    encoder: Literal["text"]
    model: str
    codes: bool = True
    """Without them, words with a digit do not count, nor their n-grams that hold one: what is left are the words of a title.
    `subword` models alone can leave them out."""


class ImageModality(_Modality):
    """A picture: a folder of `models.directory`. The first field that is there is read, inline or by its address."""

    encoder: Literal["image"]
    model: str
    floor: Annotated[float, Field(ge=0, lt=1)]
    """Cosine of two pictures that have nothing in common: the higher, the less a different one speaks against a pair."""
    reach: Annotated[float, Field(gt=0, le=10)]
    """How much of the model's cosine may be missing until a third of what lies above the floor is left."""


class CodesModality(_Modality):
    """Model and part numbers that texts hold."""

    encoder: Literal["codes"]
    dim: Annotated[int, Field(ge=64, le=4096)]


class QuantitiesModality(_Modality):
    """Numbers with their units that texts hold."""

    encoder: Literal["quantities"]
    dim: Annotated[int, Field(ge=64, le=4096, multiple_of=16)]


class PriceModality(_Modality):
    """A price."""

    encoder: Literal["price"]
    fields: Annotated[Sequence[str], Field(min_length=1, max_length=1)]


class HashModality(_Modality):
    """A perceptual hash of a picture, in hexadecimal, that comes with the record."""

    encoder: Literal["hash"]
    bits: Annotated[int, Field(ge=16, le=1024, multiple_of=8)]
    fields: Annotated[Sequence[str], Field(min_length=1, max_length=1)]


class BehaviourModality(_Modality):
    """Login times."""

    encoder: Literal["behaviour"]
    model: str | None = None
    """A folder of `models.directory` that was fitted on own records; without one, the fixed encoder."""
    fields: Annotated[Sequence[str], Field(min_length=1, max_length=1)]


class DeviceModality(_Modality):
    """Browser, then operating system."""

    encoder: Literal["device"]
    model: str | None = None
    """As for behaviour."""
    fields: Annotated[Sequence[str], Field(min_length=2, max_length=2)]


Modality = Annotated[
    LexicalModality
    | TextModality
    | ImageModality
    | CodesModality
    | QuantitiesModality
    | PriceModality
    | HashModality
    | BehaviourModality
    | DeviceModality,
    Field(discriminator="encoder"),
]

_READABLE = {
    "lexical": {"text", "date"},
    "text": {"text", "number", "date"},
    "image": {"image", "uri"},
    "codes": {"text", "number"},
    "quantities": {"text"},
    "price": {"number"},
    "hash": {"text"},
    "behaviour": {"timestamps"},
    "device": {"text"},
}
"""Types of fields by encoder; of others it would make nothing, without a word."""


class Profile(Strict):
    """One kind of record. The order of `modalities` is the order of their blocks in a vector."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    input: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
    """Topic the records arrive on."""
    vectors: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] | None = None
    """Topic of the vectors, where it is not `vectors.<name>`: new models need one of their own (docs/recovery.md)."""
    fields: Mapping[str, FieldSpec]
    modalities: Annotated[Mapping[str, Modality], Field(min_length=1, max_length=32)]
    fusion: FusionSpec
    """The one that decides, unless the setting `matching.fusion` names another."""
    alternatives: Mapping[str, FusionSpec] = {}
    """Others, by name."""
    quality: QualitySpec
    """What makes one record better than another that means the same."""
    scope: str | None = None
    """Field whose value is the record's scope; without one all records are compared with each other."""
    born: str | None = None
    """Field with the record's own creation time (the first, where it lists several); else that of its message."""

    @model_validator(mode="after")
    def _fields_exist(self) -> Self:
        named = {f for m in self.modalities.values() for f in m.fields} | {f for _, f, _ in self.quality.reads}
        named |= {f for f in (self.scope, self.born) if f is not None}
        if unknown := sorted(named - self.fields.keys()):
            raise ValueError(f"not among the profile's fields: {', '.join(unknown)}")
        for role, name, wanted in (("scope", self.scope, "text"), ("born", self.born, "timestamps")):
            if name is not None and self.fields[name].type != wanted:
                raise ValueError(f"{role}: the field {name} must be of type {wanted}")
        for modality, m in self.modalities.items():
            readable = _READABLE[m.encoder]
            if wrong := [f for f in m.fields if self.fields[f].type not in readable]:
                raise ValueError(f"{modality}: {m.encoder} reads {', '.join(sorted(readable))}, not {', '.join(wrong)}")
        for fusion in (self.fusion, *self.alternatives.values()):
            named = fusion.modalities if isinstance(fusion, WeightedSpec) else set()
            if unknown := sorted(named - self.modalities.keys()):
                raise ValueError(
                    f"fusion: what is no modality is weighed, whitened, kept apart or one-sided: {', '.join(unknown)}"
                )
        self._check_quality()
        return self

    @model_validator(mode="after")
    def _contributions_have_names_of_their_own(self) -> Self:
        if any(
            isinstance(fusion, LearnedSpec) or fusion.crowding for fusion in (self.fusion, *self.alternatives.values())
        ):
            for name in self.modalities:
                if name in {"base", "prior", "quality", "crowding"} or name.startswith("crowding "):
                    raise ValueError(f"modality {name}: a decider adds a term of that name; call it something else")
        return self

    def chosen_fusion(self, name: str | None) -> WeightedSpec | LearnedSpec:
        """`fusion`, or the alternative of that name. Raises SettingsError when there is none."""
        if name is None:
            return self.fusion
        if name not in self.alternatives:
            known = ", ".join(sorted(self.alternatives)) or "none"
            raise SettingsError(f"matching.fusion: profile {self.name} has no alternative {name!r}; it has: {known}")
        return self.alternatives[name]

    def _check_quality(self) -> None:
        for signal, name, needed in self.quality.reads:
            if needed is not None and self.fields[name].type != needed:
                raise ValueError(f"quality.{signal}: the field {name} must be of type {needed}")
        of_pictures = self.quality.of_pictures
        if of_pictures and not any(isinstance(m, ImageModality) for m in self.modalities.values()):
            raise ValueError(f"quality.{of_pictures[0]}: no modality of this profile reads pictures")

    @property
    def weights(self) -> list[float]:
        """Per modality, summing to 1."""
        total = sum(m.weight for m in self.modalities.values())
        return [m.weight / total for m in self.modalities.values()]

    @property
    def vectors_topic(self) -> str:
        return f"vectors.{self.name}" if self.vectors is None else self.vectors


def load_profile(name_or_path: str) -> Profile:
    """A built-in profile by name, or any YAML file. Raises SettingsError listing every fault."""
    if name_or_path in BUILT_IN:
        text = resources.files("consumer.profiles").joinpath(f"{name_or_path}.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"profile {name_or_path!r} is neither built in ({', '.join(BUILT_IN)}) nor a readable file: {error}"
            ) from error
    try:
        content = read_yaml(text)
    except NOT_YAML as error:
        raise SettingsError(f"profile {name_or_path}: not YAML: {error}") from error
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        raise SettingsError(describe_faults(f"profile {name_or_path}", error, Profile)) from error
