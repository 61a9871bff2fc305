"""Cards of transformers checkpoints: what a hub repository or a folder says about itself."""

import re
from typing import Any

import yaml

from lakesight.errors import UserError, json_object
from lakesight.media.view import ImageView
from lakesight.models.base import FolderSource, HubSource, Licences, ModelCard
from lakesight.models.families import builder_of
from lakesight.models.licences import ALLOWED
from lakesight.models.preprocessor import NESTED_FILE, OWN_FILE, parse_preprocessor
from lakesight.models.repository import Repository, open_repository

SMALL_FILES = frozenset(
    {
        "config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "spiece.model",
        "tokenizer.model",
        "writer.safetensors",
    }
)
"""What may be opened beside the weights: by transformers, or of a first stage of BLIP-2, by us."""

SPDX = {name.lower(): name for name in ALLOWED}
"""The hub writes licences in lower case."""

LANGUAGE_MODELS = {"opt": "opt-175b-licence", "t5": "Apache-2.0"}
"""By the type of BLIP-2's language model: every OPT bars commercial use, FLAN-T5 bars nothing."""


def card_for(name: str) -> ModelCard | None:
    """Return the card of `hf:owner/repo@commit`, or of a folder or s3:// prefix with a config.json.

    None where the name is neither. Reads the hub's metadata, or every byte of a folder's weights.
    Raises `UserError` for a hub name without a commit, an architecture that no family builds, and
    weights that are not safetensors.
    """
    repository = open_repository(name)
    return None if repository is None else card_of(repository)


def card_of(repository: Repository) -> ModelCard:
    """Return the card of a checkpoint: kind, family, digests and licences by its own files."""
    names = repository.names()
    config = _config(repository, names)
    architecture = str((config.get("architectures") or ["none"])[0])
    kind, family = builder_of(architecture, repository.title)
    return ModelCard(
        name=_slug(repository.source),
        kind=kind,
        family=family,
        source=repository.source,
        sha256={file: repository.sha256(file) for file in sorted(_opened(repository, names))},
        licences=_licences(repository, names, config),
        view=_view(repository, names, family),
        provenance=f"{architecture} imported from {repository.title}; see its own README.",
    )


def _view(repository: Repository, names: list[str], family: str) -> ImageView:
    """Return the pixels that the model wants: a job must know before it loads the weights."""
    files = {name: repository.read(name) for name in (OWN_FILE, NESTED_FILE) if name in names}
    return parse_preprocessor(repository.title, files, family).view


def _config(repository: Repository, names: list[str]) -> dict[str, Any]:
    if "config.json" not in names:
        raise UserError(
            f"{repository.title} has no config.json: expected a transformers checkpoint"
        )
    return _object(repository, "config.json")


def _object(repository: Repository, name: str) -> dict[str, Any]:
    return json_object(repository.read(name), f"{repository.title}/{name}")


def _opened(repository: Repository, names: list[str]) -> set[str]:
    """Return the files that loading opens: weights, configs, tokenizer."""
    return _weights(repository, names) | (SMALL_FILES & set(names))


def _weights(repository: Repository, names: list[str]) -> set[str]:
    """Return the safetensors files, with the index where they are several."""
    single, index = "model.safetensors", "model.safetensors.index.json"
    if single in names:
        return {single}
    if index in names:
        files = _object(repository, index).get("weight_map")
        if not isinstance(files, dict):
            raise UserError(f"{repository.title}/{index} has no weight_map: write the model again")
        return {index, *map(str, files.values())}
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    instead = f"found {pickles[0]}, a pickle, which is never opened" if pickles else "found none"
    raise UserError(
        f"{repository.title} has no {single}: {instead}. Save the model again with transformers' "
        "save_pretrained, or take a revision that has it"
    )


def _slug(source: FolderSource | HubSource) -> str:
    """Return a card's name: the last part of a path or of a hub name."""
    path = source.repo if isinstance(source, HubSource) else source.uri
    last = path.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last).strip("-._") or "model"


def _licences(repository: Repository, names: list[str], config: dict[str, Any]) -> Licences:
    """Return the licence that the README's front matter states, and the language model's."""
    language_model = None
    if (
        config.get("model_type") == "blip-2"
        and "ConditionalGeneration" in config["architectures"][0]
    ):
        kind = config.get("text_config", {}).get("model_type", "opt")
        language_model = LANGUAGE_MODELS.get(kind, "unknown")
    readme = repository.read("README.md") if "README.md" in names else b""
    return Licences(weights=licence_in(readme), data="unknown", language_model=language_model)


def licence_in(readme: bytes) -> str:
    """Return the licence that a README's front matter states: SPDX, or the hub's own word."""
    return _stated(_front_matter(readme))


def _front_matter(readme: bytes) -> dict[str, Any]:
    """Return the YAML between the first two `---` lines of a README; empty where there is none."""
    parts = re.match(r"---\s*\n(.*?)\n---", readme.decode(errors="replace"), re.DOTALL)
    if parts is None:
        return {}
    try:
        matter = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return matter if isinstance(matter, dict) else {}


def _stated(matter: dict[str, Any]) -> str:
    """Return the licence as SPDX where it has such an id, else in the hub's words."""
    stated = matter.get("license", "unknown")
    if stated == "other":
        stated = matter.get("license_name", "other")
    names = [str(name) for name in (stated if isinstance(stated, list) else [stated])]
    return " AND ".join(SPDX.get(name.lower(), name) for name in names) or "unknown"
