"""Which backbones are taken: one table for the README and the commands, and what is said of the others."""

import json
from pathlib import Path

import pytest
import timm
import torch

from core.__main__ import main
from core.errors import InputError
from core.families.base import NO_HEAD, OWN_HEAD
from core.families.families import FAMILIES, family_of_timm
from core.models import taken
from core.models.load import load_model
from core.models.registry import HEADLESS, list_models

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_readme_has_the_table_as_the_families_tell_it() -> None:
    assert taken.markdown() in README, "put what core.models.taken.markdown() gives into the README"


def test_the_command_prints_every_kind_with_the_methods_that_take_it(capsys) -> None:
    assert main(["models", "--taken", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["taken"]
    assert len(found) == sum(len(module.TAKEN) for module in FAMILIES.values())
    by_name = {one["timm's names"]: one for one in found}
    assert by_name["`pit_*`"]["Soft token pruning"] == "yes"
    assert by_name["`pit_*`"]["Single-path pruning"] == "no"


@pytest.mark.parametrize(
    ("name", "family", "head"),
    [
        ("deit3_small_patch16_224", "deit", OWN_HEAD),
        ("flexivit_small", "deit", OWN_HEAD),
        ("vit_small_patch14_dinov2", "deit", NO_HEAD),
        ("vit_small_patch14_reg4_dinov2", "deit", NO_HEAD),
        ("vit_base_patch16_siglip_gap_224", "gap", NO_HEAD),
        ("vit_base_patch16_siglip_224", "latent", NO_HEAD),
        ("vit_base_patch32_clip_256", "deit", NO_HEAD),
        ("swin_tiny_patch4_window7_224", "swin", OWN_HEAD),
    ],
)
def test_an_architecture_is_taken_with_its_own_classifier_or_one_that_training_gives_it(name, family, head) -> None:
    assert taken.timm_name(name) == taken.TimmName(name, family, head, None)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("vit_base_r50_s16_224", "it embeds its patches by a ResNet"),
        ("vit_base_mci_224", "it embeds its patches by convolutions that overlap"),
        ("vit_relpos_small_patch16_224", "it adds relative positions to its attention"),
        ("vit_giant_patch14_dinov2", r"it has gated FFNs \(SwiGLU\)"),
        ("vit_small_patch16_18x2_224", "it runs several attentions or FFNs side by side"),
        ("vit_dwee_patch16_reg1_gap_256", "it takes the difference of two attentions"),
        ("vit_so150m_patch16_reg4_map_256", "it answers from an attention pooling of another kind"),
        ("vit_base_patch16_xp_224", "choose"),
    ],
)
def test_another_gets_one_sentence_that_says_why_not(name, why) -> None:
    found = taken.timm_name(name)
    assert found.family is None
    with pytest.raises(InputError, match=why):
        raise InputError(found.why_not)


def test_one_whose_patches_do_not_fill_its_photo_is_refused_with_a_way_out() -> None:
    found = taken.timm_name("vit_so400m_patch14_siglip_gap_384")
    assert "Photos of 384 pixels are not 27 whole patches wide" in str(found.why_not)


def test_features_of_a_model_that_is_not_taken_are_not_sent_to_a_training_that_would_refuse_them() -> None:
    with pytest.raises(InputError, match=r"has gated FFNs \(SwiGLU\)") as error:
        load_model("vit_giant_patch14_dinov2.lvd142m")
    assert "--probe" not in str(error.value)


@pytest.mark.parametrize("name", HEADLESS)
def test_what_is_listed_without_a_classifier_says_how_to_get_one_and_cannot_be_opened(name) -> None:
    entry = next(one for one in list_models() if one.name == name)
    assert not entry.available
    assert entry.download_mb is None
    assert f"train --model {name} --pretrained --probe" in entry.note
    assert timm.get_pretrained_cfg(name).num_classes == 0


@pytest.mark.parametrize("name", ["flexivit_small", "vit_small_patch14_reg4_dinov2", "deit3_small_patch16_224"])
@torch.no_grad()
def test_one_that_training_gives_a_classifier_walks_as_timm_does(name) -> None:
    torch.manual_seed(0)
    size = 28 if "patch14" in name else 32
    theirs = timm.create_model(name, num_classes=3, img_size=size, depth=2).eval()
    family = family_of_timm(name)
    images = torch.randn(2, 3, size, size)
    torch.testing.assert_close(family.walk(theirs, images, lambda index, block, x: block(x)), theirs(images))


@pytest.mark.slow
def test_the_readme_counts_what_the_installed_timm_has() -> None:
    assert taken.counted(taken.timm_names()) in README
