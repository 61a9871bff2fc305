"""`lakesight serve --model NAME --index NAME=URI`: models and indexes over HTTP, on Ray Serve."""

import io
import logging
import math
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from actors.pools import Node
from lakesight.errors import UserError, first_mistake
from lakesight.models import catalog
from lakesight.models.base import Frozen, Kind, RuntimeName
from lakesight.online import key_file, keys, signin, traces
from lakesight.online.access import AccessSettings
from lakesight.online.guard import SafetySettings
from lakesight.online.headers import HeaderSettings
from lakesight.online.https import HttpsSettings
from lakesight.online.offers import NAME, Offer, Served, look_up, told
from lakesight.online.origins import HostSettings, check_bind
from lakesight.online.sources import SourceSettings
from workflows.chosen import KINDS, options_for, split_setting
from workflows.cluster import check_reachable, cluster
from workflows.finder import open_index
from workflows.ingress import Ingress, Tls, choose, http_options, prepared
from workflows.serving import APP, Around, deployment

HSTS_S = 180 * 24 * 3600
"""How long browsers that came by https come by it alone."""


class Serve(Frozen):
    r"""Serve models and indexes over HTTP: the same values as `annotate` writes.

    Every model answers for all that it can do; the first of its kind is the default. What is
    published anew, and what changes in --config, is served within seconds; no request is lost.

    Examples:
      lakesight serve --model starter-yolo-detect
      lakesight serve --model ssd-mobilenet-v2-coco --model movenet-lightning \
          --model efficientnet-lite3 --index photos=my-index/
      lakesight serve --model cars=./my-model --set cars.detect.score_threshold=0.4
      lakesight serve --config serve.yaml --host 0.0.0.0 --port 8080
    """

    model: tuple[str, ...] = ()
    """A catalog name, a model folder, hf:…, or NAME=MODEL to have requests call it NAME; may be
    given several times."""
    index: tuple[str, ...] = ()
    """Folder or s3:// prefix of an index, or NAME=URI; may be given several times."""
    set: tuple[str, ...] = ()
    """KIND.OPTION=VALUE, or NAME.KIND.OPTION=VALUE for one model; may be given several times."""
    allow_licence: tuple[str, ...] = ()
    """A licence, as a refusal names it, that you have read and may use; may be given several
    times."""
    runtime: RuntimeName = "auto"
    """What executes the models; auto takes the fastest that runs here."""
    config: Path | None = None
    """YAML file of `models`, `indexes` and limits (docs/serving.md), read again when it changes."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 for every one."""
    port: int = Field(default=8000, ge=1, le=65535)
    auth: bool = True
    """Ask for an API key. --no-auth answers whoever comes, from this machine alone."""
    keys: Path | None = None
    """The file of API keys; ~/.config/lakesight/keys/keys.json unless given. The first start makes
    one key, and shows it once."""
    s3: tuple[str, ...] = ()
    """An s3:// prefix that requests may name pictures from, where their key allows it too; may be
    given several times."""
    https: tuple[str, ...] = ()
    """A host, or *.example.org for all below one, from which requests may name pictures by
    https://; none unless given; may be given several times."""
    pictures: bool = True
    """Show whoever may search an index its pictures, made small, on the page and by /v1/rows."""
    host_name: tuple[str, ...] = ()
    """A name that requests may call this server by; any unless given; may be given several times.
    """
    tls_cert: Path | None = None
    """Certificate chain (PEM), to be reached by https; with --tls-key."""
    tls_key: Path | None = None
    """Its private key (PEM), without a passphrase."""
    behind_tls: bool = False
    """Browsers come by https to what is in front of this, a load balancer or a proxy, which ends
    TLS: the page's cookie is then for https alone, and they are told to come by nothing else."""
    num_replicas: int = Field(default=1, ge=0)
    """Processes that answer; at least so many where --max-replicas lets them grow, even 0."""
    max_replicas: int | None = Field(default=None, ge=1)
    """Grow up to so many by the requests that wait."""
    target_requests: float = Field(default=32, gt=0)
    """Requests that one replica is to have at once, where they grow."""
    cpus_per_replica: int | None = Field(default=None, ge=1)
    """Cores that one replica may use; an equal share of this machine's unless given."""
    gpus_per_replica: float | None = Field(default=None, ge=0)
    """GPUs that one replica may use; an equal share of this machine's, or of the cluster's, unless
    given."""
    ingress: Ingress = "auto"
    """haproxy: HAProxy in front of each replica's own server; proxy: Ray Serve's own, several times
    as slow. A cluster that is joined has its own."""
    address: str | None = None
    """Ray cluster; RAY_ADDRESS unless given, and this machine alone without either. Where Serve
    runs there already, it listens as it was told then; it goes on when this ends."""
    verbose: bool = False
    """Let Ray's own logs through."""

    def run(self) -> int:
        """Serve until it is told to stop; return 0 once every request is answered."""
        check_bind(self.host, is_open=not self.auth)
        traces.check()
        ingress = choose(self.ingress)
        self.sources()  # what is wrong with them is said at once
        settings = self.settings()
        serving = told(settings)
        models = [look_up(offer) for offer in serving.models]
        for uri in serving.indexes.values():
            open_index(uri)  # what is wrong with one is said here, in one line
        if not models and not serving.indexes:
            raise UserError("nothing to serve: give --model, --index or --config")
        address = self.address or os.environ.get("RAY_ADDRESS")
        if address:
            if not self.auth:
                raise UserError(
                    "--no-auth listens on this machine alone, and a cluster that is joined listens "
                    "as it was told: leave out --no-auth, or --address and RAY_ADDRESS"
                )
            if self.tls_cert:
                raise UserError(
                    "a cluster that is joined has its own HTTP server, whose TLS is its own: leave "
                    "--tls-cert out, and say --behind-tls if browsers come by https"
                )
            check_reachable(address)
        elif _is_taken(self.host, self.port):
            raise UserError(f"{self.host}:{self.port} is taken: give another --port")
        tls = Tls.of(self.tls_cert, self.tls_key)
        self._first_key()
        with (
            ExitStack() as quiet,
            prepared(ingress, self.port, tls, self.safety()),
            cluster(address, verbose=self.verbose) as nodes,
        ):
            serve = _serve(verbose=self.verbose)
            serve.start(http_options=http_options(ingress, self.host, self.port, tls))
            try:
                serve.run(self.application(settings, nodes), name=APP, route_prefix="/")
                self._say(models, serving.indexes, joined=bool(address))
                _wait_for_the_end()
                _say("Stopping: what was asked is answered first")
            finally:
                serve.delete(APP)  # what it was asked, it answers first
                if not address:  # of a cluster that is joined, Serve is for others too
                    # Its controller ends while it is told to, which Ray would print, and it will
                    # not try again.
                    quiet.enter_context(redirect_stdout(io.StringIO()))
                    serve.shutdown()
        return 0

    def settings(self) -> dict[str, Any]:
        """Return what is to be served, as `offers.told` reads it: the file's, and the flags'."""
        settings: dict[str, Any] = {}
        if self.config is not None:
            settings["file"] = str(self.config.absolute())
        if self.model:
            settings["models"] = [offer.model_dump(mode="json") for offer in self._offers()]
        elif self.set or self.allow_licence or self.runtime != "auto":
            raise UserError("--set, --allow-licence and --runtime go with --model")
        if self.index:
            named = (_named(one) for one in self.index)
            settings["indexes"] = {name or _last(uri): uri for name, uri in named}
        return settings

    def _offers(self) -> list[Offer]:
        options = _offer_options(self.set)
        shared = options.pop("", {})
        offers = [self._offer(given, shared, options) for given in self.model]
        if options:
            raise UserError(f"--set names {', '.join(options)}, which no --model is called")
        return offers

    def _offer(
        self,
        given: str,
        shared: Mapping[Kind, Mapping[str, str]],
        own: dict[str, dict[Kind, dict[str, str]]],
    ) -> Offer:
        """Return one model with its options: those of every model of a kind, and its own."""
        name, model = _named(given)
        offer = Offer.model_validate({"model": model} | ({"name": name} if name else {}))
        able = catalog.kinds(catalog.resolve(model))
        mine = own.pop(offer.name, {})
        if odd := mine.keys() - able.keys():
            raise UserError(f"{offer.name} cannot {odd.pop()}: it can {', '.join(able)}")
        options = {
            kind: options_for(
                catalog.resolve(model, kind), {**shared.get(kind, {}), **mine.get(kind, {})}
            )
            for kind in able
            if kind in mine or kind in shared
        }
        more = {"runtime": self.runtime, "allow_licence": self.allow_licence}
        return offer.model_copy(update={"options": options, **more})

    def application(self, settings: Mapping[str, Any], nodes: Sequence[Node]) -> Any:
        """Return what Ray Serve runs."""
        all_cpus = sum(node.cpus for node in nodes)
        cpus = self.cpus_per_replica or max(1, int(all_cpus // self.most_replicas))
        gpus = self.gpus_per_replica
        if gpus is None:
            gpus = gpu_share([node.gpus for node in nodes], self.most_replicas)
        around = Around(safety=self.safety(), sources=self.sources())
        settings = {"defaults": {"num_threads": cpus}, **settings}
        # half of the cores: a replica that takes another's place starts beside it
        resources = {"num_cpus": cpus / 2, "num_gpus": gpus}
        return deployment(around, settings, {**self._scaling(), "ray_actor_options": resources})

    def safety(self) -> SafetySettings:
        """Return the limits of HTTP, and who may come in."""
        return SafetySettings(
            access=AccessSettings(
                keys=self.keys_file(),
                is_tls=self.is_tls,
                num_processes=self.most_replicas,
            ),
            hosts=HostSettings(names=self.host_name),
            headers=HeaderSettings(hsts_s=HSTS_S if self.is_tls else 0),
        )

    @property
    def is_tls(self) -> bool:
        """Whether browsers come by https, to this or to what is in front of it."""
        return self.behind_tls or self.tls_cert is not None

    def sources(self) -> SourceSettings:
        """Return from where pictures may come; UserError for what is no prefix or no host."""
        try:
            return SourceSettings(
                s3=self.s3, https=HttpsSettings(hosts=self.https), rows=self.pictures
            )
        except ValidationError as error:
            raise UserError(f"--https: {first_mistake(error)}") from error

    @property
    def most_replicas(self) -> int:
        """How many replicas there may be at once."""
        return max(1, self.max_replicas or self.num_replicas)

    def keys_file(self) -> Path | None:
        """Return where the keys are; None where none are asked for."""
        return (self.keys or key_file.default_path()).absolute() if self.auth else None

    def _scaling(self) -> dict[str, Any]:
        if self.max_replicas is None:
            return {"num_replicas": max(1, self.num_replicas)}
        return {
            "autoscaling_config": {
                "min_replicas": self.num_replicas,
                "max_replicas": self.max_replicas,
                "target_ongoing_requests": self.target_requests,
            }
        }

    def _first_key(self) -> None:
        """Make a key where there is none yet, and show it: this once."""
        path = self.keys_file()
        if path is None or path.exists():
            return
        made = keys.make("first", keys.Scopes(metrics=True))
        key_file.add(path, made.key)
        _say(f"API key, shown this once: {made.token}")
        _say(f"To sign in, once it serves: {signin.link(self._url(), made.token)}")

    def _say(self, models: Sequence[Served], indexes: Mapping[str, str], *, joined: bool) -> None:
        """Say what is served, and where."""
        for one in models:
            _say(f"{one.name}: {one.main.card.name}, {', '.join(one.specs)}")
        for name, uri in indexes.items():
            _say(f"{name}: the index {uri}")
        where = self._url()
        if joined:
            where = f"where Ray Serve of that cluster listens, {where} unless it was there before"
        _say(f"Serving at {where}; end it with Ctrl-C")

    def _url(self) -> str:
        if self.behind_tls:
            return f"https://{next(iter(self.host_name), 'YOUR-HOST')}"
        return f"{'https' if self.tls_cert else 'http'}://{self._shown_host()}:{self.port}"

    def _shown_host(self) -> str:
        """Return the host as an address has it: of one that is every address, this machine's."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        return f"[{host}]" if ":" in host else host


def _serve(*, verbose: bool) -> Any:
    """Return Ray Serve, which is imported where its own logs are wanted or not."""
    from ray import serve

    if not verbose:
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
    return serve


def _offer_options(settings: Sequence[str]) -> dict[str, dict[Kind, dict[str, str]]]:
    """Return `KIND.OPTION=VALUE` by model, then kind; those of no model in particular by "".

    Values are as they stand: which type an option is of, its model says.
    """
    wanted = f"KIND.OPTION=VALUE or NAME.KIND.OPTION=VALUE, KIND one of {', '.join(KINDS)}"
    found: dict[str, dict[Kind, dict[str, str]]] = {}
    for setting in settings:
        words, value = split_setting(setting, wanted)
        before, _, last = words.rpartition(".")
        name, _, kind = before.rpartition(".")
        if kind not in KINDS:
            raise UserError(f"--set wants {wanted}; got {setting!r}")
        found.setdefault(name, {}).setdefault(kind, {})[last] = value
    return found


def _named(given: str) -> tuple[str | None, str]:
    """Return the name, if there is one, and the rest of `NAME=REST` or `REST`."""
    name, _, rest = given.partition("=")
    return (name, rest) if rest and re.fullmatch(NAME, name) else (None, given)


def gpu_share(gpus: Sequence[float], num_replicas: int) -> float:
    """Return the GPUs of one of so many replicas, given those of each machine.

    Whole ones, of one machine, where there are enough, else an equal part of one.
    """
    total = int(sum(gpus))
    if total >= num_replicas:
        return min(total // num_replicas, int(max(gpus)))
    return math.floor(1e4 * total / num_replicas) / 1e4


def _last(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2]


def _is_taken(host: str, port: int) -> bool:
    """Return whether somebody listens there already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError:
            return True
    return False


def _wait_for_the_end() -> None:
    """Return when the process is told to end, by Ctrl-C or SIGTERM.

    Before, while Ray and Ray Serve start, their own handlers end it at once.
    """
    stop = threading.Event()
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in kinds}
    try:
        stop.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
