"""Pools for clusters that this machine is not."""

import pytest

from actors.pools import Node, Pool, PoolOptions, plan_pools
from lakesight.media.limits import Limits
from lakesight.media.view import ImageView
from lakesight.models import catalog
from lakesight.models.base import ModelSpec

DETECTOR = catalog.spec("ssd-mobilenet-v2-coco", "detect")
EMBEDDER = catalog.spec("efficientnet-lite3", "embed")


def on_gpu(spec: ModelSpec, side: int) -> ModelSpec:
    """Return a spec of a family that a GPU can run, with a view of its own."""
    view = ImageView(width=side, height=side)
    card = spec.card.model_copy(update={"family": "detr", "view": view})
    return spec.model_copy(update={"card": card})


def plan(models: list[ModelSpec], nodes: list[Node], **options: object) -> list[Pool]:
    return plan_pools("run", models, Limits(), nodes, PoolOptions(**options), num_pieces=100)


@pytest.mark.parametrize(
    ("cpus", "num_actors", "num_cpus"),
    [([2], 1, 1.5), ([8], 1, 7.5), ([16], 2, 7.5), ([64, 64], 16, 7.5), ([4, 8], 3, 3.5)],
)
def test_on_cpus_one_actor_decodes_and_sees(
    cpus: list[int], num_actors: int, num_cpus: float
) -> None:
    (pool,) = plan([DETECTOR, EMBEDDER], [Node(cpus=count) for count in cpus])
    assert (pool.num_actors, pool.num_cpus, pool.num_gpus) == (num_actors, num_cpus, 0)
    assert pool.stage.models == (DETECTOR, EMBEDDER)
    assert pool.stage.keep == ()
    assert pool.stage.decode is not None
    assert pool.stage.decode.views == (DETECTOR.card.view, EMBEDDER.card.view)


def test_every_model_on_a_gpu_has_a_pool_and_its_pixels_travel_no_further() -> None:
    first, second = on_gpu(DETECTOR, 640), on_gpu(EMBEDDER, 224)
    nodes = [Node(cpus=16), Node(cpus=16, gpus=4)]
    decoding, one, two = plan([DETECTOR, first, second], nodes)
    assert decoding.stage.models == (DETECTOR,)
    assert decoding.stage.keep == (first.card.view, second.card.view)
    assert (one.stage.models, one.stage.keep) == ((first,), (second.card.view,))
    assert (two.stage.models, two.stage.keep) == ((second,), ())
    assert [(pool.num_actors, pool.num_gpus) for pool in (one, two)] == [(2, 1.0), (2, 1.0)]


def test_models_share_a_gpu_when_there_are_more_of_them() -> None:
    models = [on_gpu(DETECTOR, 640), on_gpu(EMBEDDER, 224)]
    _, one, two = plan(models, [Node(cpus=8, gpus=1)])
    assert one.num_gpus == two.num_gpus == 0.5
    assert one.num_actors == two.num_actors == 1


def test_what_looks_at_one_network_shares_a_pool() -> None:
    """As a BLIP-2 that captions and answers; here a classifier that embeds, each on its own."""
    classifier = catalog.spec("efficientnet-lite3", "classify")
    decoding, one, two = plan([DETECTOR, classifier, EMBEDDER], [Node(cpus=8)], separate_pools=True)
    assert decoding.stage.models == ()
    assert one.stage.models == (DETECTOR,)
    assert one.stage.keep == (EMBEDDER.card.view,)
    assert two.stage.models == (classifier, EMBEDDER)
    assert (two.stage.keep, two.stage.commits) == ((), True)
    apart = plan([classifier, DETECTOR, EMBEDDER], [Node(cpus=8)], separate_pools=True)
    assert len(apart) == 4


def test_what_is_promised_to_the_cluster_fits_into_it() -> None:
    models = [DETECTOR, on_gpu(DETECTOR, 640), on_gpu(EMBEDDER, 224), EMBEDDER]
    for cpus, gpus in ((2, 0), (3, 0), (4, 1), (8, 1), (8, 2), (16, 3), (64, 8)):
        for options in ({}, {"separate_pools": True}, {"num_actors": 2}):
            pools = plan(models, [Node(cpus=cpus, gpus=gpus)], **options)
            assert sum(pool.num_actors * pool.num_cpus for pool in pools) < cpus
            assert sum(pool.num_actors * pool.num_gpus for pool in pools) <= gpus


def test_more_models_than_gpus_fit_onto_them() -> None:
    models = [on_gpu(DETECTOR, side) for side in (320, 480, 640)]
    pools = plan(models, [Node(cpus=16, gpus=2)])[1:]
    assert [pool.num_gpus for pool in pools] == [0.5, 0.5, 0.5]


def test_a_user_has_the_last_word() -> None:
    options = {"num_actors": 3, "cpus_per_actor": 4, "gpus": 2, "batch_size": 5}
    decoding, seeing = plan([on_gpu(DETECTOR, 640)], [Node(cpus=1)], **options)
    assert (decoding.num_actors, decoding.num_cpus) == (3, 1.75)
    assert (seeing.num_actors, seeing.num_gpus) == (2, 1.0)
    assert decoding.stage.batch_size == seeing.stage.batch_size == 5


def test_no_more_actors_than_pieces() -> None:
    nodes = [Node(cpus=64)]
    (pool,) = plan_pools("run", [DETECTOR], Limits(), nodes, PoolOptions(), num_pieces=2)
    assert pool.num_actors == 2
