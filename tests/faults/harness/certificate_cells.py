"""The cell in which the certificates of all stages run out and are renewed, beside the matrix. No hand restarts one.

It has a broker of its own, which lets nobody in without a certificate.
"""

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from certificates import Authority
from secured_kafka import SecuredKafka

from attendance.times import now
from harness.cells import SHAPE, WITHHELD, Cell, Result, await_outcomes
from harness.cluster import Cluster, Node
from harness.faults import Fault
from harness.load import Load
from harness.network import Network
from harness.pipeline import Pipeline, is_ready
from sandbox.fleet.plan import plan as make_plan

RENEWED: Final[Fault] = "certificate renewed"
CELLS = (Cell("every stage", RENEWED),)
LOAD_SECONDS = 30.0
COMES_BACK_SECONDS = 300.0
"""For the broker to end and to start, and for every process to have been refused since."""
PRINCIPAL = "punchstream"
ENDED = "punchstream: KAFKA_SSL"
REFUSED = "the broker refuses the client certificate"


def run(cell: Cell, seed: int, _cluster: Cluster, network: Network, directory: Path) -> Result:
    """Run one cell; as `harness.cells.run`, whose brokers ask for no certificate."""
    started = time.monotonic()
    directory.mkdir(parents=True)
    random_ = random.Random(f"{seed} {cell.name}")
    plan = make_plan(random_.getrandbits(32), now(), SHAPE)
    result = Result(cell, cell.target)
    trusted = directory / "trusted.pem"
    properties = {"super.users": f"User:ANONYMOUS;User:{PRINCIPAL}", "ssl.truststore.location": str(trusted)}
    try:
        kafka = SecuredKafka(directory, properties)
        first, second = kafka.authority, Authority(directory, "next-authority")
        trusted.write_text(first.certificate.read_text() + second.certificate.read_text())
        shown = first.issue(PRINCIPAL)
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.tls_servers,
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CAFILE": str(first.certificate),
            "KAFKA_SSL_CERTFILE": str(shown.certificate),
            "KAFKA_SSL_KEYFILE": str(shown.key),
        }
        node = Node(1, kafka.nodes[0])
        brokers = Cluster(kafka, [node])
        with kafka, Pipeline(directory, brokers, network, plan, "renewed", WITHHELD, settings=settings) as pipeline:
            pipeline.start({})
            processes = {name: member.pid() for name, member in pipeline.members.items()}
            load = Load(plan, pipeline.doors, LOAD_SECONDS)
            load.start()
            _pass(pipeline, random_.uniform(3, 6))
            # They run out: the broker lets nobody in any more who shows one of these, and nobody stays connected.
            trusted.write_text(second.certificate.read_text())
            node.process.terminate()
            pipeline.until(lambda: _nobody_gets_in(pipeline), COMES_BACK_SECONDS)
            renewed = second.issue(PRINCIPAL, file="renewed")
            renewed.key.replace(shown.key)
            renewed.certificate.replace(shown.certificate)
            pipeline.map_withheld()
            pipeline.until(lambda: not load.running, COMES_BACK_SECONDS)
            report, _, found = await_outcomes(pipeline, plan, load.tally)
            refused = [name for name, member in pipeline.members.items() if member.said(ENDED)]
            living = [name for name, member in pipeline.members.items() if member.pid() == processes[name]]
            if refused or not living:
                found = [*found, f"ended because of its certificate: {refused}; lived on: {living}"]
            resent = report.raw - plan.expectation.totals().raw
            result = replace(result, raw=report.raw, resent=resent, problems=tuple(found))
    except Exception as error:  # noqa: BLE001 - the other cells go on
        result = replace(result, problems=(*result.problems, repr(error)))
    return replace(result, seconds=time.monotonic() - started)


def _nobody_gets_in(pipeline: Pipeline) -> bool:
    """Whether every reader was refused, and push knows that it cannot take anything in."""
    readers = [member for member in pipeline.members.values() if member.stage in ("stream", "sink")]
    return all(member.said(REFUSED) for member in readers) and not any(is_ready(door) for door in pipeline.doors)


def _pass(pipeline: Pipeline, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pipeline.until(lambda: time.monotonic() >= deadline, seconds + 30)
