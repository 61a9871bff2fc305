"""A real, tiny BLIP-2 on a few generated scenes: it learns, and a kill changes nothing."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from lakesight.errors import UserError
from lakesight.media.view import ImageView
from lakesight.models.blip2.pretraining import Blip2ForPretraining
from lakesight.models.preprocessor import Preprocessor
from lakesight.models.pretrained import Pixels
from lakesight.training.blip2.first_stage import FirstStageWeights
from lakesight.training.blip2.recipe import FirstStageRecipe, Words
from lakesight.training.blip2.settings import FirstStageSettings
from lakesight.training.blip2.texts import Told, open_texts
from lakesight.training.blip2.tower import quicken
from lakesight.training.blip2.views import Look, looked_at
from lakesight.training.loop import BEST, Callback, Progress, Trainer
from lakesight.training.muon import Muon
from lakesight.training.optimizing import Together, set_rates
from lakesight.training.sampling import Key
from workflows.scenes import Scenes

hf: Any = transformers
SIDE = 64
VIEW = ImageView(width=SIDE, height=SIDE, fit="squash")
LAYER = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.15,
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Told]:
    folder = tmp_path_factory.mktemp("scenes")
    size = str(SIDE)
    Scenes(output=str(folder), num_images=0, num_val=8, seed=3, size=size, processes=1).run()
    return open_texts(str(folder), "val", "captions", column="description", regions=True)


def words_of(told: list[Told]) -> tuple[Words, int]:
    """Return a tokenizer of the words that there are, and how many tokens it has."""
    known = sorted({word for one in told for text in one.captions for word in text.split()})
    places = {word: 4 + number for number, word in enumerate(known)}

    def tokenise(text: str) -> list[int]:
        return [1, *(places[word] for word in text.split()), 2]

    return Words(tokenise, pad_id=0, start_id=3), len(places) + 4


def trainer(
    folder: Path, told: list[Told], epochs: int, callback: Callback | None = None, **more: Any
) -> Trainer:
    words, num_words = words_of(told)
    config = hf.Blip2Config(
        vision_config={**LAYER, "image_size": SIDE, "patch_size": 16},
        qformer_config={
            **LAYER,
            "vocab_size": num_words,
            "max_position_embeddings": 64,
            "encoder_hidden_size": 48,
            "cross_attention_frequency": 1,
            "use_qformer_text_input": True,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        num_query_tokens=4,
        image_text_hidden_size=32,
    )
    torch.manual_seed(0)
    model = Blip2ForPretraining.new(config)
    given = {"freeze_vision": False, "learning_rate": 1e-3, "ema_decay": 0.0} | more
    settings = FirstStageSettings(
        epochs=epochs, batch_size=8, nominal_batch=8, warmup_epochs=2, max_tokens=64, **given
    )
    pixels = Pixels(Preprocessor(view=VIEW), torch.device("cpu"), torch.float32)
    recipe = FirstStageRecipe(model, words, Look(VIEW, pixels), (told, told), settings)
    return Trainer(recipe, settings, folder, [callback] if callback else [])


def test_it_learns_to_tell_pictures_apart(tmp_path: Path, told: list[Told]) -> None:
    history = trainer(tmp_path, told, epochs=60).fit().history
    assert set(history[0]) > {"loss/contrast", "loss/match", "loss/write", "text_to_image_r5"}
    assert history[0]["fitness"] < 0.5
    assert history[-1]["fitness"] > 0.6
    for name, share in {"loss/contrast": 0.8, "loss/write": 0.9}.items():
        assert history[-1][name] < share * history[0][name]


class Kill(Callback):
    def on_epoch(self, progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt


def test_a_resumed_training_has_the_same_curve(tmp_path: Path, told: list[Told]) -> None:
    (tmp_path / "whole").mkdir()
    whole = trainer(tmp_path / "whole", told, 4).fit().history
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, told, 4, Kill()).fit()
    again = trainer(tmp_path, told, 4)
    assert again.resume()
    assert again.fit().history == whole


def test_muon_moves_the_matrices_of_layers_and_goes_on_after_a_kill(
    tmp_path: Path, told: list[Told]
) -> None:
    given: dict[str, Any] = {"optimizer": "muon", "weight_decay": 0.0}
    (tmp_path / "whole").mkdir()
    made = trainer(tmp_path / "whole", told, 4, **given)
    assert isinstance(made.optimizer, Together)
    adamw, muon = made.optimizer.parts
    assert (type(adamw), type(muon)) == (torch.optim.AdamW, Muon)
    moved = {weight for group in muon.param_groups for weight in group["params"]}
    names = {name for name, weight in made.network.named_parameters() if weight in moved}
    assert "model.retrieval.vision_model.encoder.layers.0.mlp.fc1.weight" in names
    assert all(".encoder.layer" in name for name in names)
    assert len(moved) < len(list(made.network.parameters()))
    whole = made.fit().history
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, told, 4, Kill(), **given).fit()
    again = trainer(tmp_path, told, 4, **given)
    assert again.resume()
    assert again.fit().history == whole


def test_a_quick_tower_computes_the_same(tmp_path: Path) -> None:
    """As transformers' own, with its fused attention and its convolution: values and gradients."""
    config = hf.Blip2VisionConfig(**LAYER, image_size=SIDE, patch_size=16)
    torch.manual_seed(0)
    plain = hf.models.blip_2.modeling_blip_2.Blip2VisionModel(config)
    quick = copy.deepcopy(plain)
    quicken(quick, torch.device("cpu"))
    assert plain.config._attn_implementation == "sdpa"
    pixels = torch.randn(3, 3, SIDE, SIDE)
    for tower in (plain, quick):
        tower(pixel_values=pixels).last_hidden_state.square().sum().backward()
    found = dict(quick.named_parameters())
    for name, weight in plain.named_parameters():
        assert weight.grad is not None
        assert found[name].grad is not None
        torch.testing.assert_close(found[name].grad, weight.grad, rtol=1e-4, atol=1e-3)
    quick.save_pretrained(tmp_path)
    again = type(plain).from_pretrained(tmp_path)
    for tower in (plain, again):
        tower.eval()
    with torch.no_grad():
        expected = plain(pixel_values=pixels).last_hidden_state
        torch.testing.assert_close(again(pixel_values=pixels).last_hidden_state, expected)


def test_a_frozen_tower_is_not_written_again(tmp_path: Path, told: list[Told]) -> None:
    made = trainer(tmp_path, told, 1, freeze_vision=True)
    tower = made.network.get_submodule("model.retrieval.vision_model")
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    made.fit()
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
    best = torch.load(tmp_path / BEST, weights_only=True)["network"]
    assert best
    assert not [name for name in best if "vision_model" in name]


def test_views_that_are_kept_are_read_once(tmp_path: Path, told: list[Told]) -> None:
    class Remove(Callback):
        def on_epoch(self, progress: Progress) -> None:
            for one in copies:
                one.path.unlink(missing_ok=True)

    (tmp_path / "pictures").mkdir()
    copies = [replace(one, path=Path(shutil.copy(one.path, tmp_path / "pictures"))) for one in told]
    (tmp_path / "read").mkdir()
    loss = {"regions": 1.0}
    read = trainer(tmp_path / "read", told, 3, loss=loss).fit().history
    (tmp_path / "kept").mkdir()
    kept = trainer(tmp_path / "kept", copies, 3, Remove(), loss=loss, keep="views").fit().history
    assert kept == read
    with pytest.raises(UserError, match="cannot read the training picture"):
        trainer(tmp_path, copies, 3, loss=loss).fit()


@pytest.mark.parametrize("regions", [0.0, 1.0])
def test_pictures_are_mirrored_in_training_alone(
    tmp_path: Path, told: list[Told], regions: float
) -> None:
    given: dict[str, Any] = {"keep": "views", "loss": {"regions": regions}}
    made = trainer(tmp_path, told, 1, mirrors={"horizontal": 1.0}, **given)
    assert isinstance(made.recipe, FirstStageRecipe)
    (tmp_path / "plain").mkdir()
    plain = trainer(tmp_path / "plain", told, 1, **given).recipe
    assert isinstance(plain, FirstStageRecipe)
    rows = plain.regions.grid.rows
    for number, one in enumerate(told):
        key = Key(epoch=0, number=number)
        pair, before = made.recipe.dataset[key], plain.dataset[key]
        assert np.array_equal(pair.picture, before.picture[:, ::-1])
        assert pair.ids == before.ids
        labels, expected = (each.regions.reshape(rows, rows, -1) for each in (pair, before))
        assert np.array_equal(labels, expected[:, ::-1])
        assert np.array_equal(made.recipe.inputs[one].pixels, before.picture)  # validation's
    assert len(made.fit().history) == 1


@pytest.mark.parametrize("num_readers", [1, 2])
def test_readers_share_the_views_that_are_kept(
    tmp_path: Path, told: list[Told], num_readers: int
) -> None:
    made = trainer(tmp_path, told, 1, keep="views", num_readers=num_readers)
    assert isinstance(made.recipe, FirstStageRecipe)
    views = made.recipe.inputs.views
    assert views.num_kept() == 0
    for _ in made.batches:
        pass
    assert views.num_kept() == len(told)
    for one in told:
        assert (views[one].pixels == looked_at(one, VIEW).views[0]).all()


def test_texts_are_equal_where_the_network_reads_the_same(tmp_path: Path, told: list[Told]) -> None:
    both = [replace(told[0], captions=("a red star",)), replace(told[1], captions=("A Red star",))]
    made = trainer(tmp_path, told, 1)
    assert isinstance(made.recipe, FirstStageRecipe)
    dataset = made.recipe.dataset
    dataset.told, dataset.tokenise = both, lambda text: [1, *map(ord, text.lower()), 2]
    first, second = (dataset[Key(epoch=0, number=number)].text for number in (0, 1))
    assert first == second
    dataset.tokenise = lambda text: [1, *map(ord, text), 2]
    assert first != dataset[Key(epoch=0, number=1)].text


def test_what_a_frozen_tower_saw_is_kept(tmp_path: Path, told: list[Told]) -> None:
    """Half precision is close to what it sees, and the pictures are not needed any more."""
    (tmp_path / "pictures").mkdir()
    copies = [replace(one, path=Path(shutil.copy(one.path, tmp_path / "pictures"))) for one in told]
    given: dict[str, Any] = {"freeze_vision": True}
    (tmp_path / "seen").mkdir()
    seen = trainer(tmp_path / "seen", told, 2, **given).fit().history
    kept = trainer(tmp_path, copies, 2, keep="features", **given)
    for one in copies:
        one.path.unlink()
    history = kept.fit().history
    for name in ("loss/contrast", "loss/match", "loss/write"):
        assert history[-1][name] == pytest.approx(seen[-1][name], rel=2e-3)
    with pytest.raises(ValueError, match="keep=features is for a frozen vision tower"):
        FirstStageSettings(keep="features", freeze_vision=False)


def test_a_picture_that_cannot_be_read_ends_it(tmp_path: Path, told: list[Told]) -> None:
    (tmp_path / "cut.jpg").write_bytes(told[0].path.read_bytes()[:200])
    broken = [Told(tmp_path / "cut.jpg", told[0].captions), *told[1:]]
    with pytest.raises(UserError, match=r"cannot read the training picture .*cut\.jpg"):
        trainer(tmp_path, broken, 1).fit()


@pytest.mark.parametrize("name", ["contrast", "match", "write"])
def test_what_a_loss_left_out_would_reach_does_not_learn(
    tmp_path: Path, told: list[Told], name: str
) -> None:
    """Several processes would wait for its gradients for ever."""
    made = trainer(tmp_path, told, 1, loss={name: 0.0})
    made.fit()
    learns = [weight for weight in made.network.parameters() if weight.requires_grad]
    assert len(learns) < len(list(made.network.parameters()))
    batch = next(iter(made.batches))
    parts = made.recipe.losses(made.network, batch, 0).parts
    assert set(parts) == {"contrast", "match", "write"} - {name}
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in learns)


def test_a_tower_learns_what_lies_where(tmp_path: Path, told: list[Told]) -> None:
    """Without any text the Q-Former stays as it is, and nobody writes it again."""
    nothing = {"contrast": 0.0, "match": 0.0, "write": 0.0, "regions": 1.0}
    made = trainer(tmp_path, told, 100, loss=nothing, learning_rate=1e-2)
    query = made.network.get_parameter("model.retrieval.query_tokens").clone()
    history = made.fit().history
    assert "text_to_image_r1" not in history[0]
    assert history[-1]["fitness"] == history[-1]["regions_f1"]
    assert history[0]["regions_f1"] < 0.2
    assert history[-1]["regions_f1"] > 0.5
    assert torch.equal(made.network.get_parameter("model.retrieval.query_tokens"), query)
    best = torch.load(tmp_path / BEST, weights_only=True)["network"]
    assert not [name for name in best if "qformer" in name]
    fewer = [replace(one, regions=(one.regions or ())[:1]) for one in told]
    other = trainer(tmp_path, fewer, 100, loss=nothing)
    with pytest.raises(UserError, match="trained on the classes"):
        other.resume()


def test_patches_learn_beside_the_rest(tmp_path: Path, told: list[Told]) -> None:
    made = trainer(tmp_path, told, 4, loss={"regions": 1.0})
    history = made.fit().history
    assert {"loss/contrast", "loss/regions", "regions_f1", "text_to_image_r1"} <= set(history[0])
    assert history[-1]["loss/regions"] < history[0]["loss/regions"]


def test_regions_are_nothing_to_a_frozen_tower() -> None:
    with pytest.raises(ValueError, match="--no-freeze-vision"):
        FirstStageSettings(loss=FirstStageWeights(regions=1.0))
    nothing = FirstStageWeights(contrast=0.0, match=0.0, write=0.0)
    with pytest.raises(ValueError, match="every loss is 0"):
        FirstStageSettings(loss=nothing)


def test_what_is_near_the_pixels_learns_at_a_lower_rate(tmp_path: Path, told: list[Told]) -> None:
    made = trainer(tmp_path, told, 1, layer_decay=0.5, freeze_vision=False)
    set_rates(made.optimizer, made.settings, epochs=made.settings.warmup_epochs)
    rates = {
        weight: group["lr"] for group in made.optimizer.param_groups for weight in group["params"]
    }
    names = dict(made.network.named_parameters())
    tower = "model.retrieval.vision_model."
    full = rates[names["model.retrieval.query_tokens"]]
    for name, factor in {
        "embeddings.patch_embedding.weight": 0.25,
        "encoder.layers.0.mlp.fc1.weight": 0.5,
        "encoder.layers.1.mlp.fc1.bias": 1,
        "post_layernorm.weight": 1,
    }.items():
        assert rates[names[tower + name]] == pytest.approx(factor * full)
    assert made.optimizer.param_groups[0]["lr"] == full  # which the table of epochs tells
