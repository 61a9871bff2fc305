"""How many actors of which size: from the machines that are there and the models that are asked."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from actors.stage import DecodeConfig, StageConfig
from lakesight.media.limits import Limits
from lakesight.media.view import ImageView
from lakesight.models import catalog
from lakesight.models.base import Frozen, ModelSpec

MAX_CPUS_PER_ACTOR = 8
"""One Python process keeps about this many cores busy before its interpreter lock is in the way."""

SPARE_CPUS = 0.5
"""Left free of what an actor uses, so that Ray finds room for what it runs beside it."""

CPUS_BESIDE_A_GPU = 0.1
"""What an actor on a GPU asks of the CPU: it mostly waits for the GPU."""


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


class Actors(NamedTuple):
    """How many actors, and what each of them asks for."""

    number: int
    cpus: float
    gpus: float = 0.0


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
    *,
    here: bool = True,
) -> list[Pool]:
    """Return the pools, in the order in which a picture passes them.

    Decoding and the CPU's models share one actor, so that no pixel leaves its process. From the
    first model on that uses a GPU, each has a pool of its own, and its pixels travel there; those
    in a row that look at one network share a pool, and the network.
    `here`: the cluster is this machine, and what is installed on it counts.
    """
    gpus = sum(node.gpus for node in nodes) if options.gpus is None else options.gpus
    on_gpu = [spec for spec in models if gpus and catalog.can_use_gpu(spec, here=here)]
    apart = models if options.separate_pools else on_gpu
    cut = models.index(apart[0]) if apart else len(models)
    groups = [models[:cut], *_by_network(models[cut:])]
    uses_gpu = [False, *(group[0] in on_gpu for group in groups[1:])]
    cpus = options.cpus_per_actor or _cpus_per_actor(nodes, options.num_actors)
    num_cpus = max(SPARE_CPUS, cpus - SPARE_CPUS) / len(groups)
    plain = Actors(options.num_actors or _num_actors(nodes, cpus), num_cpus)
    decode = DecodeConfig(views=_views(models), limits=limits, num_processes=cpus)
    return [
        Pool(
            stage=stage,
            num_actors=min(each.number, num_pieces),
            num_cpus=each.cpus,
            num_gpus=each.gpus,
        )
        for stage, each in zip(
            _stages(run_id, groups, decode, uses_gpu, options.batch_size),
            [_on_gpus(gpus, sum(uses_gpu)) if uses else plain for uses in uses_gpu],
            strict=True,
        )
    ]


def _stages(
    run_id: str,
    groups: Sequence[Sequence[ModelSpec]],
    decode: DecodeConfig,
    uses_gpu: Sequence[bool],
    batch_size: int | None,
) -> list[StageConfig]:
    """Return what is done with each group of models; the first also decodes, the last commits."""
    stages = []
    for number, group in enumerate(groups):
        later = [spec for other in groups[number + 1 :] for spec in other]
        stages.append(
            StageConfig(
                run_id=run_id,
                decode=None if number else decode,
                models=tuple(group),
                keep=_views(later),
                commits=not later,
                batch_size=batch_size or (32 if number else 16),
                num_threads=decode.num_processes,
                on_gpu=uses_gpu[number],
            )
        )
    return stages


def _by_network(models: Sequence[ModelSpec]) -> list[list[ModelSpec]]:
    """Return the models in order, those that follow each other and share a network together."""
    groups: list[list[ModelSpec]] = []
    last: str | None = None
    for spec in models:
        network = catalog.network(spec)
        if network is None or network != last:
            groups.append([])
        groups[-1].append(spec)
        last = network
    return groups


def _on_gpus(gpus: float, num_pools: int) -> Actors:
    """Return the actors that each pool on a GPU gets."""
    if gpus >= num_pools:
        return Actors(int(gpus // num_pools), CPUS_BESIDE_A_GPU, 1.0)
    pools_a_gpu = math.ceil(num_pools / gpus)
    return Actors(1, CPUS_BESIDE_A_GPU, math.floor(100 / pools_a_gpu) / 100)


def _views(specs: Sequence[ModelSpec]) -> tuple[ImageView, ...]:
    return tuple(dict.fromkeys(spec.card.view for spec in specs if spec.card.view))


def _cpus_per_actor(nodes: Sequence[Node], num_actors: int | None) -> int:
    smallest = min((node.cpus for node in nodes if node.cpus >= 1), default=1)
    fair = sum(node.cpus for node in nodes) / num_actors if num_actors else smallest
    return max(1, min(int(smallest), int(fair), MAX_CPUS_PER_ACTOR))


def _num_actors(nodes: Sequence[Node], cpus_per_actor: int) -> int:
    return max(1, sum(int(node.cpus // cpus_per_actor) for node in nodes))
