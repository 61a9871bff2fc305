"""How many actors of which size: from the machines that are there and the models that are asked."""

from collections.abc import Sequence

from actors.stage import DecodeConfig, StageConfig
from lakesight.media.limits import Limits
from lakesight.media.view import ImageView
from lakesight.models.base import Frozen, ModelSpec

MAX_CPUS_PER_ACTOR = 8
"""One Python process keeps about this many cores busy before its interpreter lock is in the way."""

SPARE_CPUS = 0.5
"""Left free on each actor's node, so that reading the manifest and writing always find room."""


GPU_FAMILIES = frozenset({"captioner", "detr", "image-text", "yolo-onnx"})
"""Families whose runtimes use a GPU where there is one; the rest run on the CPU everywhere."""


class Node(Frozen):
    """What one machine of the cluster has."""

    cpus: float
    gpus: float = 0


class Pool(Frozen):
    """A stage, and the actors that run it."""

    stage: StageConfig
    num_actors: int
    num_cpus: float
    num_gpus: float = 0


class PoolOptions(Frozen):
    """What a user may override; None lets the machines decide."""

    num_actors: int | None = None
    cpus_per_actor: int | None = None
    gpus: float | None = None
    batch_size: int | None = None
    separate_pools: bool = False


def plan_pools(
    run_id: str,
    models: Sequence[ModelSpec],
    limits: Limits,
    nodes: Sequence[Node],
    options: PoolOptions,
    num_pieces: int,
) -> list[Pool]:
    """Return the pools, in the order in which a picture passes them.

    Decoding and the CPU's models share one actor, so that no pixel leaves its process. From the
    first model on that uses a GPU, each has a pool of its own, and its pixels travel there.
    """
    gpus = sum(node.gpus for node in nodes) if options.gpus is None else options.gpus
    on_gpu = [spec for spec in models if gpus and spec.card.family in GPU_FAMILIES]
    apart = models if options.separate_pools else on_gpu
    cut = models.index(apart[0]) if apart else len(models)
    cpus = options.cpus_per_actor or _cpus_per_actor(nodes)
    num_actors = options.num_actors or _num_actors(nodes, cpus)
    decode = DecodeConfig(views=_views(models), limits=limits, num_processes=cpus)
    first = StageConfig(
        run_id=run_id,
        decode=decode,
        models=tuple(models[:cut]),
        keep=_views(models[cut:]),
        commits=cut == len(models),
        batch_size=options.batch_size or 16,
        num_threads=cpus,
    )
    num_cpus = max(SPARE_CPUS, cpus - SPARE_CPUS) / (len(apart) + 1 if not gpus else 1)
    pools = [Pool(stage=first, num_actors=min(num_actors, num_pieces), num_cpus=num_cpus)]
    for place in range(cut, len(models)):
        spec = models[place]
        share = min(1.0, round(gpus / len(on_gpu), 2)) if spec in on_gpu else 0.0
        size = max(1, int(gpus / len(on_gpu))) if spec in on_gpu else num_actors
        stage = StageConfig(
            run_id=run_id,
            decode=None,
            models=(spec,),
            keep=_views(models[place + 1 :]),
            commits=place == len(models) - 1,
            batch_size=options.batch_size or 32,
            num_threads=cpus,
        )
        pools.append(
            Pool(
                stage=stage,
                num_actors=min(size, num_pieces),
                num_cpus=num_cpus if not gpus else SPARE_CPUS,
                num_gpus=share,
            )
        )
    return pools


def _views(specs: Sequence[ModelSpec]) -> tuple[ImageView, ...]:
    return tuple(dict.fromkeys(spec.card.view for spec in specs if spec.card.view))


def _cpus_per_actor(nodes: Sequence[Node]) -> int:
    smallest = min((node.cpus for node in nodes if node.cpus >= 1), default=1)
    return max(1, min(int(smallest), MAX_CPUS_PER_ACTOR))


def _num_actors(nodes: Sequence[Node], cpus_per_actor: int) -> int:
    return max(1, sum(int(node.cpus // cpus_per_actor) for node in nodes))
