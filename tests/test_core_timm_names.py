"""What timm's names stand for: classes of other ImageNet lists, and models whose answers are no classes at all."""

import pytest
import timm
from timm.data import ImageNetInfo
from torch import nn

from core.errors import InputError
from core.families.timm_models import check_classifier
from core.models.load import load_model
from core.models.registry import TIMM_NAMES
from core.models.releases.plain import released_classes


@pytest.mark.parametrize(
    ("count", "subset"),
    [
        (1000, "imagenet-1k"),
        (11221, "imagenet-21k-miil"),
        (11821, "imagenet-12k"),
        (21841, "imagenet-22k"),
        (21843, "imagenet-21k-goog"),
    ],
)
def test_a_head_of_an_imagenet_list_has_that_lists_names(count, subset) -> None:
    classes, info = released_classes(count), ImageNetInfo(subset)
    assert len(classes) == count
    for at in (0, 7, count - 1):
        assert classes[at].wnid == info.index_to_label_name(at)
        assert classes[at].label == info.index_to_description(at).split(",")[0]


def test_names_are_words_where_they_are_known() -> None:
    assert released_classes(1000)[1].label == "goldfish"
    assert "food" in [one.label for one in released_classes(11821)]


def test_a_head_of_no_list_is_numbered() -> None:
    assert [one.label for one in released_classes(3)] == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize("name", [n for n in timm.list_pretrained() if "_clip_" in n and n.startswith("vit_")])
def test_an_image_tower_of_clip_is_no_classifier_unless_it_was_fine_tuned_as_one(name) -> None:
    if "_ft_in" in name:
        check_classifier(name)
        return
    with pytest.raises(InputError, match=r"is an image tower of CLIP: its \d+ numbers are an embedding|gives features"):
        check_classifier(name)


def test_the_sentence_says_what_to_do_before_anything_is_fetched(monkeypatch) -> None:
    """It is built without weights and memory alone, to see that it could be trained."""
    create = timm.create_model

    def built(name: str, *, pretrained: bool, **more: object) -> nn.Module:
        assert not pretrained
        model = create(name, **more)
        assert all(parameter.is_meta for parameter in model.parameters())
        return model

    monkeypatch.setattr(timm, "create_model", built)
    for name in ("vit_base_patch16_clip_224.openai", "vit_small_patch14_dinov2.lvd142m"):
        with pytest.raises(InputError, match=rf"`python -m core train --model {name} --pretrained --probe --data DIR`"):
            load_model(name)


def test_what_is_listed_is_a_classifier() -> None:
    for name in TIMM_NAMES:
        check_classifier(name)
